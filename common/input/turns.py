"""A conversation's turns, in the dataset's words (``from``/``value``) or in OpenAI's (``role``/``content``).

Both spellings of a conversation give the same turns and images. What turns cannot hold (tool calls, audio, images that
are not the user's) is a BadEntry that names it.

Example: ``turns_and_images([{"role": "user", "content": "2+2?"}], [], "message")[0][0]["value"] == "2+2?"``
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Iterable, Sequence

from ..errors import BadEntry
from ..images import BYTES, data_url
from ..patterns import regex
from ..records import MARK, ROLES, Turn

DEEPEST_TURN = 100  # levels of nesting in what a turn has beside its text
SPEAKERS = {"system": "system", "developer": "system", "user": "human", "assistant": "gpt"}  # the API's roles
LOST = ("tool_calls", "function_call", "audio")  # what a message may have that a turn cannot hold
TEXTS = ("text", "value", "content")  # where a text part has its text
SOURCES = (
    "image_url",
    "image",
    "url",
    "path",
    "source",
    "base64",
    "value",
)  # where an image part may have its own image
TEXT_PARTS = ("text", "input_text", "output_text")
IMAGE_PARTS = ("image", "image_url", "input_image")
IMAGES = "a PNG, JPEG, GIF, WebP or BMP image"
UNSENDABLE_MARK = regex(  # how datasets and models write the place of a medium: <video>, <audio_1>, <|video_pad|>
    r"<\|?(?P<medium>audio|video|sound|speech)(?:[ _]?(?:\d+|pad|start|end|bos|eos|token|placeholder))?\|?>"
    r"|<\|?(?P<image>image[ _]?\d+|image_pad|image_token|image_placeholder)\|?>|<(?P<img>img)>[^<\n]+</img>",
    re.I,
)
TRANSCRIPT = regex(r"\n\n(Human|Assistant): ?")  # how Anthropic's HH-RLHF writes a conversation


def turns_and_images(
    value: Sequence[Any], images: Sequence[str], unit: str = "turn"
) -> tuple[list[dict[str, Any]], list[str]]:
    """The turns, with a ``<image>`` mark for each image part, and all images in the order of their marks.

    A part without an image of its own takes the next of ``images``, and so does a mark in a user's plain string; those
    that nothing takes come last. What a turn has beside its role and content stays with it. ``unit`` names a turn in a
    message. Raises BadEntry.
    """
    shown: list[str] = []
    waiting = list(images)
    turns = [_turn(f"{unit} {number}", turn, shown, waiting) for number, turn in enumerate(value, 1)]
    return turns, shown + waiting


def are_plain(value: Sequence[Any]) -> bool:
    """Whether each item is a turn as the dataset has it: an object with the strings ``from`` and ``value``."""
    return all(
        isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)
        for turn in value
    )


def check_turns(turns: Sequence[Turn]) -> None:
    """BadEntry if a plain turn has an unknown role, is nested too deep, or holds a mark of sound or video."""
    for number, turn in enumerate(turns, 1):
        if len(turn) > 2 and _is_deep(turn):
            raise BadEntry(f"turn {number} is nested more than {DEEPEST_TURN} levels deep")
        role = ROLES.get(turn["from"])
        if role is None:
            raise BadEntry(f"turn {number} has the unknown role {turn['from']!r}; known: {', '.join(ROLES)}")
        mark = UNSENDABLE_MARK.search(turn["value"]) if role == "user" and "<" in turn["value"] else None
        if mark and mark["medium"]:
            raise BadEntry(f"turn {number} has the mark {mark.group()}, and {mark['medium'].lower()} cannot be sent")
        if mark:
            raise BadEntry(
                f"turn {number} has the mark {mark.group()[:60]}: write {MARK}, and name the image in images"
            )


def transcript_turns(text: str) -> list[Turn] | None:
    r"""The turns of a text as HH-RLHF writes it; None for any other text.

    >>> transcript_turns("\n\nHuman: 2+2?\n\nAssistant: 4")
    [{'from': 'human', 'value': '2+2?'}, {'from': 'gpt', 'value': '4'}]
    """
    if not text.startswith("\n\nHuman:"):
        return None
    _, *parts = TRANSCRIPT.split(text)
    return [{"from": "human" if who == "Human" else "gpt", "value": said} for who, said in zip(parts[::2], parts[1::2])]


def text_of(where: str, content: object) -> str:
    """A text, or a list of text parts as one text with a newline between two. BadEntry if it is neither."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadEntry(f"{where} must be a string or a list of text parts")
    return _joined(where, "system", content, [], [])


