"""A finished output that is asked for more: what is requested, what stays, and kill -9 at every step of the rewrite."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from tests.forked import forked
from tests.helpers import conversation, done, judge_flags, questions, read_lines
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRIES = 6


def numbered(request: Request) -> Reply:
    """Each answer is another one; each judge's reply is a score."""
    if "j" in request.body["model"]:
        return completion("Score: 7")
    return completion(f"answer {request.number}")


def sample(server: ScriptedServer, folder: Path, *flags: object, kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    source = folder / "in.json"
    if not source.exists():
        questions(source, ENTRIES)
    words = ["--input_file", source, "--output_file", folder / "out.jsonl", "--model_name", "g"]
    return forked("sample", [*words, "--port", server.port, *flags], folder, kill_at)


def reject(server: ScriptedServer, folder: Path, *flags: object, kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    source = folder / "in.json"
    if not source.exists():
        questions(source, ENTRIES)
    words = ["--input_file", source, "--output_file", folder / "out.jsonl", "--generator_model", "g"]
    words += ["--generator_port", server.port]
    words += judge_flags(flags, "--scorer_model", "j", "--scorer_port", server.port)
    return forked("reject", [*words, *flags], folder, kill_at)


def score(server: ScriptedServer, folder: Path, *flags: object, kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    words: List[object] = ["--input_file", folder / "out.jsonl", "--output_file", folder / "scored.jsonl"]
    words += judge_flags(flags, "--model_name", "j", "--api_port", server.port)
    return forked("score", [*words, *flags], folder, kill_at)


def answers(folder: Path, name: str = "out.jsonl") -> Dict[str, List[str]]:
    records = read_lines(folder / name)
    found = {record["original_question"]: record["generated_answers"] for record in records}
    assert len(found) == len(records)
    return found


def only_the_usual_files(folder: Path) -> bool:
    return not [path.name for path in folder.iterdir() if ".new" in path.name or path.name.endswith(".ledger")]


@pytest.mark.parametrize("cache", [False, True])
def test_more_answers_are_sampled_and_those_there_stay(tmp_path: Path, cache: bool) -> None:
    flags = ("--scorer", "match", *(("--cache_file", tmp_path / "cache.jsonl") if cache else ()))
    with ScriptedServer(numbered) as server:
        done(reject(server, tmp_path, *flags, "--answers_per_question", 2))
        before = answers(tmp_path)
        done(reject(server, tmp_path, *flags, "--answers_per_question", 5))
        assert len(server.chats) == ENTRIES * 5
        after = answers(tmp_path)
        assert {name: texts[:2] for name, texts in after.items()} == before
        assert {len(texts) for texts in after.values()} == {5}
        done(reject(server, tmp_path, *flags, "--answers_per_question", 5))
        assert len(server.chats) == ENTRIES * 5
    assert only_the_usual_files(tmp_path)
    assert json.loads((tmp_path / "out.jsonl.settings.json").read_text())["answers_per_question"] == 5


def test_fewer_answers_remove_none_and_the_run_says_so(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--answers_per_question", 4))
        before = answers(tmp_path)
        run = sample(server, tmp_path, "--answers_per_question", 2)
        assert run.returncode == 0
        assert run.stderr.count("\n") == 1
        assert "keeps its answers, up to 4 per question" in run.stderr
        done(sample(server, tmp_path, "--answers_per_question", 4))
        assert len(server.chats) == ENTRIES * 4
    assert answers(tmp_path) == before
    assert only_the_usual_files(tmp_path)


@pytest.mark.parametrize(
    ("count", "limit", "kept"),
    [(2, 32, (4, 48)), (4, 32, (4, 48)), (2, 48, (4, 48)), (2, 64, (2, 64)), (4, 64, (4, 64))],
)
def test_lower_limits_that_change_nothing_do_not_change_the_settings(
    tmp_path: Path, count: int, limit: int, kept: Tuple[int, int]
) -> None:
    def settings() -> Tuple[int, int]:
        found = json.loads((tmp_path / "out.jsonl.settings.json").read_text())
        return found["answers_per_question"], found["max_tokens"]

    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--answers_per_question", 4, "--max_tokens", 48))
        sample(server, tmp_path, "--answers_per_question", count, "--max_tokens", limit)
        assert len(server.chats) == ENTRIES * 4
        assert settings() == kept
        questions(tmp_path / "in.json", ENTRIES + 1)
        sample(server, tmp_path, "--answers_per_question", count, "--max_tokens", limit)
        assert len(server.chats) == ENTRIES * 4 + count
        assert settings() == (count, limit)


def test_another_population_is_refused_and_the_line_says_what_works(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--answers_per_question", 1))
        for flags in (
            ("--temperature", 1),
            ("--system_prompt", "x"),
            ("--extra_body", '{"top_k": 1}'),
            ("--top_p", 0.5),
        ):
            run = sample(server, tmp_path, "--answers_per_question", 2, *flags)
            assert run.returncode == 2
            assert "--output_file" in run.stderr
            assert "--allow_mixed" in run.stderr
        assert len(server.chats) == ENTRIES


def test_mixed_answers_say_who_made_them(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--answers_per_question", 1))
        flags = ("--model_name", "other", "--answers_per_question", 2, "--allow_mixed")
        done(sample(server, tmp_path, *flags))
        assert len(server.chats) == ENTRIES * 2
        done(sample(server, tmp_path, *flags))
        done(sample(server, tmp_path, "--answers_per_question", 2))
        assert len(server.chats) == ENTRIES * 2
    for record in read_lines(tmp_path / "out.jsonl"):
        assert [detail.get("model") for detail in record["generated_details"]] == [None, "other"]


def test_a_larger_limit_samples_only_the_cut_answers_again(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        filtered, cut = request.number % 4 == 0, request.number % 4 == 1 and request.body["max_tokens"] == 5
        finish = "content_filter" if filtered else "length" if cut else "stop"
        return completion(f"answer {request.number}", finish=finish)

    with ScriptedServer(script) as server:
        done(sample(server, tmp_path, "--answers_per_question", 4, "--max_tokens", 5, "--concurrent_requests", 1))
        done(sample(server, tmp_path, "--answers_per_question", 4, "--max_tokens", 9, "--concurrent_requests", 1))
        assert len(server.chats) == ENTRIES * 5
    reasons = [
        detail["finish_reason"]
        for record in read_lines(tmp_path / "out.jsonl")
        for detail in record["generated_details"]
    ]
    assert "length" not in reasons


def test_the_rule_may_ask_for_more_accepted_answers(tmp_path: Path) -> None:
    flags = ("--accept_score", 5, "--answers_per_question", 6)
    with ScriptedServer(numbered) as server:
        done(reject(server, tmp_path, *flags, "--stop_after", 1, "--concurrency", 1))
        first = len(server.chats)
        done(reject(server, tmp_path, *flags, "--stop_after", 2, "--concurrency", 1))
        assert len(server.chats) <= first + ENTRIES * 2 + 4
    for record in read_lines(tmp_path / "out.jsonl"):
        assert len([one for one in record["generated_scores"] if one is not None]) >= 2


def test_another_scorer_costs_scores_and_the_first_one_is_not_paid_again(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        flags = ("--answers_per_question", 2)
        done(reject(server, tmp_path, *flags))
        before = answers(tmp_path)
        assert len(server.chats) == ENTRIES * 4
        done(reject(server, tmp_path, *flags, "--scorer", "match"))
        assert len(server.chats) == ENTRIES * 4
        assert {one for record in read_lines(tmp_path / "out.jsonl") for one in record["generated_scores"]} <= {
            0.0,
            10.0,
            None,
        }
        done(reject(server, tmp_path, *flags))
        assert len(server.chats) == ENTRIES * 4
        done(reject(server, tmp_path, *flags, "--scorer_model", "jj"))
        assert len(server.chats) == ENTRIES * 6
    assert answers(tmp_path) == before
    assert {one for record in read_lines(tmp_path / "out.jsonl") for one in record["generated_scores"]} == {7.0}


def test_score_follows_its_input(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server, ScriptedServer(numbered) as judge:
        done(sample(server, tmp_path, "--answers_per_question", 2))
        done(score(judge, tmp_path))
        done(score(judge, tmp_path))
        assert len(judge.chats) == ENTRIES * 2
        done(sample(server, tmp_path, "--answers_per_question", 3))
        done(score(judge, tmp_path))
        assert len(judge.chats) == ENTRIES * 3
        done(score(judge, tmp_path))
        assert len(judge.chats) == ENTRIES * 3
    assert answers(tmp_path, "scored.jsonl") == answers(tmp_path)
    assert only_the_usual_files(tmp_path)


def test_a_failed_entry_keeps_what_it_had_and_is_tried_again(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--answers_per_question", 1))
        server.script = lambda request: (
            Reply("no", status=400) if "question 3?" in request.question else numbered(request)
        )
        assert sample(server, tmp_path, "--answers_per_question", 2).returncode == 1
        assert sorted(map(len, answers(tmp_path).values())) == [1] + [2] * (ENTRIES - 1)
        asked, server.script = len(server.chats), numbered
        done(sample(server, tmp_path, "--answers_per_question", 2))
        assert len(server.chats) == asked + 1
    assert {len(texts) for texts in answers(tmp_path).values()} == {2}
    assert only_the_usual_files(tmp_path)


def test_entries_past_the_limit_stay_as_they_are(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--answers_per_question", 1))
        done(sample(server, tmp_path, "--answers_per_question", 2, "--limit", 2))
        assert sorted(map(len, answers(tmp_path).values())) == [1] * (ENTRIES - 2) + [2] * 2
        done(sample(server, tmp_path, "--answers_per_question", 2))
        assert len(server.chats) == ENTRIES * 2


def test_answers_that_are_unscored_are_scored_again_on_demand_and_no_others(tmp_path: Path) -> None:
    def moody(request: Request) -> Reply:
        return completion("I cannot say.") if "answer 1" in str(request.body) else numbered(request)

    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--answers_per_question", 2))
    with ScriptedServer(moody) as server:
        done(score(server, tmp_path))
        unscored = sum(record["generated_scores"].count(None) for record in read_lines(tmp_path / "scored.jsonl"))
        assert unscored > 0
        asked, server.script = len(server.chats), numbered
        done(score(server, tmp_path))
        assert len(server.chats) == asked
        done(score(server, tmp_path, "--retry_unscored"))
        assert len(server.chats) == asked + unscored
        done(score(server, tmp_path, "--retry_unscored"))
        assert len(server.chats) == asked + unscored
    records = read_lines(tmp_path / "scored.jsonl")
    assert [record["generated_scores"] for record in records] == [[7, 7]] * ENTRIES
    assert only_the_usual_files(tmp_path)


# kill -9 at each step


def test_kill_9_at_every_step_of_the_rewrite_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with ScriptedServer(numbered) as server:
        folder.mkdir()
        done(sample(server, folder, "--answers_per_question", 1))
        shutil.copytree(folder, tmp_path / "finished")
        before, steps, code = answers(folder), 0, -9
        while code == -9:
            steps += 1
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / "finished", folder)
            asked = len(server.chats)
            code = sample(server, folder, "--answers_per_question", 2, kill_at=steps).returncode
            assert sorted(answers(folder)) == sorted(before), steps
            done(sample(server, folder, "--answers_per_question", 2))
            assert len(server.chats) == asked + ENTRIES, steps
            after = answers(folder)
            assert {name: texts[:1] for name, texts in after.items()} == before
            assert {len(texts) for texts in after.values()} == {2}
            assert only_the_usual_files(folder), steps
    assert (code, steps > 12) == (0, True)


def test_kill_9_at_every_step_of_a_rescoring_never_mixes_two_scorers(tmp_path: Path) -> None:
    """The output has the first scorer's scores until it has the second one's, and each score is paid for once."""
    folder = tmp_path / "work"
    with ScriptedServer(numbered) as server:
        folder.mkdir()
        done(reject(server, folder, "--answers_per_question", 1, "--scorer", "match"))
        shutil.copytree(folder, tmp_path / "finished")
        steps, code = 0, -9
        while code == -9:
            steps += 3
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / "finished", folder)
            asked = len(server.chats)
            code = reject(server, folder, "--answers_per_question", 1, kill_at=steps).returncode
            scores = {score for record in read_lines(folder / "out.jsonl") for score in record["generated_scores"]}
            assert scores == {7.0} or scores <= {0.0, 10.0}, steps
            done(reject(server, folder, "--answers_per_question", 1))
            assert len(server.chats) == asked + ENTRIES, steps
            assert [record["generated_scores"] for record in read_lines(folder / "out.jsonl")] == [[7.0]] * ENTRIES


def test_what_a_killed_top_up_paid_is_kept_by_runs_with_fewer_answers(tmp_path: Path) -> None:
    """One entry got one of its two further answers. Two runs that need no more leave that answer in the ledger."""
    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--answers_per_question", 1))
        asked = len(server.chats)
        server.script = lambda request: numbered(request) if request.number <= asked else Reply("no", status=401)
        assert sample(server, tmp_path, "--answers_per_question", 3, "--concurrent_requests", 1).returncode == 1
        refused, server.script = len(server.chats) - asked - 1, numbered
        for _ in range(2):
            done(sample(server, tmp_path, "--answers_per_question", 1))
        done(sample(server, tmp_path, "--answers_per_question", 3))
        assert len(server.chats) - refused == ENTRIES * 3
    assert only_the_usual_files(tmp_path)


# results


@pytest.mark.parametrize("end", ["refused", "gone", "budget", "failed"])
def test_a_run_that_ends_early_writes_the_results_of_its_entries(tmp_path: Path, end: str) -> None:
    """The second half of the requests meets the end; the selection has the entries of the first half."""

    def script(request: Request) -> Reply:
        if request.number < ENTRIES or end == "budget":
            return completion("answer 0")
        return {"refused": Reply("no", 401), "gone": Reply("no", 503, {"Retry-After": "0"})}.get(end, Reply("no", 400))

    flags: List[object] = ["--scorer", "match", "--answers_per_question", 2, "--concurrency", 1, "--max_retries", 0]
    flags += ["--selected_file", tmp_path / "best.json", "--accept_score", 0]
    flags += ["--token_budget", 7 * ENTRIES] if end == "budget" else []
    with ScriptedServer(script) as server:
        questions(tmp_path / "in.json", 20)
        run = reject(server, tmp_path, *flags)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert (
        len(json.loads((tmp_path / "best.json").read_text())) == len(read_lines(tmp_path / "out.jsonl")) == ENTRIES // 2
    )
    assert f"selected  {ENTRIES // 2} from" in run.stdout


def test_a_top_up_that_is_stopped_selects_from_all_entries(tmp_path: Path) -> None:
    flags = ("--scorer", "match", "--concurrency", 1, "--selected_file", tmp_path / "best.jsonl")
    with ScriptedServer(numbered) as server:
        done(reject(server, tmp_path, *flags, "--answers_per_question", 1))
        asked = len(server.chats)
        server.script = lambda request: numbered(request) if request.number < asked + 3 else Reply("no", status=401)
        assert reject(server, tmp_path, *flags, "--answers_per_question", 2).returncode == 1
    assert sorted(map(len, answers(tmp_path).values())) == [1] * (ENTRIES - 3) + [2] * 3
    assert len(read_lines(tmp_path / "best.jsonl")) == ENTRIES


# several inputs


def test_the_outputs_of_two_models_are_scored_as_one(tmp_path: Path) -> None:
    """Each entry is there once. The third model costs only its own answers, and the same file twice costs nothing."""
    with ScriptedServer(lambda request: completion(f"by {request.body['model']}")) as server:
        outputs = []
        for name in ("a", "b", "c"):
            flags = ("--model_name", name, "--answers_per_question", 1, "--output_file", tmp_path / f"{name}.jsonl")
            done(sample(server, tmp_path, *flags))
            outputs.append(tmp_path / f"{name}.jsonl")
    with ScriptedServer(numbered) as judge:
        done(score(judge, tmp_path, "--input_file", outputs[0], outputs[1], outputs[0]))
        assert len(judge.chats) == ENTRIES * 2
        done(score(judge, tmp_path, "--input_file", *outputs))
        assert len(judge.chats) == ENTRIES * 3
        done(score(judge, tmp_path, "--input_file", *outputs, outputs[0]))
        assert len(judge.chats) == ENTRIES * 3
    for record in read_lines(tmp_path / "scored.jsonl"):
        assert record["generated_answers"] == ["by a", "by b", "by c"]
        assert [detail["model"] for detail in record["generated_details"]] == ["a", "b", "c"]
        assert record["generated_scores"] == [7.0] * 3
    assert len(read_lines(tmp_path / "scored.jsonl")) == ENTRIES


def test_ten_kills_on_the_way_cost_what_was_in_flight(tmp_path: Path) -> None:
    entries, killed_at = 60, list(range(70, 170, 10))
    questions(tmp_path / "in.json", entries)

    def script(request: Request) -> Reply:
        if request.number in killed_at:
            for child in multiprocessing.active_children():
                child.kill()
        return numbered(request)

    with ScriptedServer(script) as server:
        done(sample(server, tmp_path, "--answers_per_question", 1))
        before = answers(tmp_path)
        flags = ("--answers_per_question", 3, "--concurrent_requests", 4)
        codes = [sample(server, tmp_path, *flags).returncode for _ in killed_at]
        assert codes == [-9] * len(killed_at)
        done(sample(server, tmp_path, *flags))
        assert len(server.chats) <= entries * 3 + 4 * len(killed_at)
        after = answers(tmp_path)
    assert {name: texts[:1] for name, texts in after.items()} == before
    assert {len(texts) for texts in after.values()} == {3}
    every = [text for texts in after.values() for text in texts]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("flags", [(), ("--judge_temperature", 0.5)])
def test_more_judge_samples_cost_only_the_further_replies(tmp_path: Path, flags: Tuple[object, ...]) -> None:
    with ScriptedServer(lambda _: completion("the answer")) as server, ScriptedServer(
        lambda request: completion(f"Score: {request.number % 2 * 6}")
    ) as judge:
        done(sample(server, tmp_path, "--answers_per_question", 1, "--limit", 1))
        for before, samples, scores in ((0, 1, 0.0), (1, 2, 3.0), (2, 4, 3.0), (4, 4, 3.0)):
            run = score(judge, tmp_path, *flags, "--judge_samples", samples, "--concurrency", 1)
            done(run)
            assert (f"scored.jsonl: judge_samples {before}, now {samples}" in run.stderr) == (0 < before < samples)
            [record] = read_lines(tmp_path / "scored.jsonl")
            assert (record["generated_scores"], len(judge.chats)) == ([scores], samples)
            if samples > 1:
                assert len(record["generated_details"][0]["judge_samples"]) == samples
                assert record["generated_details"][0]["judge_usage"]["requests"] == samples


def test_another_prompt_template_is_refused_and_the_line_says_what_works(tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("{question} Think.")
    other.write_text("{question} Be brief.")
    with ScriptedServer(numbered) as server:
        done(sample(server, tmp_path, "--prompt_template", one))
        sent = len(server.chats)
        for flags in ((), ("--prompt_template", other)):
            run = sample(server, tmp_path, *flags)
            assert run.returncode == 2
            assert "prompt_template" in run.stderr
            assert "name another --output_file, or add to this one with --allow_mixed" in run.stderr
        one.rename(tmp_path / "same.txt")
        done(sample(server, tmp_path, "--prompt_template", tmp_path / "same.txt"))
        assert len(server.chats) == sent
    assert only_the_usual_files(tmp_path)


@pytest.mark.parametrize("flags", [(), ("--answers_per_question", 2), ("--prompt_template", "HERE", "--allow_mixed")])
def test_entries_that_are_not_in_the_input_any_more_are_counted(tmp_path: Path, flags: Tuple[object, ...]) -> None:
    (tmp_path / "template.txt").write_text("{question} Think.")
    flags = tuple(tmp_path / "template.txt" if flag == "HERE" else flag for flag in flags)
    warning = "of the output's entries are not in the input; they are selected too"
    with ScriptedServer(numbered) as server:
        first = sample(server, tmp_path, "--answers_per_question", 1)
        (tmp_path / "in.json").write_text(json.dumps([conversation("question 0?", "0"), conversation("new?", "0")]))
        limited = sample(server, tmp_path, "--answers_per_question", 1, "--limit", 1)
        run = sample(server, tmp_path, *(flags or ("--answers_per_question", 1)))
    assert warning not in first.stdout + limited.stdout
    assert f"  warning   {ENTRIES - (0 if len(flags) > 2 else 1)} {warning}" in run.stdout
