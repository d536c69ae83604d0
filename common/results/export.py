"""The selected answers as a file to train on: conversations, messages or preference pairs, as JSON, JSONL or Parquet.

What the forms are, and who reads them:

- ``sharegpt``: the input's own form (``conversations`` of ``from``/``value``, ``images``) with the roles human, gpt and
  system, which LLaMA-Factory and ms-swift read; pairs as LLaMA-Factory's ranking form (``chosen`` and ``rejected``
  beside the conversation). Both want one ``<image>`` mark an image, so images without a mark get theirs where they were
  shown: first in the question.
- ``messages`` and ``preference``: TRL's conversational language modelling and preference forms. In a file with images
  each ``content`` is a list of ``{"type": "image"}`` and ``{"type": "text", "text": ...}``, in any other a string.

A column is of one type through a whole file, and the same columns are in each of its rows, since Arrow (HuggingFace
``datasets``) refuses all else: what a file needs is seen in a first pass, which leaves its rows in a temporary file.

Example: ``write_selected(read_records("scored.jsonl"), "pairs.parquet", Selection("dpo"), "preference")``
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import dataclass, field
from typing import IO, Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..errors import BadEntry, RunStopped, UsageError
from ..extras import require
from ..records import MARK, ROLES, Entry, Record, Turn
from ..storage.append_file import to_line, whole_file, write_whole
from .selection import SELECTS, Pick, Selection, choose, entry_of

log = logging.getLogger(__name__)

FORMATS = ("sharegpt", "messages", "preference")
ROW_GROUP = 4 << 20  # bytes of rows held before they are written as one row group of a Parquet file
FIRST_READ = 1 << 20  # bytes of a JSONL file that any reader looks at before it settles what the columns are
SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}  # what LLaMA-Factory and ms-swift know unasked
Row = Dict[str, Any]


class Selected(NamedTuple):
    """How many records were looked at, how many gave a row, and how many rows that made."""

    records: int
    chosen: int
    rows: int


@dataclass
class _Seen:
    """What the form of a row depends on: the format, whether rows are pairs, and what the first pass has seen."""

    selected_format: str
    pairs: bool
    records: int = 0
    chosen: int = 0
    rows: int = 0
    unreadable: int = 0
    images: bool = False
    leaders: List[int] = field(default_factory=list)  # where the row begins that shows images late in the file


def check_selection(selection: Selection, selected_format: str, path: Optional[str]) -> None:
    """Raises UsageError if this selection cannot be, or not be written in this format to this file (None: to none).

    Reads and writes nothing.
    """
    dpo = selection.select == "dpo"
    if selection.select not in SELECTS or selected_format not in FORMATS:
        raise UsageError(f"--select is one of {', '.join(SELECTS)}, --selected_format of {', '.join(FORMATS)}")
    if selection.select == "threshold" and selection.accept_score is None:
        raise UsageError("--select threshold needs --accept_score, the lowest score that is selected")
    if selected_format == "preference" and not dpo:
        raise UsageError("--selected_format preference holds pairs; add --select dpo")
    if selected_format == "messages" and dpo:
        raise UsageError("--selected_format messages holds no pairs; for --select dpo use preference or sharegpt")
    if selection.top_k > 1 and selection.select not in ("top_k", "random"):
        raise UsageError(f"--top_k has no meaning with --select {selection.select}; use --select top_k or random")
    of_pairs = {
        "--min_margin": selection.min_margin != 0,
        "--length_match": selection.length_match,
        "--pairs_per_entry": selection.pairs_per_entry != 1,
        "--reference_as_chosen": selection.reference_as_chosen,
    }
    for flag, given in of_pairs.items():
        if given and not dpo:
            raise UsageError(f"{flag} is about pairs; add --select dpo")
    if path is not None and path.endswith(".parquet"):
        _pyarrow(path)


def _pyarrow(path: str) -> Tuple[Any, Any]:
    """pyarrow and its Parquet module; UsageError if it is not installed."""
    what = f"--selected_file {path}"
    return require("pyarrow", what, "parquet"), require("pyarrow.parquet", what, "parquet")


def write_selected(records: Iterable[Record], path: str, selection: Selection, selected_format: str) -> Selected:
    """Writes what ``choose`` takes of each record to ``path``: JSONL or Parquet by its ending, else a JSON list.

    Reads ``records`` once, one at a time; its rows wait in an unnamed file beside ``path``. The file appears whole or
    not at all. Records without a readable conversation give no row and are counted in a warning. Raises RunStopped if
    the file cannot be written, UsageError if it is Parquet and pyarrow is not installed.
    """
    flat = path.endswith(".parquet")
    if flat:
        _pyarrow(path)
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(path) or ".") as spool:
            seen = _Seen(selected_format, selection.select == "dpo")
            for line in _lines(records, selection, seen):
                _take_in(line, seen, spool, flat)
            _warn(seen, path)
            if flat:
                _write_parquet(path, spool, seen)
            else:
                write_whole(path, _json_pieces(path.endswith(".jsonl"), spool, seen))
    except OSError as error:
        raise RunStopped(f"cannot write {path}: {error.strerror or error}") from error
    return Selected(seen.records, seen.chosen, seen.rows)


def _warn(seen: _Seen, path: str) -> None:
    if seen.unreadable:
        log.warning("%s: %d records hold no readable conversation and are left out", path, seen.unreadable)


def _lines(records: Iterable[Record], selection: Selection, seen: _Seen) -> Iterator[Row]:
    """All that a row of any form is made of, for each pick of each record; counts them."""
    for record in records:
        seen.records += 1
        picks = choose(record, selection)
        if not picks:
            continue
        try:
            entry = entry_of(record)
        except BadEntry:
            seen.unreadable += 1
            continue
        seen.chosen += 1
        seen.rows += len(picks)
        turns, images = _marked(entry)
        said = [{"from": SPEAKERS[ROLES[turn["from"]]], "value": turn["value"]} for turn in turns]
        for pick in picks:
            yield {"turns": said, "images": images, "answers": _answers(record, entry, pick)}


def _answers(record: Record, entry: Entry, pick: Pick) -> List[str]:
    """The texts of a pick: the chosen one and, of a pair, the rejected one."""
    texts: List[str] = record["generated_answers"]
    chosen = (entry.reference or "") if pick.chosen is None else texts[pick.chosen]
    return [chosen] if pick.rejected is None else [chosen, texts[pick.rejected]]


def _take_in(line: Row, seen: _Seen, spool: IO[bytes], flat: bool) -> None:
    """Writes a line to the spool and notes what its row needs."""
    if line["images"] and not seen.images:
        seen.images = True
        if spool.tell() >= FIRST_READ:
            seen.leaders.append(spool.tell())
    spool.write(_encoded(line, flat))


def _marked(entry: Entry) -> Tuple[List[Turn], List[str]]:
    """Turns with a mark for each image, and the images in the order of their marks, as ``chat_messages`` shows them."""
    turns, images = entry.turns, entry.images
    marks = [turn["value"].count(MARK) if ROLES[turn["from"]] == "user" else 0 for turn in turns]
    unmarked = images[sum(marks) :]
    if not unmarked:
        return turns, images
    before = sum(marks[:-1])
    question = {**turns[-1], "value": MARK * len(unmarked) + turns[-1]["value"]}
    return [*turns[:-1], question], images[:before] + unmarked + images[before : sum(marks)]


def _encoded(line: Row, flat: bool) -> bytes:
    """One line of the spool; for Parquet, whose text is UTF-8 alone, with lone surrogates replaced by U+FFFD."""
    if not flat:
        return to_line(line)
    text = json.dumps(line, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode() + b"\n"


def _rows(spool: IO[bytes], leaders: List[int], seen: _Seen) -> Iterator[Tuple[int, Row]]:
    """The rows and how long their lines in the spool were; those at ``leaders`` come first."""
    for place in leaders:
        spool.seek(place)
        line = spool.readline()
        yield len(line), _row(json.loads(line), seen)
    spool.seek(0)
    place, ahead = 0, set(leaders)
    for line in spool:
        if place not in ahead:
            yield len(line), _row(json.loads(line), seen)
        place += len(line)


def _row(line: Row, seen: _Seen) -> Row:
    """One row of the file, its columns the same as every other's."""
    row = _conversation(line, seen) if seen.selected_format == "sharegpt" else _messages(line, seen)
    if seen.images:
        row["images"] = line["images"]
    return row


