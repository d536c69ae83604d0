"""The card of a selected file, from what the run or the command that wrote it knows.

Example: ``card_of(output, results, files.servers, counted, selected, cleaner.counts)``
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
from typing import Any, Callable, Iterator, Mapping, Sequence

from ..records import Record
from ..results.card import card_text, relative, setting_facts
from ..results.examples import RowOptions
from ..results.export import Selected
from ..results.how_made import Facts, value_text
from ..results.selection import accepted_count
from ..storage.run_files import settings_of
from .job import Results
from .verify import cleaning_values


class Counted:
    """The records of an output, which are counted as they are read."""

    def __init__(self, read: Callable[[], Iterator[Record]], accept_score: float | None) -> None:
        self._read = read
        self._accept_score = accept_score
        self.answers = 0
        self.accepted = 0
        self.entries = 0  # with an accepted answer

    def records(self) -> Iterator[Record]:
        for record in self._read():
            count = accepted_count(record, self._accept_score)
            self.answers += len(record.get("generated_answers") or [])
            self.accepted += count
            self.entries += bool(count)
            yield record


def card_of(
    output: Any,
    results: Results,
    servers: Mapping[str, Sequence[str]],
    counted: Counted,
    selected: Selected,
    removed: Mapping[str, int],
) -> str:
    """The card of ``--selected_file``; ``output`` is the Output that it was selected from."""
    path = results.selected_file or ""
    facts = [
        *setting_facts(settings_of(output.path), servers),
        Facts("Selection", _selection_rows(results)),
        Facts("Counts", _count_rows(counted, selected, removed)),
    ]
    recipe = _recipe(output, results, os.path.dirname(os.path.abspath(path)))
    return card_text(os.path.basename(path), facts, shlex.join(results.command), recipe, results.licence)


def _selection_rows(results: Results) -> list[tuple[str, str]]:
    """The values of the flags that choose the rows and their form, as far as they are not the defaults."""
    values = {**vars(results.selection), **vars(results.cleaning)}
    defaults = {one.name: one.default for part in (results.selection, results.cleaning) for one in _fields(part)}
    chosen = {name: value for name, value in values.items() if name == "select" or value not in ([], defaults[name])}
    if not results.cleaning.decontaminate:
        chosen.pop("ngram", None)
    elif "ngram" not in chosen:
        chosen["ngram"] = results.cleaning.ngram
    if results.selection.pass_score == results.selection.accept_score:
        chosen.pop("pass_score", None)
    chosen.update({f"rows: {name}": value for name, value in _row_values(results.rows).items()})
    chosen.update(format=results.selected_format, order=results.selected_order)
    if results.most_rows is not None:
        chosen["most rows"] = results.most_rows
    return [(name.replace("_", " "), value_text(value)) for name, value in chosen.items()]


def _row_values(rows: RowOptions) -> dict[str, Any]:
    """The options of the rows that are not the defaults. The name of the field matters only where it is used."""
    values = {name: value for name, value in rows._asdict().items() if value not in (None, "auto")}
    if rows.reasoning != "field":
        values.pop("field")
    return values


def _fields(part: Any) -> Sequence[dataclasses.Field[Any]]:
    return dataclasses.fields(part)


def _count_rows(counted: Counted, selected: Selected, removed: Mapping[str, int]) -> list[tuple[str, str]]:
    """How many entries, answers and rows reached each step."""
    counts = {
        "entries read": selected.records,
        "answers read": counted.answers,
        "answers accepted": counted.accepted,
        "entries with an accepted answer": counted.entries,
        **{f"removed by --{reason}": count for reason, count in removed.items()},
        **{f"entries left out: {reason}": count for reason, count in selected.without},
        **{f"rows left out: {reason}": count for reason, count in selected.without_rows},
        "entries selected": selected.chosen,
        "rows written": selected.rows,
    }
    return [(name, f"{count:,}") for name, count in counts.items()]


def _recipe(output: Any, results: Results, folder: str) -> dict[str, Any]:
    """What --verify needs to make the file again."""
    place = functools.partial(relative, card_folder=folder)
    return {
        "output": place(output.path),
        "selection": vars(results.selection),
        "cleaning": cleaning_values(results.cleaning, place),
        "format": results.selected_format,
        "keys": list(results.selected_keys),
        "order": results.selected_order,
        "model": output.generator,
        "rows": results.rows._asdict(),
        "lowest_score": results.lowest_score,
        "most_rows": results.most_rows,
    }
