"""The judge: an LLM that scores, by its words, by a JSON object, or by its token probabilities.

Every way ends in a number of the range or in an unscored answer with its reason; a request that fails is neither.

Example: ``score = await Judge(client, 0, 10, mode="logprob").score(entry, [], "2 + 2 is 4")``
"""

from __future__ import annotations

import asyncio
import math
import statistics
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..errors import RequestFailed, Retryable, ServerRefused
from ..fast_json import dumps
from ..records import Answer, Entry, Score, fingerprint, number_text
from ..servers.client import ChatClient
from ..servers.messages import Message
from .judge_logprobs import Step, continues, from_the_score, mean_and_spread, score_masses, steps_of
from .judge_prompt import ENDINGS, JUDGE_PROMPT, ask_again, judge_messages, judge_text
from .judge_reply import parse_verdict

MODES = ("text", "json", "logprob")
OPENING = "Score:"  # what a reply is begun with where token probabilities are read
LEAST_MASS = 0.5  # of the judge's probability must be on scores
TOP = 20  # likeliest tokens asked for at each place: the most that OpenAI and vLLM give

SCHEMA = {
    "type": "object",
    "properties": {"reasoning": {"type": "string"}, "score": {"type": "number"}},
    "required": ["reasoning", "score"],
    "additionalProperties": False,
}
FEATURES: Dict[str, Dict[str, Any]] = {
    "text": {},
    "json": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
        }
    },
    "logprob": {"logprobs": True, "top_logprobs": TOP},
}
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}  # vLLM's and SGLang's; llama.cpp just does
NOT_CONTINUED = (
    "the digits that the judge's reply begins with lead to no score, or its server does not go on with a begun reply: "
    "judge from 0 to 9, or by --judge_mode text"
)


class _NoContinuing(Exception):
    """The server does not go on with a reply that was begun, or not to a score."""


