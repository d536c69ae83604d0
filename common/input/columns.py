"""Rows of columns as conversations: which keys of a row hold its question, its reference, its system turn, its images.

A row says this by the names of its keys, as public datasets use them, or the user says it (``Columns``).

Example: ``conversation_of({"question": "2+2?", "answer": "4"}).turns[1] == {"from": "gpt", "value": "4"}``
"""

from __future__ import annotations

import re
from typing import Any, Iterator, NamedTuple

from ..errors import BadEntry
from ..fast_json import dumps
from ..records import ROLES, Turn
from .cells import Cell, opened
from .hidden import hidden_keys, medium_of, refuse_beside, refuse_media
from .turns import are_plain, image_of, text_of, transcript_turns, turns_and_images

CONVERSATIONS = ("conversations", "messages", "conversation")  # keys of a whole conversation
QUESTIONS = ("instruction", "question", "problem", "query", "prompt")  # the first that a row has is its question
CONTEXTS = ("input", "context")  # text that follows an instruction
REFERENCES = (  # the first that a row has is its reference
    *("chosen", "answer", "expected_answer", "final_answer", "ground_truth", "reward_model.ground_truth"),
    *("solution", "completion", "response", "output"),
)
MORE_REFERENCES = (  # the only one of these that holds a short value, where a row has none of the others
    *("reference", "reference_answer", "reference_solution", "gold", "gold_answer", "golden_answer", "correct_answer"),
    *("best_answer", "expected", "expected_output", "target", "answers"),
)
SYSTEMS = ("system", "system_prompt", "system_message")
LABELS = ("label", "kto_tag")  # false: the row's answer is a bad one
EMPTY: tuple[Any, ...] = (None, "", [], {}, "[]", "{}", "null", False)


class Columns(NamedTuple):
    """The keys that the user names (dotted paths: ``reward_model.ground_truth``) and the text around each question.

    ``template`` holds ``{question}``, and may hold ``{row.KEY}``.
    """

    question: str | None = None
    reference: str | None = None
    system: str | None = None
    images: str | None = None
    template: str | None = None


BY_NAME = Columns()  # every key is recognised by its name


class Conversation(NamedTuple):
    """What a row says: its turns, its images, the row's other keys, and the keys that were recognised."""

    turns: list[Turn]
    images: list[str]
    extra: dict[str, Any]
    keys: list[str]


def conversation_of(row: dict[str, Any], columns: Columns = BY_NAME) -> Conversation:
    """The conversation of one input item. BadEntry names the key that is missing, wrong, or cannot be sent."""
    used: list[str] = []
    images = _images(row, columns, used)
    are_known = bool(images) or columns.images is not None
    refuse_media([key for key in row if medium_of(key) and key not in used and row[key] not in EMPTY], are_known)
    turns, images = _turns(row, columns, images, used)
    turns = _with_system(row, columns, turns, used)
    turns, rejected = _with_reference(row, columns, turns, used)
    if columns.template is not None:
        turns = _wrapped(turns, columns.template, row)
    extra = {key: value for key, value in row.items() if key not in used}
    return Conversation(turns, images, {**rejected, **extra}, used)


def lookup(row: object, path: str) -> Any:
    """The value at a dotted path (``answers.text.0``), or None. A key with dots in its name comes first.

    >>> lookup({"answers": {"text": ["4"]}}, "answers.text.0"), lookup({"a.b": 1}, "a.b"), lookup({}, "a")
    ('4', 1, None)
    """
    if isinstance(row, dict):
        if path in row:
            return row[path]
        if "." not in path:
            return None
    row = opened(row) if isinstance(row, Cell) else row
    name, _, rest = path.partition(".")
    if isinstance(row, list) and name.isdecimal() and int(name) < len(row):
        inner = row[int(name)]
    elif isinstance(row, dict) and name in row:
        inner = row[name]
    else:
        return None
    return lookup(inner, rest) if rest else inner


def as_text(value: object) -> str:
    """A value as a prompt shows it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value).decode()


def fill(template: str, question: str, row: dict[str, Any]) -> str:
    """The template with ``{question}`` and each ``{row.KEY}`` replaced. BadEntry if the row lacks a key.

    >>> fill("{row.level}: {question}", "2+2?", {"level": 1})
    '1: 2+2?'
    """

    def value(match: re.Match[str]) -> str:
        if match.group() == "{question}":
            return question
        found = lookup(row, match.group(1))
        if found is None:
            raise BadEntry(f'the prompt template needs "{match.group(1)}", which this entry does not have')
        return as_text(found)

    return re.sub(r"\{question\}|\{row\.([^{}]+)\}", value, template)


def _images(row: dict[str, Any], columns: Columns, used: list[str]) -> list[str]:
    """The row's images, from ``images`` or ``image``, or from the key that the user names."""
    keys = ("images", "image") if columns.images is None else (columns.images,)
    found = [(key, list(_listed(key, lookup(row, key)))) for key in keys]
    found = [(key, images) for key, images in found if images]
    used += keys
    if len(found) > 1 and found[0][1] != found[1][1]:
        raise BadEntry('"images" and "image" differ; an entry has one of them')
    return found[0][1] if found else []


