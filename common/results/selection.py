"""Which candidates are kept: pure functions over records, which send no requests and open no files.

A candidate can be chosen if it is scored, ended by itself and is not empty. An answer whose thoughts never end is cut.
Answers that differ only in space and case count once. Unclear data (a score that is not a finite number, lists of
different lengths) is never chosen and never rejected.

>>> record = {"generated_answers": ["4", "5", "four"], "generated_scores": [9, 1, 8]}
>>> choose(record, Selection("top_k", top_k=2))
[Pick(chosen=0, rejected=None), Pick(chosen=2, rejected=None)]
>>> choose(record, Selection("dpo", min_margin=2))
[Pick(chosen=0, rejected=1)]
"""

from __future__ import annotations

import math
import sys
import unicodedata
from dataclasses import dataclass
from typing import Any, Callable, Mapping, NamedTuple, Tuple

from ..errors import BadEntry
from ..input.conversations import work_from_record
from ..records import Entry, Record, fingerprint
from ..servers.known_servers import ended_by_itself
from ..thinking import split_thoughts
from .cleaning.distinct import farthest_first
from .pass_rate import answers_wanted, pass_rate_of

SELECTS = ("best", "top_k", "threshold", "random", "dpo")
REJECTED = ("lowest", "random", "mean_minus_2sd")
TIE = 1e-9  # scores that differ by no more are equal: 0.3 and 0.1 + 0.2
KEPT_OUT = "kept out"  # a key of the details of an answer that is not clean: it counts for the pass rate, no more
REFERENCE = -1  # stands for the index of the reference, which is not one of the answers


@dataclass(frozen=True)
class Selection:
    """What to choose from a record; each field is the flag of the same name."""

    select: str = "best"  # best: the highest score. top_k. threshold: all accepted. random: top_k of the accepted. dpo
    top_k: int = 1
    accept_score: float | None = None  # the lowest score that is accepted
    min_margin: float = 0.0  # the least difference of a pair's scores
    length_match: bool = False  # prefer pairs of similar length
    pairs_per_entry: int = 1
    reference_as_chosen: bool = False  # the reference is the chosen answer of each pair
    reference_score: float = 10.0  # the score that the reference counts as having
    seed: int = 0  # of random
    pass_score: float | None = None  # the lowest score that counts for the pass rate, if it is not accept_score
    pass_rate: tuple[float, float] | None = None  # the lowest and the highest of the entries that are chosen
    per_entry: str | None = None  # how many answers of an entry, by its pass rate: see answers_wanted
    rejected: str = "lowest"  # the rejected answer of a pair: one of REJECTED
    distinct: bool = False  # top_k takes the accepted answers that differ most, not the highest scores

    @property
    def passes(self) -> float | None:
        """The lowest score that counts for the pass rate, if one does."""
        return self.accept_score if self.pass_score is None else self.pass_score

    @property
    def makes_pairs(self) -> bool:
        """Whether it chooses pairs of answers."""
        return self.select == "dpo"

    @property
    def rows_per_entry(self) -> int | None:
        """The most rows that it makes of an entry, whatever ``per_entry`` says; None if all accepted answers may be."""
        most = {"best": 1, "top_k": self.top_k, "random": self.top_k, "dpo": self.pairs_per_entry}
        return most.get(self.select)


class Pick(NamedTuple):
    """Indices of answers: the chosen one (None is the reference) and, in a pair, the rejected one."""

    chosen: int | None
    rejected: int | None = None


class _Candidate(NamedTuple):
    """An answer that may be chosen or rejected; ``place`` is its index, REFERENCE for the reference."""

    place: int
    text: str
    score: float
    compared: Mapping[str, Any] | None = None  # its comparisons with the others, if it was compared


def normalised(text: str) -> str:
    """The text by which answers are compared: case folded (Unicode's canonical caseless match, D145), single spaces.

    >>> normalised(" The  ANSWER\\n")
    'the answer'
    """
    caseless = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", caseless).split())


def selectable(text: str, finish_reason: str | None, score: object) -> bool:
    """Whether a candidate may be chosen or rejected: its score is a finite number, it ended by itself, it is not empty.

    An answer whose thoughts never end did not end by itself.

    >>> selectable("4", "stop", 9), selectable("4", "length", 9), selectable("4", "stop", None)
    (True, False, False)
    """
    return (
        isinstance(score, (int, float))
        and not isinstance(score, bool)
        and abs(score) <= sys.float_info.max
        and ended_by_itself(finish_reason)
        and bool((split_thoughts(text).answer or "").strip())
    )


def accepted(record: Record, accept_score: float | None) -> list[int]:
    """The indices, ascending, of a record's selectable candidates of at least ``accept_score`` (None: of any score).

    If the ``normalised`` texts of several are equal, only the one with the highest score, the first of equals.

    >>> accepted({"generated_answers": ["4", " 4 ", "5"], "generated_scores": [8, 9, 1]}, 8)
    [1]
    """
    return [candidate.place for candidate in _accepted(record, accept_score)]