@dataclass
class Judge:
    """Scores from ``low`` to ``high``. ``samples`` replies are asked for and their mean is the score.

    ``max_tokens`` None: 1024 where the judge reasons, 8 where only its score is read. ``template`` and ``images`` as
    in messages.py. ``score`` raises RequestFailed, or ServerRefused where the server cannot do what ``mode`` needs.
    """

    client: ChatClient
    low: float
    high: float
    mode: str = "text"
    samples: int = 1
    template: Optional[str] = None
    temperature: Optional[float] = 0.0
    max_tokens: Optional[int] = None
    images: bool = False
    _understood: bool = field(default=False, init=False)  # a request with the mode's features was answered
    _continues: Optional[bool] = field(default=None, init=False)  # whether the server goes on with a begun reply
    _gives: bool = field(default=False, init=False)  # a reply came with its logprobs

    def settings(self) -> Dict[str, Any]:
        """All that makes a score what it is, but for the entry and the answer."""
        return {
            "scorer": "judge",
            "model": self.client.model,
            "score_min": self.low,
            "score_max": self.high,
            "prompt": fingerprint(self.template or JUDGE_PROMPT + ENDINGS[self.mode]),
            "judge_mode": self.mode,
            "judge_samples": self.samples,
            "judge_temperature": self.temperature,
            "judge_max_tokens": self._limit(),
            "judge_images": self.images,
            "extra_body": self.client.extra_body,
        }

    async def score(self, entry: Entry, shown: Sequence[str], text: str) -> Score:
        """The score of one answer's text; ``shown`` are the URLs of the entry's images."""
        prompt = judge_text(entry, text, self.low, self.high, self.template, self.mode)
        asked = judge_messages(prompt, shown)
        one = self._by_probability if self.mode == "logprob" else self._by_word
        if self.samples == 1:
            return await one(entry.entry_id, asked)
        asking = [asyncio.ensure_future(one(entry.entry_id, asked)) for _ in range(self.samples)]
        try:
            return _mean(await asyncio.gather(*asking))
        finally:  # where one fails, there is no score: the others need not go on
            for task in asking:
                task.cancel()

    def _limit(self) -> int:
        return self.max_tokens or (8 if self.mode == "logprob" else 1024)

    async def _by_word(self, entry_id: str, asked: List[Message]) -> Score:
        """The last verdict of a reply (see verdicts.py); a reply without one is answered and asked again."""
        messages, usage = asked, _Usage(entry_id)
        for _ in range(self.client.max_retries + 1):
            reply = await self._ask(usage, messages, FEATURES[self.mode])
            # a reply that was cut may have been about to say something else
            value = None if reply.cut else parse_verdict(reply.text, self.low, self.high)
            if value is not None:
                return Score(value, reply.text, judge_usage=usage.spent())
            messages = ask_again(asked, reply.text, self.low, self.high, self.mode)
        bounds = f"from {number_text(self.low)} to {number_text(self.high)}"
        why = "was cut by its length" if reply.cut else f"has no score {bounds}"
        return Score(None, reply.text, f"the judge's reply {why}", judge_usage=usage.spent())

    async def _by_probability(self, entry_id: str, asked: List[Message]) -> Score:
        """The expected score under the judge's own distribution over the whole numbers of the range."""
        usage = _Usage(entry_id)
        text, steps = await self._reply(asked, usage)
        before, steps = from_the_score(steps)
        begun = (OPENING if self._continues else "") + before
        values = range(math.ceil(self.low), math.floor(self.high) + 1)

        async def follow(digits: str) -> List[Step]:
            _, following = await self._continued(asked, begun + digits, usage)
            if not self._continues or not continues(digits, following, steps[0], values):
                raise _NoContinuing
            return following

        try:
            masses = await score_masses(steps, values, follow)
        except _NoContinuing:
            return Score(None, text, NOT_CONTINUED, judge_usage=usage.spent())
        found = mean_and_spread(masses)
        seen = {str(value): round(mass, 6) for value, mass in sorted(masses.items())}
        if found is None or sum(masses.values()) < LEAST_MASS:
            why = f"{sum(masses.values()):.0%} of the judge's probability is on scores"
            return Score(None, text, why, probabilities=seen, judge_usage=usage.spent())
        mean, spread = found
        return Score(mean, text, spread=spread, probabilities=seen, judge_usage=usage.spent())

    async def _reply(self, asked: List[Message], usage: _Usage) -> Tuple[str, List[Step]]:
        """A reply and its steps: one that goes on from ``OPENING`` where the server can, else one of its own."""
        if self._continues is not False:
            try:
                return await self._continued(asked, OPENING, usage)
            except RequestFailed as error:
                if self._continues or isinstance(error, Retryable):
                    raise
        reply = await self._ask(usage, asked, FEATURES["logprob"])
        self._continues = False
        return reply.text, self._steps(reply)

    async def _continued(self, asked: List[Message], begun: str, usage: _Usage) -> Tuple[str, List[Step]]:
        if self._continues is False:
            raise _NoContinuing
        messages = [*asked, {"role": "assistant", "content": begun}]
        reply = await self._ask(usage, messages, {**FEATURES["logprob"], **CONTINUE}, probe=False)
        steps = self._steps(reply)
        anew = bool(steps) and OPENING.lower().startswith(steps[0].token.strip().lower() or "?")
        # one that went on before may still say "Score" at times, and a reply without a score tells nothing
        if self._continues is None and (anew or from_the_score(steps)[1]):
            self._continues = not anew
        if anew and begun != OPENING:
            raise _NoContinuing
        whole = anew or not self._continues or reply.text.startswith(begun)
        return reply.text if whole else begun + reply.text, steps

    def _steps(self, reply: Answer) -> List[Step]:
        if reply.logprobs is None and (self._gives or not reply.text):
            return []  # filtered, or nothing said: this reply's matter, not the server's
        try:
            steps = steps_of(reply.logprobs)
            self._gives = True
            return steps
        except ValueError as error:
            raise ServerRefused(f"{self._where()} gives {error}: judge by --judge_mode text or json") from error

    def _where(self) -> str:
        return f"the judge's server ({', '.join(self.client.urls)})"

    async def _ask(
        self, usage: _Usage, messages: Sequence[Message], features: Dict[str, Any], probe: bool = True
    ) -> Answer:
        """One reply. Where the first one with ``features`` is refused, whether one without them is tells why."""
        try:
            reply = await self._complete(usage.entry_id, messages, features)
        except RequestFailed as error:
            refused = error.status in (400, 422, 500) and not isinstance(error, Retryable)
            if not (probe and features and not self._understood and refused):
                raise
            await self._complete(usage.entry_id, messages, {})
            names = ", ".join(features)
            raise ServerRefused(f"{error}; {self._where()} takes no {names}: judge by --judge_mode text") from error
        self._understood = True
        usage.add(reply)
        return reply

    async def _complete(self, entry_id: str, messages: Sequence[Message], features: Dict[str, Any]) -> Answer:
        parameters = {"temperature": self.temperature, "max_tokens": self._limit(), **features}
        try:
            # a begun reply may be complete as it is: nothing comes after it but its end, with its probability
            return (await self.client.complete(dumps(messages), parameters, "logprobs" in features, entry_id))[0]
        except RequestFailed as error:
            error.stage = "score"
            raise


class _Usage:
    """Adds up what the requests for one score of an entry took."""

    def __init__(self, entry_id: str) -> None:
        self.entry_id = entry_id
        self._spent = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}

    def add(self, reply: Answer) -> None:
        self._spent["requests"] += 1
        for name in ("prompt_tokens", "completion_tokens"):
            tokens = (reply.usage or {}).get(name)
            self._spent[name] += tokens if isinstance(tokens, int) and tokens > 0 else 0

    def spent(self) -> Dict[str, int]:
        return self._spent


def _mean(scores: Sequence[Score]) -> Score:
    """The mean of several replies' scores, those without one left out, and their standard deviation."""
    samples = [{"score": score.value, "reply": score.judge_reply} for score in scores]
    values = [score.value for score in scores if score.value is not None]
    usage: Dict[str, int] = {}
    for score in scores:
        for name, number in (score.judge_usage or {}).items():
            usage[name] = usage.get(name, 0) + number
    if not values:
        return Score(None, unscored=scores[0].unscored, judge_samples=samples, judge_usage=usage)
    spread = statistics.pstdev(values)
    return Score(statistics.fmean(values), spread=spread, judge_samples=samples, judge_usage=usage)
