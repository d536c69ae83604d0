"""Answers that differ most from each other: farthest first (Gonzalez 1985, "Clustering to minimize the maximum
intercluster distance"), as rejection-sampling fine-tuning wants distinct paths (RFT, arXiv 2308.01825).

>>> farthest_first(["2 + 2 = 4, so 4", "2 + 2 = 4, so it is 4", "Count up: 3, 4"], 2)
[0, 2]
"""

from __future__ import annotations

from typing import Sequence

from .words import shingles, similarity


def farthest_first(texts: Sequence[str], count: int) -> list[int]:
    """The indices of up to ``count`` texts: the first, then each time the text whose nearest taken one is farthest.

    The distance is 1 minus the share of runs of three words that two texts have in common (Jaccard). Of texts that are
    equally far, the first is taken.
    """
    sets = [shingles(text) for text in texts]
    nearest = [0.0] * len(texts)  # the similarity of each text to the taken one that it is most similar to
    waiting = list(range(len(texts)))
    taken: list[int] = []
    while waiting and len(taken) < count:
        next_one = min(waiting, key=lambda index: nearest[index])
        waiting.remove(next_one)
        taken.append(next_one)
        for index in waiting:
            nearest[index] = max(nearest[index], similarity(sets[next_one], sets[index]))
    return taken
