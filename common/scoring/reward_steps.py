"""The steps of an answer, as a process reward model reads them, and one score of all of them.

>>> tagged("2+2 means adding.\\n\\nSo it is 4.", "<extra_0>")
'2+2 means adding.<extra_0>So it is 4.<extra_0>'
>>> AGGREGATES["product"]([0.5, 0.5])
0.25
"""

from __future__ import annotations

import math
import re
import statistics
from typing import Callable, Sequence

# Lightman et al. (arXiv 2305.20050) compare the product and the minimum.
AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "product": math.prod,
    "min": min,
    "mean": statistics.fmean,
    "last": lambda steps: steps[-1],
}


def steps_of(answer: str, tag: str) -> list[str]:
    """The steps of an answer: its paragraphs; its lines if it has one paragraph. A tag in the answer ends a step too.

    >>> steps_of("one\\ntwo", "<extra_0>"), steps_of("one\\n1\\n\\ntwo", "<extra_0>")
    (['one', 'two'], ['one\\n1', 'two'])
    """
    text = answer.replace(tag, "\n\n").strip()
    parts = re.split(r"\n\s*\n", text)
    if len(parts) == 1:
        parts = text.splitlines()
    return [part.strip() for part in parts if part.strip()]


def tagged(answer: str, tag: str) -> str:
    """The answer with the tag after each of its steps."""
    return "".join(step + tag for step in steps_of(answer, tag))
