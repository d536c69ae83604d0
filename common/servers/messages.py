"""An entry as the chat messages that are sent.

Example: ``chat_messages(entry, load_images(entry.images, "data"), system_prompt=None)``
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from ..errors import BadEntry
from ..records import MARK, ROLES, Entry

Message = Dict[str, Any]  # {"role": ..., "content": ...} as the API has it


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


def chat_messages(entry: Entry, images: Sequence[str], system_prompt: Optional[str]) -> List[Message]:
    """History and question as chat messages; the reference is never among them.

    Each ``<image>`` mark of a human turn takes the next of ``images`` (URLs); those left over come first in the
    question. ``system_prompt`` stands in where the entry has no system turn of its own.
    """
    marks = check_marks(entry)
    waiting, unmarked = list(images[:marks]), images[marks:]
    messages: List[Message] = []
    if system_prompt and not any(ROLES[turn["from"]] == "system" for turn in entry.turns):
        messages.append({"role": "system", "content": system_prompt})
    for turn in entry.turns:
        role, text = ROLES[turn["from"]], turn["value"]
        here = unmarked if turn is entry.turns[-1] else ()
        if role == "user" and (MARK in text or here):
            pieces = text.split(MARK)
            parts = [image_part(url) for url in here]
            for number, piece in enumerate(pieces):
                if piece.strip():
                    parts.append(text_part(piece.strip("\n")))
                if number < len(pieces) - 1:
                    parts.append(image_part(waiting.pop(0)))
            messages.append({"role": role, "content": parts})
        else:
            messages.append({"role": role, "content": text})
    return messages
