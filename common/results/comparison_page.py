"""The page that compares two outputs: two judges of the same answers, or two models on the same questions.

Example: ``write_comparison("page.html", ("a.jsonl", "b.jsonl"), [(0, 10), (0, 10)], [8, 8], script="report")``
"""

from __future__ import annotations

import math
import os
from typing import Any, Iterator, NamedTuple, Sequence

from ..errors import UsageError, plural
from ..records import ROLES, number_text
from ..storage.run_files import settings_of
from .comparison import (
    BINS,
    MOST_EXACT,
    MOST_SHOWN,
    Agreement,
    Comparison,
    Disagreement,
    Rated,
    Scale,
    compare,
    key_of,
    question_of,
)
from .how_made import how_made
from .markup import Markup
from .page import Data, write_page
from .quantiles import sample_of
from .record_view import OutputReader, RecordView, turns_of
from .report_rows import clipped, html_of, short_id, shown_answer, shown_turn
from .report_text import DASH, RHO, Card, percent
from .selection import Selection
from .tally import Totals, count

NAMES = ("A", "B")


class Side(NamedTuple):
    """One of the two outputs."""

    name: str  # A or B
    path: str
    scale: Scale
    totals: Totals
    reader: OutputReader

    def views(self, counts: bool = False) -> Iterator[RecordView]:
        """Its records; ``counts`` adds them to its totals."""
        for view in self.reader.views(Selection(accept_score=self.scale.threshold)):
            if counts:
                count(self.totals, view)
            yield view


class Fact(NamedTuple):
    """One thing that is known of the making of both outputs."""

    name: str
    first: str
    second: str

    @property
    def differs(self) -> bool:
        """Whether it is not the same in both."""
        return self.first != self.second


def write_comparison(
    path: str,
    outputs: Sequence[str],
    score_ranges: Sequence[tuple[float, float] | None],
    accept_scores: Sequence[float | None],
    script: str,
) -> None:
    """Writes the page that compares two outputs to ``path``, whole or not at all.

    ``score_ranges`` and ``accept_scores`` are those of the two outputs (None: scores without a range). Without an
    accepted score, the top of the range is accepted. Raises UsageError without an output, RunStopped for a damaged line
    or a page that cannot be written.
    """
    sides = [_side(*one) for one in zip(NAMES, outputs, score_ranges, accept_scores)]
    first, second = sides
    comparison = compare(first.views(counts=True), second.views(counts=True), (first.scale, second.scale))
    values = {
        "script": script,
        "sides": sides,
        "notes": list(_notes(comparison, sides)),
        "cards": [_agreement_card(comparison), _scores_card(comparison), *_rate_cards(comparison)],
        "tables": list(_tables(comparison)),
        "facts": _facts(sides),
        "most": MOST_SHOWN,
        "comparison": comparison,
    }
    write_page(path, "comparison", values, _data(comparison, sides))


def _side(name: str, path: str, score_range: tuple[float, float] | None, accept_score: float | None) -> Side:
    if not os.path.isfile(path):
        raise UsageError(f"there is no output {path}")
    reader = OutputReader(path)
    low, high = sample_of(reader.scores()).ends if score_range is None else score_range
    threshold = high if accept_score is None else accept_score
    totals = Totals(low, high, Selection(accept_score=threshold))
    return Side(name, path, Scale(low, high, threshold), totals, reader)


# The words


def _notes(comparison: Comparison, sides: Sequence[Side]) -> Iterator[str]:
    """What a reader must know before the figures."""
    for side in sides:
        if side.reader.torn:
            yield f"The last line of {side.name} is still being written, or was torn by a crash: it is left out here."
    if not comparison.both:
        yield "The two outputs have no question in common: they are joined by entry_id."
    elif not comparison.by_answer.total:
        yield "The two outputs have no scored answer in common, so only their questions are compared."


def _agreement_card(comparison: Comparison) -> Card:
    agreement, unit = comparison.by_answer, "answer"
    if not agreement.total:
        agreement, unit = comparison.by_question, "question"
    question = "Do they agree?"
    if not agreement.total:
        return Card(question, DASH, "nothing to compare", "They are joined by entry_id and text.")
    verdict = "accepted or not" if unit == "answer" else "with an accepted answer, or without"
    figure = percent(agreement.rate, 1)
    words = f"Cohen's kappa, which takes the agreement by chance away, is {figure_text(agreement.kappa)}."
    return Card(question, figure, f"of {plural(agreement.total, unit)}: the same verdict, {verdict}", words)


def _scores_card(comparison: Comparison) -> Card:
    question = "Do they rank answers alike?"
    rho, joined = comparison.correlation, comparison.by_answer.total
    if math.isnan(rho):
        why = "No answer is scored in both." if not joined else "One of them gave the same score to all answers."
        return Card(question, DASH, "no correlation", why)
    return Card(question, f"{rho:.2f}", f"rank correlation ({RHO}) of the scores", f"Over {plural(joined, 'answer')}.")


