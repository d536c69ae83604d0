"""The judge's requests: what is sent with each, what they took, and what a refusal means.

Example: ``reply = await JudgeRequests(client, 0.0, 1024).ask(Usage(entry_id), messages, {"logprobs": True})``
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ..errors import RequestFailed, Retryable, ServerRefused
from ..fast_json import dumps
from ..records import Answer
from ..servers.client import ChatClient
from ..servers.messages import Message
from ..thinking import without_thoughts

FILTERED = ("content_filter", "safety", "refusal", "recitation", "prohibited_content", "blocklist", "spii")
MORE_ROOM = 2  # times the tokens of a reply that was cut or empty, once
ONLY_THOUGHTS = "is all in its reasoning: raise --judge_max_tokens, or correct the server's reasoning parser"
LIMITS = ("max_tokens", "max_completion_tokens")  # of a reply, in the fields of a request


def fault_of(reply: Answer) -> str | None:
    """Why a reply cannot hold a verdict: the rest of a sentence that begins with "the judge's reply"; else None.

    >>> fault_of(Answer("Score: 8", "length")), fault_of(Answer("", "stop")), fault_of(Answer("Score: 8"))
    ('was cut by its length', 'is empty', None)
    """
    if reply.reasoning and not reply.text.strip():
        return f"was cut by its length, and {ONLY_THOUGHTS}" if reply.cut else ONLY_THOUGHTS
    if reply.cut:
        return "was cut by its length"  # it may have been about to say something else
    if (reply.finish_reason or "").lower() in FILTERED:
        return f"was stopped by the server's filter ({reply.finish_reason})"
    if not (without_thoughts(reply.text) or "").strip():
        return "has only thoughts" if reply.text.strip() else "is empty"
    return None


class Usage:
    """Adds up the requests and tokens of one score of an entry."""

    def __init__(self, entry_id: str) -> None:
        self.entry_id = entry_id
        self.spent = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}

    def add(self, reply: Answer) -> None:
        """Counts one request and the tokens that the server counted for it."""
        self.spent["requests"] += 1
        for name in ("prompt_tokens", "completion_tokens"):
            tokens = (reply.usage or {}).get(name)
            self.spent[name] += tokens if isinstance(tokens, int) and tokens > 0 else 0


class JudgeRequests:
    """Sends the judge's requests. ``features`` are the fields of a request that only some servers support."""

    def __init__(self, client: ChatClient, temperature: float | None, max_tokens: int) -> None:
        self.client = client
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._features_work = False  # a request with features was answered

    @property
    def server(self) -> str:
        """The judge's server in messages."""
        return f"the judge's server ({', '.join(self.client.urls)})"

    async def ask_with_room(self, usage: Usage, messages: Sequence[Message], features: Mapping[str, Any]) -> Answer:
        """One reply, as ``ask``. If it is cut or has only thoughts, or nothing, the request is repeated with more room.

        If the larger request is refused, the first reply counts.
        """
        reply = await self.ask(usage, messages, features)
        is_filtered = (reply.finish_reason or "").lower() in FILTERED
        if fault_of(reply) is None or is_filtered or any(self.client.extra_body.get(name) for name in LIMITS):
            return reply
        try:
            return await self.ask(usage, messages, features, room=MORE_ROOM)
        except Retryable:
            raise
        except RequestFailed:
            return reply

    async def ask(
        self, usage: Usage, messages: Sequence[Message], features: Mapping[str, Any], probe: bool = True, room: int = 1
    ) -> Answer:
        """One reply, of at most ``room`` times the usual tokens.

        RequestFailed if the request failed, ServerRefused if the server does not support the features. If the first
        request with features is refused, one without them tells which of the two it is (``probe``).
        """
        try:
            tentative = bool(features) and not self._features_work
            reply = await self._complete(usage.entry_id, messages, features, room, tentative)
        except RequestFailed as error:
            is_refused = error.status in (400, 422, 500) and not isinstance(error, Retryable)
            if not (probe and features and not self._features_work and is_refused):
                raise
            await self._complete(usage.entry_id, messages, {}, room)
            names = ", ".join(features)
            raise ServerRefused(f"{error}; {self.server} takes no {names}: judge by --judge_mode text") from error
        self._features_work = True
        usage.add(reply)
        return reply

    async def _complete(
        self,
        entry_id: str,
        messages: Sequence[Message],
        features: Mapping[str, Any],
        room: int,
        tentative: bool = False,
    ) -> Answer:
        parameters = {"temperature": self._temperature, "max_tokens": self._max_tokens * room, **features}
        # an empty reply is not a fault of the server: it may end a reply that we started, or be a refusal
        try:
            return (await self.client.complete(dumps(messages), parameters, True, entry_id, tentative))[0]
        except RequestFailed as error:
            error.stage = "score"
            raise
