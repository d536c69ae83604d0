"""Breadth first: the order by itself, then through the scripts when runs end early, and what a rerun asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.input.conversations import entry_from_conversation
from common.records import Answer, Entry, PendingEntry, Record, make_record
from common.running.breadth import ALL, Breadth, Spool, Visit
from common.running.posterior import Acceptance, Seen
from common.storage.run_files import RunFiles
from tests.helpers import command, conversation, done, environment, questions, read_lines, run_script
from tests.memory_spool import MemorySpool
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRIES = 6
ENOUGH = ("--answers_per_question", 5, "--stop_after", 1)


class Generator:
    """The n-th answer to "question q?" is right from n = q on: question 0 is the easiest. Each answer is new."""

    def __init__(self, delay: float = 0.0) -> None:
        self.asked: Counter[int] = Counter()
        self.order: List[int] = []
        self._delay = delay
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        found = re.search(r"question (\d+)\?", request.question)
        assert found is not None
        number = int(found[1])
        with self._lock:
            self.asked[number] += 1
            self.order.append(number)
            tries = self.asked[number]
        text = number if tries > number else 99
        return completion(f"Take {tries} of {len(self.order)}. It is {text}.", tokens=10, delay=self._delay)


def words(server: ScriptedServer, folder: Path, *more: object, script: str = "reject.py") -> List[str]:
    source = folder / "in.json"
    if not source.exists():
        questions(source, ENTRIES)
    named = ["--input_file", source, "--output_file", folder / "out.jsonl", "--model", "m", "--port", server.port]
    judged = ["--scorer", "match", "--selected_file", folder / "best.jsonl"] if script == "reject.py" else []
    return [script, *map(str, [*named, *judged, "--breadth", "--concurrency", 1, *more])]


def answers(folder: Path) -> Dict[str, int]:
    return {
        record["original_question"]: len(record["generated_answers"]) for record in read_lines(folder / "out.jsonl")
    }


def answers_in(ledger: Path) -> Counter[int]:
    """How many answers a ledger has to each question."""
    entries = [entry_from_conversation(conversation(f"question {n}?", str(n))).entry_id for n in range(ENTRIES)]
    return Counter(entries.index(line["entry_id"]) for line in read_lines(ledger) if "answer" in line)


def settings_of(folder: Path) -> Any:
    return json.loads((folder / "out.jsonl.settings.json").read_text())


# --- the order, without servers ---------------------------------------------------------------------------------------


def pending(number: int) -> PendingEntry:
    return PendingEntry(Entry(f"{number:032x}", [{"from": "human", "value": f"question {number}?"}], None, []), None)


class Play:
    """Visits entries, ``slots`` of them at the same time; the first to come is the first to end."""

    def __init__(self, order: Breadth, needs: Sequence[int], tokens: Sequence[int], slots: int = 1) -> None:
        self.visited: List[int] = []
        self.sizes: List[Optional[int]] = []
        self.order = order
        self._seen = [Seen()] * len(needs)
        self._needs, self._tokens, self._slots = needs, tokens, slots
        self._out: List[Visit] = []

    def run(self, most: int = 1000) -> List[int]:
        asyncio.run(self._run(most))
        return self.visited

    async def _run(self, most: int) -> None:
        visits = self.order.visits(map(pending, range(len(self._needs))))
        async for visit in visits:
            self.visited.append(visit.number)
            self.sizes.append(visit.most)
            self._out.append(visit)
            if len(self.visited) == most:
                break
            asyncio.get_running_loop().call_soon(self._end_first, 0)  # when the order waits for one that is out
            self._end_first(self._slots - 1)
        await visits.aclose()

    def _end_first(self, stay: int) -> None:
        while len(self._out) > stay:
            self._end(self._out.pop(0))

    def _end(self, visit: Visit) -> None:
        number = visit.number
        before, more = self._seen[number], visit.most or 0
        answers = min(self._needs[number], before.answers + more)
        is_accepted = answers == self._needs[number] < 9
        spent = before.tokens + self._tokens[number] * (answers - before.answers)
        after = self._seen[number] = Seen(answers, int(is_accepted), spent)
        self.order.learn(before, after)
        if answers == self._needs[number]:
            self.order.end(visit)
        else:
            self.order.back(visit, after)


def breadth(acceptance: Optional[Acceptance] = None, **more: Any) -> Breadth:
    return Breadth(MemorySpool(), 1, lambda pending: None, acceptance, **more)


def test_every_entry_is_visited_before_one_is_visited_again() -> None:
    play = Play(breadth(), [3, 1, 2, 3], [10] * 4)
    assert play.run() == [0, 1, 2, 3, 0, 2, 3, 0, 3]
    assert play.order.open == 0


def test_the_next_round_begins_while_the_last_visits_of_this_one_go_on() -> None:
    """With three slots, entry 0 is back when entry 4 is sent, and goes out before 3 and 4 are back."""
    play = Play(breadth(), [2] * 5, [10] * 5, slots=3)
    assert play.run() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_once_no_entry_waits_one_gets_all_that_it_lacks() -> None:
    drained: List[bool] = []
    play = Play(breadth(drained=lambda: drained.append(True)), [1, 6, 1], [10] * 3)
    assert play.run() == [0, 1, 2, 1]
    assert play.sizes == [1, 1, 1, ALL]
    assert drained == [True]
    assert Play(breadth(), [1, 6, 1], [10] * 3).run() == [0, 1, 2, 1, 1, 1, 1, 1]


def test_a_short_entry_has_its_second_visit_before_a_new_one_its_first() -> None:
    acceptance = Acceptance()
    for _ in range(60):  # a third of the answers at the first try, a third at the second
        for hits in ([1], [0, 1], [0, 0]):
            seen = Seen()
            for hit in hits:
                after = Seen(seen.answers + 1, hit, seen.tokens + (10 if seen.tokens == 10 else 200))
                acceptance.learn(seen, after)
                seen = after
        acceptance.learn(Seen(), Seen(1, 0, 10))
        acceptance.learn(Seen(1, 0, 10), Seen(2, 0, 20))
    play = Play(breadth(acceptance), [2, 2, 2], [10, 200, 200])
    assert play.run() == [0, 0, 1, 2, 1, 2] or play.visited[:2] == [0, 0]


def test_what_earlier_runs_have_waits_for_those_without_an_answer() -> None:
    had = {pending(0).entry.entry_id: Seen(2), pending(1).entry.entry_id: Seen(1)}
    order = Breadth(MemorySpool(), 1, lambda one: had.get(one.entry.entry_id))
    play = Play(order, [3, 3, 1, 1], [10] * 4)
    play._seen[:2] = [Seen(2), Seen(1)]
    assert play.run() == [2, 3, 1, 0, 1]


def test_the_unfinished_are_those_that_wait_and_those_that_are_out() -> None:
    play = Play(breadth(), [3, 1, 3, 3], [10] * 4)
    play.run(most=6)
    left = [one.entry.question for one in play.order.unfinished()]
    assert left == ["question 0?", "question 2?", "question 3?"]
    assert play.order.open == 3


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 5), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_entry_gets_what_it_needs_and_no_visit_more(
    needs: List[int], slots: int, is_guided: bool, at_once: bool
) -> None:
    order = breadth(Acceptance() if is_guided else None, drained=(lambda: None) if at_once else None)
    visits = Counter(Play(order, needs, [7] * len(needs), slots).run())
    for number, need in enumerate(needs):
        assert 1 <= visits[number] <= need
    if not at_once:
        assert visits == dict(enumerate(needs))


def test_the_spool_gives_back_what_it_was_given_in_any_order(tmp_path: Path) -> None:
    with contextlib.closing(Spool(str(tmp_path))) as spool:
        places = [spool.add(pending(number)) for number in range(5)]
        for number in (3, 0, 4):
            assert spool.read(places[number]) == pending(number)
        assert spool.read(spool.add(pending(9))) == pending(9)
    assert list(tmp_path.iterdir()) == []


# --- the records of unfinished entries --------------------------------------------------------------------------------


def record_of(number: int, *texts: str) -> Record:
    return make_record(pending(number).entry, [Answer(text) for text in texts], None)


def cut_after(first: Record) -> Iterator[Record]:
    """One record, and then the end of the process."""
    yield first
    raise KeyboardInterrupt


def test_a_run_killed_while_it_writes_unfinished_records_has_said_that_they_are(tmp_path: Path) -> None:
    names = (str(tmp_path / "out.jsonl"), str(tmp_path / "out.jsonl.ledger"), {"answers_per_question": 3})
    with RunFiles(*names) as files:
        files.output.append(record_of(0, "a", "b", "c"))
        with pytest.raises(KeyboardInterrupt):
            files.settle(cut_after(record_of(1, "a")))
    with RunFiles(*names) as files:
        assert [files.meet(pending(number).entry.entry_id) for number in (0, 1, 2)] == ["new"] * 3
        assert files.old_record(pending(1).entry.entry_id) == record_of(1, "a")
    assert settings_of(tmp_path)["unfinished"] is True


def test_a_rewrite_killed_while_it_adds_unfinished_records_leaves_the_old_output(tmp_path: Path) -> None:
    names = (str(tmp_path / "out.jsonl"), str(tmp_path / "out.jsonl.ledger"))
    with RunFiles(*names, {"answers_per_question": 1}) as files:
        files.output.append(record_of(0, "a"))
        files.complete = True
    with RunFiles(*names, {"answers_per_question": 3}) as files, pytest.raises(KeyboardInterrupt):
        files.settle(cut_after(record_of(1, "a", "b")))
    assert read_lines(tmp_path / "out.jsonl") == [record_of(0, "a")]
    with RunFiles(*names, {"answers_per_question": 3}) as files:
        assert files.meet(pending(1).entry.entry_id) == "new"
        assert files.old_record(pending(1).entry.entry_id) is None
        files.settle([record_of(1, "a", "b")])
    assert read_lines(tmp_path / "out.jsonl") == [record_of(1, "a", "b"), record_of(0, "a")]
    assert settings_of(tmp_path)["unfinished"] is True
    assert settings_of(tmp_path)["answers_per_question"] == 1


# --- through the scripts ----------------------------------------------------------------------------------------------


def test_a_budget_hit_in_round_two_leaves_every_entry_an_answer(tmp_path: Path) -> None:
    generator = Generator()
    with ScriptedServer(generator) as server:
        asked = words(server, tmp_path, "--answers_per_question", 3, script="sampling.py")
        run = run_script(*asked, "--token_budget", 80)
        assert run.returncode == 1
        assert "80 of --token_budget 80 completion tokens are spent" in run.stderr
        assert generator.order == [0, 1, 2, 3, 4, 5, 0, 1]
        assert answers(tmp_path) == {f"question {n}?": 2 if n < 2 else 1 for n in range(ENTRIES)}
        assert settings_of(tmp_path)["unfinished"]
        last = run_script(*asked)
        assert (last.returncode, last.stderr) == (0, "")
        assert generator.order[8:12] == [2, 3, 4, 5]
        assert answers(tmp_path) == {f"question {n}?": 3 for n in range(ENTRIES)}
        assert set(generator.asked.values()) == {3}
        assert "unfinished" not in settings_of(tmp_path)
        assert not (tmp_path / "out.jsonl.ledger").exists()
        again = run_script(*asked)
        assert (again.returncode, len(server.chats)) == (0, 3 * ENTRIES)


def test_what_a_budget_paid_for_is_in_the_selection(tmp_path: Path) -> None:
    """Fixed N: no entry is complete, and three have an accepted answer."""
    generator = Generator()
    with ScriptedServer(generator) as server:
        asked = words(server, tmp_path, "--answers_per_question", 5)
        run = run_script(*asked, "--token_budget", 150)
        assert run.returncode == 1
        assert len(server.chats) == 15
        accepted = {
            record["original_question"]
            for record in read_lines(tmp_path / "out.jsonl")
            if 10.0 in record["generated_scores"]
        }
        assert accepted == {f"question {n}?" for n in range(3)}, "those without an accepted answer come first"
        assert len(read_lines(tmp_path / "best.jsonl")) == 3
        last = run_script(*asked)
        assert (last.returncode, last.stderr) == (0, "")
        assert set(generator.asked.values()) == {5}
    assert set(answers(tmp_path).values()) == {5}
    assert len(read_lines(tmp_path / "best.jsonl")) == 5


def test_an_entry_that_has_enough_gets_no_second_turn(tmp_path: Path) -> None:
    generator = Generator()
    with ScriptedServer(generator) as server:
        run = run_script(*words(server, tmp_path, *ENOUGH, "--give_up_after", 4))
        assert (run.returncode, run.stderr) == (0, "")
    assert generator.asked == {n: min(n + 1, 4) for n in range(ENTRIES)}
    assert generator.order[:6] == list(range(6))
    assert generator.order[6:11] == list(range(1, 6))
    assert not (tmp_path / "out.jsonl.ledger").exists()


@pytest.mark.parametrize("more", [(), ("--token_budget", 100000)], ids=["rounds", "guided"])
def test_after_kill_9_in_mid_round_nothing_is_asked_twice_and_the_fewest_come_first(tmp_path: Path, more: Any) -> None:
    generator = Generator(delay=0.01)
    with ScriptedServer(generator) as server:
        asked = words(server, tmp_path, "--answers_per_question", 4, *more)
        run = subprocess.Popen(command(*asked), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(generator.order) < 9 and run.poll() is None:
            time.sleep(0.002)
        run.kill()
        run.wait()
        before, done = answers_in(tmp_path / "out.jsonl.ledger"), len(generator.order)
        last = run_script(*asked)
        assert (last.returncode, last.stderr) == (0, "")
    assert 4 * ENTRIES <= len(generator.order) <= 4 * ENTRIES + 1
    assert before[generator.order[done]] == min(before[number] for number in range(ENTRIES))
    assert set(answers(tmp_path).values()) == {4}
    texts = [text for record in read_lines(tmp_path / "out.jsonl") for text in record["generated_answers"]]
    assert len(set(texts)) == 4 * ENTRIES


def test_ctrl_c_leaves_what_was_accepted_in_the_selection(tmp_path: Path) -> None:
    generator = Generator(delay=0.01)
    with ScriptedServer(generator) as server:
        asked = words(server, tmp_path, "--answers_per_question", 4)
        run = subprocess.Popen(command(*asked), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while len(generator.order) < 14 and run.poll() is None:
            time.sleep(0.002)
        run.terminate()
        run.communicate()
        assert run.returncode == 130
        assert sorted(answers(tmp_path)) == [f"question {n}?" for n in range(ENTRIES)]
        assert len(read_lines(tmp_path / "best.jsonl")) in (2, 3)
        last = run_script(*asked)
        assert (last.returncode, last.stderr) == (0, "")
    assert len(generator.order) <= 4 * ENTRIES + 1
    assert set(answers(tmp_path).values()) == {4}


def test_a_target_is_met_to_the_row_and_by_the_easiest(tmp_path: Path) -> None:
    generator = Generator()
    with ScriptedServer(generator) as server:
        asked = words(server, tmp_path, *ENOUGH, "--target_accepted", 3)
        run = run_script(*asked)
        assert (run.returncode, run.stderr) == (0, "")
        assert "target    3 of 3 accepted rows" in run.stdout
        assert "run the same command again" not in run.stdout
        sent = len(server.chats)
        assert sent <= 6 + 5 + 4
        again = run_script(*asked)
        assert (again.returncode, len(server.chats)) == (0, sent)
        assert len(read_lines(tmp_path / "best.jsonl")) == 3
        more = run_script(*words(server, tmp_path, *ENOUGH, "--target_accepted", 4))
        assert more.returncode == 0
    rows = [row["conversations"][0]["value"] for row in read_lines(tmp_path / "best.jsonl")]
    assert sorted(rows) == [f"question {n}?" for n in range(4)]
    assert len(set(generator.asked)) == ENTRIES
    assert max(generator.asked.values()) <= 5


def test_more_rows_than_the_target_stay_in_the_output_alone(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 40)
    with ScriptedServer(
        lambda request: completion(f"It is {re.findall('[0-9]+', request.question)[0]}.", delay=0.02)
    ) as server:
        run = run_script(*words(server, tmp_path, *ENOUGH, "--target_accepted", 10, "--concurrency", 8))
        assert (run.returncode, run.stderr) == (0, "")
    assert len(read_lines(tmp_path / "best.jsonl")) == 10
    assert 10 <= len(read_lines(tmp_path / "out.jsonl")) == len(server.chats) < 40


def test_a_target_out_of_reach_is_said(tmp_path: Path) -> None:
    with ScriptedServer(Generator()) as server:
        run = run_script(
            *words(server, tmp_path, "--answers_per_question", 3, "--stop_after", 1, "--target_accepted", 5)
        )
    assert run.returncode == 0
    assert "warning   --target_accepted 5: the entries gave 3 accepted rows" in run.stdout


def test_time_ends_a_run_and_a_rerun_has_time_of_its_own(tmp_path: Path) -> None:
    """The time is over before the first answer: what is in flight is finished, and nothing more is sent."""
    generator = Generator(delay=0.3)
    with ScriptedServer(generator) as server:
        asked = words(server, tmp_path, *ENOUGH, "--concurrency", 2)
        run = run_script(*asked, "--time_budget", "0.3s")
        assert run.returncode == 1
        assert "the --time_budget of 0.3 s is over; run the same command again to go on" in run.stderr
        before = len(server.chats)
        assert before < ENTRIES
        last = run_script(*asked, "--time_budget", "1d")
        assert (last.returncode, last.stderr) == (0, "")
    assert [len(generator.asked), len(read_lines(tmp_path / "best.jsonl"))] == [ENTRIES, 5]


def test_votes_are_counted_breadth_first_and_at_the_end_of_the_money(tmp_path: Path) -> None:
    def one_mind(request: Request) -> Reply:
        return completion(f"{request.number}: it is 7.", tokens=10)

    with ScriptedServer(one_mind) as server:
        asked = words(server, tmp_path, "--scorer", "majority", "--answers_per_question", 8, "--stop_sure", 0.95)
        run = run_script(*asked, "--token_budget", 130)
        assert run.returncode == 1
        assert answers(tmp_path) == {f"question {n}?": 3 if n == 0 else 2 for n in range(ENTRIES)}
        assert all(score == 10 for record in read_lines(tmp_path / "out.jsonl") for score in record["generated_scores"])
        last = run_script(*asked)
        assert (last.returncode, len(server.chats)) == (0, 4 * ENTRIES)
    assert {record["stopped_by"] for record in read_lines(tmp_path / "out.jsonl")} == {"stop_sure"}


def test_a_finished_output_is_topped_up_breadth_first(tmp_path: Path) -> None:
    generator = Generator()
    with ScriptedServer(generator) as server:
        run_script(*words(server, tmp_path, "--answers_per_question", 2))
        asked = words(server, tmp_path, "--answers_per_question", 4)
        run = run_script(*asked, "--token_budget", 80)
        assert run.returncode == 1
        assert sorted(answers(tmp_path).values()) == [3, 3, 3, 3, 4, 4]
        assert run_script(*asked).returncode == 0
    assert set(answers(tmp_path).values()) == {4}
    assert set(generator.asked.values()) == {4}
    assert "unfinished" not in settings_of(tmp_path)


def test_a_lost_generator_costs_only_its_own_answers(tmp_path: Path) -> None:
    refused = Reply({"error": {"message": "no model"}}, status=404)
    with ScriptedServer(lambda _: refused) as away, ScriptedServer(Generator()) as server:
        asked = words(server, tmp_path, "--answers_per_question", 4)
        del asked[asked.index("--model") : asked.index("--model") + 4]
        asked += ["--generator_model", "A", "B", "--generator_port", str(server.port)]
        run = run_script(*asked, str(away.port))
        assert run.returncode == 1
        assert "the generator B is lost" in run.stderr
        assert len(server.chats) == 2 * ENTRIES
        assert answers(tmp_path) == {f"question {n}?": 2 for n in range(ENTRIES)}
        with ScriptedServer(Generator()) as back:
            last = run_script(*asked, str(back.port))
            assert (last.returncode, last.stderr) == (0, "")
            assert (len(server.chats), len(back.chats)) == (2 * ENTRIES, 2 * ENTRIES)
    assert set(answers(tmp_path).values()) == {4}


def test_the_last_entry_stops_early_without_the_answers_of_a_lost_generator(tmp_path: Path) -> None:
    refused = Reply({"error": {"message": "no model"}}, status=404)
    with ScriptedServer(lambda _: refused) as away, ScriptedServer(Generator()) as server:
        asked = words(server, tmp_path, "--answers_per_question", 6, "--stop_after", 4)
        del asked[asked.index("--model") : asked.index("--model") + 4]
        run = run_script(*asked, "--generator_model", "A", "B", "--generator_port", server.port, away.port)
        assert run.returncode == 1
        assert len(server.chats) == 3 * ENTRIES
    assert answers(tmp_path) == {f"question {n}?": 3 for n in range(ENTRIES)}


def test_a_target_counts_the_rows_of_this_scorer_and_scores_what_is_there_first(tmp_path: Path) -> None:
    with ScriptedServer(Generator()) as server:
        asked = words(server, tmp_path, "--answers_per_question", 3)
        target = ["--target_accepted", "2"]
        assert run_script(*asked, *target).returncode == 0
        sent, first = [len(server.chats)], (tmp_path / "out.jsonl").read_bytes()
        asked += ["--score_max", "5"]  # another scorer
        for _ in range(2):
            run = run_script(*asked, *target)
            sent.append(len(server.chats))
            assert run.returncode == 0
            assert "out.jsonl keeps the scores of another scorer" in run.stderr
            assert "run the same command again" not in run.stdout
            assert len(read_lines(tmp_path / "best.jsonl")) == 2
            assert (tmp_path / "out.jsonl").read_bytes() == first
        assert sent[2] == sent[1] <= sent[0] + 1, "one may be in flight when the rows are enough"
        last = run_script(*asked)
        done(last)
        assert len(server.chats) == 3 * ENTRIES
    assert answers(tmp_path) == {f"question {n}?": 3 for n in range(ENTRIES)}
    assert not (tmp_path / "out.jsonl.new").exists()


def test_the_scored_answers_of_an_entry_that_fails_are_in_the_output_and_count_as_rows(tmp_path: Path) -> None:
    generator, fails = Generator(), [True]

    def second_fails(request: Request) -> Reply:
        answer = generator(request)
        if "question 0?" in request.question and generator.asked[0] == 2 and fails:
            fails.clear()
            return Reply({"error": {"message": "out of memory"}}, status=500)
        return answer

    with ScriptedServer(second_fails) as server:
        asked = words(server, tmp_path, "--answers_per_question", 2, "--max_retries", 0, "--target_accepted", 9)
        run = run_script(*asked)
        assert run.returncode == 1
        assert ["failed" in run.stdout, "postponed" in run.stdout] == [True, False]
        assert "target    2 of 9 accepted rows" in run.stdout
        assert answers(tmp_path) == {f"question {n}?": 1 if n == 0 else 2 for n in range(ENTRIES)}
        assert len(read_lines(tmp_path / "best.jsonl")) == 2
        last = run_script(*asked)
        assert (last.returncode, len(server.chats)) == (0, 2 * ENTRIES + 1)
    assert set(answers(tmp_path).values()) == {2}
    assert "unfinished" not in settings_of(tmp_path)


def test_the_generator_does_not_run_ahead_of_a_slow_judge(tmp_path: Path) -> None:
    """With 2 slots each, 4 answers are sampled or judged at once: 3 of them may be there beside the last one wanted."""
    questions(tmp_path / "in.json", 30)

    def judged(request: Request) -> Reply:
        is_judge = "GRADE" in request.question.upper()
        return completion("Score: 9", delay=0.03) if is_judge else completion(f"Answer {request.number}.")

    with ScriptedServer(judged) as server:
        asked = words(server, tmp_path, "--answers_per_question", 2, "--target_accepted", 5, "--accept_score", 8)
        asked[asked.index("match")] = "judge"
        run = run_script(*asked, "--concurrency", 2)
        assert (run.returncode, run.stderr) == (0, "")
    records = read_lines(tmp_path / "out.jsonl")
    assert 5 <= sum(len(record["generated_answers"]) for record in records) <= 5 + 3
