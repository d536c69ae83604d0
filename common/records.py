"""Entries, answers, scores, and the lines they are written as.

An *entry* is one input item, an *answer* one completion for it, a *score* what a scorer said of one answer.
The input's words (``from``/``value``) stay on this side; the API's (``role``/``content``) live in messages.py.

Example: ``entry_from_conversation({"conversations": [{"from": "human", "value": "2+2?"}]}).question == "2+2?"``
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

NOT_NEEDED = "not needed: its entry was settled before"  # ``unscored`` of an answer that early stopping left out
CUT = "cut: it did not end by itself, but by "  # ``unscored`` of such an answer; its finish reason follows
LOOPED = "repetition"  # the finish reason of an answer that was ended because it repeated itself
MARK = "<image>"  # stands in a human turn where the next of the entry's images goes
Turn = Dict[str, Any]  # {"from": ..., "value": ...} as the dataset has it
Record = Dict[str, Any]  # one line of an output file


class Origin(NamedTuple):
    """Where an entry is in the input: its line (in Parquet: its row), from 1, and its file if there are several."""

    line: int
    file: Optional[str] = None


@dataclass
class Entry:
    """One input item. ``turns`` ends with the question: a final gpt turn is ``reference_turn``."""

    entry_id: str
    turns: List[Turn]
    reference_turn: Optional[Turn]
    images: List[str]
    line: Optional[int] = None
    extra: Optional[Dict[str, Any]] = None  # the input item's other keys
    origin: Optional[Origin] = None

    @property
    def question(self) -> str:
        """The text of the last human turn, with its ``<image>`` marks."""
        return str(self.turns[-1]["value"])

    @property
    def reference(self) -> Optional[str]:
        """The dataset's own answer, if it has one."""
        return None if self.reference_turn is None else str(self.reference_turn["value"])

    @property
    def conversation(self) -> List[Turn]:
        """All turns as they came: what ``original_answers`` holds."""
        return self.turns + ([] if self.reference_turn is None else [self.reference_turn])


ANSWER_DETAILS = ("finish_reason", "reasoning", "usage", "max_tokens")
MAKER = ("model", "made_by", "generator")  # the details that say who made an answer


