"""Where scorers, or a scorer and the labels of a row, contradict each other, and how many selected answers are wrong.

One of two that contradict each other is wrong, or the reference is: such cases are worth a look. Labels stand under
``labels`` in a row's ``extra``, one for each answer that came with it.

Example: ``agreement = Agreement(10.0, has_labels=True); agreement.add(view); agreement.panels(None)``
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

from ..records import number_text
from .calibration import Calibration, about, table, wrong_share
from .certify import Trial
from .record_view import Candidate, RecordView, dict_or_empty, finite_or_none, list_or_empty, turns_of

MOST_CASES = 50
SHOWN = 300  # characters of a text
LABEL = "label"


class Panel(NamedTuple):
    """A table of the report: its title, a sentence, its rows as texts, the first one the head."""

    title: str
    words: str
    rows: Sequence[Sequence[str]]


class Agreement:
    """Counts an output's contradictions, and its selected answers that have a label.

    ``accept_score`` is the lowest score that says "right"; None if that is not known. Without ``has_labels``, a row's
    labels are not those of its answers, since these were sampled.
    """

    def __init__(self, accept_score: float | None, has_labels: bool) -> None:
        self.cases: list[list[str]] = []  # of the first contradictions
        self.contradictions = 0
        self.compared = 0  # answers that two scorers, or a scorer and a label, decide
        self.labelled = 0
        self.selected: list[Trial] = []  # the labelled ones of the selected answers
        self._accept_score = accept_score
        self._has_labels = has_labels
        self._entries = 0

    def add(self, view: RecordView) -> None:
        """Counts an entry."""
        labels = labels_of(view) if self._has_labels else {}
        self._entries += 1
        for index, candidate in enumerate(view.candidates):
            label = labels.get(index)
            self.labelled += label is not None
            verdicts = self._verdicts(candidate, label)
            self.compared += len(verdicts) > 1
            if len({right for _, right in verdicts.values()}) > 1:
                self._take(view, candidate, index, verdicts)
            if label is not None and index in view.selected:
                self.selected.append(Trial(candidate.score or 0.0, label, self._entries))

    def _verdicts(self, candidate: Candidate, label: bool | None) -> dict[str, tuple[str, bool]]:
        """By scorer: what it said, and whether that means right; the label is one of them."""
        lowest = self._accept_score
        if lowest is None:
            return {}
        found = {
            str(name): finite_or_none(one) for name, one in dict_or_empty(candidate.detail.get("verdicts")).items()
        }
        if not found:
            found[str(candidate.detail.get("scorer") or "score")] = candidate.score
        verdicts = {name: (number_text(score), score >= lowest) for name, score in found.items() if score is not None}
        return {**verdicts, LABEL: ("right" if label else "wrong", label)} if label is not None else verdicts

    def _take(self, view: RecordView, candidate: Candidate, index: int, verdicts: dict[str, tuple[str, bool]]) -> None:
        self.contradictions += 1
        if len(self.cases) >= MOST_CASES:
            return
        said = ", ".join(f"{name}: {text}" for name, (text, _) in verdicts.items())
        turns = turns_of(view.record)
        reference = turns[-1]["value"] if turns[-1]["from"] in ("gpt", "assistant") else ""
        where = f"{view.record.get('line') or view.record.get('entry_id')}, answer {index + 1}"
        question = str(view.record.get("original_question") or "")
        self.cases.append([where, said, question[:SHOWN], reference[-SHOWN:], candidate.text[-SHOWN:]])

    def panels(self, calibration: Calibration | None, accept_score: float | None = None) -> list[Panel]:
        """What the report shows of all this; nothing where there is nothing to compare."""
        found = []
        if self.contradictions or (self.compared and self.labelled):
            found.append(self._contradictions_panel())
        wrong = [*self._selected_rows(), *_expected_rows(calibration, accept_score)]
        if wrong:
            head = ("estimated from", "answers", "wrong", "share", "95\u202f% interval")
            found.append(Panel("Wrong answers among those that are kept", FALSE_ACCEPTS, [head, *wrong]))
        if calibration is not None:
            words = f"{about(calibration)[0].upper()}{about(calibration)[1:]}. {BASELINE_WORDS}"
            found.append(Panel("Calibration of the scorer", words, table(calibration)))
        return found

    def _contradictions_panel(self) -> Panel:
        words = f"Of {self.compared:,} answers that two scorers (or a scorer and a label) decide, "
        words += (
            f"{self.contradictions:,} are right by one and wrong by the other. One of them is wrong, or the reference."
        )
        if self.contradictions > len(self.cases):
            words += f" The first {len(self.cases)} are shown."
        head = ("line", "verdicts", "question", "reference", "end of the answer")
        return Panel("Contradictions", words, [head, *self.cases] if self.cases else [])

    def _selected_rows(self) -> list[tuple[str, ...]]:
        if not self.selected:
            return []
        wrong, ends = wrong_share(self.selected)
        return [_row("labels of the selected answers", len(self.selected), wrong, ends)]


FALSE_ACCEPTS = "The false-accept rate. Answers to one question are alike, so the interval counts them as fewer."
BASELINE_WORDS = (
    "Random: scores without information. Length: the longer answer scores higher. Majority: the share of the "
    "question's answers with the same final answer. Each accepts as many answers as the scorer."
)


def _expected_rows(calibration: Calibration | None, accept_score: float | None) -> list[tuple[str, ...]]:
    """The share of wrong answers among the calibration's accepted ones."""
    if calibration is None or accept_score is None or not calibration.answers:
        return []
    of, wrong, ends = calibration.accepted(accept_score)
    return [_row(f"the calibration, at a score of at least {accept_score:.6g}", of, wrong, ends)] if of else []


def _row(name: str, of: int, wrong: int, ends: tuple[float, float]) -> tuple[str, ...]:
    return name, f"{of:,}", f"{wrong:,}", f"{wrong / of:.3f}", f"{ends[0]:.3f} to {ends[1]:.3f}"


def labels_of(view: RecordView) -> dict[int, bool]:
    """The labels of a row's answers, by index; none if there is not one for each answer."""
    labels = list_or_empty(dict_or_empty(view.record.get("extra")).get("labels"))
    if len(labels) != len(view.candidates) or any(one not in (True, False, None) for one in labels):
        return {}
    return {index: bool(one) for index, one in enumerate(labels) if one is not None}
