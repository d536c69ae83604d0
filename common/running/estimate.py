"""``--estimate N``: the run processes N entries spread over the input, and tells what the whole job takes.

These entries are in the output as those of any run. What they were paid with comes from the ledger's lines and from
the records; the seconds of a request come from the clients.

Example: ``pilot = Pilot(job, survey_of(job), 20); items = pilot.chosen(items); ...; print(pilot.text())``
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections import Counter, defaultdict
from typing import Iterable, Iterator, Sequence

from ..errors import BrokenInput, UsageError, printable
from ..fast_json import loads
from ..input.files import Item
from ..input.joined import open_input
from ..records import Entry, Record, id_key
from ..results.estimators import Estimate, Reservoir
from ..results.forecast import SPENT, TOKENS, Sample, figures_of_line, figures_of_record, places
from ..results.selection import selectable
from ..scoring.shapes import EntryScorer
from ..servers.client import ChatClient
from ..storage.append_file import scan
from ..storage.ledger import lines_of
from .amounts import duration, money, number_with, percent_with
from .job import Job
from .replay import Outcome, Plan, Trial, trial_of
from .settings_table import table
from .survey import Survey, size_of

MOST_REPLAYED = 500  # entries that the table of settings is made from
CUT_SHORT = "the whole job is not estimated, since a budget ended the run before all entries of --estimate were done"
FULL = 0.8  # of the slots, on average: below that the time is uncertain


def survey_of(job: Job) -> Survey:
    """Reads the whole input, up to ``limit`` and up to damage. UsageError if it cannot be read twice."""
    for path in job.input_files:
        if not (os.path.isdir(path) or os.path.isfile(path)):
            raise UsageError(f"--estimate reads the input twice, and {path} is not a regular file")
    survey = Survey()
    with contextlib.closing(open_input(job.input_files)) as source, contextlib.suppress(BrokenInput):
        for item in source:
            if survey.items == job.limit:
                break
            survey.look(job, item)
    return survey


class Pilot:
    """The entries that stand for the whole job: which they are, and what they took."""

    def __init__(self, job: Job, survey: Survey, size: int) -> None:
        self._job = job
        self._survey = survey
        self._places = places(survey.items, size)
        self._figures: dict[int, Counter[str]] = {}  # by entry
        self._done_before: set[int] = set()
        self.adds_to_finished = False  # whether the figures are those of what a finished output lacks
        self._trials: Reservoir[tuple[int, Trial]] = Reservoir(MOST_REPLAYED)  # with their keys
        self._busy: dict[int, float] = defaultdict(float)  # by client: the seconds of its requests
        self._failed = 0
        self._began = self._ended = math.nan
        self.clients = roles_of(job)
        for role, clients in self.clients.items() if job.ray is None else ():
            for client in clients:
                client.observe = functools.partial(self._observe, role, client)

    def chosen(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items at the pilot's places."""
        place = next(self._places, None)
        for number, item in enumerate(items):
            if place is None:
                return
            if number == place:
                place = next(self._places, None)
                yield item

    def done_before(self, entry: Entry) -> None:
        """The output has this entry already: ``read_done`` finds what it took."""
        self._figures[id_key(entry.entry_id)] = Counter(size=size_of(entry))
        self._done_before.add(id_key(entry.entry_id))

    def begin(self, entry: Entry, lines: Sequence[Record], record: Record | None = None) -> None:
        """An entry begins, with the ledger ``lines`` of earlier runs, or with its old ``record``."""
        figures = self._figures[id_key(entry.entry_id)] = Counter(size=size_of(entry))
        self._began = time.monotonic() if math.isnan(self._began) else self._began
        for line in lines:
            if self._is_ours(line):
                figures.update(figures_of_line(line))
        if record is not None and not (lines or self.adds_to_finished):
            figures.update(figures_of_record(record))

    def _is_ours(self, line: Record) -> bool:
        """Whether this job's settings paid for a ledger line. A score whose part is in a line of its own is free."""
        generators, scorer = self._job.pipeline.sampler, self._job.pipeline.scorer
        if "answer" in line:
            return generators is not None and generators.maker(line["made_by"]) is not None
        maker = (scorer.part or scorer) if isinstance(scorer, EntryScorer) else scorer
        return maker is not None and str(line["made_by"]).startswith(maker.settings_id)

    def paid(self, line: Record) -> None:
        """An answer or a score arrived; its requests are observed, unless they are those of a Ray worker."""
        if self._is_ours(line):
            self._figures[id_key(line["entry_id"])].update(figures_of_line(line, self._job.ray is not None))

    def _observe(self, role: str, client: ChatClient, entry_id: str, seconds: float) -> None:
        """A request of an entry held a slot of a client for that long."""
        self._busy[id(client)] += seconds
        figures = self._figures.get(id_key(entry_id))
        if figures is not None:
            figures.update({f"{role} requests": 1, f"{role} observed": 1})
            figures[f"{role} seconds"] += seconds  # type: ignore[assignment]

    def ends(self, record: Record | None) -> None:
        """An entry ended with its record, or failed."""
        self._ended = time.monotonic()
        self._failed += record is None
        if record is not None:
            self._count_outcome(record)

    def _count_outcome(self, record: Record) -> None:
        key = id_key(record["entry_id"])
        figures = self._figures[key]
        self._trials.add((key, trial_of(record)))
        least = self._job.results.selection.accept_score
        texts = record["generated_answers"]
        details = record.get("generated_details") or [{}] * len(texts)
        for text, detail, score in zip(texts, details, record.get("generated_scores") or ()):
            is_high = score is not None and least is not None and score >= least
            figures["answers"] += 1
            figures["accepted"] += is_high and selectable(text, detail.get("finish_reason"), score)

    def read_done(self, path: str) -> None:
        """Reads what the entries took that the output at ``path`` had before.

        Their records say it. If the run adds to a finished output, the ledger says what was added.
        """
        if not self._done_before:
            return
        if self.adds_to_finished:
            for line in filter(self._is_ours, lines_of(self._job.ledger_file, self._done_before)):
                self._figures[id_key(line["entry_id"])].update(figures_of_line(line))
        with open(path, "rb") as file:
            for offset, key in scan(path, lambda damaged: None):
                if key in self._done_before:
                    file.seek(offset)
                    record = loads(file.readline())
                    if not self.adds_to_finished:
                        self._figures[key].update(figures_of_record(record))
                    self._count_outcome(record)

    # What it says

    def text(self, is_cut: bool = False) -> str:
        """The figures of the whole job, for a person; none if a budget ended the run before the pilot's end.

        The entries that a budget leaves are the costly ones, so those that ended do not stand for the others.
        """
        if is_cut:
            return f"{self._job.script}: {CUT_SHORT}"
        entries = max(self._survey.entries(), len(self._figures))
        lines = [f"{self._job.script}: {self._covered()}, estimated (95 % intervals in parentheses)"]
        sample = Sample(entries, list(self._figures.values()), self._survey.mean_size())
        rows = self._rows(sample) if self._figures else [("entries", "none could be read, so nothing is estimated")]
        lines += [f"  {name:<9} {printable(text)}" for name, text in rows]
        return "\n".join([*lines, *self._other_settings(entries)])

    def _covered(self) -> str:
        """What the figures are about."""
        if self.adds_to_finished:
            return (
                f"the whole job of adding to {printable(self._job.output_file)}, without what finished runs put there"
            )
        return "the whole job"

    def _other_settings(self, entries: int) -> Iterator[str]:
        """The table of other settings, if the scorer and the flags allow one."""
        plan = Plan(
            entries=round(entries * self._trials.seen / max(1, len(self._figures))),
            mean_size=self._survey.mean_size(),
            rows=self._job.results.selection.rows_per_entry,
            per_request=1 if self._job.pipeline.sampler is None else self._job.pipeline.sampler.group_size,
        )
        unknown = [role for role in self.clients if not self._counts(role)]
        rows = table(self._job, list(self._replayed()), plan, self._seconds, unknown)
        if rows:
            begun = " if it began with nothing," if self.adds_to_finished else ""
            legend = "(* yours, ~ partly beyond what was sampled, ± 95 % interval)"
            yield f"the whole job{begun} under other settings {legend}"
            yield from (f"  {row}" for row in rows)

    def _replayed(self) -> Iterator[Trial]:
        """The entries with all that they took, also in earlier runs; a request's seconds are those that were seen."""
        pace = {role: self._pace(role, self._figures.values()) for role in self.clients}
        for key, trial in self._trials.items:
            seen = self._figures[key]
            figures = {"size": seen["size"], **trial.figures}
            for role in self.clients:
                own = self._pace(role, [seen]) or pace[role]
                figures[f"{role} seconds"] = own * figures.get(f"{role} requests", 0)
            yield Trial(trial.answers, figures)

    def _pace(self, role: str, figures: Iterable[Counter[str]]) -> float:
        """The mean seconds of a role's requests, as far as they were observed; 0 without any."""
        pairs = [(one[f"{role} seconds"], one[f"{role} observed"]) for one in figures]
        return sum(seconds for seconds, _ in pairs) / max(1, sum(observed for _, observed in pairs))

    def _seconds(self, found: Outcome) -> float | None:
        """How long a job takes, if all slots are full; None if no request was observed."""
        if not any(self._pace(role, self._figures.values()) for role in self.clients):
            return None
        return max(self._time_of(role, found.sample).mean for role in self.clients)

    def _rows(self, sample: Sample) -> Iterator[tuple[str, str]]:
        failed = f"; {self._failed:,} of them failed" if self._failed else ""
        unreadable = f"; {self._survey.unreadable:,} more cannot be read" if self._survey.unreadable else ""
        yield "entries", f"{sample.entries:,}, estimated from {len(sample.figures):,}{failed}{unreadable}"
        for role in self.clients:
            for name in SPENT:
                is_known = name == "requests" or self._counts(role)
                total = sample.total({f"{role} {name}": 1})
                known = number_with(total) if is_known else "unknown: the server does not count them"
                yield (role if name == "requests" else ""), f"{name.replace('_', ' ')}: {known}"
        yield from self._accepted(sample)
        if self.clients:
            yield "time", self._time(sample)
        yield from self._cost(sample)
        yield "next", f"the same command without --estimate {self._left(sample)}"

    def _left(self, sample: Sample) -> str:
        """What the job still does once the estimate is there."""
        results = self._job.results
        files = {"the selection": results.selected_file, "the report": results.report_file}
        others = ["does the other entries"] if len(sample.figures) < sample.entries else []
        written = " and ".join(name for name, path in files.items() if path is not None)
        return (
            ", and ".join(others + ([f"writes {written}"] if written else [])) or "ends the job: all entries are done"
        )

    def _accepted(self, sample: Sample) -> Iterator[tuple[str, str]]:
        answers = sample.ratio("accepted", "answers")
        least = self._job.results.selection.accept_score
        if answers is not None and least is not None:
            yield "accepted", f"{percent_with(answers)} of the answers score at least {least:g}"
            yield "", f"{percent_with(sample.share('accepted'))} of the entries have such an answer"

    def _cost(self, sample: Sample) -> Iterator[tuple[str, str]]:
        weights = {}
        for role, prices in self._job.prices.items():
            weights.update({f"{role} {name}": price / 1e6 for name, price in zip(TOKENS, prices)})
        if weights and not all(self._counts(role) for role in self._job.prices):
            yield "cost", "unknown: the server does not count its tokens"
        elif weights:
            point, low, high = map(money, sample.total(weights))
            yield "cost", f"{point} ({low} to {high})"

    def _time(self, sample: Sample) -> str:
        """How long the job takes if all slots are full: request-seconds over concurrency (Little 1961).

        The slowest role tells. The upper end supposes that the servers do no more at once than they did in this run,
        whose slots were not always full.
        """
        full = self._imputed(sample)
        seen = sum(one["generator observed"] + one["scorer observed"] for one in self._figures.values())
        if not seen:
            return "not measured, since all of these entries were done before"
        times = [self._time_of(role, full) for role in self.clients]
        point, low, high = (max(ends) for ends in zip(*times))
        span = self._ended - self._began
        occupied = point / sample.entries * len(sample.figures) / span if span else 1.0
        high /= min(1.0, max(occupied, 1e-3))
        note = "" if occupied >= FULL else f"; the slots were {occupied:.0%} full: with a larger N it is more certain"
        return f"{duration(point)} ({duration(low)} to {duration(high)}) at this concurrency{note}"

    def _counts(self, role: str) -> bool:
        """Whether the role's servers count their tokens."""
        return not any(client.traffic.uncounted for client in self.clients[role])

    def _time_of(self, role: str, sample: Sample) -> Estimate:
        clients = self.clients[role]
        slots = [client.concurrency or client.pool.concurrency for client in clients]
        per_second = time_per_second([self._busy[id(client)] for client in clients], slots)
        least = self.clients[role][0].least_seconds(*(sample.total({f"{role} {name}": 1}).mean for name in SPENT))
        return Estimate(*(max(least, end) for end in sample.total({f"{role} seconds": per_second})))

    def _imputed(self, sample: Sample) -> Sample:
        """The sample with seconds for the requests of earlier runs too: the mean of those that were observed."""
        figures = [Counter(one) for one in sample.figures]
        for role in self.clients:
            observed = sum(one[f"{role} observed"] for one in figures)
            mean = sum(one[f"{role} seconds"] for one in figures) / max(1, observed)
            for one in figures:
                one[f"{role} seconds"] += mean * (one[f"{role} requests"] - one[f"{role} observed"])  # type: ignore[assignment]
        return Sample(sample.entries, figures)


def time_per_second(busy: Sequence[float], slots: Sequence[int]) -> float:
    """How long a second of requests takes if all slots are full. ``busy`` is what each client's requests took.

    Each client has its share of the answers whatever its pace, so the one with the most work per slot tells.

    >>> time_per_second([60.0], [5]), time_per_second([10.0, 90.0], [5, 5]), time_per_second([0.0, 0.0], [5, 5])
    (0.2, 0.18, 0.1)
    """
    whole = sum(busy)
    return max(seconds / whole / count for seconds, count in zip(busy, slots)) if whole else 1 / sum(slots)


def roles_of(job: Job) -> dict[str, list[ChatClient]]:
    """The clients of a job by their roles: generator, scorer."""
    roles: dict[str, list[ChatClient]] = {}
    for client in job.pipeline.clients:
        roles.setdefault(job.pipeline.role_of(client), []).append(client)
    return roles
