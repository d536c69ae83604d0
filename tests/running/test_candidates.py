"""One entry in progress: when its draws start, when they are dropped, and what its record then says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import pytest

from common.errors import EntryFailed, RequestFailed
from common.input.conversations import entry_from_conversation
from common.records import Entry, Record, Score
from common.running.candidates import Candidates
from common.running.early_stopping import StopRule
from common.running.entry_state import EntryState
from common.running.generators import Generators
from common.running.job import Pipeline
from common.running.sampler import Sampler
from common.scoring.shapes import AnswerScorer, EntryScorer, Scorer
from common.servers.client import ChatClient
from common.storage.ledger import Ledger
from tests.helpers import conversation
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRY = entry_from_conversation(conversation("q?", "r"))


class NumberScorer(AnswerScorer):
    """Scores an answer by the number its text ends in; one that ends in "fail" makes it fail, unless it is ``well``."""

    name = "number"

    def __init__(
        self,
        delay: Callable[[str], float] = lambda text: 0.0,
        calls: Optional[List[str]] = None,
        well: bool = False,
        name: str = "number",
    ) -> None:
        super().__init__({}, name)
        self._delay = delay
        self._calls = calls
        self._well = well

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        if self._calls is not None:
            self._calls.append(text)
        await asyncio.sleep(self._delay(text))
        if text.endswith("fail") and not self._well:
            raise RequestFailed("the judge failed")
        return Score(float(text.split()[-1].replace("fail", "9")))


def play(
    server: ScriptedServer,
    folder: Path,
    rule: Optional[StopRule],
    scorer: Optional[Scorer] = None,
    count: int = 8,
    servers_idle: bool = False,
    per_request: int = 1,
) -> Tuple[Record, int]:
    """The record of one entry drawn by a rule, and how many of its requests were dropped."""

    async def main() -> Tuple[Record, int]:
        ledger = Ledger(str(folder / "ledger.jsonl"), ())
        try:
            async with ChatClient([server.url], "m", 16, max_retries=0) as client:
                generators = Generators([Sampler(client, count, per_request)])
                pipeline = Pipeline([client], generators, scorer or NumberScorer(), rule)
                [own] = generators.samplers
                state = EntryState(ENTRY, prompts={own.settings_id: b'[{"role": "user", "content": "q?"}]'})
                state.recall(ledger.recall(ENTRY.entry_id), pipeline)
                candidates = Candidates(state, pipeline, ledger.append, lambda error: None, lambda: servers_idle)
                stopped_by = await candidates.run()
                record, scores = state.record(pipeline.scorer, stopped_by)
                assert record["generated_scores"] == [score.value for score in scores]
                return record, client.traffic.cancelled
        finally:
            ledger.close()

    return asyncio.run(main())


def says(*texts: str) -> Callable[[Request], Reply]:
    """Answers these in the order of the requests."""
    return lambda request: completion(texts[request.number])


def test_an_entry_draws_one_by_one_until_one_is_accepted(tmp_path: Path) -> None:
    with ScriptedServer(says("a 1", "b 2", "c 9", "d 9")) as server:
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=1))
    assert len(server.chats) == 3
    assert record["generated_answers"] == ["a 1", "b 2", "c 9"]
    assert record["generated_scores"] == [1, 2, 9]
    assert record["stopped_by"] == "stop_after"
    assert list(record)[-1] == "entry_id"


def test_the_same_answer_twice_is_accepted_once(tmp_path: Path) -> None:
    with ScriptedServer(says("A  9", "a 9", "b 9", "c 9")) as server:
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=2))
    assert record["generated_answers"] == ["A  9", "a 9", "b 9"]


def test_a_cut_answer_is_not_accepted(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return completion(f"{request.number} 9", finish="length" if request.number == 0 else "stop")

    with ScriptedServer(script) as server:
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=1))
    assert len(record["generated_answers"]) == 2


def test_none_accepted_among_the_first_few_ends_it(tmp_path: Path) -> None:
    with ScriptedServer(lambda request: completion(f"{request.number} 1")) as server:
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=1, give_up_after=3))
    assert len(server.chats) == 3
    assert record["stopped_by"] == "give_up_after"


def test_all_answers_drawn_is_no_reason(tmp_path: Path) -> None:
    with ScriptedServer(lambda request: completion(f"{request.number} 1")) as server:
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=1))
    assert len(record["generated_answers"]) == 8
    assert "stopped_by" not in record


def test_what_is_in_flight_for_a_finished_entry_is_dropped(tmp_path: Path) -> None:
    """With idle servers two are sampled after the first miss; the slow one is dropped once the other is accepted."""

    def script(request: Request) -> Reply:
        return completion(f"{request.number} {9 if request.number == 1 else 1}", delay=60.0 * (request.number == 2))

    with ScriptedServer(script) as server:
        record, cancelled = play(server, tmp_path, StopRule(8.0, stop_after=1), servers_idle=True)
    assert len(server.chats) == 3
    assert cancelled == 1
    assert record["generated_scores"] == [1, 9]


def test_an_answer_that_came_but_was_not_judged_any_more_is_kept_unscored(tmp_path: Path) -> None:
    """With idle servers two are sampled after the first miss: one is judged slowly, the other is enough meanwhile."""
    slow = NumberScorer(delay=lambda text: 60.0 if text.startswith("slow") else 0.0)
    with ScriptedServer(says("a 1", "slow 9", "b 9")) as server:
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=1), slow, servers_idle=True)
    scores: Dict[str, Any] = dict(zip(record["generated_answers"], record["generated_scores"]))
    assert scores == {"a 1": 1, "slow 9": None, "b 9": 9}
    unscored = [detail.get("unscored") for detail in record["generated_details"]]
    assert unscored.count("not needed: its entry was settled before") == 1


class Cancelled(NumberScorer):
    """Fails with a CancelledError, as a helper task that was cancelled makes it."""

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        raise asyncio.CancelledError


def test_a_score_that_something_else_cancelled_is_a_failure_and_not_unneeded(tmp_path: Path) -> None:
    with ScriptedServer(says("a 1", "b 2")) as server, pytest.raises(EntryFailed, match="cancelled") as caught:
        play(server, tmp_path, None, Cancelled(), count=2)
    assert caught.value.stage == "score"


def test_a_failure_does_not_matter_once_enough_are_accepted(tmp_path: Path) -> None:
    scorer = NumberScorer(delay=lambda text: 0.2 if text.endswith("9") else 0.0)
    with ScriptedServer(says("a 1", "b fail", "c 9")) as server:
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=1), scorer, servers_idle=True)
    assert sorted(record["generated_answers"]) == ["a 1", "b fail", "c 9"]


def test_a_failure_ends_the_drawing_and_fails_the_entry(tmp_path: Path) -> None:
    with ScriptedServer(says("a 1", "b fail", "c 9")) as server, pytest.raises(RequestFailed):
        play(server, tmp_path, StopRule(8.0, stop_after=1))
    assert len(server.chats) == 2


def test_a_resumed_entry_counts_what_it_has(tmp_path: Path) -> None:
    rule = StopRule(8.0, stop_after=2)
    with ScriptedServer(says("a 9", "b 1", "c fail")) as server, pytest.raises(RequestFailed):
        play(server, tmp_path, rule)
    calls: List[str] = []
    with ScriptedServer(says("d 9")) as server:
        record, _ = play(server, tmp_path, rule, NumberScorer(calls=calls, well=True), count=3)
        assert server.chats == []
    assert calls == ["c fail"]
    assert record["generated_scores"] == [9, 1, 9]


def test_enough_in_the_ledger_asks_for_nothing_more(tmp_path: Path) -> None:
    with ScriptedServer(lambda request: completion(f"{request.number} 9")) as server:
        everything, _ = play(server, tmp_path, None, count=4)
        assert len(server.chats) == 4
        again, _ = play(server, tmp_path, StopRule(8.0, stop_after=2), count=6)
        assert len(server.chats) == 4
    assert again["generated_answers"] == everything["generated_answers"]
    assert again["stopped_by"] == "stop_after"


def test_several_choices_a_request_are_sized_by_what_is_needed(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return completion(*(f"{request.number}-{n} 9" for n in range(request.body.get("n", 1))))

    with ScriptedServer(script) as server:
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=3), per_request=8)
    assert [chat.body.get("n") for chat in server.chats] == [3]
    assert len(record["generated_answers"]) == 3


def test_answers_at_hand_are_judged_only_as_far_as_needed(tmp_path: Path) -> None:
    with ScriptedServer(lambda request: completion(f"{request.number} 9")) as server:
        play(server, tmp_path, None, NumberScorer(name="other"), count=8)
        calls: List[str] = []
        record, _ = play(server, tmp_path, StopRule(8.0, stop_after=2), NumberScorer(calls=calls), count=8)
        assert len(server.chats) == 8
    assert len(calls) == 2
    assert len(record["generated_answers"]) == 8
    assert [score for score in record["generated_scores"] if score is not None] == [9, 9]


class Rank(EntryScorer):
    """Scores an entry's answers by their rank among each other."""

    name = "rank"

    def __init__(self, calls: List[List[str]]) -> None:
        super().__init__({"version": 1})
        self._calls = calls

    async def score_together(self, entry: Entry, images: Sequence[str], texts: Sequence[str]) -> List[Score]:
        self._calls.append(list(texts))
        return [Score(float(sorted(texts).index(text))) for text in texts]


def test_a_scorer_of_whole_entries_gets_all_answers_once_and_its_scores_are_kept_for_that_set(tmp_path: Path) -> None:
    calls: List[List[str]] = []
    with ScriptedServer(says("b", "c", "a", "d")) as server:
        record, _ = play(server, tmp_path, None, Rank(calls), count=3)
        assert sorted(calls[0]) == ["a", "b", "c"]
        assert dict(zip(record["generated_answers"], record["generated_scores"])) == {"a": 0, "b": 1, "c": 2}
        again, _ = play(server, tmp_path, None, Rank(calls), count=3)
        assert again == record
        assert len(calls) == 1, "the ledger has the scores of these answers"
        more, _ = play(server, tmp_path, None, Rank(calls), count=4)
    assert sorted(calls[1]) == ["a", "b", "c", "d"], "another set of answers is scored anew"
    assert len(calls) == 2
    assert sorted(more["generated_scores"]) == [0, 1, 2, 3]
