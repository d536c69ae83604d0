"""The distribution of scores that have no range, such as a reward model's: a few quantiles of a sample of them.

>>> scores = ScoreSample()
>>> for score in [3.0, -1.0, 1.0]: scores.add(score)
>>> scores.quantile(0.5), scores.low, scores.high
(1.0, -1.0, 3.0)
>>> print(scores.text())
5 / 25 / 50 / 75 / 95 % of the scores are below -0.8 / 0 / 1 / 2 / 2.8
"""

from __future__ import annotations

import math
from typing import Iterable

from .estimators import Reservoir

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
SAMPLE = 20_000  # scores


class ScoreSample:
    """A sample of scores, and the lowest and the highest of all."""

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf
        self._sample: Reservoir[float] = Reservoir(SAMPLE)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest score; 0 and 1 if there is none."""
        return (0.0, 1.0) if self.is_empty else (self.low, self.high)

    def add(self, score: float) -> None:
        """Counts a score."""
        self.low, self.high = min(self.low, score), max(self.high, score)
        self._sample.add(score)

    @property
    def is_empty(self) -> bool:
        """Whether there is no score."""
        return not self._sample.items

    def quantile(self, share: float) -> float:
        """The score below which a share of the scores lies, or a point between two of them. There must be a score."""
        ordered = sorted(self._sample.items)
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])

    def text(self) -> str:
        """The quantiles as a person reads them; there must be a score."""
        shares = " / ".join(f"{100 * share:.0f}" for share in SHARES)
        values = " / ".join(f"{round(self.quantile(share), 9):.4g}" for share in SHARES)
        return f"{shares} % of the scores are below {values}"


def sample_of(scores: Iterable[float | None]) -> ScoreSample:
    """A sample of those of the scores that are not None.

    >>> sample_of([1.0, None, 3.0]).ends
    (1.0, 3.0)
    """
    sample = ScoreSample()
    for score in scores:
        if score is not None:
            sample.add(score)
    return sample