def accepted_count(record: Record, accept_score: float | None) -> int:
    """How many selectable candidates of a record score at least ``accept_score``, equal texts and all.

    >>> accepted_count({"generated_answers": ["4", " 4 ", "5"], "generated_scores": [8, 9, 1]}, 8)
    2
    """
    candidates = _selectable_candidates(record)
    return sum(accept_score is None or candidate.score >= accept_score for candidate in candidates)


def choose(record: Record, selection: Selection) -> list[Pick]:
    """What a record gives: nothing, one answer, several, or pairs, the best first (threshold: in the record's order).

    Never raises for what the record holds. ``random`` takes ``top_k`` accepted answers whatever their scores, the
    baseline of equal budget. It orders them by a hash of seed, entry and text: the same in every run, whatever else the
    file holds.
    """
    if not in_pass_rate(record, selection):
        return []
    if selection.makes_pairs:
        return _pairs(record, selection)
    candidates = _accepted(record, selection.accept_score)
    if selection.select == "random":
        name = _name_of(record) if candidates else None
        candidates.sort(key=lambda candidate: fingerprint([selection.seed, name, normalised(candidate.text)], 32))
    elif selection.select != "threshold":
        candidates.sort(key=lambda candidate: -candidate.score)
    most = _most(record, selection, len(candidates))
    if selection.distinct:
        candidates = [candidates[place] for place in farthest_first([one.text for one in candidates], most)]
    return [Pick(candidate.place) for candidate in candidates[:most]]


def refused(record: Record, selection: Selection) -> list[int]:
    """The indices of selectable candidates that are not accepted, the first to be rejected first.

    There are at most as many as ``choose`` may choose; none without an ``accept_score``. Equal texts count once.
    """
    if selection.accept_score is None or not in_pass_rate(record, selection):
        return []
    every = _accepted(record, None)
    rank = _rejected_rank(record, selection, every)
    bad = sorted((one for one in every if one.score < selection.accept_score), key=rank)
    return [one.place for one in bad[: _most(record, selection, len(bad))]]


def in_pass_rate(record: Record, selection: Selection) -> bool:
    """Whether the entry's pass rate is one that is chosen. An entry without scores has none."""
    if selection.pass_rate is None or selection.passes is None:
        return True
    share = pass_rate_of(record, selection.passes).share if isinstance(record, dict) else None
    low, high = selection.pass_rate
    return share is not None and low - TIE <= share <= high + TIE


def why_nothing(record: Record, selection: Selection) -> str | None:
    """Why ``choose`` takes nothing of an entry, if the selection makes pairs or looks at the pass rate; else None."""
    if not in_pass_rate(record, selection):
        return "their pass rate is not within --pass_rate"
    if not selection.makes_pairs:
        return None
    chosen, rejected = _sides(record, selection)
    scored = _accepted(record, None)
    if not scored:
        return "none of their answers can be selected"
    if selection.reference_as_chosen and not _reference(record).strip():
        return "they have no reference"
    if not chosen:
        return f"none of their answers scores at least {selection.accept_score:g}"
    if len(scored) < 2 and not selection.reference_as_chosen:
        return "they have only one different answer"
    if any(good.score - bad.score > TIE for good in chosen for bad in rejected):
        return f"their scores differ by less than {selection.min_margin:g} (--min_margin)"
    return "no answer scores less than a chosen one"


def _most(record: Record, selection: Selection, there: int) -> int:
    """How many answers of an entry may be chosen, of those that are ``there``."""
    if selection.per_entry is not None and selection.passes is not None and isinstance(record, dict):
        return answers_wanted(selection.per_entry, pass_rate_of(record, selection.passes))
    return {"best": 1, "threshold": there}.get(selection.select, selection.top_k)


def entry_of(record: Record) -> Entry:
    """The conversation that a record's answers are for; BadEntry if the record has no readable one."""
    keys = ("original_question", "original_answers", "images", "entry_id")
    return work_from_record({"generated_answers": [], **{key: record[key] for key in keys if key in record}}).entry


def _selectable_candidates(record: Record) -> list[_Candidate]:
    """The selectable candidates of a record, in its order; none if its lists do not match."""
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
        _Candidate(index, text, score, _compared(detail))
        for index, (text, score, detail) in enumerate(zip(texts, scores, details))
        if isinstance(text, str)
        and isinstance(detail, dict)
        and KEPT_OUT not in detail
        and selectable(text, detail.get("finish_reason"), score)
    ]


def _compared(detail: object) -> Mapping[str, Any] | None:
    """The comparisons in an answer's details, if there are any."""
    compared = detail.get("compared") if isinstance(detail, dict) else None
    return compared if isinstance(compared, dict) else None


