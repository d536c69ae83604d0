"""The words and figures of the report: each method of ReportText is one place of report.html.

Example: ``ReportText(totals, table, curves, selection, failures, torn=False).funnel_note()``
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, NamedTuple

from ..errors import plural
from ..records import number_text
from .curves import Curves
from .estimators import spearman
from .reasons import ReasonCounts
from .report_rows import MOST_CANDIDATES, MOST_IMAGES, MOST_TEXT, CandidateTable
from .selection import Selection
from .tally import CURVE_ENTRIES, Totals

DOTS = 2_000  # answers in the chart of scores against lengths
REWARDS_LENGTH = 0.2  # rank correlation of score and length within a question from which the page warns
MANY = 0.05  # share of failed questions or unscored answers from which the page warns
DASH = "\u2013"
RHO = "\u03c1"
ABOUT = "\u2248"


class Card(NamedTuple):
    """A question of the reader with its answer: a figure, its unit, and a sentence or two."""

    question: str
    figure: str
    unit: str
    words: str
    warns: bool = False


class Step(NamedTuple):
    """A row of the funnel. ``share`` is of all questions (0 to 100); ``tokens`` is empty without any."""

    name: str
    questions: int
    share: float
    percent: str
    answers: str = ""
    tokens: str = ""
    tokens_for: str = ""


@dataclass(frozen=True)
class ReportText:
    """All that the page says in words; ``torn`` says that the output's last line is still being written."""

    totals: Totals
    table: CandidateTable
    curves: Curves | None
    selection: Selection
    failures: ReasonCounts
    torn: bool

    @property
    def asked(self) -> int:
        """How many questions were asked: those in the output and those that failed."""
        return self.totals.entries["output"] + self.failures.total()

    # The head

    def about(self, script: str) -> str:
        selected = {
            "best": "each question's best answer",
            "top_k": f"each question's best {self.selection.top_k} answers",
            "threshold": "every accepted answer",
            "random": f"{self.selection.top_k} accepted answers per question, at random",
            "dpo": "preference pairs",
        }[self.selection.select]
        scale = f"scores from {number_text(self.totals.low)} to {number_text(self.totals.high)}"
        if self.totals.sample is not None:
            scale = f"scores in the model's own units: {self.totals.sample.text()}"
        return f"{script} \u00b7 {scale} \u00b7 selected: {selected} \u00b7 accepted: {self._accepted_means()}"

    def notes(self) -> Iterator[str]:
        """What a reader must know before the figures."""
        totals = self.totals
        if self.torn:
            yield "The last line of the output is still being written, or was torn by a crash: it is left out here."
        if not totals.entries["output"]:
            yield "The output holds no record yet."
        elif not totals.answers["scored"] and not totals.unscored.total():
            yield "Nothing is scored yet: run score.py on this output for everything that needs scores."
        if totals.stopped.total():
            flags = ", ".join(f"{reason.messages:,} by {reason.example}" for reason in totals.stopped.top())
            yield f"Sampling stopped early for some questions ({flags}); they have fewer answers than requested."

    def _accepted_means(self) -> str:
        lowest = self.selection.accept_score
        score = "scored" if lowest is None else f"scored at least {number_text(lowest)}"
        return f"{score}, not cut, not empty, each wording once"

    # The cards

    def cards(self) -> list[Card]:
        """The four questions that a reader comes with."""
        return [self._success_card(), self._scores_card(), self._more_samples_card(), self._selected_card()]

    def _success_card(self) -> Card:
        entries, failed = self.totals.entries, self.failures.total()
        words = f"{entries['accepted']:,} of {self.asked:,} questions. {failed:,} failed"
        unscored = entries["output"] - entries["scored"]
        words += f", {unscored:,} have no scored answer." if unscored else "."
        share = percent(entries["accepted"], self.asked)
        return Card("Did it work?", share, "have an accepted answer", words, failed > self.asked * MANY)

    def _scores_card(self) -> Card:
        totals = self.totals
        comparable, tied = totals.entries["comparable"], totals.entries["tied"]
        answers, unscored = totals.answers["answered"], totals.unscored.total()
        question = "Are the scores sane?"
        if not totals.answers["scored"]:
            why = "No answer got a score: the reasons are below." if unscored else "Score the output first."
            return Card(question, DASH, "no scores", why, unscored > 0)
        words = [f"{percent(unscored, answers)} of the answers are unscored."]
        if totals.length_correlation.count:
            verdict = (
                "the scorer seems to reward length"
                if self._rewards_length()
                else "no sign that the scorer rewards length"
            )
            rho = signed(totals.length_correlation.mean)
            words.append(f"Score and length within a question: {RHO} = {rho}, {verdict}.")
        if totals.self_disagreement.count:
            words.append(f"The judge disagrees with itself by {totals.self_disagreement.mean:.2f} (mean spread).")
        has_middle_scores = len({score for score, _ in totals.exact}) > 2  # right and wrong alone tie without fault
        warns = self._rewards_length() or unscored > answers * MANY or (has_middle_scores and tied > comparable * 0.5)
        share = percent(tied, comparable) if comparable else DASH
        return Card(question, share, "of questions got the same score for every answer", " ".join(words), warns)

    def _more_samples_card(self) -> Card:
        question, curves = "Would more samples help?", self.curves
        if curves is None or curves.last_pass is None or curves.last_best is None:
            return Card(question, DASH, "not measurable", "It takes at least two scored answers per question.")
        most, gain = curves.steps[-1], curves.last_pass
        points = signed(100 * gain.mean, 1)
        margin = f"(\u00b1{100 * (gain.high - gain.mean):.1f}) " if gain.high > gain.mean else ""
        words = (
            f"Going from {most - 1} to {most} answers per question gave {points} points {margin}of questions with an "
            f"accepted answer, and {signed(curves.last_best.mean)} of best score. "
        )
        words += (
            "Stopped questions were not sampled further, so this is the gain of the run, not the gain of one more "
            "sample for each question."
            if curves.in_order
            else "On average, one more sample brings no more than that."
        )
        return Card(question, f"{points} pts", f"from the {ordinal(most)} sample", words)

    def _selected_card(self) -> Card:
        totals = self.totals
        unit = "pairs" if self.selection.makes_pairs else "conversations"
        questions = totals.entries["selected"]
        words = f"From {plural(questions, 'question')}, {percent(questions, self.asked)} of all."
        if totals.tokens["answered"]:
            share = percent(totals.tokens["selected"], totals.tokens["answered"])
            words += f" {share} of the generated tokens are in selected answers."
        warns = totals.answers["scored"] > 0 and not totals.rows
        return Card("What is kept?", f"{totals.rows:,}", unit, words, warns)

    def _rewards_length(self) -> bool:
        """Whether longer answers to the same question score higher, beyond chance."""
        rho = self.totals.length_correlation.interval()
        return self.totals.length_correlation.count >= 10 and rho.mean >= REWARDS_LENGTH and rho.low > 0

    # The funnel

    def funnel(self) -> list[Step]:
        """How many questions and answers reach each step, and their tokens."""
        answers, tokens = self.totals.answers, self.totals.tokens
        sign = f"{ABOUT}\u202f" if tokens["shared"] else ""
        judging = tokens["judge prompt_tokens"] + tokens["judge completion_tokens"]
        rows = f"{self.totals.rows:,} {'pairs' if self.selection.makes_pairs else 'rows'}"
        return [
            self._step("Asked", self.asked),
            self._step("Answered", None, f"{answers['answered']:,}", tokens["answered"]),
            self._step("Scored", None, f"{answers['scored']:,}", judging, "judging"),
            self._step("Accepted", None, f"{answers['accepted']:,}", tokens["accepted"], sign=sign),
            self._step("Selected", None, rows, tokens["selected"], sign=sign),
        ]

    def _step(
        self,
        name: str,
        questions: int | None,
        answers: str = "",
        tokens: int = 0,
        tokens_for: str = "generated",
        sign: str = "",
    ) -> Step:
        questions = self.totals.entries[name.lower()] if questions is None else questions
        share = 100 * questions / self.asked if self.asked else 0
        spent = f"{sign}{short(tokens)}" if tokens else ""
        return Step(name, questions, share, percent(questions, self.asked), answers, spent, tokens_for)

    def funnel_note(self) -> str:
        questions, cut = self.totals.entries["output"], self.totals.cut.total()
        shared = self.totals.tokens["shared"]
        words = f"{plural(questions, 'question')} in the output, {self.failures.total():,} failed. "
        words += f"Accepted: {self._accepted_means()}."
        if cut:
            reasons = ", ".join(f"{reason.messages:,} by {reason.example}" for reason in self.totals.cut.top())
            words += f" {plural(cut, 'answer was', 'answers were')} cut ({reasons})."
        if shared:
            words += f" {plural(shared, 'request')} brought several answers under one token count, which is split over"
            words += f" them by their lengths ({ABOUT})."
        return words

    # The charts

    def score_note(self) -> str:
        answers, unscored = self.totals.answers, self.totals.unscored.total()
        words = f"{plural(answers['scored'], 'score')}; {plural(unscored, 'answer')} unscored."
        if answers["scored"] and self.selection.accept_score is not None:
            words += f" {percent(answers['accepted'], answers['scored'])} of the scored answers are accepted."
        if answers["outside"]:
            words += f" {plural(answers['outside'], 'score')} outside the range."
        return words

    def pass_note(self) -> str:
        if self.curves is None:
            return "No scored answers."
        population = self._population(self.curves)
        if self.selection.accept_score is not None:
            return population
        least = ("at least " if self.totals.sample is not None else "") + number_text(self.totals.threshold)
        return f"Without --accept_score, accepted here is a score of {least}. {population}"

    def _population(self, curves: Curves) -> str:
        """The questions that the curves are over."""
        all_entries = self.totals.histories.seen
        sample = f" (a sample of the {all_entries:,})" if all_entries > CURVE_ENTRIES else ""
        which = "" if curves.in_order else f" with at least {plural(curves.steps[-1], 'answer')}"
        words = f"Over {plural(curves.entries, 'question')}{which}{sample}; bars: 95\u202f% interval over questions."
        if curves.in_order:
            words += (
                " Some questions were stopped because of their scores, so the answers count in the order sampled, and a"
                " stopped question keeps its last value. Samples that were in flight at the stop do not count, which"
                " raises the early steps a little."
            )
        return words

    def best_note(self) -> str:
        if self.curves is None:
            return "No scored answers."
        first, last = self.curves.best[0].mean, self.curves.best[-1].mean
        most = self.curves.steps[-1]
        return f"Mean of the best score of k answers, same questions: {first:.2f} at one, {last:.2f} at {most}."

    def length_note(self) -> str:
        samples, within = self.totals.length_samples, self.totals.length_correlation
        if not samples.items:
            return "No scored answers."
        rho = spearman([sample.score for sample in samples.items], [sample.length for sample in samples.items])
        words = "Lines: mean score of the answers of about that length. Dots of equal scores are spread a little."
        if not math.isnan(rho):
            words += f" Rank correlation {RHO} = {signed(rho)} over all"
            words += f", {signed(within.mean)} within a question." if within.count else "."
        if self._rewards_length():
            words += " Longer answers to the same question score higher: check that the judge does not reward length."
        if samples.seen > DOTS:
            words += f" The chart shows {DOTS:,} of {samples.seen:,} answers."
        return words

    def ratio_note(self) -> str:
        lengths = self.totals.compared_lengths
        if not lengths["pairs"]:
            return "Nothing to compare."
        longer, shorter = (percent(lengths[side], lengths["pairs"]) for side in ("longer", "shorter"))
        pairs = self.selection.makes_pairs
        other = "its rejected one" if pairs else "the median of the question's other answers"
        kind = "chosen" if pairs else "selected"
        return f"Of {lengths['pairs']:,} {kind} answers {longer} are longer than {other}, {shorter} shorter."

    # The lists and the table

    def no_unscored_note(self) -> str:
        """What the list of unscored answers says if it is empty."""
        return "Every answer has a score." if self.totals.answers["scored"] else "Nothing is scored."

    def questions_note(self) -> str:
        hopeless = sum(not passed for passed in self.table.passed)
        lowest = self.selection.accept_score
        means = f"a score of at least {number_text(self.totals.high if lowest is None else lowest)}, and not cut"
        which = f" of the first {len(self.table.passed):,}" if self.table.is_full else ""
        words = f"{plural(hopeless, 'question has', 'questions have')} no accepted answer{which}."
        return f"{words} Accepted here: {means}; answers that repeat another count. A question opens its candidates."

    def table_note(self) -> str:
        shown, answers = len(self.table.scores), self.totals.answers["answered"]
        is_full, left_out = self.table.is_full, self.table.images_left_out
        words = f"The first {shown:,} of {answers:,} candidates" if is_full else plural(answers, "candidate")
        words += f" of {plural(len(self.table.first_candidates), 'question')}."
        if is_full:
            limits = f"{MOST_CANDIDATES:,} candidates or {MOST_TEXT >> 20} MB of text"
            words += f" The page stops at {limits}; the output has all."
        if left_out:
            words += f" {plural(left_out, 'image')} shown by name: missing, or past {MOST_IMAGES >> 20} MB."
        return words


def percent(part: float, whole: float) -> str:
    """A share, with a decimal if it would otherwise read as nothing or all, and a narrow space.

    >>> percent(1, 3), percent(1, 500), percent(1, 100_000)
    ('33\\u202f%', '0.2\\u202f%', '<\\u202f0.1\\u202f%')
    """
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        return "<\u202f0.1\u202f%"
    if 99.9 < share < 100:
        return ">\u202f99.9\u202f%"
    return f"{share:.0f}\u202f%" if 1 <= share <= 99 or share in (0, 100) else f"{share:.1f}\u202f%"


def short(number: float) -> str:
    """A number of about four characters.

    >>> short(940), short(12_345), short(4_500_000)
    ('940', '12.3k', '4.5M')
    """
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}" if number < 999.5 * size else f"{number / size:.0f}{unit}"
    return f"{number:.0f}"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, a real minus.

    >>> signed(0.5), signed(-0.25)
    ('+0.50', '\u22120.25')
    """
    return f"{value:+.{digits}f}".replace("-", "\u2212")


def ordinal(number: int) -> str:
    """The ordinal of a positive number.

    >>> [ordinal(number) for number in (1, 2, 11, 23)]
    ['1st', '2nd', '11th', '23rd']
    """
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
