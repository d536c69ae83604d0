"""The table of other settings: which ones it tries, and what their rows say."""

from __future__ import annotations

import random
from typing import List

import pytest

from common.running.early_stopping import StopRule
from common.running.replay import Setting
from common.running.settings_table import thresholds, tried


def test_the_users_own_setting_is_the_first() -> None:
    for own in (Setting(1, StopRule(8)), Setting(16, StopRule(8, 4, 8)), Setting(4, StopRule(8, 1, 4))):
        found = tried(own, [7.0, 8.0, 9.0])
        assert found[0] == own
        assert len(found) == len(set(found))


def test_no_setting_has_a_rule_that_cannot_stop_anything() -> None:
    for count in range(1, 40):
        own = Setting(count, StopRule(8))
        for setting in tried(own, []):
            assert setting.answers is not None
            assert setting.answers > 0
            stops = [setting.rule.stop_after, setting.rule.give_up_after]
            assert all(stop is None or stop < setting.answers for stop in stops)


def test_answers_that_come_with_the_input_have_only_other_thresholds() -> None:
    found = tried(Setting(None, StopRule(8)), [1.0, 7.0, 8.0, 9.0])
    assert [(one.answers, one.rule.accept_score) for one in found] == [(None, 8), (None, 7), (None, 9)]


@pytest.mark.parametrize(
    ("own", "scores", "found"),
    [
        (10, [0.0] * 5 + [10.0] * 5, []),  # a rule that knows right and wrong: all answers, or none
        (8, [7.0, 8.0, 9.0], [9.0]),  # 7 accepts everything
        (8, [], []),
        (0.5, [n / 1000 for n in range(1000)], [0.45, 0.55]),
    ],
)
def test_other_thresholds_accept_clearly_more_or_fewer_answers(
    own: float, scores: List[float], found: List[float]
) -> None:
    random.Random(1).shuffle(scores)
    assert thresholds(own, scores) == found
