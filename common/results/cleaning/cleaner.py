"""What is kept out of a training file: repeated test questions, loops, and near copies, each with a count and a line.

An entry whose question repeats a test question gives nothing. An answer that loops, repeats a test question, or is a
near copy of a better one of its entry gives way to the entry's next one; it still counts for the pass rate. Rows that
are near copies of an earlier row are left out at the end, in the order of the file.

Only what would have been selected is looked at. Nothing is random, and no request is sent.

Example: ``with Cleaner(Cleaning(max_repetition=0.5), "train.json") as cleaner: cleaner.clean(record, found, find)``
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Container, Dict, FrozenSet, Iterable, Iterator, List, Sequence, Tuple, Union

from ...errors import BadEntry
from ...fast_json import dumps
from ...records import ROLES, Record, origin_of
from ...storage.append_file import whole_file
from ..reasoning import in_text, said
from ..row_sources import Facts
from ..selection import KEPT_OUT, Pick, entry_of
from .near_copies import NearCopies, Row, load_minhash
from .repetition import longest_loop
from .test_questions import Match, TestQuestions, human_texts, read_tests
from .words import shingles, similarity

REMOVED = ".removed.jsonl"  # beside the selected file: a line for each row that was kept out
Found = List[Tuple[Pick, Union[Facts, str]]]  # as the sources of the rows yield it
Fault = Dict[str, Any]  # {"reason": the flag, and what it found}


@dataclass(frozen=True)
class Cleaning:
    """What to keep out; each field is the flag of the same name. By default nothing."""

    decontaminate: Sequence[str] = ()  # files of test questions
    ngram: int = 8  # words
    decontaminate_answers: bool = False
    near_duplicates: float | None = None
    max_repetition: float | None = None

    @property
    def reasons(self) -> list[str]:
        """The flags that keep something out."""
        given = {
            "decontaminate": bool(self.decontaminate),
            "near_duplicates": self.near_duplicates is not None,
            "max_repetition": self.max_repetition is not None,
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def removes(self) -> bool:
        """Whether anything is to be kept out."""
        return bool(self.reasons)


def check_cleaning(cleaning: Cleaning) -> None:
    """UsageError if a package is missing, or a file of test questions cannot be read; warns of unreadable entries."""
    if cleaning.near_duplicates is not None:
        load_minhash()
    read_tests(cleaning.decontaminate, cleaning.ngram, tell=True)


class Cleaner:
    """Keeps out what ``cleaning`` says, counts it by reason, and lists it beside the selected file. Used as ``with``.

    UsageError if a test file cannot be read, OSError if the list cannot be written.
    """

    def __init__(self, cleaning: Cleaning, selected_file: str) -> None:
        self.cleaning = cleaning
        self.counts = dict.fromkeys(cleaning.reasons, 0)
        self._path = selected_file + REMOVED
        self._closing = contextlib.ExitStack()
        self._list: BinaryIO | None = None
        self._questions, self._references = TestQuestions(cleaning.ngram), TestQuestions(cleaning.ngram)

    def __enter__(self) -> Cleaner:
        if self.cleaning.removes:
            self._questions, self._references = read_tests(self.cleaning.decontaminate, self.cleaning.ngram)
            self._list = self._closing.enter_context(whole_file(self._path))
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.__exit__(*error)

    def clean(self, record: Record, found: Found, find: Callable[[Record], Found], with_thoughts: bool = True) -> Found:
        """What is ``found`` in a record, or what ``find`` finds in it without the answers to keep out.

        ``with_thoughts`` says whether the rows show the thoughts of the answers: they are compared as they are shown.
        """
        if not found or not self.cleaning.removes:
            return found
        if self.cleaning.decontaminate:
            match = _first(map(self._questions.found_in, _questions_of(record)))
            if match is not None:
                self._note("decontaminate", _name(record, None), _said(match))
                return []
        while True:
            shown = [pick for pick, facts in found if not isinstance(facts, str)]
            faults = self._faults(record, shown, with_thoughts)
            if not faults:
                return found
            for index, fault in faults.items():
                self._note(fault.pop("reason"), _name(record, index), fault)
            record = _without(record, faults)
            found = find(record)

    def name(self, record: Record, pick: Pick) -> Sequence[Any]:
        """What a row is known by in the list, if rows are compared with each other."""
        return () if self.cleaning.near_duplicates is None else (_name(record, pick.chosen),)

    def without_near_copies(
        self, lines: Iterable[bytes], row_of: Callable[[bytes], tuple[Row, Any]], folder: str
    ) -> Iterator[bytes]:
        """The lines of rows without those that are near copies; ``row_of`` gives a line's row and its name."""
        threshold = self.cleaning.near_duplicates
        if threshold is None:
            yield from lines
            return
        with NearCopies(threshold, lambda line: row_of(line)[0], folder) as copies:
            for line in lines:
                copies.add(line)
            for found in copies.found():
                if found.of is None:
                    yield found.line
                    continue
                (name,), (of,) = row_of(found.line)[1], row_of(found.of)[1]
                self._note("near_duplicates", name, {"of": of, "similarity": round(found.similarity, 3)})

    def _faults(self, record: Record, picks: Sequence[Pick], with_thoughts: bool) -> dict[int, Fault]:
        """The chosen and rejected answers of picks that are to be kept out, each with its fault."""
        faults: dict[int, Fault] = {}
        kept: dict[int, FrozenSet[str]] = {}
        for index in dict.fromkeys(itertools.chain.from_iterable(picks)):
            if index is None:
                continue
            text = _text(record, index, with_thoughts)
            fault = self._loop(record, index) or self._repeated_test(text) or self._copy(text, kept)
            if fault is not None:
                faults[index] = fault
            elif self.cleaning.near_duplicates is not None:
                kept[index] = shingles(text)
        return faults

    def _loop(self, record: Record, index: int) -> Fault | None:
        """The loop of an answer or of its thoughts that is too long."""
        share = self.cleaning.max_repetition
        if share is None:
            return None
        for text in (record["generated_answers"][index], _thoughts(record, index)):
            loop = longest_loop(text, share) if isinstance(text, str) else None
            if text and loop is not None:
                return {"reason": "max_repetition", **loop._asdict(), "share": round(loop.length / len(text), 3)}
        return None

    def _repeated_test(self, text: str) -> Fault | None:
        if not self.cleaning.decontaminate_answers:
            return None
        match = self._questions.found_in(text) or self._references.found_in(text)
        return None if match is None else {"reason": "decontaminate", **_said(match)}

    def _copy(self, text: str, kept: dict[int, FrozenSet[str]]) -> Fault | None:
        """The first of the kept answers that a text is a near copy of."""
        if not kept or self.cleaning.near_duplicates is None:
            return None
        own = shingles(text)
        for index, other in kept.items():
            alike = similarity(own, other)
            if alike >= self.cleaning.near_duplicates:
                return {"reason": "near_duplicates", "of": {"index": index}, "similarity": round(alike, 3)}
        return None

    def _note(self, reason: str, name: dict[str, Any], found: Fault) -> None:
        """Counts what is kept out, and writes its line."""
        self.counts[reason] += 1
        if self._list is not None:
            self._list.write(dumps({"reason": reason, **name, **found}) + b"\n")


