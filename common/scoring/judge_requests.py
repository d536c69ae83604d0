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
        self._parameters = {"temperature": temperature, "max_tokens": max_tokens}
        self._features_work = False  # a request with features was answered

    @property
    def server(self) -> str:
        """The judge's server in messages."""
        return f"the judge's server ({', '.join(self.client.urls)})"

    async def ask(
        self, usage: Usage, messages: Sequence[Message], features: Mapping[str, Any], probe: bool = True
    ) -> Answer:
        """One reply. RequestFailed if the request failed, ServerRefused if the server does not support the features.

        If the first request with features is refused, one without them tells which of the two it is (``probe``).
        """
        try:
            tentative = bool(features) and not self._features_work
            reply = await self._complete(usage.entry_id, messages, features, tentative)
        except RequestFailed as error:
            is_refused = error.status in (400, 422, 500) and not isinstance(error, Retryable)
            if not (probe and features and not self._features_work and is_refused):
                raise
            await self._complete(usage.entry_id, messages, {})
            names = ", ".join(features)
            raise ServerRefused(f"{error}; {self.server} takes no {names}: judge by --judge_mode text") from error
        self._features_work = True
        usage.add(reply)
        return reply

    async def _complete(
        self, entry_id: str, messages: Sequence[Message], features: Mapping[str, Any], tentative: bool = False
    ) -> Answer:
        parameters = {**self._parameters, **features}
        # a reply that we started may be complete as it is: then only its end comes, with its probability
        may_be_empty = "logprobs" in features
        try:
            return (await self.client.complete(dumps(messages), parameters, may_be_empty, entry_id, tentative))[0]
        except RequestFailed as error:
            error.stage = "score"
            raise
