"""The files that one run writes: output, ledger, errors, and the settings beside the output.

They are locked for the run, mended after a crash, and refused if other settings wrote them.

Example: ``with RunFiles("out.jsonl", "out.jsonl.ledger", settings) as files: files.output.append(record)``
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from ..errors import UsageError
from ..records import Record, id_key
from .append_file import RECORDS, AppendFile, lock_output, repair_tail, scan, write_whole
from .ledger import Ledger


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
    ) -> None:
        self.complete = False  # whether the output holds all that the ledger holds; the run sets it at its end
        self.first_error: str | None = None
        self._errors_file = output_file + ".errors.jsonl"
        self._errors: AppendFile | None = None
        self._keep_ledger = keep_ledger
        self._locks = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            for path in (output_file, ledger_file) if keep_ledger else (output_file,):
                stack.callback(lock_output(path).release)
            repair_tail(output_file, RECORDS)
            check_settings(output_file, settings, allow_mixed)
            self._met = {key: False for _, key in scan(output_file)}  # by known id: whether this input had it yet
            self.resumes = bool(self._met)  # whether an earlier run finished entries
            self.ledger = Ledger(ledger_file, self._met)
            self.output = AppendFile(output_file)
            self._remove_old_errors()
            self._locks = stack.pop_all()

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the files. Removes the ledger if the output holds all of it."""
        with self._locks:
            self.ledger.flush()
            self.sync()
            obsolete = self.complete and self._errors is None and not self.ledger.leftover
            self.ledger.close(remove=obsolete and not self._keep_ledger)
            self.output.close()
            if self._errors is not None:
                self._errors.close()

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
        try:
            if os.path.lexists(self._errors_file):
                os.remove(self._errors_file)
        except OSError as error:
            raise UsageError(f"cannot remove {self._errors_file}: {error.strerror}") from error


def check_settings(output_file: str, settings: dict[str, Any], allow_mixed: bool) -> None:
    """Refuses (UsageError) an output that other settings wrote: its finished entries would pass for these settings.

    Writes the settings beside a new output.
    """
    path = output_file + ".settings.json"
    if not (os.path.exists(path) and os.path.exists(output_file) and os.path.getsize(output_file)):
        try:
            write_whole(path, [json.dumps(settings, indent=1).encode()])
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        return
    before = _read_settings(path)
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


def settings_of(output_file: str) -> dict[str, Any]:
    """The settings that an output was written with; none if they cannot be read."""
    try:
        return _read_settings(output_file + ".settings.json")
    except UsageError:
        return {}


def _read_settings(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
        if not isinstance(settings, dict):
            raise ValueError("it does not hold settings")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return settings
