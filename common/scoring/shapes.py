from __future__ import annotations

from typing import Sequence

from ..records import Entry, Score
from .scorers import Scorer

AnswerScorer = Scorer


class EntryScorer(Scorer):
    async def score_together(self, entry: Entry, images: Sequence[str], texts: Sequence[str]) -> list[Score]: ...
