"""What ends the sampling of a run before its entries do: ``--token_budget``, ``--time_budget``, ``--target_accepted``.

What is in flight then is finished and scored. Nothing more is sampled.

Example: ``limits = Limits(job, time.monotonic()); limits.check_tokens(); limits.count(record); limits.cut_short``
"""

from __future__ import annotations

import asyncio
import time
from typing import Awaitable, Callable

from ..errors import BudgetSpent, RunStopped, TargetReached
from ..records import Record
from .amounts import duration
from .job import Job
from .target import Target


class Limits:
    """The limits of a job that began at ``begun`` by ``clock``.

    ``cut_short`` is the reason why nothing more is sampled, once there is one. ``sample_no_more`` is then told it.
    """

    def __init__(
        self,
        job: Job,
        begun: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.cut_short: BudgetSpent | None = None
        self.sample_no_more: Callable[[str], None] = lambda reason: None
        self.target: Target | None = None
        self._is_by_tokens = False  # whether it is the tokens that cut the run short
        if job.target_accepted is not None and job.estimate is None:
            self.target = Target(job.target_accepted, job.results.selection, job.results.selected_format)
        self._job = job
        self._begun = begun
        self._clock = clock
        self._sleep = sleep

    @property
    def is_reached(self) -> bool:
        """Whether the target ended the run."""
        return isinstance(self.cut_short, TargetReached)

    @property
    def is_spent(self) -> bool:
        """Whether a budget ended the run, so that another run is to go on."""
        return self.cut_short is not None and not self.is_reached

    def warning(self, selected: int | None) -> str | None:
        """Why the entries gave fewer rows than wanted, if they did; ``selected`` is how many the selected file has."""
        return None if self.target is None or self.is_spent else self.target.warning(selected)

    def check_tokens(self) -> None:
        """Raises BudgetSpent once the run has spent its budget, RunStopped if a server does not report its tokens."""
        traffic = [client.traffic for client in self._job.pipeline.clients]
        if any(one.uncounted for one in traffic):
            raise RunStopped("--token_budget cannot be kept: the server does not say how many tokens it spent")
        if self._spent() >= (self._job.token_budget or 0):
            self._is_by_tokens = True
            self.cut_short = BudgetSpent(self._tokens_text())
            raise self.cut_short

    def _spent(self) -> int:
        return sum(client.traffic.tokens for client in self._job.pipeline.clients)

    def _tokens_text(self) -> str:
        return f"{self._spent():,} of --token_budget {self._job.token_budget or 0:,} completion tokens are spent"

    def text_at_end(self) -> str:
        """Why the run was cut short, with the tokens of what was in flight then."""
        return self._tokens_text() if self._is_by_tokens else str(self.cut_short or "")

    async def watch_time(self, budget: float) -> None:
        """Ends the sampling once the run has taken ``budget`` seconds."""
        await self._sleep(max(0.0, budget - (self._clock() - self._begun)))
        self._cut(BudgetSpent(f"the --time_budget of {duration(budget)} is over"))

    def count(self, record: Record) -> None:
        """Counts the rows of an entry's record, and ends the sampling once there are enough."""
        if self.target is None:
            return
        self.target.count(record)
        if self.target.is_reached:
            self._cut(TargetReached(f"{self.target.rows:,} accepted rows are there"))

    def _cut(self, reason: BudgetSpent) -> None:
        if self.cut_short is None:
            self.cut_short = reason
            self.sample_no_more(str(reason))
