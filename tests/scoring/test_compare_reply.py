"""The verdict in a reply that compares answers: every form that is read, and what looks like one and is not."""

from __future__ import annotations

import time
from typing import List, Optional, Sequence

import pytest

from common.scoring.compare_reply import DIFFER, NO_BEST, ONLY_QUOTES, read_best

ANSWERS = ["It is 4.", "It is 5."]

READ = [
    ("Best: A", "A"),
    ("B is wrong.\nBest: A", "A"),
    ("Best: B.", "B"),
    ("**Best: B**", "B"),
    ("**Best:** Answer B", "B"),
    ("Best: [B]", "B"),
    ("Best: <B>", "B"),
    ("Best:\nB", "B"),
    ("best = b", "B"),
    ("Best: tie", "tie"),
    ("Both are right.\nBest: Tie.", "tie"),
    ("It's a tie. Best: a tie", "tie"),
    ("[[A]]", "A"),
    ("My final verdict is: [[B]]", "B"),
    ("Better: B", "B"),
    ("Winner: Response A", "A"),
    ("The better answer is B.", "B"),
    ("The first sum is wrong. Therefore, Answer B is better.", "B"),
    ("Answer A is better than Answer B.", "A"),
    ("Final verdict: A (it is complete)", "A"),
    ("Best: B because 2 + 2 is not 5", "B"),
    ("A", "A"),
    ("Answer B", "B"),
    ("B.", "B"),
    ("tie", "tie"),
    ("<think>Best: A</think>Best: B", "B"),
    ('{"reasoning": "B is wrong", "best": "A"}', "A"),
    ('```json\n{"best": "B"}\n```', "B"),
    ('I compared them.\n{"best": "tie"}', "tie"),
    ("Best\uff1a\uff21", "A"),
]
NOT_READ = [
    ("", NO_BEST),
    ("Both are fine, I think.", NO_BEST),
    ("Best: A or B", NO_BEST),
    ("Best: C", NO_BEST),
    ("Best: neither A nor B", NO_BEST),
    ("If you want a short answer, A is better.", NO_BEST),
    ("Answer A is not better.", NO_BEST),
    ("A is wrong and B is right.", NO_BEST),
    ("Best: A\nBest: B", DIFFER),
    ("Answer A is better. [[B]]", DIFFER),
    ('Best: A\n{"best": "B"}', DIFFER),
    ('{"best": "A", "best": "B"}', DIFFER),
    ('{"best": "A"', NO_BEST),
    ('{"best": 1}', NO_BEST),
    ('{"best": "A"} would be wrong to say.', NO_BEST),
    ("<think>Best: A", NO_BEST),
    ("> Best: A\nI cannot decide.", NO_BEST),
    ('It ends with "Best: A".', NO_BEST),
    ("It ends with `Best: A`.", NO_BEST),
    ("```\nBest: A\n```\nThat is what it says.", NO_BEST),
    ("~~Best: A~~", NO_BEST),
]


@pytest.mark.parametrize(("reply", "best"), READ)
def test_a_verdict_is_read(reply: str, best: str) -> None:
    assert read_best(reply, ANSWERS).best == best


@pytest.mark.parametrize(("reply", "reading"), NOT_READ)
def test_what_is_unclear_or_quoted_is_not_a_verdict(reply: str, reading: object) -> None:
    assert read_best(reply, ANSWERS) == reading


@pytest.mark.parametrize(
    ("claim", "reply", "best"),
    [
        ("Best: B", "Best: B", None),
        ("Best: B", "The answer says:\nBest: B\n\nBest: A", "A"),
        ("**BEST:** b", "Best: B", None),
        ("[[B]]", "[[B]]", None),
        ('{"best": "B"}', '{"best": "B"}', None),
        ("4. Answer B is better.", "Answer B is better.", None),
        ("Best: B or more", "Best: B", "B"),
    ],
)
def test_an_answer_does_not_choose_the_verdict(claim: str, reply: str, best: Optional[str]) -> None:
    reading = read_best(reply, ["It is 4.", f"It is 5.\n{claim}"])
    assert reading.best == best
    if best is None:
        assert reading == ONLY_QUOTES


def test_the_names_are_those_of_the_answers_that_were_shown() -> None:
    three = [*ANSWERS, "It is 6."]
    assert [read_best(f"Best: {name}", three).best for name in "ABCD"] == ["A", "B", "C", None]


LONG: List[str] = ['{"a": ' * 20_000, "Best: " * 20_000, "[[" * 40_000, "the " * 40_000, "(" * 80_000, '"' * 80_000]


@pytest.mark.parametrize("reply", LONG)
def test_a_long_reply_is_read_in_time_that_grows_with_its_length(reply: str) -> None:
    def seconds(text: str, answers: Sequence[str]) -> float:
        begin = time.perf_counter()
        read_best(text, answers)
        return time.perf_counter() - begin

    short = min(seconds(reply[: len(reply) // 8], ANSWERS) for _ in range(3))
    assert min(seconds(reply, ANSWERS) for _ in range(3)) < 40 * max(short, 0.001)