@dataclass
class Answer:
    """One completion. ``usage`` is the server's for the whole request, kept with the first answer it brought."""

    text: str
    finish_reason: Optional[str] = None
    reasoning: Optional[str] = None
    usage: Optional[Dict[str, Any]] = None
    logprobs: Optional[List[Dict[str, Any]]] = None  # one object a token, where they were asked for; never written
    max_tokens: Optional[int] = None  # the limit that it was asked with, as far as it is known
    model: Optional[str] = None  # who made it, and the fingerprint of all settings, where the output's do not say it
    made_by: Optional[str] = None
    generator: Optional[str] = None  # the name of its generator, where that is not the model

    @property
    def cut(self) -> bool:
        """Whether the token limit ended it."""
        return self.finish_reason == "length"

    @property
    def looped(self) -> bool:
        """Whether it was ended because it repeated itself."""
        return self.finish_reason == LOOPED

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the text: what a score in the ledger is a score of."""
        return fingerprint(self.text, 16)


class Score(NamedTuple):
    """What a scorer said: ``value`` in the range, or None with ``unscored`` saying why.

    ``scorer`` is the one of a cascade that decided, ``spread`` the standard deviation of the judge's samples or of its
    distribution (``probabilities``, by score), ``judge_usage`` the requests and tokens that the score took. ``unsure``
    says why a rule's lowest score stands only if no later scorer of a cascade decides. ``step_scores`` are those of a
    process reward model, one per step of the answer.
    """

    value: Optional[float]
    judge_reply: Optional[str] = None
    unscored: Optional[str] = None
    scorer: Optional[str] = None
    spread: Optional[float] = None
    judge_samples: Optional[List[Dict[str, Any]]] = None  # {"score": ..., "reply": ...} each
    probabilities: Optional[Dict[str, float]] = None
    judge_usage: Optional[Dict[str, int]] = None
    unsure: Optional[str] = None
    verdicts: Optional[Dict[str, Optional[float]]] = None  # by scorer of a cascade, where they contradict each other
    tests: Optional[Dict[str, Any]] = None  # how many an answer's code passed, of how many, and the first failure
    panel: Optional[List[Dict[str, Any]]] = None  # of several judges: the model and the score of each, with its details
    wins: Optional[int] = None  # comparisons with other answers
    losses: Optional[int] = None
    ties: Optional[int] = None
    flips: Optional[int] = None  # ties in which the order of the answers decided
    compared: Optional[Dict[str, Any]] = None  # the comparisons themselves (compare.py)
    step_scores: Optional[List[float]] = None
    vote: Optional[Dict[str, Any]] = None  # of a majority: the class of the answer, its share and its votes, the weight

    def details(self) -> Dict[str, Any]:
        """All but the value, as far as it exists: what a record and the ledger keep beside it."""
        return {name: part for name, part in zip(SCORE_DETAILS, self[1:]) if part is not None}


SCORE_DETAILS = Score._fields[1:]


class PendingEntry(NamedTuple):
    """An entry and the answers it already has (None where it is to be sampled), and why these are fewer than asked.

    ``record`` is what an output has of the entry that is to have more.
    """

    entry: Entry
    answers: Optional[List[Answer]]
    stopped_by: Optional[str] = None
    record: Optional[Record] = None


OUR_ID = re.compile("[0-9a-f]{32}").fullmatch
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def canonical(value: object) -> bytes:
    """The one JSON spelling of a value: sorted keys, no spaces, ASCII."""
    return _canonical(value).encode("ascii")


def fingerprint(value: object, digits: int = 12) -> str:
    """The first ``digits`` (1 to 32) hex digits of the md5 of a JSON value."""
    return hashlib.md5(canonical(value)).hexdigest()[:digits]


def entry_id_of(turns: Sequence[Turn], images: Sequence[str]) -> str:
    """md5 (32 hex digits) of conversation and image paths, in their canonical JSON: all that makes the request."""
    said = ",".join([f'{{"from":{quoted(turn["from"])},"value":{quoted(turn["value"])}}}' for turn in turns])
    shown = ",".join(map(quoted, images))
    return hashlib.md5(f'{{"conversations":[{said}],"images":[{shown}]}}'.encode("ascii")).hexdigest()


def id_key(entry_id: str) -> int:
    """An id as a 128-bit int: 48 bytes in memory where the string takes 81."""
    return int(entry_id if OUR_ID(entry_id) else fingerprint(entry_id, 32), 16)


def origin_of(record: Record) -> Optional[Origin]:
    """The origin that a record names; None if it names none, as older ones do."""
    line, file = record.get("line"), record.get("file")
    if not isinstance(line, int) or isinstance(line, bool):
        return None
    return Origin(line, file if isinstance(file, str) else None)


def _detail(answer: Answer, score: Optional[Score]) -> Dict[str, Any]:
    own = {name: getattr(answer, name) for name in MAKER if getattr(answer, name) is not None}
    limit = {"max_tokens": answer.max_tokens} if answer.cut and answer.max_tokens is not None else {}
    return {**_said(answer), **limit, **own, **({} if score is None else score.details())}


def _said(answer: Answer) -> Dict[str, Any]:
    """What an answer has beside its text, as far as it exists."""
    found: Dict[str, Any] = {}
    if answer.finish_reason is not None:
        found["finish_reason"] = answer.finish_reason
    if answer.reasoning is not None:
        found["reasoning"] = answer.reasoning
    if answer.usage is not None:
        found["usage"] = answer.usage
    return found


def make_record(
    entry: Entry,
    answers: Sequence[Answer],
    scores: Optional[Sequence[Score]],
    stopped_by: Optional[str] = None,
    about: Optional[Dict[str, Any]] = None,
    pass_rate: Optional[Dict[str, Any]] = None,
) -> Record:
    """One output line; ``scores`` (one an answer) is None where nothing was scored. ``entry_id`` comes last.

    ``stopped_by`` names the flag that ended the drawing before all answers were drawn. ``about`` is what a scorer says
    of the entry as a whole. ``pass_rate`` says how many of the scored answers are accepted.
    """
    record: Record = {"original_question": entry.question, "original_answers": entry.conversation}
    if entry.images:
        record["images"] = entry.images
    if entry.extra:
        record["extra"] = entry.extra
    record["generated_answers"] = [answer.text for answer in answers]
    if scores is not None:
        record["generated_scores"] = [score.value for score in scores]
    record["generated_details"] = [
        _detail(answer, scores[place] if scores is not None else None) for place, answer in enumerate(answers)
    ]
    record.update(about or {})
    if pass_rate is not None:
        record["pass_rate"] = pass_rate
    if stopped_by is not None:
        record["stopped_by"] = stopped_by
    if entry.origin is not None:
        record.update({"file": entry.origin.file} if entry.origin.file else {}, line=entry.origin.line)
    record["entry_id"] = entry.entry_id
    return record


def answer_line(entry_id: str, index: int, made_by: str, answer: Answer, limit: Optional[int]) -> Record:
    """The ledger line of one answer; ``limit`` is the ``max_tokens`` it was asked with."""
    line: Record = {"made_by": made_by, "index": index, "answer": answer.text, **_said(answer)}
    if limit is not None:
        line["max_tokens"] = limit
    line["entry_id"] = entry_id
    return line


def answer_from_line(line: Record) -> Answer:
    """The answer that ``answer_line`` wrote."""
    return Answer(line["answer"], **{name: line[name] for name in ANSWER_DETAILS if name in line})


def score_line(
    entry_id: str, index: int, made_by: str, answer: Answer, score: Score, row: Optional[str] = None
) -> Record:
    """The ledger line of one score, bound to its answer's text by ``digest``.

    ``row`` is the fingerprint of the entry's own keys that the scorer reads, if it reads any.
    """
    fields = {"digest": answer.digest, "score": score.value, **score.details(), **({} if row is None else {"row": row})}
    return {"made_by": made_by, "index": index, **fields, "entry_id": entry_id}


def verdict_line(entry_id: str, made_by: str, about: str, fields: Dict[str, Any], row: Optional[str] = None) -> Record:
    """The ledger line of a part of a score that is paid for by itself; ``about`` says what it judges.

    ``row`` is as in ``score_line``.
    """
    more = {} if row is None else {"row": row}
    return {"made_by": made_by, "index": 0, "verdict": about, **fields, **more, "entry_id": entry_id}


def score_from_line(line: Record) -> Score:
    """The score that ``score_line`` wrote."""
    return Score(line["score"], **{name: line[name] for name in SCORE_DETAILS if name in line})


def number_text(value: float) -> str:
    """A number as a person writes it: 10, 0.5, 1000000."""
    return f"{value:.10f}".rstrip("0").rstrip(".")
