"""--scorer reward: the APIs of reward servers, raw scores, steps, the check before the first score, and the flags."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from common.cli.commands import COMMANDS
from common.errors import ServerRefused, UsageError
from common.scoring.reward import Reward
from common.scoring.reward_check import PAIRS, check
from common.scoring.reward_model import RewardModel
from common.scoring.reward_steps import tagged
from common.scoring.reward_template import ChatTemplate
from common.scoring.scorers import make_scorer
from common.servers.client import ChatClient
from tests.helpers import ROOT, conversation, questions, read_lines, run_script, write_input
from tests.scripted_server import NOT_FOUND, Reply, Request, ScriptedServer, completion
from tests.toy_rewards import BOS, MOST_TOKENS, SHAPES, TAG, TEMPLATE, ToyRewards, no_chat, render, reward_of

RECORDED = ROOT / "tests" / "recorded" / "rewards"
LONG = "word " * MOST_TOKENS


def records(path: Path, answers: List[str], count: int = 2, **more: Any) -> Path:
    """Sampled records of questions "question 0?", ... with the same answers each."""
    lines = []
    for number in range(count):
        item = {
            "original_question": f"question {number}?",
            "original_answers": [{"from": "human", "value": f"question {number}?"}],
            "generated_answers": answers,
            "generated_details": [{"finish_reason": "stop"}] * len(answers),
        }
        lines.append(json.dumps({**item, **more}) + "\n")
    path.write_text("".join(lines))
    return path


def score(
    folder: Path, toy: ToyRewards, answers: List[str], *flags: object, template: Optional[str] = None, count: int = 2
) -> tuple[subprocess.CompletedProcess[str], List[Any], ScriptedServer]:
    """What score.py says and writes about answers, and the server that it asked."""
    source = records(folder / "sampled.jsonl", answers, count)
    words: List[object] = ["--input_file", source, "--output_file", folder / "scored.jsonl", "--scorer", "reward"]
    if template is not None:
        (folder / "rm.jinja").write_text(template)
        words += ["--reward_template", folder / "rm.jinja"]
    with ScriptedServer(no_chat, posts=toy.reply) as server:
        run = run_script("score.py", *words, "--reward_port", server.port, "--reward_model", "rm", *flags)
    return run, read_lines(folder / "scored.jsonl"), server


def own_text(question: str, answer: str) -> str:
    return render([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])


def about_answers(server: ScriptedServer) -> List[Request]:
    """The requests that are not those of the check."""
    return [request for request in server.posted if re.search(r"question( \d)?\?|a question", json.dumps(request.body))]


# --- the APIs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_each_api_is_found_and_gives_raw_scores(shape: str, tmp_path: Path) -> None:
    template = None if shape in ("vllm", "pooling") else TEMPLATE
    run, scored, server = score(tmp_path, ToyRewards(shape), ["yes", "no"], template=template)
    assert (run.returncode, run.stderr) == (0, "")
    for record in scored:
        question = record["original_question"]
        assert record["generated_scores"] == [reward_of(own_text(question, answer)) for answer in ("yes", "no")]
    assert any(value < 0 or value > 1 for record in scored for value in record["generated_scores"])
    assert len(about_answers(server)) == 4  # one conversation each


def test_text_is_scored_as_messages_are(tmp_path: Path) -> None:
    run, scored, server = score(tmp_path, ToyRewards("vllm", bos=True), ["yes"], template=TEMPLATE)
    assert (run.returncode, run.stderr) == (0, "")
    assert all("input" in request.body for request in about_answers(server))
    assert scored[0]["generated_scores"] == [reward_of(BOS + own_text("question 0?", "yes"))]


@pytest.mark.parametrize("name", ["vllm_classify", "vllm_pooling", "vllm_prm"])
def test_what_a_real_vllm_replied_is_read(name: str, tmp_path: Path) -> None:
    """The recording of a whole run, played again: the scores are those of that run, and of transformers within 1e-3."""
    recording = json.loads((RECORDED / f"{name}.json").read_text())
    replies = {json.dumps([one["path"], one["body"]], sort_keys=True): one for one in recording["exchanges"]}

    def replay(request: Request) -> Reply:
        one = replies.get(json.dumps([request.path, request.body], sort_keys=True))
        return NOT_FOUND if one is None else Reply(one["reply"], status=one["status"])

    source = tmp_path / "sampled.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in recording["records"]))
    words = ["--input_file", source, "--output_file", tmp_path / "scored.jsonl", "--scorer", "reward"]
    with ScriptedServer(no_chat, posts=replay) as server:
        named = ["--reward_port", server.port, "--reward_model", recording["model"]]
        run = run_script("score.py", *words, *named, *recording["flags"])
    assert (run.returncode, run.stderr) == (0, "")
    scored = sorted(read_lines(tmp_path / "scored.jsonl"), key=lambda record: int(record["line"]))
    values = [value for record in scored for value in record["generated_scores"]]
    assert len(values) == len(recording["transformers"])
    for value, own in zip(values, recording["transformers"]):
        assert (value is None) == (own is None)
        assert value is None or math.isclose(value, own, abs_tol=1e-3)


def test_a_server_without_a_template_says_so(tmp_path: Path) -> None:
    run, _, _ = score(tmp_path, ToyRewards("sglang"), ["yes"])
    assert run.returncode == 1
    assert "needs the text of a conversation (SGLang's /classify): give the model's chat template" in run.stderr


def test_a_server_of_another_kind_is_named(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: completion("hi")) as server:
        source = records(tmp_path / "sampled.jsonl", ["yes"])
        words = ["--input_file", source, "--output_file", tmp_path / "scored.jsonl", "--scorer", "reward"]
        run = run_script("score.py", *words, "--api_port", server.port, "--model_name", "m")
    assert run.returncode == 1
    assert "scores no conversation by /classify, /pooling, /predict, /get_reward, /v1/embeddings" in run.stderr
    assert run.stderr.count("\n") == 1


# --- the check --------------------------------------------------------------------------------------------------------


def checked(folder: Path, toy: ToyRewards, template: Optional[str] = None, **more: Any) -> str:
    """What the check says of a toy server, or nothing."""
    path = folder / "rm.jinja"
    path.write_text(template or "")

    rendered = ChatTemplate("--reward_template", str(path)) if template else None

    async def run(url: str) -> None:
        async with ChatClient([url], "rm", 8) as client:
            await check(RewardModel(client, "auto", rendered, **more))

    with ScriptedServer(no_chat, posts=toy.reply) as server:
        try:
            asyncio.run(run(server.url))
        except ServerRefused as error:
            return str(error)
    return ""


def template_of(shape: str) -> Optional[str]:
    """A template, where the server takes only text."""
    return None if shape in ("vllm", "pooling") else TEMPLATE


@pytest.mark.parametrize("shape", SHAPES)
def test_an_activation_stops_the_run(shape: str, tmp_path: Path) -> None:
    assert "an activation is on" in checked(tmp_path, ToyRewards(shape, activation=True), template_of(shape))


def test_an_activation_of_one_of_several_servers_stops_the_run() -> None:
    async def run(urls: List[str]) -> None:
        async with ChatClient(urls, "rm", 16) as client:
            await check(RewardModel(client))

    good, bad = ToyRewards("vllm"), ToyRewards("vllm", activation=True)
    with ScriptedServer(no_chat, posts=good.reply) as one, ScriptedServer(no_chat, posts=bad.reply) as other:
        with pytest.raises(ServerRefused, match="apply an activation, and others do not"):
            asyncio.run(run([one.url, other.url]))
        asyncio.run(run([one.url, one.url]))


@pytest.mark.parametrize("shape", ["vllm", "pooling", "sglang", "embeddings", "tei"])
def test_a_doubled_bos_stops_the_run(shape: str, tmp_path: Path) -> None:
    line = checked(tmp_path, ToyRewards(shape, bos=True), BOS + TEMPLATE)
    assert "adds a first token (BOS) to the text of --reward_template" in line


def test_a_bos_of_the_template_counts_where_the_server_adds_none(tmp_path: Path) -> None:
    assert checked(tmp_path, ToyRewards("sglang"), BOS + TEMPLATE) == ""


def test_a_bos_that_the_server_adds_to_messages_stops_the_run(tmp_path: Path) -> None:
    line = checked(tmp_path, ToyRewards("vllm", bos=True, twice=True))
    assert "has the first token (BOS) twice in messages" in line


@pytest.mark.parametrize("shape", ["vllm", "pooling"])
def test_a_template_that_is_not_the_servers_stops_the_run(shape: str, tmp_path: Path) -> None:
    wrong = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert "leave out --reward_template, or correct the file" in checked(tmp_path, ToyRewards(shape), wrong)


def test_a_server_without_its_own_template_is_not_compared(tmp_path: Path) -> None:
    assert checked(tmp_path, ToyRewards("vllm", renders=False), TEMPLATE) == ""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_that_prefers_bad_answers_stops_the_run(shape: str, tmp_path: Path) -> None:
    line = checked(tmp_path, ToyRewards(shape, sign=-1), template_of(shape))
    assert f"does not prefer the good answer in {len(PAIRS)} of {len(PAIRS)} easy pairs" in line


def test_a_wrong_step_tag_stops_the_run(tmp_path: Path) -> None:
    line = checked(tmp_path, ToyRewards("pooling"), step_tag="<step>")
    assert "scores for 2 steps: --reward_steps <step> must be the token of the server's step_tag_id" in line


def test_a_model_of_steps_without_its_tag_stops_the_run(tmp_path: Path) -> None:
    def posts(request: Request) -> Reply:
        return Reply({"data": [{"data": [[0.1, 0.9]]}]}) if request.path == "/pooling" else NOT_FOUND

    toy = ToyRewards("pooling")
    toy.reply = posts  # type: ignore[method-assign]
    assert "name its step tag with --reward_steps" in checked(tmp_path, toy)


def test_a_check_that_a_request_ends_is_made_again(tmp_path: Path) -> None:
    """It costs the entry that began it, not the run, and no answer is scored before a whole check."""
    toy = ToyRewards("vllm")

    def script(request: Request) -> Reply:
        return Reply("busy", status=500) if request.number < 3 else toy.reply(request)

    source = records(tmp_path / "sampled.jsonl", ["yes"], count=8)
    words = ["--input_file", source, "--output_file", tmp_path / "scored.jsonl", "--scorer", "reward"]
    with ScriptedServer(no_chat, posts=script) as server:
        words += ["--max_retries", "0", "--model_name", "m", "--api_port", server.port]
        runs = [run_script("score.py", *words) for _ in range(2)]
    assert [run.returncode for run in runs] == [1, 0]
    assert "5 done" in runs[0].stdout
    assert len(read_lines(tmp_path / "scored.jsonl")) == 8


# --- what is scored ---------------------------------------------------------------------------------------------------


def test_a_long_answer_is_unscored_alone_and_truncated_on_request(tmp_path: Path) -> None:
    run, scored, _ = score(tmp_path, ToyRewards("vllm"), ["yes", LONG], count=1)
    assert run.returncode == 0
    assert [value is None for value in scored[0]["generated_scores"]] == [False, True]
    assert "maximum context length is 200 tokens" in scored[0]["generated_details"][1]["unscored"]
    (tmp_path / "scored.jsonl").unlink()
    _, scored, server = score(tmp_path, ToyRewards("vllm"), ["yes", LONG], "--reward_truncate", count=1)
    assert None not in scored[0]["generated_scores"]
    assert about_answers(server)[0].body["truncation_side"] == "left"


def test_thoughts_are_left_out_and_history_is_not(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "1?"}, {"from": "gpt", "value": "2"}]
    source = records(tmp_path / "sampled.jsonl", ["<think>no</think>yes", "<think>no", " "], 1)
    record = json.loads(source.read_text())
    record["original_answers"] = [*turns, *record["original_answers"]]
    source.write_text(json.dumps(record) + "\n")
    words = ["--input_file", source, "--output_file", tmp_path / "scored.jsonl", "--scorer", "reward"]
    with ScriptedServer(no_chat, posts=ToyRewards("vllm").reply) as server:
        run = run_script("score.py", *words, "--api_port", server.port, "--model_name", "m")
    assert (run.returncode, run.stderr) == (0, "")
    (asked,) = about_answers(server)
    assert [message["role"] for message in asked.body["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert asked.body["messages"][-1]["content"] == "yes"
    assert [value is None for value in read_lines(tmp_path / "scored.jsonl")[0]["generated_scores"]] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(("how", "of"), [(None, math.prod), ("min", min), ("last", lambda steps: steps[-1])])
def test_a_process_reward_model_scores_each_step(how: Optional[str], of: Any, tmp_path: Path) -> None:
    flags = ["--reward_steps", TAG, *(["--reward_aggregate", how] if how else [])]
    run, scored, server = score(tmp_path, ToyRewards("pooling"), ["one\n\ntwo", "three"], *flags)
    assert (run.returncode, run.stderr) == (0, "")
    first, second = scored[0]["generated_details"]
    assert (len(first["step_scores"]), len(second["step_scores"])) == (2, 1)
    assert all(0 < step < 1 for step in first["step_scores"])
    assert math.isclose(scored[0]["generated_scores"][0], of(first["step_scores"]))
    assert about_answers(server)[0].body["messages"][-1]["content"] == tagged("one\n\ntwo", TAG)


def test_probabilities_of_steps_are_taken_as_they_are(tmp_path: Path) -> None:
    run, scored, _ = score(tmp_path, ToyRewards("pooling", activation=True), ["one"], "--reward_steps", TAG)
    raw, raw_scored, _ = score(tmp_path / "..", ToyRewards("pooling"), ["one"], "--reward_steps", TAG)
    assert (run.returncode, raw.returncode) == (0, 0)
    assert math.isclose(scored[0]["generated_scores"][0], raw_scored[0]["generated_scores"][0], abs_tol=1e-9)


# --- the engine's promises --------------------------------------------------------------------------------------------


def test_a_finished_output_sends_nothing_and_another_template_scores_again(tmp_path: Path) -> None:
    first, _, _ = score(tmp_path, ToyRewards("vllm"), ["yes", "no"])
    again, _, server = score(tmp_path, ToyRewards("vllm"), ["yes", "no"])
    assert (first.returncode, again.returncode, server.posted) == (0, 0, [])


def test_reject_samples_scores_and_selects_in_the_models_units(tmp_path: Path) -> None:
    source = questions(tmp_path / "input.json", 6)
    words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--scorer", "reward"]
    words += ["--selected_file", tmp_path / "pairs.jsonl", "--select", "dpo", "--accept_score", "-0.5"]
    words += ["--min_margin", "0.1", "--stop_after", "2", "--answers_per_question", "6", "--generator_model", "m"]
    generator = lambda request: completion(f"question answer {request.number}")
    with ScriptedServer(generator) as chat, ScriptedServer(no_chat, posts=ToyRewards("vllm").reply) as rewards:
        ports = ["--generator_port", chat.port, "--reward_port", rewards.port, "--reward_model", "rm"]
        run = run_script("reject.py", *words, *ports, "--report_file", tmp_path / "report.html")
    assert (run.returncode, run.stderr) == (0, "")
    assert "quantiles 5 / 25 / 50 / 75 / 95 % of the scores are below" in run.stdout
    assert "own units" in (tmp_path / "report.html").read_text()
    scores = [value for record in read_lines(tmp_path / "out.jsonl") for value in record["generated_scores"]]
    assert any(value is not None and value < 0 for value in scores)
    assert 0 < len(read_lines(tmp_path / "pairs.jsonl")) <= 6


# --- the flags --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--reward_aggregate min", "--reward_aggregate needs --reward_steps TAG"),
        ("--reward_steps <x> --reward_api tei", "--reward_steps needs --reward_api pooling, not tei"),
        ("--reward_template missing.jinja", "--reward_template: cannot read missing.jinja"),
        ("--scorer match reward", "a reward model's scores are in its own units, so it stands alone"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: str, line: str) -> None:
    words = ["--input_file", "a", "--output_file", "b", "--scorer", "reward", *flags.split()]
    args = COMMANDS["score"].make_parser().parse_args(words)
    with pytest.raises(UsageError, match=re.escape(line)):
        make_scorer(args, ChatClient(["http://127.0.0.1:9/v1"], "rm", 4))


def test_the_embedded_server_has_no_reward_model(tmp_path: Path) -> None:
    source = records(tmp_path / "sampled.jsonl", ["yes"])
    words = ["--input_file", source, "--output_file", tmp_path / "scored.jsonl", "--scorer", "reward"]
    run = run_script("score.py", *words, "--local", "--model_name", "m")
    assert run.returncode == 2
    assert "--local has no such model; name its server with --reward_port" in run.stderr


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{% for m in messages %}", "line 1: Unexpected end of template"),
        ("{{ messages[0].content }}", "must render the content of messages"),
        (TEMPLATE + "{{ eos_token }}", "'eos_token' is undefined; write the texts of special tokens"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(template: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "rm.jinja").write_text(template)
    with pytest.raises(UsageError, match=re.escape(line)):
        ChatTemplate("--reward_template", str(tmp_path / "rm.jinja"))


def test_what_makes_a_score_changes_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "rm.jinja").write_text(TEMPLATE)
    client = ChatClient(["http://127.0.0.1:9/v1"], "rm", 4)
    made = [
        Reward(RewardModel(client)),
        Reward(RewardModel(ChatClient(["http://127.0.0.1:9/v1"], "another", 4))),
        Reward(RewardModel(client, template=ChatTemplate("--reward_template", str(tmp_path / "rm.jinja")))),
        Reward(RewardModel(client, step_tag=TAG)),
        Reward(RewardModel(client, step_tag=TAG), "min"),
        Reward(RewardModel(client, cuts=True)),
    ]
    assert len({scorer.settings_id for scorer in made}) == len(made)
    assert Reward(RewardModel(client, "vllm")).settings_id == made[0].settings_id
    assert pickle.loads(pickle.dumps(made[2])).settings_id == made[2].settings_id  # for a Ray worker


def test_help_shows_the_flags_of_a_named_scorer_only() -> None:
    plain, named = run_script("score.py", "--help"), run_script("score.py", "--scorer", "reward", "--help")
    assert "--reward_port" not in plain.stdout
    assert "--scorer" in plain.stdout
    assert re.search(r"^reward model .*:$", named.stdout, re.M)
    assert "--reward_port" in named.stdout


def test_an_image_that_a_text_cannot_show_leaves_the_answer_unscored(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8))
    source = records(tmp_path / "sampled.jsonl", ["yes"], 1, images=["cat.png"])
    (tmp_path / "rm.jinja").write_text(TEMPLATE)
    words = ["--input_file", source, "--output_file", tmp_path / "scored.jsonl", "--scorer", "reward"]
    words += ["--reward_template", tmp_path / "rm.jinja", "--model_name", "m"]
    with ScriptedServer(no_chat, posts=ToyRewards("sglang").reply) as server:
        run = run_script("score.py", *words, "--api_port", server.port)
    assert run.returncode == 0
    detail: Dict[str, Any] = read_lines(tmp_path / "scored.jsonl")[0]["generated_details"][0]
    assert "--reward_template cannot show the entry's images" in detail["unscored"]


def test_an_image_is_shown_to_a_server_that_takes_messages(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8))
    source = write_input(tmp_path / "input.json", [conversation("question?", images=["cat.png"])])
    words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--scorer", "reward"]
    words += ["--generator_model", "m", "--answers_per_question", "1"]
    chats = ScriptedServer(lambda _: completion("a question"))
    with chats as chat, ScriptedServer(no_chat, posts=ToyRewards("vllm").reply) as rewards:
        ports = ["--generator_port", chat.port, "--reward_port", rewards.port, "--reward_model", "rm"]
        run = run_script("reject.py", *words, *ports)
    assert (run.returncode, run.stderr) == (0, "")
    (asked,) = about_answers(rewards)
    assert asked.body["messages"][0]["content"][0]["type"] == "image_url"
