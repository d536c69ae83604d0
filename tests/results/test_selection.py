"""Which candidates are kept: what each way of choosing promises, and that nothing unclear is ever chosen."""

from __future__ import annotations

import json
import math
from typing import Any, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.input.conversations import entry_from_conversation
from common.records import Answer, Record, Score, make_record
from common.results.selection import SELECTS, Pick, Selection, accepted, choose, normalised, selectable
from tests.helpers import conversation

Values = List[Optional[float]]


def record(
    values: Values,
    cut: list[int] | None = None,
    item: dict[str, Any] | None = None,
    texts: list[str] | None = None,
) -> Record:
    """A record as the scripts write it, with answers "answer 0", "answer 1", ...; those in ``cut`` were cut."""
    finish = ["length" if index in (cut or []) else "stop" for index in range(len(values))]
    texts = texts or [f"answer {index}" for index in range(len(values))]
    answers = [Answer(text, reason) for text, reason in zip(texts, finish)]
    entry = entry_from_conversation(item or conversation("2+2?", "4"))
    loaded: Record = json.loads(json.dumps(make_record(entry, answers, [Score(value) for value in values])))
    return loaded


def chosen(kept: Any, **how: Any) -> list[int | None]:
    return [pick.chosen for pick in choose(kept, Selection(**how))]


def pairs(kept: Any, **how: Any) -> list[tuple[int | None, int | None]]:
    return [tuple(pick) for pick in choose(kept, Selection("dpo", **how))]


@pytest.mark.parametrize(
    ("values", "cut", "accept", "index"),
    [
        ([3.0, 9.0, 5.0], [], None, 1),
        ([9.0, 9.0, 9.0], [], None, 0),
        ([1.0, 9.0, 9.0], [], None, 1),
        ([None, 2.0, None], [], None, 1),
        ([None, None], [], None, None),
        ([], [], None, None),
        ([0.0], [], None, 0),
        ([-2.0, -1.0], [], None, 1),
        ([9.0, 4.0], [0], None, 1),
        ([9.0, 9.0], [0], None, 1),
        ([9.0], [0], None, None),
        ([7.9, 8.0], [], 8, 1),
        ([7.9, 7.99], [], 8, None),
        ([0.0, None], [], 0, 0),
        ([-1.0], [], 0, None),
        ([10.0, 8.0], [0], 8, 1),
        ([10.0, 7.0], [0], 8, None),
    ],
)
def test_the_best_is_the_first_of_the_highest_that_may_be_taken(
    values: Values, cut: list[int], accept: float | None, index: int | None
) -> None:
    assert chosen(record(values, cut), accept_score=accept) == ([] if index is None else [index])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 3).map(float)), st.booleans()), max_size=6),
    st.one_of(st.none(), st.integers(0, 4).map(float)),
)
def test_never_is_a_cut_unscored_or_rejected_answer_the_best(given_pairs: list[Any], accept: float | None) -> None:
    cut = [index for index, (_, is_cut) in enumerate(given_pairs) if is_cut]
    able = [(-value, index) for index, (value, is_cut) in enumerate(given_pairs) if value is not None and not is_cut]
    able = [pair for pair in able if accept is None or -pair[0] >= accept]
    wanted = [min(able)[1]] if able else []
    assert chosen(record([value for value, _ in given_pairs], cut), accept_score=accept) == wanted


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, "9", [9], {"9": 9}, True, 10**400, -(10**400)])
@pytest.mark.parametrize("accept", [None, 0.0])
def test_what_is_no_finite_number_is_never_the_best_wherever_it_stands(score: Any, accept: float | None) -> None:
    for values, index in ([score, 2.0, 3.0], [2]), ([3.0, score, 2.0], [0]), ([2.0, 3.0, score], [1]), ([score], []):
        texts = [f"answer {place}" for place in range(len(values))]
        kept = {"generated_answers": texts, "generated_scores": values}
        assert chosen(kept, accept_score=accept) == index


def test_a_record_that_was_never_scored_gives_nothing() -> None:
    entry = entry_from_conversation(conversation("2+2?"))
    assert [chosen(make_record(entry, [Answer("4")], None), select=select) for select in SELECTS] == [[]] * 5


@pytest.mark.parametrize("details", [{}, {"generated_details": None}, {"generated_details": []}])
def test_a_record_without_details_is_judged_by_its_scores(details: dict[str, Any]) -> None:
    assert chosen({"generated_answers": ["a", "b"], "generated_scores": [1.0, 2.0], **details}) == [1]


