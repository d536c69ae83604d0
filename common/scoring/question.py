"""The parts of a question that help to read an answer: its words, its options, and whether it asks for a percentage.

>>> about("Which is a gas? A) iron B) helium").options
{'A': 'iron', 'B': 'helium'}
"""

from __future__ import annotations

import functools
import re
from functools import cached_property
from typing import Iterator

from ..patterns import regex
from .units import CHANGES, COMPARES, HARMLESS, stem, unit_of

_LONGEST = 20_000  # characters of a question that are looked at
WORD = regex(r"[0-9][0-9,]*(?:\.[0-9]+)?|[^\W\d_]+")
_MARKER = regex(r"(?<![A-Za-z0-9])(\(?)([A-Ja-j])(?:\)\.?|\.|:)(?=\s|\S)\s*")
_ASKS_PERCENT = regex(  # not: what is left after 20 percent
    r"\b(?:what|which|find|compute|determine|express|how\s+many|as\s+an?|in)\b[^.?!]{0,80}?(?<![0-9] )(?<![0-9])"
    r"\b(?:percent(?:age|s)?|per\s+cent)\b",
    re.I,
)
_NOUN = regex(r"\b(?:what|which)(?:\s+(?:kind|type|sort)\s+of)?(?:\s+an?)?\s+([a-z]+)", re.I)


class Question:
    """A question. Its parts are looked for when they are first needed."""

    def __init__(self, text: str) -> None:
        self.text = text[:_LONGEST]

    @cached_property
    def _all_words(self) -> list[str]:
        return WORD.findall(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words and numbers, by their stems."""
        return frozenset(map(stem, self._all_words))

    @cached_property
    def _pairs(self) -> frozenset[tuple[str, str]]:
        stems = [stem(word).replace(",", "") for word in self._all_words]
        return frozenset(zip(stems, stems[1:]))

    @cached_property
    def units(self) -> frozenset[str]:
        """The units that it names, in their short form."""
        return frozenset(filter(None, map(unit_of, (word for word in set(self._all_words) if len(word) > 1))))

    @cached_property
    def options(self) -> dict[str, str]:
        """Its options by letter: the last run of them that begins with A; {} if it has fewer than two."""
        return _options(self.text)

    @cached_property
    def asks_percent(self) -> bool:
        """Whether it asks for a percentage, so that "50" and "50%" are the same answer."""
        return _ASKS_PERCENT.search(self.text) is not None

    @cached_property
    def noun(self) -> str:
        """The kind of thing that it asks for: "condition" in "what kind of condition"; "" if it names none."""
        noun = _NOUN.search(self.text)
        return stem(noun[1]) if noun else ""

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
        return (stem(before), number) in self._pairs or (number, stem(after)) in self._pairs


@functools.lru_cache(maxsize=1024)
def about(text: str) -> Question:
    """The parts of a question."""
    return Question(text)


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
