"""The selected answers as a file to train on: a list of JSON, JSONL or Parquet, in one of the formats of formats.py.

HuggingFace ``datasets`` (Arrow) refuses a file whose columns differ from row to row, so each row has the same columns,
of the same types. Two passes see to that: the first takes what the rows are made of into a temporary file, in the order
of the input, and notes whether any entry has images; the second writes the rows.

Trainers want one ``<image>`` mark for each image, so an image without a mark gets one where the generator was shown the
image: first in the question.

Example: ``write_selected(read_records("scored.jsonl"), "pairs.parquet", Selection("dpo"), "preference")``
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from dataclasses import dataclass, field
from typing import IO, Any, Iterable, Iterator, NamedTuple, Sequence, Tuple

from ..errors import BadEntry, RunStopped, UsageError
from ..extras import require
from ..fast_json import exact_float, loads
from ..records import MARK, ROLES, Entry, Record, Turn, origin_of
from ..storage.append_file import to_line, whole_file, write_whole
from ..storage.sorted_lines import SortedLines
from .cleaning.cleaner import Cleaner, Cleaning, row_text
from .cleaning.near_copies import Row as ComparedRow
from .formats import FORMATS, Example, Row, RowForm, arrow_columns, row_form
from .selected_keys import arrow_type, check_keys, column_kind, columns_of, in_column, kind_of, values_of
from .selection import SELECTS, Pick, Selection, entry_of

log = logging.getLogger(__name__)

Place = Tuple[Any, ...]  # an entry's file and line

ROW_GROUP = 4 << 20  # bytes of rows held before they are written as one row group of a Parquet file
FIRST_READ = 1 << 20  # bytes of a JSONL file that any reader looks at before it settles the columns
WITH_IMAGES = (b" ", b"i")  # before the line of an example: without, and with images
ENDINGS = (".json", ".jsonl", ".parquet")  # of the files that can be written
MEDIUM_MARK = re.compile("<(image|video|audio)>")  # trainers take it for a medium wherever it stands in a text
ORDERS = ("input", "output")
SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}  # the names that trainers know by default


class Extras(NamedTuple):
    """What else the rows hold, and their order: that of the ``input`` or of the ``output``.

    ``keys`` are those of ``--selected_keys``; ``model`` made the answers whose record does not name their model.
    """

    keys: Sequence[str] = ()
    order: str = ORDERS[0]
    model: str | None = None


NO_EXTRAS = Extras()


class Selected(NamedTuple):
    """How many records were read, how many of them gave a row, and how many rows were written.

    ``lowest`` is how many of the chosen answers have the lowest score.
    """

    records: int
    chosen: int
    rows: int
    lowest: int = 0


@dataclass
class FileShape:
    """The form of the rows, and what the first pass has seen."""

    form: RowForm
    columns: Sequence[str] = ()  # of --selected_keys
    for_parquet: bool = False
    kinds: list[set[str]] = field(default_factory=list)  # of the values of each such column
    records: int = 0
    chosen: int = 0
    rows: int = 0
    lowest: int = 0
    lowest_score: float | None = None  # that a scorer can give, if it is known
    unreadable: int = 0
    marked: int = 0
    with_images: bool = False
    rows_with_late_images: list[int] = field(default_factory=list)  # offsets in the temporary file: none, or one


def check_selection(selection: Selection, selected_format: str, path: str | None, keys: Sequence[str] = ()) -> None:
    """Raises UsageError if the flags contradict each other, or if ``path`` (None: no file) needs a missing package.

    Reads and writes nothing.
    """
    select = selection.select
    if select not in SELECTS or selected_format not in FORMATS:
        raise UsageError(f"--select is one of {', '.join(SELECTS)}, --selected_format of {', '.join(FORMATS)}")
    if select == "threshold" and selection.accept_score is None:
        raise UsageError("--select threshold needs --accept_score, the lowest score that is selected")
    check_keys(keys, row_form(selected_format, selection.makes_pairs), selection.makes_pairs)
    if keys and path is None:
        raise UsageError("--selected_keys needs --selected_file FILE to write to")
    if selection.distinct and selection.accept_score is None:
        raise UsageError("--distinct needs --accept_score: without it, the answers that differ most may be wrong ones")
    if selection.top_k > 1 and select not in ("top_k", "random"):
        raise UsageError(f"--top_k has no meaning with --select {select}; use --select top_k or random")
    pair_flags = {
        "--min_margin": selection.min_margin != 0,
        "--length_match": selection.length_match,
        "--pairs_per_entry": selection.pairs_per_entry != 1,
        "--reference_as_chosen": selection.reference_as_chosen,
    }
    for flag, is_given in pair_flags.items():
        if is_given and not selection.makes_pairs:
            raise UsageError(f"{flag} is about pairs; add --select dpo")
    if path is not None and not path.endswith(ENDINGS):
        raise UsageError(f"--selected_file {path}: its name must end in {', '.join(ENDINGS)}")
    if path is not None and path.endswith(".parquet"):
        _pyarrow(path)


def _pyarrow(path: str) -> tuple[Any, Any]:
    """pyarrow and its Parquet module; UsageError if it is not installed."""
    user = f"--selected_file {path}"
    return require("pyarrow", user, "parquet"), require("pyarrow.parquet", user, "parquet")


def starts_of(path: str) -> Sequence[bytes]:
    """How a file that ``write_selected`` writes to ``path`` begins: one of these."""
    if path.endswith(".parquet"):
        return [b"PAR1"]
    if not path.endswith(".jsonl"):
        return [b"["]
    forms = [form for known in FORMATS.values() for form in (known.answers, known.pairs) if form is not None]
    return [b'{"%s":' % next(iter(form.columns)).encode() for form in forms]


def write_selected(
    records: Iterable[Record],
    path: str,
    selection: Selection,
    selected_format: str,
    extras: Extras = NO_EXTRAS,
    lowest_score: float | None = None,
    cleaner: Cleaner | None = None,
) -> Selected:
    """Writes what ``choose`` takes of each record to ``path``: JSONL or Parquet by its ending, else a JSON list.

    Reads ``records`` once, one at a time; unnamed files beside ``path`` hold what the rows are made of. The file
    appears whole or not at all. Records without a readable conversation give no row and are counted in a warning; so
    are rows with a mark of a medium that is not there. So is a key of ``extras`` that no row has. ``lowest_score`` is
    the lowest that the scorer can give. ``cleaner`` (in its ``with`` block) keeps rows out.
    Raises RunStopped if the file cannot be written, UsageError if it is Parquet and pyarrow is not installed.
    """
    cleaner = cleaner or Cleaner(Cleaning(), path)
    columns = columns_of(extras.keys, selection.makes_pairs)
    form = row_form(selected_format, selection.makes_pairs)
    shape = FileShape(form, columns, path.endswith(".parquet"), lowest_score=lowest_score)
    shape.kinds = [set() for _ in columns]
    folder = os.path.dirname(path) or "."
    if shape.for_parquet:
        _pyarrow(path)
    try:
        with tempfile.TemporaryFile(dir=folder) as spool:
            examples = _examples(records, selection, shape, extras, cleaner)
            _first_pass(examples, spool, shape, folder, extras.order, cleaner)
            _warn_of_columns(shape)
            if shape.unreadable:
                log.warning("%s: %d records hold no readable conversation and are left out", path, shape.unreadable)
            if shape.marked:
                log.warning(
                    "%s: %d rows are left out: their text has <image>, <video> or <audio> where no medium is",
                    path,
                    shape.marked,
                )
            if shape.for_parquet:
                _write_parquet(path, spool, shape)
            else:
                write_whole(path, _json_pieces(path.endswith(".jsonl"), spool, shape))
    except OSError as error:
        raise RunStopped(f"cannot write {path}: {error.strerror or error}") from error
    return Selected(shape.records, shape.chosen, shape.rows, shape.lowest)


# The first pass


def _examples(
    records: Iterable[Record], selection: Selection, shape: FileShape, extras: Extras, cleaner: Cleaner
) -> Iterator[tuple[Place, Example]]:
    """An example for each pick of each record, after the entry's place in the input; counts them."""
    for record in records:
        shape.records += 1
        picks = cleaner.picks(record, selection)
        if not picks:
            continue
        try:
            entry = entry_of(record)
        except BadEntry:
            shape.unreadable += 1
            continue
        marked, images = _mark_all_images(entry)
        turns = [{"from": SPEAKERS[ROLES[turn["from"]]], "value": turn["value"]} for turn in marked]
        examples = [
            Example(
                turns,
                images,
                _answers(record, entry, pick),
                values_of(record, pick, extras.keys, extras.model),
                cleaner.name(record, pick),
            )
            for pick in picks
        ]
        whole = [example for example in examples if _marks(example) == len(images)]
        shape.marked += len(examples) - len(whole)
        shape.chosen += bool(whole)
        shape.rows += len(whole)
        if shape.lowest_score is not None:
            scores = [record["generated_scores"][pick.chosen] for pick in picks if pick.chosen is not None]
            shape.lowest += sum(score <= shape.lowest_score for score in scores)
        place = _place_of(record)
        for example in whole:
            _note_kinds(example.values, shape)
            yield place, example


