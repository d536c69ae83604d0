"""Thoughts of answers in the rows: each once, where the trainer's chat template puts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import jinja2.sandbox
import pytest

from common.errors import UsageError
from common.input.conversations import entry_from_conversation
from common.records import Answer, Record, Score, make_record
from common.results.examples import RowOptions
from common.results.export import FIRST_READ, Extras, write_selected
from common.results.formats import FORMATS
from common.results.reasoning import Said, in_text, said
from common.results.selection import Selection
from tests.helpers import conversation, read_lines, run_script, write_input
from tests.scripted_server import ScriptedServer, completion

QWEN3 = """{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}
{%- if m.role == 'assistant' %}{%- set thoughts = m.reasoning_content if m.reasoning_content is string else '' %}
{%- set content = m.content %}
{%- if m.reasoning_content is not string and '</think>' in content %}
{%- set thoughts = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}
{%- if loop.last %}{{ '<think>\n' + thoughts.strip('\n') + '\n</think>\n\n' }}{%- endif %}{{ content }}
{%- else %}{{ m.content }}{%- endif %}{{ '<|im_end|>\n' }}{%- endfor %}"""
GPT_OSS = """{%- for m in messages %}{%- if m.role == 'assistant' %}
{%- if 'thinking' in m and '<|channel|>' in m.thinking %}{{ raise_exception('a channel') }}{%- endif %}
{%- if loop.last and 'thinking' in m %}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{%- endif %}
{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}
{%- else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{%- endif %}{%- endfor %}"""
R1_TRAINING = """{%- for m in messages %}{%- if m.role == 'assistant' %}{{ '<|Assistant|>' + m.content + '<|end|>' }}
{%- else %}{{ '<|User|>' + m.content }}{%- endif %}{%- endfor %}"""

BEST = Selection("top_k", top_k=9)
HISTORY = [("human", "Hi"), ("gpt", "Hello."), ("human", "2+2?")]
REPLIES = [  # text, and the reasoning beside it
    ("It is four.", "2 and 2"),
    ("<think>2 and 2</think>It is four.", None),
    ("<think>\n2 and 2\n</think>\n\nIt is four.", "2 and 2"),
    ("2 and 2</think>It is four.", None),
    ("<|channel|>analysis<|message|>2 and 2<|end|><|start|>assistant<|channel|>final<|message|>It is four.", None),
    ("<|channel|>analysis<|message|>2 and 2<|end|><|start|>assistant<|channel|>final<|message|>It is four.", "2 and 2"),
    ("[THINK]2 and 2[/THINK]It is four.", None),
]


def record(text: str, reasoning: str | None, turns: Any = HISTORY) -> Record:
    item = {"conversations": [{"from": role, "value": words} for role, words in turns]}
    return make_record(entry_from_conversation(item), [Answer(text, "stop", reasoning)], [Score(9.0)])


def rows(tmp_path: Path, records: Any, name: str, options: RowOptions, how: Selection = BEST) -> List[Dict[str, Any]]:
    path = tmp_path / "x.jsonl"
    write_selected(records, str(path), how, name, Extras(options=options))
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(("text", "reasoning"), REPLIES)
def test_thoughts_are_rendered_once_and_before_the_answer(tmp_path: Path, text: str, reasoning: str | None) -> None:
    shown = [
        (QWEN3, RowOptions(), "<think>\n2 and 2\n</think>\n\nIt is four.<|im_end|>\n"),
        (GPT_OSS, RowOptions(field="thinking"), "analysis<|message|>2 and 2<|end|><|start|>assistant<|channel|>final"),
        (R1_TRAINING, RowOptions("think"), "<|Assistant|><think>\n2 and 2\n</think>\n\nIt is four.<|end|>"),
    ]
    for template, options, expected in shown:
        (row,) = rows(tmp_path, [record(text, reasoning)], "messages", options)
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.Undefined)
        rendered = environment.from_string(template).render(messages=row["messages"])
        assert expected in rendered
        assert rendered.count("2 and 2") == rendered.count("It is four.") == 1


@pytest.mark.parametrize(("text", "reasoning"), REPLIES)
def test_each_place_of_thoughts_holds_what_its_reader_expects(tmp_path: Path, text: str, reasoning: str | None) -> None:
    one = [record(text, reasoning)]
    think = "<think>\n2 and 2\n</think>\n\nIt is four."
    assert rows(tmp_path, one, "sharegpt", RowOptions())[0]["conversations"][-1]["value"] == think
    assert rows(tmp_path, one, "swift", RowOptions())[0]["messages"][-1]["content"] == think
    (field,) = rows(tmp_path, one, "completion", RowOptions())
    answer = {"role": "assistant", "content": "It is four.", "reasoning_content": "2 and 2"}
    assert field["completion"] == [answer]
    assert field["prompt"][1] == {"role": "assistant", "content": "Hello.", "reasoning_content": ""}
    (dropped,) = rows(tmp_path, one, "messages", RowOptions("drop"))
    assert dropped["messages"][-1] == {"role": "assistant", "content": "It is four."}


def test_without_thoughts_no_message_has_a_field_for_them(tmp_path: Path) -> None:
    assert "reasoning_content" not in str(rows(tmp_path, [record("4", None)], "messages", RowOptions()))


def test_answers_that_differ_only_in_thoughts_are_one_row_without_them(tmp_path: Path) -> None:
    two = record("<think>a</think>4", None)
    two["generated_answers"] = ["<think>a</think>4", "<think>b</think>4"]
    two["generated_scores"], two["generated_details"] = [9.0, 9.0], [{}, {}]
    assert len(rows(tmp_path, [two], "messages", RowOptions("drop"))) == 1
    assert len(rows(tmp_path, [two], "messages", RowOptions())) == 2


@pytest.mark.parametrize(
    "text", ["<think>2 and", "[THINK]2 and", "<|channel|>analysis<|message|>2 and", "<think>a</think>"]
)
def test_an_answer_without_an_end_of_its_thoughts_is_never_selected(tmp_path: Path, text: str) -> None:
    for mode in ("think", "field", "drop"):
        assert rows(tmp_path, [record(text, None)], "messages", RowOptions(mode)) == []


def test_the_row_with_the_first_thoughts_comes_first_if_they_are_late(tmp_path: Path) -> None:
    """``datasets`` settles the columns of JSON Lines by the beginning of the file."""
    plain = [record("x" * 1000, None, [("human", f"q{n}")]) for n in range(FIRST_READ // 1000)]
    late = record("late", "a thought", [("human", "q")])
    first, *others = rows(tmp_path, [*plain, late], "messages", RowOptions())
    assert first["messages"][-1] == {"role": "assistant", "content": "late", "reasoning_content": "a thought"}
    assert {row["messages"][-1]["reasoning_content"] for row in others} == {""}


def test_thoughts_that_differ_are_both_kept_and_equal_ones_once() -> None:
    assert said("<think>b</think>4", "a") == Said("a\n\nb", "4")
    assert said("<think> a\n b </think>4", "a b") == Said("a b", "4")
    assert in_text(said("4")) == "4"


def test_a_system_prompt_goes_into_the_rows_that_have_none(tmp_path: Path) -> None:
    own = record("4", None, [("system", "own"), ("human", "q")])
    options = RowOptions(system_prompt="Be brief.")
    for name in ("messages", "completion", "sharegpt", "swift"):
        first, second = rows(tmp_path, [record("4", None), own], name, options)
        turns, others = (next(iter(row.values())) for row in (first, second))
        assert list(turns[0].values()) == ["system", "Be brief."]
        assert [list(turn.values())[1] for turn in others][:2] == ["own", "q"]


def test_a_format_without_a_field_for_thoughts_refuses_it(tmp_path: Path) -> None:
    for name in FORMATS:
        if FORMATS[name].thoughts == "think":
            with pytest.raises(UsageError, match=rf"--reasoning field: --selected_format {name} has no field"):
                rows(tmp_path, [], name, RowOptions("field"))


def test_the_scripts_put_thoughts_and_the_system_prompt_into_the_rows(tmp_path: Path) -> None:
    source, sampled = write_input(tmp_path / "in.json", [conversation("2+2?", "4")]), tmp_path / "sampled.jsonl"
    selected = tmp_path / "best.jsonl"
    rows = ("--selected_file", selected, "--selected_format", "messages", "--keep_system_prompt")
    files = ("--output_file", sampled, "--answers_per_question", 2)
    with ScriptedServer(lambda request: completion("It is 4.", reasoning_content="2 and 2")) as server:
        sampling = (
            "--input_file",
            source,
            *files,
            "--port",
            server.port,
            "--model",
            "m",
            "--system_prompt",
            "Be brief.",
        )
        assert run_script("sampling.py", *sampling).returncode == 0
    score = ("--input_file", sampled, "--output_file", tmp_path / "out.jsonl", "--scorer", "match")
    done = run_script("score.py", *score, *rows, "--reasoning_field", "thinking")
    assert done.returncode == 0, done.stderr
    assert read_lines(selected)[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "It is 4.", "thinking": "2 and 2"},
    ]
    assert read_lines(tmp_path / "out.jsonl")[0]["pass_rate"] == {"accepted": 2, "of": 2, "interval": [0.3424, 1.0]}
