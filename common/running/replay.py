"""What a job would bring and take with other settings, from the answers that a pilot has already.

Each entry of the pilot is played again under another number of answers, another stop rule or another threshold. Where
a setting wants answers that the pilot does not have, their number and their scores are those to be expected at the
acceptance rates that the pilot shows (acceptance_rates.py).

Example: ``outcome(trials, courses_of(trials, setting, shuffles=True), setting, plan)``
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Iterable, Iterator, Mapping, NamedTuple, Sequence

from ..records import NOT_NEEDED, Record
from ..results.acceptance_rates import RATES, fit, posterior
from ..results.estimators import Estimate
from ..results.forecast import Figures, Sample, figures_of_record, t95
from ..results.selection import normalised, selectable
from .early_stopping import Standing, StopRule

ORDERS = 16  # in which an entry's answers are played
GROUPS = 20  # of entries; the forecast without each of them tells how sure it is


class Seen(NamedTuple):
    """An answer of the pilot: what stands for its text, and its score; None if it cannot be selected."""

    text: int
    score: float | None


@dataclass
class Trial:
    """An entry of the pilot: its answers in their order, and what they took."""

    answers: Sequence[Seen]
    figures: Mapping[str, float] = field(default_factory=dict)


class Setting(NamedTuple):
    """The flags that are tried: N answers per entry (None: those that come with the input), and the stop rule.

    The rule has the threshold also where it stops nothing.
    """

    answers: int | None
    rule: StopRule


class Plan(NamedTuple):
    """What all settings of a job share: its entries, how they are selected, how they are asked for."""

    entries: int
    mean_size: float | None = None  # of all entries
    rows: int | None = 1  # of one entry in the selected file, at most; None: any number
    per_request: int = 1


class State(NamedTuple):
    """Where an entry stands: how many answers it has, how many distinct ones are accepted."""

    answers: int
    accepted: int


class Course(NamedTuple):
    """How an entry went: its states at the end, each with its weight, and what its posterior follows from."""

    ended: Mapping[State, float]
    open: Mapping[State, float]  # it wants more answers than the pilot has
    seen: tuple[int, int]  # all of its answers, and the accepted ones


class Gain(NamedTuple):
    """What an entry still takes and brings, to be expected: answers, rows, and whether it gets its first row."""

    answers: float
    rows: float
    entries: float


NOTHING = Gain(0.0, 0.0, 0.0)


def trial_of(record: Record) -> Trial:
    """The answers of a record that a scorer has seen or that were cut, and what its answers and scores took."""
    texts, scores = record["generated_answers"], record.get("generated_scores") or ()
    details = record.get("generated_details") or [{}] * len(texts)
    answers = [
        Seen(hash(normalised(text)), score if selectable(text, detail.get("finish_reason"), score) else None)
        for text, score, detail in zip(texts, scores, details)
        if detail.get("unscored") != NOT_NEEDED
    ]
    return Trial(answers, figures_of_record(record))


# What the pilot shows


def courses_of(trials: Iterable[Trial], setting: Setting, shuffles: bool) -> list[Course]:
    """How each entry goes. ``shuffles``: its answers came in no order that matters, so that several are played."""
    return [_course(trial, setting, ORDERS if shuffles else 1) for trial in trials]


def _course(trial: Trial, setting: Setting, orders: int) -> Course:
    ended: Counter[State] = Counter()
    unended: Counter[State] = Counter()
    answers, chance = list(trial.answers), random.Random(len(trial.answers))
    for _ in range(orders):
        state, is_open = _play(answers, setting)
        (unended if is_open else ended).update({state: 1 / orders})
        chance.shuffle(answers)
    accepted = sum(_accepts(setting.rule, one) for one in answers)
    return Course(ended, unended, (len(answers), accepted))


def _play(answers: Sequence[Seen], setting: Setting) -> tuple[State, bool]:
    """The state in which an entry with these answers stops, and whether it wants more than there are."""
    most = len(answers) if setting.answers is None else setting.answers
    texts: set[int] = set()
    for number, one in enumerate(answers[:most]):
        if _stops(setting.rule, most, State(number, len(texts))):
            return State(number, len(texts)), False
        if _accepts(setting.rule, one):
            texts.add(one.text)
    state = State(min(most, len(answers)), len(texts))
    return state, state.answers < most and not _stops(setting.rule, most, state)


def _stops(rule: StopRule, most: int, state: State) -> bool:
    return rule.stopped_by(Standing(most, state.answers, state.answers, state.accepted)) is not None


def _accepts(rule: StopRule, one: Seen) -> bool:
    return one.score is not None and one.score >= rule.accept_score


def new_share(trials: Iterable[Trial], rule: StopRule) -> float:
    """How likely an accepted answer has another text than those before: the share of texts that came once.

    (Good 1953: the chance of what was not seen yet.)
    """
    once = whole = 0
    for trial in trials:
        counts = Counter(one.text for one in trial.answers if _accepts(rule, one))
        once += sum(count == 1 for count in counts.values())
        whole += sum(counts.values())
    return once / whole if whole else 1.0


# What the pilot does not show


@lru_cache(maxsize=2 * len(RATES))
def _prospects(setting: Setting, rate: float, new: float, rows: int | None) -> list[list[Gain]]:
    """The gain from each state on, by its answers and by the accepted ones among them, at one rate.

    Backward induction from the last answer. Further accepted answers than count for anything are one state.
    """
    rule, most = setting.rule, setting.answers or 0
    last = max(1, rule.stop_after or 0, rows or 0)
    table = [[NOTHING] * (last + 1)]
    for number in range(most - 1, -1, -1):
        after, here = table[-1], []
        for accepted in range(last + 1):
            if _stops(rule, most, State(number, accepted)):
                here.append(NOTHING)
                continue
            chance = rate * new if accepted else rate
            first = Gain(0.0, float(rows is None or accepted < rows), float(not accepted))
            here.append(_mean(chance, after[min(last, accepted + 1)], first, after[accepted]))
        table.append(here)
    return table[::-1]


def _mean(chance: float, accepted: Gain, first: Gain, other: Gain) -> Gain:
    """The gain of one more answer and of all after it; ``first`` is what it brings itself if it is accepted."""
    answers, rows, entries = (chance * (yes + own) + (1 - chance) * no for yes, own, no in zip(accepted, first, other))
    return Gain(1 + answers, rows, entries)


@dataclass
class _Model:
    """What is learnt of all entries: the shares of the rates, and how often an accepted text is new."""

    setting: Setting
    shares: Sequence[float]
    new: float
    rows: int | None
    known: dict[tuple[State, tuple[int, int]], Gain] = field(default_factory=dict)

    def gain(self, state: State, seen: tuple[int, int]) -> Gain:
        """What an open entry still takes and brings."""
        key = state, seen
        if key not in self.known:
            self.known[key] = self._gain(state, seen)
        return self.known[key]

    def _gain(self, state: State, seen: tuple[int, int]) -> Gain:
        found = [0.0, 0.0, 0.0]
        for share, rate in zip(posterior(self.shares, *seen), RATES):
            here = _prospects(self.setting, rate, self.new, self.rows)[state.answers]
            for place, value in enumerate(here[min(state.accepted, len(here) - 1)]):
                found[place] += share * value
        return Gain(*found)


# The whole job


@dataclass
class Outcome:
    """What the whole job takes and brings with one setting."""

    sample: Sample
    without: Sequence[Sample]  # the same without each group of entries, if a model tells a part of it

    @property
    def is_modelled(self) -> bool:
        """Whether the setting wants answers that the pilot does not have."""
        return bool(self.without)

    def total(self, weights: Mapping[str, float]) -> Estimate:
        """The sum over the whole job of the figures, each times its weight, with a 95 % interval.

        With a model, the interval is that of the delete-a-group jackknife (Kott 2001), which makes the model anew.
        """
        return self._with_model(self.sample.total(weights), [one.total(weights).mean for one in self.without])

    def rows(self, name: str, most: int) -> Estimate:
        """The sum over the whole job of a figure that is from 0 to ``most`` for each entry, as ``total``."""
        others = [one.bounded_total(name, most).mean for one in self.without]
        return self._with_model(self.sample.bounded_total(name, most), others)

    def _with_model(self, whole: Estimate, others: Sequence[float]) -> Estimate:
        if not others:
            return whole
        middle, count = math.fsum(others) / len(others), len(others)
        spread = math.fsum((one - middle) ** 2 for one in others) * (count - 1) / count
        reach = t95(count - 1) * math.sqrt(spread) if count > 1 else math.inf
        low, high = min(whole.low, whole.mean - reach), max(whole.high, whole.mean + reach)
        return Estimate(whole.mean, max(0.0, low), high)


def outcome(trials: Sequence[Trial], setting: Setting, plan: Plan, shuffles: bool) -> Outcome:
    """What the job takes and brings with a setting. ``shuffles`` as in ``courses_of``."""
    courses = courses_of(trials, setting, shuffles)
    played = list(zip(trials, courses))
    new = new_share(trials, setting.rule)
    without = []
    if any(course.open for course in courses):
        groups = min(GROUPS, len(trials))
        without = [
            _sample([one for place, one in enumerate(played) if place % groups != group] or played, setting, plan, new)
            for group in range(groups)
        ]
    return Outcome(_sample(played, setting, plan, new), without)


def _sample(played: Sequence[tuple[Trial, Course]], setting: Setting, plan: Plan, new: float) -> Sample:
    """The figures of these entries, with a model that is made of them."""
    model = _Model(setting, fit(course.seen for _, course in played), new, plan.rows)
    figures = [dict(_figures(trial, course, plan, model)) for trial, course in played]
    return Sample(plan.entries, figures, plan.mean_size)


def _figures(trial: Trial, course: Course, plan: Plan, model: _Model) -> Iterator[tuple[str, float]]:
    """What one entry takes and brings: its mean answer, times the answers that it takes."""
    answers = rows = entries = 0.0
    for states in (course.ended, course.open):
        for state, weight in states.items():
            more = model.gain(state, course.seen) if states is course.open else NOTHING
            has = state.accepted if plan.rows is None else min(state.accepted, plan.rows)
            answers += weight * (state.answers + more.answers)
            rows += weight * (has + more.rows)
            entries += weight * ((state.accepted > 0) + more.entries)
    yield from (("answers", answers), ("rows", rows), ("entries", entries))
    yield from taken(trial, answers, model.setting, plan.per_request).items()


def taken(trial: Trial, answers: float, setting: Setting, per_request: int) -> Figures:
    """The figures of an entry, if it had this many answers.

    >>> trial = Trial([Seen(1, None)] * 4, {"generator requests": 4, "generator completion_tokens": 200})
    >>> taken(trial, 2, Setting(2, StopRule(1)), 1)
    {'generator requests': 2.0, 'generator completion_tokens': 100.0}
    """
    there, known = len(trial.answers), trial.figures
    requests = requests_for(answers, setting, per_request)
    of_requests = requests / max(1, known.get("generator requests", 0))
    shares = {f"generator {name}": of_requests for name in ("requests", "prompt_tokens", "seconds")}
    of_answers = answers / there if there else 0.0
    return {name: value * {"size": 1.0, **shares}.get(name, of_answers) for name, value in known.items()}


def requests_for(answers: float, setting: Setting, per_request: int) -> float:
    """How many requests bring this many answers: the first ones share requests, and those that replace others do not.

    >>> requests_for(8, Setting(8, StopRule(1)), 4), requests_for(8, Setting(8, StopRule(1, stop_after=2)), 4)
    (2.0, 7.0)
    """
    rule = setting.rule
    most = math.inf if setting.answers is None else setting.answers
    first = min(answers, most, rule.stop_after or most, rule.give_up_after or most)
    later = answers - first
    return float(math.ceil(first / per_request) + (later if rule.stop_after else later / per_request))