def _conversation(line: Row, seen: _Seen) -> Row:
    """``conversations`` that end with the answer, or, of a pair, with the question, and the two answers beside."""
    answers = [{"from": "gpt", "value": text} for text in line["answers"]]
    if not seen.pairs:
        return {"conversations": line["turns"] + answers}
    return {"conversations": line["turns"], "chosen": answers[0], "rejected": answers[1]}


def _messages(line: Row, seen: _Seen) -> Row:
    """``messages``, or, of a pair, ``prompt``, ``chosen`` and ``rejected``: lists of messages, as TRL documents them.

    Source: "Dataset formats and types" of TRL's documentation (Language modeling, Preference, Vision datasets).
    """
    left = len(line["images"])
    prompt = []
    for turn in line["turns"]:
        role, text = ROLES[turn["from"]], turn["value"]
        shown = min(text.count(MARK), left) if role == "user" else 0
        prompt.append(_message(role, text, seen.images, shown))
        left -= shown
    answers = [_message("assistant", text, seen.images) for text in line["answers"]]
    if not seen.pairs:
        return {"messages": prompt + answers}
    return {"prompt": prompt, "chosen": answers[:1], "rejected": answers[1:]}


def _message(role: str, text: str, in_parts: bool, shown: int = 0) -> Row:
    """One message; in parts, its first ``shown`` marks are images and the text between them is as it was sent."""
    if not in_parts:
        return {"role": role, "content": text}
    if not shown:
        return {"role": role, "content": [{"type": "text", "text": text}]}
    parts: List[Row] = []
    for number, piece in enumerate(text.split(MARK, shown)):
        if number:
            parts.append({"type": "image"})
        if piece.strip():
            parts.append({"type": "text", "text": piece.strip("\n")})
    return {"role": role, "content": parts}


