"""OpenAI's ``messages`` as turns and images: the same as the ShareGPT spelling of that conversation.

What turns cannot hold (tool calls, audio, images that are not the user's) is a BadEntry that says so.

Example: ``turns_and_images([{"role": "user", "content": "2+2?"}], [])[0] == [{"from": "human", "value": "2+2?"}]``
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..errors import BadEntry
from ..records import ANSWER_DETAILS, MARK, ROLES, Answer, Entry, PendingEntry, Turn, entry_id_of

ENTRY_KEYS = ("conversations", "messages", "images")  # what is read of an input item
RECORD_KEYS = (  # ... and of a record
    *("original_question", "original_answers", "images"),
    *("generated_answers", "generated_details", "stopped_by", "entry_id"),
)
DEEPEST_TURN = 100  # levels of nesting in what a turn has beside its text
SPEAKERS = {"system": "system", "developer": "system", "user": "human", "assistant": "gpt"}
LOST = ("tool_calls", "function_call", "audio")  # what a message may have that a turn cannot hold
SOURCES = ("image_url", "image", "url", "path", "source", "base64")  # where an image part may have its own image


def turns_and_images(messages: object, images: Sequence[str]) -> Tuple[List[Dict[str, Any]], List[str]]:
    """The turns, with a ``<image>`` mark for each image part, and all images in the order of their marks.

    A part without an image of its own takes the next of ``images``, and so does a mark in a user's plain string; those
    that nothing takes come last. What a message has beside role and content stays with its turn.
    """
    if not isinstance(messages, list) or not messages:
        raise BadEntry('"messages" must be a list of messages with at least one question')
    shown: List[str] = []
    waiting = list(images)
    turns = [_turn(f"message {number}", message, shown, waiting) for number, message in enumerate(messages, 1)]
    return turns, shown + waiting


def _turn(where: str, message: object, shown: List[str], waiting: List[str]) -> Dict[str, Any]:
    """One message as a turn; its images go from ``waiting`` to ``shown``."""
    if not isinstance(message, dict):
        raise BadEntry(f'{where} must be an object with "role" and "content"')
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in SPEAKERS:
        raise BadEntry(f"{where} has the role {role!r}, which cannot be converted; known: {', '.join(SPEAKERS)}")
    for key in LOST:
        if message.get(key):
            raise BadEntry(f'{where} has "{key}", which cannot be converted')
    if isinstance(content, list):
        text = _text_of(where, role, content, shown, waiting)
    elif isinstance(content, str):
        text = content
        marks = text.count(MARK) if role == "user" else 0
        shown += waiting[:marks]
        del waiting[:marks]
    else:
        raise BadEntry(f'{where} must have a string or a list of parts as its "content"')
    gone = ("role", "content", "from", "value", *LOST)
    beside = {key: value for key, value in message.items() if key not in gone and value is not None}
    return {"from": SPEAKERS[role], "value": text, **beside}


def _text_of(where: str, role: str, parts: List[Any], shown: List[str], waiting: List[str]) -> str:
    """The parts as one text: a mark for each image, a newline between two texts."""
    pieces: List[str] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            if role == "user" and MARK in part["text"]:
                raise BadEntry(f"{where} has {MARK} in a text part, where it would be taken for an image")
            pieces += ["\n"] if pieces and pieces[-1] is not MARK else []
            pieces.append(part["text"])
        elif kind in ("image", "image_url") and role == "user":
            shown.append(_image(where, part, waiting))
            pieces.append(MARK)
        elif kind in ("image", "image_url"):
            raise BadEntry(f"{where} has an image, and only the user's can be sent")
        else:
            raise BadEntry(f"{where} has a part that cannot be converted: its type is {kind!r}, not text or image")
    return "".join(pieces)


def _image(where: str, part: Dict[str, Any], waiting: List[str]) -> str:
    """The path or URL that an image part has, or the next that waits."""
    own = next((part[key] for key in SOURCES if part.get(key) is not None), None)
    if own is None and part["type"] == "image":
        if not waiting:
            raise BadEntry(f'{where} has more image parts than "images" has images')
        return waiting.pop(0)
    if isinstance(own, dict):
        own = own.get("url")
    if not isinstance(own, str) or not own:
        raise BadEntry(f"{where} has an image part without a URL or path")
    return own


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


def work_from_record(item: object, line: Optional[int] = None) -> PendingEntry:
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
    keep = (*ANSWER_DETAILS, "model", "made_by")
    answers = [Answer(t, **{k: d[k] for k in keep if k in d}) for t, d in zip(texts, details)]
    return PendingEntry(entry, answers, item.get("stopped_by"))
