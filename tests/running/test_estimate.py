"""--estimate N: N entries that count, and figures for the whole job that hold the truth."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from tests.helpers import command, conversation, environment, questions, read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

SIZE = 60


def answer(request: Request) -> Reply:
    """Answers of known tokens; a third of the questions is too hard."""
    number = int(re.findall(r"question (\d+)", request.question)[0])
    if "grading one answer" in request.question:
        return completion("Score: 9" if number % 3 else "Score: 1", tokens=4)
    return completion(f"answer {request.number}", tokens=10 + number % 7)


def words_of(folder: Path, server: ScriptedServer, *flags: object, size: int = SIZE) -> List[object]:
    if not (folder / "in.json").exists():
        questions(folder / "in.json", size)
    words = ["--input_file", folder / "in.json", "--output_file", folder / "out.jsonl", "--generator_port", server.port]
    return [*words, "--generator_model", "g", "--scorer_model", "j", "--answers_per_question", 3, *flags]


def figures(text: str) -> Dict[str, Tuple[float, float, float]]:
    """The numbers of an estimate: point, low, high, by role and figure."""
    found, role = {}, ""
    for line in text[text.index("the whole job") :].split("\n")[1:]:
        role = line[2:11].strip() or role
        match = re.match(r"(?:(\w[\w ]*): )?([\d,.]+)(?: %)? \(([\d,.]+) to ([\d,.]+)\)", line[12:])
        if match:
            numbers = tuple(float(match.group(place).replace(",", "")) for place in (2, 3, 4))
            found[f"{role} {match.group(1) or ''}".strip()] = numbers
    return found  # type: ignore[return-value]


def table_of(text: str) -> Dict[str, List[Tuple[float, float]]]:
    """The table of other settings: each row's numbers and their reach, as far as they are numbers."""
    cells = (re.split(r"\s{2,}", line.strip()) for line in text[text.index("  settings ") :].splitlines()[1:])
    numbers = {name: [re.fullmatch(r"([\d,.]+)(?: ±(\d+)%)?", cell) for cell in others] for name, *others in cells}
    return {
        name: [(float(one[1].replace(",", "")), float(one[2] or 0) / 100) for one in found if one]
        for name, found in numbers.items()
    }


def spent(server: ScriptedServer, model: str) -> Tuple[int, int]:
    """What a role's requests really took: their number, and their completion tokens."""
    sent = [request for request in server.chats if request.body["model"] == model]
    return len(sent), sum(answer(request).body["usage"]["completion_tokens"] for request in sent)  # type: ignore[index]


def test_the_estimate_holds_the_truth_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        words = words_of(tmp_path, server, "--selected_file", tmp_path / "best.jsonl", "--accept_score", 8)
        prices = ["--price_in", 1000, "--price_out", 2000, 10_000]
        run = run_script("reject.py", *words, "--estimate", 20, *prices)
        assert (run.returncode, run.stderr) == (0, "")
        assert len(server.chats) == 2 * 3 * 20
        assert len(read_lines(tmp_path / "out.jsonl")) == 20
        assert not (tmp_path / "best.jsonl").exists()
        assert run.stdout.count("does the other entries, and writes the selection\n") == 1
        again = run_script("reject.py", *words, "--estimate", 20, *prices)
        assert again.returncode == 0
        assert len(server.chats) == 2 * 3 * 20
        assert run_script("reject.py", *words).returncode == 0
        truth = {model: spent(server, model) for model in "gj"}
    assert truth["g"][0] == truth["j"][0] == 3 * SIZE
    assert len(read_lines(tmp_path / "out.jsonl")) == SIZE
    assert len(read_lines(tmp_path / "best.jsonl")) == SIZE * 2 // 3
    said = figures(run.stdout)
    assert {name: said[name] for name in said if name != "time"} == {
        name: figure for name, figure in figures(again.stdout).items() if name != "time"
    }
    for role, model in (("generator", "g"), ("scorer", "j")):
        assert said[f"{role} requests"] == (3 * SIZE,) * 3
        assert said[f"{role} prompt tokens"] == (15 * SIZE,) * 3
        _, low, high = said[f"{role} completion tokens"]
        assert low <= truth[model][1] <= high
    cost = (2 * 15 * SIZE * 1000 + truth["g"][1] * 2000 + truth["j"][1] * 10_000) / 1e6
    assert said["cost"][1] - 0.01 <= cost <= said["cost"][2] + 0.01
    assert said["accepted"][1] <= 66.7 <= said["accepted"][2]
    assert table_of(run.stdout)["* N 3, accept_score 8"][:2] == table_of(again.stdout)["* N 3, accept_score 8"][:2]
    (rows, reach), (answers, _), *_ = table_of(run.stdout)["* N 3, accept_score 8"]
    assert abs(rows - SIZE * 2 / 3) <= reach * rows
    assert answers == 3 * SIZE
    assert table_of(run.stdout)["~ N 6"][1] == (6 * SIZE, 0)


