"""Runs on batch files; with ``--batch_submit``, rounds of batches at a server until no reply is missing.

A round is a folder beside the ledger: its files of requests, their replies, and ``state.json``, which says what was
sent. Each step is on disk before the next one, so after kill -9 the same command goes on, and no file is sent as a
batch twice.

Example: ``sys.exit(submit(job))``
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any, AsyncIterator, Collection, Iterator, Sequence

from ..errors import RunStopped, UsageError
from ..servers.batch_api import ENDED, BatchApi
from ..servers.client import ChatClient
from ..storage.append_file import lock_output, whole_file, write_whole
from .batch import make_batch, use_files
from .job import Job
from .run import run

log = logging.getLogger(__name__)

STATE = "state.json"
LONGEST_PAUSE = 60.0  # seconds between two looks at the batches


class Round:
    """One round: its files, and what is known of each: its id at the server, its batch, its status, its replies."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {
            name: {} for name in sorted(os.listdir(folder)) if name.startswith("batch-") and name.count(".") == 1
        }
        self.is_taken = False  # whether a run has read all its replies
        path = os.path.join(folder, STATE)
        if os.path.exists(path):
            try:
                with open(path, "rb") as file:
                    state = json.load(file)
                self.files.update(state["files"])
                self.is_taken = state["taken"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UsageError(f"cannot read {path}: {error}") from error

    def save(self) -> None:
        """Writes what is known. RunStopped if that fails."""
        state = {"files": self.files, "taken": self.is_taken}
        try:
            write_whole(os.path.join(self.folder, STATE), [json.dumps(state, indent=1).encode()])
        except OSError as error:
            raise RunStopped(f"cannot write {self.folder}: {error.strerror}") from error

    def note(self, name: str, **known: object) -> None:
        """Adds to what is known of a file."""
        self.files[name].update(known)
        self.save()

    def path(self, name: str) -> str:
        """The path of one of its files."""
        return os.path.join(self.folder, name)

    @property
    def open_files(self) -> list[str]:
        """The files whose replies are not here."""
        return [name for name, known in self.files.items() if "replies" not in known]

    @property
    def replies(self) -> list[str]:
        """The files of replies that are here."""
        return [self.path(one) for known in self.files.values() for one in known.get("replies", [])]


def run_on_files(job: Job, folder: str | None, replies: Sequence[str]) -> int:
    """A run that takes ``replies``, and writes what is missing to ``folder`` if there is one; returns its exit code."""
    batch = make_batch(job, folder, replies)
    use_files(job, batch)
    with batch:
        return run(job)


def rounds_in(folder: str) -> list[Round]:
    """The rounds of a job, in their order."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [Round(os.path.join(folder, name)) for name in sorted(names) if name.isdigit()]


def submit(job: Job) -> int:
    """Runs a job through batches at the server of its role; returns the exit code of the last run.

    Raises as ``run``, and ServerGone or ServerRefused of the server.
    """
    client = client_of(job)
    most, folder = client.max_retries + 1, f"{job.ledger_file}.batches"
    lock = lock_output(os.path.join(folder, "rounds"))
    before = {one.folder for one in rounds_in(folder) if one.is_taken}
    try:
        for number in range(most + 1):
            is_whole = asyncio.run(carry_all(client, rounds_in(folder)))
            code, is_missing = read_and_write(job, folder, before)
            if not is_missing:
                return code
            if not is_whole or number == most:
                break
    finally:
        lock.release()
    log.warning("some requests were not answered; run the same command again to submit them")
    return 1


def client_of(job: Job) -> ChatClient:
    """The one client of a job with one server. UsageError if it has another number."""
    clients = job.pipeline.clients
    if len(clients) == 1 and len(clients[0].urls) > 1:
        raise UsageError("--batch_submit sends to one server: name one port or one base URL")
    if not clients:
        make_batch(job, None, [])  # says why there is none
    return clients[0]


def read_and_write(job: Job, folder: str, before: Collection[str]) -> tuple[int, bool]:
    """A run on the replies that are here, which writes what is missing as the next round, unless a round is open.

    Returns its exit code, and whether replies are missing. What failed in rounds ``before`` this command is requested
    again. A judge may need their good replies, since a score can take several; an answer does not.
    """
    rounds = rounds_in(folder)
    old = [path for one in rounds if one.folder in before and job.pipeline.sampler is None for path in one.replies]
    new = [path for one in rounds if one.folder not in before for path in one.replies]
    place = None if any(one.open_files for one in rounds) else os.path.join(folder, f"{len(rounds) + 1:04d}")
    batch = make_batch(job, place, new, only_good=old)
    batch.submits = place is not None
    use_files(job, batch)
    with batch:
        code = run(job)
    for one in rounds:
        if not (one.is_taken or one.open_files):
            one.is_taken = True
            one.save()
    return code, batch.missing > 0


# One round at the server


async def carry_all(client: ChatClient, rounds: list[Round]) -> bool:
    """Sends what was not sent, waits for what was, and fetches the replies; whether every batch was completed."""
    is_whole = True
    open_files = [(one, name) for one in rounds for name in one.open_files]
    if open_files:
        async with client.batch_api() as api:
            for one, name in open_files:
                await send(api, one, name)
            async for one, name, batch in ended(api, open_files):
                is_whole = await fetch(api, one, name, batch) and is_whole
    return is_whole


async def send(api: BatchApi, one: Round, name: str) -> None:
    """Uploads a file and creates its batch, as far as that is not done."""
    known = one.files[name]
    if "input_file_id" not in known:
        one.note(name, input_file_id=await api.upload(one.path(name)))
    if "batch_id" not in known:
        batch = await api.create_once(known["input_file_id"])
        one.note(name, batch_id=batch["id"])
        log.info("%s: submitted as %s", name, batch["id"])


async def ended(api: BatchApi, files: list[tuple[Round, str]]) -> AsyncIterator[tuple[Round, str, dict[str, Any]]]:
    """Each file and its batch, as its batch ends."""
    left, pause = list(files), 1.0
    while left:
        for one, name in list(left):
            batch = await api.look(one.files[name]["batch_id"])
            if batch.get("status") in ENDED:
                left.remove((one, name))
                yield one, name, batch
            else:
                tell(one, name, batch)
        if left:
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)


def tell(one: Round, name: str, batch: dict[str, Any]) -> None:
    """Says how far a batch is, if its status changed."""
    status, counts = batch.get("status"), batch.get("request_counts") or {}
    if one.files[name].get("status") != status:
        one.note(name, status=status)
        log.info("%s: %s, %s of %s", batch["id"], status, counts.get("completed", 0), counts.get("total", "?"))


async def fetch(api: BatchApi, one: Round, name: str, batch: dict[str, Any]) -> bool:
    """Fetches the replies of a batch that ended; whether it was completed.

    A batch that failed has none: its file is sent again by the next command.
    """
    status, replies = batch["status"], []
    if status == "failed":
        log.warning("%s: the batch %s failed: %s", name, batch["id"], "; ".join(faults(batch)) or "no reason is given")
        one.files[name] = {}
        one.save()
        return False
    for kind in ("output", "error"):
        file_id = batch.get(f"{kind}_file_id")
        if file_id:
            replies.append(f"{os.path.splitext(name)[0]}.{kind}.jsonl")
            with whole_file(one.path(replies[-1])) as file:
                await api.save(str(file_id), file)
    one.note(name, status=status, replies=replies)
    if status != "completed":
        log.warning("%s: the batch %s ended as %s", name, batch["id"], status)
    return bool(status == "completed")


def faults(batch: dict[str, Any]) -> Iterator[str]:
    """Why a batch failed, as the server says it."""
    errors = batch.get("errors")
    for error in (errors.get("data") or []) if isinstance(errors, dict) else []:
        if isinstance(error, dict) and error.get("message"):
            yield str(error["message"])
