"""Streams entries through sampling and scoring, keeps what arrives, and ends with a summary and an exit code.

An entry is admitted when the servers have room; its requests then queue for slots one by one, so that no entry
holds a slot it does not use. Each answer and each score goes to the ledger as it arrives, the record to the
output when its entry is complete.

Example: ``sys.exit(run(Job(script="sampling.py", input_file="data/input.json", ...)))``
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import json
import logging
import os
import signal
import time
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import uvloop

from ..errors import BadEntry, BrokenInput, BudgetSpent, EntryFailed, RunStopped, UsageError
from ..fast_json import dumps
from ..images import load_images
from ..input.files import InputFile, Item
from ..records import Entry, PendingEntry, id_key
from ..results.export import write_selected
from ..results.report import write_report
from ..results.selection import Selection
from ..scoring.shapes import AnswerScorer
from ..servers.client import ChatClient
from ..servers.local import LocalServer
from ..servers.messages import chat_messages, check_marks
from ..storage.append_file import RECORDS, AppendFile, lock_output, read_records, repair_tail, scan, write_whole
from ..storage.ledger import Ledger
from .candidates import Candidates, idle, room_for_more
from .early_stopping import StopRule
from .progress import Counts, server_rows, show_bar, summary
from .ray_cluster import Cluster
from .ray_worker import Plan
from .sampler import Sampler

log = logging.getLogger(__name__)

READ_AHEAD = 100  # items read before anything is sent, so that a file broken at its start is refused
OPENING = 16  # entries whose images are read and whose requests are made at the same time
SYNC_EVERY = 1.0  # seconds between two flushes to the disk
SKIPS_AT_ONCE = 256  # finished entries passed over before the event loop gets its turn


class Interrupted(RunStopped):
    """Ctrl-C or a signal to end."""

    exit_code = 130


@dataclass
class Job:
    """One script's run. ``read`` makes an input item an entry with the answers it has; ``keep_ledger`` where
    the ledger is the user's cache rather than the run's own notes."""

    script: str
    input_file: str
    output_file: str
    ledger_file: str
    keep_ledger: bool
    read: Callable[[object, int], PendingEntry]
    clients: Sequence[ChatClient]
    sampler: Optional[Sampler] = None
    scorer: Optional[AnswerScorer] = None
    local: Optional[LocalServer] = None
    ray: Optional[str] = None  # the cluster's address ("": one of its own), where entries are done by its workers
    image_root: Optional[str] = None
    max_image_bytes: int = 20 << 20
    limit: Optional[int] = None
    stop_rule: Optional[StopRule] = None
    token_budget: Optional[int] = None
    selection: Selection = field(default_factory=Selection)
    selected_file: Optional[str] = None
    selected_format: str = "sharegpt"
    report_file: Optional[str] = None
    score_range: Tuple[float, float] = (0.0, 10.0)
    allow_mixed: bool = False
    quiet: bool = False

    def settings(self) -> Dict[str, Any]:
        """What makes this run's records what they are, flat, for the file beside the output."""
        found: Dict[str, Any] = {}
        if self.sampler is not None:
            found.update(answers_per_question=self.sampler.count, max_tokens=self.sampler.max_tokens)
            found.update({f"generator {name}": value for name, value in self.sampler.settings().items()})
        if self.scorer is not None:
            found.update({f"scorer {name}": value for name, value in self.scorer.settings.items()})
        if self.stop_rule is not None:
            found.update(dataclasses.asdict(self.stop_rule))
        return found


def run(job: Job) -> int:
    """Runs a job to its end; returns exit code 0, or 1 if entries failed or the budget was spent before the end.

    Raises ToolkitError with its own code.
    """
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        source = InputFile(job.input_file)
        stack.callback(source.close)
        items = _read_ahead(source)
        for path in (job.output_file, job.ledger_file)[: 1 + job.keep_ledger]:
            stack.callback(lock_output(path).release)
        current = _Run(job, source, items)
        made: List[Tuple[str, str]] = []
        try:
            gc.collect()
            gc.freeze()
            gc.set_threshold(100_000, 20, 100)
            uvloop.run(current.drive())
            made = _select_and_report(job)
        finally:
            current.close()
            if not job.quiet and current.counts.anything():
                print(current.summary(time.monotonic() - begun, made))
    if current.cut_short:
        log.warning("%s; run the same command again to go on", current.cut_short)
    return 1 if current.counts.failed or current.cut_short else 0


