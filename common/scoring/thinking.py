"""Thoughts of a reply that are not part of what it says: thinking blocks and reasoning in tags.

>>> without_thoughts("<think>Is it 5?</think>It is 4.")
'It is 4.'
"""

from __future__ import annotations

import re

THINKING_ENDS = re.compile(r"</(?:think|thinking)>", re.I)  # its opening tag may stand in the chat template
_THINKING_BEGINS = re.compile(r"<(?:think|thinking)>", re.I)
_REASONING_TAG = re.compile(r"<(/?)(?:thought|reasoning)>", re.I)


def without_thoughts(text: str) -> str | None:
    """The text after its last thinking block, without reasoning in tags; None if thinking or reasoning never ends.

    >>> without_thoughts("<reasoning>2 + 2</reasoning>4")
    '4'
    >>> without_thoughts("<think>It is 4") is None
    True
    """
    ends = [match.end() for match in THINKING_ENDS.finditer(text)]
    reply = text[ends[-1] :] if ends else text
    if _THINKING_BEGINS.search(reply):
        return None
    kept, place, inside = [], 0, False
    for tag in _REASONING_TAG.finditer(reply):
        if not inside:
            kept.append(reply[place : tag.start()])
        place, inside = tag.end(), not tag[1]
    return None if inside else "".join([*kept, reply[place:]])
