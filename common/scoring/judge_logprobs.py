"""The distribution over scores in a judge's token probabilities (G-Eval, arXiv 2303.16634).

A score may take several tokens: "10" is "1" and "0" to many a tokenizer, so that what stands at the first place is
neither a 1 nor a 10 before the next place is known. That place is the reply's own where it took this way, and is
asked for where it did not.

Example: ``masses = await score_masses(steps, range(0, 11), ask)``; then ``mean_and_spread(masses)``
"""

from __future__ import annotations

import math
import re
from typing import Awaitable, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .judge_reply import THINKING_ENDS

NEGLIGIBLE = 0.002  # of the range: what a place that was not asked for may move the expected score

_BEFORE_A_SCORE = re.compile(
    r"[^\w/]*?(?:(?:the|my|final|overall|total)\s+)*(?:score|rating|grade|mark)?(?:\s+is)?[^\w/]*?"
    r"(?=-?[0-9])(?!-?[0-9.]+\s*(?:(?:-|\u2013|to)\s*[0-9]|%))",
    re.I,
)
_GLUED = " \t\n:*([\"'\u2581\u0120"  # what may stand in one token with a number, before it


class Step(NamedTuple):
    """One place of a reply: the token that was taken, and the likeliest ones with their probabilities."""

    token: str
    tops: Dict[str, float]


Ask = Callable[[str], Awaitable[Sequence[Step]]]


def steps_of(content: object) -> List[Step]:
    """The steps of a choice's ``logprobs.content`` (OpenAI's form); ValueError if it has another."""
    if not isinstance(content, list):
        raise ValueError("no logprobs")
    try:
        return [
            Step(place["token"], {top["token"]: _probability(top["logprob"]) for top in place["top_logprobs"]})
            for place in content
        ]
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError("logprobs without top_logprobs") from error


def _probability(logprob: Optional[float]) -> float:
    """SGLang writes -inf for what cannot come, which JSON has as null."""
    return 0.0 if logprob is None else math.exp(logprob)


def from_the_score(steps: Sequence[Step]) -> Tuple[str, List[Step]]:
    """What a reply says before its score, and its steps from there; no steps if it begins with something else.

    Thinking blocks are passed over. The first step's tokens are without what stands before the number.
    """
    text = "".join(step.token for step in steps)
    thought = [match.end() for match in THINKING_ENDS.finditer(text)]
    found = _BEFORE_A_SCORE.match(text, thought[-1] if thought else 0)
    if found is None:
        return text, []
    place = 0
    for number, step in enumerate(steps):
        place += len(step.token)
        if place > found.end():
            tops: Dict[str, float] = {}
            for token, probability in step.tops.items():
                bare = token.lstrip(_GLUED)
                tops[bare] = tops.get(bare, 0.0) + probability
            return text[: found.end()], [Step(text[found.end() : place], tops), *steps[number + 1 :]]
    return text, []


async def score_masses(steps: Sequence[Step], values: Sequence[int], ask: Ask) -> Dict[int, float]:
    """The probability (0 to 1, at most 1 together) of each of ``values`` as the number that begins at ``steps[0]``.

    ``ask(digits)`` gives the steps that follow these digits; it is called only where the outcome could move the
    expected score by more than ``NEGLIGIBLE`` of the range. What falls on no value is left out.
    """
    names = {str(value): value for value in values}
    span = max(values) - min(values)
    masses: Dict[int, float] = {}

    def add(name: str, mass: float) -> None:
        if name in names and mass > 0:
            masses[names[name]] = masses.get(names[name], 0.0) + mass

    def longer(name: str) -> List[str]:
        return [other for other in names if other != name and other.startswith(name)]

    def doubt(name: str) -> float:
        """How far the score may be from what these digits say alone, as a share of the range."""
        here = names.get(name)
        return max((1.0 if here is None else abs(names[other] - here) / span for other in longer(name)), default=0.0)

    async def walk(before: str, weight: float, steps: Sequence[Step]) -> None:
        ended = 1.0  # the share that ends the number here
        for token, probability in steps[0].tops.items():
            digits = _digits(token, first=not before)
            if not digits:
                continue
            ended -= probability
            name, mass = before + digits, weight * probability
            # where the tokenizer has "10" as one token, "1" is followed by no "0"
            whole = digits != token or any(before + top in longer(name) for top in steps[0].tops)
            taken = token == steps[0].token and len(steps) > 1
            if whole or (not taken and (mass * doubt(name) < NEGLIGIBLE or not longer(name))):
                add(name, mass)
            else:
                await walk(name, mass, steps[1:] if taken else await ask(name))
        if before:
            add(before, weight * ended)

    if steps:
        await walk("", 1.0, steps)
    return masses


def continues(digits: str, following: Sequence[Step], first: Step, values: Sequence[int]) -> bool:
    """Whether ``following`` can be what comes after ``digits``, and is no reply begun anew; ``first`` began the number.

    A reply begun anew holds the begun digit about as likely as the first time, where it leads to no score, or mostly
    leads to no score at all.
    """
    if not following:
        return False
    names = [str(value) for value in values]

    def leads(token: str) -> bool:
        return any(name.startswith(digits + token) for name in names)

    after = {token: _digits(token, first=False) for token in following[0].tops}
    lost = sum(following[0].tops[token] for token, led in after.items() if led and not leads(led))
    again = sum(following[0].tops[token] for token, led in after.items() if led == digits[0])
    anew = not leads(digits[0]) and again >= first.tops.get(digits[0], 1.0) / 2
    return lost <= 0.5 and not anew


def _digits(token: str, first: bool) -> str:
    """The digits (and, at the first place, the sign) that a token begins with."""
    found = re.match(r"-?[0-9]*" if first else "[0-9]*", token)
    return found.group() if found else ""


def mean_and_spread(masses: Dict[int, float]) -> Optional[Tuple[float, float]]:
    """The expected score and its standard deviation, the masses (of any sum above 0) taken as the whole."""
    total = sum(masses.values())
    if total <= 0:
        return None
    mean = sum(value * mass for value, mass in masses.items()) / total
    mean = min(max(mean, min(masses)), max(masses))  # rounding must not leave the range
    return mean, math.sqrt(sum(mass * (value - mean) ** 2 for value, mass in masses.items()) / total)