def _json_pieces(one_a_line: bool, spool: IO[bytes], seen: _Seen) -> Iterator[bytes]:
    """The bytes of a JSONL file, or of a JSON list with a row a line.

    ``datasets`` learns a JSONL file's columns from its first 10 MB and then refuses others, so a first image that shows
    later comes first.
    """
    before, between, after = (b"", b"", b"") if one_a_line else (b"[\n", b",", b"]\n")
    yield before
    for number, (_, row) in enumerate(_rows(spool, seen.leaders if one_a_line else [], seen)):
        yield between if number else b""
        yield to_line(row)
    yield after


def _write_parquet(path: str, spool: IO[bytes], seen: _Seen) -> None:
    """Writes the rows in row groups. The file appears whole or not at all. OSError if it cannot."""
    arrow, parquet = _pyarrow(path)
    schema = arrow.schema(_columns(arrow, seen))
    with whole_file(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for rows in _groups(_rows(spool, [], seen)):
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


def _groups(rows: Iterable[Tuple[int, Row]]) -> Iterator[List[Row]]:
    """The rows in lists of about ``ROW_GROUP`` bytes."""
    group: List[Row] = []
    size = 0
    for length, row in rows:
        group.append(row)
        size += length
        if size >= ROW_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _columns(arrow: Any, seen: _Seen) -> Dict[str, Any]:
    """The name and Arrow type of each column."""
    text = arrow.string()
    parts = arrow.list_(arrow.struct({"type": text, "text": text}))
    turn = arrow.struct({"from": text, "value": text})
    message = arrow.struct({"role": text, "content": parts if seen.images else text})
    if seen.selected_format == "sharegpt":
        columns = {"conversations": arrow.list_(turn)}
        columns.update({"chosen": turn, "rejected": turn} if seen.pairs else {})
    else:
        columns = dict.fromkeys(("prompt", "chosen", "rejected") if seen.pairs else ("messages",), arrow.list_(message))
    return {**columns, "images": arrow.list_(text)} if seen.images else columns
