"""The steps of an answer: a process reward model scores each, and a training file holds each with its label.

>>> steps_of("one\\ntwo"), steps_of("one\\n1\\n\\ntwo")
(['one', 'two'], ['one\\n1', 'two'])
"""

from __future__ import annotations

import re


def steps_of(answer: str) -> list[str]:
    """The paragraphs of an answer; its lines if it has one paragraph.

    >>> steps_of("  ")
    []
    """
    parts = re.split(r"\n\s*\n", answer.strip())
    if len(parts) == 1:
        parts = answer.splitlines()
    return [part.strip() for part in parts if part.strip()]