def _listed(key: str, value: object) -> Iterator[str]:
    if value is None:
        return
    value = opened(value)
    if value == "" or (isinstance(value, dict) and all(one is None for one in value.values())):
        return
    for image in value if isinstance(value, list) else [value]:
        if not isinstance(image, (str, dict)) or not image:
            raise BadEntry(f'"{key}" must be a list of paths or URLs')
        yield image_of(f'an image in "{key}"', image)


def _turns(row: dict[str, Any], columns: Columns, images: list[str], used: list[str]) -> tuple[list[Turn], list[str]]:
    """The turns before the reference is added, and the images in the order of their marks."""
    key = columns.question or next((key for key in (*CONVERSATIONS, *QUESTIONS) if row.get(key) is not None), None)
    if key is None and row.get("chosen") is not None and _as_turns(row["chosen"]) is not None:
        key = "chosen"
    value = None if key is None else lookup(row, key)
    if key is None or value is None:
        raise _no_question(row, columns)
    used.append(key)
    turns = _as_turns(value)
    if turns is not None or isinstance(value, list) or key in CONVERSATIONS:
        read, images = _read(key, value if turns is None else turns, images)
        return (_after_history(_history(row, used), read) if "history" in row else read), images
    turns = [*_history(row, used), {"from": "human", "value": _text(key, value)}]
    if columns.question is None:
        turns[-1]["value"] += _context(row, key, columns, used)
    return _read(key, turns, images)


def _as_turns(value: object) -> list[Any] | None:
    """The turns that a cell or a transcript (HH-RLHF's) holds, or a list as it is; None for any other text."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        return None
    inner = opened(value)
    if isinstance(inner, list) and inner and all(isinstance(turn, dict) for turn in inner):
        return inner
    return transcript_turns(value)


def _after_history(history: list[Turn], turns: list[Turn]) -> list[Turn]:
    """The turns with the history before them, but behind a system turn."""
    start = int(bool(history) and ROLES.get(turns[0]["from"]) == "system")
    return [*turns[:start], *history, *turns[start:]]


def _no_question(row: dict[str, Any], columns: Columns) -> BadEntry:
    keys = ", ".join(str(key)[:40] for key in list(row)[:20]) or "none"
    if columns.question is not None:
        return BadEntry(f'no "{columns.question}" in this entry, whose keys are: {keys}; see --question_key')
    inner = next((key for key, value in row.items() if _holds_entries(value)), None)
    if inner is not None:
        return BadEntry(
            f'this is not an entry, but an object whose "{inner}" is a list of entries; '
            f"write that list into a file of its own (jq .{inner} FILE) and name that one"
        )
    return BadEntry(
        f'neither "conversations" nor "messages" in this entry, whose keys are: {keys}; '
        "name the key of its question with --question_key"
    )


def _holds_entries(value: object) -> bool:
    """Whether a value is a list whose first item is an entry by the names of its keys."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and any(key in first for key in (*CONVERSATIONS, *QUESTIONS))


def _read(key: str, value: object, images: list[str]) -> tuple[list[Turn], list[str]]:
    unit = "message" if key == "messages" else "turn"
    refuse_beside(value, unit)
    if not isinstance(value, list) or not value:
        raise BadEntry(f'"{key}" must be a list of {unit}s with at least one question')
    return (value, images) if are_plain(value) else turns_and_images(value, images, unit)


