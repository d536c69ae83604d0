"""A finished output whose settings changed: it serves as a ledger, and its records are written anew beside it.

``OUTPUT.new`` takes each record that changes, and ``OUTPUT.new.settings.json`` the settings that these satisfy. Until
the new file replaces OUTPUT, OUTPUT stays as it is. After kill -9 at any moment, the next run goes on:

- The new file has settings beside it: it is being written, and a run with these settings goes on with it.
- It has none: its records are no help (all that was paid for is in OUTPUT and in the ledger), so it is removed.
- Only its settings are there: it has replaced OUTPUT, and its settings are to replace those of OUTPUT.

Example: ``rewrite = Rewrite("out.jsonl", settings); record = rewrite.take(entry_id); rewrite.replace(complete=True)``
"""

from __future__ import annotations

import os
import shutil
from typing import Any, BinaryIO, Iterable, Iterator

from ..errors import RunStopped, UsageError
from ..fast_json import dumps, loads
from ..records import Record, id_key
from .append_file import RECORDS, AppendFile, remove_parts, repair_tail, scan, write_whole

COPIED = 1 << 20  # bytes of unchanged records that are copied at once


def new_file(output_file: str) -> str:
    """The file that replaces an output."""
    return _target(output_file) + ".new"


def _target(output_file: str) -> str:
    """The output, or the file that it links to."""
    return os.path.realpath(output_file) if os.path.islink(output_file) else output_file


def settings_file(output_file: str) -> str:
    """The file with the settings of an output."""
    return output_file + ".settings.json"


def new_settings_file(output_file: str) -> str:
    """The file with the settings of the file that replaces an output."""
    return output_file + ".new.settings.json"


def recover(output_file: str) -> None:
    """Ends what a run that was killed at the end of its rewrite had begun. UsageError if it cannot."""
    new, new_settings = new_file(output_file), new_settings_file(output_file)
    repair_tail(new, RECORDS)
    try:
        remove_parts(new_settings)
        if os.path.exists(new) and not os.path.exists(new_settings):
            os.remove(new)
        elif os.path.exists(new_settings) and not os.path.exists(new):
            os.replace(new_settings, settings_file(output_file))
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error


class Rewrite:
    """Reads the records of ``output_file`` by their ids, and makes the file that replaces it.

    ``settings`` is what each record of the new file satisfies. A new file with other settings is begun anew.
    """

    def __init__(self, output_file: str, settings: dict[str, Any]) -> None:
        self.path = new_file(output_file)
        self.settings = settings
        self._output_file = output_file
        self._new_settings = new_settings_file(output_file)
        try:
            self._begin(dumps(settings))
            done = {key for _, key in scan(self.path)}
            self._offsets = {key: offset for offset, key in scan(output_file) if key not in done}
            self._old: BinaryIO = open(output_file, "rb")
        except OSError as error:
            raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error

    def _begin(self, settings: bytes) -> None:
        """Makes the new file and the settings beside it, unless they are there."""
        if os.path.exists(self.path):
            with open(self._new_settings, "rb") as file:
                if file.read() == settings:
                    return
            os.remove(self._new_settings)
            os.remove(self.path)
        open(self.path, "xb").close()
        write_whole(self._new_settings, [settings])

    @property
    def unmet(self) -> int:
        """How many old records are neither in the new file nor taken."""
        return len(self._offsets)

    def take(self, entry_id: str) -> Record | None:
        """The old record of an entry, once; None if there is none, or the new file has the entry."""
        offset = self._offsets.pop(id_key(entry_id), None)
        if offset is None:
            return None
        self._old.seek(offset)
        try:
            record: Record = loads(self._old.readline())
            if not isinstance(record, dict) or not isinstance(record.get("generated_answers"), list):
                raise ValueError("not a record")
        except (ValueError, RecursionError) as error:
            name = self._output_file
            raise RunStopped(f"{name}: the line at byte {offset} is damaged; remove it to go on") from error
        return record

    def set_settings(self, settings: dict[str, Any]) -> None:
        """Makes these the settings of the new file. RunStopped if they cannot be written."""
        try:
            write_whole(self._new_settings, [dumps(settings)])
        except OSError as error:
            raise RunStopped(f"cannot write {error.filename}: {error.strerror}") from error

    def replace(self, complete: bool, new: AppendFile, unfinished: Iterable[Record] = ()) -> None:
        """Copies all other records to the open ``new`` file, which then takes the place of the old one.

        ``complete`` says that all records satisfy the new settings, which then replace the old ones too. If they do
        not, the records of ``unfinished`` entries are added first. RunStopped if it cannot be done; the same run then
        goes on.
        """
        self._offsets.clear()
        try:
            if not complete:
                os.remove(self._new_settings)  # from here on, after kill -9 the new file is no help
                for record in unfinished:
                    new.append(record)
            if os.path.getsize(self.path):
                self._copy_the_others(new)
                shutil.copymode(self._output_file, self.path)
                os.replace(self.path, _target(self._output_file))
            else:
                os.remove(self.path)
            if complete:
                os.replace(self._new_settings, settings_file(self._output_file))
        except OSError as error:
            raise RunStopped(f"cannot write {error.filename or self.path}: {error.strerror}") from error

    def _copy_the_others(self, new: AppendFile) -> None:
        """Adds the old records of the entries that the new file does not have."""
        there = {key for _, key in scan(self.path)}
        for lines in self._old_lines(there):
            new.write(lines)
        new.sync()

    def _old_lines(self, there: set[int]) -> Iterator[bytes]:
        """The lines of all old records whose entries are not ``there``, in large pieces."""
        piece: list[bytes] = []
        size = 0
        for offset, key in scan(self._output_file):
            if key not in there:
                self._old.seek(offset)
                piece.append(self._old.readline())
                size += len(piece[-1])
            if size >= COPIED:
                yield b"".join(piece)
                piece, size = [], 0
        yield b"".join(piece)

    def close(self) -> None:
        self._old.close()
