"""The generators of a run: which of them each answer is for, and what holds for all of them.

The entry and the index decide. So an answer has the same generator in every run, and more answers per entry leave the
first ones where they were. The generators take turns by their weights. Where an entry begins in these turns depends on
its id: so entries with one answer are shared out too.

Example: ``Generators([Sampler(one, 8, weight=3), Sampler(other, 8)]).of(entry.entry_id, 0).name``
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Awaitable, Callable, Coroutine, Mapping, Sequence

from ..errors import Postponed, RunStopped, ServerGone, ServerRefused
from ..records import Answer, Entry, id_key
from ..servers.client import ChatClient
from ..storage.run_files import MIX
from .sampler import Sampler
from .turns import turns, whole_weights

AHEAD = 8  # requests that may wait for a slow generator, in multiples of its concurrency, before no entry is begun

Prompts = Mapping[str, bytes]  # the JSON of an entry's prompt, by the fingerprint of the generator's settings
Keep = Callable[[int, Answer], None]
Lose = Callable[[Sampler, RunStopped], None]


@dataclass
class Generators:
    """One sampler per generator; all of them have the same ``count`` of answers per entry.

    ``is_mixed`` says that the output has answers of other settings too. ``lose`` is told of a generator whose servers
    are lost while others are left: its answers then wait for the next run. Without it, the run stops.
    """

    samplers: Sequence[Sampler]
    is_mixed: bool = False
    lose: Lose | None = None
    _lost: set[int] = field(default_factory=set, init=False, repr=False)

    @property
    def count(self) -> int:
        """How many answers an entry gets, at most."""
        return self.samplers[0].count

    @property
    def group_size(self) -> int:
        """How many answers one request asks for, at most."""
        return max(sampler.group_size for sampler in self.samplers)

    @property
    def are_several(self) -> bool:
        return len(self.samplers) > 1

    @property
    def clients(self) -> list[ChatClient]:
        return [sampler.client for sampler in self.samplers]

    def of(self, entry_id: str, index: int) -> Sampler:
        """The sampler of an entry's answer."""
        return self._of(id_key(entry_id), index) if self.are_several else self.samplers[0]

    def _of(self, key: int, index: int) -> Sampler:
        return self._turns[(key + index) % len(self._turns)]

    def wants(self, key: int, index: int, made_by: str) -> bool:
        """Whether an entry's answer is to be one with these settings. ``key`` is the entry's id as an int."""
        return index < self.count and self._of(key, index).settings_id == made_by

    @cached_property
    def _turns(self) -> list[Sampler]:
        """Whose turn it is: the same whatever the order in which the generators were named."""
        ordered = self._ordered()
        return [ordered[place] for place in turns(whole_weights([sampler.weight for sampler in ordered]))]

    def _ordered(self) -> list[Sampler]:
        return sorted(self.samplers, key=lambda sampler: sampler.settings_id)

    def maker(self, made_by: str | None) -> Sampler | None:
        """The sampler whose settings have this fingerprint; None if there is none."""
        return next((sampler for sampler in self.samplers if sampler.settings_id == made_by), None)

    def usable(self, answer: Answer, entry_id: str, index: int, limit: int | None) -> bool:
        """Whether an answer that was sampled with ``limit`` tokens counts: by the limit of the generator that it has,
        or would get now."""
        return (self.maker(answer.made_by) or self.of(entry_id, index)).usable(answer, limit)

    def signed(self, answer: Answer, sampler: Sampler) -> Answer:
        """An answer of a sampler, which says so if the output has answers of others."""
        return sampler.signed(answer) if self.is_mixed or self.are_several else answer

    # The settings

    def settings(self) -> dict[str, Any]:
        """All that makes the answers what they are, and the limits of tokens, by the names of the settings file."""
        limits = [sampler.max_tokens for sampler in self._ordered()]
        found = {"answers_per_question": self.count, "max_tokens": limits if len(set(limits)) > 1 else limits[0]}
        if not self.are_several:
            return {**found, **{f"generator {name}": value for name, value in self.samplers[0].settings().items()}}
        ordered = self._ordered()
        weights = whole_weights([sampler.weight for sampler in ordered])
        mix = [
            {"name": sampler.name, "weight": weight, **sampler.settings()} for sampler, weight in zip(ordered, weights)
        ]
        return {**found, MIX: mix}

    # The requests

    def groups(self, entry_id: str, indices: Sequence[int]) -> list[tuple[Sampler, list[int]]]:
        """The indices by their samplers, in the order of the first index of each."""
        if not self.are_several:
            return [(self.samplers[0], list(indices))] if indices else []
        found: dict[int, tuple[Sampler, list[int]]] = {}
        for index in indices:
            sampler = self.of(entry_id, index)
            found.setdefault(id(sampler), (sampler, []))[1].append(index)
        return list(found.values())

    def request_count(self, entry_id: str, missing: Sequence[int]) -> int:
        """How many requests the missing answers take."""
        return sum(-(-len(own) // sampler.group_size) for sampler, own in self.groups(entry_id, missing))

    def requests(
        self, entry: Entry, prompts: Prompts, missing: Sequence[int], keep: Keep, later: list[int]
    ) -> list[Coroutine[Any, Any, None]]:
        """One coroutine per request that the ``missing`` indices need: see ``Sampler.requests``.

        Each raises Postponed if its generator is lost, and others are left.
        """
        if not self.are_several:
            [sampler] = self.samplers
            return sampler.requests(entry, prompts[sampler.settings_id], missing, keep, later)
        found = []
        for sampler, own in self.groups(entry.entry_id, missing):
            spare = [index for index in later if self.of(entry.entry_id, index) is sampler]
            take = functools.partial(_take, own, later, keep)
            made = sampler.requests(entry, prompts[sampler.settings_id], own, take, spare)
            found += [self._unless_lost(sampler, request) for request in made]
        return found

    async def _unless_lost(self, sampler: Sampler, request: Awaitable[None]) -> None:
        try:
            await request
        except (ServerGone, ServerRefused) as error:
            if not self._goes_on_without(sampler, error):
                raise
            raise Postponed(f"the generator {sampler.name} is lost: {error}") from error

    def _goes_on_without(self, sampler: Sampler, error: RunStopped) -> bool:
        """Whether other generators are left when the servers of one are lost."""
        if self.lose is None:
            return False
        is_news = id(sampler) not in self._lost
        self._lost.add(id(sampler))
        if len(self._lost) == len(self.samplers):
            return False
        if is_news:
            sampler.client.stop(error)  # nothing more is sent there
            self.lose(sampler, error)
        return True

    def within_reach(self, entry_id: str, indices: Sequence[int]) -> list[int]:
        """Those of an entry's answers whose generators are not lost."""
        return [index for index in indices if id(self.of(entry_id, index)) not in self._lost]

    def stop(self, error: RunStopped) -> None:
        """Sends nothing from now on: each request for answers raises ``error``."""
        for client in self.clients:
            client.stop(error)

    def may_start(self, check: Callable[[], None]) -> None:
        """Has ``check`` called before each request is sent; it raises BudgetSpent if no more may be."""
        for client in self.clients:
            client.may_start = check

    async def room(self) -> None:
        """Returns once another entry can begin: requests of one generator would soon be sent, and those that wait for
        a slower one are not too many."""
        clients = self.clients
        if len(clients) == 1:
            return await clients[0].room()
        while True:
            for client in clients:
                await client.room(AHEAD)
            if any(client.has_room() for client in clients):
                return
            await first_of([client.room() for client in clients])

    def idle(self) -> bool:
        """Whether a request to any of the generators would be sent at once."""
        return all(client.idle() for client in self.clients)


def _take(own: list[int], later: list[int], keep: Keep, index: int, answer: Answer) -> None:
    """Keeps an answer that was asked for, or that a later request would ask for."""
    if index in later:
        later.remove(index)
    elif index not in own:
        return  # another request asks for it by now
    keep(index, answer)


async def first_of(waits: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Returns when the first of these does; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
