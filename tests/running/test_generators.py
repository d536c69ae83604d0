"""Several generators: whose each answer is, what is paid for, what is kept, and what happens when one is lost."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest

from common.input.conversations import entry_from_conversation
from common.records import Answer
from common.running.generators import AHEAD, Generators
from common.running.sampler import Sampler
from common.servers.client import ChatClient
from tests.forked import forked
from tests.helpers import conversation, questions, read_lines
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRIES = [entry_from_conversation(conversation(f"question {n}?")) for n in range(400)]


def a_sampler(model: str, weight: float = 1.0, count: int = 8, **settings: Any) -> Sampler:
    return Sampler(ChatClient(["http://127.0.0.1:9/v1"], model, 2), count, weight=weight, **settings)


def owners(generators: Generators, entry_id: str, count: int) -> str:
    return "".join(generators.of(entry_id, index).name for index in range(count))


# Whose an answer is


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (0.7, 0.3), (5, 3, 2)])
def test_the_answers_of_each_entry_and_the_first_ones_of_all_entries_are_shared_by_weight(
    weights: Tuple[float, ...],
) -> None:
    generators = Generators([a_sampler(name, weight) for name, weight in zip("abc", weights)])
    first: Counter[str] = Counter()
    for entry in ENTRIES:
        names = owners(generators, entry.entry_id, 16)
        first[names[0]] += 1
        for count in range(1, 17):
            for name, weight in zip("abc", weights):
                assert abs(names[:count].count(name) - count * weight / sum(weights)) < 2
    for name, weight in zip("abc", weights):
        assert first[name] / len(ENTRIES) == pytest.approx(weight / sum(weights), abs=0.08)


def test_an_answer_has_the_same_generator_whatever_the_order_the_number_and_the_scale_of_the_weights() -> None:
    one = Generators([a_sampler("a", 2), a_sampler("b", 1)])
    other = Generators([a_sampler("b", 0.5, count=99), a_sampler("a", 1, count=99)])
    for entry in ENTRIES[:50]:
        assert owners(one, entry.entry_id, 12) == owners(other, entry.entry_id, 12)


def test_what_a_server_sends_too_much_serves_only_its_own_indices() -> None:
    generators = Generators([a_sampler("a"), a_sampler("b")])
    kept: Dict[int, str] = {}
    later = list(range(2, 8))
    with ScriptedServer(lambda request: completion(*(f"{request.body['model']}{n}" for n in range(3)))) as server:

        async def run() -> None:
            for sampler in generators.samplers:
                sampler.client.urls = [server.url]
            async with generators.clients[0], generators.clients[1]:
                keep = lambda index, answer: kept.update({index: answer.text})
                await asyncio.gather(
                    *generators.requests(
                        ENTRIES[0], {one.settings_id: b"[]" for one in generators.samplers}, [0, 1], keep, later
                    )
                )

        asyncio.run(run())
    assert {index: generators.of(ENTRIES[0].entry_id, index).name for index in kept} == {
        index: text[0] for index, text in kept.items()
    }
    assert sorted([*kept, *later]) == list(range(8))
    assert len(kept) == 6


def test_an_answer_counts_by_the_limit_of_its_own_generator() -> None:
    generators = Generators([a_sampler("a", max_tokens=10), a_sampler("b", max_tokens=50)])
    for limit, by_a, by_b in ((10, True, False), (50, True, True)):
        for model, stands in (("a", by_a), ("b", by_b)):
            maker = next(one for one in generators.samplers if one.name == model)
            cut = Answer("text", "length", made_by=maker.settings_id)
            assert generators.usable(cut, ENTRIES[0].entry_id, 0, limit) is stands


def test_an_entry_is_begun_while_one_generator_has_room_and_not_too_much_waits_for_a_slow_one() -> None:
    generators = Generators([a_sampler("fast"), a_sampler("slow")])
    fast, slow = generators.clients

    async def queue(client: ChatClient, count: int) -> List[asyncio.Future[Any]]:
        found = [asyncio.ensure_future(client.pool.take()) for _ in range(count)]
        await asyncio.sleep(0)
        return found

    async def has_room() -> bool:
        waiting = asyncio.ensure_future(generators.room())
        for _ in range(5):
            await asyncio.sleep(0)
        return waiting.done() or not waiting.cancel()

    async def run() -> None:
        async with fast, slow:
            assert await has_room()
            waiting = await queue(slow, 2 + 2)  # two are in flight, and two wait
            assert await has_room()
            waiting += await queue(slow, 2 * AHEAD - 3)
            assert await has_room()
            waiting += await queue(slow, 1)
            assert not await has_room()
            fast_ones = await queue(fast, 4)
            waiting.pop().cancel()
            await asyncio.sleep(0)
            assert not await has_room()  # now none of the two has
            room = asyncio.ensure_future(generators.room())
            await asyncio.sleep(0)
            fast_ones.pop().cancel()
            await asyncio.wait_for(room, 5)
            for one in (*waiting, *fast_ones):
                one.cancel()

    asyncio.run(run())


# Whole runs


def by_model(request: Request) -> Reply:
    """The right answer of "right", wrong ones of the others."""
    model = request.body["model"]
    number = request.question.split()[1].rstrip("?")
    text = f"It is {number if model == 'right' else 999}."
    return completion(text, tokens={"right": 30}.get(model, 10))


def asked(*servers: ScriptedServer) -> List[int]:
    return [len(server.chats) for server in servers]


def words(folder: Path, entries: int, *flags: object) -> List[object]:
    source = folder / "in.json"
    if not source.exists():
        questions(source, entries)
    return ["--input_file", source, "--output_file", folder / "out.jsonl", *flags]


def two(one: ScriptedServer, other: ScriptedServer) -> List[object]:
    return ["--generator_model", "right", "wrong", "--generator_port", one.port, other.port]


def done(run: subprocess.CompletedProcess[str]) -> str:
    assert (run.returncode, run.stderr) == (0, ""), run
    return run.stdout


def makers(folder: Path) -> Dict[str, List[Optional[str]]]:
    records = read_lines(folder / "out.jsonl")
    return {r["original_question"]: [one.get("model") for one in r["generated_details"]] for r in records}


def test_answers_say_who_made_them_and_more_answers_pay_only_for_the_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "generators.json"
    with ScriptedServer(by_model) as one, ScriptedServer(by_model) as other:
        cold = {"name": "cold", "model": "wrong", "port": other.port, "temperature": 0.1, "system_prompt": "Be cold."}
        file.write_text(json.dumps([{"model": "right", "port": one.port, "weight": 3, "max_tokens": 99}, cold]))
        flags = words(tmp_path, 8, "--generators", file, "--scorer", "match", "--accept_score", 10)
        flags += ["--report_file", tmp_path / "report.html", "--selected_file", tmp_path / "best.json"]
        done(forked("reject", [*flags, "--answers_per_question", 4], tmp_path))
        before = makers(tmp_path)
        assert asked(one, other) == [24, 8]
        said = done(forked("reject", [*flags, "--answers_per_question", 8], tmp_path))
        assert asked(one, other) == [48, 16]
        assert "generator right: 24 answers, 120 prompt and 720 completion tokens" in said
        assert "generator cold: 8 answers, 40 prompt and 80 completion tokens" in said
        done(forked("reject", [*flags, "--answers_per_question", 8], tmp_path))
        assert asked(one, other) == [48, 16]
    assert {name: models[:4] for name, models in makers(tmp_path).items()} == before
    assert {chat.body.get("temperature") for chat in other.chats} == {0.1}
    assert {chat.body["messages"][0]["content"] for chat in other.chats} == {"Be cold."}
    assert {(chat.body.get("temperature"), chat.body["max_tokens"]) for chat in one.chats} == {(0.8, 99)}
    for record in read_lines(tmp_path / "out.jsonl"):
        assert {one["model"]: one.get("generator") for one in record["generated_details"]} == {
            "right": None,
            "wrong": "cold",
        }
    report = (tmp_path / "report.html").read_text()
    assert "<td>right</td><td>48</td><td>0</td><td>0</td><td>48</td><td>100 %</td><td>1,440</td><td>30</td>" in report
    assert "<td>cold</td><td>16</td><td>0</td><td>0</td><td>0</td><td>0 %</td><td>160</td>" in report
    assert (
        "| cold | weight 1, model wrong, temperature 0.1, system prompt Be cold. |"
        in (tmp_path / "best.json.md").read_text()
    )


def test_a_kill_and_a_lost_output_cost_what_was_in_flight(tmp_path: Path) -> None:
    killed_at = [25, 50]

    def script(request: Request) -> Reply:
        if request.number in killed_at:
            for child in multiprocessing.active_children():
                child.kill()
        return by_model(request)

    with ScriptedServer(script) as one, ScriptedServer(by_model) as other:
        flags = words(tmp_path, 40, *two(one, other), "--scorer", "match", "--concurrency", 4)
        flags += ["--cache_file", tmp_path / "cache.jsonl", "--answers_per_question", 4]
        assert [forked("reject", flags, tmp_path).returncode for _ in killed_at] == [-9, -9]
        done(forked("reject", flags, tmp_path))
        paid = asked(one, other)
        assert 160 <= sum(paid) <= 160 + 2 * 4
        whole = (tmp_path / "out.jsonl").read_bytes()
        (tmp_path / "out.jsonl").unlink()
        done(forked("reject", flags, tmp_path))
        assert asked(one, other) == paid
    assert sorted((tmp_path / "out.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())
    assert {tuple(sorted(map(str, models))) for models in makers(tmp_path).values()} == {
        ("right", "right", "wrong", "wrong")
    }


def test_a_dry_run_shows_the_first_request_of_each(tmp_path: Path) -> None:
    with ScriptedServer(by_model) as one, ScriptedServer(by_model) as other:
        flags = words(tmp_path, 4, *two(one, other), "--scorer", "match", "--answers_per_question", 3)
        said = done(forked("reject", [*flags, "--samples_per_request", 2, "--dry_run"], tmp_path))
        assert asked(one, other) == [0, 0]
    for name, port in (("right", one.port), ("wrong", other.port)):
        shown = said.split(f"generator {name}: the first request\n")[1]
        assert shown.startswith(f"POST http://127.0.0.1:{port}/v1/chat/completions")
        assert json.loads(shown.split("\n\n")[1])["model"] == name
    assert "generator 8 requests for right and wrong, 5 in flight" in said


def test_stopping_early_goes_by_the_order_of_the_indices(tmp_path: Path) -> None:
    with ScriptedServer(by_model) as one, ScriptedServer(by_model) as other:
        flags = words(tmp_path, 12, *two(one, other), "--scorer", "match", "--accept_score", 10, "--concurrency", 2)
        done(forked("reject", [*flags, "--stop_after", 1, "--answers_per_question", 6], tmp_path))
        first_is_right = sum(models == ["right"] for models in makers(tmp_path).values())
        assert len(one.chats) >= 12
        assert 12 - first_is_right <= len(other.chats) <= 12 + 2  # at the end, idle servers sample more
        assert 0 < first_is_right < 12


def test_a_lost_generator_does_not_stop_the_others_and_only_its_answers_are_missing(tmp_path: Path) -> None:
    with ScriptedServer(by_model) as one, ScriptedServer(lambda _: Reply("who?", status=401)) as other:
        flags = words(tmp_path, 10, *two(one, other), "--scorer", "match", "--answers_per_question", 2)
        run = forked("reject", flags, tmp_path)
        assert run.returncode == 1
        assert "; the others go on, and its answers wait for the next run" in run.stderr
        assert len(one.chats) == 10
        assert not read_lines(tmp_path / "out.jsonl")
        other.script = by_model
        done(forked("reject", flags, tmp_path))
        assert len(one.chats) == 10
    assert all(sorted(map(str, models)) == ["right", "wrong"] for models in makers(tmp_path).values())


def test_a_generator_is_added_to_an_output_only_on_demand_and_what_is_there_counts(tmp_path: Path) -> None:
    with ScriptedServer(by_model) as server:
        flags = words(tmp_path, 6, "--scorer", "match", "--generator_port", server.port)
        done(forked("reject", [*flags, "--generator_model", "right", "--answers_per_question", 2], tmp_path))
        more = [*flags, "--generator_model", "right", "wrong", "--answers_per_question", 4]
        run = forked("reject", more, tmp_path)
        assert run.returncode == 2
        assert "was written with the generators right, now right, wrong: name another" in run.stderr
        for _ in range(2):
            done(forked("reject", [*more, "--allow_mixed"], tmp_path))
            assert Counter(chat.body["model"] for chat in server.chats) == {"right": 12 + 6, "wrong": 6}
    for models in makers(tmp_path).values():
        assert (models[:2], sorted(map(str, models[2:]))) == ([None, None], ["right", "wrong"])


def test_a_larger_limit_of_one_generator_samples_only_its_cut_answers_again(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        limit = request.body.get("max_tokens")
        return completion("a", finish="length" if limit == 5 or limit is None else "stop")

    file = tmp_path / "generators.json"
    with ScriptedServer(script) as server:
        flags = words(tmp_path, 5, "--generators", file, "--port", server.port, "--answers_per_question", 4)
        for limit, requests in ((5, 20), (5, 20), (9, 30), (9, 30), (8, 30)):
            file.write_text(json.dumps({"generators": [{"model": "a", "max_tokens": limit}, {"model": "b"}]}))
            done(forked("sample", flags, tmp_path))
            assert len(server.chats) == requests
    details = [one for record in read_lines(tmp_path / "out.jsonl") for one in record["generated_details"]]
    assert {(one["model"], one["finish_reason"]) for one in details} == {("a", "stop"), ("b", "length")}


def test_a_forecast_keeps_the_turns_of_the_generators(tmp_path: Path) -> None:
    """One of any two answers is the right one of "right": with two answers, each entry has a row."""
    with ScriptedServer(by_model) as one, ScriptedServer(by_model) as other:
        flags = words(tmp_path, 12, *two(one, other), "--scorer", "match", "--accept_score", 10)
        said = done(forked("reject", [*flags, "--answers_per_question", 4, "--estimate", 12], tmp_path))
    assert [line.split()[:4] for line in said.splitlines() if " N 2 " in line] == [["N", "2", "12", "24"]]
