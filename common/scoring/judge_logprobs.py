"""The expected score in a judge's token probabilities (G-Eval, arXiv 2303.16634).

A score may take several tokens: many tokenizers write "10" as "1" and "0". The probability of the token "1" is then
that of the scores 1 and 10 together, and only the next token tells them apart. If the judge's reply went this way, the
next token is in the reply. If not, the server is asked to continue a reply that we start with "1".

>>> mean_and_spread({6: 0.25, 8: 0.75})
(7.5, 0.8660254037844386)
"""

from __future__ import annotations

import math
import re
from typing import Awaitable, Callable, Mapping, NamedTuple, Sequence

from ..errors import RequestFailed, Retryable, ServerRefused
from ..patterns import any_of, regex
from ..records import Answer, Score
from ..servers.messages import Message
from ..thinking import end_of_thinking
from .judge_requests import JudgeRequests, Usage

OPENING = "Score:"  # how we start a reply
LONGEST_OPENING = 200  # characters that may stand before the score
LEAST_MASS = 0.5  # of the judge's probability must be on scores
NEGLIGIBLE = 0.002  # of the range: how far a token that is not asked for may move the expected score
FEATURES = {"logprobs": True, "top_logprobs": 20}  # OpenAI and vLLM give no more than 20
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}  # vLLM, SGLang; llama.cpp needs nothing
CANNOT_CONTINUE = (
    "the digits of the judge's reply do not begin a score, or its server cannot continue a reply that we start: "
    "judge from 0 to 9, or by --judge_mode text"
)

_BEFORE_SCORE = regex(
    r"[^\w/]*?(?:(?:the|my|final|overall|total)\s+)*(?:score|rating|grade|mark)?(?:\s+is)?[^\w/]*?"  # My score is **
    r"(?=-?[0-9])"
    + "(?!"
    + any_of(r"-?[0-9.]+\s*(?:-|\u2013|to)\s*[0-9]", r"-?[0-9.]+\s*%")  # a range or a share is not a score
    + ")",
    re.I,
)
_GLUED = " \t\n:*([\"'\u2581\u0120"  # signs that may stand before a number in the same token


class Step(NamedTuple):
    """One step of a reply: the token that was sampled, and the likeliest tokens with their probabilities (0 to 1)."""

    token: str
    tops: dict[str, float]


StepsAfter = Callable[[str], Awaitable[Sequence[Step]]]


class _CannotContinue(Exception):
    """The server does not continue a reply that we started, or not to a score."""


class ProbabilityReader:
    """Scores by the judge's own distribution over the whole numbers of the range.

    During a run it learns whether the server continues a reply that we start.
    """

    def __init__(self, requests: JudgeRequests, low: float, high: float) -> None:
        self._requests = requests
        self._values = range(math.ceil(low), math.floor(high) + 1)
        self._continues: bool | None = None  # None: not known yet
        self._gave_logprobs = False  # whether any reply came with its logprobs

    async def score(self, messages: list[Message], usage: Usage) -> Score:
        """The expected score of the judge's reply to these messages.

        RequestFailed if a request failed, ServerRefused if the server gives no token probabilities.
        """
        text, steps = await self._first_reply(messages, usage)
        if not steps and not text.strip():
            return Score(None, text, "the judge's reply is empty")
        before, steps = from_the_score(steps)
        started = (OPENING if self._continues else "") + before

        async def steps_after(digits: str) -> list[Step]:
            _, following = await self._continued(messages, started + digits, usage)
            if not self._continues or not continues(digits, following, steps[0], self._values):
                raise _CannotContinue
            return following

        try:
            masses = await score_masses(steps, self._values, steps_after)
        except _CannotContinue:
            return Score(None, text, CANNOT_CONTINUE)
        return _expected_score(masses, text)

    async def _first_reply(self, messages: list[Message], usage: Usage) -> tuple[str, list[Step]]:
        """A reply and its steps: it continues ``OPENING`` if the server can do that, and else begins by itself."""
        if self._continues is not False:
            try:
                return await self._continued(messages, OPENING, usage)
            except RequestFailed as error:
                if self._continues or isinstance(error, Retryable):
                    raise
        reply = await self._requests.ask(usage, messages, FEATURES)
        self._continues = False
        return reply.text, self._steps(reply)

    async def _continued(self, messages: list[Message], started: str, usage: Usage) -> tuple[str, list[Step]]:
        """A reply that continues ``started``, with this text before it, and the steps after it."""
        if self._continues is False:
            raise _CannotContinue
        turns = [*messages, {"role": "assistant", "content": started}]
        reply = await self._requests.ask(usage, turns, {**FEATURES, **CONTINUE}, probe=False)
        steps = self._steps(reply)
        begins_anew = bool(steps) and OPENING.lower().startswith(steps[0].token.strip().lower() or "?")
        # a server that continued before may still say "Score" at times, and a reply without a score tells nothing
        if self._continues is None and (begins_anew or from_the_score(steps)[1]):
            self._continues = not begins_anew
        if begins_anew and started != OPENING:
            raise _CannotContinue
        is_whole = begins_anew or not self._continues or reply.text.startswith(started)
        return reply.text if is_whole else started + reply.text, steps

    def _steps(self, reply: Answer) -> list[Step]:
        if reply.logprobs is None and (self._gave_logprobs or not reply.text):
            return []  # filtered or empty: this is about the reply, not about the server
        try:
            steps = steps_of(reply.logprobs)
        except ValueError as error:
            if self._gave_logprobs:
                return []
            text = f"{self._requests.server} gives {error}: judge by --judge_mode text or json"
            raise ServerRefused(text) from error
        self._gave_logprobs = True
        return steps


