"""A pilot played again: as the stop rule would, beyond the answers that there are, and how sure it is."""

from __future__ import annotations

import math
import random
from typing import Optional, Sequence

import pytest

from common.records import NOT_NEEDED
from common.results.selection import Selection
from common.running.early_stopping import StopRule
from common.running.replay import Outcome, Plan, Seen, Setting, Trial, courses_of, outcome, trial_of

RIGHT, WRONG = 10.0, 0.0


def trial(*scores: Optional[float], texts: Sequence[int] = ()) -> Trial:
    return Trial([Seen(text, score) for text, score in zip(texts or range(len(scores)), scores)])


def rule(stop_after: Optional[int] = None, give_up_after: Optional[int] = None) -> StopRule:
    return StopRule(8, stop_after, give_up_after)


def total(found: Outcome, name: str) -> float:
    return found.total({name: 1}).mean


@pytest.mark.parametrize(
    ("setting", "answers", "accepted"),
    [
        (Setting(6, rule()), 6, 3),
        (Setting(2, rule()), 2, 0),
        (Setting(6, rule(1)), 3, 1),
        (Setting(6, rule(2)), 5, 2),
        (Setting(6, rule(2, 2)), 2, 0),
        (Setting(6, rule(None, 3)), 6, 3),
        (Setting(None, rule()), 6, 3),
    ],
)
def test_answers_in_their_order_stop_where_the_rule_stops(setting: Setting, answers: int, accepted: int) -> None:
    seen = trial(WRONG, None, RIGHT, WRONG, RIGHT, RIGHT)
    (course,) = courses_of([seen], setting, shuffles=False)
    assert dict(course.ended) == {(answers, accepted): 1}
    assert not course.open


def test_equal_texts_are_one_accepted_answer() -> None:
    (course,) = courses_of([trial(RIGHT, RIGHT, RIGHT, texts=[1, 1, 2])], Setting(3, rule(2)), shuffles=False)
    assert dict(course.ended) == {(3, 2): 1}


def test_an_entry_that_the_pilot_stopped_goes_on_if_the_setting_wants_more() -> None:
    courses = courses_of([trial(WRONG, RIGHT), trial(WRONG, WRONG)], Setting(4, rule(2, 2)), shuffles=False)
    assert [dict(course.open) for course in courses] == [{(2, 1): 1}, {}]
    assert [course.seen for course in courses] == [(2, 1), (2, 0)]


def test_the_setting_of_the_pilot_takes_what_the_pilot_took() -> None:
    figures = {"generator requests": 4.0, "generator completion_tokens": 90.0, "scorer prompt_tokens": 30.0}
    found = outcome(
        [Trial(trial(*[RIGHT] * 4).answers, figures)] * 3, Setting(4, rule()), Plan(entries=3), shuffles=True
    )
    assert not found.is_modelled
    assert {name: total(found, name) for name in figures} == {name: 3 * value for name, value in figures.items()}
    assert (total(found, "answers"), total(found, "rows")) == (12, 3)


def test_rows_are_those_that_the_selection_takes() -> None:
    trials = [trial(RIGHT, RIGHT, RIGHT, WRONG)] * 2
    wanted = [Selection(), Selection("top_k", top_k=2), Selection("threshold"), Selection("dpo", pairs_per_entry=2)]
    made = [
        total(outcome(trials, Setting(4, rule()), Plan(2, rows=one.rows_per_entry), shuffles=False), "rows")
        for one in wanted
    ]
    assert made == [2, 4, 6, 4]


def test_more_answers_than_the_pilot_has_are_expected_as_the_rates_say() -> None:
    """200 entries with 8 answers; the truth has 16 of each, and stops as the rule says."""
    chance = random.Random(3)
    whole = []
    for number in range(200):
        rate = (0.0, 0.1, 0.3, 0.9)[number % 4]
        whole.append(trial(*(RIGHT if chance.random() < rate else WRONG for _ in range(16))))
    half = [Trial(one.answers[:8]) for one in whole]
    for setting in (Setting(16, rule()), Setting(16, rule(3, 8))):
        said, truth = (outcome(trials, setting, Plan(200, rows=None), shuffles=False) for trials in (half, whole))
        assert said.is_modelled
        for name in ("answers", "rows", "entries"):
            assert abs(total(said, name) / total(truth, name) - 1) < 0.06, (setting, name)
            _, low, high = said.total({name: 1})
            assert low <= total(truth, name) <= high


def test_texts_that_repeat_bring_fewer_new_rows() -> None:
    same = [trial(*[RIGHT] * 4, texts=[1, 1, 1, 1])] * 20
    other = [trial(*[RIGHT] * 4)] * 20
    rows = [total(outcome(one, Setting(8, rule()), Plan(20, rows=None), False), "rows") for one in (same, other)]
    assert rows[0] == 20
    assert rows[1] > 150


def test_one_entry_tells_nothing_about_how_sure_it_is() -> None:
    found = outcome([trial(WRONG)], Setting(2, rule()), Plan(5), shuffles=True)
    assert found.total({"rows": 1}).high == math.inf


def test_answers_that_no_scorer_saw_do_not_count() -> None:
    record = {
        "generated_answers": ["a", "b", "c"],
        "generated_scores": [9.0, None, None],
        "generated_details": [{}, {"unscored": NOT_NEEDED}, {"finish_reason": "length"}],
    }
    assert [one.score for one in trial_of(record).answers] == [9.0, None]