def _place_of(record: Record) -> Place:
    """Where an entry is in the input: its file and its line. Those of older records are not known, and come first."""
    origin = origin_of(record)
    return ("", 0) if origin is None else (origin.file or "", origin.line)


def _note_kinds(values: Sequence[Any], shape: FileShape) -> None:
    for kinds, value in zip(shape.kinds, values):
        kind = kind_of(value)
        if kind is not None:
            kinds.add(kind)


def _warn_of_columns(shape: FileShape) -> None:
    """Says in one line each which keys no row has, and which columns hold text because their values differ in type."""
    if not shape.rows:
        return
    missing = [name for name, kinds in zip(shape.columns, shape.kinds) if not kinds]
    if missing:
        log.warning("--selected_keys: no selected row has %s", ", ".join(missing))
    for name, kinds in zip(shape.columns, shape.kinds):
        if len(kinds) > 1 and column_kind(kinds) == "str":
            log.warning("--selected_keys: %s is written as text, since its values are of several types", name)


def _marks(example: Example) -> int:
    """The number of marks in all texts of a row."""
    texts = [*(turn["value"] for turn in example.turns), *example.answers]
    return sum(len(MEDIUM_MARK.findall(text)) for text in texts)


def _answers(record: Record, entry: Entry, pick: Pick) -> list[str]:
    """The texts of a pick: the chosen one and, of a pair, the rejected one."""
    texts: list[str] = record["generated_answers"]
    chosen = (entry.reference or "") if pick.chosen is None else texts[pick.chosen]
    return [chosen] if pick.rejected is None else [chosen, texts[pick.rejected]]


