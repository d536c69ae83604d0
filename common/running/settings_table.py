"""The table of ``--estimate``: what the whole job would bring and take under other settings than the user's.

Example: ``lines = table(job, trials, plan, time_of)``
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Callable, Iterator, Mapping, NamedTuple, Sequence

from ..results.estimators import Estimate
from ..results.forecast import TOKENS
from ..scoring.shapes import AnswerScorer
from .amounts import duration, money, with_reach
from .early_stopping import StopRule
from .job import Job
from .replay import Outcome, Plan, Setting, Trial, outcome

LEAST_CHANGE = 0.1  # of the accepted answers, by which another threshold differs at least
HEAD = "settings"
COUNT = "{:,.0f}".format

TimeOf = Callable[[Outcome], "float | None"]  # the seconds of the whole job


class Column(NamedTuple):
    """One column: its head, and the figure as text."""

    head: str
    text: Callable[[Outcome], str]


def own_setting(job: Job) -> Setting | None:
    """The settings of a job that can be replayed; None if no answer has a score, or a threshold, of its own."""
    pipeline, least = job.pipeline, job.results.selection.passes
    rule = pipeline.stop_rule
    if least is None or not isinstance(pipeline.scorer, AnswerScorer) or not (rule is None or type(rule) is StopRule):
        return None
    answers = None if pipeline.sampler is None else pipeline.sampler.count
    return Setting(answers, rule or StopRule(least))


def tried(own: Setting, scores: Sequence[float]) -> list[Setting]:
    """The settings of the table: the user's own, then others around it. ``scores`` are those of the pilot.

    >>> [(one.answers, one.rule.stop_after) for one in tried(Setting(4, StopRule(10)), [0, 10])]
    [(4, None), (2, None), (8, None), (4, 1), (4, 2), (4, None), (8, 1), (8, 4)]
    """
    found, least = [own], own.rule.accept_score
    if own.answers is not None:
        count = own.answers
        tries = max(2, count // 2)  # before a question is given up
        found += [own._replace(answers=number) for number in (count // 2, 2 * count)]
        stops = [(None, None), (1, None), (2, None), (4, tries), (None, tries)]
        found += [Setting(count, StopRule(least, *stop)) for stop in stops]
        found += [Setting(2 * count, StopRule(least, *stop)) for stop in ((1, None), (4, tries))]
    found += [own._replace(rule=_with_threshold(own.rule, score)) for score in thresholds(least, scores)]
    return [own, *(setting for setting in dict.fromkeys(found) if setting != own and _is_possible(setting))]


def _with_threshold(rule: StopRule, score: float) -> StopRule:
    return StopRule(score, rule.stop_after, rule.give_up_after)


def _is_possible(setting: Setting) -> bool:
    """Whether the setting has answers, and its rule can stop before the last of them."""
    if setting.answers is None:
        return True
    stops = [stop for stop in (setting.rule.stop_after, setting.rule.give_up_after) if stop is not None]
    return setting.answers > 0 and all(stop < setting.answers for stop in stops)


def thresholds(own: float, scores: Sequence[float]) -> list[float]:
    """The next lower and the next higher threshold that accept clearly more or fewer of the ``scores``, but not all.

    >>> thresholds(8, [2, 7, 7, 8, 9, 9])
    [7, 9]
    """
    ascending = sorted(scores)
    now = len(ascending) - bisect_left(ascending, own)
    least = max(1.0, LEAST_CHANGE * now)
    lower, higher = [], []
    for score in dict.fromkeys(ascending):
        accepted = len(ascending) - bisect_left(ascending, score)
        if now + least <= accepted < len(ascending):
            lower.append(score)
        elif 0 < accepted <= now - least:
            higher.append(score)
    return [*lower[-1:], *higher[:1]]


def table(job: Job, trials: Sequence[Trial], plan: Plan, time_of: TimeOf, unknown: Sequence[str] = ()) -> list[str]:
    """The lines of the table; none if nothing can be replayed. The tokens of the roles in ``unknown`` are."""
    own = own_setting(job)
    if own is None or not any(trial.answers for trial in trials):
        return []
    scores = [one.score for trial in trials for one in trial.answers if one.score is not None]
    settings = tried(own, scores)
    outcomes = [outcome(trials, one, plan, shuffles=not _order_matters(job)) for one in settings]
    columns = [*_brought(plan), *_taken(job, time_of, unknown)]
    rows = [[HEAD, *(column.head for column in columns)]]
    for setting, found in zip(settings, outcomes):
        rows.append([_name(setting, own, found), *(column.text(found) for column in columns)])
    return _aligned(rows)


def _order_matters(job: Job) -> bool:
    """Whether an entry's answers are not alike: a rule stopped after the last, or other generators gave the next."""
    sampler = job.pipeline.sampler
    return job.pipeline.stop_rule is not None or (sampler is not None and (sampler.are_several or sampler.is_mixed))


def _name(setting: Setting, own: Setting, found: Outcome) -> str:
    """The setting by its flags; "*" marks the user's own, "~" one that wants more answers than the pilot has."""
    rule = setting.rule
    values = {"N": setting.answers, "stop_after": rule.stop_after, "give_up_after": rule.give_up_after}
    shown = [f"{name} {value}" for name, value in values.items() if value is not None]
    if setting == own or rule.accept_score != own.rule.accept_score:
        shown.append(f"accept_score {rule.accept_score:g}")
    mark = "*" if setting == own else "~" if found.is_modelled else " "
    return f"{mark} {', '.join(shown)}"


def _brought(plan: Plan) -> Iterator[Column]:
    if plan.rows != 1:
        yield Column("entries", lambda found: with_reach(found.rows("entries", 1), COUNT))
    yield Column("rows", lambda found: with_reach(_rows(found, plan.rows), COUNT))


def _rows(found: Outcome, most: int | None) -> Estimate:
    return found.total({"rows": 1}) if most is None else found.rows("rows", most)


def _taken(job: Job, time_of: TimeOf, unknown: Sequence[str]) -> Iterator[Column]:
    roles = list(dict.fromkeys(map(job.pipeline.role_of, job.pipeline.clients)))
    if job.pipeline.sampler is not None:
        yield Column("answers", lambda found: _figure(found, {"answers": 1}))
    for role in roles:
        weights = {f"{role} {name}": 1.0 for name in TOKENS}
        yield Column(f"{role}'s tokens", _tokens(weights, role in unknown))
    if roles:
        yield Column("time", lambda found: _time(time_of(found)))
    if job.prices and not any(role in unknown for role in job.prices):
        weights = {}
        for role, prices in job.prices.items():
            weights.update({f"{role} {name}": price / 1e6 for name, price in zip(TOKENS, prices)})
        yield Column("cost", lambda found: with_reach(found.total(weights), money))


def _tokens(weights: Mapping[str, float], is_unknown: bool) -> Callable[[Outcome], str]:
    return lambda found: "unknown" if is_unknown else _figure(found, weights)


def _figure(found: Outcome, weights: Mapping[str, float]) -> str:
    return with_reach(found.total(weights), COUNT)


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:]))]).rstrip()
        for row in rows
    ]