def image_of(where: str, value: object) -> str:
    """An image as a path or URL: a string, HuggingFace's ``{"bytes", "path"}``, or an object that names its URL.

    Raises BadEntry.
    """
    if isinstance(value, dict) and isinstance(value.get("bytes"), str):
        return _encoded_image(where, value["bytes"])
    if isinstance(value, dict) and isinstance(value.get("data"), str):
        return _encoded_image(where, value["data"])
    if isinstance(value, dict):
        inner = next((value[key] for key in SOURCES if value.get(key) is not None), None)
        return image_of(where, inner)
    if not isinstance(value, str) or not value:
        raise BadEntry(f"{where} is without a URL or path")
    if value.startswith(f"data:{BYTES}"):
        raise BadEntry(f"{where} is not {IMAGES}")
    return value


def _encoded_image(where: str, data: str) -> str:
    try:
        url = data_url(base64.b64decode(data, validate=True))
    except binascii.Error:
        url = None
    if url is None:
        raise BadEntry(
            f"{where} has bytes that are not base64 of a PNG, JPEG, GIF, WebP or BMP image, nor a URL or path"
        )
    return url


def _turn(where: str, turn: object, shown: list[str], waiting: list[str]) -> dict[str, Any]:
    """One turn in the dataset's words; its images go from ``waiting`` to ``shown``."""
    if not isinstance(turn, dict) or not ({"role", "from"} & turn.keys()):
        raise BadEntry(f'{where} must be an object with "from" and "value", or with "role" and "content"')
    speaker = _speaker(where, turn)
    content = turn["content"] if turn.get("content") is not None else turn.get("value")
    for key in LOST:
        if turn.get(key):
            raise BadEntry(f'{where} has "{key}", which cannot be converted')
    if isinstance(content, list):
        text = _joined(where, ROLES[speaker], content, shown, waiting)
    elif isinstance(content, str):
        text = content
        marks = text.count(MARK) if speaker == "human" else 0
        shown += waiting[:marks]
        del waiting[:marks]
    else:
        raise BadEntry(f'{where} must have a string or a list of parts as its "content" (or "value")')
    gone = ("role", "content", "from", "value", *LOST)
    beside = {key: value for key, value in turn.items() if key not in gone and value is not None}
    return {"from": speaker, "value": text, **beside}


def _speaker(where: str, turn: dict[str, Any]) -> str:
    """Who speaks, in the dataset's words."""
    role = turn["role"] if turn.get("role") is not None else turn.get("from")
    if not isinstance(role, str) or not (role in SPEAKERS or role in ROLES):
        known = ", ".join({**SPEAKERS, **ROLES})
        raise BadEntry(f"{where} has the role {role!r}, which cannot be converted; known: {known}")
    return SPEAKERS.get(role, role)


def _joined(where: str, role: str, parts: Iterable[Any], shown: list[str], waiting: list[str]) -> str:
    """The parts as one text: a mark for each image, a newline between two texts."""
    pieces: list[str] = []
    for part in parts:
        kind = _kind(part)
        if kind == "text":
            text = part if isinstance(part, str) else next(part[key] for key in TEXTS if isinstance(part.get(key), str))
            if role == "user" and MARK in text:
                raise BadEntry(f"{where} has {MARK} in a text part, where it would be taken for an image")
            pieces += ["\n"] if pieces and pieces[-1] is not MARK else []
            pieces.append(text)
        elif kind == "image" and role == "user":
            shown.append(_part_image(where, part, waiting))
            pieces.append(MARK)
        elif kind == "image":
            raise BadEntry(f"{where} has an image, and only the user's can be sent")
        else:
            raise BadEntry(f"{where} has a part that cannot be converted: its type is {kind}, not text or image")
    return "".join(pieces)


def _kind(part: object) -> str:
    """``text``, ``image``, or the type of a part that is neither."""
    if isinstance(part, str):
        return "text"
    if not isinstance(part, dict):
        return repr(type(part).__name__)
    kind = part.get("type")
    has_text = any(isinstance(part.get(key), str) for key in TEXTS)
    if has_text and (kind in TEXT_PARTS or kind is None):
        return "text"
    return "image" if kind in IMAGE_PARTS or (kind is None and any(map(part.get, SOURCES))) else repr(kind)


def _part_image(where: str, part: dict[str, Any], waiting: list[str]) -> str:
    """The path or URL that an image part has, or the next that waits."""
    own = next((part[key] for key in SOURCES if part.get(key) is not None), None)
    if own is None and part.get("type") == "image":
        if not waiting:
            raise BadEntry(f'{where} has more image parts than "images" has images')
        return waiting.pop(0)
    return image_of(f"{where} has an image part, which", own)


def _is_deep(value: object, level: int = 0) -> bool:
    """Whether a value is nested deeper than a record can hold."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return level > DEEPEST_TURN or any(_is_deep(one, level + 1) for one in inner)
