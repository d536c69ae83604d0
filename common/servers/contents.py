"""The text and the thoughts of a message, whose content is a string or a list of parts.

>>> text_and_thoughts([{"type": "thinking", "thinking": "2 and 2 ..."}, {"type": "text", "text": "4"}])
('4', '2 and 2 ...')
"""

from __future__ import annotations

from typing import Any

from .known_servers import TEXT_PARTS, THOUGHT_PARTS, WORDS_IN_PART


def text_and_thoughts(content: object) -> tuple[str, str]:
    """What the parts of a content say and think. TypeError if the content has another shape than a list of parts."""
    parts = content if isinstance(content, list) else [content]
    text, thoughts = [], []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if not isinstance(part, (str, dict)) or not isinstance(kind, str):
            raise TypeError("a part that is neither a text nor an object with a type")
        if kind in TEXT_PARTS:
            text.append(words(part))
        elif kind.lower().startswith(THOUGHT_PARTS):
            thoughts.append(words(part))
    return "".join(text), "".join(thoughts)


def words(value: Any) -> str:
    """All words in a string, a part or a list of parts; "" if there are none.

    >>> words({"type": "thinking", "thinking": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    'ab'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(words, value))
    inner = (value[name] for name in WORDS_IN_PART if value.get(name)) if isinstance(value, dict) else ()
    return words(next(iter(inner), ""))
