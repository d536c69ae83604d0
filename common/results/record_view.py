"""The records of an output as the report sees them: read with tolerance, each with what the selection makes of it.

Example: ``for view in OutputReader("out.jsonl").views(Selection()): print(len(view.candidates), view.selected)``
"""

from __future__ import annotations

import json
import math
from typing import Any, Iterator, NamedTuple

from ..errors import RunStopped
from ..records import NOT_NEEDED, ROLES, Record
from ..servers.known_servers import ended_by_itself
from .selection import Pick, Selection, accepted, choose


class Candidate(NamedTuple):
    """One answer of a record; a score that is not a finite number is None."""

    text: str
    score: float | None
    detail: dict[str, Any]

    @property
    def is_cut(self) -> bool:
        """Whether something else than its model ended the answer: the token limit, a filter, ..."""
        return not ended_by_itself(self.detail.get("finish_reason"))

    @property
    def is_not_needed(self) -> bool:
        """Whether it has no score because its entry had enough accepted answers before."""
        return self.detail.get("unscored") == NOT_NEEDED


class RecordView(NamedTuple):
    """A record and its candidates; sets of indices say which are accepted, selected, or rejected in a pair."""

    record: Record
    candidates: list[Candidate]
    picks: list[Pick]
    accepted: set[int]
    selected: set[int]
    rejected: set[int]


class OutputReader:
    """Reads the records of an output, which a run may still be writing.

    RunStopped for a file that cannot be read, or a line that is not a record. A last line without its newline is still
    being written: it is left out, and ``torn`` is true afterwards.
    """

    def __init__(self, path: str) -> None:
        self.torn = False
        self._path = path

    def views(self, selection: Selection, most_rows: int | None = None) -> Iterator[RecordView]:
        """The records, each with what ``selection`` makes of it: at most this many picks, the first ones."""
        left = most_rows
        for record in self.records():
            view = view_of(record, selection, left)
            left = None if left is None else left - len(view.picks)
            yield view

    def scores(self) -> Iterator[float | None]:
        """The score of each answer of all records."""
        for record in self.records():
            yield from (candidate.score for candidate in candidates_of(record))

    def records(self) -> Iterator[Record]:
        """The records, one at a time."""
        has_records = False
        try:
            with open(self._path, "rb") as file:
                for number, line in enumerate(file, 1):
                    record = object_on(line)
                    if record is not None and isinstance(record.get("generated_answers"), list):
                        has_records = True
                        yield record
                    elif not line.endswith(b"\n"):
                        self.torn = True
                    elif line.strip():
                        raise self._no_record(number, has_records)
        except OSError as error:
            raise RunStopped(f"cannot read {self._path}: {error.strerror}") from error

    def _no_record(self, number: int, has_records: bool) -> RunStopped:
        """The error of a line that is not a record: a damaged one behind other records, else the file is no output."""
        if has_records:
            hint = "is the output damaged? The command that wrote it moves such lines away and does their entries again"
        else:
            hint = "is this an output of sampling.py, score.py or reject.py?"
        return RunStopped(f"{self._path}: line {number} is not a record; {hint}")


def view_of(record: Record, selection: Selection, most: int | None = None) -> RecordView:
    """A record with what ``selection`` makes of it: at most ``most`` picks.

    >>> view = view_of({"generated_answers": ["4", "5"], "generated_scores": [9, 1]}, Selection(accept_score=8))
    >>> view.accepted, view.candidates[1]
    ({0}, Candidate(text='5', score=1.0, detail={}))
    """
    picks = choose(record, selection)[:most]
    return RecordView(
        record,
        candidates_of(record),
        picks,
        accepted=set(accepted(record, selection.accept_score)),
        selected={pick.chosen for pick in picks if pick.chosen is not None},
        rejected={pick.rejected for pick in picks if pick.rejected is not None},
    )


def candidates_of(record: Record) -> list[Candidate]:
    """The answers of a record, each with its score and details if it has any."""
    texts, scores, details = (
        list_or_empty(record.get(key)) for key in ("generated_answers", "generated_scores", "generated_details")
    )
    candidates = []
    for index, text in enumerate(texts):
        detail = details[index] if index < len(details) and isinstance(details[index], dict) else {}
        score = finite_or_none(scores[index]) if index < len(scores) else None
        candidates.append(Candidate(text if isinstance(text, str) else "", score, detail))
    return candidates


def turns_of(record: Record) -> list[dict[str, str]]:
    """The conversation of a record. In the records of other tools ``original_answers`` holds references as plain text.

    >>> turns_of({"original_question": "2+2?", "original_answers": ["4"]})
    [{'from': 'human', 'value': '2+2?'}, {'from': 'gpt', 'value': '4'}]
    """
    question = {"from": "human", "value": str(record.get("original_question") or "")}
    turns = list_or_empty(record.get("original_answers"))
    if not turns or not all(isinstance(turn, dict) for turn in turns):
        return [question, *({"from": "gpt", "value": str(turn)} for turn in turns[-1:])]
    texts = [{"from": str(turn.get("from")), "value": str(turn.get("value"))} for turn in turns]
    is_only_a_reference = len(texts) == 1 and ROLES.get(texts[0]["from"]) == "assistant"
    return [question, *texts] if is_only_a_reference else texts


def object_on(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line; None if there is none."""
    try:
        value = json.loads(line) if line.strip() else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def finite_or_none(value: object) -> float | None:
    """A finite number, or None.

    >>> finite_or_none(7), finite_or_none("7"), finite_or_none(True), finite_or_none(float("nan"))
    (7.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def list_or_empty(value: object) -> list[Any]:
    """A list, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def dict_or_empty(value: object) -> dict[str, Any]:
    """A dict, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def tokens_in(usage: object, name: str) -> int:
    """A count of tokens in a server's usage object; 0 if it has none.

    >>> tokens_in({"completion_tokens": 12}, "completion_tokens"), tokens_in(None, "completion_tokens")
    (12, 0)
    """
    count = finite_or_none(dict_or_empty(usage).get(name))
    return int(count) if count is not None and count > 0 else 0
