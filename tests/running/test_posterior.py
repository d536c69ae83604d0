"""What a run learns of its entries: the prior, the chance of the next answer, its tokens."""

from __future__ import annotations

import random
from typing import List

import pytest

from common.running.posterior import Acceptance, Lengths, Seen


def learnt(rates: List[float], most: int, stops: bool, chance: random.Random) -> Acceptance:
    """The outcomes of entries with these rates; with ``stops``, each ends with its first accepted answer."""
    acceptance = Acceptance()
    for rate in rates:
        seen = Seen()
        while seen.answers < most and not (stops and seen.accepted):
            after = Seen(seen.answers + 1, seen.accepted + (chance.random() < rate), seen.tokens + 100)
            acceptance.learn(seen, after)
            seen = after
    return acceptance


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize(("a", "b"), [(0.4, 0.4), (2.0, 6.0), (8.0, 2.0)])
def test_the_prior_is_found_whether_or_not_entries_stop_early(a: float, b: float, stops: bool) -> None:
    chance = random.Random(7)
    acceptance = learnt([chance.betavariate(a, b) for _ in range(1500)], 8, stops, chance)
    assert acceptance.chance(Seen()) == pytest.approx(a / (a + b), abs=0.04)
    assert acceptance.chance(Seen(4)) == pytest.approx(a / (a + b + 4), abs=0.04)
    assert acceptance.chance(Seen(4, 4)) == pytest.approx((a + 4) / (a + b + 4), abs=0.06)


def test_before_any_outcome_every_entry_is_the_same_and_failures_make_it_worse() -> None:
    acceptance = Acceptance()
    assert acceptance.chance(Seen()) == 0.5
    values = [acceptance.value(Seen(answers, 0, 100 * answers)) for answers in range(4)]
    assert values == sorted(values, reverse=True)


def test_all_right_or_all_wrong_is_never_certain() -> None:
    for rate in (0.0, 1.0):
        acceptance = learnt([rate] * 300, 4, False, random.Random(1))
        assert 0 < acceptance.chance(Seen()) < 1
        assert acceptance.chance(Seen()) == pytest.approx(rate, abs=0.02)


def test_of_two_entries_with_the_same_answers_the_shorter_one_is_worth_more() -> None:
    chance, acceptance = random.Random(3), Acceptance()
    for _ in range(200):
        mean, seen = chance.choice((50, 400)), Seen()
        for _ in range(3):
            after = Seen(seen.answers + 1, seen.accepted, seen.tokens + mean + chance.randrange(20))
            acceptance.learn(seen, after)
            seen = after
    assert acceptance.value(Seen(1, 0, 60)) > 4 * acceptance.value(Seen(1, 0, 410))


def test_where_lengths_differ_by_chance_alone_an_entry_s_own_say_nothing() -> None:
    chance, lengths = random.Random(3), Lengths()
    for _ in range(400):
        seen = Seen()
        for _ in range(3):
            after = Seen(seen.answers + 1, 0, seen.tokens + chance.randrange(1, 200))
            lengths.learn(seen, after)
            seen = after
    assert lengths.expected(Seen(1, 0, 20)) == pytest.approx(lengths.expected(Seen(1, 0, 180)), rel=0.15)


def test_no_tokens_and_odd_counts_do_no_harm() -> None:
    acceptance = Acceptance()
    for _ in range(50):
        acceptance.learn(Seen(2, 2, 0), Seen(2, 1, 0))  # another limit of tokens took answers away
        acceptance.learn(Seen(), Seen(1, 5, 0))
    assert 0 < acceptance.value(Seen()) <= 1
