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

from .errors import BadEntry
from .input.conversations import turns_and_images

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

ENTRY_KEYS = ("conversations", "messages", "images")  # what is read of an input item
RECORD_KEYS = (  # ... and of a record
    *("original_question", "original_answers", "images"),
    *("generated_answers", "generated_details", "stopped_by", "entry_id"),
)

DEEPEST_TURN = 100  # levels of nesting in what a turn has beside its text
Turn = Dict[str, Any]  # {"from": ..., "value": ...} as the dataset has it
Record = Dict[str, Any]  # one line of an output file


@dataclass
class Entry:
    """One input item. ``turns`` ends with the question: a final gpt turn is ``reference_turn``."""

    entry_id: str
    turns: List[Turn]
    reference_turn: Optional[Turn]
    images: List[str]
    line: Optional[int] = None

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


@dataclass
class Answer:
    """One completion. ``usage`` is the server's for the whole request, kept with the first answer it brought."""

    text: str
    finish_reason: Optional[str] = None
    reasoning: Optional[str] = None
    usage: Optional[Dict[str, Any]] = None
    logprobs: Optional[List[Dict[str, Any]]] = None  # one object a token, where they were asked for; never written

    @property
    def cut(self) -> bool:
        """Whether the token limit ended it."""
        return self.finish_reason == "length"

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the text: what a score in the ledger is a score of."""
        return fingerprint(self.text, 16)


class Score(NamedTuple):
    """What a scorer said: ``value`` in the range, or None with ``unscored`` saying why.

    ``scorer`` is the one of a cascade that decided, ``spread`` the standard deviation of the judge's samples or of its
    distribution (``probabilities``, by score), ``judge_usage`` the requests and tokens that the score took.
    """

    value: Optional[float]
    judge_reply: Optional[str] = None
    unscored: Optional[str] = None
    scorer: Optional[str] = None
    spread: Optional[float] = None
    judge_samples: Optional[List[Dict[str, Any]]] = None  # {"score": ..., "reply": ...} each
    probabilities: Optional[Dict[str, float]] = None
    judge_usage: Optional[Dict[str, int]] = None

    def said(self) -> Dict[str, Any]:
        """All but the value, as far as it exists: what a record and the ledger keep beside it."""
        return {name: part for name, part in zip(SAID, self[1:]) if part is not None}


SAID = Score._fields[1:]


class Work(NamedTuple):
    """An entry and the answers it already has (None where it is to be sampled), and why these are fewer than asked."""

    entry: Entry
    answers: Optional[List[Answer]]
    stopped_by: Optional[str] = None


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


def check_turns(value: object) -> List[Turn]:
    """The turns of a conversation, if that is what ``value`` is; else BadEntry names the turn that is wrong."""
    if not isinstance(value, list) or not value:
        raise BadEntry('"conversations" must be a list of turns with at least one question')
    for number, turn in enumerate(value, 1):
        if (
            not isinstance(turn, dict)
            or not isinstance(turn.get("from"), str)
            or not isinstance(turn.get("value"), str)
        ):
            raise BadEntry(f'turn {number} must be an object with the strings "from" and "value"')
        if len(turn) > 2 and _is_deep(turn):
            raise BadEntry(f"turn {number} is nested more than {DEEPEST_TURN} levels deep")
        if turn["from"] not in ROLES:
            raise BadEntry(f"turn {number} has the unknown role {turn['from']!r}; known: {', '.join(ROLES)}")
    return value


def _is_deep(value: object, level: int = 0) -> bool:
    """Whether a value is nested deeper than a record can hold."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return level > DEEPEST_TURN or any(_is_deep(one, level + 1) for one in inner)


