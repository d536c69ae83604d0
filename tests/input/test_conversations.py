"""Input items (conversations or messages) and records as entries, or the reason why not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry
from common.input.conversations import ItemReader, entry_from_conversation, work_from_record
from common.input.files import InputFile
from common.records import Answer, Entry, Score, make_record
from common.results.export import write_selected
from common.results.selection import Selection
from common.servers.messages import chat_messages
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


def entry_of(*pairs: str, images: Optional[List[str]] = None) -> Entry:
    return entry_from_conversation({"conversations": turns(*pairs), "images": images})


# Conversations


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


def test_the_question_is_the_last_human_turn_and_the_reference_stands_apart() -> None:
    found = entry_of("system:brief", "human:first", "gpt:one", "user:second", "assistant:two")
    assert (found.question, found.reference) == ("second", "two")
    assert [turn["value"] for turn in found.turns] == ["brief", "first", "one", "second"]


def test_a_conversation_that_ends_with_its_question_has_no_reference() -> None:
    found = entry_of("human:first", "gpt:one", "human:second")
    assert (found.question, found.reference) == ("second", None)
    assert [turn["value"] for turn in found.turns] == ["first", "one", "second"]


def test_an_empty_reference_is_still_a_reference() -> None:
    assert entry_of("human:q", "gpt:").reference == ""


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
        ([{"from": "human", "value": [{"type": "video", "video": "a.mp4"}]}], ["turn 1", "'video'"]),
        ([{"from": ["human"], "value": "q"}], ["turn 1"]),
        ([{"text": "q"}], ["turn 1", "from", "value", "role", "content"]),
    ],
)
def test_a_conversation_that_is_none_is_named_by_turn_and_value(given: object, says: List[str]) -> None:
    with pytest.raises(BadEntry) as caught:
        entry_from_conversation({"conversations": given})
    assert all(word in str(caught.value) for word in says), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("item", [None, 1, "text", [], [conversation("q")], {}, {"text": "q"}, float("nan")])
def test_an_item_that_is_no_entry_is_refused(item: object) -> None:
    with pytest.raises(BadEntry, match="conversations"):
        entry_from_conversation(item)


@pytest.mark.parametrize("images", [[1], [None], [""], ["a.png", {}], {"path": ""}, 0, False])
def test_images_that_are_no_list_of_paths_are_refused(images: object) -> None:
    with pytest.raises(BadEntry, match="images"):
        entry_from_conversation(conversation("q", images=images))


# OpenAI's messages


URL = "https://example.com/a.png"


IMAGE = {"type": "image"}


def text(words: str) -> Dict[str, Any]:
    return {"type": "text", "text": words}


def linked(url: str) -> Dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def message(content: Any, role: str = "user", **more: Any) -> Dict[str, Any]:
    return {"role": role, "content": content, **more}


def entry_of_messages(*messages: Any, images: Optional[List[Any]] = None) -> Entry:
    return entry_from_conversation({"messages": list(messages), "images": images})


def test_messages_are_the_entry_of_their_sharegpt_spelling() -> None:
    speakers = {"system": "system", "user": "human", "assistant": "gpt"}
    said = [("system", "brief"), ("user", "first"), ("assistant", "one"), ("user", "second"), ("assistant", "two")]
    turns = [{"from": speakers[role], "value": words} for role, words in said]
    found = entry_of_messages(*(message(words, role) for role, words in said))
    assert found == entry_from_conversation({"conversations": turns})
    assert (found.question, found.reference) == ("second", "two")


def test_a_developer_is_the_system() -> None:
    both = [entry_of_messages(message("brief", role), message("q")) for role in ("developer", "system")]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("content", "images", "value", "shown"),
    [
        ([text("q")], [], "q", []),
        ([text("one"), text("two")], [], "one\ntwo", []),
        ([], [], "", []),
        ([linked(URL), text("q")], [], "<image>q", [URL]),
        ([{"type": "image_url", "image_url": URL}, text("q")], [], "<image>q", [URL]),
        ([text("q"), IMAGE, text("r"), IMAGE], ["a", "b"], "q<image>r<image>", ["a", "b"]),
        ([IMAGE, linked(URL), IMAGE], ["a", "b"], "<image><image><image>", ["a", URL, "b"]),
        (["q", linked(URL), {"text": "r"}, {"type": "text", "value": "s"}], [], "q<image>r\ns", [URL]),
        ([{"type": "image", "text": None}, {"type": "text", "text": "q", "image_url": None}], ["a"], "<image>q", ["a"]),
        ([{"type": "image", "image": "b"}, IMAGE], ["a"], "<image><image>", ["b", "a"]),
        ([linked(URL)], ["rest"], "<image>", [URL, "rest"]),
        ("q <image> <image>", ["a", "b", "rest"], "q <image> <image>", ["a", "b", "rest"]),
        ("q", ["a"], "q", ["a"]),
    ],
)
def test_parts_are_one_text_with_a_mark_for_each_image(
    content: Any, images: List[str], value: str, shown: List[str]
) -> None:
    found = entry_of_messages(message(content), images=images)
    assert (found.question, found.images) == (value, shown)
    assert found == entry_from_conversation(conversation(value, images=shown))


def test_images_go_to_their_messages_in_the_order_of_the_conversation() -> None:
    found = entry_of_messages(
        message("<image> and"), message("ok", "assistant"), message([linked(URL), IMAGE]), images=["a", "b"]
    )
    assert found.images == ["a", URL, "b"]
    kinds = [part["type"] for part in chat_messages(found, ["A", "URL", "B"], None)[2]["content"]]
    assert kinds == ["image_url", "image_url"]


WORDS = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda words: bool(words.strip()) and words == words.strip("\n") and "<image>" not in words
)


PICTURES = st.lists(st.sampled_from([linked("data:a"), linked(URL)]), min_size=1, max_size=2)


PARTS = st.builds(
    lambda before, pictures, after: [*map(text, before), *pictures, *map(text, after)],
    st.lists(WORDS, max_size=1),
    PICTURES,
    st.lists(WORDS, max_size=1),
)


@settings(max_examples=60, deadline=None)
@given(history=st.lists(st.tuples(WORDS | PARTS, WORDS), max_size=2), question=WORDS | PARTS, system=st.none() | WORDS)
def test_what_is_sent_of_messages_is_these_messages(history: List[Any], question: Any, system: Optional[str]) -> None:
    given_ = [message(system, "system")] if system is not None else []
    for asked, told in history:
        given_ += [message(asked), message(told, "assistant")]
    given_.append(message(question))
    found = entry_of_messages(*given_, message("the reference", "assistant"))
    assert chat_messages(found, found.images, None) == given_


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("images", [[], [URL, "b.png"]], ids=["text", "images"])
def test_what_the_toolkit_writes_as_messages_it_reads(tmp_path: Path, ending: str, images: List[str]) -> None:
    asked = "left<image>right" if images else "q"
    first = entry_from_conversation(conversation(asked, "4", images=images))
    record = make_record(first, [Answer("good"), Answer("bad")], [Score(9.0), Score(1.0)])
    path = tmp_path / f"selected.{ending}"
    write_selected([record], str(path), Selection("best"), "messages")
    source = InputFile(str(path))
    (item,) = source
    source.close()
    again = entry_from_conversation(item.value)
    assert again.reference == "good"
    assert chat_messages(again, again.images, None) == chat_messages(first, first.images, None)


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([message("q"), message(None, "assistant", tool_calls=[{"id": "1"}])], ["message 2", "tool_calls"]),
        ([message("q"), message("4", "tool", tool_call_id="1")], ["message 2", "'tool'", "user"]),
        ([message("q"), message("", "assistant", function_call={"name": "f"})], ["message 2", "function_call"]),
        ([message("q"), message("", "assistant", audio={"id": "1"})], ["message 2", "audio"]),
        ([message([{"type": "input_audio", "input_audio": {}}])], ["message 1", "'input_audio'"]),
        ([message([{"type": "video", "video": "a.mp4"}])], ["message 1", "'video'"]),
        ([message([{"type": "text"}])], ["message 1", "'text'"]),
        ([message([7])], ["message 1", "part"]),
        ([message([IMAGE])], ["message 1", "images"]),
        ([message([linked("")])], ["message 1", "URL"]),
        ([message([{"type": "image_url"}])], ["message 1", "URL"]),
        ([message([{"type": "image", "source": {"type": "base64", "data": "aGk="}}])], ["message 1", "URL"]),
        ([message([linked(URL)], "system"), message("q")], ["message 1", "user"]),
        ([message("q"), message([IMAGE], "assistant")], ["message 2", "user"]),
        ([message([text("an <image> of"), linked(URL)])], ["message 1", "<image>"]),
        ([message("q", "robot")], ["message 1", "'robot'"]),
        ([message("q", ["user"])], ["message 1"]),
        ([message(None)], ["message 1", "content"]),
        ([message({"text": "q"})], ["message 1", "content"]),
        (["q"], ["message 1", "role"]),
        ([message("s", "system")], ["no question"]),
        ([], ["messages"]),
        ("q", ["messages"]),
        ({"role": "user", "content": "q"}, ["messages"]),
    ],
)
def test_what_cannot_be_converted_is_refused_by_message_and_reason(messages: Any, says: List[str]) -> None:
    with pytest.raises(BadEntry) as caught:
        entry_from_conversation({"messages": messages})
    assert [word for word in says if word not in str(caught.value)] == [], str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_empty_beside_a_message_is_no_tool_call_and_the_rest_stays_with_the_turn() -> None:
    plain = entry_of_messages(message("q"), message("a", "assistant"))
    found = entry_of_messages(
        message("q", name=None),
        message("a", "assistant", tool_calls=[], function_call=None, audio=None, weight=0.5),
    )
    assert found.entry_id == plain.entry_id
    assert found.conversation == [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": 0.5}]


def test_conversations_come_before_messages_where_an_item_has_both() -> None:
    item = {**conversation("q"), "messages": [message("other")]}
    assert entry_from_conversation(item).question == "q"
    assert entry_from_conversation({**item, "conversations": None}).question == "other"


# Records of sampling.py


@settings(max_examples=60, deadline=None)
@given(question=ANY_TEXT, reference=st.none() | ANY_TEXT, images=st.lists(st.text(min_size=1), max_size=2))
def test_the_id_survives_the_way_through_a_record(question: str, reference: Optional[str], images: List[str]) -> None:
    first = entry_from_conversation(conversation(question, reference, images=images))
    record = json.loads(to_line(make_record(first, [Answer("x")], None)))
    del record["entry_id"]
    assert work_from_record(record).entry.entry_id == first.entry_id


def test_scoring_changes_nothing_of_a_record_but_its_scores() -> None:
    found = entry_of("system:s", "human:<image>q", "gpt:a", images=["i.png"])
    answers = [Answer("x", "stop", "why", {"total_tokens": 9}), Answer("", "length")]
    sampled = make_record(found, answers, None)
    work = work_from_record(json.loads(to_line(sampled)))
    assert work.answers == answers
    scored = make_record(work.entry, work.answers or [], [Score(1.0), Score(2.0)])
    del scored["generated_scores"]
    assert to_line(scored) == to_line(sampled)


def test_a_records_own_id_is_kept() -> None:
    record = {**make_record(entry_of("human:q"), [], None), "entry_id": "sample-7"}
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
        ({"original_answers": None}, "original_answers"),
        ({"original_answers": [{"from": "robot", "value": "q"}]}, "robot"),
        ({"original_answers": ["4"], "original_question": None}, "turn 1"),
        ({"images": "a.png"}, "images"),
        ({"entry_id": 7}, "entry_id"),
        ({"entry_id": ""}, "entry_id"),
    ],
)
def test_a_record_that_is_none_is_refused_by_the_key_that_is_wrong(change: Dict[str, Any], says: str) -> None:
    record = make_record(entry_of("human:q", "gpt:a"), [Answer("x"), Answer("y")], None)
    with pytest.raises(BadEntry, match=says):
        work_from_record({**record, **change})


def test_an_input_given_to_score_is_told_from_a_record() -> None:
    with pytest.raises(BadEntry, match=r"sampling\.py"):
        work_from_record(conversation("2+2?", "4"))


def test_each_key_that_is_read_is_said_once_whichever_entry_has_it_first(caplog: pytest.LogCaptureFixture) -> None:
    reader = ItemReader()
    with caplog.at_level(logging.INFO):
        for context in ("", "2 and 2", "3 and 3"):
            reader({"instruction": "Add.", "input": context, "output": "4"})
    assert caplog.messages == [
        "input: read from the first entry that can be read: instruction, output; kept as extra: input",
        "input: read from a later entry, which has more: input",
    ]
