"""--prefill: each answer begins with the text, exactly once, whatever the server sends back."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import List, Optional

import pytest

from common.errors import UsageError
from common.records import Answer
from common.servers.known_servers import CONTINUE_LAST_MESSAGE
from common.servers.prefill import NUMBERS, Prefill, make_prefill
from tests.helpers import conversation, questions, read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion


def prefilled(request: Request) -> str:
    """The text that a server is to continue."""
    last = request.body["messages"][-1]
    assert last["role"] == "assistant"
    return str(last["content"])


def continues(request: Request) -> Reply:
    """As vLLM and SGLang: the continuation alone."""
    return completion(*["2 is it."] * request.body.get("n", 1))


def repeats(request: Request) -> Reply:
    """As Mistral and newer llama.cpp: the text, and the continuation."""
    return completion(*[f"{prefilled(request)}2 is it."] * request.body.get("n", 1))


def starts_alike(request: Request) -> Reply:
    """As vLLM, with a continuation that happens to begin as the text does."""
    return completion("1 is it.")


def sampled(folder: Path, server: ScriptedServer, *flags: object) -> List[str]:
    words = ["--input_file", questions(folder / "in.json", 3), "--output_file", folder / "out.jsonl"]
    words += ["--port", server.port, "--model_name", "m", "--answers_per_question", 2]
    run = run_script("sampling.py", *words, *flags)
    assert (run.returncode, run.stderr) == (0, "")
    return [text for record in read_lines(folder / "out.jsonl") for text in record["generated_answers"]]


@pytest.mark.parametrize("script", [continues, repeats])
@pytest.mark.parametrize("text", ["The answer is ", "1"])
def test_the_kept_answer_has_the_text_once(script: object, text: str, tmp_path: Path) -> None:
    with ScriptedServer(script) as server:  # type: ignore[arg-type]
        assert set(sampled(tmp_path, server, "--prefill", text)) == {f"{text}2 is it."}
        sent = [chat for chat in server.chats if prefilled(chat) != NUMBERS]
        assert len(sent) == 6
        assert len(server.chats) - len(sent) == (1 if script is repeats and text == "1" else 0)
        assert all(chat.body[field] is value for chat in sent for field, value in CONTINUE_LAST_MESSAGE.items())
        assert {prefilled(chat) for chat in sent} == {text}


def test_a_short_text_that_the_continuation_repeats_stays_twice(tmp_path: Path) -> None:
    with ScriptedServer(starts_alike) as server:
        assert set(sampled(tmp_path, server, "--prefill", "1", "--samples_per_request", 2)) == {"11 is it."}


def test_another_prefill_is_another_answer_and_none_is_that_of_before(tmp_path: Path) -> None:
    with ScriptedServer(continues) as server:
        sampled(tmp_path, server)
        settings = (tmp_path / "out.jsonl.settings.json").read_text()
        assert "prefill" not in settings
        words = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "out.jsonl", "--port", server.port]
        words += ["--model_name", "m", "--answers_per_question", 2]
        again = run_script("sampling.py", *words, "--prefill", "So ")
    assert again.returncode == 2
    assert "prefill" in again.stderr


def test_the_scorer_sees_the_whole_answer(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.json", [conversation("6 * 7?", "42")])
    with ScriptedServer(lambda request: completion("2")) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--generator_port", server.port]
        flags = ["--generator_model", "m", "--scorer", "match", "--answers_per_question", 1, "--prefill", "It is 4"]
        assert run_script("reject.py", *words, *flags).returncode == 0
    (record,) = read_lines(tmp_path / "out.jsonl")
    assert (record["generated_answers"], record["generated_scores"]) == (["It is 42"], [10.0])


THINK = "<think>\n"


@pytest.mark.parametrize(
    ("text", "said", "thoughts", "repeats", "kept", "kept_thoughts"),
    [
        (THINK, "2 + 2</think>4", None, None, f"{THINK}2 + 2</think>4", None),
        (THINK, f"{THINK}2 + 2</think>4", None, False, f"{THINK}2 + 2</think>4", None),  # its template opens it too
        (THINK, "4", "2 + 2", None, "4", "2 + 2"),
        (f"{THINK}Well, ", "4", "2 + 2", False, "4", "Well, 2 + 2"),
        (f"{THINK}Well, ", "4", "Well, 2 + 2", True, "4", "Well, 2 + 2"),
        (f"{THINK}Well, ", f"{THINK}Well, 2 + 2</think>4", None, True, f"{THINK}Well, 2 + 2</think>4", None),
        (f"{THINK}\n</think>\n\n", "4", None, None, f"{THINK}\n</think>\n\n4", None),
        ("Let me see: ", "4", "2 + 2", False, "4", "Let me see: 2 + 2"),  # its prompt ends inside a thought
        ("1", "1", None, False, "11", None),
        ("1", "11", None, True, "11", None),
        ("It is ", "", None, None, "It is ", None),  # cut at once
        ("The answer is ", "  The answer is 4", None, None, "  The answer is 4", None),
    ],
)
def test_thoughts_and_text_are_joined_where_they_belong(
    text: str, said: str, thoughts: Optional[str], repeats: Optional[bool], kept: str, kept_thoughts: Optional[str]
) -> None:
    answer = Prefill(text).joined(Answer(said, "stop", thoughts), repeats)
    assert (answer.text, answer.reasoning) == (kept, kept_thoughts)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://127.0.0.1:8000/v1", None),
        ("https://openrouter.ai/api/v1", None),
        ("https://api.deepseek.com/beta", {"prefix": True}),
        ("https://api.mistral.ai/v1", {"prefix": True}),
        ("https://api.moonshot.ai/v1", {"partial": True}),
    ],
)
def test_each_known_server_is_asked_in_its_own_way(url: str, word: Optional[dict]) -> None:  # type: ignore[type-arg]
    found = make_prefill("So ", [url])
    assert found.message() == {"role": "assistant", "content": "So ", **(word or {})}
    assert found.fields == ({} if word else CONTINUE_LAST_MESSAGE)
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("urls", "line"),
    [
        (["https://api.openai.com/v1"], "OpenAI (https://api.openai.com/v1) cannot continue"),
        (["http://127.0.0.1:1/v1", "https://eu.api.openai.com/v1"], "OpenAI"),
        (["https://x.openai.azure.com/openai/v1"], "Azure OpenAI"),
        (["https://api.deepseek.com/v1"], "https://api.deepseek.com/beta"),
        (["http://127.0.0.1:1/v1", "https://api.mistral.ai/v1"], "different ways"),
    ],
)
def test_a_server_that_cannot_is_refused_by_name(urls: List[str], line: str) -> None:
    with pytest.raises(UsageError, match="--prefill") as error:
        make_prefill("So ", urls)
    assert line in str(error.value)


def test_a_server_that_says_it_is_one_that_cannot_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with ScriptedServer(continues) as server:
        server.models = [{"id": "m", "object": "model", "owned_by": "me", "permissions": []}]
        words = ["--input_file", questions(tmp_path / "in.json", 1), "--output_file", tmp_path / "out.jsonl"]
        run = run_script("sampling.py", *words, "--port", server.port, "--model_name", "m", "--prefill", "So ")
        assert (run.returncode, len(server.chats)) == (2, 0)
    assert "llama-cpp-python" in run.stderr
