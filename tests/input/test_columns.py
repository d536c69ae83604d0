"""Rows of columns: what is read as question, reference, system and images; what is refused; what is kept as extra."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from common.errors import BadEntry
from common.input.cells import Cell
from common.input.columns import BY_NAME, Columns, conversation_of
from common.input.conversations import entry_from_conversation
from tests.input.inputs import PNG

USER = {"role": "user", "content": "q"}
HUMAN = {"from": "human", "value": "q"}
ASKED = ("human", "q")
TOLD = ("gpt", "a")


def said(row: dict[str, Any], columns: Columns = BY_NAME) -> list[tuple[str, str]]:
    return [(turn["from"], turn["value"]) for turn in conversation_of(row, columns).turns]


@pytest.mark.parametrize(
    ("row", "turns", "extra"),
    [
        ({"question": "q", "answer": "a"}, [ASKED, TOLD], {}),
        ({"question": "q", "answer": 18}, [ASKED, ("gpt", "18")], {}),
        ({"question": "q", "answer": ["a"]}, [ASKED, TOLD], {}),
        ({"question": "q", "id": 7, "answer": None}, [ASKED], {"id": 7, "answer": None}),
        ({"problem": "q", "solution": "s", "answer": "a", "level": 5}, [ASKED, TOLD], {"solution": "s", "level": 5}),
        ({"problem": "q", "solution": "a"}, [ASKED, TOLD], {}),
        ({"prompt": "q", "completion": "a"}, [ASKED, TOLD], {}),
        ({"prompt": "q", "completion": "a", "label": False}, [ASKED], {"completion": "a", "label": False}),
        ({"prompt": "q", "completion": "a", "label": True}, [ASKED, TOLD], {"label": True}),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, [ASKED, TOLD], {"rejected": "b"}),
        ({"prompt": [USER], "completion": [{"role": "assistant", "content": "a"}]}, [ASKED, TOLD], {}),
        ({"chosen": [USER, {"role": "assistant", "content": "a"}], "rejected": []}, [ASKED, TOLD], {"rejected": []}),
        ({"instruction": "do", "input": "this", "output": "a"}, [("human", "do\nthis"), TOLD], {}),
        ({"instruction": "q", "input": "", "output": "a"}, [ASKED, TOLD], {"input": ""}),
        ({"instruction": "do", "context": "this", "response": "a"}, [("human", "do\nthis"), TOLD], {}),
        (
            {"instruction": "q", "system": "s", "history": [["1", "2"], ["3", "4"]], "output": "a"},
            [("system", "s"), ("human", "1"), ("gpt", "2"), ("human", "3"), ("gpt", "4"), ASKED, TOLD],
            {},
        ),
        ({"query": "q", "response": "a", "history": [["1", "2"]]}, [("human", "1"), ("gpt", "2"), ASKED, TOLD], {}),
        ({"query": "q", "history": [{**USER, "content": "1"}, {"role": "assistant", "content": "2"}]}, None, {}),
        ({"system_prompt": "s", "question": "q", "response": "a"}, [("system", "s"), ASKED, TOLD], {}),
        (
            {"prompt": [USER], "reward_model": {"ground_truth": "a", "style": "rule"}},
            [ASKED, TOLD],
            {"reward_model": {"ground_truth": "a", "style": "rule"}},
        ),
        ({"messages": [USER], "ground_truth": "a", "dataset": "d"}, [ASKED, TOLD], {"dataset": "d"}),
        ({"messages": [USER, {"role": "assistant", "content": "a"}], "ground_truth": "4"}, [ASKED, TOLD], None),
        ({"conversations": [USER, {"role": "assistant", "content": "a"}]}, [ASKED, TOLD], {}),
        ({"messages": [HUMAN, {"from": "gpt", "value": "a"}]}, [ASKED, TOLD], {}),
        ({"conversations": [HUMAN], "chosen": {"from": "gpt", "value": "a"}, "rejected": {}}, [ASKED, TOLD], None),
        ({"conversations": [HUMAN, {"from": "gpt", "value": "b"}], "kto_tag": False}, [ASKED], None),
        ({"conversations": [HUMAN], "system": "s"}, [("system", "s"), ASKED], {}),
        ({"conversations": [HUMAN], "system": ["s", {"type": "text", "text": "t"}]}, [("system", "s\nt"), ASKED], {}),
        ({"conversations": [{"from": "system", "value": "s"}, HUMAN], "system": "s"}, [("system", "s"), ASKED], {}),
        ({"conversations": [HUMAN], "system": "", "tools": "[]", "audios": []}, [ASKED], None),
        ({"conversation": [USER, {"role": "assistant", "content": "a"}]}, [ASKED, TOLD], {}),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "b"}, [ASKED, TOLD], {"rejected": "b"}),
        ({"conversations": [HUMAN], "history": [["1", "2"]]}, [("human", "1"), ("gpt", "2"), ASKED], {}),
        (
            {"messages": [{"role": "system", "content": "s"}, USER], "history": [["1", "2"]]},
            [("system", "s"), ("human", "1"), ("gpt", "2"), ASKED],
            {},
        ),
        ({"question": "q", "problem": " q", "answer": "a"}, [ASKED, TOLD], {"problem": " q"}),
        ({"question": "q", "A": "only one", "answer_type": 1}, [ASKED], None),
        ({"question": "q", "image": {"bytes": None, "path": None}, "image_id": 3}, [ASKED], {"image_id": 3}),
        ({"question": "q <b>x</b> a<b, <audio controls>"}, [("human", "q <b>x</b> a<b, <audio controls>")], {}),
        ({"conversations": [HUMAN], "label": 0, "video_id": 3}, [ASKED], {"label": 0, "video_id": 3}),
    ],
)
def test_a_row_is_recognised_by_its_keys(
    row: dict[str, Any], turns: list[tuple[str, str]] | None, extra: dict[str, Any] | None
) -> None:
    found = conversation_of(row)
    assert turns is None or said(row) == turns
    assert extra is None or found.extra == extra


def test_a_bad_answer_is_kept_but_is_not_the_reference() -> None:
    row = {"conversations": [HUMAN, {"from": "gpt", "value": "bad"}], "label": False}
    entry = entry_from_conversation(row)
    assert (entry.reference, entry.extra) == (None, {"rejected": "bad", "label": False})


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"conversations": [HUMAN], "tools": [{"name": "f"}]}, '"tools"'),
        ({"conversations": [HUMAN], "tools": '[{"name": "f"}]'}, '"tools"'),
        ({"messages": [USER], "functions": [{}]}, '"functions"'),
        ({"messages": [USER], "audio": "a.wav"}, '"audio"'),
        ({"messages": [USER], "videos": ["a.mp4"]}, '"videos"'),
        ({"question": "q", "audio_path": "a.wav"}, '"audio_path"'),
        ({"conversations": [{"from": "human", "value": "<video>q"}]}, "<video>"),
        ({"question": "what is <audio> here?"}, "<audio>"),
        ({"conversations": [HUMAN], "system": {"text": "s"}}, '"system"'),
        ({"conversations": [{"from": "system", "value": "s"}, HUMAN], "system": "t"}, '"system" and turn 1'),
        ({"question": "q", "choices": ["a", "b"]}, "--prompt_template"),
        ({"question": "q", "context": "c"}, "{row.context}"),
        ({"question": {"text": "q"}}, '"question.text"'),
        ({"question": "q", "answer": {"value": "a"}}, '"answer.value"'),
        ({"question": "q", "answer": ["a", "b"]}, '"answer.0"'),
        ({"question": "q", "A": "1", "B": "2", "answer": "A"}, "{row.A}"),
        ({"question": "q", "opa": "1", "opb": "2"}, "{row.opa}"),
        ({"question": "q", "option_1": "1", "option_2": "2"}, "{row.option_1}"),
        ({"question": "how many?", "body": "2 and 2 apples"}, "{row.body}"),
        ({"prompt": "translate", "input": "this"}, "{row.input}"),
        ({"instruction": "be exact", "question": "q"}, "{row.question}"),
        ({"question": "q", "image_1": "a.png"}, '"image_1"'),
        ({"conversations": [HUMAN], "image_path": "a.png"}, "--images_key"),
        ({"conversations": [{**HUMAN, "images": ["a.png"]}]}, 'turn 1 has "images"'),
        ({"conversations": [HUMAN, {"from": "gpt", "value": "", "tool_calls": [{}]}, HUMAN]}, '"tool_calls"'),
        ({"messages": [{**USER, "videos": ["a.mp4"]}]}, '"videos"'),
        ({"question": "<image 1> What is it?", "answer": "a"}, "<image 1>"),
        ({"query": "<img>https://example.com/a.png</img>what is it?"}, "<img>"),
        ({"question": "<|video_pad|>q"}, "video cannot be sent"),
        ({"messages": [USER], "input_audio": {"data": "UklGR"}}, '"input_audio"'),
        ({"messages": [USER], "available_tools": [{"name": "f"}]}, '"available_tools"'),
        ({"query": "q", "history": "h"}, '"history"'),
        ({"query": "q", "history": [["only"]]}, '"history" 1'),
        ({"question": "q", "images": ["a"], "image": "b"}, "differ"),
        ({"text": "q", "label": 1}, "text, label"),
        ({}, "none"),
    ],
)
def test_what_cannot_be_sent_or_read_is_refused_by_name(row: dict[str, Any], says: str) -> None:
    with pytest.raises(BadEntry) as caught:
        entry_from_conversation(row)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "images",
    [
        {"images": ["a.png"]},
        {"images": "a.png"},
        {"image": "a.png"},
        {"image": ["a.png"]},
        {"image": {"bytes": None, "path": "a.png"}},
        {"images": [{"path": "a.png"}], "image": "a.png"},
        {"images": [{"url": "a.png"}]},
        {"image": [{"image_url": {"url": "a.png"}}]},
        {"image": Cell('{"bytes": null, "path": "a.png"}')},
        {"images": Cell('["a.png"]')},
    ],
)
def test_all_spellings_of_an_image_are_the_same_entry(images: dict[str, Any]) -> None:
    row = {"conversations": [{"from": "human", "value": "<image>q"}]}
    assert entry_from_conversation({**row, **images}) == entry_from_conversation({**row, "images": ["a.png"]})


def test_the_bytes_of_an_image_in_json_are_its_base64() -> None:
    row = {"question": "q", "image": {"bytes": base64.b64encode(PNG).decode(), "path": None}}
    assert entry_from_conversation(row).images[0].startswith("data:image/png;base64,")
    with pytest.raises(BadEntry, match="base64"):
        entry_from_conversation({"question": "q", "image": {"bytes": "bm8="}})


def test_keys_that_the_user_names_come_before_the_known_ones() -> None:
    row = {"question": "no", "task": {"ask": "q", "gold": 4}, "sys": "s", "pic": "a.png", "choices": ["x"]}
    columns = Columns("task.ask", "task.gold", "sys", "pic")
    found = conversation_of(row, columns)
    assert said(row, columns) == [("system", "s"), ASKED, ("gpt", "4")]
    assert found.images == ["a.png"]
    assert found.extra == {"question": "no", "task": row["task"], "choices": ["x"]}
    with pytest.raises(BadEntry, match="--question_key"):
        conversation_of(row, Columns("task.nothing"))


@pytest.mark.parametrize("key", ["data", "train", "examples"])
def test_an_object_around_a_list_of_entries_is_named(key: str) -> None:
    with pytest.raises(BadEntry, match=f'"{key}" is a list of entries'):
        conversation_of({"version": "1", key: [{"question": "2+2?", "answer": "4"}]})
    with pytest.raises(BadEntry, match="--question_key"):
        conversation_of({"text": "2+2?", key: [{"name": "x"}]})


def test_a_template_wraps_the_question_and_holds_other_keys() -> None:
    columns = Columns(template="{question}\nA. {row.choices.0}\nB. {row.choices.1}\n{braces}")
    row = {"question": "q {row.x}", "choices": ["1", "2"], "answer": "A"}
    assert said(row, columns) == [("human", "q {row.x}\nA. 1\nB. 2\n{braces}"), ("gpt", "A")]
    with pytest.raises(BadEntry, match=r"choices\.1"):
        conversation_of({"question": "q", "choices": ["1"]}, columns)


def test_what_an_entry_has_beside_its_conversation_does_not_change_its_id() -> None:
    plain = entry_from_conversation({"conversations": [HUMAN]})
    more = entry_from_conversation({"conversations": [HUMAN], "id": 7, "source": "s", "tools": None})
    assert (plain.entry_id, plain.extra) == (more.entry_id, None)
    assert more.extra == {"id": 7, "source": "s", "tools": None}