def test_choosing_leaves_the_record_as_it_was() -> None:
    kept = record([1.0, 2.0, 3.0])
    before = json.dumps(kept)
    for select in SELECTS:
        choose(kept, Selection(select, top_k=2, reference_as_chosen=True))
    assert json.dumps(kept) == before


def test_the_k_highest_are_taken_the_best_first_and_of_equals_the_first() -> None:
    kept = record([5.0, 9.0, 5.0, None, 7.0, 5.0])
    assert [chosen(kept, select="top_k", top_k=k) for k in (1, 3, 9)] == [[1], [1, 4, 0], [1, 4, 0, 2, 5]]
    assert chosen(kept, select="top_k", top_k=9, accept_score=7) == [1, 4]


def test_the_threshold_takes_all_that_reach_it() -> None:
    assert chosen(record([8.0, 7.9, 10.0, None, 8.1], [4]), select="threshold", accept_score=8) == [0, 2]


def test_of_answers_that_differ_in_space_and_case_the_best_scored_counts() -> None:
    texts = ["It is 4.", " it  IS\n4. ", "It is 4!", "IT IS 4."]
    kept = record([5.0, 7.0, 6.0, 7.0], texts=texts)
    assert accepted(kept, None) == [1, 2]
    assert accepted(kept, 6.5) == [1]
    assert chosen(kept, select="top_k", top_k=4) == [1, 2]
    assert pairs(kept, pairs_per_entry=9) == [(1, 2)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Stra\u00dfe", "STRASSE"),
        ("caf\u00e9", "CAFE\u0301"),
        ("a\u00a0b\u3000c", "A B\tC"),
        ("\u1fb3", "\u0391\u0345"),
        ("\ud83d half", "\ud83d  HALF "),
    ],
)
def test_spellings_of_one_text_are_equal(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("x = 1", "x = 2"), ("a.", "a"), ("ab", "a b"), ("x\u00b2", "x2")])
def test_texts_that_say_other_things_are_not_equal(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=8))
def test_a_normalised_text_is_its_own_normal_form(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text) == normalised(f" {text}\n")


@pytest.mark.parametrize(
    ("text", "finish_reason", "score", "able"),
    [
        ("4", "stop", 1, True),
        ("4", None, -0.5, True),
        ("4", "length", 1.0, False),
        (" \n\t", "stop", 1.0, False),
        ("4", "stop", None, False),
        ("4", "stop", True, False),
        ("4", "stop", math.nan, False),
    ],
)
def test_only_a_whole_scored_answer_that_says_something_can_be_selected(
    text: str, finish_reason: str | None, score: object, able: bool
) -> None:
    assert selectable(text, finish_reason, score) is able


def test_a_random_choice_does_not_look_at_the_scores_and_is_another_for_another_entry_or_seed() -> None:
    records = [record([1.0] * 8, item=conversation(f"question {n}?")) for n in range(200)]
    turned = [{**kept, "generated_scores": [float(n) for n in range(8)]} for kept in records]
    first = [chosen(kept, select="random", seed=3) for kept in records]
    assert first == [chosen(kept, select="random", seed=3) for kept in turned]
    assert first != [chosen(kept, select="random", seed=4) for kept in records]
    counts = [sum(pick == [index] for pick in first) for index in range(8)]
    assert min(counts) >= 8  # of 25 expected: four deviations


def test_a_random_choice_takes_k_of_the_accepted_and_a_larger_k_keeps_them() -> None:
    kept = record([9.0, 2.0, 8.0, 8.5, None, 9.0, 8.0])
    samples = [chosen(kept, select="random", top_k=k, accept_score=8) for k in range(1, 7)]
    assert [len(one) for one in samples] == [1, 2, 3, 4, 5, 5]
    assert all(one == samples[-1][: len(one)] for one in samples)
    assert {*samples[-1]} == {0, 2, 3, 5, 6}


def test_records_without_an_id_are_sampled_independently() -> None:
    records = [record([1.0] * 4, item=conversation(f"question {n}?")) for n in range(40)]
    for kept in records:
        del kept["entry_id"]
    assert len({tuple(chosen(kept, select="random")) for kept in records}) == 4


def test_a_pair_is_the_widest_margin_first() -> None:
    kept = record([5.0, 9.0, 2.0, 2.0])
    assert pairs(kept) == [(1, 2)]
    assert pairs(kept, accept_score=9.5) == []


def test_further_pairs_use_fresh_answers_first_and_then_repeat_some() -> None:
    kept = record([10.0, 0.0, 8.0, 3.0])
    assert pairs(kept, pairs_per_entry=2) == [(0, 1), (2, 3)]
    assert pairs(kept, pairs_per_entry=9) == [(0, 1), (2, 3), (2, 1), (0, 3), (3, 1), (0, 2)]


