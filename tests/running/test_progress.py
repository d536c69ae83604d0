"""What is counted in a run, and the summary it ends with."""

from __future__ import annotations

import asyncio
import sys
from typing import List, Optional, Sequence, Tuple

import pytest

from common.records import Score
from common.running.progress import Counts, show_bar, summary
from common.scoring.same_answer import FREE_TEXT
from common.servers.client import Traffic


def text_of(
    counts: Counts,
    traffic: Optional[List[Traffic]] = None,
    seconds: float = 10.0,
    files: Sequence[Tuple[str, str]] = (),
) -> str:
    return summary("reject.py", counts, traffic or [], seconds, files)


def row(text: str, name: str) -> Optional[str]:
    """What the summary's row of that name says; None if there is no such row."""
    rows = [line.split(None, 1) for line in text.splitlines()[1:]]
    return next((said for found, said in rows if found == name), None)


def test_a_score_of_zero_counts_and_none_is_unscored() -> None:
    counts = Counts()
    counts.add_scores([Score(0.0), Score(None), Score(6.0)])
    assert (counts.scores, counts.unscored, counts.mean_score) == (2, 1, 3.0)


def test_scores_of_several_records_add_up() -> None:
    counts = Counts()
    for values in ([1.0, 2.0], [], [None], [6.0]):
        counts.add_scores([Score(value) for value in values])
    assert (counts.scores, counts.unscored, counts.mean_score) == (3, 1, 3.0)


def test_without_a_score_there_is_no_mean() -> None:
    counts = Counts()
    counts.add_scores([Score(None), Score(None)])
    assert counts.mean_score is None


def test_a_mean_of_zero_is_shown() -> None:
    counts = Counts()
    counts.add_scores([Score(0.0)])
    assert row(text_of(counts), "scores") == "mean 0.00, 1 scored, 0 unscored"


def test_a_run_with_nothing_but_unscored_says_so() -> None:
    assert row(text_of(Counts(unscored=3)), "scores") == "mean none, 0 scored, 3 unscored"


def test_entries_are_told_apart_by_what_became_of_them() -> None:
    said = row(text_of(Counts(done=1200, skipped=30, failed=10)), "entries")
    assert said == "1,200 done, 30 skipped (already done), 10 failed in 10.0 s (120.0/s)"


def test_duplicates_are_named_only_if_there_are_any() -> None:
    assert "duplicates" not in text_of(Counts(done=1))
    assert "2 duplicates left out" in text_of(Counts(done=1, duplicates=2))


def test_answers_from_the_ledger_are_not_counted_as_sampled() -> None:
    assert row(text_of(Counts(answers=40, recalled=5)), "answers") == "40 sampled, 5 from the ledger (4.0/s)"
    assert row(text_of(Counts(recalled=5)), "answers") == "0 sampled, 5 from the ledger (0.0/s)"
    assert row(text_of(Counts(answers=40)), "answers") == "40 sampled (4.0/s)"


def test_the_requests_of_both_roles_are_summed() -> None:
    traffic = [Traffic(requests=1000, retries=2, tokens=5000), Traffic(requests=500, retries=1, tokens=70)]
    assert row(text_of(Counts(), traffic), "requests") == "1,500 sent, 3 retries, 5,070 tokens (507/s)"


@pytest.mark.parametrize("name", ["answers", "requests", "scores", "selected", "errors"])
def test_what_a_run_did_not_do_has_no_row(name: str) -> None:
    assert row(text_of(Counts(done=3)), name) is None


def test_requests_that_were_dropped_and_entries_that_wait_are_named_only_if_there_are_any() -> None:
    said = text_of(Counts(done=1, postponed=3), [Traffic(requests=9, cancelled=2)])
    assert row(said, "entries") == "1 done, 0 skipped (already done), 0 failed, 3 postponed in 10.0 s (0.1/s)"
    assert row(said, "requests") == "9 sent, 0 retries, 2 dropped, 0 tokens (0/s)"
    assert "postponed" not in text_of(Counts(done=1), [Traffic(requests=1)])


def test_the_files_come_last_and_as_they_were_named() -> None:
    files = [("output", "a b/out.jsonl"), ("errors", "out.jsonl.errors.jsonl")]
    lines = text_of(Counts(done=1), files=files).splitlines()
    assert lines[0] == "reject.py"
    assert [line.split(None, 1) for line in lines[-2:]] == [list(file) for file in files]


def test_a_run_that_took_no_time_has_a_summary() -> None:
    assert "0 done" in text_of(Counts(), [Traffic()], seconds=0.0)


@pytest.mark.parametrize("quiet", [True, False])
def test_no_bar_is_drawn_where_no_terminal_is(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()

    def expected() -> int:
        raise AssertionError("nobody looks at it")

    asyncio.run(show_bar(Counts(), [], expected, quiet))
    assert capsys.readouterr() == ("", "")


def test_answers_whose_reference_is_a_free_text_have_a_row_of_their_own() -> None:
    counts = Counts()
    counts.add_scores([Score(None, unscored=FREE_TEXT), Score(None, unscored="no reference to match"), Score(1.0)])
    assert row(text_of(counts), "unscored") == f"1 because {FREE_TEXT}; add a judge: --scorer match judge"
    counts = Counts()
    counts.add_scores([Score(None)])
    assert row(text_of(counts), "unscored") is None
