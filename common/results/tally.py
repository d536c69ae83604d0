"""What a report counts of an output, in memory that does not grow with it: counters, and samples with a fixed seed.

Example: ``totals = Totals(0, 10, Selection()); count(totals, view); totals.entries["accepted"]``
"""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import Iterator, NamedTuple

from .curves import SampleHistory, history_of
from .estimators import Reservoir, RunningMean, spearman
from .quantiles import ScoreSample
from .reasons import ReasonCounts
from .record_view import Candidate, RecordView, finite_or_none, object_on, tokens_in, turns_of
from .selection import Selection

CURVE_ENTRIES = 10_000  # sampled for the best-of-k curves
LENGTH_SAMPLES = 20_000  # answers sampled for the rank correlation of score and length
MOST_EXACT = 40  # different scores that get a bar each
BINS = 20
OCTAVE = 4  # bins of length for each doubling
STATUSES = 3  # selected, accepted but not selected, not accepted


class LengthSample(NamedTuple):
    """A scored answer: its characters, its score, its status (0 to STATUSES - 1)."""

    length: int
    score: float
    status: int


class Totals:
    """The counts of an output whose scores range from ``low`` to ``high``: those of the ``sample`` if they have no
    range of their own. Then the best quarter of the answers is accepted, where no flag says which."""

    def __init__(self, low: float, high: float, selection: Selection, sample: ScoreSample | None = None) -> None:
        self.low = float(low)
        self.high = float(high)
        self.sample = sample if sample is not None and not sample.is_empty else None
        top = self.sample.quantile(0.75) if self.sample is not None else self.high
        self.threshold = top if selection.accept_score is None else selection.accept_score  # of the curves
        self.entries: Counter[str] = Counter()  # by the steps that they reach
        self.answers: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.models: Counter[str] = Counter()  # of the answers that another model made than the settings say
        self.rows = 0
        self.exact: Counter[tuple[float, int]] = Counter()  # (score, status); incomplete once there are too many
        self.binned: Counter[tuple[int, int]] = Counter()  # (bin, status)
        self.unscored = ReasonCounts(tails=1)
        self.cut = ReasonCounts()  # by the finish reasons of the cut answers
        self.stopped = ReasonCounts()
        self.self_disagreement = RunningMean()  # the judge's spread over its own samples
        self.score_at_length: dict[int, RunningMean] = {}  # by bin of length
        self.length_correlation = RunningMean()  # of score and length, within each entry
        self.length_ratios: Counter[int] = Counter()  # of a chosen answer to the other, in parts of an octave
        self.compared_lengths: Counter[str] = Counter()
        self.length_samples: Reservoir[LengthSample] = Reservoir(LENGTH_SAMPLES)
        self.histories: Reservoir[SampleHistory] = Reservoir(CURVE_ENTRIES)


def count(totals: Totals, view: RecordView) -> SampleHistory:
    """Adds a record to the totals; returns its answers in the order sampled."""
    _count_steps(totals, view)
    _count_tokens(totals, view)
    _count_scores(totals, view)
    _count_reasons(totals, view)
    _count_lengths(totals, view)
    _compare_lengths(totals, view)
    history = history_of(view, totals.threshold, totals.low)
    totals.histories.add(history)
    return history


def count_failures(errors_file: str | None) -> ReasonCounts:
    """The failed entries of an errors file (None or missing: none), by stage, status and kind of message."""
    failures = ReasonCounts()
    if errors_file is None or not os.path.exists(errors_file):
        return failures
    with open(errors_file, "rb") as file:
        for line in file:
            failure = object_on(line)
            if failure is not None:
                tags = (str(failure[key])[:20] for key in ("stage", "status") if failure.get(key) is not None)
                failures.add(" ".join(tags), str(failure.get("error") or ""))
    return failures


# Steps and tokens


def _count_steps(totals: Totals, view: RecordView) -> None:
    """How far the entry and its answers came: answered, scored, accepted, selected."""
    reached = {
        "answered": len(view.candidates),
        "scored": sum(candidate.score is not None for candidate in view.candidates),
        "accepted": len(view.accepted),
        "selected": len(view.selected),
    }
    totals.entries["output"] += 1
    for step, answers in reached.items():
        totals.answers[step] += answers
        totals.entries[step] += bool(view.picks) if step == "selected" else bool(answers)
    totals.rows += len(view.picks)
    for candidate in view.candidates:
        model = candidate.detail.get("model")
        if isinstance(model, str):
            totals.models[model] += 1
        if candidate.is_cut:
            totals.cut.add("", str(candidate.detail.get("finish_reason")))