def _mark_all_images(entry: Entry) -> tuple[list[Turn], list[str]]:
    """Turns with a mark for each image, and the images in the order of their marks, as ``chat_messages`` shows them."""
    turns, images = entry.turns, entry.images
    marks = [turn["value"].count(MARK) if ROLES[turn["from"]] == "user" else 0 for turn in turns]
    unmarked = images[sum(marks) :]
    if not unmarked:
        return turns, images
    in_history = sum(marks[:-1])
    question = {**turns[-1], "value": MARK * len(unmarked) + turns[-1]["value"]}
    return [*turns[:-1], question], images[:in_history] + unmarked + images[in_history : sum(marks)]


def _first_pass(
    examples: Iterable[tuple[Place, Example]],
    spool: IO[bytes],
    shape: FileShape,
    folder: str,
    order: str,
    cleaner: Cleaner,
) -> None:
    """Writes each example to the spool as one line of JSON, and notes whether the rows need a column of images."""
    with SortedLines(folder) as lines:
        for place, example in examples:
            line = _utf8_line(example) if shape.for_parquet else to_line(list(example))
            lines.add(place if order == ORDERS[0] else (), WITH_IMAGES[bool(example.images)] + line)
        for line in _counted(cleaner.without_near_copies(lines, _compared, folder), shape, cleaner):
            if line.startswith(WITH_IMAGES[True]) and not shape.with_images:
                shape.with_images = True
                if spool.tell() >= FIRST_READ:
                    shape.rows_with_late_images.append(spool.tell())
            spool.write(line[1:])


