"""Pass rates: counted, with their interval, and what they decide."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UsageError
from common.records import Record
from common.results.export import check_selection
from common.results.pass_rate import PassRate, answers_wanted, pass_rate_of, per_entry, share_range, wilson
from common.results.selection import Pick, Selection, choose


def scored(accepted: int, refused: int, **more: Any) -> Record:
    count = accepted + refused
    record = {"generated_answers": [f"answer {n}" for n in range(count)], "entry_id": "a", **more}
    return {**record, "generated_scores": [10.0] * accepted + [0.0] * refused}


def test_cut_and_unscored_answers_are_not_counted() -> None:
    record = scored(3, 2)
    record["generated_scores"][0] = None
    record["generated_details"] = [{}, {"finish_reason": "length"}, {}, {}, {"finish_reason": "stop"}]
    assert pass_rate_of(record, 10) == PassRate(1, 3)
    record["generated_answers"][2] = "<think>never ends"
    assert pass_rate_of(record, 10) == PassRate(0, 2)


@given(
    st.dictionaries(
        st.sampled_from(["generated_answers", "generated_scores", "generated_details"]),
        st.one_of(
            st.none(), st.lists(st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.just({})))
        ),
    )
)
def test_a_record_that_is_none_has_no_pass_rate_and_no_error(record: Record) -> None:
    rate = pass_rate_of(record, 1.0)
    assert 0 <= rate.accepted <= rate.of


@pytest.mark.parametrize(  # statsmodels.stats.proportion.proportion_confint(..., method="wilson")
    ("accepted", "of", "low", "high"),
    [(0, 4, 0.0, 0.4899), (4, 4, 0.5101, 1.0), (1, 8, 0.0224, 0.4709), (50, 100, 0.4038, 0.5962), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_wilsons(accepted: int, of: int, low: float, high: float) -> None:
    assert PassRate(accepted, of).as_data()["interval"] == [low, high]


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_an_interval_holds_the_share_and_stays_between_0_and_1(of: int, share: float) -> None:
    accepted = round(share * of)
    low, high = wilson(accepted, of)
    assert 0 <= low <= accepted / of <= high <= 1


def test_entries_are_chosen_by_their_pass_rate() -> None:
    how = Selection("best", accept_score=10, pass_rate=(0.1, 0.9))
    assert [bool(choose(scored(good, 10 - good), how)) for good in (0, 1, 5, 9, 10)] == [False, True, True, True, False]
    assert choose(scored(0, 0), how) == []


def test_uniform_takes_as_many_answers_of_each_entry() -> None:
    how = Selection("threshold", accept_score=10, per_entry="uniform:3")
    assert [len(choose(scored(good, 8 - good), how)) for good in (0, 2, 5, 8)] == [0, 2, 3, 3]
    assert choose(scored(8, 0), how) == [Pick(0), Pick(1), Pick(2)]


def test_prop2diff_takes_more_answers_of_harder_entries_and_one_at_least() -> None:
    how = Selection("random", accept_score=10, per_entry="prop2diff")
    assert [len(choose(scored(good, 16 - good), how)) for good in (16, 15, 12, 8, 4, 0)] == [1, 1, 4, 8, 4, 0]
    assert answers_wanted("prop2diff", PassRate(4, 16)) == 12


def test_flags_are_read_or_refused_with_an_example() -> None:
    assert share_range("0-1"), share_range(".25 - 0.5") == ((0.0, 1.0), (0.25, 0.5))
    for text in ("0.9-0.1", "0.1", "1-2", "a-b", "-1-0"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"such as 0\.1-0\.9"):
            share_range(text)
    assert per_entry("uniform:4") == "uniform:4"
    for text in ("uniform", "uniform:0", "uniform:-1", "prop", "prop2diff:3"):
        with pytest.raises(argparse.ArgumentTypeError, match="uniform:4"):
            per_entry(text)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (Selection("best", pass_rate=(0.1, 0.9)), "--pass_rate needs --accept_score"),
        (Selection("top_k", per_entry="uniform:2"), "--per_entry needs --accept_score"),
        (Selection("best", accept_score=1, per_entry="uniform:2"), "--per_entry sets how many answers"),
        (Selection("top_k", 2, 1.0, per_entry="uniform:2"), "without --top_k"),
        (Selection("best", rejected="random"), "--rejected is about pairs"),
    ],
)
def test_selections_without_meaning_are_refused(how: Selection, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_selection(how, "sharegpt" if not how.makes_pairs else "preference", "x.json")
