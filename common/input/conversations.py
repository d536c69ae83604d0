"""OpenAI's ``messages`` as turns and images: the same as the ShareGPT spelling of that conversation.

What turns cannot hold (tool calls, audio, images that are not the user's) is a BadEntry that says so.

Example: ``turns_and_images([{"role": "user", "content": "2+2?"}], [])[0] == [{"from": "human", "value": "2+2?"}]``
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from ..errors import BadEntry

MARK = "<image>"  # stands in a human turn where the next of the entry's images goes
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