def _compared(line: bytes) -> tuple[ComparedRow, Any]:
    """What is compared of a line of the first pass, and the name of its row."""
    example = Example(*loads(line[1:]))
    return ComparedRow(row_text(example.turns, example.answers), example.images), example.name


def _counted(lines: Iterable[bytes], shape: FileShape, cleaner: Cleaner) -> Iterator[bytes]:
    """The lines; if rows were left out among them, the rows and their entries are counted again."""
    if cleaner.cleaning.near_duplicates is None:
        yield from lines
        return
    rows, entries = 0, 0
    before: object = None
    for line in lines:
        entry = [name["entry_id"] for name in _compared(line)[1]]
        rows, entries = rows + 1, entries + (entry != before)
        before = entry
        yield line
    shape.rows, shape.chosen = rows, entries


def _utf8_line(example: Example) -> bytes:
    """One line of the spool for Parquet, whose text is strict UTF-8: lone surrogates become U+FFFD."""
    text = json.dumps(example, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode() + b"\n"


# The second pass


def _rows(spool: IO[bytes], first: list[int], shape: FileShape) -> Iterator[tuple[int, Row]]:
    """The rows, each after the bytes that its line takes in the spool; the rows at the offsets ``first`` come first."""
    for offset in first:
        spool.seek(offset)
        line = spool.readline()
        yield len(line), _row(line, shape)
    spool.seek(0)
    offset = 0
    for line in spool:
        if offset not in first:
            yield len(line), _row(line, shape)
        offset += len(line)


def _row(line: bytes, shape: FileShape) -> Row:
    """The row of a line of the spool."""
    example = Example(*json.loads(line, parse_float=exact_float))
    row = shape.form.row(example, shape.with_images)
    if shape.with_images:
        row["images"] = example.images
    for name, kinds, value in zip(shape.columns, shape.kinds, example.values):
        row[name] = in_column(value, column_kind(kinds), shape.for_parquet)
    return row


def _json_pieces(is_jsonl: bool, spool: IO[bytes], shape: FileShape) -> Iterator[bytes]:
    """The bytes of a JSONL file, or of a JSON list with one row per line.

    ``datasets`` learns a JSONL file's columns from its first 10 MB and then refuses others, so if the first image of
    the file shows later, its row comes first.
    """
    before, between, after = (b"", b"", b"") if is_jsonl else (b"[\n", b",", b"]\n")
    yield before
    for number, (_, row) in enumerate(_rows(spool, shape.rows_with_late_images if is_jsonl else [], shape)):
        yield between if number else b""
        yield to_line(row)
    yield after


def _write_parquet(path: str, spool: IO[bytes], shape: FileShape) -> None:
    """Writes the rows in row groups. The file appears whole or not at all. OSError if it cannot."""
    arrow, parquet = _pyarrow(path)
    columns = {name: arrow_type(column_kind(kinds)) for name, kinds in zip(shape.columns, shape.kinds)}
    schema = arrow.schema(arrow_columns(arrow, shape.form, shape.with_images, columns))
    with whole_file(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for rows in _row_groups(_rows(spool, [], shape)):
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


def _row_groups(rows: Iterable[tuple[int, Row]]) -> Iterator[list[Row]]:
    """The rows in lists of about ``ROW_GROUP`` bytes."""
    group: list[Row] = []
    size = 0
    for length, row in rows:
        group.append(row)
        size += length
        if size >= ROW_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
