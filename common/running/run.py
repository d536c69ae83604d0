"""Runs a job: admits its entries, keeps what arrives, and ends with results, a summary and an exit code.

The run admits an entry when the engine has room for it. Each answer and each score goes to the ledger as it arrives.
The record goes to the output when its entry is complete.

Example: ``sys.exit(run(Job(script="sampling.py", input_file="data/input.json", ...)))``
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import math
import os
import signal
import sys
import time
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Iterator

import uvloop

from ..errors import (
    BadEntry,
    BrokenInput,
    BudgetSpent,
    EntryFailed,
    Interrupted,
    Postponed,
    RunStopped,
    ToolkitError,
    UsageError,
)
from ..input.files import InputFile, Item
from ..input.joined import JoinedFiles, open_input
from ..input.json_items import Passed
from ..input.peek import peek_of
from ..records import Entry, PendingEntry, Record, canonical, id_key
from ..results.quantiles import ScoreSample
from ..servers.client import Traffic
from ..servers.messages import check_marks
from ..storage.result_files import ResultFiles
from ..storage.run_files import RunFiles, settings_of
from ..streams import kept_signals, say
from .breadth import Breadth, DepthFirst, Order, Spool, Visit, is_guided
from .counts import Counts
from .engine import FEW, SCORER_QUEUE, Engine, LocalEngine, most_visits
from .entries import Entries, fill
from .entry_state import EntryState, is_score_of
from .job import Job
from .limits import Limits
from .opening import check_opening
from .posterior import Acceptance
from .progress import Progress, show_progress
from .results import Output, Written, check_result_files, send_selection, write_result_files
from .sampler import Sampler
from .summary import Ending, generator_rows, next_steps, server_rows, summary, warnings
from .target import beyond_reach

if TYPE_CHECKING:
    from .estimate import Pilot

log = logging.getLogger(__name__)

READ_AHEAD = 100  # items read before anything is sent, so that a file that is broken at its start is refused
OPENING = 16  # entries whose images are read and whose requests are made at the same time
SYNC_EVERY = 1.0  # seconds between two flushes to the disk
SKIPS_AT_ONCE = 256  # finished entries passed over before the event loop gets its turn
KEEPS_SCORES = "%s keeps the scores of another scorer, since --target_accepted was reached; the new ones are in %s"
EMBEDDED = "embedded (--local)"  # such a server


def run(job: Job) -> int:
    """Runs a job to its end; returns exit code 0, or 1 if entries failed or the budget was spent before the end.

    Raises ToolkitError with its own exit code.
    """
    begun, folder = time.monotonic(), os.getcwd()
    pilot = make_pilot(job)
    with contextlib.closing(open_input(job.input_files)) as source:
        items = read_ahead(source, job)
        files = open_files(job)
        if pilot is not None:
            pilot.adds_to_finished = files.adds_to_finished
        current = Run(job, source, items, files, pilot, begun)
        written = Written()
        try:
            with contextlib.closing(current), files:
                check_results(job, files.results)
                files.say_what_stays()
                gc.freeze()  # what stands now stays: the collector need not scan it
                try:
                    with kept_signals():
                        uvloop.run(current.process_all())
                    current.is_over = True
                except (ToolkitError, KeyboardInterrupt):
                    os.chdir(folder)
                    write_results_anyway(job, files, written, current.unfinished())
                    raise
                os.chdir(folder)  # a user's function may have left it
                path = files.settle(current.unfinished())
                if current.limits.is_reached and not files.is_settled:
                    log.warning(KEEPS_SCORES, job.output_file, path)
                write_results(job, files, path, written)
                send_selection(job.results, written)
                if pilot is not None:
                    pilot.read_done(path)
        finally:
            if not job.quiet and (current.counts.anything() or written.rows):
                show(current.summary(time.monotonic() - begun, written))
    if pilot is not None:
        show(pilot.text(is_cut=current.limits.is_spent))
    if written.calibration is not None:
        from ..results.calibration import table_text

        show(table_text(written.calibration))
    if current.limits.is_spent:
        log.warning("%s; run the same command again to go on", current.limits.text_at_end())
    is_whole = (files.is_settled or pilot is not None or current.limits.is_reached) and not files.damaged
    waits = job.batch is not None and not job.batch.writes and current.counts.postponed > 0
    return 0 if is_whole and not (current.counts.failed or current.limits.is_spent or waits) else 1


def make_pilot(job: Job) -> Pilot | None:
    """What estimates the whole job, if that is asked for."""
    if job.estimate is None:
        return None
    from .estimate import Pilot, survey_of

    return Pilot(job, survey_of(job), job.estimate)


def open_files(job: Job) -> RunFiles:
    """The files that a run writes. Answers name what made them if the output has several makers."""
    files = RunFiles(
        job.output_file,
        job.ledger_file,
        job.settings(),
        keep_ledger=job.keep_ledger,
        allow_mixed=job.allow_mixed,
        score_range=job.ledger_range,
        look_again=job.pipeline.scorer is not None and job.pipeline.scorer.retry_unscored,
        **({} if job.pipeline.sampler is None else {"wants": job.pipeline.sampler.wants}),
    )
    if job.pipeline.sampler is not None:
        job.pipeline.sampler.is_mixed = files.is_mixed
    return files


def show(text: str) -> None:
    """Prints a text on stdout; says so on stderr if stdout does not take it."""
    failure = say(text, sys.stdout)
    if failure is not None:
        log.warning("the summary cannot be written to stdout: %s", failure)


def read_ahead(source: InputFile | JoinedFiles, job: Job) -> Iterator[Item]:
    """The items of the input.

    UsageError before anything is sent if the input breaks off within the first hundred, if none of them can be read, or
    if none of them has what a flag names.
    """
    stream = iter(source)
    try:
        first = list(islice(stream, READ_AHEAD))
    except BrokenInput as error:
        raise UsageError(str(error)) from error
    if first and all(_failure(job.read, item) for item in first):
        begin = source.place(first[0].line)
        names_its_place = isinstance(first[0].value, BadEntry)
        where = f"{begin.file}: " if source.is_folder and not names_its_place else ""
        place = "" if names_its_place else f"{begin.unit} {begin.number}: "
        failure = _failure(job.read, first[0])
        raise UsageError(f"{where}none of the first {len(first)} entries can be read; {place}{failure}")
    check_opening(job, first)
    return chain(first, stream)


def _failure(read: Callable[[object, int], object], item: Item) -> BadEntry | None:
    """The reason why an item cannot be read, if it cannot."""
    try:
        if isinstance(item.value, BadEntry):
            return item.value
        read(item.value, item.line)
    except BadEntry as error:
        return error
    return None


def write_results_anyway(job: Job, files: RunFiles, written: Written, unfinished: Iterator[Record]) -> None:
    """The results of a run that was stopped, if it has any entries; a failure to write them is only said."""
    try:
        path = files.settle(unfinished)
    except RunStopped as error:
        log.warning("%s", error)
        path = job.output_file
    try:
        if os.path.exists(path) and os.path.getsize(path):
            write_results(job, files, path, written)
    except ToolkitError as error:
        log.warning("%s", error)


def check_results(job: Job, results: ResultFiles) -> None:
    """UsageError if the selection or the report would replace a file that is neither."""
    check_result_files(job.results, results)
    if job.results.calibration_file is not None:
        from ..results.calibration import STARTS

        results.check("--calibrate", job.results.calibration_file, STARTS)


def write_results(job: Job, files: RunFiles, path: str, written: Written) -> None:
    """Writes the selection and the report of the records at ``path``, and notes each in ``written``.

    A run of ``estimate`` writes neither.
    """
    if job.estimate is not None:
        return  # a few entries must not pass for the whole
    files.output.check()
    output = Output(
        path,
        job.script,
        records=lambda: files.records(path),
        errors_file=job.errors_file,
        image_root=job.image_folder,
        stay_inside=job.image_root is not None,
        generator=generator_of(job, files),
    )
    if job.results.calibration_file is not None:
        from .calibrate import write_calibration

        write_calibration(job, output.records(), files.results, written)
    files.results.note_servers(servers_of(job))
    write_result_files(output, job.results, files.results, written)


def servers_of(job: Job) -> dict[str, list[str]]:
    """The servers that answered requests of this run, by role, without what follows their paths."""
    found: dict[str, dict[str, None]] = {}
    for client in job.pipeline.clients:
        if client.traffic.requests:
            urls = [EMBEDDED] if job.local is not None else [url.partition("?")[0] for url in client.urls]
            found.setdefault(job.pipeline.role_of(client), {}).update(dict.fromkeys(urls))
    return {role: list(urls) for role, urls in found.items()}


def generator_of(job: Job, files: RunFiles) -> str | None:
    """The model that made the answers, as far as the settings of the output or of the input say it."""
    settings = files.before if job.pipeline.sampler is not None else settings_of(job.input_file)
    model = settings.get("generator model")
    return model if isinstance(model, str) else None


def make_engine(job: Job, run: Run) -> Engine:
    """The engine that processes the job's entries: this process, or a Ray cluster."""
    check_budget = run.limits.check_tokens if job.token_budget is not None else None
    if job.ray is not None:
        from .ray_cluster import RayEngine

        return RayEngine(job.ray, job.pipeline, run.stop, check_budget)
    return LocalEngine(job.pipeline, run.stop, check_budget, FEW if ends_by_scores(job) else SCORER_QUEUE)


