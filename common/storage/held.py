"""What an output and its ledger hold, read without a change: no lock is taken, and nothing is written.

Example: ``held = Held("out.jsonl", "out.jsonl.ledger", settings); held.meet(entry_id) == "done"``
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, BinaryIO

from ..errors import UsageError
from ..fast_json import dumps, loads
from ..records import Record, id_key
from .append_file import LEDGER, RECORDS, check_kind, scan
from .ledger import LedgerIndex
from .ledger_lines import ANY, Range
from .result_files import ResultFiles
from .rewrite import new_file, new_settings_file
from .run_files import check_settings, read_settings, wanted_of


class Held:
    """The entries of an output and of its ledger, as ``RunFiles`` would find them; used as ``with``.

    UsageError if a run could not use the files. A run that writes them at the same time does no harm.
    """

    def __init__(
        self,
        output_file: str,
        ledger_file: str,
        settings: dict[str, Any],
        *,
        allow_mixed: bool = False,
        score_range: Range = ANY,
        look_again: bool = False,
    ) -> None:
        check_place(output_file)
        check_kind(output_file, RECORDS)
        check_kind(ledger_file, LEDGER)
        self.before = read_settings(output_file, settings, allow_mixed, write=False)
        self.is_mixed = check_settings(output_file, self.before, settings, allow_mixed)
        self.results = ResultFiles(output_file)
        self._places: dict[int, int] = {}  # by entry: where the record begins that may lack something
        self._reader: BinaryIO | None = None
        self._met: set[int] = set()
        self._done = self._find(output_file, settings, look_again)
        self.ledger = LedgerIndex(ledger_file, self._done, score_range)
        self._open_files = contextlib.ExitStack()
        self._open_files.callback(self.ledger.close_reader)
        if self._reader is not None:
            self._open_files.callback(self._reader.close)

    def _find(self, output_file: str, settings: dict[str, Any], look_again: bool) -> set[int]:
        """The entries that have all that the settings ask for; the records of the others go to ``_places``."""
        if not os.path.exists(output_file):
            return set()
        wanted = wanted_of(output_file, self.before, settings, look_again)
        if wanted is None:
            return {key for _, key in scan(output_file, lambda damaged: None)}
        done = (
            {key for _, key in scan(new_file(output_file), lambda damaged: None)}
            if _goes_on(output_file, wanted)
            else set()
        )
        self._places = {key: at for at, key in scan(output_file, lambda damaged: None) if key not in done}
        self._reader = open(output_file, "rb")
        return done

    def meet(self, entry_id: str) -> str:
        """Notes that the input has this entry: "new", "done" (it needs nothing) or "duplicate"."""
        key = id_key(entry_id)
        if key in self._met:
            return "duplicate"
        self._met.add(key)
        return "done" if key in self._done else "new"

    def old_record(self, entry_id: str) -> Record | None:
        """What the output has of an entry that may lack something."""
        place = self._places.get(id_key(entry_id))
        if place is None or self._reader is None:
            return None
        self._reader.seek(place)
        record: Record = loads(self._reader.readline())
        return record

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._open_files.close()


def _goes_on(output_file: str, wanted: dict[str, Any]) -> bool:
    """Whether a new file is being written whose records satisfy these settings."""
    path = new_settings_file(output_file)
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        return file.read() == dumps(wanted)


def check_place(path: str) -> None:
    """UsageError if no file could be made at ``path``, or the one that is there could not be written.

    >>> check_place("data/input.json/out.jsonl")
    Traceback (most recent call last):
    common.errors.UsageError: cannot write data/input.json/out.jsonl: data/input.json is not a folder
    """
    if os.path.exists(path):
        if os.path.isfile(path) and not os.access(path, os.W_OK):
            raise UsageError(f"cannot write {path}: it is read-only")
        return
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise UsageError(f"cannot write {path}: {os.path.relpath(folder)} is not a folder")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {path}: the folder {folder} is read-only")
