"""Entry -> answers: the requests that sample an entry's missing answers, one or several choices per request.

A sampler has one generator. ``Generators`` says which sampler each answer is for.

Example: ``for request in sampler.requests(entry, messages, [2, 3], keep=lambda index, answer: ...): await request``
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable, Coroutine, Sequence

from ..errors import RequestFailed
from ..records import Answer, Entry, fingerprint
from ..servers.client import ChatClient
from ..servers.known_servers import is_cut
from ..servers.prefill import Prefill


@dataclass
class Sampler:
    """The settings of the generator: ``count`` answers per entry, at most ``per_request`` of them in one request."""

    client: ChatClient
    count: int
    per_request: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    system_prompt: str | None = None
    prompt_template: str | None = None  # the text around each question, which the entries have already
    prefill: Prefill | None = None  # what each answer begins with
    label: str | None = None  # the generator's own name, where it is not that of its model
    weight: float = 1.0  # its share of the answers, if there are several generators

    @property
    def name(self) -> str:
        """The generator's name: its model, unless it has one of its own."""
        return self.label or self.client.model

    def settings(self) -> dict[str, Any]:
        """All that makes an answer what it is, except the entry and the token limit."""
        return {
            "model": self.client.model,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "system_prompt": self.system_prompt,
            "extra_body": self.client.extra_body,
            **({} if self.prompt_template is None else {"prompt_template": fingerprint(self.prompt_template)}),
            **({} if self.prefill is None else {"prefill": self.prefill.text}),
        }

    @cached_property
    def settings_id(self) -> str:
        """The fingerprint of the settings: it tells which of the ledger's answers are this sampler's."""
        return fingerprint(self.settings())

    def usable(self, answer: Answer, limit: int | None) -> bool:
        """Whether an answer that was sampled with ``limit`` tokens counts: not if a smaller limit than ours cut it."""
        was_smaller = limit is not None and (self.max_tokens is None or limit < self.max_tokens)
        return not (was_smaller and answer.finish_reason is not None and is_cut(answer.finish_reason))

    def signed(self, answer: Answer) -> Answer:
        """An answer of this sampler, which says so."""
        answer.model, answer.made_by, answer.generator = self.client.model, self.settings_id, self.label
        return answer

    @property
    def group_size(self) -> int:
        """How many answers one request asks for, at most."""
        # At temperature 0 all choices of a request are one text, and vLLM refuses such a request.
        return 1 if self.temperature == 0 else self.per_request

    def requests(
        self,
        entry: Entry,
        messages: bytes,
        missing: Sequence[int],
        keep: Callable[[int, Answer], None],
        later: list[int] | None = None,
    ) -> list[Coroutine[Any, Any, None]]:
        """One coroutine per request that the ``missing`` indices need; ``keep`` is given each answer as it arrives.

        ``messages`` is the JSON of the prompt. A server may send more choices than it was asked for: they serve the
        indices whose request was not sent yet, and those of ``later``, from which they are removed. Each coroutine
        raises RequestFailed with the stage "sample".
        """
        size = self.group_size
        groups = [list(missing[start : start + size]) for start in range(0, len(missing), size)]
        unsent = [[] if later is None else later, *groups]
        return [self._request(entry, messages, group, unsent, keep) for group in groups]

    async def _request(
        self,
        entry: Entry,
        messages: bytes,
        group: list[int],
        unsent: list[list[int]],
        keep: Callable[[int, Answer], None],
    ) -> None:
        """Sends requests until each index of the group has its answer: a server may return fewer choices than ``n``."""
        while group:
            parameters = {**self._parameters, "seed": self._seed_for(entry, group[0]), "n": len(group)}
            if len(group) == 1:
                del parameters["n"]
            begin = functools.partial(_begin, group, len(group), unsent)
            try:
                answers = await self.client.complete(
                    messages, parameters, entry_id=entry.entry_id, begin=begin, index=group[0]
                )
            except _Outdated:
                continue
            except RequestFailed as error:
                error.stage = "sample"
                raise
            if self.prefill is not None:
                await self.prefill.join(answers, self.client)
            for answer in answers:
                source = group or next((other for other in reversed(unsent) if other), [])
                if source:
                    keep(source.pop(0), answer)
            unsent.append(group)

    @cached_property
    def _parameters(self) -> dict[str, Any]:
        fields = {} if self.prefill is None else self.prefill.fields
        return {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens, **fields}

    def _seed_for(self, entry: Entry, index: int) -> int | None:
        """The candidate's own seed (31 bits): the same in every run, and another one for each entry and index."""
        return None if self.seed is None else int(fingerprint([self.seed, entry.entry_id, index], 8), 16) >> 1


class _Outdated(Exception):
    """Other requests brought answers that this one was to ask for."""


def _begin(group: list[int], asked: int, unsent: list[list[int]]) -> None:
    """Notes that the group's request is sent now; _Outdated if it asks for more than the group still needs."""
    if len(group) != asked:
        raise _Outdated
    unsent[:] = [other for other in unsent if other is not group]