def _read_ahead(source: InputFile) -> Iterator[Item]:
    """The items of the input; one that breaks off within the first few is refused before anything is sent."""
    stream = iter(source)
    try:
        first = list(islice(stream, READ_AHEAD))
    except BrokenInput as error:
        raise UsageError(str(error)) from error
    return chain(first, stream)


def _select_and_report(job: Job) -> List[Tuple[str, str]]:
    """Writes what is made of a finished output; (what, path) of each."""
    made = []
    if job.selected_file is not None:
        records = read_records(job.output_file)
        found = write_selected(records, job.selected_file, job.selection, job.selected_format)
        taken = f"{found.rows:,} from {found.chosen:,} of the {found.records:,} entries"
        made.append(("selected", f"{taken}: {job.selected_file}"))
    if job.report_file is not None:
        write_report(
            job.report_file,
            job.output_file,
            job.selection,
            errors_file=errors_file(job),
            image_root=image_root(job),
            score_range=job.score_range,
            script=job.script,
            stay_inside=job.image_root is not None,
        )
        made.append(("report", job.report_file))
    return made


def errors_file(job: Job) -> str:
    """Where a run's failures are written."""
    return job.output_file + ".errors.jsonl"


def image_root(job: Job) -> str:
    """The folder that relative image paths are relative to."""
    there = os.path.abspath(job.input_file)
    return job.image_root or (there if os.path.isdir(there) else os.path.dirname(there))


