"""Which candidates are kept: pure functions over records, no requests, no files.

A candidate can be chosen if it is scored, whole and not empty; answers that differ in space and case alone count once.
What is unclear (a score that is no finite number, lists of differing lengths) is never chosen, and never rejected.

Example: ``for chosen, rejected in choose(record, Selection("dpo", min_margin=2)): ...``
"""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..errors import BadEntry
from ..input.conversations import work_from_record
from ..records import Entry, Record, fingerprint

SELECTS = ("best", "top_k", "threshold", "random", "dpo")
TIE = 1e-9  # scores that differ by no more are equal: 0.3 and 0.1 + 0.2


@dataclass(frozen=True)
class Selection:
    """What to choose from a record, as the flags of the same names say it.

    ``select`` is best (the highest score), top_k, threshold (all that are accepted), random (``top_k`` of the accepted
    ones whatever their scores: the baseline of equal budget) or dpo (pairs). ``accept_score`` is the lowest score that
    is accepted, ``min_margin`` the least difference of a pair's scores, ``reference_score`` the score that the
    reference counts as having where ``reference_as_chosen`` puts it in each pair.
    """

    select: str = "best"
    top_k: int = 1
    accept_score: Optional[float] = None
    min_margin: float = 0.0
    length_match: bool = False
    pairs_per_entry: int = 1
    reference_as_chosen: bool = False
    reference_score: float = 10.0
    seed: int = 0


class Pick(NamedTuple):
    """Indices of answers: the chosen one (None is the reference) and, in a pair, the rejected one."""

    chosen: Optional[int]
    rejected: Optional[int] = None


class _Side(NamedTuple):
    """What may stand on a side of a pair; ``place`` is an answer's index, -1 for the reference."""

    place: int
    text: str
    score: float


def normalised(text: str) -> str:
    """The text by which answers are told apart: caseless (Unicode's canonical caseless match, D145), single spaces."""
    caseless = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", caseless).split())


def selectable(text: str, finish_reason: Optional[str], score: object) -> bool:
    """Whether a candidate may be chosen or rejected: its score is a finite number, it is not cut, it is not empty."""
    return (
        isinstance(score, (int, float))
        and not isinstance(score, bool)
        and abs(score) <= sys.float_info.max
        and finish_reason != "length"
        and bool(text.strip())
    )


def _candidates(record: Record) -> List[_Side]:
    """The selectable candidates of a record, in its order; none where its lists do not fit each other."""
    if not isinstance(record, dict):
        return []
    texts, scores = record.get("generated_answers"), record.get("generated_scores")
    details = record.get("generated_details")
    if not isinstance(texts, list) or not isinstance(scores, list):
        return []
    if details is None or details == []:
        details = [{}] * len(texts)
    if not isinstance(details, list) or not len(texts) == len(scores) == len(details):
        return []
    return [
        _Side(index, text, score)
        for index, (text, score, detail) in enumerate(zip(texts, scores, details))
        if isinstance(text, str) and isinstance(detail, dict) and selectable(text, detail.get("finish_reason"), score)
    ]


def _accepted(record: Record, accept_score: Optional[float]) -> List[_Side]:
    best: Dict[str, _Side] = {}
    for side in _candidates(record):
        text = normalised(side.text)
        if (accept_score is None or side.score >= accept_score) and (text not in best or side.score > best[text].score):
            best[text] = side
    return sorted(best.values(), key=lambda side: side.place)


def accepted(record: Record, accept_score: Optional[float]) -> List[int]:
    """The indices, ascending, of a record's selectable candidates of at least ``accept_score``.

    Of those whose ``normalised`` texts are equal only the one with the highest score, the first of equals.
    """
    return [side.place for side in _accepted(record, accept_score)]


def choose(record: Record, selection: Selection) -> List[Pick]:
    """What a record gives: nothing, one answer, several, or pairs, the best first (threshold: in the record's order).

    Never raises for what the record holds. For ``random`` the answers' order is a hash of seed, entry and text: the
    same in every run, whatever else the file holds.
    """
    if selection.select == "dpo":
        return _pairs(record, selection)
    sides = _accepted(record, selection.accept_score)
    if selection.select == "random":
        whose = _name_of(record) if sides else None
        sides.sort(key=lambda side: fingerprint([selection.seed, whose, normalised(side.text)], 32))
    elif selection.select != "threshold":
        sides.sort(key=lambda side: -side.score)
    most = {"best": 1, "threshold": len(sides)}.get(selection.select, selection.top_k)
    return [Pick(side.place) for side in sides[:most]]


def _name_of(record: Record) -> object:
    """What tells a record from others: its id, or all that makes it where it has none."""
    return record.get("entry_id") or [record.get(key) for key in ("original_question", "original_answers", "images")]


def entry_of(record: Record) -> Entry:
    """The conversation that a record's answers are for; BadEntry if it holds none that can be read."""
    keys = ("original_question", "original_answers", "images", "entry_id")
    return work_from_record({"generated_answers": [], **{key: record[key] for key in keys if key in record}}).entry


def _reference(record: Record) -> str:
    """The record's reference; empty if it has none."""
    try:
        return entry_of(record).reference or ""
    except BadEntry:
        return ""


def _pairs(record: Record, selection: Selection) -> List[Pick]:
    """Up to ``pairs_per_entry`` pairs, each the first in order of those that repeat the fewest answers."""
    rejected = _accepted(record, None)
    if selection.reference_as_chosen:
        reference = _reference(record) if rejected else ""
        chosen = [_Side(-1, reference, selection.reference_score)] if reference.strip() else []
        rejected = [side for side in rejected if normalised(side.text) != normalised(reference)]
    else:
        chosen = rejected
    if selection.accept_score is not None:
        chosen = [side for side in chosen if side.score >= selection.accept_score]
    waiting = [_ranked(good, bad, selection) for good in chosen for bad in rejected if _differ(good, bad, selection)]
    picks: List[Pick] = []
    while waiting and len(picks) < selection.pairs_per_entry:
        used = {index for pick in picks for index in pick}
        first = min(waiting, key=lambda ranked: (sum(place in used for place in ranked[1]), ranked))
        waiting.remove(first)
        chosen_place, rejected_place = first[1]
        picks.append(Pick(None if chosen_place < 0 else chosen_place, rejected_place))
    return picks


def _differ(good: _Side, bad: _Side, selection: Selection) -> bool:
    """Whether one side's score is higher than the other's, by ``min_margin`` at least."""
    margin = good.score - bad.score
    return margin > TIE and margin >= selection.min_margin - TIE


def _ranked(good: _Side, bad: _Side, selection: Selection) -> Tuple[Tuple[float, float], Tuple[int, int]]:
    """A pair after what it is ranked by, the least first: unlikeness of lengths (characters) if asked, margin."""
    lengths = sorted([len(good.text), len(bad.text)])
    unlike = -lengths[0] / lengths[1] if selection.length_match else 0.0
    return (unlike, -round(good.score - bad.score, 9)), (good.place, bad.place)