def check_images(value: object) -> List[str]:
    """The image paths of an entry (None counts as none); BadEntry if they are not a list of strings."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(path, str) and path for path in value):
        raise BadEntry('"images" must be a list of paths or URLs')
    return value


def _entry(turns: List[Turn], images: List[str], line: Optional[int], entry_id: Optional[str] = None) -> Entry:
    answered = ROLES[turns[-1]["from"]] == "assistant"
    asked = turns[:-1] if answered else turns
    if not asked or ROLES[asked[-1]["from"]] != "user":
        raise BadEntry("no question: the last turn (or the one before the final gpt turn) must be a human turn")
    reference_turn = turns[-1] if answered else None
    return Entry(entry_id or entry_id_of(turns, images), asked, reference_turn, images, line)


def entry_from_conversation(item: object, line: Optional[int] = None) -> Entry:
    """The entry of one input item ``{"conversations": [...], "images": [...]}``; BadEntry if it is none.

    In place of ``conversations`` it may have OpenAI's ``messages``: the entry is the same, its id too.
    """
    if not isinstance(item, dict):
        raise BadEntry(f'an entry must be an object with "conversations" or "messages", not {type(item).__name__}')
    turns, images = item.get("conversations"), check_images(item.get("images"))
    if turns is None and item.get("messages") is not None:
        turns, images = turns_and_images(item["messages"], images)
    elif "conversations" not in item:
        raise BadEntry('neither "conversations" nor "messages" in this entry')
    return _entry(check_turns(turns), images, line)


def work_from_record(item: object, line: Optional[int] = None) -> Work:
    """The entry and answers of one record of sampling.py; BadEntry if it is none.

    ``original_answers`` may also be plain strings (the references), as other tools write it.
    """
    if not isinstance(item, dict):
        raise BadEntry(f"a record must be an object, not {type(item).__name__}")
    texts = item.get("generated_answers")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadEntry('"generated_answers" must be a list of strings; is this an output of sampling.py?')
    details = item.get("generated_details", [{}] * len(texts))
    if not isinstance(details, list) or len(details) != len(texts) or not all(isinstance(d, dict) for d in details):
        raise BadEntry('"generated_details" must hold one object an answer')
    turns = item.get("original_answers")
    if isinstance(turns, list) and all(isinstance(turn, str) for turn in turns):
        asked = [{"from": "human", "value": item.get("original_question")}]
        turns = asked + [{"from": "gpt", "value": turn} for turn in turns[-1:]]
    given = item.get("entry_id")
    if given is not None and not (isinstance(given, str) and given):
        raise BadEntry('"entry_id" must be a string')
    entry = _entry(check_turns(turns), check_images(item.get("images")), line, given)
    keep = ("finish_reason", "reasoning", "usage")
    answers = [Answer(t, **{k: d[k] for k in keep if k in d}) for t, d in zip(texts, details)]
    return Work(entry, answers, item.get("stopped_by"))


def _detail(answer: Answer, score: Optional[Score]) -> Dict[str, Any]:
    return {**_said(answer), **({} if score is None else score.said())}


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
    entry: Entry, answers: Sequence[Answer], scores: Optional[Sequence[Score]], stopped_by: Optional[str] = None
) -> Record:
    """One output line; ``scores`` (one an answer) is None where nothing was scored. ``entry_id`` comes last.

    ``stopped_by`` names the flag that ended the drawing before all answers were drawn.
    """
    record: Record = {"original_question": entry.question, "original_answers": entry.conversation}
    if entry.images:
        record["images"] = entry.images
    record["generated_answers"] = [answer.text for answer in answers]
    if scores is not None:
        record["generated_scores"] = [score.value for score in scores]
    record["generated_details"] = [
        _detail(answer, scores[place] if scores is not None else None) for place, answer in enumerate(answers)
    ]
    if stopped_by is not None:
        record["stopped_by"] = stopped_by
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
    return Answer(line["answer"], line.get("finish_reason"), line.get("reasoning"), line.get("usage"))


def score_line(entry_id: str, index: int, made_by: str, answer: Answer, score: Score) -> Record:
    """The ledger line of one score, bound to its answer's text by ``digest``."""
    fields = {"digest": answer.digest, "score": score.value}
    return {"made_by": made_by, "index": index, **fields, **score.said(), "entry_id": entry_id}


def score_from_line(line: Record) -> Score:
    """The score that ``score_line`` wrote."""
    return Score(line["score"], **{name: line[name] for name in SAID if name in line})
