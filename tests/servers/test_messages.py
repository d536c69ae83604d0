"""What common/servers/messages.py promises: what is sent, in which order, and what never is."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry
from common.input.conversations import entry_from_conversation
from common.records import Entry
from common.servers.messages import chat_messages, check_marks

SECRET = "the-secret-reference"


def entry(*pairs: str, images: list[str] | None = None) -> Entry:
    """An entry of "role:text" turns."""
    turns = [dict(zip(("from", "value"), pair.split(":", 1))) for pair in pairs]
    return entry_from_conversation({"conversations": turns, "images": images})


def said(*pairs: str, images: str = "", system: str | None = None) -> list[Any]:
    """The messages of an entry with an image for each letter, each content as text or as a list of its parts."""
    messages = chat_messages(entry(*pairs, images=list(images)), [f"url:{name}" for name in images], system)
    return [(message["role"], shown(message["content"])) for message in messages]


def shown(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [part["text"] if part["type"] == "text" else part["image_url"]["url"] for part in content]


@pytest.mark.parametrize(
    ("turns", "images", "expected"),
    [
        (["human:What?"], "a", [["url:a", "What?"]]),
        (["human:<image>\nWhat?"], "a", [["url:a", "What?"]]),
        (["human:What is <image> here?"], "a", [["What is ", "url:a", " here?"]]),
        (["human:What?<image>"], "a", [["What?", "url:a"]]),
        (["human:<image>"], "a", [["url:a"]]),
        (["human:<image><image> or <image>?"], "abc", [["url:a", "url:b", " or ", "url:c", "?"]]),
        (["human:Which <image>?"], "abc", [["url:b", "url:c", "Which ", "url:a", "?"]]),
        (["human:one <image>", "gpt:A", "human:two <image>"], "ab", [["one ", "url:a"], "A", ["two ", "url:b"]]),
        (["human:one <image>", "gpt:A", "human:two"], "abc", [["one ", "url:a"], "A", ["url:b", "url:c", "two"]]),
        (["human:one", "gpt:A", "human:two <image>"], "a", ["one", "A", ["two ", "url:a"]]),
        (["human:one", "gpt:A", "human:two"], "ab", ["one", "A", ["url:a", "url:b", "two"]]),
        (["human:one <image>", "gpt:A", "human:two"], "a", [["one ", "url:a"], "A", "two"]),
        (["human:one <image>", "gpt:<image>", "human:<image>"], "ab", [["one ", "url:a"], "<image>", ["url:b"]]),
        (["system:see <image>", "human:q <image>"], "a", ["see <image>", ["q ", "url:a"]]),
        (["human:<IMAGE> <img> < image>"], "a", [["url:a", "<IMAGE> <img> < image>"]]),
        (["human:q", "gpt:see <image>"], "a", [["url:a", "q"]]),
    ],
)
def test_marks_take_the_images_in_order_and_those_left_over_come_first_in_the_question(
    turns: list[str], images: str, expected: list[Any]
) -> None:
    assert [content for _, content in said(*turns, images=images)] == expected


@pytest.mark.parametrize(
    ("turns", "images"),
    [
        (["human:<image>"], ""),
        (["human:<image> <image>"], "a"),
        (["human:<image>", "gpt:A", "human:<image>"], "a"),
    ],
)
def test_a_mark_without_an_image_is_an_error_of_its_entry(turns: list[str], images: str) -> None:
    found = entry(*turns, images=list(images))
    for check in (lambda: check_marks(found), lambda: chat_messages(found, list(images), None)):
        with pytest.raises(BadEntry, match="<image>"):
            check()


@pytest.mark.parametrize("turns", [["human:q", "gpt:<image>"], ["system:<image>", "human:q"]])
def test_a_mark_that_is_not_in_a_human_turn_needs_no_image(turns: list[str]) -> None:
    check_marks(entry(*turns))


def test_history_is_sent_in_order_with_the_apis_roles() -> None:
    turns = ["system:s", "human:a", "gpt:b", "user:c", "assistant:d", "human:e", "gpt:reference"]
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    assert said(*turns) == list(zip(roles, "sabcde"))


UNMARKED = st.text(max_size=8).filter(lambda text: "<image>" not in text)


@settings(max_examples=50, deadline=None)
@given(
    history=st.lists(st.tuples(UNMARKED, st.text(max_size=8)), max_size=2),
    question=UNMARKED,
    images=st.sampled_from(["", "a"]),
    system=st.none() | st.just("be brief"),
)
def test_the_reference_is_never_sent(history: list[Any], question: str, images: str, system: str | None) -> None:
    turns = [turn for asked, told in history for turn in (f"human:{asked}", f"gpt:{told}")]
    sent = said(*turns, f"human:{question}", f"gpt:{SECRET}", images=images, system=system)
    assert SECRET not in json.dumps(sent)
    assert sent == said(*turns, f"human:{question}", images=images, system=system)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(), max_size=20).filter(lambda text: "<image>" not in text))
def test_text_without_images_is_sent_to_the_letter(text: str) -> None:
    assert said(f"human:{text}", "gpt:x") == [("user", text)]


@pytest.mark.parametrize(
    ("turns", "system", "expected"),
    [
        (["human:q"], "be brief", ["be brief", "q"]),
        (["human:q"], None, ["q"]),
        (["human:q"], "", ["q"]),
        (["system:own", "human:q"], "be brief", ["own", "q"]),
    ],
)
def test_the_system_prompt_stands_in_only_where_there_is_none(
    turns: list[str], system: str | None, expected: list[str]
) -> None:
    assert [content for _, content in said(*turns, system=system)] == expected


def test_making_messages_changes_neither_entry_nor_images() -> None:
    found, urls = entry("human:<image> q", "gpt:a", images=["a", "b"]), ["url:a", "url:b"]
    before = copy.deepcopy(found)
    assert chat_messages(found, urls, "s") == chat_messages(found, urls, "s")
    assert (found, urls) == (before, ["url:a", "url:b"])