def _count_tokens(totals: Totals, view: RecordView) -> None:
    """Tokens spent on judging and on answers; those of a request are split over its answers by their lengths."""
    judged_texts: set[str] = set()
    for candidate in view.candidates:
        if candidate.text not in judged_texts:  # equal answers share one score, and its cost
            judged_texts.add(candidate.text)
            usage = candidate.detail.get("judge_usage")
            for name in ("prompt_tokens", "completion_tokens"):
                totals.tokens[f"judge {name}"] += tokens_in(usage, name)
    for indices in requests_of(view.candidates):
        spent = tokens_in(view.candidates[indices[0]].detail.get("usage"), "completion_tokens")
        totals.tokens["answered"] += spent
        totals.tokens["prompts"] += tokens_in(view.candidates[indices[0]].detail.get("usage"), "prompt_tokens")
        totals.tokens["shared"] += len(indices) > 1 and spent > 0
        characters = sum(len(view.candidates[index].text) for index in indices)
        for index in indices:
            length = len(view.candidates[index].text)
            share = spent * length // characters if characters else spent // len(indices)
            totals.tokens["accepted"] += share if index in view.accepted else 0
            totals.tokens["selected"] += share if index in view.selected else 0


def requests_of(candidates: list[Candidate]) -> list[list[int]]:
    """The indices of the answers of each request, which has one maker; only its first answer has its usage."""
    requests: list[list[int]] = []
    latest: dict[object, list[int]] = {}
    for index, candidate in enumerate(candidates):
        maker = candidate.detail.get("made_by")
        key = maker if isinstance(maker, str) else None
        if "usage" in candidate.detail or key not in latest:
            latest[key] = []
            requests.append(latest[key])
        latest[key].append(index)
    return requests


# Scores


def _count_scores(totals: Totals, view: RecordView) -> None:
    """The histogram, ties within the entry, and the judge's spread over its own samples."""
    scores: list[float] = []
    for index, candidate in enumerate(view.candidates):
        if candidate.score is None:
            continue
        scores.append(candidate.score)
        status = _status(view, index)
        totals.binned[_bin(totals, candidate.score), status] += 1
        if len(totals.exact) <= MOST_EXACT * STATUSES:
            totals.exact[candidate.score, status] += 1
        totals.answers["outside"] += not totals.low <= candidate.score <= totals.high
        spread = finite_or_none(candidate.detail.get("spread"))
        if spread is not None:
            totals.self_disagreement.add(spread)
    totals.entries["comparable"] += len(scores) > 1
    totals.entries["tied"] += len(scores) > 1 and len(set(scores)) == 1


def _count_reasons(totals: Totals, view: RecordView) -> None:
    """Why answers have no score, and which flag stopped the entry early."""
    if isinstance(view.record.get("generated_scores"), list):
        for candidate in view.candidates:
            if candidate.score is None and not candidate.is_not_needed:
                totals.unscored.add("", str(candidate.detail.get("unscored") or ""))
    stopped_by = view.record.get("stopped_by")
    if isinstance(stopped_by, str):
        totals.stopped.add("", stopped_by)


def _status(view: RecordView, index: int) -> int:
    """0 for a selected answer, 1 for another accepted one, 2 for all others."""
    return 0 if index in view.selected else 1 if index in view.accepted else 2


def _bin(totals: Totals, score: float) -> int:
    """The bin of a score, 0 to BINS - 1; scores outside the range fall in the outermost bins."""
    width = (totals.high - totals.low) / BINS or 1.0
    return int(min(max((score - totals.low) / width, 0), BINS - 1))


# Lengths


def _count_lengths(totals: Totals, view: RecordView) -> None:
    """Score against length, over all answers and within the entry."""
    scores: list[float] = []
    lengths: list[int] = []
    for index, candidate in enumerate(view.candidates):
        if candidate.score is None:
            continue
        length = len(candidate.text)
        scores.append(candidate.score)
        lengths.append(length)
        if length:
            totals.length_samples.add(LengthSample(length, candidate.score, _status(view, index)))
            totals.score_at_length.setdefault(int(math.log2(length) * OCTAVE), RunningMean()).add(candidate.score)
    if len(scores) > 2:
        rho = spearman(scores, lengths)
        if not math.isnan(rho):
            totals.length_correlation.add(rho)


def _compare_lengths(totals: Totals, view: RecordView) -> None:
    """The lengths of the chosen answers against those of the others."""
    for chosen, other in _length_pairs(view):
        if chosen and other:
            octaves = round(math.log2(chosen / other) * OCTAVE)
            totals.length_ratios[min(max(octaves, -3 * OCTAVE), 3 * OCTAVE)] += 1
            totals.compared_lengths["pairs"] += 1
            totals.compared_lengths["longer"] += chosen > other
            totals.compared_lengths["shorter"] += chosen < other


def _length_pairs(view: RecordView) -> Iterator[tuple[int, float]]:
    """The characters of the two answers of each pair; without pairs, of each selected answer and the others' median."""
    lengths = [len(candidate.text) for candidate in view.candidates]
    others = sorted(length for index, length in enumerate(lengths) if index not in view.selected)
    for pick in view.picks:
        if pick.rejected is not None:
            reference = turns_of(view.record)[-1]["value"]
            yield len(reference) if pick.chosen is None else lengths[pick.chosen], lengths[pick.rejected]
        elif pick.chosen is not None and others:
            yield lengths[pick.chosen], (others[(len(others) - 1) // 2] + others[len(others) // 2]) / 2
