"""The files that one run writes: output, ledger, errors, and the settings beside the output.

They are locked for the run, mended after a crash, and refused if settings that make other answers wrote them. If the
settings ask for more than the output has, ``rewrite`` has its records, and ``output`` is the file that replaces it.

Example: ``with RunFiles("out.jsonl", "out.jsonl.ledger", settings) as files: files.output.append(record)``
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import Any, Iterable, Iterator

from ..errors import RunStopped, UsageError
from ..records import Record, fingerprint, id_key
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
from .ledger import Ledger, Wants
from .ledger_lines import ANY, Range
from .result_files import WRITTEN, ResultFiles
from .rewrite import Rewrite, new_file, recover, settings_file

log = logging.getLogger(__name__)

STAYS = "%s stays as it was, since %d of its entries are not in the input and keep other scores; the new ones are in %s"
ROW_KEYS = "scorer row_keys"  # of a scorer that reads an entry's own keys
UNFINISHED = "unfinished"  # the setting of an output some of whose records lack answers
POPULATION = "generator "  # how the settings begin that make an answer what it is
MIX = "generator mix"  # the settings of each of several generators, with its name and its weight


class RunFiles:
    """Opens a run's files, used as ``with``; UsageError if one cannot be used.

    ``keep_ledger`` says that the ledger is the user's own file, which stays when the run is complete. ``look_again``
    says that records of the same settings may lack something too. ``wants`` says which answers the run samples.
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
        look_again: bool = False,
        wants: Wants = lambda key, index, made_by: False,
    ) -> None:
        self.complete = False  # whether the output holds all that the ledger holds; the run sets it at its end
        self.first_error: str | None = None
        self.damaged: list[Damaged] = []  # lines of the output that are not moved away yet, or were met at the end
        self.is_settled = True  # whether the output holds what the run made
        self.settings = settings
        self._output_file = output_file
        self._errors_file = os.path.abspath(output_file) + ".errors.jsonl"  # a user's function may change the folder
        self._errors: AppendFile | None = None
        self._keep_ledger = keep_ledger
        self._wants = wants
        self._is_obsolete = False  # whether the ledger is
        self._open_files = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            for path in (output_file, ledger_file) if keep_ledger else (output_file,):
                stack.callback(lock_output(path).release)
            recover(output_file)
            self._old_output = AppendFile(output_file, RECORDS)
            self.output = self._old_output
            stack.callback(self._close_output)
            self.before = read_settings(output_file, settings, allow_mixed)
            self.is_mixed = check_settings(output_file, self.before, settings, allow_mixed)
            self.results = ResultFiles(output_file)
            met = self._scan(output_file)
            self.rewrite = self._make_rewrite(output_file, settings, look_again)
            if self.rewrite is not None:
                stack.callback(self.rewrite.close)
                self.output = AppendFile(self.rewrite.path, RECORDS)
                met = self._scan(self.rewrite.path)
            self._met = met  # by known id: whether this input had it yet
            self.resumes = bool(met)  # whether an earlier run finished entries
            self.ledger = Ledger(ledger_file, self._met, score_range)
            stack.callback(self._close_ledger)
            self._remove_old_errors()
            self._open_files = stack.pop_all()

    def _scan(self, path: str) -> dict[int, bool]:
        """The ids of the entries that a file of records has. Damaged lines are moved away."""
        met = {key: False for _, key in scan(path, self.damaged.append)}
        if self.damaged:
            log.warning("%s; what it held is done again", set_aside(path, self.damaged))
            self.damaged = []
        return met

    def _make_rewrite(self, output_file: str, settings: dict[str, Any], look_again: bool) -> Rewrite | None:
        """The rewrite of an output whose records may lack what the settings ask for; None if all of them have it."""
        wanted = wanted_of(output_file, self.before, settings, look_again)
        return None if wanted is None else Rewrite(output_file, wanted)

    def settle(self, unfinished: Iterable[Record] = ()) -> str:
        """Puts a rewritten output in its place; returns the file whose records have what the run made.

        The records of ``unfinished`` entries are added, and the settings say so: the next run completes them. If the
        scorer changed, the file is the new one until all records have the new scores.
        """
        if self.rewrite is None:
            for record in self._said(unfinished):
                self.output.append(record)
            return self._output_file
        self.ledger.flush()
        self.sync()
        all_met = self.complete and self._errors is None and not self.rewrite.unmet
        if all_met or not self.scorer_changed:
            self._old_output.check()
            if all_met and self.output.size == 0:
                self.rewrite.set_settings(with_larger_limits(self.rewrite.settings, self.before))
            self.rewrite.replace(all_met, self.output, self._said(unfinished))
            self._close_output()
            self.output = self._old_output = AppendFile(self._output_file)
            self.rewrite = None
            self.results.keep()
            return self._output_file
        self.is_settled = False
        self._add_to_new_file(unfinished)
        if self.complete and self._errors is None:
            log.warning(STAYS, self._output_file, self.rewrite.unmet, self.rewrite.path)
        return self.rewrite.path

    def _add_to_new_file(self, unfinished: Iterable[Record]) -> None:
        """Adds records to a new file that does not replace the output yet: by its settings, the next run begins it anew
        from the output and the ledger."""
        assert self.rewrite is not None
        for place, record in enumerate(unfinished):
            if place == 0:
                self.rewrite.set_settings({**self.rewrite.settings, UNFINISHED: True})
            self.output.append(record)

    def _said(self, unfinished: Iterable[Record]) -> Iterator[Record]:
        """The records of unfinished entries. Before the first one is given, the settings say that there are some."""
        is_said = False
        for record in unfinished:
            if not is_said:
                say_unfinished(self._output_file)
                is_said = True
            yield record

    def records_before(self) -> Iterator[Record]:
        """The records of earlier runs with this scorer. If an entry is there twice, its newer record comes last."""
        old, new = [self._output_file], [] if self.rewrite is None else [self.rewrite.path]
        for path in new if self.scorer_changed else old + new:
            yield from read_records(path, lambda damaged: None)

    @property
    def entries_before(self) -> int:
        """How many entries earlier runs with this scorer have put into the output."""
        return len(self._met) + (0 if self.rewrite is None or self.scorer_changed else self.rewrite.unmet)

    @property
    def scorer_changed(self) -> bool:
        """Whether the scores of the output are those of another scorer."""
        return differs(scorer_of(self.before), scorer_of(self.settings))

    @property
    def adds_to_finished(self) -> bool:
        """Whether the settings ask an output for other things than those that it was finished with.

        The ledger, if it is not the user's, then holds what was paid for since.
        """
        before = {name: value for name, value in self.before.items() if name != UNFINISHED}
        return self.rewrite is not None and not self._keep_ledger and differs(before, self.rewrite.settings)

    def old_record(self, entry_id: str) -> Record | None:
        """What the output has of an entry that may lack something."""
        return None if self.rewrite is None else self.rewrite.take(entry_id)

    def not_in_input(self) -> int:
        """How many of the output's entries the input did not have, once all of it was met."""
        unmet = 0 if self.rewrite is None else self.rewrite.unmet
        return unmet + sum(not is_met for is_met in self._met.values())

    def say_what_stays(self) -> None:
        """Tells the user that the output has more answers than are asked for, or scores of another scorer."""
        before, now = (one.get("answers_per_question") or 0 for one in (self.before, self.settings))
        if self.rewrite is not None and before > now > 0:
            log.warning("%s keeps its answers, up to %d per question: none is removed", self._output_file, before)
        old, new = (scorer_of(one) for one in (self.before, self.settings))
        if self.rewrite is not None and old and new and self.scorer_changed:
            changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            changes = "; ".join(_change(name, old, new) for name in (["scorer"] if "scorer" in changed else changed))
            log.info("this scorer's scores replace those in %s: %s", self._output_file, changes)

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the files. Removes the ledger if the output holds all of it."""
        with self._open_files:
            self.ledger.flush()
            if self._errors is not None:
                self._errors.close()
            self._is_obsolete = self._ledger_is_obsolete()
            if not self._is_obsolete:
                self.ledger.sync()
            self.output.check()

    def _close_output(self) -> None:
        self.output.close()
        if self._old_output is not self.output:
            self._old_output.close()

    def _close_ledger(self) -> None:
        self.ledger.close(remove=self._is_obsolete)

    def _ledger_is_obsolete(self) -> bool:
        """Whether the output holds all that the ledger holds, and the ledger is not the user's."""
        if self._keep_ledger or not self.complete or self._errors is not None or self.damaged or self.ledger.leftover:
            return False
        scorer = scorer_of(self.settings)
        scorers = [fingerprint(scorer), str(scorer.get("vote_weight_id"))]  # records hold the scores of both
        is_in_output = self.ledger.holds_only(self._wants, scorers)
        return is_in_output and not os.path.exists(new_file(self._output_file))

    def records(self, path: str) -> Iterator[Any]:
        """The records at ``path``, whole: RunStopped if someone else changed the output.

        Damaged lines are left out and moved away, so the next run does their entries again.
        """
        self.output.check()
        yield from read_records(path, self.damaged.append)
        if self.damaged:
            log.warning("%s; run the same command again to do it again", set_aside(path, self.damaged))

    def meet(self, entry_id: str) -> str:
        """Notes that the input has this entry: "new", "done" (in the output before this run) or "duplicate"."""
        key = id_key(entry_id)
        before = self._met.get(key)
        self._met[key] = True
        return "new" if before is None else "duplicate" if before else "done"

    def meet_done(self, key: int) -> bool:
        """Whether the output has this entry, which the input has now for the first time. If so, this is noted."""
        is_done = self._met.get(key) is False
        if is_done:
            self._met[key] = True
        return is_done

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


