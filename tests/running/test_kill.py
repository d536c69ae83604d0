"""kill -9 at random moments, many times in one job: nothing lost, nothing twice, little asked again."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import Callable, List, Sequence

import pytest

from tests.helpers import command, environment, questions, read_lines, run_script
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRIES, ANSWERS, CONCURRENCY, KILLS = 150, 4, 8, 10


def generator(request: Request) -> Reply:
    return completion(f"answer {request.number}", delay=0.004 + 0.004 * (request.number % 3))


def judge(request: Request) -> Reply:
    return completion(f"Score: {request.number % 11}", delay=0.004 + 0.004 * (request.number % 3))


def run_with_kills(words: Sequence[str], asked: Callable[[], int], needed: int, seed: int) -> int:
    """Runs a command, killed at random points of its work, and once more to its end; the number of kills."""
    chance = random.Random(seed)
    kills = 0
    for _ in range(KILLS):
        target = asked() + chance.randrange(1, 2 * needed // KILLS)
        run = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while asked() < target and run.poll() is None:
            time.sleep(0.001)
        kills += run.poll() is None
        run.kill()
        run.wait()
    last = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert last.returncode == 0, last
    return kills


def check_once_each(output: Path) -> None:
    records = read_lines(output)
    assert sorted(r["original_question"] for r in records) == sorted(f"question {n}?" for n in range(ENTRIES))
    assert all(len(r["generated_answers"]) == ANSWERS for r in records)
    every = [answer for record in records for answer in record["generated_answers"]]
    assert len(set(every)) == len(every), "an answer is in two records"


def flags(**values: object) -> List[object]:
    return [word for name, value in values.items() for word in (f"--{name}", value)]


@pytest.mark.parametrize("seed", [1, 2])
def test_reject_survives_ten_kills(tmp_path: Path, seed: int) -> None:
    with ScriptedServer(generator) as gen, ScriptedServer(judge) as scorer:
        words = command(
            "reject.py",
            *flags(input_file=questions(tmp_path / "in.json", ENTRIES), output_file=tmp_path / "out.jsonl"),
            *flags(cache_file=tmp_path / "cache.jsonl", generator_model="g", scorer_model="j"),
            *flags(generator_port=gen.port, scorer_port=scorer.port),
            *flags(concurrency=CONCURRENCY, answers_per_question=ANSWERS),
        )
        needed = ENTRIES * ANSWERS
        kills = run_with_kills(words, lambda: len(gen.chats), needed, seed)
        assert kills >= KILLS // 2
        assert needed <= len(gen.chats) <= needed + kills * CONCURRENCY
        assert needed <= len(scorer.chats) <= needed + kills * CONCURRENCY
    check_once_each(tmp_path / "out.jsonl")


def test_sampling_survives_ten_kills(tmp_path: Path) -> None:
    with ScriptedServer(generator) as gen:
        words = command(
            "sampling.py",
            *flags(input_file=questions(tmp_path / "in.json", ENTRIES), output_file=tmp_path / "out.jsonl"),
            *flags(model_name="g", port=gen.port),
            *flags(concurrent_requests=CONCURRENCY, answers_per_question=ANSWERS),
        )
        needed = ENTRIES * ANSWERS
        kills = run_with_kills(words, lambda: len(gen.chats), needed, 3)
        assert needed <= len(gen.chats) <= needed + kills * CONCURRENCY
    check_once_each(tmp_path / "out.jsonl")


def test_score_survives_ten_kills(tmp_path: Path) -> None:
    source, sampled = questions(tmp_path / "in.json", ENTRIES), tmp_path / "sampled.jsonl"
    with ScriptedServer(lambda request: completion(f"answer {request.number}")) as gen:
        asked = flags(input_file=source, output_file=sampled, model_name="g", port=gen.port)
        assert run_script("sampling.py", *asked, *flags(answers_per_question=ANSWERS)).returncode == 0
    with ScriptedServer(judge) as scorer:
        words = command(
            "score.py",
            *flags(input_file=sampled, output_file=tmp_path / "out.jsonl", model_name="j"),
            *flags(api_port=scorer.port, concurrency=CONCURRENCY),
        )
        needed = ENTRIES * ANSWERS
        kills = run_with_kills(words, lambda: len(scorer.chats), needed, 4)
        assert needed <= len(scorer.chats) <= needed + kills * CONCURRENCY
    check_once_each(tmp_path / "out.jsonl")
