"""OpenAI's messages as input: the same entry as its ShareGPT spelling, or a reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry
from common.input.conversations import entry_from_conversation
from common.input.files import InputFile
from common.records import Answer, Entry, Score, make_record
from common.results.export import write_selected
from common.results.selection import Selection
from common.servers.messages import chat_messages
from tests.helpers import conversation

URL = "https://example.com/a.png"
IMAGE = {"type": "image"}


def text(words: str) -> Dict[str, Any]:
    return {"type": "text", "text": words}


def linked(url: str) -> Dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def message(content: Any, role: str = "user", **more: Any) -> Dict[str, Any]:
    return {"role": role, "content": content, **more}


def entry(*messages: Any, images: Optional[List[Any]] = None) -> Entry:
    return entry_from_conversation({"messages": list(messages), "images": images})


def test_messages_are_the_entry_of_their_sharegpt_spelling() -> None:
    speakers = {"system": "system", "user": "human", "assistant": "gpt"}
    said = [("system", "brief"), ("user", "first"), ("assistant", "one"), ("user", "second"), ("assistant", "two")]
    turns = [{"from": speakers[role], "value": words} for role, words in said]
    found = entry(*(message(words, role) for role, words in said))
    assert found == entry_from_conversation({"conversations": turns})
    assert (found.question, found.reference) == ("second", "two")


def test_a_developer_is_the_system() -> None:
    both = [entry(message("brief", role), message("q")) for role in ("developer", "system")]
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
    found = entry(message(content), images=images)
    assert (found.question, found.images) == (value, shown)
    assert found == entry_from_conversation(conversation(value, images=shown))


def test_images_go_to_their_messages_in_the_order_of_the_conversation() -> None:
    found = entry(message("<image> and"), message("ok", "assistant"), message([linked(URL), IMAGE]), images=["a", "b"])
    assert found.images == ["a", URL, "b"]
    kinds = [part["type"] for part in chat_messages(found, ["A", "URL", "B"], None)[2]["content"]]
    assert kinds == ["image_url", "image_url"]


WORDS = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda words: bool(words.strip()) and words == words.strip("\n")
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
    found = entry(*given_, message("the reference", "assistant"))
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
        ([message(["q"])], ["message 1", "part"]),
        ([message([IMAGE])], ["message 1", "images"]),
        ([message([linked("")])], ["message 1", "URL"]),
        ([message([{"type": "image_url"}])], ["message 1", "URL"]),
        ([message([{"type": "image", "source": {"type": "base64", "data": "aGk="}}])], ["message 1", "URL"]),
        ([message([linked(URL)], "system"), message("q")], ["message 1", "user"]),
        ([message("q"), message([IMAGE], "assistant")], ["message 2", "user"]),
        ([message([text("an <image> of"), linked(URL)])], ["message 1", "<image>"]),
        ([message("q", "robot")], ["message 1", "'robot'"]),
        ([message("q", "human")], ["message 1", "'human'", "user"]),
        ([message("q", ["user"])], ["message 1"]),
        ([message(None)], ["message 1", "content"]),
        ([message({"text": "q"})], ["message 1", "content"]),
        (["q"], ["message 1", "role"]),
        ([message("q"), {"from": "gpt", "value": "a"}], ["message 2"]),
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
    plain = entry(message("q"), message("a", "assistant"))
    found = entry(
        message("q", name=None),
        message("a", "assistant", tool_calls=[], function_call=None, audio=None, weight=0.5),
    )
    assert found.entry_id == plain.entry_id
    assert found.conversation == [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": 0.5}]


def test_conversations_come_before_messages_where_an_item_has_both() -> None:
    item = {**conversation("q"), "messages": [message("other")]}
    assert entry_from_conversation(item).question == "q"
    assert entry_from_conversation({**item, "conversations": None}).question == "other"
