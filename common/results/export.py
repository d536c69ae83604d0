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
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, Iterable, Iterator, NamedTuple, Sequence, Tuple

from ..errors import BadEntry, RunStopped, UsageError, plural
from ..extras import require
from ..fast_json import exact_float, loads
from ..records import Entry, Record, origin_of
from ..storage.append_file import to_line, whole_file, write_whole
from ..storage.sorted_lines import SortedLines
from .cleaning.cleaner import Cleaner, Cleaning, Found, row_text
from .cleaning.near_copies import Row as ComparedRow
from .examples import RowOptions, answer_texts, example_of, has_odd_turns, is_marked, why_unfit
from .formats import FORMATS, MEDIA, Example, Format, Look, Row, RowForm, arrow_columns, row_form
from .reasoning import place_of_thoughts
from .row_sources import labelled, picks
from .selected_keys import arrow_type, check_keys, column_kind, columns_of, in_column, kind_of, values_of
from .selection import REJECTED, SELECTS, Selection, entry_of, why_nothing

log = logging.getLogger(__name__)

Place = Tuple[Any, ...]  # an entry's file and line

ROW_GROUP = 4 << 20  # bytes of rows held before they are written as one row group of a Parquet file
FIRST_READ = 1 << 20  # bytes of a JSONL file that any reader looks at before it settles the columns
IMAGES, THOUGHTS, MARKED = 1, 2, 4  # flags before the line of an example: it has images, thoughts, a reader's mark
ENDINGS = (".json", ".jsonl", ".parquet")  # of the files that can be written
UNREADABLE = "their record holds no readable conversation"
MARKS = "their text has <image>, <video> or <audio> where no medium is"
NOTHING_CLEAN = "nothing of them is clean (see the list of removed answers)"
ORDERS = ("input", "output")


class Extras(NamedTuple):
    """What else the rows hold, and their order: that of the ``input`` or of the ``output``.

    ``keys`` are those of ``--selected_keys``; ``model`` made the answers whose record does not name their model. There
    are at most ``most`` rows: the first of the output.
    """

    keys: Sequence[str] = ()
    order: str = ORDERS[0]
    model: str | None = None
    options: RowOptions = RowOptions()
    most: int | None = None

    def left(self, rows: int) -> int | None:
        """How many more there may be; None if there is no limit."""
        return None if self.most is None else max(0, self.most - rows)


NO_EXTRAS = Extras()


class Wanted(NamedTuple):
    """What the rows are made by."""

    selection: Selection
    extras: Extras
    layout: Format
    cleaner: Cleaner  # which keeps rows out


class Selected(NamedTuple):
    """How many records were read, how many of them gave a row, and how many rows were written.

    ``lowest`` is how many of the chosen answers have the lowest score. ``without`` are entries that gave no row, by
    reason: where the selection makes pairs or looks at the pass rate, or where nothing of them is clean.
    ``without_rows`` are rows that the format could not hold, by reason.
    """

    records: int
    chosen: int
    rows: int
    lowest: int = 0
    without: Sequence[tuple[str, int]] = ()
    without_rows: Sequence[tuple[str, int]] = ()

    def summary_rows(self) -> list[tuple[str, str]]:
        """(kind, text) of the entries without a row."""
        return [("left out", f"{plural(number, 'entry', 'entries')}: {reason}") for reason, number in self.without]


@dataclass
class FileShape:
    """The form of the rows, and what the first pass has seen."""

    form: RowForm
    columns: Sequence[str] = ()  # of --selected_keys
    for_parquet: bool = False
    kinds: list[set[str]] = field(default_factory=list)  # of the values of each such column
    records: int = 0
    chosen: int = 0
    chosen_marked: int = 0  # of them, the entries of which each row has a mark
    rows: int = 0
    lowest: int = 0
    lowest_score: float | None = None  # that a scorer can give, if it is known
    unreadable: int = 0
    marked: int = 0
    odd_turns: int = 0
    unfit: Counter[str] = field(default_factory=Counter)  # answers that the form cannot hold, by reason
    without: Counter[str] = field(default_factory=Counter)  # entries, by reason
    flags: int = 0  # of any row
    late_rows: list[int] = field(default_factory=list)  # offsets in the temporary file of rows that come first

    def left_out(self) -> dict[str, int]:
        """How many rows (of unreadable entries: entries) are left out, by reason."""
        reasons = {UNREADABLE: self.unreadable, MARKS: self.marked, **dict(self.unfit.most_common())}
        return {reason: number for reason, number in reasons.items() if number}

    def selected(self) -> Selected:
        """What was selected."""
        without, rows = tuple(self.without.most_common()), tuple(self.left_out().items())
        return Selected(self.records, self.chosen, self.rows, self.lowest, without, rows)

    def look(self, options: RowOptions) -> Look:
        """What all rows share."""
        has_field = options.reasoning == "field" and bool(self.flags & THOUGHTS)
        return Look(bool(self.flags & IMAGES), options.field if has_field else None)