def test_a_tie_is_never_a_pair_and_a_margin_is_reached_in_spite_of_binary_fractions() -> None:
    assert pairs(record([0.3, 0.1 + 0.2])) == []
    assert pairs(record([0.9, 0.6]), min_margin=0.3) == [(0, 1)]  # 0.9 - 0.6 is a little less than 0.3
    assert pairs(record([0.9, 0.6]), min_margin=0.31) == []


def test_matched_lengths_go_before_the_margin() -> None:
    texts = ["a" * 100, "b" * 10, "c" * 95, "d" * 94]
    kept = record([9.0, 1.0, 4.0, 3.0], texts=texts)
    assert pairs(kept) == [(0, 1)]
    assert pairs(kept, length_match=True) == [(2, 3)]
    assert pairs(kept, length_match=True, accept_score=9) == [(0, 2)]


def test_the_reference_is_chosen_over_what_scored_less_and_says_something_else() -> None:
    kept = record([2.0, 10.0, 7.0, 0.0, None], texts=["five", "ten", "Seven", " 4 ", "none"])
    assert pairs(kept, reference_as_chosen=True, pairs_per_entry=9) == [(None, 0), (None, 2)]
    assert pairs(kept, reference_as_chosen=True, min_margin=5) == [(None, 0)]
    assert pairs(kept, reference_as_chosen=True, reference_score=7, min_margin=1) == [(None, 0)]
    assert pairs(kept, reference_as_chosen=True, reference_score=7, accept_score=8) == []


@pytest.mark.parametrize("answers", [[{"from": "human", "value": "2+2?"}], [], None, ["4", "  "], [7], "4", [{}]])
def test_without_a_reference_there_is_no_pair_with_it(answers: Any) -> None:
    kept = {**record([2.0, 3.0]), "original_answers": answers}
    assert pairs(kept, reference_as_chosen=True) == []
    assert pairs(kept) == [(1, 0)]


def test_plain_strings_are_references_too() -> None:
    kept = {**record([2.0]), "original_answers": ["three", "4"]}
    assert pairs(kept, reference_as_chosen=True) == [(None, 0)]


scores = st.one_of(
    st.none(),
    st.sampled_from([0.0, 0.1, 0.3, 0.1 + 0.2, 1.0, 2.0, 9.0, 10.0]),
    st.sampled_from([math.nan, math.inf, True, "7"]),
)
answers = st.lists(
    st.tuples(
        scores, st.sampled_from(["a", "A ", "bb", "ccc", "4", "dd d", "", " "]), st.sampled_from(["stop", "length"])
    ),
    max_size=6,
)


def built(rows: list[tuple[Any, str, str]]) -> Record:
    return {
        "original_question": "2+2?",
        "original_answers": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}],
        "generated_answers": [text for _, text, _ in rows],
        "generated_scores": [score for score, _, _ in rows],
        "generated_details": [{"finish_reason": reason} for _, _, reason in rows],
        "entry_id": "e",
    }


def brute_candidates(rows: list[tuple[Any, str, str]]) -> list[int]:
    """One index a text: written down apart from the code under test."""
    best: dict[str, int] = {}
    for index, (score, text, reason) in enumerate(rows):
        fine = type(score) in (int, float) and math.isfinite(score) and reason == "stop" and text.strip() != ""
        same = " ".join(text.lower().split())
        if fine and (same not in best or rows[best[same]][0] < score):
            best[same] = index
    return sorted(best.values())


@settings(max_examples=200, deadline=None)
@given(
    answers,
    st.sampled_from([0.0, 0.2, 1.0, 8.0]),
    st.one_of(st.none(), st.sampled_from([0.3, 2.0])),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
)
def test_pairs_are_what_trying_every_pair_in_every_round_gives(
    rows: list[tuple[Any, str, str]],
    margin: float,
    accept: float | None,
    length_match: bool,
    with_reference: bool,
    most: int,
) -> None:
    able = brute_candidates(rows)
    goods = [(None, 10.0, "4")] if with_reference else [(index, rows[index][0], rows[index][1]) for index in able]
    every = []
    for place, score, text in goods:
        for bad in able:
            other, other_text, _ = rows[bad]
            if with_reference and other_text == "4":
                continue
            if score - other > 1e-9 and score - other >= margin - 1e-9 and (accept is None or score >= accept):
                ratio = min(len(text), len(other_text)) / max(len(text), len(other_text))
                rank = (-ratio if length_match else 0, -round(score - other, 9), -1 if place is None else place, bad)
                every.append((rank, (place, bad)))
    wanted: list[tuple[int | None, int]] = []
    used: set[int | None] = set()
    for _ in range(most):
        left = [pair for pair in every if pair[1] not in wanted]
        if left:
            fewest = min(len({*pair} & used) for _, pair in left)
            wanted.append(min(pair for pair in left if len({*pair[1]} & used) == fewest)[1])
            used |= {*wanted[-1]}
    how = {"min_margin": margin, "accept_score": accept, "length_match": length_match, "pairs_per_entry": most}
    assert pairs(built(rows), reference_as_chosen=with_reference, **how) == wanted


