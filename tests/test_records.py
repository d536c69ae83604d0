"""What common/records.py promises: ids, conversations, and the lines of outputs and ledgers."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry
from common.input.conversations import entry_from_conversation, work_from_record
from common.records import (
    Answer,
    Entry,
    Score,
    answer_from_line,
    answer_line,
    canonical,
    id_key,
    make_record,
    score_from_line,
    score_line,
)
from common.storage.append_file import to_line
from tests.helpers import conversation

ANY_TEXT = st.text(st.characters(), max_size=20)  # lone surrogates too
HISTORY = [
    {"from": "human", "value": "first"},
    {"from": "gpt", "value": "one"},
    {"from": "human", "value": "second"},
    {"from": "gpt", "value": "two"},
]
BASE: Dict[str, Any] = {"conversations": HISTORY, "images": ["a.png", "b.png"]}


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


@pytest.mark.parametrize(
    "other",
    [
        {"images": ["a.png", "c.png"]},
        {"images": ["b.png", "a.png"]},
        {"images": ["a.png"]},
        {"images": ["a.png,b.png"]},
        {"images": None},
        {"conversations": [*HISTORY[:2], {"from": "human", "value": "second "}, HISTORY[3]]},
        {"conversations": [*HISTORY[:3], {"from": "gpt", "value": "three"}]},
        {"conversations": HISTORY[:3]},
        {"conversations": HISTORY[2:]},
        {"conversations": [HISTORY[2], HISTORY[1], HISTORY[0], HISTORY[3]]},
        {"conversations": [HISTORY[0], {"from": "gpt", "value": "eins"}, *HISTORY[2:]]},
        {"conversations": [{"from": "system", "value": "be brief"}, *HISTORY]},
    ],
)
def test_another_conversation_or_other_images_is_another_id(other: Dict[str, Any]) -> None:
    assert entry_from_conversation({**BASE, **other}).entry_id != entry_from_conversation(BASE).entry_id


@pytest.mark.parametrize(
    "same",
    [
        {"images": ["a.png", "b.png"], "conversations": HISTORY},
        {**BASE, "id": 17, "source": "somewhere"},
        {**BASE, "conversations": [{"value": turn["value"], "from": turn["from"]} for turn in HISTORY]},
        {**BASE, "conversations": [{**turn, "weight": 1} for turn in HISTORY]},
    ],
    ids=["key order", "fields beside", "key order in turns", "fields in turns"],
)
def test_what_makes_no_other_request_makes_no_other_id(same: Dict[str, Any]) -> None:
    assert entry_from_conversation(same, line=99).entry_id == entry_from_conversation(BASE, line=1).entry_id


@pytest.mark.parametrize("images", [{}, {"images": None}, {"images": []}], ids=["missing", "null", "empty"])
def test_no_images_is_one_id_however_it_is_written(images: Dict[str, Any]) -> None:
    item = conversation("2+2?")
    assert entry_from_conversation({**item, **images}).entry_id == entry_from_conversation(item).entry_id


@settings(max_examples=60, deadline=None)
@given(question=ANY_TEXT, reference=st.none() | ANY_TEXT, images=st.lists(st.text(min_size=1), max_size=2))
def test_the_id_survives_the_way_through_a_record(question: str, reference: Optional[str], images: List[str]) -> None:
    first = entry_from_conversation(conversation(question, reference, images=images))
    record = json.loads(to_line(make_record(first, [Answer("x")], None)))
    del record["entry_id"]
    assert work_from_record(record).entry.entry_id == first.entry_id


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


def test_the_question_is_the_last_human_turn_and_the_reference_stands_apart() -> None:
    found = entry("system:brief", "human:first", "gpt:one", "user:second", "assistant:two")
    assert (found.question, found.reference) == ("second", "two")
    assert [turn["value"] for turn in found.turns] == ["brief", "first", "one", "second"]


def test_a_conversation_that_ends_with_its_question_has_no_reference() -> None:
    found = entry("human:first", "gpt:one", "human:second")
    assert (found.question, found.reference) == ("second", None)
    assert [turn["value"] for turn in found.turns] == ["first", "one", "second"]


def test_an_empty_reference_is_still_a_reference() -> None:
    assert entry("human:q", "gpt:").reference == ""


def test_the_conversation_is_all_turns_as_they_came() -> None:
    came = [{"value": "q", "from": "human", "id": 3}, {"from": "gpt", "value": "a", "weight": 0.5}]
    assert json.dumps(entry_from_conversation({"conversations": came}).conversation) == json.dumps(came)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (turns("human:q", "robot:r"), ["turn 2", "'robot'", "human"]),
        (turns("Human:q"), ["turn 1", "'Human'"]),
        (turns("human:q", "gpt:a", " user:q"), ["turn 3", "' user'"]),
        (turns("gpt:a"), ["no question"]),
        (turns("system:s"), ["no question"]),
        (turns("system:s", "gpt:a"), ["no question"]),
        (turns("human:q", "gpt:a", "gpt:b"), ["no question"]),
        (turns("human:q", "system:s"), ["no question"]),
        ([], ["conversations"]),
        (None, ["conversations"]),
        ("human: q", ["conversations"]),
        ({"from": "human", "value": "q"}, ["conversations"]),
        (["q"], ["turn 1"]),
        ([*turns("human:q"), None], ["turn 2"]),
        ([{"from": "human"}], ["turn 1", "value"]),
        ([{"value": "q"}], ["turn 1", "from"]),
        ([{"from": "human", "value": None}], ["turn 1"]),
        ([{"from": "human", "value": 4}], ["turn 1"]),
        ([{"from": "human", "value": [{"type": "text", "text": "q"}]}], ["turn 1"]),
        ([{"from": ["human"], "value": "q"}], ["turn 1"]),
        ([{"role": "user", "content": "q"}], ["turn 1", "from", "value"]),
    ],
)
def test_a_conversation_that_is_none_is_named_by_turn_and_value(given: object, says: List[str]) -> None:
    with pytest.raises(BadEntry) as caught:
        entry_from_conversation({"conversations": given})
    assert all(word in str(caught.value) for word in says), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("item", [None, 1, "text", [], [conversation("q")], {}, {"prompt": []}, float("nan")])
def test_an_item_that_is_no_entry_is_refused(item: object) -> None:
    with pytest.raises(BadEntry, match="conversations"):
        entry_from_conversation(item)


@pytest.mark.parametrize("images", ["a.png", {"path": "a.png"}, [1], [None], [""], ["a.png", {}], 0, False])
def test_images_that_are_no_list_of_paths_are_refused(images: object) -> None:
    with pytest.raises(BadEntry, match="images"):
        entry_from_conversation(conversation("q", images=images))


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


def test_scoring_changes_nothing_of_a_record_but_its_scores() -> None:
    found = entry("system:s", "human:<image>q", "gpt:a", images=["i.png"])
    answers = [Answer("x", "stop", "why", {"total_tokens": 9}), Answer("", "length")]
    sampled = make_record(found, answers, None)
    work = work_from_record(json.loads(to_line(sampled)))
    assert work.answers == answers
    scored = make_record(work.entry, work.answers or [], [Score(1.0), Score(2.0)])
    del scored["generated_scores"]
    assert to_line(scored) == to_line(sampled)


def test_a_records_own_id_is_kept() -> None:
    record = {**make_record(entry("human:q"), [], None), "entry_id": "sample-7"}
    assert work_from_record(record).entry.entry_id == "sample-7"


@pytest.mark.parametrize(("strings", "reference"), [(["4"], "4"), (["3", "4"], "4"), ([], None)])
def test_original_answers_may_be_plain_strings(strings: List[str], reference: Optional[str]) -> None:
    work = work_from_record({"original_question": "2+2?", "original_answers": strings, "generated_answers": ["4"]})
    assert (work.entry.question, work.entry.reference) == ("2+2?", reference)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"generated_answers": None}, "generated_answers"),
        ({"generated_answers": "4"}, "generated_answers"),
        ({"generated_answers": ["4", None]}, "generated_answers"),
        ({"generated_answers": ["4", {"text": "4"}]}, "generated_answers"),
        ({"generated_details": [{}]}, "generated_details"),
        ({"generated_details": [{}, {}, {}]}, "generated_details"),
        ({"generated_details": [{}, None]}, "generated_details"),
        ({"generated_details": {}}, "generated_details"),
        ({"original_answers": None}, "conversations"),
        ({"original_answers": [{"from": "robot", "value": "q"}]}, "robot"),
        ({"original_answers": ["4"], "original_question": None}, "turn 1"),
        ({"images": "a.png"}, "images"),
        ({"entry_id": 7}, "entry_id"),
        ({"entry_id": ""}, "entry_id"),
    ],
)
def test_a_record_that_is_none_is_refused_by_the_key_that_is_wrong(change: Dict[str, Any], says: str) -> None:
    record = make_record(entry("human:q", "gpt:a"), [Answer("x"), Answer("y")], None)
    with pytest.raises(BadEntry, match=says):
        work_from_record({**record, **change})


def test_an_input_given_to_score_is_told_from_a_record() -> None:
    with pytest.raises(BadEntry, match=r"sampling\.py"):
        work_from_record(conversation("2+2?", "4"))


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
