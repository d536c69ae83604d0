"""What common/scoring/judge_prompt.py promises: what the judge is sent, and what it cannot be told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UsageError
from common.input.conversations import entry_from_conversation
from common.records import Entry
from common.scoring.judge_prompt import (
    ask_again,
    default_template,
    fence,
    judge_messages,
    judge_text,
    read_judge_prompt,
)
from common.servers.messages import chat_messages

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
GIF = b"GIF89a\x01\x00\x01\x00"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8 "
BMP = b"BM\x3a\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00"
SECRET = "the-secret-reference"


def entry(*pairs: str, images: Optional[List[str]] = None) -> Entry:
    """An entry of "role:text" turns."""
    turns = [dict(zip(("from", "value"), pair.split(":", 1))) for pair in pairs]
    return entry_from_conversation({"conversations": turns, "images": images})


def said(*pairs: str, images: str = "", system: Optional[str] = None) -> List[Any]:
    """The messages of an entry with an image for each letter, each content as text or as a list of its parts."""
    messages = chat_messages(entry(*pairs, images=list(images)), [f"url:{name}" for name in images], system)
    return [(message["role"], shown(message["content"])) for message in messages]


def shown(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [part["text"] if part["type"] == "text" else part["image_url"]["url"] for part in content]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=40))
def test_an_answer_cannot_close_its_fence(text: str) -> None:
    for answer in (text, fence(text), text + fence(text)[: 20 + len(text)]):
        opening, closing = fence(answer).split("\n", 1)[0], fence(answer).rsplit("\n", 1)[1]
        assert fence(answer) == f"{opening}\n{answer}\n{closing}"
        assert closing == opening.replace("<", "</", 1)
        assert opening.strip("<>") not in answer


def test_an_answers_fence_is_the_same_in_every_run_and_another_for_every_answer() -> None:
    assert fence("4") == fence("4")
    assert fence("4").split("\n")[0] != fence("5").split("\n")[0]


ASKED = entry("human:What is {answer}?", "gpt:It is {question} {answer} \\1 \\g<0>.")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_all_candidates_of_a_question_share_the_prompt_up_to_the_answer_and_after_it(answer: str) -> None:
    before, after = judge_text(ASKED, "4", 0, 10).split(fence("4"))
    assert judge_text(ASKED, answer, 0, 10) == before + fence(answer) + after
    assert ASKED.question in before
    assert str(ASKED.reference) in before


@pytest.mark.parametrize(
    "text",
    ["{question}", "{reference}", "{answer}", "{low} {high} {middle} {measure}", "\\1 \\g<1>", "{", "{{answer}}"],
)
@pytest.mark.parametrize("template", [None, "Q {question} R {reference} A {answer}"])
def test_what_stands_in_a_value_is_never_taken_for_a_placeholder(text: str, template: Optional[str]) -> None:
    shown_at: Dict[str, str] = {
        "question": judge_text(entry(f"human:<<{text}>>", "gpt:r"), "a", 0, 10, template),
        "reference": judge_text(entry("human:q", f"gpt:<<{text}>>"), "a", 0, 10, template),
        "answer": judge_text(entry("human:q", "gpt:r"), f"<<{text}>>", 0, 10, template),
    }
    assert {where: prompt.count(f"<<{text}>>") for where, prompt in shown_at.items()} == dict.fromkeys(shown_at, 1)


def test_our_prompt_leaves_no_placeholder_unfilled() -> None:
    for found in (entry("human:q", "gpt:r"), entry("human:q")):
        prompt = judge_text(found, "a", -1, 1)
        assert "{" not in prompt
        assert "}" not in prompt


def test_a_template_of_ones_own_keeps_everything_but_its_placeholders() -> None:
    template = 'Reply {"score": 1} or {} or {low} or {Answer}: {question}|{reference}|{answer}|{answer}\n'
    filled = judge_text(entry("human:q", "gpt:r"), "a", 0, 10, template)
    assert filled == 'Reply {"score": 1} or {} or {low} or {Answer}: q|r|a|a\n'


def test_a_template_gets_an_empty_reference_where_there_is_none() -> None:
    assert judge_text(entry("human:q"), "a", 0, 10, "[{reference}] {answer}") == "[] a"


def test_the_judge_is_told_of_a_reference_only_where_there_is_one() -> None:
    assert "reference" in judge_text(entry("human:q", "gpt:r"), "a", 0, 10).lower()
    assert "reference" not in judge_text(entry("human:q"), "a", 0, 10).lower()


def test_the_judge_sees_what_was_said_before_the_question_in_order() -> None:
    prompt = judge_text(
        entry("system:alpha", "human:bravo", "gpt:charlie", "human:delta", "gpt:echo"), "foxtrot", 0, 10
    )
    places = [prompt.index(word) for word in ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [
        (0, 10, "0 to 10"),
        (-1, 1, "-1 to 1"),
        (0.5, 2.5, "0.5 to 2.5"),
        (0, 100, "0 to 100"),
        (0, 1000000, "0 to 1000000"),
        (0.0, 1e15, "0 to 1000000000000000"),
        (-1e7, 123456789.5, "-10000000 to 123456789.5"),
        (0.00001, 1, "0.00001 to 1"),
    ],
)
def test_the_prompt_and_the_nudge_name_the_range(low: float, high: float, names: str) -> None:
    assert f"Score: <number from {names}>" in judge_text(entry("human:q"), "a", low, high)
    assert names in ask_again([], "hm", low, high)[-1]["content"]


def test_a_judge_prompt_file_is_read_as_utf8_with_any_newlines(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_bytes("Bewerte: {answer}\r\nDanke, schön.\n".encode())
    assert read_judge_prompt(str(tmp_path / "prompt.txt")) == "Bewerte: {answer}\nDanke, schön.\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_is_no_part_of_the_judge_prompt(tmp_path: Path, newline: str) -> None:
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbf" + f"{{answer}}{newline}ö".encode())
    assert read_judge_prompt(str(tmp_path / "prompt.txt")) == "{answer}\nö"


@pytest.mark.parametrize("content", [b"{question} {reference}", b"", b"{ answer }", b"{answer} caf\xe9", None], ids=str)
def test_a_judge_prompt_that_cannot_be_used_is_named_with_its_flag(tmp_path: Path, content: Optional[bytes]) -> None:
    path = tmp_path / "prompt.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_judge_prompt(str(path))
    assert "--judge_prompt" in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_judge_gets_one_user_message_with_the_images_before_the_prompt() -> None:
    assert judge_messages("grade", []) == [{"role": "user", "content": "grade"}]
    (message,) = judge_messages("grade", ["url:a", "url:b"])
    assert (message["role"], shown(message["content"])) == ("user", ["url:a", "url:b", "grade"])


def test_asking_again_adds_the_reply_and_a_nudge_and_changes_nothing_before() -> None:
    first = judge_messages("grade {low}", ["url:a"])
    before = copy.deepcopy(first)
    again = ask_again(first, "I say {high}.", 0, 10)
    assert first == before == again[:1]
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert again[1]["content"] == "I say {high}."


# names in a template


@pytest.mark.parametrize(
    ("template", "name", "meant"),
    [
        ("{qestion} {answer}", "{qestion}", "; did you mean question?"),
        ("{question} {answer} {Reference}", "{Reference}", "; did you mean reference?"),
        ("{answer} {rubric}", "{rubric}", " (the names are {question}, {reference}, {answer})"),
        ("{answer} {{score_max}}", "{score_max}", " (the names"),
        ("{answer} {question.text}", "{question.text}", ""),
        ("{answer} {frage_ü}", "{frage_ü}", ""),
    ],
)
def test_an_unknown_name_in_a_template_is_refused(template: str, name: str, meant: str, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text(template, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_judge_prompt(str(path))
    assert f"{path} has the unknown name {name}{meant}" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        r"Put it in \boxed{value}, as \frac{a}{b} or \sqrt[n]{x}, or x_{max}^{n}.",
        'Reply with {"score": 3, "why": {}} or { score }.',
        "Count from {1} to {10}.",
        "{question}{reference}",
    ],
)
def test_other_braces_in_a_template_are_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text(text + "{answer}")
    assert read_judge_prompt(str(path)) == text + "{answer}"


@pytest.mark.parametrize("mode", ["text", "json", "logprob"])
def test_the_default_template_asks_what_the_default_prompt_asks(mode: str, tmp_path: Path) -> None:
    one = entry("human:2+2?", "gpt:4")
    ours = judge_text(one, "It is 4.", 0, 10, mode=mode)
    path = tmp_path / "prompt.txt"
    path.write_text(default_template(0, 10, mode))
    shown = judge_text(one, "It is 4.", 0, 10, read_judge_prompt(str(path)), mode)
    assert shown == ours.replace(fence("It is 4."), "<answer>\nIt is 4.\n</answer>")
