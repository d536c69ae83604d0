"""The rows of kto, stepwise, prompts and swift, the rejected side, and what is left out by reason."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Dict, List

import pytest

from common.errors import UsageError
from common.input.conversations import entry_from_conversation
from common.records import Answer, Record, Score, make_record
from common.results.export import Extras, Selected, check_selection, write_selected
from common.results.selection import Pick, Selection, choose, refused, why_nothing
from tests.helpers import conversation

ACCEPT = 8.0


def record(scores: List[Any], texts: List[str] | None = None, item: Dict[str, Any] | None = None) -> Record:
    answers = [Answer(text, "stop") for text in texts or [f"answer {n}" for n in range(len(scores))]]
    made = make_record(
        entry_from_conversation(item or conversation("2+2?", "4")), answers, [Score(score) for score in scores]
    )
    return {**made, "line": 7}


def written(tmp_path: Path, records: Any, how: Selection, name: str, keys: Any = ()) -> List[Dict[str, Any]]:
    path = tmp_path / "x.jsonl"
    write_selected(records, str(path), how, name, Extras(keys))
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("how", "labels"),
    [
        (Selection("threshold", accept_score=ACCEPT), {0: True, 3: True, 1: False, 2: False}),
        (Selection("best", accept_score=ACCEPT), {0: True, 2: False}),
        (Selection("top_k", 2, ACCEPT), {0: True, 3: True, 2: False, 1: False}),
        (Selection("dpo", min_margin=1), {0: True, 2: False}),
        (Selection("dpo", pairs_per_entry=3, accept_score=ACCEPT), {0: True, 3: True, 1: False, 2: False}),
    ],
)
def test_kto_labels_each_answer_once(tmp_path: Path, how: Selection, labels: Dict[int, bool]) -> None:
    rows = written(tmp_path, [record([9, 2, 1, 8, None])], how, "kto")
    assert {int(row["completion"][0]["content"][-1]): row["label"] for row in rows} == labels
    assert len(rows) == len(labels)
    assert rows[0]["prompt"] == [{"role": "user", "content": "2+2?"}]


def test_kto_needs_to_know_which_answers_are_bad() -> None:
    with pytest.raises(UsageError, match="--selected_format kto needs --accept_score"):
        check_selection(Selection("best"), "kto", "x.jsonl")
    check_selection(Selection("dpo"), "kto", "x.jsonl")


def test_swift_holds_texts_with_marks_and_the_rejected_response(tmp_path: Path) -> None:
    seen = record([9, 1], item=conversation("What?", images=["a.png"]))
    (row,) = written(tmp_path, [seen], Selection("dpo"), "swift")
    asked, chosen = {"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "answer 0"}
    assert row == {"messages": [asked, chosen], "rejected_response": "answer 1", "images": ["a.png"]}
    (row,) = written(tmp_path, [seen], Selection(), "swift")
    assert row == {"messages": [asked, chosen], "images": ["a.png"]}


def test_steps_have_labels_and_answers_without_scores_of_steps_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = record([1, 1, 1, 1], ["a\n\nb\n\nc", "d\ne", "f", "g"])
    for detail, scores in zip(made["generated_details"], ([0.9, 0.5, 0.1], [0.7], [-3.0], None)):
        detail.update({"step_scores": scores} if scores else {})
    with caplog.at_level(logging.WARNING):
        rows = written(tmp_path, [made], Selection("top_k", top_k=4), "stepwise")
    assert rows == [
        {"prompt": "2+2?", "completions": ["a", "b", "c"], "labels": [True, True, False]},
        {"prompt": "2+2?", "completions": ["d"], "labels": [True]},
    ]
    assert "left out 1 row: it has no scores of its steps" in caplog.text
    assert "left out 1 row: the scores of its steps are not from 0 to 1" in caplog.text


def test_prompts_have_a_row_per_entry_with_what_rl_needs(tmp_path: Path) -> None:
    own = {**conversation("2+2?", "4"), "data_source": "toy", "level": 3}
    how = Selection(accept_score=ACCEPT, pass_rate=(0.1, 0.9))
    rows = written(tmp_path, [record([9, 1, 1, 1], item=own), record([9, 9]), record([1, 1])], how, "prompts")
    (row,) = rows
    assert row.pop("extra_info") == {
        "index": 7,
        "entry_id": entry_from_conversation(own).entry_id,
        "accepted": 1,
        "of": 4,
        "extra": '{"data_source":"toy","level":3}',
    }
    assert row == {
        "data_source": "toy",
        "prompt": [{"role": "user", "content": "2+2?"}],
        "solution": "4",
        "reward_model": {"style": "rule", "ground_truth": "4"},
        "pass_rate": 0.25,
    }


def test_margins_are_columns_of_pairs(tmp_path: Path) -> None:
    (row,) = written(tmp_path, [record([9, 2])], Selection("dpo"), "preference", ["margin", "score"])
    assert (row["margin"], row["score_chosen"], row["score_rejected"]) == (7.0, 9, 2)
    reference = Selection("dpo", reference_as_chosen=True, reference_score=10.0)
    assert written(tmp_path, [record([9, 2])], reference, "preference", ["margin"])[0]["margin"] == 8.0
    for how, name in ((Selection(), "messages"), (Selection("dpo"), "kto")):
        with pytest.raises(UsageError, match="--selected_keys margin"):
            check_selection(how, name, "x.jsonl", ["margin"])


def test_the_rejected_side_is_the_lowest_a_random_one_or_one_near_the_mean_minus_two_deviations() -> None:
    many = record([10, *[9] * 18, 7, 0])  # mean 8.5, standard deviation 2.0
    assert choose(many, Selection("dpo")) == [Pick(0, 20)]
    assert choose(many, Selection("dpo", rejected="mean_minus_2sd")) == [Pick(0, 19)]
    chosen = {choose(many, Selection("dpo", rejected="random", seed=seed))[0] for seed in range(40)}
    assert {pick.chosen for pick in chosen} == {0}
    assert len(chosen) > 4
    assert choose(many, Selection("dpo", rejected="random")) == choose(many, Selection("dpo", rejected="random"))
    accepting = Selection("best", accept_score=9.5, rejected="mean_minus_2sd")
    assert (refused(many, accepting), refused(many, Selection("best", accept_score=9.5))) == ([19], [20])
    huge = record([1.7e308, -1.7e308, 0.0])
    assert len(choose(huge, Selection("dpo", rejected="mean_minus_2sd"))) == 1


@pytest.mark.parametrize(
    ("scores", "how", "reason"),
    [
        ([None, None], Selection("dpo"), "none of their answers can be selected"),
        ([9], Selection("dpo"), "they have only one different answer"),
        ([5, 5], Selection("dpo"), "no answer scores less than a chosen one"),
        ([5, 4], Selection("dpo", min_margin=2), "their scores differ by less than 2 (--min_margin)"),
        ([5, 4], Selection("dpo", accept_score=8), "none of their answers scores at least 8"),
        ([5, 4], Selection("dpo", accept_score=5, pass_rate=(0.9, 1)), "their pass rate is not within --pass_rate"),
    ],
)
def test_an_entry_without_a_pair_has_its_reason(tmp_path: Path, scores: Any, how: Selection, reason: str) -> None:
    assert choose(record(scores), how) == []
    assert why_nothing(record(scores), how) == reason
    selected = write_selected([record(scores)] * 2, str(tmp_path / "x.json"), how, "preference")
    assert selected == Selected(2, 0, 0, without=((reason, 2),))
    assert selected.summary_rows() == [("left out", f"2 entries: {reason}")]


def test_an_entry_without_a_reference_has_no_pair_with_one() -> None:
    bare = record([5, 4], item=conversation("2+2?"))
    assert why_nothing(bare, Selection("dpo", reference_as_chosen=True)) == "they have no reference"


@pytest.mark.parametrize(("name", "count"), [("sharegpt", 1), ("swift", 1), ("messages", 2), ("completion", 2)])
def test_a_mark_in_a_text_is_left_out_only_where_a_reader_would_take_it(tmp_path: Path, name: str, count: int) -> None:
    marked = record([9], ["Write <image> here."])
    assert len(written(tmp_path, [marked, record([9])], Selection(), name)) == count
    pictured = record([9], item=conversation("What?", images=["a.png"]))
    assert len(written(tmp_path, [marked, record([9]), pictured], Selection(), name)) == 2


@pytest.mark.parametrize(
    "roles",
    [["human", "human"], ["gpt", "human"], ["human", "gpt", "system", "human"], ["system", "system", "human"]],
)
def test_turns_that_do_not_alternate_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, roles: List[str]
) -> None:
    item = {"conversations": [{"from": role, "value": role} for role in roles]}
    with caplog.at_level(logging.WARNING):
        assert len(written(tmp_path, [record([9], item=item), record([9])], Selection(), "sharegpt")) == 2
    assert (
        "the turns do not alternate between human and gpt in 1 row; LLaMA-Factory leaves such rows out" in caplog.text
    )
