"""The thoughts of answers in a training file: where they go (``--reasoning``), each once.

A server gives thoughts beside the answer (``reasoning`` of its details), or inside its text, or both. Both are read,
and what both hold is kept once.

>>> said("<think>2 and 2</think>4", "2 and 2")
Said(thoughts='2 and 2', answer='4')
>>> in_text(Said("2 and 2", "4"))
'<think>\\n2 and 2\\n</think>\\n\\n4'
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import UsageError
from ..thinking import split_thoughts

REASONING = ("auto", "think", "field", "drop")
FIELD = "reasoning_content"  # the name that chat templates and servers know


class Said(NamedTuple):
    """An answer and the thoughts before it; empty if there are none."""

    thoughts: str
    answer: str


def said(text: str, reasoning: object = None) -> Said:
    """The parts of an answer whose details have this ``reasoning``; its text as it is if no thoughts are in it."""
    inline, answer = split_thoughts(text)
    beside = reasoning.strip() if isinstance(reasoning, str) else ""
    if _words(inline) in _words(beside):
        thoughts = beside
    elif _words(beside) in _words(inline):
        thoughts = inline
    else:
        thoughts = f"{beside}\n\n{inline}"
    return Said(thoughts, answer or "")


def _words(text: str) -> str:
    """A text with single spaces, to compare."""
    return " ".join(text.split())


def in_text(parts: Said) -> str:
    """The text with its thoughts in front, as models write it and as trainers of ShareGPT read it."""
    return f"<think>\n{parts.thoughts}\n</think>\n\n{parts.answer}" if parts.thoughts else parts.answer


def place_of_thoughts(reasoning: str, selected_format: str, own: str, has_field: bool) -> str:
    """Where the thoughts go: ``think``, ``field`` or ``drop``; ``own`` is the format's, for ``auto``.

    UsageError if the format has no field for them.
    """
    if reasoning == "field" and not has_field:
        raise UsageError(f"--reasoning field: --selected_format {selected_format} has no field for thoughts; use think")
    return own if reasoning == "auto" else reasoning
