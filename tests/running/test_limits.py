"""What ends a run before its entries do, with a clock of its own."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any, List

import pytest

from common.errors import BudgetSpent
from common.flag_types import duration
from common.records import Record
from common.results.selection import Selection
from common.running.job import Job, Pipeline, Results
from common.running.limits import Limits
from common.running.target import Target
from common.servers.client import ChatClient


def job(folder: Path, **more: Any) -> Job:
    names = {"script": "reject.py", "input_file": "in", "output_file": str(folder / "out"), "ledger_file": "l"}
    return Job(**names, keep_ledger=False, read=lambda item, line: item, pipeline=Pipeline([]), **more)  # type: ignore


def record(name: str, *scores: float) -> Record:
    texts = [f"{name} {place}" for place in range(len(scores))]
    return {"generated_answers": texts, "generated_scores": list(scores), "entry_id": name * 32}


@pytest.mark.parametrize(("now", "slept"), [(130.0, 70.0), (100.0, 100.0), (999.0, 0.0)])
def test_the_time_counts_from_the_beginning_of_the_run(tmp_path: Path, now: float, slept: float) -> None:
    waits: List[float] = []
    reasons: List[str] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    limits = Limits(job(tmp_path, time_budget=100.0), 100.0, lambda: now, sleep)
    limits.sample_no_more = reasons.append
    assert limits.cut_short is None
    asyncio.run(limits.watch_time(100.0))
    assert waits == [slept]
    assert reasons == ["the --time_budget of 1.7 min is over"]
    assert limits.is_spent


def test_rows_are_counted_once_per_entry_and_the_first_limit_is_the_one_that_is_said(tmp_path: Path) -> None:
    results = Results(Selection("top_k", top_k=2, accept_score=8))
    limits, reasons = Limits(job(tmp_path, target_accepted=3, results=results), 0.0), []  # type: Limits, List[str]
    limits.sample_no_more = reasons.append
    for one in (record("a", 9), record("a", 9, 1), record("a", 9, 1, 8, 9), record("b", 1)):
        limits.count(one)
    assert limits.target is not None
    assert limits.target.rows == 2
    assert not limits.is_reached
    limits.count(record("c", 8))
    limits.count(record("d", 8))
    assert limits.is_reached
    assert not limits.is_spent
    assert reasons == ["3 accepted rows are there"]


def test_the_tokens_of_what_was_in_flight_are_said_at_the_end(tmp_path: Path) -> None:
    client, one = ChatClient(["http://127.0.0.1:1/v1"], "m", 1), job(tmp_path, token_budget=600, target_accepted=9)
    one.pipeline = Pipeline([client])
    limits = Limits(one, 0.0)
    assert limits.warning(4) == "--target_accepted 9: the entries gave 4 accepted rows"
    client.traffic.tokens = 600
    with pytest.raises(BudgetSpent):
        limits.check_tokens()
    client.traffic.tokens = 624
    assert limits.warning(4) is None, "the input did not end"
    assert limits.text_at_end() == "624 of --token_budget 600 completion tokens are spent"


def test_a_row_of_pairs_is_a_pair_and_a_pass_rate_can_take_rows_away() -> None:
    pairs = Target(1, Selection("dpo", accept_score=8), "preference")
    pairs.count(record("a", 9))
    assert pairs.rows == 0
    pairs.count(record("a", 9, 1))
    assert pairs.is_reached
    hard = Target(2, Selection(accept_score=8, pass_rate=(0.0, 0.5)), "sharegpt")
    hard.count(record("a", 9, 1))
    assert hard.rows == 1
    hard.count(record("a", 9, 1, 9, 9))
    assert hard.rows == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800.0), ("1h30m", 5400.0), ("90m", 5400.0), ("2d", 172800.0), ("1.5s", 1.5)]
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["8", "", "h", "8 h", "30m1h", "1h1h", "-1h", "0s", "1w", "8hours"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a time such as 8h"):
        duration(text)
