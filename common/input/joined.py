"""Several files of records as one input: each entry once, with the answers that all the files have for it.

Each answer keeps who made it: ``model`` and ``made_by`` (the fingerprint of the sampling settings) come from the
``.settings.json`` beside its file, unless its record has them. An answer is the same in two files if its text, its
index and its settings are the same. Memory holds one offset per entry and file, except for the first file.

Example: ``for line, record in JoinedFiles(["a.jsonl", "b.jsonl"]): record["generated_answers"]``
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from bisect import bisect_left
from codecs import BOM_UTF8
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

from ..errors import BadEntry, UsageError
from ..records import Origin, Record, fingerprint, id_key
from .conversations import work_from_record
from .files import InputFile, Item, Place
from .strict_json import loads

TAIL = re.compile(rb'[^\\]"entry_id": ?"([0-9a-f]{32})"\}\s*$')  # of the lines that our scripts write
POPULATION = "generator "  # how the settings begin that make an answer what it is


class Source(NamedTuple):
    """One file: its items, and what its settings say of all its answers."""

    path: str
    items: InputFile
    raw: BinaryIO
    model: Optional[str]
    made_by: Optional[str]


class JoinedFiles:
    """The joined records of files, each after its line, which goes on from file to file.

    UsageError if a file cannot be read, or cannot be read from the middle (compressed, Parquet, a list).
    """

    is_folder = True  # messages name the file

    def __init__(self, paths: List[str]) -> None:
        self._stack = contextlib.ExitStack()
        self._starts: List[int] = []  # for each file that was begun: the number of lines before its first line
        with contextlib.ExitStack() as stack:
            self._sources = [_open(path, stack) for path in paths]
            self._stack = stack.pop_all()
        self._offsets: Dict[int, List[Tuple[int, int]]] = {}  # by entry: the places of its records in the later files
        for number, source in enumerate(self._sources[1:], 1):
            for offset, key in _keys(source.raw):
                self._offsets.setdefault(key, []).append((number, offset))

    def __iter__(self) -> Iterator[Item]:
        line = 0
        for number, source in enumerate(self._sources):
            self._starts.append(line)
            start = line
            for line_in_file, value in source.items:
                line = start + line_in_file
                yield from (Item(line, one) for one in self._joined(number, value))

    def _joined(self, number: int, value: Any) -> Iterator[Any]:
        """The record of an item with the answers of all files; nothing if an earlier file had its entry."""
        key = _key_of(value)
        if key is None:
            yield value
            return
        places = self._offsets.pop(key, [])
        if number and not places:
            return
        records = [(number, value), *((other, self._read(other, offset)) for other, offset in places if other > number)]
        usable = []
        for source, record in records:
            try:
                work_from_record(record)
                usable.append((self._sources[source], record))
            except BadEntry as error:
                yield BadEntry(f"{self._sources[source].path}: {error}")
        if usable:
            yield join(usable)

    def _read(self, number: int, offset: int) -> Any:
        raw = self._sources[number].raw
        raw.seek(offset)
        return _value(raw.readline())

    @property
    def shape(self) -> str:
        """What the input is, for a person."""
        return f"{len(self._sources)} files of records"

    def expected_items(self) -> Optional[int]:
        """None: how many entries the files share is not known."""
        return None

    def place(self, line: int) -> Place:
        """Where the item with that line is."""
        index = bisect_left(self._starts, line) - 1
        return Place(self._sources[index].path, "line", line - self._starts[index])

    def origin(self, line: int) -> Origin:
        """Where the item with that line is, as a record says it."""
        place = self.place(line)
        return Origin(place.number, place.file)

    def close(self) -> None:
        self._stack.close()


def open_input(paths: List[str]) -> Union[InputFile, JoinedFiles]:
    """The input: a file, a folder, or several files of records whose answers are joined."""
    return InputFile(paths[0]) if len(paths) == 1 else JoinedFiles(paths)


def join(records: List[Tuple[Source, Record]]) -> Record:
    """One record with the answers of all, each once."""
    answers: List[str] = []
    details: List[Dict[str, Any]] = []
    there: Set[Tuple[str, int, str]] = set()
    for source, record in records:
        texts = record["generated_answers"]
        for place, (text, detail) in enumerate(zip(texts, record.get("generated_details") or [{}] * len(texts))):
            own = {"model": source.model, "made_by": source.made_by, **detail}
            same = (str(own["made_by"] or source.path), own.pop("index", place), text)
            if same not in there:
                there.add(same)
                answers.append(text)
                details.append({name: part for name, part in own.items() if part is not None})
    first = records[0][1]
    joined = {**first, "generated_answers": answers, "generated_details": details}
    if any(record.get("stopped_by") != first.get("stopped_by") for _, record in records):
        joined.pop("stopped_by", None)
    return joined


def _open(path: str, stack: contextlib.ExitStack) -> Source:
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder; name its files to join them")
    items = InputFile(path)
    stack.callback(items.close)
    raw = stack.enter_context(open(path, "rb"))
    if not raw.peek(1).lstrip(BOM_UTF8).lstrip().startswith(b"{"):
        raise UsageError(f"{path} cannot be joined with other files: it is not an uncompressed JSON Lines file")
    settings = _settings(path + ".settings.json")
    generator = {name[len(POPULATION) :]: value for name, value in settings.items() if name.startswith(POPULATION)}
    return Source(path, items, raw, generator.get("model"), fingerprint(generator) if generator else None)


def _settings(path: str) -> Dict[str, Any]:
    """The settings beside an output; empty without them."""
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return settings if isinstance(settings, dict) else {}


def _keys(file: BinaryIO) -> Iterator[Tuple[int, int]]:
    """(offset, entry) of each line that holds a record."""
    offset = 0
    for line in file:
        ours = TAIL.search(line, max(0, len(line) - 50))
        key = int(ours[1], 16) if ours else _key_of(_value(line))
        if key is not None:
            yield offset, key
        offset += len(line)


def _value(line: bytes) -> Any:
    try:
        return loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _key_of(value: Any) -> Optional[int]:
    """The entry of a record; None if it is not one."""
    if not isinstance(value, dict):
        return None
    try:
        return id_key(value["entry_id"] if isinstance(value.get("entry_id"), str) else _entry_id(value))
    except BadEntry:
        return None


def _entry_id(record: Record) -> str:
    return work_from_record(record).entry.entry_id
