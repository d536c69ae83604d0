"""OpenAI's batch files: the requests that are written, and the replies that are read.

A folder of requests is there whole, with every file, or not at all. Replies are found by their ``custom_id``; one pass
over their files keeps the place of each line.

Example: ``with RequestFiles("batches") as files: files.add("entry-0-settings", b'{"model": ...}')``
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from typing import Any, BinaryIO, Collection, Iterator, NamedTuple, Sequence

from ..errors import UsageError
from ..fast_json import dumps, loads, small_int
from ..records import fingerprint

MOST_LINES = 50_000  # of a file, as OpenAI takes them
MOST_BYTES = 200_000_000
URL = "/v1/chat/completions"


class RequestFiles:
    """Writes requests to ``folder``, used as ``with``. The folder appears at its end, if there was any request.

    UsageError if the folder is there and not empty: what an earlier command wrote there may have been sent.
    """

    def __init__(self, folder: str, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self.lines = 0
        self.files = 0
        self._most = most_lines, most_bytes
        self._part = f"{folder.rstrip(os.sep)}.part"
        self._file: BinaryIO | None = None
        self._in_file = self._size = 0
        if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
            raise UsageError(f"{folder} is there and not empty: name another folder for the batch files")
        _refused(self._make_part, self._part)

    def _make_part(self) -> None:
        if os.path.isdir(self._part):  # of a run that was killed
            shutil.rmtree(self._part)
        os.makedirs(self._part)

    def add(self, custom_id: str, body: bytes) -> None:
        """Writes one request."""
        line = b'{"custom_id":%b,"method":"POST","url":"%b","body":%b}\n' % (dumps(custom_id), URL.encode(), body)
        lines, size = self._most
        if self._file is None or self._in_file == lines or self._size + len(line) > size:
            self._next_file()
        assert self._file is not None
        self._file.write(line)
        self.lines, self._in_file, self._size = self.lines + 1, self._in_file + 1, self._size + len(line)

    def _next_file(self) -> None:
        self._close()
        self.files += 1
        self._in_file = self._size = 0
        self._file = open(os.path.join(self._part, f"batch-{self.files:05d}.jsonl"), "wb")

    def _close(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def __enter__(self) -> RequestFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close()
        if kind is None and self.lines:
            _refused(lambda: os.replace(self._part, self.folder), self.folder)
        else:
            shutil.rmtree(self._part, ignore_errors=True)


def _refused(work: Any, path: str) -> None:
    """Does some work with files. UsageError if that fails."""
    try:
        work()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


class Place(NamedTuple):
    """Where a line of replies is: its file (by number), its own number (from 1), and its first byte."""

    file: int
    line: int
    offset: int


class Line(NamedTuple):
    """A reply: where it stands, its HTTP status (None if the request was not answered), and its body or error."""

    where: str
    status: int | None
    body: bytes


class ReplyFiles:
    """The replies in ``paths``, each of which is taken once.

    ``settings_id`` is the third part of the ids that count: lines of other settings are left out. Of two lines with one
    id, the first without a failure counts. Failures in the files ``only_good`` do not count at all.
    ``counts`` says what became of the lines. UsageError if a file cannot be read, or does not hold replies.
    """

    def __init__(self, paths: Sequence[str], settings_id: str, only_good: Collection[str] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self._paths = paths
        self._settings_id = settings_id
        self._places: dict[int, Place] = {}
        self._failed: dict[int, Place] = {}
        self._files: list[BinaryIO] = []
        with contextlib.ExitStack() as stack:
            for number, path in enumerate(paths):
                try:
                    self._files.append(stack.enter_context(open(path, "rb")))
                    self._index(number, path in only_good)
                except OSError as error:
                    raise UsageError(f"cannot read {path}: {error.strerror}") from error
            self._open_files = stack.pop_all()

    def _index(self, number: int, only_good: bool) -> None:
        offset = 0
        for count, line in enumerate(self._files[number], 1):
            if line.strip():
                self.counts["lines"] += 1
                self._note(line, Place(number, count, offset), only_good)
            offset += len(line)

    def _note(self, line: bytes, place: Place, only_good: bool) -> None:
        """Notes where a line is, if it counts."""
        reply = _object(line)
        if "body" in reply and not {"response", "error"} & reply.keys():
            raise UsageError(f"{self._paths[place.file]}: line {place.line} is a request: name the file of its replies")
        parts = str(reply.get("custom_id")).split("-")
        if len(parts) < 3:
            self.counts["unreadable"] += 1
            return
        if parts[2] != self._settings_id:
            self.counts["other settings"] += 1
            return
        key, is_good = _key("-".join(parts)), _is_good(reply)
        if key in self._places or (not is_good and key in self._failed):
            self.counts["doubled"] += 1
        elif is_good:
            self._places[key] = place
            self._failed.pop(key, None)
        elif not only_good:
            self._failed[key] = place

    def take(self, custom_id: str) -> Line | None:
        """The reply to a request, if there is one that was not taken yet."""
        key = _key(custom_id)
        place = self._places.pop(key, None) or self._failed.pop(key, None)
        if place is None:
            return None
        file = self._files[place.file]
        file.seek(place.offset)
        reply = _object(file.readline())
        where = f"{os.path.basename(self._paths[place.file])}: line {place.line}"
        self.counts["taken" if _is_good(reply) else "failed"] += 1
        return Line(where, *_content(reply))

    @property
    def left(self) -> int:
        """The replies that were not taken."""
        return len(self._places) + len(self._failed)

    def close(self) -> None:
        """Closes the files."""
        self._open_files.close()


def _key(custom_id: str) -> int:
    return int(fingerprint(custom_id, 32), 16)


def _object(line: bytes) -> dict[str, Any]:
    """The object on a line; empty if it is torn, or something else."""
    try:
        value = loads(line, small_int)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _response(reply: dict[str, Any]) -> dict[str, Any]:
    response = reply.get("response")
    return response if isinstance(response, dict) else {}


def _is_good(reply: dict[str, Any]) -> bool:
    """Whether a reply has a status of success, and a body."""
    response = _response(reply)
    status = response.get("status_code")
    return type(status) is int and 200 <= status < 300 and isinstance(response.get("body"), dict)


def _content(reply: dict[str, Any]) -> Iterator[Any]:
    """The status and the body of a reply. vLLM has the error of a failed request beside the response."""
    response = _response(reply)
    status, body = response.get("status_code"), response.get("body")
    yield status if type(status) is int else None
    yield dumps(body if body is not None else reply.get("error"))