def wanted_of(
    output_file: str, before: dict[str, Any], settings: dict[str, Any], look_again: bool
) -> dict[str, Any] | None:
    """What each record of an output is to satisfy, if some may lack it; None if all of them have it."""
    own = {name: value for name, value in before.items() if name.startswith(POPULATION)}
    wanted = {**{name: value for name, value in settings.items() if not name.startswith(POPULATION)}, **own}
    loses_scores = scorer_of(before) and not scorer_of(settings)
    look_again = look_again or bool(settings.get(ROW_KEYS))  # the input may have other row data now
    may_lack = differs(before, wanted) or (look_again and os.path.getsize(output_file) > 0)
    return wanted if may_lack and not loses_scores else None


def with_larger_limits(settings: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The settings with the limits that were ``before``, where these are larger. No limit of tokens is the largest.

    If only the limit of tokens is larger now, the settings stay: the answers that are not asked for had the old limit.

    >>> before = {"answers_per_question": 5, "max_tokens": None}
    >>> with_larger_limits({"answers_per_question": 3, "max_tokens": 32}, before) == before
    True
    """
    names = ("answers_per_question", "max_tokens")
    if not all(name in one for name in names for one in (settings, before)):
        return settings
    (count, limit), (old_count, old_limit) = ([one[name] for name in names] for one in (settings, before))
    larger = larger_limit(limit, old_limit)
    if larger != old_limit and count < old_count:
        return settings
    return {**settings, "answers_per_question": max(count, old_count), "max_tokens": larger}


def larger_limit(limit: Any, other: Any) -> Any:
    """The larger limit of tokens; of generators with limits of their own, the larger of each. None is the largest.

    >>> larger_limit(32, 64), larger_limit(32, None), larger_limit([32, None], [16, 8]), larger_limit([32, 16], 64)
    (64, None, [32, None], 64)
    """
    if not (isinstance(limit, list) or isinstance(other, list)):
        return None if None in (limit, other) else max(limit, other)
    count = max(len(one) for one in (limit, other) if isinstance(one, list))
    both = [one if isinstance(one, list) else [one] * count for one in (limit, other)]
    found = [larger_limit(*pair) for pair in zip(*both)]
    return found if len(set(found)) > 1 else found[0]


def differs(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two settings are not the same. A setting that one does not have counts as null."""
    return any(before.get(name) != now.get(name) for name in {**before, **now})


def scorer_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the scorer; empty if there is none."""
    return part_of(settings, "scorer ")


def generators_in(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of each generator, without its name and its weight; none if there are none.

    >>> generators_in({"generator model": "a", "scorer model": "b"})
    [{'model': 'a'}]
    >>> generators_in({"generator mix": [{"name": "one", "weight": 1, "model": "a"}]})
    [{'model': 'a'}]
    """
    mix = settings.get(MIX)
    if isinstance(mix, list):
        every = [one for one in mix if isinstance(one, dict)]
        return [{name: value for name, value in one.items() if name not in ("name", "weight")} for one in every]
    own = part_of(settings, POPULATION)
    return [own] if own else []


def part_of(settings: dict[str, Any], start: str) -> dict[str, Any]:
    """The settings whose names begin with ``start``, by the rest of their names."""
    return {name[len(start) :]: value for name, value in settings.items() if name.startswith(start)}


def read_settings(output_file: str, settings: dict[str, Any], allow_mixed: bool, write: bool = True) -> dict[str, Any]:
    """The settings that the records of the output satisfy: those beside it.

    Writes ``settings`` beside a new output, if it may ``write``.

    UsageError if an output with records lacks its settings: nothing says how it was made.
    """
    path = settings_file(output_file)
    is_new = not (os.path.exists(output_file) and os.path.getsize(output_file))
    if is_new or not os.path.exists(path):
        if not (is_new or allow_mixed):
            raise UsageError(
                f"{output_file} has records, but {path}, which says how they were made, is missing: copy it too, name "
                "another --output_file, or add to this one with --allow_mixed"
            )
        if write:
            _write_settings(path, settings)
        return settings
    before = _read_settings(path)
    before.pop(WRITTEN, None)
    return before


def check_settings(output_file: str, before: dict[str, Any], settings: dict[str, Any], allow_mixed: bool) -> bool:
    """Whether this run's answers are other ones than those of the output. UsageError unless that is allowed.

    Settings that only ask for more, or for other scores, are no reason to refuse an output. But a run without a scorer
    would take its scores away.
    """
    names = [name for name in {**before, **settings} if name.startswith(POPULATION)]
    names = [MIX] if MIX in names else names
    if scorer_of(before) and not scorer_of(settings):
        names.append("scorer scorer")
    changed = [_change(name, before, settings) for name in names if before.get(name) != settings.get(name)]
    if changed and not allow_mixed:
        raise UsageError(
            f"{output_file} was written with {'; '.join(changed)}: name another --output_file, or add to this one with "
            "--allow_mixed"
        )
    return bool(changed)


def _change(name: str, before: dict[str, Any], settings: dict[str, Any]) -> str:
    """What is another setting now; of several generators, only their names."""
    if name != MIX:
        return f"{name} {before.get(name)!r}, now {settings.get(name)!r}"
    old, new = (_names(one) for one in (before, settings))
    return f"the generators {old}, now {new if new != old else 'with other settings or weights'}"


def _names(settings: dict[str, Any]) -> str:
    mix = settings.get(MIX)
    if not isinstance(mix, list):
        return str(settings.get(f"{POPULATION}model"))
    return ", ".join(sorted(str(one.get("name")) for one in mix if isinstance(one, dict)))


def _write_settings(path: str, settings: dict[str, Any]) -> None:
    """Writes the settings of a new output. UsageError if the file is there and is not one of ours."""
    before = _read_settings(path) if os.path.exists(path) else {WRITTEN: {}}
    if WRITTEN not in before and not before.keys() & settings.keys():
        raise UsageError(f"{path} exists and holds no settings of a run; name another --output_file, or move it away")
    try:
        write_whole(path, [json.dumps({**settings, WRITTEN: before.get(WRITTEN, {})}, indent=1).encode()])
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def say_unfinished(output_file: str) -> None:
    """Notes beside an output that some of its records lack answers. RunStopped if it cannot."""
    path = settings_file(output_file)
    try:
        begun = os.stat(path).st_mtime_ns  # the report shows it
        write_whole(path, [json.dumps({**_read_settings(path), UNFINISHED: True}, indent=1).encode()])
        os.utime(path, ns=(begun, begun))
    except OSError as error:
        raise RunStopped(f"cannot write {path}: {error.strerror}") from error


def settings_of(output_file: str) -> dict[str, Any]:
    """The settings that an output was written with; none if they cannot be read."""
    try:
        return _read_settings(settings_file(output_file))
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
