"""What each of several generators brought: answers, acceptance, and the tokens that an accepted answer took.

Example: ``table = ByGenerator("a-model", 8); table.add(view); panels = table.panels()``
"""

from __future__ import annotations

from collections import Counter
from typing import Sequence

from ..records import number_text
from .agreement import Panel
from .record_view import Candidate, RecordView, tokens_in
from .selection import selectable
from .tally import requests_of

MOST = 20  # generators that get a row each
UNKNOWN = "(not named)"
HEAD = ("generator", "answers", "cut", "unscored", "accepted", "of answers", "tokens", "per accepted answer")


class ByGenerator:
    """Counts the answers of an output by who made them. ``usual`` made those whose details name nobody.

    Accepted are the selectable answers that score at least ``lowest``, also those that repeat another.
    """

    def __init__(self, usual: str | None, lowest: float) -> None:
        self._usual = usual or UNKNOWN
        self._lowest = lowest
        self._counts: dict[str, Counter[str]] = {}

    def add(self, view: RecordView) -> None:
        """Counts the answers of a record."""
        for candidate in view.candidates:
            self._of(candidate).update(
                answers=1,
                cut=int(candidate.is_cut),
                unscored=int(candidate.score is None and not candidate.is_cut and not candidate.is_not_needed),
                accepted=int(self._accepts(candidate)),
            )
        for places in requests_of(view.candidates):
            first = view.candidates[places[0]]
            self._of(first)["tokens"] += tokens_in(first.detail.get("usage"), "completion_tokens")

    def _accepts(self, candidate: Candidate) -> bool:
        is_high = candidate.score is not None and candidate.score >= self._lowest
        return is_high and selectable(candidate.text, candidate.detail.get("finish_reason"), candidate.score)

    def _of(self, candidate: Candidate) -> Counter[str]:
        name = name_of(candidate, self._usual)
        if name not in self._counts and len(self._counts) >= MOST:
            name = "(others)"
        return self._counts.setdefault(name, Counter())

    def panels(self) -> list[Panel]:
        """The table, if there are several generators."""
        if len(self._counts) < 2:
            return []
        rows: list[Sequence[str]] = [row_of(name, counts) for name, counts in sorted(self._counts.items())]
        words = (
            f"Accepted here: a score of at least {number_text(self._lowest)}, and not cut; answers that repeat another "
            "count. The tokens are those of the answers, as the servers counted them."
        )
        return [Panel("Generators", words, [HEAD, *rows])]


def name_of(candidate: Candidate, usual: str) -> str:
    """The name of the generator of an answer, else its model."""
    for key in ("generator", "model"):
        name = candidate.detail.get(key)
        if isinstance(name, str):
            return name[:200]
    return usual


def row_of(name: str, counts: Counter[str]) -> list[str]:
    """The texts of a generator's row.

    >>> row_of("a", Counter(answers=8, accepted=2, tokens=900))
    ['a', '8', '0', '0', '2', '25 %', '900', '450']
    """
    answers, accepted, tokens = counts["answers"], counts["accepted"], counts["tokens"]
    numbers = (f"{counts[kind]:,}" for kind in HEAD[1:5])
    each = f"{tokens / accepted:,.0f}" if accepted and tokens else "\u2013"
    return [name, *numbers, f"{100 * accepted / max(1, answers):.0f} %", f"{tokens:,}", each]