def row_text(turns: Iterable[dict[str, Any]], answers: Iterable[str]) -> str:
    """The text by which rows are compared: all turns but the system's, and the answers."""
    return "\n".join([*(turn["value"] for turn in turns if ROLES[turn["from"]] != "system"), *answers])


def _thoughts(record: Record, index: int) -> Any:
    """The thoughts that came beside an answer, if any did."""
    details = record.get("generated_details") or []
    return details[index].get("reasoning") if index < len(details) else None


def _text(record: Record, index: int, with_thoughts: bool) -> str:
    """An answer, with its thoughts or without."""
    parts = said(record["generated_answers"][index], _thoughts(record, index))
    return in_text(parts) if with_thoughts else parts.answer


def _without(record: Record, indices: Container[int]) -> Record:
    """The record, in which these answers cannot be chosen or rejected. Its pass rate stays the same."""
    details = record.get("generated_details") or [{}] * len(record["generated_answers"])
    marked = [{**one, KEPT_OUT: True} if index in indices else one for index, one in enumerate(details)]
    return {**record, "generated_details": marked}


def _name(record: Record, index: int | None) -> dict[str, Any]:
    """What an answer is known by: its entry, where this is in the input, and the answer's index there."""
    origin = origin_of(record)
    where = {} if origin is None else {key: value for key, value in origin._asdict().items() if value is not None}
    return {"entry_id": record.get("entry_id"), **where, "index": index}


def _questions_of(record: Record) -> list[str]:
    """The texts of a record's human turns; none if it has no readable conversation."""
    try:
        return human_texts(entry_of(record).turns)
    except BadEntry:
        return []


def _said(match: Match) -> Fault:
    return {"ngram": match.ngram, "test_file": match.file}


def _first(matches: Iterable[Match | None]) -> Match | None:
    return next((match for match in matches if match is not None), None)