@settings(max_examples=200, deadline=None)
@given(answers, st.sampled_from(SELECTS), st.one_of(st.none(), st.sampled_from([0.3, 9.0])), st.integers(1, 4))
def test_nothing_cut_empty_unscored_or_doubled_is_chosen_or_rejected_in_any_mode(
    rows: list[tuple[Any, str, str]], select: str, accept: float | None, many: int
) -> None:
    able = brute_candidates(rows)
    enough = [index for index in able if accept is None or rows[index][0] >= accept]
    picks = choose(built(rows), Selection(select, top_k=many, accept_score=accept, pairs_per_entry=many))
    assert {pick.chosen for pick in picks} <= set(enough)
    assert {pick.rejected for pick in picks} <= {None, *able}
    assert len(set(picks)) == len(picks)
    if select != "dpo":
        wanted = {"best": 1, "threshold": len(rows)}.get(select, many)
        assert len(picks) == min(wanted, len(enough))


json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just("length")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=6,
)
KEYS = ("generated_answers", "generated_scores", "generated_details", "original_answers", "images", "entry_id")


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(json_like, st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, json_like))),
    st.sampled_from(SELECTS),
    st.booleans(),
)
def test_no_record_makes_it_fall(kept: Any, select: str, with_reference: bool) -> None:
    for pick in choose(kept, Selection(select, top_k=3, reference_as_chosen=with_reference)):
        assert isinstance(kept["generated_answers"][pick.chosen or 0], str)


@pytest.mark.parametrize(
    "damage",
    [
        {"generated_scores": [9.0]},
        {"generated_scores": [9.0, 8.0, 7.0]},
        {"generated_scores": None},
        {"generated_answers": ["a"]},
        {"generated_answers": "ab"},
        {"generated_details": [{}]},
        {"generated_details": {"finish_reason": "stop"}},
        {"generated_details": ["stop", None]},
    ],
)
@pytest.mark.parametrize("select", SELECTS)
def test_lists_that_do_not_fit_each_other_give_nothing(damage: dict[str, Any], select: str) -> None:
    assert choose({**record([9.0, 8.0]), **damage}, Selection(select)) == []


def test_an_answer_that_is_no_text_is_passed_over() -> None:
    kept = {**record([9.0, 8.0, 7.0]), "generated_answers": [None, "b", "c"]}
    assert chosen(kept) == [1]
    assert choose(kept, Selection("dpo")) == [Pick(1, 2)]


def compared(beat: dict[int, list[object]], scores: list[float]) -> Record:
    """A record of answers that were compared: who beat whom in both orders, by indices."""
    kept = record(list(scores))
    for index, detail in enumerate(kept["generated_details"]):
        detail["compared"] = {"as": f"key{index}", "beat": beat.get(index, [])}
    return kept


@pytest.mark.parametrize(
    ("beat", "expected"),
    [
        ({}, []),
        ({0: ["key1"]}, [(0, 1)]),
        ({0: ["key1"], 2: ["key0"]}, [(0, 1)]),
        ({0: ["key1 key2"]}, [(0, 2), (0, 1)]),
        ({0: ["key1"], 1: ["key2"]}, [(0, 1), (1, 2)]),
        ({0: [None, 7, ["key1"]]}, []),
    ],
)
def test_of_compared_answers_only_pairs_that_held_in_both_orders_are_chosen(
    beat: dict[int, list[object]], expected: list[tuple[int, int]]
) -> None:
    assert pairs(compared(beat, [9.0, 5.0, 1.0]), pairs_per_entry=9) == expected
    mixed = compared(beat, [9.0, 5.0, 1.0])
    del mixed["generated_details"][1]["compared"]
    assert all(1 not in pair for pair in pairs(mixed, pairs_per_entry=9))


def test_the_reference_needs_no_comparison() -> None:
    assert pairs(compared({}, [9.0, 5.0]), reference_as_chosen=True) == [(None, 1)]
