"""Loops at the end of a growing text: found soon, and never in what a person or a model writes on purpose."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

import pytest

from common.results.cleaning.repetition import longest_loop
from common.servers.loops import COPIES, LEAST, LONGEST, GrowingText, period_of

ROOT = Path(__file__).resolve().parent.parent.parent
LETTERS = "abcdefghijklmnopqrstuvwxyz    .,"


def stopped_at(text: str, piece: int = 4) -> Optional[int]:
    """How many characters had come when the loop was found, if one was."""
    growing = GrowingText()
    for start in range(0, len(text), piece):
        if growing.add(text[start : start + piece]):
            assert growing.text() == text[: growing.size]
            return growing.size
    assert growing.text() == text
    return None


def unit(rng: random.Random, period: int) -> str:
    """A text of this length that has no shorter period."""
    return "#" + "".join(rng.choice(LETTERS) for _ in range(period - 1))


def test_the_least_period_of_a_text_is_that_of_comparing_each() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        text = (rng.choice(["a", "ab", "aab", "abaab"]) * 40)[: rng.randint(4, 40)]
        if rng.random() < 0.5:
            place = rng.randrange(len(text))
            text = text[:place] + "b" + text[place + 1 :]
        periods = [p for p in range(1, len(text) // COPIES + 1) if text[p:] == text[:-p]]
        assert period_of(text) == min(periods, default=0), text


@pytest.mark.parametrize("period", [1, 2, 3, 7, 63, 64, 65, 500, 999, 1000, 1001, 2500, 7777, 16_000])
@pytest.mark.parametrize("before", [0, 1, 333, 50_000])
def test_a_loop_is_found_before_it_has_come_ten_times_or_5000_characters(period: int, before: int) -> None:
    rng = random.Random(period)
    begin = "".join(rng.choice(LETTERS) for _ in range(before - 1)) + "@" * (before > 0)
    text = begin + unit(rng, period) * (1 + 10 * max(1, LEAST // period))
    found = stopped_at(text, piece=rng.randint(1, 9))
    assert found is not None
    assert max(LEAST, COPIES * period) <= found - before <= max(LEAST * 9 / 8, 2 * COPIES * period * 9 / 8) + 10


def test_a_loop_is_found_however_large_the_pieces_are() -> None:
    for piece in (1, 499, 4000, 10_000):
        found = stopped_at("Let me see. " * 1700, piece)
        assert found is not None
        assert found <= LEAST + max(piece, 500) + piece


def test_a_found_loop_is_one_that_the_cleaning_finds_too() -> None:
    rng = random.Random(1)
    for period in (1, 10, 100, 900):
        text = "".join(rng.choice(LETTERS) for _ in range(3000)) + unit(rng, period) * (8000 // period)
        found = stopped_at(text)
        assert found is not None
        loop = longest_loop(text[:found], 0.3)
        assert loop is not None
        assert loop.period == period


def test_what_repeats_itself_with_changes_is_not_a_loop() -> None:
    assert stopped_at("".join(f"Step {number}: try again, as before.\n" for number in range(2000))) is None
    assert stopped_at("".join("a" * random.Random(n).randint(100, 3000) + "b" for n in range(60))) is None


def legitimate() -> Iterator[Tuple[str, str]]:
    """Texts that repeat themselves on purpose, each with words before and after."""
    table = ["| " + " | ".join("0" for _ in range(20)) + " |\n"]
    texts: Dict[str, str] = {
        "a rule": "-" * 400,
        "dots": ". " * 500,
        "laughter": "ha " * 500,
        "a table of zeros": "".join(table * 40),
        "a matrix in LaTeX": ("0 & " * 24 + "0 \\\\\n") * 25,
        "a list of zeros": "[" + "0, " * 1000 + "0]",
        "a board of booleans": ("[" + "False, " * 20 + "],\n") * 20,
        "bytes": "0x00, " * 512,
        "lines to write a hundred times": "I must not talk in class, ever again.\n" * 100,
        "a refrain": "And the band played on, and on, and on, until the sun came up again.\n" * 12,
        "empty rows": "|   |   |   |\n" * 120,
        "new lines": "\n" * 300,
        "check boxes": "- [ ] \n" * 200,
        "base64 of zeros": "A" * 2000,
        "print statements": '    print("*" * 10)\n' * 100,
    }
    for name, text in texts.items():
        yield name, f"Here it is, as you asked for it:\n\n{text}\n\nThat is all of it. Have a nice day."


@pytest.mark.parametrize(("name", "text"), list(legitimate()))
def test_what_is_written_on_purpose_is_not_a_loop(name: str, text: str) -> None:
    assert stopped_at(text) is None, name


def test_code_and_documents_are_no_loops() -> None:
    files = [path for folder in ("common", "docs") for path in (ROOT / folder).rglob("*.*")]
    texts = [path.read_text("utf-8") for path in files if path.suffix in (".py", ".md", ".js", ".css", ".html")]
    assert [text[:80] for text in texts if stopped_at(text, piece=40) is not None] == []


def test_memory_holds_a_text_once_and_a_tail() -> None:
    growing, rng = GrowingText(), random.Random(0)
    for _ in range(4000):
        growing.add("".join(rng.choice(LETTERS) for _ in range(40)))
    assert len(growing._tail) == LONGEST
    assert len(growing._whole) <= 4000 * 40 // 500
