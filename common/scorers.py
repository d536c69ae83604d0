"""(Entry, answer) -> Score: the judge, an LLM that scores, and ``match``, a rule that does.

A scorer is a ``Scorer``: its settings, which make its scores what they are, and a coroutine that scores one answer.

Example: ``score = await match_scorer(0, 10).score(entry, [], "2 + 2 is 4")``
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Awaitable, Callable, Dict, Optional, Sequence

from common.client import ChatClient
from common.errors import RequestFailed
from common.matching import matches
from common.messages import JUDGE_PROMPT, Message, ask_again, judge_messages, judge_text, number_text
from common.records import Answer, Entry, Score, fingerprint
from common.verdicts import parse_verdict


@dataclass(frozen=True)
class Scorer:
    """``score(entry, images, text)`` gives the score of one text; ``images`` are the entry's URLs where wanted."""

    settings: Dict[str, Any]
    score: Callable[[Entry, Sequence[str], str], Awaitable[Score]]
    wants_images: bool = False

    @cached_property
    def made_by(self) -> str:
        """The fingerprint of the settings: which of the ledger's scores are this scorer's."""
        return fingerprint(self.settings)


def match_scorer(low: float, high: float) -> Scorer:
    """``high`` where the answer ends in the reference, ``low`` where not, unscored where there is no reference."""

    async def score(entry: Entry, _: Sequence[str], text: str) -> Score:
        matched = None if entry.reference is None else matches(entry.reference, text)
        if matched is None:
            return Score(None, unscored="no reference to match")
        return Score(high if matched else low)

    return Scorer({"scorer": "match", "score_min": low, "score_max": high}, score)


def judge_scorer(
    client: ChatClient,
    low: float,
    high: float,
    template: Optional[str] = None,
    temperature: Optional[float] = 0.0,
    max_tokens: Optional[int] = None,
    images: bool = False,
) -> Scorer:
    """An LLM's score from ``low`` to ``high``: its reply's last verdict (see verdicts.py).

    A reply without one is answered and asked again, ``client.max_retries`` times at most; then the answer is
    unscored, with the last reply kept. A request that fails raises RequestFailed: that is no score either.
    """
    parameters = {"temperature": temperature, "max_tokens": max_tokens}
    settings = {
        "scorer": "judge",
        "model": client.model,
        "score_min": low,
        "score_max": high,
        "prompt": fingerprint(template or JUDGE_PROMPT),
        "judge_temperature": temperature,
        "judge_max_tokens": max_tokens,
        "judge_images": images,
        "extra_body": client.extra_body,
    }

    async def ask(messages: Sequence[Message]) -> Answer:
        try:
            return (await client.complete(json.dumps(messages).encode(), parameters))[0]
        except RequestFailed as error:
            error.stage = "score"
            raise

    async def score(entry: Entry, shown: Sequence[str], text: str) -> Score:
        asked = judge_messages(judge_text(entry, text, low, high, template), shown)
        messages = asked
        for _ in range(client.max_retries + 1):
            reply = await ask(messages)
            # a reply that was cut may have been about to say something else
            value = None if reply.cut else parse_verdict(reply.text, low, high)
            if value is not None:
                return Score(value, reply.text)
            messages = ask_again(asked, reply.text, low, high)
        why = "was cut by its length" if reply.cut else f"has no score from {number_text(low)} to {number_text(high)}"
        return Score(None, reply.text, f"the judge's reply {why}")

    return Scorer(settings, score, wants_images=images)
