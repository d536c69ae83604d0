"""Texts as words, and how similar two texts are.

A word is a run of letters and digits, in one case; in scripts that put no space between words it is one character.

>>> words("What is 2+2?"), words("二加二")
(['what', 'is', '2', '2'], ['二', '加', '二'])
>>> similarity(shingles("one two three four"), shingles("one two three five"))
0.3333333333333333
"""

from __future__ import annotations

import unicodedata
from typing import AbstractSet, FrozenSet

from ...patterns import regex

SHINGLE = 3  # words, or signs, that follow each other
UNSPACED = "\u0e00-\u0edf\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Thai to Chinese
WORD = regex(f"[{UNSPACED}]|[^\\W_{UNSPACED}]+")
WORD_OR_SIGN = regex(f"[{UNSPACED}]|[^\\W{UNSPACED}]+|[^\\w\\s]")


def words(text: str) -> list[str]:
    """The words of a text, without signs: punctuation and mark-up make no difference."""
    return WORD.findall(_plain(text))


def ngrams(found: list[str], size: int) -> list[str]:
    """All runs of ``size`` words, each as a text; none if there are fewer words.

    >>> ngrams(["a", "b", "c"], 2)
    ['a b', 'b c']
    """
    return [" ".join(found[at : at + size]) for at in range(len(found) - size + 1)]


def shingles(text: str) -> FrozenSet[str]:
    """The set of runs of three words or signs of a text; a shorter text is one run (Broder 1997, "shingling").

    Signs count, since ``3 - 2`` and ``3 + 2`` are different.
    """
    found = WORD_OR_SIGN.findall(_plain(text))
    return frozenset(ngrams(found, SHINGLE) or [" ".join(found)])


def similarity(one: AbstractSet[str], other: AbstractSet[str]) -> float:
    """The Jaccard index of two sets: what they share of all that they hold.

    >>> similarity({"a", "b"}, {"b"}), similarity(set(), set())
    (0.5, 1.0)
    """
    shared = len(one & other)
    total = len(one) + len(other) - shared
    return shared / total if total else 1.0


def _plain(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
