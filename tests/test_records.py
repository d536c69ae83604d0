"""Ids, and the lines of outputs and ledgers."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.input.conversations import entry_from_conversation
from common.records import (
    Answer,
    Entry,
    Origin,
    Score,
    answer_from_line,
    answer_line,
    canonical,
    entry_id_of,
    entry_key_of,
    id_key,
    make_record,
    origin_of,
    score_from_line,
    score_line,
)
from common.storage.append_file import to_line
from tests.helpers import conversation

ANY_TEXT = st.text(st.characters(), max_size=20)  # lone surrogates too


def turns(*pairs: str) -> List[Dict[str, str]]:
    """Turns from "role:text" strings."""
    return [dict(zip(("from", "value"), pair.split(":", 1))) for pair in pairs]


def entry(*pairs: str, images: Optional[List[str]] = None) -> Entry:
    return entry_from_conversation({"conversations": turns(*pairs), "images": images})


def test_the_id_is_the_md5_of_the_canonical_json_of_conversation_and_images() -> None:
    spelled = (
        b'{"conversations":[{"from":"human","value":"caf\\u00e9?"},{"from":"gpt","value":"4"}],"images":["a.png"]}'
    )
    item = conversation("café?", "4", images=["a.png"])
    assert entry_from_conversation(item).entry_id == hashlib.md5(spelled).hexdigest()


@settings(max_examples=60, deadline=None)
@given(ANY_TEXT | st.sampled_from(["\x7f", *map(chr, range(34))]))
def test_the_id_of_any_text_is_that_of_its_canonical_json(text: str) -> None:
    said, images = turns(f"human:{text}"), [text]
    entry_id = hashlib.md5(canonical({"conversations": said, "images": images})).hexdigest()
    assert (entry_id_of(said, images), entry_key_of(said, images)) == (entry_id, id_key(entry_id))


@settings(max_examples=60, deadline=None)
@given(ANY_TEXT)
def test_canonical_is_one_ascii_spelling_whatever_the_order_of_keys(text: str) -> None:
    spelled = canonical({"b": text, "a": {"d": [text], "c": None}})
    assert spelled == canonical({"a": {"c": None, "d": [text]}, "b": text})
    assert all(32 <= byte < 127 for byte in spelled)
    assert json.loads(spelled)["b"] == text


@pytest.mark.parametrize("own", ["q-17", "", "x" * 32, "ж" * 16, "0" * 31, "0" * 33])
def test_an_id_of_somebody_elses_making_has_a_key_of_its_own(own: str) -> None:
    assert id_key(own) != id_key(own + "1")
    assert 0 <= id_key(own) < 1 << 128


@pytest.mark.parametrize(
    "own",
    [
        *(
            "F" * 32,
            "f" * 31,
            "f" * 33,
            "+" + "f" * 31,
            "-" + "f" * 31,
            " " + "f" * 31,
            "f" * 31 + " ",
            "0x" + "f" * 30,
        ),
        *("f_" * 15 + "ff", "\u0663" * 32, "\uff11" * 32, "f" * 32 + "\n", "\n" + "f" * 32),
    ],
)
def test_what_is_not_exactly_32_lower_case_hex_digits_is_not_read_as_a_number(own: str) -> None:
    assert id_key(own) == int(hashlib.md5(canonical(own)).hexdigest(), 16)


def test_the_key_of_our_id_is_its_number() -> None:
    assert id_key("0123456789abcdef0123456789abcdef") == 0x0123456789ABCDEF0123456789ABCDEF


def test_a_full_record_has_its_keys_in_the_promised_order() -> None:
    record = make_record(entry("human:q", "gpt:a", images=["i.png"]), [Answer("x")], [Score(1.0)])
    assert list(record) == [
        "original_question",
        "original_answers",
        "images",
        "generated_answers",
        "generated_scores",
        "generated_details",
        "entry_id",
    ]


def test_a_record_says_where_its_entry_is_in_the_input() -> None:
    found = entry("human:q")
    found.extra, found.origin = {"id": 1}, Origin(7, "a.jsonl")
    record = make_record(found, [Answer("x")], None, "stop_after")
    assert list(record)[2:] == [
        "extra",
        "generated_answers",
        "generated_details",
        "stopped_by",
        "file",
        "line",
        "entry_id",
    ]
    assert (origin_of(record), origin_of({**record, "line": "7"})) == (Origin(7, "a.jsonl"), None)


def test_a_record_without_images_and_scores_names_neither() -> None:
    record = make_record(entry("human:q"), [Answer("x")], None)
    assert list(record) == [
        "original_question",
        "original_answers",
        "generated_answers",
        "generated_details",
        "entry_id",
    ]


@settings(max_examples=40, deadline=None)
@given(text=ANY_TEXT, reasoning=st.none() | ANY_TEXT)
def test_every_kind_of_line_ends_with_the_entrys_id(text: str, reasoning: Optional[str]) -> None:
    found, answer = entry("human:q"), Answer(text, "stop", reasoning, {"entry_id": "no"})
    ending = f'"entry_id":"{found.entry_id}"}}\n'.encode()
    lines = [
        make_record(found, [answer], [Score(None, text, "no score")]),
        answer_line(found.entry_id, 0, "made", answer, 10),
        score_line(found.entry_id, 0, "made", answer, Score(1.0, text)),
    ]
    assert [to_line(line).endswith(ending) for line in lines] == [True] * 3


def test_an_unscored_answer_is_null_with_its_reason() -> None:
    record = make_record(entry("human:q"), [Answer("x"), Answer("y")], [Score(None, "hm", "no score"), Score(0.0)])
    assert record["generated_scores"] == [None, 0.0]
    assert record["generated_details"] == [{"judge_reply": "hm", "unscored": "no score"}, {}]


def test_details_hold_only_what_exists_one_object_an_answer() -> None:
    answers = [Answer("x", "stop", "thought", {"total_tokens": 0}), Answer("y", "length"), Answer("")]
    assert make_record(entry("human:q"), answers, None)["generated_details"] == [
        {"finish_reason": "stop", "reasoning": "thought", "usage": {"total_tokens": 0}},
        {"finish_reason": "length"},
        {},
    ]


@settings(max_examples=50, deadline=None)
@given(
    text=ANY_TEXT,
    finish=st.none() | st.sampled_from(["stop", "length", ""]),
    reasoning=st.none() | ANY_TEXT,
    usage=st.none() | st.just({}) | st.just({"total_tokens": 3}),
)
def test_an_answer_comes_back_from_its_ledger_line(
    text: str, finish: Optional[str], reasoning: Optional[str], usage: Optional[Dict[str, Any]]
) -> None:
    answer = Answer(text, finish, reasoning, usage)
    assert answer_from_line(json.loads(to_line(answer_line("id", 3, "made", answer, None)))) == answer


@pytest.mark.parametrize("score", [Score(0.0), Score(7.5, "Score: 7.5"), Score(None, "", "empty"), Score(None)])
def test_a_score_comes_back_from_its_ledger_line(score: Score) -> None:
    line = json.loads(to_line(score_line("id", 3, "made", Answer("x"), score)))
    assert score_from_line(line) == score
    assert line["digest"] == Answer("x", "length", "other", {}).digest != Answer("x ").digest


@pytest.mark.parametrize(("reason", "cut"), [("length", True), ("stop", False), (None, False), ("tool_calls", False)])
def test_only_the_token_limit_cuts_an_answer(reason: Optional[str], cut: bool) -> None:
    assert Answer("x", reason).cut is cut