def _accepted(record: Record, accept_score: float | None) -> list[_Candidate]:
    """The candidates whose indices are ``accepted``."""
    best: dict[str, _Candidate] = {}
    for candidate in _selectable_candidates(record):
        if accept_score is not None and candidate.score < accept_score:
            continue
        text = normalised(candidate.text)
        if text not in best or candidate.score > best[text].score:
            best[text] = candidate
    return sorted(best.values(), key=lambda candidate: candidate.place)


def _name_of(record: Record) -> object:
    """What tells a record from others: its id, or its conversation if it has none."""
    return record.get("entry_id") or [record.get(key) for key in ("original_question", "original_answers", "images")]


def _reference(record: Record) -> str:
    """The record's reference; empty if it has none."""
    try:
        return entry_of(record).reference or ""
    except BadEntry:
        return ""


def _pairs(record: Record, selection: Selection) -> list[Pick]:
    """Up to ``pairs_per_entry`` pairs: each time the first in rank of those that repeat the fewest answers."""
    chosen, rejected = _sides(record, selection)
    rank = _rejected_rank(record, selection, rejected)
    waiting = [
        _ranked(good, bad, selection, rank) for good in chosen for bad in rejected if _differ(good, bad, selection)
    ]
    picks: list[Pick] = []
    used: set[int] = set()
    while waiting and len(picks) < selection.pairs_per_entry:
        first = min(waiting, key=lambda ranked: (sum(index in used for index in ranked[1]), ranked))
        waiting.remove(first)
        chosen_index, rejected_index = first[1]
        used.update(first[1])
        picks.append(Pick(None if chosen_index == REFERENCE else chosen_index, rejected_index))
    return picks


def _sides(record: Record, selection: Selection) -> tuple[list[_Candidate], list[_Candidate]]:
    """The candidates that may be chosen, and those that may be rejected."""
    candidates = chosen = _accepted(record, None)
    if selection.reference_as_chosen:
        reference = _reference(record) if candidates else ""
        chosen = [_Candidate(REFERENCE, reference, selection.reference_score)] if reference.strip() else []
        candidates = [one for one in candidates if normalised(one.text) != normalised(reference)]
    if selection.accept_score is not None:
        chosen = [one for one in chosen if one.score >= selection.accept_score]
    return chosen, candidates


def _differ(good: _Candidate, bad: _Candidate, selection: Selection) -> bool:
    """Whether the first one's score is higher than the other's, by ``min_margin`` at least.

    If the answers were compared with each other, it must also have won in both orders.
    """
    margin = good.score - bad.score
    return margin > TIE and margin >= selection.min_margin - TIE and _held(good, bad)


def _held(good: _Candidate, bad: _Candidate) -> bool:
    """Whether the pair's comparison, if the answers were compared, had the same winner in both orders."""
    if good.place == REFERENCE or (good.compared is None and bad.compared is None):
        return True
    beat = good.compared.get("beat") if good.compared else None
    loser = bad.compared.get("as") if bad.compared else None
    return isinstance(beat, list) and isinstance(loser, str) and any(loser in str(one).split() for one in beat)


_Rank = Callable[[_Candidate], Tuple[float, str]]


def _rejected_rank(record: Record, selection: Selection, candidates: list[_Candidate]) -> _Rank:
    """What sorts candidates by how gladly they are rejected.

    With many answers the lowest is the worst choice: one near the mean minus two standard deviations of the entry's
    scores trains better (arXiv 2502.16825).
    """
    if selection.rejected == "random" or selection.select == "random":
        name = _name_of(record) if candidates else None
        return lambda one: (0.0, fingerprint([selection.seed, name, normalised(one.text)], 32))
    if selection.rejected == "lowest" or not candidates:
        return lambda one: (round(one.score, 9), "")
    scores = [float(one.score) for one in _selectable_candidates(record)]
    mean = sum(scores) / len(scores)
    spread = math.sqrt(sum((score - mean) * (score - mean) for score in scores) / len(scores))
    return lambda one: (round(abs(one.score - (mean - 2 * spread)), 9), "")


def _ranked(
    good: _Candidate, bad: _Candidate, selection: Selection, rank: _Rank
) -> tuple[tuple[float, float, tuple[float, str]], tuple[int, int]]:
    """The rank of a pair, which sorts ascending, and its indices.

    With ``length_match`` pairs of similar length (in characters) come first. Then come those with the widest margin:
    the highest score against the one that is to be rejected first.
    """
    shorter, longer = sorted([len(good.text), len(bad.text)])
    similarity = shorter / longer if selection.length_match else 0.0
    if selection.rejected == "lowest":
        return (-similarity, -round(good.score - bad.score, 9), (0.0, "")), (good.place, bad.place)
    return (-similarity, -round(good.score, 9), rank(bad)), (good.place, bad.place)