def ends_by_scores(job: Job) -> bool:
    """Whether a run ends at a time or at a number of rows: answers that wait for the scorer then come too late."""
    return job.time_budget is not None or job.target_accepted is not None


class Run:
    """One run in progress: its counts, its files, and the entries being processed."""

    def __init__(
        self,
        job: Job,
        source: InputFile | JoinedFiles,
        items: Iterator[Item],
        files: RunFiles,
        pilot: Pilot | None = None,
        begun: float = 0.0,
    ) -> None:
        self.counts = Counts(accept_score=job.results.selection.accept_score)
        self.is_over = False  # whether nothing stopped the run before its end
        self._lost: RunStopped | None = None  # why a generator is lost, while others are left
        if job.results.score_range is None:
            self.counts.sample = ScoreSample()
        self._job = job
        self._source = source
        self._items = islice(items, job.limit) if pilot is None else pilot.chosen(items)
        self._pilot = pilot
        self._files = files
        self._stopped: asyncio.Future[BaseException] | None = None  # made in the event loop
        self._broken: BrokenInput | None = None
        self._keys_of: dict[int, int] = {}  # by entry: the hash of its other keys, if it has any
        self._leftover = 0  # entries of the output that are not in the input
        self._left_out = False  # whether entries were not begun
        self.limits = Limits(job, begun)
        self._engine: Engine = make_engine(job, self)
        if job.pipeline.sampler is not None and job.ray is None:
            job.pipeline.sampler.lose = self._lose
        self.limits.sample_no_more = self._engine.sample_no_more
        self._is_broad = job.breadth and pilot is None
        is_judged = job.pipeline.scorer is not None and job.ray is None
        self._has_few_visits = self._is_broad and is_judged and ends_by_scores(job)
        self._spool = Spool(os.path.dirname(os.path.abspath(job.output_file)))
        self._entries = Entries(job, files, self.counts, self.limits, several_visits=self._is_broad)
        self._order: Order = self._make_order() if self._is_broad else DepthFirst()

    def _make_order(self) -> Breadth:
        job, sampler = self._job, self._job.pipeline.sampler
        assert sampler is not None
        spares = job.token_budget is not None or job.target_accepted is not None  # no answer that may be unnecessary
        drained = None if spares else self._engine.all_admitted
        acceptance = Acceptance() if is_guided(job) else None
        return Breadth(self._spool, sampler.group_size, self._entries.seen_before, acceptance, drained)

    def unfinished(self) -> Iterator[Record]:
        """The records of the entries that were begun and need more, for the results of a run that ends early."""
        if self._is_broad:
            self.counts.postponed = self.counts.unfinished = 0  # all of them are counted now
        yield from self._entries.unfinished(self._order.unfinished())

    def close(self) -> None:
        """Removes the temporary file of the entries that waited."""
        self._spool.close()

    def summary(self, seconds: float, written: Written) -> str:
        """The end of the run as a person reads it."""
        job, clients = self._job, self._job.pipeline.clients
        rows = [] if job.pipeline.sampler is None else generator_rows(job.pipeline.sampler, self.counts)
        rows += [row for client in clients for row in server_rows(client.pool.servers, client.concurrency is None)]
        rows += job.pipeline.scorer.summary_rows() if job.pipeline.scorer is not None else []
        if self.counts.sample is not None and not self.counts.sample.is_empty:
            rows.append(("quantiles", self.counts.sample.text()))
        rows += [("output", job.output_file), *written.rows]
        if os.path.exists(job.ledger_file):
            rows.append(("ledger", job.ledger_file))
        if self._files.first_error is not None:
            rows.append(("errors", f"{job.errors_file} (the first: {self._files.first_error})"))
        if self.limits.target is not None:
            rows.append(("target", self.limits.target.text()))
        ending = self._ending(written)
        rows += [("warning", text) for text in warnings(self.counts, ending)]
        rows += job.batch.rows() if job.batch is not None else []
        steps = next_steps(self.counts, ending) if job.batch is None else job.batch.next_steps(self.counts.postponed)
        rows += [("next", text) for text in steps or next_steps(self.counts, ending)]
        return summary(job.script, self.counts, self._traffic(), seconds, rows, self._not_begun())

    def _not_begun(self) -> int:
        """About how many entries of the input a budget or a target left without an answer."""
        counts, expected = self.counts, self._expected()
        if self.limits.cut_short is None or expected is None:
            return 0
        return max(0, expected - counts.finished - max(counts.unfinished, counts.postponed))

    def _ending(self, written: Written) -> Ending:
        job, (_, sampler, scorer, _) = self._job, self._job.pipeline
        selected = None if written.selected is None else written.selected.rows
        return Ending(
            script=job.script,
            output_file=job.output_file,
            errors_file=job.errors_file,
            samples=sampler is not None,
            scorer=None if scorer is None else scorer.name,
            selection=job.results.selection,
            lowest_score=job.results.lowest_score,
            selected_file=job.results.selected_file,
            selected=written.selected,
            is_over=self.is_over and not self.limits.is_spent,
            target=self.limits.warning(selected) if self.is_over else None,
            leftover=self._leftover if self._files.is_settled else 0,
        )

    def _traffic(self) -> dict[str, Traffic]:
        """The traffic of each role."""
        found: dict[str, Traffic] = {}
        for client in self._job.pipeline.clients:
            role = self._job.pipeline.role_of(client)
            found[role] = found.get(role, Traffic()).plus(client.traffic)
        return found

    async def process_all(self) -> None:
        """Processes every pending entry; raises the error that stopped the run before its end."""
        for client in self._job.pipeline.clients:
            client.answered_before = self._files.resumes
        self._entries.count_those_of_output()
        self._warn_of_target()
        pending = iter(()) if self.limits.is_reached else self._pending()
        first = next((item for item in pending if item is not None), None)
        if first is not None:
            await self._until_stopped(chain([first], pending))
        if self._broken is not None:
            raise self._broken
        if not (self._left_out or self.counts.postponed or self._order.open or self.limits.is_reached):
            self.limits.cut_short = None  # the request that met the budget turned out to be unnecessary
        if self.limits.is_reached:
            self.counts.postponed = 0  # what is left is not needed
        self._files.complete = self.limits.cut_short is None and self._pilot is None and not self.counts.postponed
        if self._files.complete and self._job.limit is None:
            self._leftover = self._files.not_in_input()
        if self._lost is not None and self.counts.postponed:
            raise self._lost

    def _warn_of_target(self) -> None:
        """Says at the start that a target cannot be reached, if nothing is there yet that the input does not have."""
        job, sampler, expected = self._job, self._job.pipeline.sampler, self._expected()
        if self.limits.target is None or sampler is None or expected is None or self._files.entries_before:
            return
        text = beyond_reach(self.limits.target.wanted, job.results.selection, expected, sampler.count)
        if text is not None:
            log.warning("%s", text)

    def stop(self, error: BaseException) -> None:
        """Ends the run with ``error``: nothing more is sent."""
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(error)
        self._engine.end(error if isinstance(error, RunStopped) else RunStopped(str(error)))

    def _lose(self, sampler: Sampler, error: RunStopped) -> None:
        """A generator is lost: the run goes on with the others, and ends with the error."""
        self._lost = type(error)(f"the generator {sampler.name} is lost: {error}")
        log.warning("%s; the others go on, and its answers wait for the next run", self._lost)

    # The input

    def _pending(self) -> Iterator[PendingEntry | None]:
        """The entries to process, each once; sometimes a None, so that a long skip does not hold the event loop."""
        passed = 0
        self._pass_over_done()
        for line, item in self._items:
            if isinstance(item, Passed):
                self.counts.skipped += item
                yield None
                continue
            try:
                if isinstance(item, BadEntry):
                    raise item
                pending = self._job.read(item, line)
                pending.entry.origin = pending.entry.origin or self._source.origin(line)
                check_marks(pending.entry)
            except BadEntry as error:
                self._fail(None, line, error)
                continue
            status = self._files.meet(pending.entry.entry_id)
            if status == "new":
                pending = pending._replace(record=self._files.old_record(pending.entry.entry_id))
                try:
                    status = "done" if self._has_all(pending) else "new"
                except BadEntry as error:
                    self._fail(pending.entry, line, error)
                    continue
            if status == "done" and self._pilot is not None:
                self._pilot.done_before(pending.entry)
            self.counts.skipped += status == "done"
            self.counts.duplicates += status == "duplicate"
            self.counts.other_keys += self._has_other_keys(pending.entry, status == "duplicate")
            if status == "new":
                yield pending
                continue
            passed += 1
            if passed % SKIPS_AT_ONCE == 0:
                yield None

    def _pass_over_done(self) -> None:
        """Lets the input pass over lines whose entries are in the output. An estimate and a limit count all entries."""
        peek, meet_done = peek_of(self._job.read), self._files.meet_done
        counts_all = self._pilot is not None or self._job.limit is not None
        if peek is None or counts_all or not self._files.resumes:
            return

        def is_done(line: bytes) -> bool:
            key = peek(line)
            return key is not None and meet_done(key)

        if isinstance(self._source, InputFile):
            self._source.pass_over(is_done)

    def _has_other_keys(self, entry: Entry, is_duplicate: bool) -> bool:
        """Whether a duplicate's other keys are not those of the entry that came first, whose keys are noted here."""
        own = hash(canonical(entry.extra)) if entry.extra else None
        key = id_key(entry.entry_id)
        if not is_duplicate and own is not None:
            self._keys_of[key] = own
        return is_duplicate and self._keys_of.get(key) != own

    def _has_all(self, pending: PendingEntry) -> bool:
        """Whether the output has all that is wanted of an entry."""
        if pending.record is None:
            return False
        state, pipeline = EntryState(pending.entry, dict(enumerate(pending.answers or ()))), self._job.pipeline
        state.take_record(pending.record, self._files.before, pipeline)
        if not state.is_complete(pipeline):
            return False
        self._files.ledger.recall(pending.entry.entry_id)  # forgets its lines
        return True

    def _until_broken(self, pending: Iterator[PendingEntry | None]) -> Iterator[PendingEntry | None]:
        """All that can be read of the input. The run keeps its results before it reports the damage."""
        try:
            yield from pending
        except BrokenInput as error:
            self._broken = error

    def _expected(self) -> int | None:
        """The number of entries that the run will have met at its end, as far as it is known."""
        expected, limit = self._source.expected_items(), self._job.estimate or self._job.limit
        return min(expected, limit) if expected is not None and limit is not None else expected

    # The life of the run

    async def _until_stopped(self, pending: Iterator[PendingEntry | None]) -> None:
        loop = asyncio.get_running_loop()
        self._stopped = loop.create_future()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, self.stop, Interrupted())
        self._files.ledger.schedule_flush = functools.partial(loop.call_soon, self._flush)
        work = asyncio.ensure_future(self._serve(pending))
        either: set[asyncio.Future[Any]] = {work, self._stopped}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.done():
                raise self._stopped.result()
            work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _serve(self, pending: Iterator[PendingEntry | None]) -> None:
        """Starts servers, engine and bar, processes the entries, and ends them all."""
        job = self._job
        async with contextlib.AsyncExitStack() as stack:
            if job.local is not None:
                stack.callback(job.local.stop)
                url = await asyncio.get_running_loop().run_in_executor(None, job.local.start)
                for client in job.pipeline.clients:
                    client.kept_up = not client.urls
                    client.urls = client.urls or [url]
                self._run_beside(stack, job.local.watch())
            await stack.enter_async_context(self._engine)
            shown = asyncio.ensure_future(show_progress(self._progress(), job.quiet, job.line_every))
            stack.callback(shown.cancel)  # its failure would end nothing
            self._run_beside(stack, self._sync_regularly())
            if job.time_budget is not None:
                self._run_beside(stack, self.limits.watch_time(job.time_budget))
            await self._admit(pending)

    def _progress(self) -> Progress:
        job, (clients, sampler, _, _) = self._job, self._job.pipeline
        return Progress(
            self.counts,
            [client.traffic for client in clients],
            self._expected,
            None if sampler is None else sampler.count,
            lambda: None if job.ray is not None else sum(client.pool.in_flight for client in clients),
            is_broad=self._is_broad,
            target=self.limits.target,
        )

    def _run_beside(self, stack: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
        """Runs something until the stack ends it; its failure ends the run."""
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._stop_on_failure)
        stack.callback(task.cancel)

    async def _admit(self, pending: Iterator[PendingEntry | None]) -> None:
        """Starts entries as the engine has room for them, and waits for the last."""
        opening = asyncio.Semaphore(OPENING)
        tasks: set[asyncio.Future[None]] = set()
        one_ended = asyncio.Event()
        visits = self._order.visits(self._until_broken(pending))
        try:
            async for visit in visits:
                await opening.acquire()
                await self._engine.room()
                while len(tasks) >= self._most_visits():
                    one_ended.clear()
                    await one_ended.wait()
                if self.limits.cut_short is not None:
                    self._left_out = True
                    break
                task: asyncio.Future[None] = asyncio.ensure_future(self._process(visit, opening))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(lambda _: one_ended.set())
                task.add_done_callback(self._stop_on_failure)
            if self._pilot is None:  # else the whole job has further entries
                self._engine.all_admitted()
            while tasks:
                await asyncio.wait(tasks)
        finally:
            await visits.aclose()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _most_visits(self) -> float:
        """How many visits may go on at once, so that few answers wait for the scorer when scores end the run."""
        return most_visits(self._job.pipeline) if self._has_few_visits else math.inf

    def _stop_on_failure(self, task: asyncio.Future[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.stop(error)

    async def _sync_regularly(self) -> None:
        """Makes all that was paid for safe from a power loss within about a second."""
        while True:
            await asyncio.sleep(SYNC_EVERY)
            await asyncio.get_running_loop().run_in_executor(None, self._files.sync)

    def _flush(self) -> None:
        """Hands the lines of this turn of the loop to the system, before any slot they freed sends again."""
        try:
            self._files.ledger.flush()
        except RunStopped as error:
            self.stop(error)

    # One entry

    async def _process(self, visit: Visit, opening: asyncio.Semaphore) -> None:
        """One visit of an entry, from its ledger lines to its record, to its next visit, or to the errors file."""
        entry, state, known = visit.pending.entry, EntryState(visit.pending.entry), 0
        sampler, entries = self._job.pipeline.sampler, self._entries
        try:
            try:
                state, lines = entries.open(visit)
                if self._pilot is not None:
                    self._pilot.begin(entry, lines, visit.pending.record)
                await fill(state, self._job)
            finally:
                opening.release()
            known, before = len(state.scores), entries.seen(state)
            stopped_by = await self._engine.process(state, self._keep)
        except EntryFailed as error:
            self.counts.lost += len(state.missing(sampler))
            entries.fail(state)
            self._order.leave(visit)
            self._fail(entry, entry.line, error)
            if self._pilot is not None:
                self._pilot.ends(None)
        except BudgetSpent:
            self.counts.postponed += 1
            self._order.back(visit, entries.seen(state))
        except Postponed:
            self._go_on_later(visit, state)
        else:
            self._order.learn(before, entries.seen(state))
            if state.most is not None and stopped_by is None and state.missing(sampler):
                self._go_on_later(visit, state)
                entries.count_rows(state)
            else:
                self._finish(visit, state, stopped_by, known)

    def _go_on_later(self, visit: Visit, state: EntryState) -> None:
        """An entry needs more: in its next visit, or in the next run if nothing can be sampled for it now."""
        if self._is_broad and state.within_reach(self._job.pipeline.sampler):
            self._order.back(visit, self._entries.seen(state))
        else:
            self.counts.postponed += 1
            self._order.leave(visit)

    def _finish(self, visit: Visit, state: EntryState, stopped_by: str | None, known: int) -> None:
        """An entry is complete. ``known`` is how many scores it had before."""
        record, scores = self._entries.finish(state, stopped_by or visit.pending.stopped_by)
        self._order.end(visit)
        if self._pilot is not None:
            self._pilot.ends(record)
        self.counts.done += 1
        self.counts.scored += len(scores) - (len(state.scores) - known)
        self.counts.unneeded += len(state.missing(self._job.pipeline.sampler))

    def _keep(self, line: Record) -> None:
        self._files.ledger.append(line)
        if "answer" in line:
            self.counts.answers += 1
            self.counts.sampled_by[line["made_by"]] += 1
        scorer = self._job.pipeline.scorer
        if "digest" in line and scorer is not None and is_score_of(scorer, line):
            self.counts.scored += 1
            self.counts.add_arrived(line.get("score"))
        if self._pilot is not None:
            self._pilot.paid(line)

    def _fail(self, entry: Entry | None, line: int | None, error: EntryFailed) -> None:
        """Reports an entry that failed: in the counts, and in the errors file."""
        self.counts.add_failure(error)
        place = self._source.place(line) if line else None
        file = place.file if place and self._source.is_folder else None
        where = (f"{file}: " if file else "") + (f"{place.unit} {place.number}: " if place else "")
        failure = {
            "original_question": entry.question if entry else None,
            "stage": error.stage,
            "error": str(error),
            "status": error.status,
            **({"file": file} if file else {}),
            "line": place.number if place else None,
            "entry_id": entry.entry_id if entry else None,
        }
        names_its_place = place is not None and str(error).startswith(f"{place.file}: {place.unit} {place.number}: ")
        self._files.fail(failure, "" if names_its_place else where)
