"""How many answers are sampled next."""

from __future__ import annotations

import random
from typing import List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.running.early_stopping import Standing, StopRule, StopSure
from common.scoring.votes import sureness


def play(
    rule: StopRule, outcomes: List[bool], servers_idle: bool, shuffle: random.Random
) -> Tuple[int, int, Optional[str]]:
    """Samples by the rule until it wants no more, verdicts in any order: (sampled, accepted, why it stopped)."""
    waiting: List[bool] = []
    started = judged = accepted = 0
    while True:
        more = rule.more(Standing(len(outcomes), started, judged, accepted), servers_idle)
        waiting += outcomes[started : started + more]
        started += more
        why = rule.stopped_by(Standing(len(outcomes), started, judged, accepted))
        if why == "stop_after" or not waiting:
            return started, accepted, why
        accepted += waiting.pop(shuffle.randrange(len(waiting)))
        judged += 1


@given(
    st.lists(st.booleans(), min_size=1, max_size=24),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(1, 8),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_it_ends_with_enough_or_at_its_limit_and_never_samples_more_than_asked(
    outcomes: List[bool],
    stop_after: Optional[int],
    give_up_after: Optional[int],
    servers_idle: bool,
    order: random.Random,
) -> None:
    rule = StopRule(1.0, stop_after, give_up_after)
    sampled, accepted, why = play(rule, outcomes, servers_idle, order)
    assert sampled <= len(outcomes)
    if why == "stop_after":
        assert stop_after is not None
        assert accepted >= stop_after
    elif why == "give_up_after":
        assert give_up_after is not None
        assert sampled >= give_up_after
        assert accepted == 0
        assert not any(outcomes[:give_up_after])
    else:
        assert sampled == len(outcomes)


@given(st.lists(st.booleans(), min_size=1, max_size=24), st.integers(1, 5))
def test_without_hurry_not_one_draw_is_wasted(outcomes: List[bool], stop_after: int) -> None:
    sampled, accepted, why = play(StopRule(1.0, stop_after), outcomes, False, random.Random(0))
    if why == "stop_after":
        assert accepted == stop_after
        assert sum(outcomes[:sampled]) == stop_after
        assert sum(outcomes[: sampled - 1]) < stop_after


def test_a_hopeless_entry_in_a_hurry_takes_few_rounds() -> None:
    rule, rounds, started = StopRule(1.0, stop_after=1), 0, 0
    while started < 64:
        started += rule.more(Standing(64, started, started, 0), servers_idle=True)
        rounds += 1
    assert rounds == 7  # 1, 2, 4, 8, 16, 32 and the last


@pytest.mark.parametrize(
    ("sampled", "more"),
    [
        (Standing(8, 0, 0, 0), 2),  # what is needed
        (Standing(8, 2, 0, 0), 0),  # both may be accepted
        (Standing(8, 2, 1, 1), 0),
        (Standing(8, 2, 2, 1), 1),
        (Standing(8, 4, 4, 0), 0),  # given up
        (Standing(8, 3, 3, 0), 1),  # two are needed, but the fourth decides whether to go on
        (Standing(8, 8, 8, 1), 0),
        (Standing(8, 3, 3, 2), 0),
    ],
)
def test_two_of_eight_given_up_after_four(sampled: Standing, more: int) -> None:
    assert StopRule(1.0, stop_after=2, give_up_after=4).more(sampled) == more


def test_giving_up_alone_draws_all_the_rest_once_one_is_accepted() -> None:
    rule = StopRule(1.0, give_up_after=3)
    assert rule.more(Standing(10, 0, 0, 0)) == 3
    assert rule.more(Standing(10, 3, 1, 0)) == 0
    assert rule.more(Standing(10, 3, 2, 1)) == 7


@given(
    st.lists(st.integers(0, 2), min_size=2, max_size=24),
    st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_stop_sure_ends_with_a_sure_leader_or_at_the_limit_and_wastes_nothing(
    answers: List[int], sure: float, servers_idle: bool, order: random.Random
) -> None:
    rule, waiting, counted = StopSure(sure), [], [0, 0, 0]  # type: Tuple[StopSure, List[int], List[int]]
    started = scored = 0
    while True:
        standing = Standing(len(answers), started, scored, 0, sorted(counted, reverse=True))
        more = rule.more(standing, servers_idle)
        waiting += answers[started : started + more]
        started += more
        if rule.stopped_by(standing) or not waiting:
            break
        counted[waiting.pop(order.randrange(len(waiting)))] += 1
        scored += 1
    first, second, _ = sorted(counted, reverse=True)
    assert started <= len(answers)
    assert scored >= 2
    if rule.stopped_by(standing):
        assert sureness(first, second) >= sure
        assert servers_idle or not waiting, "no request is dropped while other entries keep the servers busy"
    else:
        assert scored == len(answers)