def _expected_score(masses: dict[int, float], text: str) -> Score:
    """The score of these masses; unscored if less than ``LEAST_MASS`` is on scores."""
    result, mass = mean_and_spread(masses), sum(masses.values())
    probabilities = {str(value): round(mass, 6) for value, mass in sorted(masses.items())}
    if result is None or mass < LEAST_MASS:
        reason = f"{mass:.0%} of the judge's probability is on scores"
        return Score(None, text, reason, probabilities=probabilities)
    mean, spread = result
    return Score(mean, text, spread=spread, probabilities=probabilities)


def steps_of(content: object) -> list[Step]:
    """The steps of a choice's ``logprobs.content`` in OpenAI's form; ValueError if it has another form.

    >>> steps_of([{"token": "7", "top_logprobs": [{"token": "7", "logprob": 0.0}]}])
    [Step(token='7', tops={'7': 1.0})]
    """
    if not isinstance(content, list):
        raise ValueError("no logprobs")
    try:
        return [
            Step(
                _text(step["token"]),
                {_text(top["token"]): _probability(top["logprob"]) for top in step["top_logprobs"]},
            )
            for step in content
        ]
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError("logprobs without top_logprobs") from error


def _text(token: object) -> str:
    if not isinstance(token, str):
        raise TypeError("a token that is not a text")
    return token


def _probability(logprob: float | None) -> float:
    """SGLang writes -inf for a token that cannot come; in JSON that is null."""
    return 0.0 if logprob is None else min(1.0, math.exp(logprob))


def from_the_score(steps: Sequence[Step]) -> tuple[str, list[Step]]:
    """The text of a reply before its score, and its steps from there; no steps if it begins with something else.

    Thinking blocks are passed over. The tokens of the first step are without the signs before the number.
    """
    text = "".join(step.token for step in steps)
    begin = end_of_thinking(text)
    before = _BEFORE_SCORE.match(text, begin, begin + LONGEST_OPENING)
    if before is None:
        return text, []
    start, place = before.end(), 0
    for number, step in enumerate(steps):
        place += len(step.token)
        if place > start:
            return text[:start], [Step(text[start:place], _without_signs(step.tops)), *steps[number + 1 :]]
    return text, []


def _without_signs(tops: Mapping[str, float]) -> dict[str, float]:
    bare: dict[str, float] = {}
    for token, probability in tops.items():
        name = token.lstrip(_GLUED)
        bare[name] = bare.get(name, 0.0) + probability
    return bare


