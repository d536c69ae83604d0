"""The files that a run writes at its end (``--selected_file``, ``--report_file``): it replaces only its own.

A name says nothing about what a file is. So the settings file beside the output keeps a digest of each file that the
runs of this output wrote, and by which flag. Any other file stays as it is. The commands that only read an output note
their files in ``OUTPUT.results.json``: the settings file belongs to the run that may be writing the output.

Example: ``results = ResultFiles("out.jsonl"); with results.replacing("--selected_file", "best.json"): ...``
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from typing import Any, Iterator, Mapping, Sequence

from ..errors import RunStopped, UsageError
from .append_file import write_whole

log = logging.getLogger(__name__)

SERVERS = "servers of the runs"  # among these files, since another server makes no other answers
WRITTEN = "written"  # the key of these files in the settings file
LIST_OF_READERS = ".results.json"  # beside an output: the files that the commands wrote that only read it
PIECE = 1 << 20


class ResultFiles:
    """The files that were written from an output. For a run to replace one, its settings file must exist.

    ``reads_only`` is for the commands that change nothing of the output: they keep their list in a file of their own.
    An output of an older version has no list: then each file that looks like one of these counts as one.
    """

    def __init__(self, output_file: str, reads_only: bool = False) -> None:
        self._output = output_file
        self._reads_only = reads_only
        whole_path = os.path.abspath(output_file)
        self._settings_file, self._own_list = whole_path + ".settings.json", whole_path + LIST_OF_READERS
        self._folder = os.path.dirname(os.path.realpath(output_file))
        of_runs = self._read().get(WRITTEN) if os.path.exists(self._settings_file) else {}
        of_readers = read_list(self._own_list)
        self._is_older = not isinstance(of_runs, dict)
        of_runs = of_runs if isinstance(of_runs, dict) else {}
        self._written: dict[str, Any] = of_readers if reads_only else of_runs
        self._by_others: dict[str, Any] = of_runs if reads_only else of_readers

    def check(self, flag: str, path: str, starts: Sequence[bytes]) -> None:
        """To be called before the run: UsageError if ``path`` is a file that the flag never writes (by its start).

        Warns if it may be someone else's: the run will not replace it. A command that only reads refuses it at once.
        """
        if not os.path.exists(path) or self._is_ours(flag, path):
            return
        if not os.path.isfile(path):
            raise UsageError(f"{flag} {path} is not a regular file")
        if not _begins(path, starts):
            raise UsageError(f"{path} exists, and {flag} does not write such files; name another file, or move it away")
        if self._reads_only:
            raise UsageError(self._not_ours(flag, path))
        if self._is_older:
            self._written[self._key(path)] = {"flag": flag, "digest": None}
        else:
            log.warning("%s is not as a run of %s wrote it by %s: it will not be replaced", path, self._output, flag)

    @contextlib.contextmanager
    def replacing(self, flag: str, path: str) -> Iterator[None]:
        """Notes a file that the block writes. RunStopped if the file is there and no run of this output wrote it."""
        if os.path.exists(path) and not self._is_ours(flag, path):
            raise RunStopped(self._not_ours(flag, path))
        self._note(flag, path, None)  # if the run is killed in the block, the file counts as ours whatever it holds
        yield
        self._note(flag, path, digest_of(path))

    def _is_ours(self, flag: str, path: str) -> bool:
        """Whether a file is empty, or as a run of this output wrote it by that flag."""
        if not os.path.isfile(path):
            return False
        notes = [written.get(self._key(path)) for written in (self._written, self._by_others)]
        digests = [note.get("digest") for note in notes if isinstance(note, dict) and note.get("flag") == flag]
        if digests:
            return None in digests or digest_of(path) in digests
        return os.path.getsize(path) == 0

    def _not_ours(self, flag: str, path: str) -> str:
        return (
            f"{path} is not as a run of {self._output} wrote it by {flag}, so it is not replaced: move it away or name "
            "another file, and run the same command again"
        )

    def _key(self, path: str) -> str:
        """A path that stays true if the folder of the output is moved together with it."""
        try:
            return os.path.relpath(os.path.realpath(path), self._folder)
        except ValueError:  # another drive
            return os.path.realpath(path)

    def _note(self, flag: str, path: str, digest: str | None) -> None:
        self._written[self._key(path)] = {"flag": flag, "digest": digest}
        self.keep()

    @property
    def servers(self) -> dict[str, list[str]]:
        """The servers that the runs of the output sent requests to, by role."""
        noted = self._written.get(SERVERS) or self._by_others.get(SERVERS)
        return noted if isinstance(noted, dict) else {}

    def note_servers(self, servers: Mapping[str, Sequence[str]]) -> None:
        """Adds servers to those that are known."""
        before = self.servers
        now = {role: list(dict.fromkeys([*before.get(role, []), *urls])) for role, urls in servers.items()}
        if any(before.get(role, []) != urls for role, urls in now.items()):
            self._written[SERVERS] = {**before, **now}
            self.keep()

    def keep(self) -> None:
        """Writes the list of files into the settings file, which may be a new one, or into the readers' own file."""
        if self._reads_only:
            with contextlib.suppress(OSError):  # the output's folder may be someone else's
                write_whole(self._own_list, [json.dumps({WRITTEN: self._written}, indent=1).encode()])
            return
        settings = {**self._read(), WRITTEN: self._written}
        try:
            begun = os.stat(self._settings_file).st_mtime_ns  # the settings are as old as before: the report shows it
            write_whole(self._settings_file, [json.dumps(settings, indent=1).encode()])
            os.utime(self._settings_file, ns=(begun, begun))
        except OSError as error:
            raise RunStopped(f"cannot write {self._settings_file}: {error.strerror}") from error

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._settings_file, encoding="utf-8") as file:
                settings: dict[str, Any] = json.load(file)
        except (OSError, ValueError) as error:
            raise RunStopped(f"cannot read {self._settings_file}: {error}") from error
        return settings


def read_list(path: str) -> dict[str, Any]:
    """The list of files in ``OUTPUT.results.json``; an empty one if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            written = json.load(file)[WRITTEN]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return written if isinstance(written, dict) else {}


def _begins(path: str, starts: Sequence[bytes]) -> bool:
    """Whether a file begins with one of ``starts``, after space. UsageError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(PIECE).lstrip().startswith(tuple(starts))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def digest_of(path: str) -> str:
    """The md5 of a file. RunStopped if it cannot be read."""
    digest = hashlib.md5()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                digest.update(piece)
    except OSError as error:
        raise RunStopped(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()