def test_a_killed_estimate_goes_on_with_what_it_paid_for(tmp_path: Path) -> None:
    def slow(request: Request) -> Reply:
        reply = answer(request)
        reply.delay = 30.0 if request.number >= 20 and not again else 0.0
        return reply

    again = False
    with ScriptedServer(slow) as server:
        words = words_of(tmp_path, server, "--estimate", 10)
        run = subprocess.Popen(
            command("reject.py", *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        while len(server.chats) < 25:
            assert run.poll() is None
        run.kill()
        run.wait()
        held = sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob("out.jsonl.ledger"))
        again, sent = True, len(server.chats)
        second = run_script("reject.py", *words)
        assert second.returncode == 0
        assert len(server.chats) - sent == 10 * 3 * 2 - held
    assert figures(second.stdout)["generator requests"] == (3 * SIZE,) * 3
    assert figures(second.stdout)["scorer prompt tokens"] == (15 * SIZE,) * 3


def test_score_is_estimated_from_its_records(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        source = questions(tmp_path / "in.json", SIZE)
        sampled, words = tmp_path / "sampled.jsonl", ["--model_name", "j"]
        first = run_script(
            "sampling.py", "--input_file", source, "--output_file", sampled, *words, "--port", server.port,
            "--answers_per_question", 2,
        )  # fmt: skip
        assert first.returncode == 0
        server.chats.clear()
        words += ["--input_file", sampled, "--output_file", tmp_path / "out.jsonl", "--api_port", server.port]
        run = run_script("score.py", *words, "--estimate", 5)
        assert (run.returncode, len(server.chats)) == (0, 10)
        assert figures(run.stdout)["scorer requests"] == (2 * SIZE,) * 3
        assert "generator" not in run.stdout
        assert run_script("score.py", *words).returncode == 0
        assert len(server.chats) == 2 * SIZE


def test_more_answers_are_estimated_by_what_they_add(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        source = questions(tmp_path / "in.json", SIZE)
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--port", server.port]
        words += ["--model_name", "g", "--answers_per_question"]
        assert run_script("sampling.py", *words, 2).returncode == 0
        run = run_script("sampling.py", *words, 5, "--estimate", 6)
        assert (run.returncode, run.stderr) == (0, "")
        assert "the whole job of adding to " in run.stdout
        assert figures(run.stdout)["generator requests"] == (3 * SIZE,) * 3
        again = run_script("sampling.py", *words, 5, "--estimate", 6)
        assert [line for line in again.stdout.splitlines()[-10:] if "time" not in line] == [
            line for line in run.stdout.splitlines()[-10:] if "time" not in line
        ]
        more = run_script("sampling.py", *words, 5, "--estimate", 9)  # some of these entries have 5 answers
        assert figures(more.stdout)["generator requests"] == (3 * SIZE,) * 3
        assert run_script("sampling.py", *words, 5).returncode == 0
        assert len(server.chats) == 5 * SIZE
    assert [len(record["generated_answers"]) for record in read_lines(tmp_path / "out.jsonl")] == [5] * SIZE


def test_early_stopping_does_not_sample_ahead_as_at_the_end_of_a_job(tmp_path: Path) -> None:
    """Each first answer is accepted: one answer per entry, although the servers are idle."""

    def script(request: Request) -> Reply:
        return completion("Score: 9" if "grading" in request.question else f"a{request.number}")

    with ScriptedServer(script) as server:
        words = words_of(tmp_path, server, "--stop_after", 1, "--accept_score", 8, "--concurrency", 30)
        run = run_script("reject.py", *words, "--estimate", 5)
    assert figures(run.stdout)["generator requests"] == (SIZE,) * 3
    (rows, reach), answers, *_ = table_of(run.stdout)["* N 3, stop_after 1, accept_score 8"]
    assert (rows, answers) == (SIZE, (SIZE, 0))
    assert reach > 0.1  # 5 entries that are alike do not say that all are


def test_bad_and_repeated_entries_are_not_part_of_the_whole(tmp_path: Path) -> None:
    items: List[Any] = [conversation(f"question {n}?") for n in (*range(30), *range(10))] + [{"other": 1}] * 5
    write_input(tmp_path / "in.json", items)
    with ScriptedServer(answer) as server:
        run = run_script("reject.py", *words_of(tmp_path, server), "--estimate", 45)
    assert run.returncode == 1  # the bad ones are reported
    assert "30, estimated from 30; 5 more cannot be read" in run.stdout
    assert figures(run.stdout)["generator requests"] == (90,) * 3


def test_a_refused_entry_counts_with_what_it_cost(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return Reply({"error": "too long"}, status=400) if "question 7?" in request.question else answer(request)

    with ScriptedServer(script) as server:
        run = run_script("reject.py", *words_of(tmp_path, server, size=8), "--estimate", 8, "--concurrency", 1)
        sent = sum(request.body["model"] == "g" for request in server.chats)
    assert run.returncode == 1
    assert "8, estimated from 8; 1 of them failed" in run.stdout
    assert figures(run.stdout)["generator requests"][0] == sent


def test_entries_that_a_budget_left_are_no_estimate(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        words = words_of(tmp_path, server, "--scorer", "match", "--estimate", 6, size=12)
        words = [word for word in words if word not in ("--scorer_model", "j")]
        cut = run_script("reject.py", *words, "--token_budget", 20, "--concurrency", 1)
        whole = run_script("reject.py", *words, "--token_budget", 10_000)
    assert cut.returncode == 1
    assert "the whole job is not estimated, since a budget ended the run" in cut.stdout
    assert "estimated from" not in cut.stdout
    assert "run the same command again to go on" in cut.stderr
    assert figures(whole.stdout)["generator requests"] == (36,) * 3


def test_time_is_that_of_full_slots(tmp_path: Path) -> None:
    """Each answer takes 0.1 s whatever the load: 180 of them, 6 at once, take 3 s, though 12 entries fill few slots."""

    def script(request: Request) -> Reply:
        reply = answer(request)
        reply.delay = 0.1
        return reply

    with ScriptedServer(script) as server:
        words = words_of(tmp_path, server, "--scorer", "match", "--concurrency", 6)
        words = [word for word in words if word not in ("--scorer_model", "j")]
        run = run_script("reject.py", *words, "--estimate", 2)
    assert "time" in run.stdout
    point = float(re.findall(r"time +([\d.]+) s", run.stdout)[0])
    assert point >= 3.0


def test_a_server_that_counts_no_tokens_gives_no_figures_for_them(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        reply = answer(request)
        del reply.body["usage"]  # type: ignore[union-attr, arg-type]
        return reply

    with ScriptedServer(script) as server:
        run = run_script("reject.py", *words_of(tmp_path, server), "--estimate", 4, "--price_in", 1)
    assert figures(run.stdout)["generator requests"] == (3 * SIZE,) * 3
    assert run.stdout.count("unknown: the server does not count") == 5
    assert "under other settings" not in run.stdout  # no flag says which answers are accepted


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--price_in", 1], "--price_in has an effect only with --estimate N"),
        (["--estimate", 2, "--price_out", 1, 2, 3], "--price_out takes one price, or one for each role"),
        (["--estimate", 2, "--dry_run"], "not allowed with argument"),
        (["--estimate", 0], "must be"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: List[object], line: str, tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    words = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "out.jsonl", "--generator_model", "m"]
    run = run_script("reject.py", *words, *flags)
    assert run.returncode == 2
    assert line in run.stderr


def test_a_pipe_is_refused_since_the_input_is_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(writer, json.dumps(conversation("q")).encode() + b"\n")
    run = run_script(
        "sampling.py", "--input_file", tmp_path / "pipe", "--output_file", tmp_path / "o", "--model_name", "m",
        "--estimate", 1,
    )  # fmt: skip
    os.close(writer)
    assert run.returncode == 2
    assert "reads the input twice" in run.stderr