async def score_masses(steps: Sequence[Step], values: Sequence[int], steps_after: StepsAfter) -> dict[int, float]:
    """The probability (0 to 1, at most 1 together) of each of ``values`` as the number that begins at ``steps[0]``.

    ``steps_after(digits)`` gives the steps that follow these digits. It is called only if the result could move the
    expected score by more than ``NEGLIGIBLE`` of the range. The probability of other numbers is left out.
    """
    masses = _Masses(values)
    if steps:
        await masses.add_all("", 1.0, steps, steps_after)
    return masses.by_value


class _Masses:
    """Adds up the probability of each value over the ways to write it."""

    def __init__(self, values: Sequence[int]) -> None:
        self.by_value: dict[int, float] = {}
        self._values = {str(value): value for value in values}
        self._span = max(values) - min(values)

    async def add_all(self, before: str, weight: float, steps: Sequence[Step], steps_after: StepsAfter) -> None:
        """Adds every number that begins with the digits ``before``, which have the probability ``weight``."""
        ended = 1.0  # the share that ends the number here
        for token, probability in steps[0].tops.items():
            digits = _digits(token, is_first=not before)
            if not digits:
                continue
            ended -= probability
            number, mass = before + digits, weight * probability
            # if the tokenizer has "10" as one token, no "0" follows a "1"
            is_complete = digits != token or any(before + top in self._longer(number) for top in steps[0].tops)
            was_sampled = token == steps[0].token and len(steps) > 1
            if is_complete or not (was_sampled or self._matters(number, mass)):
                self._add(number, mass)
            else:
                await self.add_all(number, mass, steps[1:] if was_sampled else await steps_after(number), steps_after)
        if before:
            self._add(before, weight * ended)

    def _add(self, number: str, mass: float) -> None:
        if number in self._values and mass > 0:
            value = self._values[number]
            self.by_value[value] = self.by_value.get(value, 0.0) + mass

    def _longer(self, number: str) -> list[str]:
        """The values that begin with these digits and have more."""
        return [name for name in self._values if name != number and name.startswith(number)]

    def _matters(self, number: str, mass: float) -> bool:
        """Whether the digits after these could move the expected score by more than ``NEGLIGIBLE`` of the range."""
        longer, value = self._longer(number), self._values.get(number)
        distances = [1.0 if value is None else abs(self._values[name] - value) / self._span for name in longer]
        return bool(distances) and mass * max(distances) >= NEGLIGIBLE


def continues(digits: str, following: Sequence[Step], first: Step, values: Sequence[int]) -> bool:
    """Whether ``following`` can come after ``digits``, and is not a reply begun anew; ``first`` began the number.

    A reply begun anew repeats the first digit about as likely as the first time, where this digit leads to no score,
    or mostly leads to no score at all.
    """
    if not following:
        return False
    names = [str(value) for value in values]

    def leads_to_score(token: str) -> bool:
        return any(name.startswith(digits + token) for name in names)

    next_digits = {token: _digits(token, is_first=False) for token in following[0].tops}
    lost = sum(following[0].tops[token] for token, more in next_digits.items() if more and not leads_to_score(more))
    again = sum(following[0].tops[token] for token, more in next_digits.items() if more == digits[0])
    begins_anew = not leads_to_score(digits[0]) and again >= first.tops.get(digits[0], 1.0) / 2
    return lost <= 0.5 and not begins_anew


def _digits(token: str, is_first: bool) -> str:
    """The digits that a token begins with; at the first place also the sign."""
    match = re.match(r"-?[0-9]*" if is_first else "[0-9]*", token)
    return match.group() if match else ""


def mean_and_spread(masses: Mapping[int, float]) -> tuple[float, float] | None:
    """The expected score and its standard deviation, relative to the sum of the masses; None if the sum is 0."""
    total = sum(masses.values())
    if total <= 0:
        return None
    mean = sum(value * mass for value, mass in masses.items()) / total
    mean = min(max(mean, min(masses)), max(masses))  # rounding must not leave the range
    return mean, math.sqrt(sum(mass * (value - mean) ** 2 for value, mass in masses.items()) / total)
