"""Loops: the longest part of a text that repeats itself exactly, found in time linear in the text's length.

A part has the period p if each of its characters equals the one p places further on, and it is a loop if it holds its
period twice at least. A loop of a given length holds one of the probes that are taken at equal distances, and this
probe occurs again one period later. ``str.find`` looks for it, and comparing slices extends what it finds.

>>> longest_loop("The answer is: " + "no, wait. " * 40, 0.5)
Loop(start=14, length=401, period=10)
>>> longest_loop("The answer is 12.", 0.5) is None
True
"""

from __future__ import annotations

from typing import Iterator, NamedTuple

LEAST = 64  # characters of a loop: shorter ones are dots, zeros and the like
RULE = frozenset("-=_|+: \t\n")  # of these, tables make rules and empty cells: such a loop counts from half of a text
MOST_TRIES = 400  # occurrences of one probe that are looked at


class Loop(NamedTuple):
    """Where a loop begins, how long it is, and its period, all in characters."""

    start: int
    length: int
    period: int


def longest_loop(text: str, share: float) -> Loop | None:
    """The longest loop that covers more than ``share`` of a text, with its least period; None if there is none.

    Each maximal loop of that size is found (M. Lothaire, Algebraic Combinatorics on Words, chapter 8: repetitions),
    unless its probe occurs more than 400 times within one period.
    """
    needed = max(LEAST, int(share * len(text)) + 1)
    step = needed // 4
    best = None
    for start in range(0, len(text) - needed // 2, step):
        if best is not None and start + step <= best.start + best.length:
            continue  # a longer loop would hold a later probe too
        for loop in _loops_at(text, start, step):
            if loop.length >= needed and (best is None or loop.length > best.length):
                best = loop
    return None if best is None or _is_rule(text, best) else best


def _is_rule(text: str, loop: Loop) -> bool:
    """Whether a loop may be the rule of a table."""
    return RULE.issuperset(text[loop.start : loop.start + loop.period]) and loop.length <= len(text) / 2


def _loops_at(text: str, start: int, size: int) -> Iterator[Loop]:
    """The loops that hold the probe at ``start`` and its next occurrence."""
    probe, at = text[start : start + size], start
    last = start + len(text) // 2 + size
    for _ in range(MOST_TRIES):
        at = text.find(probe, at + 1, last)
        if at < 0:
            return
        before, after = _equal_before(text, start, at), _equal_after(text, start, at)
        period, end = at - start, at + after
        if before + after >= period:
            yield Loop(start - before, end - start + before, period)
            at = max(at, end - size)  # within it, the probe only occurs at multiples of the period


def _equal_after(text: str, one: int, other: int) -> int:
    """How many characters are equal from two places on, the first of which comes first."""
    count, size = 0, 64
    while text[one + count : one + count + size] == text[other + count : other + count + size]:
        if other + count + size >= len(text):
            return len(text) - other
        count, size = count + size, size * 2
    while size > 1:
        size //= 2
        if text[one + count : one + count + size] == text[other + count : other + count + size]:
            count += size
    return count


def _equal_before(text: str, one: int, other: int) -> int:
    """How many characters before two places are equal."""
    count, size = 0, 64
    while one - count >= size and text[one - count - size : one - count] == text[other - count - size : other - count]:
        count, size = count + size, size * 2
    size = min(size, 1 << (one - count).bit_length())
    while size > 1:
        size //= 2
        if size <= one - count and (
            text[one - count - size : one - count] == text[other - count - size : other - count]
        ):
            count += size
    return count
