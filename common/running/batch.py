"""Batch files in place of servers: a run writes its requests there, and finds their replies there.

The run is the usual one. Its sampler and its scorers make each request, and read each reply, as they always do. A
request without a reply is written, if the run writes, and its entry waits. So a judge's second question to an answer
stands in the next files.

Each request has the ``custom_id`` ENTRY-INDEX-SETTINGS (``custom_id_of``). At most 64 characters, since some servers
take no more.

Example: ``job.batch = batch = Batch(settings_id_of(job), writer=RequestFiles("batches")); with batch: run(job)``
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Sequence

from ..errors import Postponed, UsageError, plural
from ..records import fingerprint, id_key
from ..scoring.reward import Reward
from ..servers.replies import FiledReply, error_message, is_retryable
from ..storage.batch_files import ReplyFiles, RequestFiles

if TYPE_CHECKING:
    from .job import Job

REMEMBERED = 20_000  # requests whose repetitions are counted: those of the entries in progress
IN, OUT = "--batch_in", "--batch_out"
NO_SERVER = "http://127.0.0.1:0/v1"  # where nothing is sent


class Batch:
    """The replies that a run finds in files, and the requests that it writes; used as ``with``.

    Where it writes, a request that failed for now (busy, expired) is written again. Otherwise its entry fails.
    """

    def __init__(self, settings_id: str, writer: RequestFiles | None = None, replies: ReplyFiles | None = None) -> None:
        self._settings_id = settings_id
        self._writer = writer
        self._replies = replies
        self._repeated: OrderedDict[str, int] = OrderedDict()
        self.submits = False  # whether what is written is submitted by this command
        self.missing = 0  # requests without a reply

    @property
    def writes(self) -> bool:
        """Whether requests without a reply are written."""
        return self._writer is not None

    def __call__(self, entry_id: str, index: int | None, body: bytes) -> FiledReply:
        """The reply to a request. Postponed if there is none."""
        custom_id = self._name(entry_id, index, body)
        line = self._replies.take(custom_id) if self._replies is not None else None
        reply = None if line is None else FiledReply(*line)
        if reply is not None and not (self.writes and failed_for_now(reply)):
            return reply
        self.missing += 1
        if self._writer is not None:
            self._writer.add(custom_id, body)
        raise Postponed(f"no reply to the request {custom_id} yet")

    def _name(self, entry_id: str, index: int | None, body: bytes) -> str:
        """A request's custom_id. Requests of an entry that are equal, such as those for a judge's samples, count."""
        if index is not None:
            return custom_id_of(entry_id, index, self._settings_id)
        request = custom_id_of(entry_id, 0, self._settings_id, body)
        number = self._repeated.pop(request, 0)
        self._repeated[request] = number + 1
        if len(self._repeated) > REMEMBERED:
            self._repeated.popitem(last=False)
        return custom_id_of(entry_id, number, self._settings_id, body)

    def __enter__(self) -> Batch:
        self._files = contextlib.ExitStack()
        if self._writer is not None:
            self._files.enter_context(self._writer)
        if self._replies is not None:
            self._files.callback(self._replies.close)
        return self

    def __exit__(self, *error: object) -> None:
        self._files.__exit__(*error)  # type: ignore[arg-type]

    def rows(self) -> list[tuple[str, str]]:
        """(kind, text) of what was read and written."""
        rows = []
        if self._replies is not None:
            counts = self._replies.counts
            names = ("taken", "failed", "doubled", "other settings", "unreadable")
            parts = [f"{counts[name]:,} {name}" for name in names if counts[name] or name == "taken"]
            parts += [f"{self._replies.left:,} not needed"] if self._replies.left else []
            rows.append(("replies", f"{plural(counts['lines'], 'line')}: {', '.join(parts)}"))
        if self._writer is not None and self._writer.lines:
            files = plural(self._writer.files, "file")
            rows.append(("batch", f"{plural(self._writer.lines, 'request')} in {files}: {self._writer.folder}"))
        elif self.missing:
            rows.append(("batch", f"no reply to {plural(self.missing, 'request')}"))
        return rows

    def next_steps(self, postponed: int) -> list[str]:
        """What to do about entries that wait."""
        if not postponed:
            return []
        if self.submits:
            return ["nothing: the batch files are submitted now"]
        if self.writes:
            return [f"have the files answered, then give all replies to the same command: {IN} FILE ... for {OUT} DIR"]
        return [f"the same command without {IN} requests what is missing; with {OUT} DIR too it writes that"]


def custom_id_of(entry_id: str, index: int, settings_id: str, body: bytes | None = None) -> str:
    """A request's id: the entry, the index, the settings; of a scorer's request also its fingerprint.

    >>> custom_id_of("6c0feded64816c6ba0c937f0327e5b12", 3, "0123456789ab")
    '6c0feded64816c6ba0c937f0327e5b12-3-0123456789ab'
    """
    own = "" if body is None else f"-{hashlib.md5(body).hexdigest()[:12]}"
    return f"{id_key(entry_id):032x}-{index}-{settings_id}{own}"


def failed_for_now(reply: FiledReply) -> bool:
    """Whether a reply is a failure that another try may change: the request expired, or the server was busy.

    >>> failed_for_now(FiledReply("line 1", 500, b"{}")), failed_for_now(FiledReply("line 1", 400, b"{}"))
    (True, False)
    """
    if reply.status is None:
        return True
    return reply.status >= 400 and is_retryable(reply.status, error_message(reply.body))


def settings_id_of(job: Job) -> str:
    """The fingerprint of all that makes a job's requests what they are."""
    sampler, scorer = job.pipeline.sampler, job.pipeline.scorer
    if sampler is not None:
        [generator] = sampler.samplers
        return fingerprint([generator.settings_id, generator.max_tokens])
    return "" if scorer is None else scorer.settings_id


def use_files(job: Job, batch: Batch) -> None:
    """Puts files in the place of a job's servers: its clients send nothing."""
    job.batch = batch
    for client in job.pipeline.clients:
        client.filed, client.sends, client.concurrency = batch, False, 1
        client.urls = client.urls or [NO_SERVER]


def make_batch(job: Job, folder: str | None, replies: Sequence[str], only_good: Sequence[str] = ()) -> Batch:
    """The batch that writes to ``folder`` and reads ``replies``. UsageError if the job's requests fit in no batch."""
    scorer = job.pipeline.scorer
    if not job.pipeline.clients:
        raise UsageError(f"--scorer {'' if scorer is None else scorer.name} sends no requests: there is no batch")
    if scorer is not None and any(isinstance(one, Reward) for one in scorer.askers()):
        raise UsageError("--scorer reward cannot use batch files: they hold only chat requests")
    settings_id = settings_id_of(job)
    reader = ReplyFiles([*only_good, *replies], settings_id, only_good) if replies or only_good else None
    return Batch(settings_id, None if folder is None else RequestFiles(folder), reader)