def check_selection(selection: Selection, selected_format: str, path: str | None, keys: Sequence[str] = ()) -> None:
    """Raises UsageError if the flags contradict each other, or if ``path`` (None: no file) needs a missing package.

    Reads and writes nothing.
    """
    select = selection.select
    if select not in SELECTS or selected_format not in FORMATS:
        raise UsageError(f"--select is one of {', '.join(SELECTS)}, --selected_format of {', '.join(FORMATS)}")
    if select == "threshold" and selection.accept_score is None:
        raise UsageError("--select threshold needs --accept_score, the lowest score that is selected")
    form = row_form(selected_format, selection.makes_pairs)
    check_keys(keys, form, selection.makes_pairs and form.source is picks)
    if keys and path is None:
        raise UsageError("--selected_keys needs --selected_file FILE to write to")
    if selection.distinct and selection.accept_score is None:
        raise UsageError("--distinct needs --accept_score: without it, the answers that differ most may be wrong ones")
    if selection.top_k > 1 and select not in ("top_k", "random"):
        raise UsageError(f"--top_k has no meaning with --select {select}; use --select top_k or random")
    _check_rates(selection, selected_format)
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


def _check_rates(selection: Selection, selected_format: str) -> None:
    """UsageError if the flags of pass rates and rejected answers contradict others."""
    select = selection.select
    is_labelled = row_form(selected_format, selection.makes_pairs).source is labelled
    if is_labelled and not selection.makes_pairs and selection.accept_score is None:
        raise UsageError(
            f"--selected_format {selected_format} needs --accept_score S: answers below it are the bad ones"
        )
    for flag, value in (("--pass_rate", selection.pass_rate), ("--per_entry", selection.per_entry)):
        if value is not None and selection.passes is None:
            raise UsageError(f"{flag} needs --accept_score S, which says when an answer is accepted")
    if selection.per_entry is not None and (select not in ("top_k", "threshold", "random") or selection.top_k > 1):
        raise UsageError("--per_entry sets how many answers --select top_k, threshold or random takes, without --top_k")
    if selection.rejected != REJECTED[0] and not (selection.makes_pairs or is_labelled):
        raise UsageError("--rejected is about pairs and --selected_format kto; add --select dpo")


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
    return [b'{"%s":' % name.encode() for name in dict.fromkeys(next(iter(form.columns)) for form in forms)]


def row_count(record: Record, selection: Selection, selected_format: str) -> int:
    """How many rows a record gives, before cleaning.

    >>> record = {"generated_answers": ["4", "5"], "generated_scores": [9, 8]}
    >>> row_count(record, Selection("top_k", top_k=4), "sharegpt")
    2
    """
    found = row_form(selected_format, selection.makes_pairs).source(record, selection)
    return sum(not isinstance(facts, str) for _, facts in found)


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
    form, layout = row_form(selected_format, selection.makes_pairs), FORMATS[selected_format]
    columns = columns_of(extras.keys, selection.makes_pairs and form.source is picks)
    options = settled(extras.options, selected_format)
    wanted = Wanted(selection, extras._replace(options=options), layout, cleaner or Cleaner(Cleaning(), path))
    shape = FileShape(form, columns, path.endswith(".parquet"), lowest_score=lowest_score)
    shape.kinds = [set() for _ in columns]
    folder = os.path.dirname(path) or "."
    if shape.for_parquet:
        _pyarrow(path)
    try:
        with tempfile.TemporaryFile(dir=folder) as spool:
            _first_pass(_examples(records, shape, wanted), spool, shape, folder, wanted)
            _warn_of_columns(shape)
            _warn_of_rows(path, shape, layout)
            look = shape.look(options)
            if shape.for_parquet:
                _write_parquet(path, spool, shape, look)
            else:
                write_whole(path, _json_pieces(path.endswith(".jsonl"), spool, shape, look))
    except OSError as error:
        raise RunStopped(f"cannot write {path}: {error.strerror or error}") from error
    return shape.selected()


