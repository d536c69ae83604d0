"""Classes of answers that say the same, and how sure it is which class is the largest: no requests, no reference.

>>> ballot = Ballot("What is 1/2 as a decimal?")
>>> for answer in (r"\\boxed{0.5}", r"It is $\\frac12$. So \\boxed{\\frac{1}{2}}", r"\\boxed{2}"): ballot.add(answer)
>>> ballot.sizes()
[2, 1]
>>> round(sureness(4, 0), 3), round(sureness(4, 2), 3)
(0.969, 0.773)
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import NamedTuple, Sequence

from .final_number import Number
from .math_text import plain_latex
from .same_answer import Said, read_answer, say_the_same


class Reading(NamedTuple):
    """How an entry's final answers are read and compared: further patterns of marks, and the tolerance of numbers."""

    own: tuple[re.Pattern[str], ...] = ()
    tolerance: float | None = None


AS_MATCH = Reading()


class Party(NamedTuple):
    """A class of equal final answers: its name, and the places of its answers."""

    name: str
    members: list[int]


class Ballot:
    """The final answers of one question, in classes. An answer whose final answer cannot be told is in none."""

    def __init__(self, question: str, reading: Reading = AS_MATCH) -> None:
        self._question = question
        self._reading = reading
        self._leaders: list[Said] = []
        self._sizes: list[int] = []

    def add(self, answer: str) -> None:
        """Puts an answer into the class that its final answer equals, or else into a new one."""
        said = read_answer(self._question, answer, *self._reading)
        if isinstance(said, str):
            return
        place = self._place_of(said)
        if place is None:
            self._leaders.append(said)
            self._sizes.append(0)
            place = -1
        self._sizes[place] += 1

    def _place_of(self, said: Said) -> int | None:
        for place, leader in enumerate(self._leaders):
            if say_the_same(self._question, leader, said, self._reading.tolerance):
                return place
        return None

    def sizes(self) -> list[int]:
        """How many answers each class has, the largest first."""
        return sorted(self._sizes, reverse=True)


def parties(question: str, said: Sequence[Said | str], reading: Reading) -> list[Party]:
    """The classes of what answers say (a text says why it cannot be told). They do not depend on the answers' order.

    The most frequent final answers are met first, and a class is compared with the others by its first.
    """
    groups: dict[tuple[str, str], list[tuple[int, Said]]] = {}
    for place, one in enumerate(said):
        if isinstance(one, Said):
            groups.setdefault((one.final.text, one.final.found_by), []).append((place, one))
    found: list[tuple[Said, Party]] = []
    for _, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        first = min((one for _, one in group), key=lambda one: one.reply)
        equal = (party for leader, party in found if say_the_same(question, leader, first, reading.tolerance))
        party = next(equal, None)
        if party is None:
            party = Party(_new_name(name_of(first), [party.name for _, party in found]), [])
            found.append((first, party))
        party.members.extend(place for place, _ in group)
    return [party for _, party in found]


def _new_name(name: str, taken: Sequence[str]) -> str:
    """A name that no other class has: of several, the later ones have a number."""
    names = [name, *(f"{name} ({number})" for number in range(2, len(taken) + 2))]
    return next(one for one in names if one not in taken)


def name_of(said: Said) -> str:
    r"""A final answer as it is shown: what its mark holds, the number of its sentence, or its words.

    >>> from .same_answer import read_answer
    >>> name_of(read_answer("How many?", r"\\boxed{4}")), name_of(read_answer("How many?", "So there are 4 of them."))
    ('4', '4')
    """
    number = said.wanted.value.number if said.wanted.value is not None else None
    if said.wanted.kind == "option":
        return said.wanted.letter
    if said.final.found_by != "mark" and number is not None:
        return _number_text(number)
    return plain_latex(said.final.text) if said.final.found_by == "mark" else said.final.text.strip(" \n.*$")


def _number_text(number: Number) -> str:
    value = number.value
    return (str(value) if value.denominator == 1 else f"{float(value):.12g}") + "%" * number.percent


def sureness(first: int, second: int) -> float:
    """The probability that the leading answer is the one that the model gives most often, by the two largest classes.

    This is the Beta criterion of Adaptive-Consistency (Aggarwal et al. 2023, arXiv 2305.11860): with a uniform prior,
    the share of the first class among both is Beta(first + 1, second + 1), and this is its part above one half. For
    whole numbers, that is the probability of at most ``first`` heads in ``first + second + 1`` throws of a coin.

    >>> sureness(1, 0), sureness(2, 2)
    (0.75, 0.5)
    """
    throws = first + second + 1
    ways = sum(math.comb(throws, heads) for heads in range(first + 1))
    return float(Fraction(ways, 2**throws))


def votes_missing(first: int, second: int, sure: float) -> int:
    """How many further votes for the leading answer make it that sure; ``sure`` is below 1.

    >>> votes_missing(0, 0, 0.95), votes_missing(3, 1, 0.95)
    (4, 3)
    """
    missing = 0
    while sureness(first + missing, second) < sure:
        missing += 1
    return missing