def _rate_cards(comparison: Comparison) -> Iterator[Card]:
    """How many answers each accepts, and whose questions go better."""
    both, better = comparison.both, comparison.better
    if not both:
        return
    rates = [percent(rate, both) for rate in comparison.pass_rates]
    words = "The mean over the questions that both have of the share of accepted answers."
    yield Card("Which accepts more?", f"{rates[0]} / {rates[1]}", "of the answers of A / of B are accepted", words)
    wins, unit = f"{better['first']:,} / {better['second']:,}", "questions go better in A / in B"
    yield Card("Question by question?", wins, unit, f"In {better['same']:,} both have the same share.")


def figure_text(value: float) -> str:
    """A figure between -1 and 1.

    >>> figure_text(0.5), figure_text(math.nan)
    ('0.50', 'not defined')
    """
    return "not defined" if math.isnan(value) else f"{value:.2f}"


def _tables(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """The verdicts of both, as tables of two rows and two columns."""
    for title, yes, no, agreement in (
        ("Answers that both scored", "accepted", "not accepted", comparison.by_answer),
        ("Questions", "with an accepted answer", "without", comparison.by_question),
    ):
        if agreement.total:
            yield {"title": title, "yes": yes, "no": no, "cells": _cells(agreement), "total": agreement.total}


def _cells(agreement: Agreement) -> list[list[tuple[str, str]]]:
    """Rows (A: yes, no) of columns (B: yes, no): a count and its share."""
    counts = [[agreement.counts[first, second] for second in (True, False)] for first in (True, False)]
    return [[(f"{number:,}", percent(number, agreement.total)) for number in row] for row in counts]


def _facts(sides: Sequence[Side]) -> list[Fact]:
    """How both were made, side by side."""
    known = []
    for side in sides:
        made = how_made(settings_of(side.path), side.path, side.totals)
        values = {f"{facts.title.lower()}: {name}": value for facts in made for name, value in facts.rows}
        known.append({**values, "accepted": f"a score of at least {number_text(side.scale.threshold)}"})
    names = list(dict.fromkeys([*known[0], *known[1]]))
    return [Fact(name, *(values.get(name, DASH) for values in known)) for name in names]


# The data


def _data(comparison: Comparison, sides: Sequence[Side]) -> Iterator[Data]:
    """What comparison.js unpacks, by name."""
    yield "charts", {"grid": _grid(comparison), "accept": [side.scale.threshold for side in sides]}
    answers, questions = comparison.largest_answers, comparison.largest_questions
    wanted = {one.key for one in (*answers, *questions)}
    found = [{key_of(view): view for view in side.views() if key_of(view) in wanted} for side in sides]
    markup = Markup()
    for name, disagreements in (("answers", answers), ("questions", questions)):
        yield name, [item for one in disagreements for item in _item(one, found, comparison.scales, markup)]


def _item(
    one: Disagreement, found: Sequence[dict[int, RecordView]], scales: Sequence[Scale], markup: Markup
) -> Iterator[dict[str, Any]]:
    """What the page shows of a disagreement; nothing if one of the outputs has lost its entry since."""
    views = [views.get(one.key) for views in found]
    view = views[0]
    if view is None or views[1] is None:
        return
    turns = turns_of(view.record)
    has_reference = ROLES.get(turns[-1]["from"]) == "assistant"
    asked = turns[:-1] if has_reference else turns
    reference = clipped(turns[-1]["value"]) if has_reference else None
    yield {
        "id": short_id(view.record.get("entry_id")),
        "size": round(one.size, 4),
        "turns": [shown_turn(turn, markup) for turn in asked],
        "reference": reference,
        **html_of({"reference": reference}, markup),
        "rates": [[one.passed, one.judged] for one in map(question_of, (view, views[1]), scales)],
        "sides": [_shown(rated, view, markup) for rated, view in zip((one.first, one.second), views)],
    }


def _shown(rated: Rated | None, view: RecordView | None, markup: Markup) -> dict[str, Any] | None:
    """An answer of one side; None if it has none, or it is not as it was."""
    if rated is None or view is None or rated.place >= len(view.candidates):
        return None
    shown = shown_answer(view.candidates[rated.place], markup)
    return {**shown, "index": rated.place, "score": rated.score, "accepted": rated.accepted}


def _grid(comparison: Comparison) -> dict[str, Any]:
    """How many joined answers have each pair of scores; of many different scores, each pair of bins."""
    scores = [sorted({pair[side] for pair in comparison.exact}) for side in (0, 1)]
    if max(map(len, scores)) <= MOST_EXACT and len(comparison.exact) <= MOST_EXACT**2:
        labels = [[number_text(score) for score in side] for side in scores]
        counts = [[comparison.exact[first, second] for first in scores[0]] for second in scores[1]]
        return {"labels": labels, "counts": counts}
    labels = [[_bin_label(scale, place) for place in range(BINS)] for scale in comparison.scales]
    counts = [[comparison.binned[first, second] for first in range(BINS)] for second in range(BINS)]
    return {"labels": labels, "counts": counts}


def _bin_label(scale: Scale, place: int) -> str:
    width = (scale.high - scale.low) / BINS
    return " to ".join(number_text(round(scale.low + edge * width, 6)) for edge in (place, place + 1))