def _text(key: str, value: object) -> str:
    """A cell as text: a string as it is, a number as JSON. BadEntry if it is neither."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, float)):
        return as_text(value)
    part = next((name for name, one in value.items() if isinstance(one, str)), "text") if isinstance(value, dict) else 0
    kind = "list of several" if isinstance(value, list) else type(value).__name__
    raise BadEntry(f'"{key}" must be a text or a number, not a {kind}; name a part of it, as "{key}.{part}"')


def _context(row: dict[str, Any], key: str, columns: Columns, used: list[str]) -> str:
    """The text that follows an instruction, on a line of its own. BadEntry if a question may lack what it needs."""
    context = ""
    if key == "instruction":
        for name in CONTEXTS:
            if row.get(name) not in EMPTY:
                used.append(name)
                context += "\n" + _text(name, row[name])
    names = [name for name, value in row.items() if name not in used and value not in EMPTY]
    hidden = [*hidden_keys(names), *(one for one in QUESTIONS if one in names and not _same(row[one], row[key]))]
    for name in hidden:
        if f"{{row.{name}" not in (columns.template or ""):
            raise BadEntry(
                f'nothing says how "{name}" reaches the model: give a --prompt_template with {{row.{name}}}, '
                f"or say --question_key {key} if the question is complete without it"
            )
    return context


def _same(one: object, other: object) -> bool:
    """Whether two questions of a row are the same text."""
    return isinstance(one, str) and isinstance(other, str) and one.split() == other.split()


def _history(row: dict[str, Any], used: list[str]) -> list[Turn]:
    """The turns of ``history``: pairs of a question and its answer, or messages."""
    history = opened(row.get("history"))
    if history in EMPTY:
        return []
    used.append("history")
    if not isinstance(history, list):
        raise BadEntry('"history" must be a list of pairs [question, answer], or of messages')
    turns: list[Turn] = []
    for number, pair in enumerate(history, 1):
        if isinstance(pair, dict):
            turns += turns_and_images([pair], [], f'"history" {number}: turn')[0]
        elif isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair):
            turns += [{"from": "human", "value": pair[0]}, {"from": "gpt", "value": pair[1]}]
        else:
            raise BadEntry(f'"history" {number} must be a pair [question, answer], or a message')
    return turns


def _with_system(row: dict[str, Any], columns: Columns, turns: list[Turn], used: list[str]) -> list[Turn]:
    """The turns with the row's system text as the first turn."""
    keys = SYSTEMS if columns.system is None else (columns.system,)
    key = next((key for key in keys if lookup(row, key) not in EMPTY), None)
    if key is None:
        return turns
    used.append(key)
    text = text_of(f'"{key}"', opened(lookup(row, key)))
    if not text.strip():
        return turns
    if turns[0]["from"] != "system":
        return [{"from": "system", "value": text}, *turns]
    if turns[0]["value"] != text:
        raise BadEntry(f'"{key}" and turn 1 are two system texts that differ; keep one of them')
    return turns


def _with_reference(
    row: dict[str, Any], columns: Columns, turns: list[Turn], used: list[str]
) -> tuple[list[Turn], dict[str, Any]]:
    """The turns with the row's reference as the last turn, and what becomes a key of the row instead.

    The last turn of a row that is labelled as bad is not a reference. It is kept as ``rejected``.
    """
    answered = ROLES.get(turns[-1]["from"]) == "assistant"
    bad = next((key for key in LABELS if _is_false(row.get(key))), None)
    if bad is not None:
        return (turns[:-1], {"rejected": turns[-1]["value"]}) if answered else (turns, {})
    keys = REFERENCES if columns.reference is None else (columns.reference,)
    if answered and columns.reference is None:
        keys = ("chosen",)
    key = next((key for key in keys if key not in used and lookup(row, key) is not None), None)
    if key is None and columns.reference is None and not answered:
        key = _other_reference(row, used)
    if key is None:
        return turns, {}
    used.append(key)
    reference = _reference_turn(key, lookup(row, key))
    return [*(turns[:-1] if answered else turns), reference], {}


def _other_reference(row: dict[str, Any], used: list[str]) -> str | None:
    """The key of ``MORE_REFERENCES`` that holds a text or a number; None if none does, or if two of them differ."""
    found = {key: value for key, value in ((key, row.get(key)) for key in MORE_REFERENCES) if key not in used}
    found = {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in found.items()}
    texts = {key: as_text(value).strip() for key, value in found.items() if _is_short(value)}
    return next(iter(texts)) if len(set(texts.values())) == 1 else None


def _is_short(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and bool(as_text(value).strip())


def _is_false(value: object) -> bool:
    """Whether a label says that an answer is bad. In CSV, all values are texts."""
    return value is False or (isinstance(value, Cell) and value.lower() == "false")


def _reference_turn(key: str, value: object) -> Turn:
    """The reference as a gpt turn: a text, a number, a turn, or the last turn of a conversation."""
    if isinstance(value, str):
        value = transcript_turns(value) or _opened_reference(value)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1]
    elif isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and ({"role", "from"} & value.keys()):
        return turns_and_images([value], [], f'"{key}": turn')[0][0]
    return {"from": "gpt", "value": _text(key, value)}


def _opened_reference(value: str) -> object:
    """The list of turns or texts, or the turn, that a cell holds; any other text as it is."""
    inner = opened(value)
    if isinstance(inner, list) and all(isinstance(one, (dict, str)) for one in inner):
        return inner
    return inner if isinstance(inner, dict) and {"role", "from"} & inner.keys() else value


def _wrapped(turns: list[Turn], template: str, row: dict[str, Any]) -> list[Turn]:
    """The turns with the template around the text of the last human turn."""
    place = max((n for n, turn in enumerate(turns) if ROLES.get(turn["from"]) == "user"), default=None)
    if place is None:
        return turns
    wrapped = {**turns[place], "value": fill(template, turns[place]["value"], row)}
    return [*turns[:place], wrapped, *turns[place + 1 :]]
