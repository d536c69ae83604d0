"""The steps of an answer, as a process reward model reads them, and one score of all of them.

>>> tagged("2+2 means adding.\\n\\nSo it is 4.", "<extra_0>")
'2+2 means adding.<extra_0>So it is 4.<extra_0>'
>>> AGGREGATES["product"]([0.5, 0.5])
0.25
"""

from __future__ import annotations

import math
import statistics
from typing import Callable, Sequence

from .. import steps

# Lightman et al. (arXiv 2305.20050) compare the product and the minimum.
AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "product": math.prod,
    "min": min,
    "mean": statistics.fmean,
    "last": lambda steps: steps[-1],
}


def steps_of(answer: str, tag: str) -> list[str]:
    """The steps of an answer: its paragraphs; its lines if it has one paragraph. A tag in the answer ends a step too.

    >>> steps_of("one<extra_0>two", "<extra_0>")
    ['one', 'two']
    """
    return steps.steps_of(answer.replace(tag, "\n\n"))


def tagged(answer: str, tag: str) -> str:
    """The answer with the tag after each of its steps."""
    return "".join(step + tag for step in steps_of(answer, tag))
