"""What a person sees during a run: a bar on a terminal, and in a log a plain line, at first and every half minute.

Example: ``task = asyncio.ensure_future(show_progress(Progress(counts, traffic, expected, per_entry=4), quiet=False))``
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import time
from collections import deque
from typing import Callable, NamedTuple, Sequence

from ..servers.client import Traffic
from .counts import Counts
from .target import Target

log = logging.getLogger(__name__)

LINE_EVERY = 30.0  # seconds between two plain lines
FIRST_LINE = 10.0  # seconds before the first one: it tells that the input was recognised and that answers arrive
WINDOW = 600.0  # seconds whose mean is the rate that is shown
NARROWEST = 4  # columns of the bar itself


class Look(NamedTuple):
    """The state of a run at one time. ``total`` and ``left`` (seconds) are None if they are unknown."""

    entries: int
    expected: int | None  # entries
    answers: int
    total: int | None  # answers
    rate: float  # answers per second
    token_rate: float
    left: float | None


class Progress:
    """The counts of a run as they change. ``per_entry`` is how many answers an entry gets; None if they are given.

    ``expected`` returns the number of entries in the input, if it is known. ``in_flight`` returns the number of
    requests in flight, if it is known. ``clock`` returns seconds. ``is_broad`` says that entries are complete late: the
    scores that arrived are then shown. With a ``target``, nobody knows how many answers it takes.
    """

    def __init__(
        self,
        counts: Counts,
        traffic: Sequence[Traffic],
        expected: Callable[[], int | None],
        per_entry: int | None,
        in_flight: Callable[[], int | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        is_broad: bool = False,
        target: Target | None = None,
    ) -> None:
        self.counts = counts
        self.traffic = traffic
        self._expected = expected
        self._per_entry = per_entry
        self._in_flight = in_flight
        self._clock = clock
        self._is_broad = is_broad
        self._target = target
        self._begun = clock()
        self._past: deque[tuple[float, int, int]] = deque([(self._begun, 0, 0)])  # time, answers, tokens

    def look(self) -> Look:
        """The state of the run now."""
        counts, each, expected = self.counts, self._each(), self._expected()
        entries = counts.finished
        made = counts.scored if self._per_entry is None else counts.there + counts.answers
        answers, total = made + round(counts.skipped * each), None
        if expected is not None:
            expected = max(entries, expected)
            total = max(answers, round((expected - counts.duplicates) * each) - counts.unneeded)
        rate, token_rate = self._rates()
        left = None if total is None or not rate else max(0.0, total - answers - counts.lost) * self._needed() / rate
        if self._target is not None:
            total, left = None, self._left_to_target(self._target, left)
        return Look(entries, expected, answers, total, rate, token_rate, left)

    def _left_to_target(self, target: Target, left_of_all: float | None) -> float | None:
        """The seconds until the rows are there, if they come as before; at most those of the whole input."""
        each = (self._clock() - self._begun) / target.rows if target.rows else None
        known = [left_of_all, None if each is None else max(0, target.wanted - target.rows) * each]
        return min((one for one in known if one is not None), default=None)

    def _each(self) -> float:
        """The answers per entry, as far as they are known."""
        if self._per_entry is not None:
            return self._per_entry
        return self.counts.there / self.counts.begun if self.counts.begun else 0.0

    def _needed(self) -> float:
        """The part of the further answers that is needed, where entries stop early."""
        counts = self.counts
        return counts.recorded / (counts.recorded + counts.unneeded) if counts.recorded else 1.0

    def _rates(self) -> tuple[float, float]:
        """Answers and completion tokens per second, lately."""
        counts, now = self.counts, self._clock()
        answers = counts.scored if self._per_entry is None else counts.answers
        tokens = sum(one.tokens for one in self.traffic)
        if now - self._past[-1][0] >= 1:
            self._past.append((now, answers, tokens))
            while now - self._past[1][0] > WINDOW:
                self._past.popleft()
        since, answers_then, tokens_then = self._past[0]
        seconds = max(now - since, 1e-9)
        return (answers - answers_then) / seconds, (tokens - tokens_then) / seconds

    def line(self) -> str:
        """The state as one line of a log."""
        look, counts = self.look(), self.counts
        prompts, completions = (sum(getattr(one, name) for one in self.traffic) for name in ("prompt_tokens", "tokens"))
        parts = [
            _of(look.entries, look.expected, "entries"),
            _of(look.answers, look.total, "answers"),
            f"{look.rate:.1f} answers/s",
            f"{counts.failed:,} failed",
            *([] if self._target is None else [self._target.text()]),
            *self._quality(),
            f"{prompts:,} prompt and {completions:,} completion tokens",
        ]
        return ", ".join(parts) + ("" if look.left is None else f", {duration(look.left)} left")

    def bar_format(self, columns: int) -> str:
        """The bar of tqdm in this many columns: the most important numbers first, and those that fit."""
        look, counts = self.look(), self.counts
        flying = self._in_flight()
        items = [
            clock_time(self._clock() - self._begun) + ("" if look.left is None else "<" + clock_time(look.left)),
            f"{counts.failed:,} failed",
            *([] if self._target is None else [f"{self._target.rows:,}/{self._target.wanted:,} rows"]),
            *([] if flying is None else [f"{flying:,} in flight"]),
            *reversed(self._quality()),
            f"{look.rate:.1f} answers/s",
            f"{look.token_rate:.0f} tokens/s",
            f"{sum(one.retries for one in self.traffic):,} retries",
            f"{look.entries:,}/{'?' if look.expected is None else format(look.expected, ',')} entries",
        ]
        head = f"{look.answers:,}/{'?' if look.total is None else format(look.total, ',')} answers"
        room = columns - len(f"100%|| {head} []") - NARROWEST
        shown = ", ".join(_that_fit(items, room))
        share = 100 * look.answers // look.total if look.total else 0
        bar = "" if look.total is None else f"{share:3}%|{{bar}}| "
        return f"{bar}{head} [{shown}]"

    def _quality(self) -> list[str]:
        """The scores so far, if there are any."""
        counts, share = self.counts, self.counts.accepted_share
        if self._is_broad:
            is_known = counts.arrived and counts.accept_score is not None
            return [f"{counts.arrived_accepted / counts.arrived:.0%} accepted"] if is_known else []
        if not counts.scores and not counts.unscored:
            return []
        unscored = f"{counts.unscored:,} unscored"
        if share is not None:
            return [unscored, f"{share:.0%} accepted"]
        return [unscored] if counts.mean_score is None else [unscored, f"mean score {counts.mean_score:.2f}"]


def _that_fit(items: Sequence[str], room: int) -> list[str]:
    """The first items whose texts, with commas between, take at most ``room`` columns."""
    shown: list[str] = []
    for item in items:
        room -= len(item) + (2 if shown else 0)
        if room < 0:
            break
        shown.append(item)
    return shown


def _of(number: int, total: int | None, unit: str) -> str:
    return f"{number:,} {unit}" if total is None else f"{number:,} of {total:,} {unit}"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(9), duration(150), duration(4620), duration(273600)
    ('9 s', '2 min', '1 h 17 min', '3 d 4 h')
    """
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def clock_time(seconds: float) -> str:
    """Seconds as a clock shows them.

    >>> clock_time(9), clock_time(4620)
    ('00:09', '1:17:00')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


async def show_progress(progress: Progress, quiet: bool, line_every: float = LINE_EVERY) -> None:
    """Shows the progress until it is cancelled: as a bar if stderr is a terminal, as lines otherwise."""
    if quiet:
        return
    if sys.stderr.isatty():
        from .bar import show_bar  # it brings tqdm, which most runs do not show

        await show_bar(progress)
    else:
        await _log_lines(progress, line_every)


async def _log_lines(progress: Progress, every: float) -> None:
    for number in itertools.count():
        await asyncio.sleep(every if number else min(FIRST_LINE, every))
        log.info("%s: %s", time.strftime("%Y-%m-%d %H:%M:%S"), progress.line())
