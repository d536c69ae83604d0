"""The files that one run writes: output, ledger, errors, and the settings beside the output.

They are locked for the run, mended after a crash, and refused if other settings wrote them.

Example: ``with RunFiles("out.jsonl", "out.jsonl.ledger", settings) as files: files.output.append(record)``
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import Any, Iterator

from ..errors import UsageError
from ..records import Record, id_key
from .append_file import (
    FAILURES,
    RECORDS,
    AppendFile,
    Damaged,
    is_of_kind,
    lock_output,
    read_records,
    scan,
    set_aside,
    write_whole,
)
from .ledger import Ledger
from .ledger_lines import ANY, Range
from .result_files import WRITTEN, ResultFiles

log = logging.getLogger(__name__)


class RunFiles:
    """Opens a run's files, used as ``with``; UsageError if one cannot be used.

    ``keep_ledger`` says that the ledger is the user's own file, which stays when the run is complete.
    """

    def __init__(
        self,
        output_file: str,
        ledger_file: str,
        settings: dict[str, Any],
        *,
        keep_ledger: bool = False,
        allow_mixed: bool = False,
        score_range: Range = ANY,
    ) -> None:
        self.complete = False  # whether the output holds all that the ledger holds; the run sets it at its end
        self.first_error: str | None = None
        self.damaged: list[Damaged] = []  # lines of the output that are not moved away yet, or were met at the end
        self._place = os.path.abspath(output_file)  # a user's function may change the working folder
        self._errors_file = self._place + ".errors.jsonl"
        self._errors: AppendFile | None = None
        self._keep_ledger = keep_ledger
        self._is_obsolete = False  # whether the ledger is
        self._open_files = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            for path in (output_file, ledger_file) if keep_ledger else (output_file,):
                stack.callback(lock_output(path).release)
            self.output = stack.enter_context(contextlib.closing(AppendFile(output_file, RECORDS)))
            check_settings(output_file, settings, allow_mixed)
            self.results = ResultFiles(output_file)
            self._met = {key: False for _, key in scan(output_file, self.damaged.append)}
            if self.damaged:
                log.warning("%s; what it held is done again", set_aside(output_file, self.damaged))
                self.damaged = []
            self.ledger = Ledger(ledger_file, self._met, score_range)
            stack.callback(self._close_ledger)
            self._remove_old_errors()
            self._open_files = stack.pop_all()

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the files. Removes the ledger if the output holds all of it."""
        with self._open_files:
            self.ledger.flush()
            if self._errors is not None:
                self._errors.close()
            all_is_there = self.complete and self._errors is None and not self.damaged and not self.ledger.leftover
            if self._keep_ledger or not all_is_there:
                self.ledger.sync()
            self.output.check()
            self._is_obsolete = all_is_there and not self._keep_ledger

    def _close_ledger(self) -> None:
        self.ledger.close(remove=self._is_obsolete)

    def records(self) -> Iterator[Any]:
        """The records of the output, whole: RunStopped if someone else changed the file.

        Damaged lines are left out and moved away, so the next run does their entries again.
        """
        self.output.check()
        yield from read_records(self._place, self.damaged.append)
        if self.damaged:
            log.warning("%s; run the same command again to do it again", set_aside(self._place, self.damaged))

    def meet(self, entry_id: str) -> str:
        """Notes that the input has this entry: "new", "done" (in the output before this run) or "duplicate"."""
        key = id_key(entry_id)
        before = self._met.get(key)
        self._met[key] = True
        return "new" if before is None else "duplicate" if before else "done"

    def fail(self, failure: Record, where: str) -> None:
        """Adds a line to the errors file; ``where`` names the place in the input, for the first one."""
        if self._errors is None:
            self._errors = AppendFile(self._errors_file)
            self.first_error = f"{where}{failure['error']}"
        self._errors.append(failure)

    def sync(self) -> None:
        """Makes sure that all that was appended survives a power loss."""
        self.ledger.sync()
        self.output.sync()

    def _remove_old_errors(self) -> None:
        path = self._errors_file
        try:
            if os.path.lexists(path):
                if os.path.isfile(path) and not is_of_kind(path, FAILURES):
                    raise UsageError(f"{path} exists and holds no failures of a run; move it away")
                os.remove(path)
        except OSError as error:
            raise UsageError(f"cannot remove {path}: {error.strerror}") from error


def check_settings(output_file: str, settings: dict[str, Any], allow_mixed: bool) -> None:
    """Refuses (UsageError) an output that other settings wrote: its finished entries would pass for these settings.

    So does one without its settings. Writes the settings beside a new output.
    """
    path = output_file + ".settings.json"
    is_new = not (os.path.exists(output_file) and os.path.getsize(output_file))
    if is_new or not os.path.exists(path):
        if not (is_new or allow_mixed):
            raise UsageError(
                f"{output_file} has records, but {path}, which says how they were made, is missing: copy it too, name "
                "another --output_file, or add to this one with --allow_mixed"
            )
        _write_settings(path, settings)
        return
    before = _read_settings(path)
    before.pop(WRITTEN, None)
    changed = [
        f"{name} {before.get(name)!r}, now {settings.get(name)!r}"
        for name in {**before, **settings}
        if before.get(name) != settings.get(name)
    ]
    if changed and not allow_mixed:
        raise UsageError(
            f"{output_file} was written with {'; '.join(changed)}: name another --output_file, or add to this one with "
            "--allow_mixed"
        )


def _write_settings(path: str, settings: dict[str, Any]) -> None:
    """Writes the settings of a new output. UsageError if the file is there and is not one of ours."""
    before = _read_settings(path) if os.path.exists(path) else {WRITTEN: {}}
    if WRITTEN not in before and not before.keys() & settings.keys():
        raise UsageError(f"{path} exists and holds no settings of a run; name another --output_file, or move it away")
    try:
        write_whole(path, [json.dumps({**settings, WRITTEN: before.get(WRITTEN, {})}, indent=1).encode()])
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _read_settings(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
        if not isinstance(settings, dict):
            raise ValueError("it does not hold settings")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return settings