def settled(options: RowOptions, selected_format: str) -> RowOptions:
    """The options with the place of the thoughts that ``auto`` stands for. UsageError if the format has no such place.

    >>> settled(RowOptions(), "sharegpt").reasoning, settled(RowOptions(), "messages").reasoning
    ('think', 'field')
    """
    own = FORMATS[selected_format].thoughts
    return options._replace(reasoning=place_of_thoughts(options.reasoning, selected_format, own, own == "field"))


# The first pass


def _examples(records: Iterable[Record], shape: FileShape, wanted: Wanted) -> Iterator[tuple[Place, int, Example]]:
    """An example for each row of each record, after the entry's place in the input and its flags; counts them."""
    for record in records:
        shape.records += 1
        if wanted.extras.left(shape.rows) == 0:
            continue
        sources = _sources(record, shape, wanted)
        if not sources:
            continue
        try:
            entry = entry_of(record)
        except BadEntry:
            shape.unreadable += 1
            continue
        made = list(islice(_examples_of(record, entry, sources, shape, wanted), wanted.extras.left(shape.rows)))
        shape.rows += len(made)
        shape.chosen += bool(made)
        shape.chosen_marked += bool(made) and all(flags & MARKED for flags, _ in made)
        for flags, example in made:
            yield _place_of(record), flags, example


def _sources(record: Record, shape: FileShape, wanted: Wanted) -> Found:
    """What the rows of a record are made of. Counts the record by the reason if this is nothing."""
    selection = wanted.selection
    found = list(shape.form.source(record, selection))
    with_thoughts = wanted.extras.options.reasoning != "drop"
    clean = wanted.cleaner.clean(record, found, lambda rest: list(shape.form.source(rest, selection)), with_thoughts)
    reason = why_nothing(record, selection) if not found else None if clean else NOTHING_CLEAN
    shape.without.update([reason] if reason else [])
    return clean


def _examples_of(
    record: Record, entry: Entry, sources: Found, shape: FileShape, wanted: Wanted
) -> Iterator[tuple[int, Example]]:
    """An example for each row of one entry, after its flags. Rows that are equal without their thoughts are one."""
    seen = set()
    extras, reference_score = wanted.extras, wanted.selection.reference_score
    for pick, facts in sources:
        if isinstance(facts, str):
            shape.unfit[facts] += 1
            continue
        values = values_of(record, pick, extras.keys, extras.model, reference_score)
        example = example_of(record, entry, pick, facts, extras.options, values)
        flags = _flags(example, shape, wanted.layout)
        same = (*example.answers, *example.thoughts, facts.get("label"))
        if flags is None or same in seen:
            continue
        seen.add(same)
        shape.odd_turns += has_odd_turns(example.turns)
        if shape.lowest_score is not None and pick.chosen is not None and facts.get("label", True):
            shape.lowest += record["generated_scores"][pick.chosen] <= shape.lowest_score
        _note_kinds(values, shape)
        yield flags, example._replace(name=wanted.cleaner.name(record, pick))


def _flags(example: Example, shape: FileShape, layout: Format) -> int | None:
    """The flags of a row; None if it is left out, which is counted."""
    reason = why_unfit(example, shape.form)
    if reason is not None:
        shape.unfit[reason] += 1
        return None
    is_odd = is_marked(example, layout.reader_marks or MEDIA)
    if is_odd and (layout.reader_marks or example.images):
        shape.marked += 1
        return None
    return IMAGES * bool(example.images) | THOUGHTS * any(example.thoughts) | MARKED * is_odd


