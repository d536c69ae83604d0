"""The parts of a question that help to read an answer: its words, its options, and whether it asks for a percentage.

>>> about("Which is a gas? A) iron B) helium").options
{'A': 'iron', 'B': 'helium'}
"""

from __future__ import annotations

import functools
import re
from typing import Iterator, Mapping, NamedTuple

from .units import CHANGES, COMPARES, HARMLESS, stem, unit_of

_LONGEST = 20_000  # characters of a question that are looked at
WORD = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?|[^\W\d_]+")
_MARKER = re.compile(r"(?<![A-Za-z0-9])(\(?)([A-Ja-j])(?:\)\.?|\.|:)(?=\s|\S)\s*")
_ASKS_PERCENT = re.compile(
    r"\b(?:what|which)\s+(?:\w+\s+){0,2}(?:percent|per\s+cent|%)|\b(?:what|find|the|a)\s+(?:\w+\s+)?percentage\b"
    r"|\bas\s+an?\s+percent|\bhow\s+many\s+percent|\bin\s+percent|\bpercent\s+(?:of|more|less)\b[^.?!]{0,80}\?",
    re.I,
)


class Question(NamedTuple):
    """A question's words by their stems, its pairs of neighbouring words, its options by letter, and its units."""

    text: str
    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    options: Mapping[str, str]
    units: frozenset[str]
    asks_percent: bool
    noun: str  # the kind of thing that is asked for: "condition" in "what kind of condition"

    def knows(self, word: str) -> bool:
        """Whether a word beside a number leaves the number as it is.

        >>> about("How many bolts?").knows("bolt"), about("How many bolts?").knows("dozens")
        (True, False)
        """
        root = stem(word)
        if self.changes(word):
            return False
        return root in self.words or root in HARMLESS or word.lower() in HARMLESS or unit_of(word) != ""

    def changes(self, word: str) -> bool:
        """Whether a word after a number makes it another number: "half", or "more" if the question does not say it.

        >>> about("How many are left?").changes("more"), about("How many more?").changes("more")
        (True, False)
        """
        root, word = stem(word), word.lower()
        return root in CHANGES or word in CHANGES or (word in COMPARES and root not in self.words)

    def restates(self, before: str, number: str, after: str) -> bool:
        """Whether a number stands in the question with the same neighbour."""
        return (stem(before), number) in self.pairs or (number, stem(after)) in self.pairs


@functools.lru_cache(maxsize=1024)
def about(text: str) -> Question:
    """The parts of a question."""
    text = text[:_LONGEST]
    stems = [stem(word).replace(",", "") for word in WORD.findall(text)]
    units = frozenset(filter(None, map(unit_of, (word for word in WORD.findall(text) if len(word) > 1))))
    noun = re.search(r"\b(?:what|which)(?:\s+(?:kind|type|sort)\s+of)?(?:\s+an?)?\s+([a-z]+)", text, re.I)
    return Question(
        text,
        frozenset(stems),
        frozenset(zip(stems, stems[1:])),
        _options(text),
        units,
        _ASKS_PERCENT.search(text) is not None,
        stem(noun[1]) if noun else "",
    )


def _options(text: str) -> dict[str, str]:
    """The last run of options of a question that begins with A; {} if it has fewer than two."""
    run: list[re.Match[str]] = []
    best: list[re.Match[str]] = []
    for marker in _markers(text):
        letter = marker[2].upper()
        if letter == "A":
            run = [marker]
        elif run and ord(letter) == ord(run[-1][2].upper()) + 1 and marker[2].isupper() == run[0][2].isupper():
            run.append(marker)
        if len(run) > 1:
            best = run
    ends = [marker.start() for marker in best[1:]] + [len(text)]
    options = {
        marker[2].upper(): text[marker.end() : end].strip().split("\n\n")[0].strip(" ,;\n")
        for marker, end in zip(best, ends)
    }
    return options if all(options.values()) else {}


def _markers(text: str) -> Iterator[re.Match[str]]:
    """The marks that may begin an option: A) or (A) or A. or A: and the same in small letters, but "a." only in (a)."""
    for marker in _MARKER.finditer(text):
        if marker[2].isupper() or ")" in marker.group():
            yield marker
