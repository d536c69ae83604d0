"""An entry as the chat messages that are sent.

>>> from ..records import Entry
>>> entry = Entry("id", [{"from": "human", "value": "What is <image>?"}], None, ["cat.png"])
>>> chat_messages(entry, ["data:image/png;base64,..."], system_prompt="Be brief.")[0]
{'role': 'system', 'content': 'Be brief.'}
"""

from __future__ import annotations

from typing import Any, Dict, Sequence

from ..errors import BadEntry
from ..records import MARK, ROLES, Entry

Message = Dict[str, Any]  # {"role": ..., "content": ...}, as in the API


def image_part(url: str) -> Message:
    return {"type": "image_url", "image_url": {"url": url}}


def text_part(text: str) -> Message:
    return {"type": "text", "text": text}


def check_marks(entry: Entry) -> int:
    """The number of ``<image>`` marks in the human turns; BadEntry if there are more than the entry has images."""
    marks = 0
    for turn in entry.turns:
        if MARK in turn["value"] and ROLES[turn["from"]] == "user":
            marks += turn["value"].count(MARK)
    if marks > len(entry.images):
        raise BadEntry(f"{marks} {MARK} marks but {len(entry.images)} images")
    return marks


def chat_messages(entry: Entry, images: Sequence[str], system_prompt: str | None) -> list[Message]:
    """History and question as chat messages; the reference is never among them.

    Each ``<image>`` mark of a human turn takes the next of ``images`` (URLs). Images without a mark come first in the
    question. ``system_prompt`` is used if the entry has no system turn of its own.
    """
    marks = check_marks(entry)
    marked, unmarked = list(images[:marks]), list(images[marks:])
    messages: list[Message] = []
    if system_prompt and not any(ROLES[turn["from"]] == "system" for turn in entry.turns):
        messages.append({"role": "system", "content": system_prompt})
    for turn in entry.turns:
        role, text = ROLES[turn["from"]], turn["value"]
        first = unmarked if turn is entry.turns[-1] else []
        if role == "user" and (MARK in text or first):
            parts = [image_part(url) for url in first] + _parts(text, marked)
            messages.append({"role": role, "content": parts})
        else:
            messages.append({"role": role, "content": text})
    return messages


def _parts(text: str, marked: list[str]) -> list[Message]:
    """A text with marks as parts; each mark removes the first of ``marked``."""
    parts = []
    for number, piece in enumerate(text.split(MARK)):
        if number > 0:
            parts.append(image_part(marked.pop(0)))
        if piece.strip():
            parts.append(text_part(piece.strip("\n")))
    return parts