def _warn_of_rows(path: str, shape: FileShape, layout: Format) -> None:
    """Says which rows are left out, and which the readers of the format may leave out."""
    if shape.unreadable:
        log.warning("%s: left out %s without a readable conversation", path, plural(shape.unreadable, "record"))
    for reason, number in shape.left_out().items():
        if reason != UNREADABLE:
            log.warning("%s: left out %s: %s", path, plural(number, "row"), reason)
    if shape.odd_turns:
        text = "the turns do not alternate between human and gpt in %s; %s"
        log.warning(f"%s: {text}", path, plural(shape.odd_turns, "row"), layout.odd_turns)


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


def _first_pass(
    examples: Iterable[tuple[Place, int, Example]], spool: IO[bytes], shape: FileShape, folder: str, wanted: Wanted
) -> None:
    """Writes each example to the spool as one line of JSON, and notes what the rows share.

    A row with a mark is left out if any entry of the file has images: only then does its reader look for marks.
    """
    with SortedLines(folder) as lines:
        for place, flags, example in examples:
            shape.flags |= flags
            line = _utf8_line(example) if shape.for_parquet else to_line(list(example))
            lines.add(place if wanted.extras.order == ORDERS[0] else (), b"%d" % flags + line)
        shape.chosen -= shape.chosen_marked if shape.flags & IMAGES else 0
        late = shape.flags & (IMAGES | THOUGHTS)  # what no row that any reader looks at first has
        unmarked = _without_marks(lines, shape) if shape.flags & IMAGES else lines
        for line in _counted(wanted.cleaner.without_near_copies(unmarked, _compared, folder), shape, wanted.cleaner):
            flags = line[0] - ord("0")
            if flags & late and spool.tell() >= FIRST_READ:
                shape.late_rows.append(spool.tell())
            late &= ~flags
            spool.write(line[1:])


def _without_marks(lines: Iterable[bytes], shape: FileShape) -> Iterator[bytes]:
    """The lines of rows without a reader's mark; counts the others."""
    for line in lines:
        if (line[0] - ord("0")) & MARKED:
            shape.marked += 1
            shape.rows -= 1
        else:
            yield line


def _compared(line: bytes) -> tuple[ComparedRow, Any]:
    """What is compared of a line of the first pass, and the name of its row."""
    example = Example(*loads(line[1:]))
    return ComparedRow(row_text(example.turns, answer_texts(example)), example.images), example.name


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


def _rows(spool: IO[bytes], first: list[int], shape: FileShape, look: Look) -> Iterator[tuple[int, Row]]:
    """The rows, each after the bytes that its line takes in the spool; the rows at the offsets ``first`` come first."""
    for offset in first:
        spool.seek(offset)
        line = spool.readline()
        yield len(line), _row(line, shape, look)
    spool.seek(0)
    offset = 0
    for line in spool:
        if offset not in first:
            yield len(line), _row(line, shape, look)
        offset += len(line)


def _row(line: bytes, shape: FileShape, look: Look) -> Row:
    """The row of a line of the spool."""
    example = Example(*json.loads(line, parse_float=exact_float))
    row = shape.form.row(example, look)
    if look.with_images:
        row["images"] = example.images
    for name, kinds, value in zip(shape.columns, shape.kinds, example.values):
        row[name] = in_column(value, column_kind(kinds), shape.for_parquet)
    return row


def _json_pieces(is_jsonl: bool, spool: IO[bytes], shape: FileShape, look: Look) -> Iterator[bytes]:
    """The bytes of a JSONL file, or of a JSON list with one row per line.

    ``datasets`` learns a JSONL file's columns from its first 10 MB and then refuses others, so if the first image
    or the first thoughts of the file show later, their row comes first.
    """
    before, between, after = (b"", b"", b"") if is_jsonl else (b"[\n", b",", b"]\n")
    yield before
    for number, (_, row) in enumerate(_rows(spool, shape.late_rows if is_jsonl else [], shape, look)):
        yield between if number else b""
        yield to_line(row)
    yield after


def _write_parquet(path: str, spool: IO[bytes], shape: FileShape, look: Look) -> None:
    """Writes the rows in row groups. The file appears whole or not at all. OSError if it cannot."""
    arrow, parquet = _pyarrow(path)
    columns = {name: arrow_type(column_kind(kinds)) for name, kinds in zip(shape.columns, shape.kinds)}
    schema = arrow.schema(arrow_columns(arrow, shape.form, look, columns))
    with whole_file(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for rows in _row_groups(_rows(spool, [], shape, look)):
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