def _check_settings(job: Job) -> None:
    """Refuses an output that was written with other settings: its finished entries would pass for these."""
    path, now = job.output_file + ".settings.json", job.settings()
    if os.path.exists(path) and os.path.exists(job.output_file) and os.path.getsize(job.output_file):
        try:
            with open(path, encoding="utf-8") as file:
                before = json.load(file)
            if not isinstance(before, dict):
                raise ValueError("it holds no settings")
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"cannot read {path}: {error}") from error
        changed = [
            f"{name} {before.get(name)!r}, now {now.get(name)!r}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        ]
        if changed and not job.allow_mixed:
            raise UsageError(
                f"{job.output_file} was written with {'; '.join(changed)}: name another --output_file, "
                "or add to this one with --allow_mixed"
            )
    else:
        try:
            write_whole(path, [json.dumps(now, indent=1).encode()])
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error


class _Run:
    """The state of one run: files, counts, and what is in progress."""

    def __init__(self, job: Job, source: InputFile, items: Iterator[Item]) -> None:
        self.counts = Counts()
        self._job = job
        self._source = source
        self._items = items
        self._image_root = image_root(job)
        self._errors_file = errors_file(job)
        self._errors: Optional[AppendFile] = None
        repair_tail(job.output_file, RECORDS)
        _check_settings(job)
        self._met = {key: False for _, key in scan(job.output_file)}  # each known id: whether the input had it yet
        self._ledger = Ledger(job.ledger_file, self._met)
        self._output = AppendFile(job.output_file)
        self._forget_errors()
        self.cut_short: Optional[BudgetSpent] = None
        self._cluster: Optional[Cluster] = None
        self._broken: Optional[BrokenInput] = None
        self._all_admitted = False
        self._left = False  # entries that were not begun
        self._complete = False

    def _forget_errors(self) -> None:
        """Removes the errors file of the run before this one."""
        try:
            if os.path.lexists(self._errors_file):
                os.remove(self._errors_file)
        except OSError as error:
            raise UsageError(f"cannot remove {self._errors_file}: {error.strerror}") from error

    def close(self) -> None:
        """Closes the files; the ledger goes where the output holds all of it."""
        self._ledger.flush()
        self._sync()
        obsolete = self._complete and not self.counts.failed and not self._ledger.leftover
        self._ledger.close(remove=obsolete and not self._job.keep_ledger)
        self._output.close()
        if self._errors is not None:
            self._errors.close()

    def summary(self, seconds: float, made: List[Tuple[str, str]]) -> str:
        """The end of the run as a person reads it; ``made`` as ``_select_and_report`` gives it."""
        job = self._job
        servers = [row for one in job.clients for row in server_rows(one.pool.servers, one.concurrency is None)]
        files = [*servers, ("output", job.output_file), *made]
        if os.path.exists(job.ledger_file):
            files.append(("ledger", job.ledger_file))
        if self._errors is not None:
            files.append(("errors", f"{self._errors_file} (the first: {self._first_error})"))
        traffic = [client.traffic for client in job.clients]
        return summary(job.script, self.counts, traffic, seconds, files)

    def _pending(self) -> Iterator[Optional[PendingEntry]]:
        """The entries to be done, each once; now and then a None, so that a long skip does not hold the loop."""
        passed = 0
        for line, item in islice(self._items, self._job.limit):
            try:
                if isinstance(item, BadEntry):
                    raise item
                work = self._job.read(item, line)
                check_marks(work.entry)
            except BadEntry as error:
                self._fail(None, line, error)
                continue
            if self._is_new(id_key(work.entry.entry_id)):
                yield work
            else:
                passed += 1
                if passed % SKIPS_AT_ONCE == 0:
                    yield None

    def _is_new(self, key: int) -> bool:
        met = self._met.get(key)
        self._met[key] = True
        self.counts.duplicates += met is True
        self.counts.skipped += met is False
        return met is None

    def _fail(self, entry: Optional[Entry], line: Optional[int], error: EntryFailed) -> None:
        self.counts.failed += 1
        place = self._source.place(line) if line else None
        within = place.file if place and self._source.is_folder else None
        if self._errors is None:
            self._errors = AppendFile(self._errors_file)
            where = f"{within}: " if within else ""
            self._first_error = f"{where}{place.unit} {place.number}: {error}" if place else str(error)
        self._errors.append(
            {
                "original_question": entry.question if entry else None,
                "stage": error.stage,
                "error": str(error),
                "status": error.status,
                **({"file": within} if within else {}),
                "line": place.number if place else None,
                "entry_id": entry.entry_id if entry else None,
            }
        )

    async def drive(self) -> None:
        """Does every pending entry. Returns when all are done or failed; raises what stopped the run before."""
        pending = self._pending()
        first = next((work for work in pending if work is not None), None)
        if first is not None:
            await self._work_through(chain([first], pending))
        if self._broken is not None:
            raise self._broken
        if not (self._left or self.counts.postponed):
            self.cut_short = None  # the draw that met the budget was not needed after all
        self._complete = self.cut_short is None

    async def _work_through(self, pending: Iterator[Optional[PendingEntry]]) -> None:
        loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[BaseException] = loop.create_future()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, self._stop, Interrupted("interrupted; run the same command again to go on"))
        self._ledger.schedule_flush = functools.partial(loop.call_soon, self._flush)
        work = asyncio.ensure_future(self._serve(pending))
        try:
            either: Set[asyncio.Future[Any]] = {work, self._stopped}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.done():
                raise self._stopped.result()
            work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _serve(self, pending: Iterator[Optional[PendingEntry]]) -> None:
        """Brings the servers and the bar up, does the work, and takes them down again."""
        job = self._job
        traffic = [client.traffic for client in job.clients]
        async with contextlib.AsyncExitStack() as stack:
            if job.local is not None:
                stack.callback(job.local.stop)
                url = await asyncio.get_running_loop().run_in_executor(None, job.local.start)
                for client in job.clients:
                    client.urls = client.urls or [url]
            if job.ray is not None:
                plan = Plan(job.clients, job.sampler, job.scorer, job.stop_rule)
                budget = self._check_budget if job.token_budget is not None else lambda: None
                self._cluster = await stack.enter_async_context(Cluster(job.ray, plan, self._stop, budget))
            for client in job.clients if job.ray is None else ():
                await stack.enter_async_context(client)
            bar = asyncio.ensure_future(show_bar(self.counts, traffic, self._expected, job.quiet))
            stack.callback(bar.cancel)
            if job.scorer is not None:
                stack.callback(job.scorer.close)
            if job.sampler is not None and job.token_budget is not None:
                job.sampler.client.may_start = self._check_budget
            syncing = asyncio.ensure_future(self._sync_regularly())
            syncing.add_done_callback(self._watch)
            stack.callback(syncing.cancel)
            await self._admit(pending)

    async def _sync_regularly(self) -> None:
        """What was paid for is safe from a power loss within about a second."""
        while True:
            await asyncio.sleep(SYNC_EVERY)
            await asyncio.get_running_loop().run_in_executor(None, self._sync)

    def _check_budget(self) -> None:
        """Raises BudgetSpent once the run has spent its budget, RunStopped where no server says what is spent."""
        traffic = [client.traffic for client in self._job.clients]
        spent, budget = sum(traffic.tokens for traffic in traffic), self._job.token_budget or 0
        if any(traffic.uncounted for traffic in traffic):
            raise RunStopped("--token_budget cannot be kept: the server does not say how many tokens it spent")
        if spent >= budget:
            self.cut_short = BudgetSpent(f"{spent:,} of --token_budget {budget:,} completion tokens are spent")
            raise self.cut_short

    def _flush(self) -> None:
        """Hands to the system what arrived in this turn of the loop, before any slot it freed sends again."""
        try:
            self._ledger.flush()
        except RunStopped as error:
            self._stop(error)

    def _sync(self) -> None:
        self._ledger.sync()
        self._output.sync()

    def _expected(self) -> Optional[int]:
        there, limit = self._source.expected_items(), self._job.limit
        return min(there, limit) if there is not None and limit is not None else there

    def _stop(self, error: BaseException) -> None:
        if not self._stopped.done():
            self._stopped.set_result(error)
        for client in self._job.clients:
            client.stop(error if isinstance(error, RunStopped) else RunStopped(str(error)))

    def _watch(self, task: asyncio.Future[Any]) -> None:
        """Stops the run on a failure that is not one entry's own."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (EntryFailed, BudgetSpent)):
            self._stop(error)

    async def _admit(self, pending: Iterator[Optional[PendingEntry]]) -> None:
        """Starts entries as the servers have room for them, and waits for the last."""
        opening = asyncio.Semaphore(OPENING)
        tasks: Set[asyncio.Future[None]] = set()
        try:
            for work in self._until_broken(pending):
                if work is None:
                    await asyncio.sleep(0)
                    continue
                await opening.acquire()
                await self._room()
                if self.cut_short is not None:
                    self._left = True
                    break
                task: asyncio.Future[None] = asyncio.ensure_future(self._do(work, opening))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(self._watch)
            self._all_admitted = True
            if self._cluster is not None:
                self._cluster.no_more()
            while tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _room(self) -> None:
        """Waits until the servers have room for another entry."""
        if self._cluster is not None:
            await self._cluster.room()
        else:
            await room_for_more(self._job.sampler, self._job.scorer)

    def _servers_idle(self) -> bool:
        """Whether the servers have nothing better to do than draws that may turn out not to be needed."""
        return self._all_admitted and idle(self._job.sampler, self._job.scorer)

    def _until_broken(self, pending: Iterator[Optional[PendingEntry]]) -> Iterator[Optional[PendingEntry]]:
        """What can be read of the input; the rest is done and kept before the break is reported."""
        try:
            yield from pending
        except BrokenInput as error:
            self._broken = error

    async def _do(self, work: PendingEntry, opening: asyncio.Semaphore) -> None:
        """One entry from its ledger lines to its record, or to the errors file."""
        job = self._job
        make = Candidates if self._cluster is None else self._cluster.candidates
        candidates = make(
            work.entry, job.sampler, job.scorer, self._ledger, self._watch, job.stop_rule, self._servers_idle
        )
        try:
            try:
                await self._open(candidates, work)
            finally:
                opening.release()
            record, scores = await candidates.record(work.stopped_by)
        except EntryFailed as error:
            self._fail(work.entry, work.entry.line, error)
        except BudgetSpent:
            self.counts.postponed += 1
        else:
            self._output.append(record)
            self.counts.done += 1
            self.counts.add_scores(scores)
        finally:
            self.counts.answers += candidates.drawn
            candidates.cancel()

    async def _open(self, candidates: Candidates, work: PendingEntry) -> None:
        """Recalls what the ledger has of an entry, reads its images, and queues its requests."""
        candidates.recall(self._ledger.recall(work.entry.entry_id))
        self.counts.recalled += len(candidates.answers)
        candidates.answers.update(enumerate(work.answers or ()))
        loop = asyncio.get_running_loop()
        if candidates.needs_images():
            where = (self._image_root, self._job.image_root is not None, self._job.max_image_bytes)
            candidates.images = await loop.run_in_executor(None, load_images, work.entry.images, *where)
        messages = b""
        if self._job.sampler is not None and candidates.missing():
            build = (work.entry, candidates.images, self._job.sampler.system_prompt)
            if candidates.images:  # base64 of megabytes: off the event loop
                messages = await loop.run_in_executor(None, _message_bytes, *build)
            else:
                messages = _message_bytes(*build)
        candidates.start(messages)


def _message_bytes(entry: Entry, images: Sequence[str], system_prompt: Optional[str]) -> bytes:
    return dumps(chat_messages(entry, images, system_prompt))
