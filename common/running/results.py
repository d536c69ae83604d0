"""What is made of an output: the selection and the report. A run's end and the commands that only read share this.

Example: ``write_result_files(Output("out.jsonl", "select", ...), Results(selected_file="best.json"), files, [])``
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Iterator

from ..errors import RunStopped
from ..records import Record
from ..results.card import CARD
from ..results.card import STARTS as CARD_STARTS
from ..results.cleaning.cleaner import REMOVED, Cleaner
from ..results.export import Extras, Selected, starts_of, write_selected
from ..scoring.final_answer import find_final_answer
from ..storage.append_file import write_whole
from ..storage.result_files import ResultFiles
from ..storage.run_files import settings_of
from ..thinking import without_thoughts
from .job import Results

if TYPE_CHECKING:
    from ..results.calibration import Calibration

RULES = ("match", "math")  # the scorers that read a final answer


@dataclass(frozen=True)
class Output:
    """An output file, and what the report needs to know of it."""

    path: str
    script: str  # the command's name in messages
    records: Callable[[], Iterator[Record]]
    errors_file: str | None = None  # of the entries that failed
    image_root: str | None = None  # the folder that image paths are relative to
    stay_inside: bool = False  # whether images outside of that folder are left out
    generator: str | None = None  # the model of the answers whose record does not name theirs


@dataclass
class Written:
    """What was written: (kind, text) rows for the summary, the counts of the selection, the calibration, if any."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    selected: Selected | None = None
    calibration: Calibration | None = None


def check_result_files(results: Results, files: ResultFiles) -> None:
    """UsageError if the selection or the report would replace a file that is neither."""
    if results.selected_file is not None:
        path = results.selected_file
        files.check("--selected_file", path, starts_of(path))
        files.check("--selected_file", path + CARD, CARD_STARTS)
        if results.cleaning.removes:
            files.check("--selected_file", path + REMOVED, [b'{"reason":'])
    if results.report_file is not None:
        from ..results.report import STARTS

        files.check("--report_file", results.report_file, STARTS)


def write_result_files(output: Output, results: Results, files: ResultFiles, written: Written) -> None:
    """Writes the selection and the report, as far as they are asked for; notes each in ``written``.

    If the selection cannot be written, the report is written before RunStopped says so.
    """
    failure = None
    try:
        write_selection(output, results, files, written)
    except RunStopped as error:
        failure = error
    write_page(output, results, files, written)
    if failure is not None:
        raise failure


def write_selection(output: Output, results: Results, files: ResultFiles, written: Written) -> None:
    """Writes ``--selected_file``, if there is one."""
    if results.selected_file is None:
        return
    from .selected_card import Counted, card_of

    path = results.selected_file
    extras = Extras(results.selected_keys, results.selected_order, output.generator, results.rows, results.most_rows)
    counted = Counted(output.records, results.selection.accept_score)
    with contextlib.ExitStack() as stack:
        stack.enter_context(files.replacing("--selected_file", path))
        if results.cleaning.removes:
            stack.enter_context(files.replacing("--selected_file", path + REMOVED))
        cleaner = stack.enter_context(Cleaner(results.cleaning, path))
        written.selected = selected = write_selected(
            counted.records(),
            path,
            results.selection,
            results.selected_format,
            extras,
            results.lowest_score,
            cleaner,
        )
    counts = f"{selected.rows:,} from {selected.chosen:,} of the {selected.records:,} entries"
    written.rows.append(("selected", f"{counts}: {path}"))
    written.rows += selected.summary_rows()
    if results.cleaning.removes:
        removed = ", ".join(f"{count:,} by --{reason}" for reason, count in cleaner.counts.items())
        written.rows.append(("removed", f"{removed}: {path + REMOVED}"))
    _write_card(path + CARD, card_of(output, results, files.servers, counted, selected, cleaner.counts), files)
    written.rows.append(("card", path + CARD))


def _write_card(path: str, text: str, files: ResultFiles) -> None:
    """Writes the card of a selected file. RunStopped if it cannot."""
    with files.replacing("--selected_file", path):
        try:
            write_whole(path, [text.encode("utf-8", "replace")])
        except OSError as error:
            raise RunStopped(f"cannot write {path}: {error.strerror}") from error


def send_selection(results: Results, written: Written) -> None:
    """Sends the selected file to the Hub, if it is asked for. RunStopped if the Hub does not take it."""
    if results.push_to_hub is None or results.selected_file is None or written.selected is None:
        return
    if not written.selected.rows:
        raise RunStopped(f"--push_to_hub: {results.selected_file} has no rows, so it is not sent")
    from .hub import push

    written.rows.append(("sent", push(results.push_to_hub, results.selected_file)))


def write_page(output: Output, results: Results, files: ResultFiles, written: Written) -> None:
    """Writes ``--report_file``, if there is one."""
    if results.report_file is None:
        return
    from ..results.report import write_report

    with files.replacing("--report_file", results.report_file):
        write_report(
            results.report_file,
            output.path,
            results.selection,
            errors_file=output.errors_file,
            image_root=output.image_root,
            score_range=results.score_range,
            script=output.script,
            stay_inside=output.stay_inside,
            read_answer=reader_of(settings_of(output.path)),
            calibration=results.calibration,
            most_rows=results.most_rows,
        )
    written.rows.append(("report", results.report_file))


def reader_of(settings: dict[str, Any]) -> Callable[[str], str | None]:
    """What tells the final answer that ``match`` and ``math`` read in a text; None if they find none.

    If the output was not scored by one of them, only marked and stated final answers are told.

    >>> reader_of({"scorer scorer": "match"})("2 + 2 is 4."), reader_of({})("2 + 2 is 4."), reader_of({})("#### 4")
    ('2 + 2 is 4', None, '4')
    """
    patterns = settings.get("scorer answer_pattern") or ()
    own = tuple(re.compile(one) for one in patterns)
    by_rule = any(rule in str(settings.get("scorer scorer")).split() for rule in RULES)

    def read(text: str) -> str | None:
        reply = without_thoughts(text)
        final = None if reply is None else find_final_answer(reply, own)
        if final is None or (final.found_by == "last sentence" and not by_rule):
            return None
        said = final.text.strip().rstrip(" .")
        return f"{said} ({final.doubt})" if final.doubt else said

    return read
