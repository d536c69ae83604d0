"""Keys of a row whose content a model would need, and which nothing sends: they are refused by name.

>>> hidden_keys(["question", "A", "B", "answer", "passage"])
['A', 'B', 'passage']
"""

from __future__ import annotations

import functools
import re
from typing import Any, Sequence

from ..errors import BadEntry
from ..patterns import regex

PLACES = "_?(path|file|url|data|bytes)s?"
UNSENDABLE = regex(  # keys whose content is not sent
    "((available_)?(tool|function)s?(_?(schema|definition|def|spec|list|json)s?)?$"
    f"|(input_)?(audio|video|sound)s?({PLACES})?$|(speech|voice)s?{PLACES}$)",
    re.I,
)
IMAGES = regex(f"((input_)?(image|img|picture|photo)s?({PLACES})?$|(image|img)_?[0-9]+$)", re.I)
CONTEXT = regex(  # a question may need these, and nothing says where they go
    "(choices?|options?|endings?|passages?|contexts?|body|articles?|paragraphs?|documents?|story|premise|background|"
    "table|starter_code|input)$",
    re.I,
)
OPTION = regex("(option|choice|opt|op|answer|ans|ending|sol)?[_ ]?([a-e]|[0-5])$", re.I)  # one of several


@functools.lru_cache(maxsize=1024)
def medium_of(key: str) -> str | None:
    """What a key of a row or a turn holds by its name: an ``image``, an ``other`` medium or tools, or neither."""
    return "other" if UNSENDABLE.match(key) else "image" if IMAGES.match(key) else None


def refuse_media(keys: Sequence[str], has_images: bool) -> None:
    """BadEntry if one of these keys (of a row, with a value) holds a medium or tools that no model would get."""
    for key in keys:
        medium = medium_of(key)
        if medium == "other":
            raise BadEntry(f'"{key}" cannot be sent to a model; remove it from the entries that do not need it')
        if medium == "image" and not has_images:
            raise BadEntry(f'"{key}" would not be sent: name the key of the images with --images_key, or remove it')


def refuse_beside(turns: Any, unit: str) -> None:
    """BadEntry if a turn has, beside its text, a medium or tools that no model would get."""
    if not isinstance(turns, list):
        return
    for number, turn in enumerate(turns, 1):
        for key in turn if isinstance(turn, dict) and len(turn) > 2 else ():
            if turn[key] and (medium_of(key) or key in ("tool_calls", "function_call")):
                raise BadEntry(f'{unit} {number} has "{key}", which cannot be converted')


def hidden_keys(keys: Sequence[str]) -> list[str]:
    """Those keys of a row (with a value) that may belong to its question: a context, or several options."""
    options = [key for key in keys if OPTION.match(key)]
    families = [OPTION.sub(r"\1", key) for key in options]
    several = {key for key, family in zip(options, families) if families.count(family) > 1}
    return [key for key in keys if key in several or CONTEXT.match(key)]
