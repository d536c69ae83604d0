"""What a person sees during a run: the bar on a terminal, and the lines of a log."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import struct
import sys
import termios
from pathlib import Path
from typing import List, Optional

import pytest

from common.records import CUT, Answer, Score
from common.results.selection import Selection
from common.running.counts import Counts
from common.running.progress import LINE_EVERY, Progress, show_progress
from common.running.run import run
from common.running.target import Target
from common.servers.client import Traffic
from tests.helpers import questions
from tests.running.test_run import make_job
from tests.scripted_server import Reply, Request, ScriptedServer, completion


class Scene:
    """A run of ``entries`` entries with ``per_entry`` answers each, at a time that the test sets."""

    def __init__(self, entries: Optional[int] = 100, per_entry: Optional[int] = 4, accept: Optional[float] = 8) -> None:
        self.now = 0.0
        self.counts = Counts(accept_score=accept)
        self.traffic = [Traffic()]
        self.progress = Progress(
            self.counts, self.traffic, lambda: entries, per_entry, lambda: 12, clock=lambda: self.now
        )

    def record(self, *scores: Optional[float]) -> None:
        """An entry is done, with these scores."""
        self.counts.done += 1
        self.counts.add_answers([Answer("a", "stop") for _ in scores])
        self.counts.add_scores([Score(score) for score in scores])


def busy(entries: Optional[int] = 100) -> Scene:
    """30 seconds after its begin: 10 entries done, 1 failed, 50 answers."""
    scene = Scene(entries)
    scene.now = 30.0
    for _ in range(10):
        scene.record(9, 2, 8, None)
    scene.counts.failed, scene.counts.answers = 1, 50
    scene.traffic[0].prompt_tokens, scene.traffic[0].tokens = 1000, 6000
    return scene


def test_a_line_says_all_that_a_person_asks_of_a_log() -> None:
    assert busy().progress.line() == (
        "11 of 100 entries, 50 of 400 answers, 1.7 answers/s, 1 failed, 10 unscored, 50% accepted, "
        "1,000 prompt and 6,000 completion tokens, 3 min left"
    )


def test_a_line_of_an_input_of_unknown_length_claims_no_end() -> None:
    assert re.fullmatch(r"11 entries, 50 answers, .* tokens", busy(None).progress.line())


def test_a_run_that_only_samples_says_nothing_of_scores() -> None:
    scene = Scene(accept=None)
    scene.counts.answers = 3
    assert "accepted" not in scene.progress.line()
    assert "unscored" not in scene.progress.line()


def test_breadth_first_the_scores_count_as_they_arrive_and_a_target_is_what_is_left() -> None:
    counts, target = Counts(accept_score=8, answers=20, there=0, begun=20), Target(40, Selection(), "sharegpt")
    for value in (9.0, 2.0, 3.0, 8.0, None):
        counts.add_arrived(value)
    target.rows, times = 10, iter([0.0])
    progress = Progress(counts, [], lambda: 9999, 8, clock=lambda: next(times, 60.0), is_broad=True, target=target)
    line = progress.line()
    assert "20 answers, " in line
    assert line.endswith("10 of 40 accepted rows, 50% accepted, 0 prompt and 0 completion tokens, 3 min left")
    assert "10/40 rows" in progress.bar_format(200)


def test_without_a_score_to_accept_the_mean_is_shown() -> None:
    scene = Scene(accept=None)
    scene.record(9, 4)
    assert ", 0 unscored, mean score 6.50, " in scene.progress.line()


def test_answers_count_before_their_entries_are_done() -> None:
    scene = Scene(entries=5)
    scene.counts.answers, scene.counts.there = 7, 2
    look = scene.progress.look()
    assert (look.entries, look.answers, look.total) == (0, 9, 20)


def test_entries_of_an_earlier_run_count_with_all_their_answers_but_not_in_the_rate() -> None:
    scene = Scene(entries=10)
    scene.counts.skipped, scene.counts.answers, scene.now = 5, 10, 10.0
    look = scene.progress.look()
    assert (look.answers, look.total, look.rate, look.left) == (30, 40, 1.0, 10.0)


def test_answers_that_were_given_count_once_they_are_scored() -> None:
    """score.py: entries with 3 answers each."""
    scene = Scene(entries=10, per_entry=None)
    scene.counts.begun, scene.counts.there, scene.counts.scored = 4, 12, 5
    look = scene.progress.look()
    assert (look.answers, look.total) == (5, 30)


def test_where_entries_stop_early_the_time_left_is_that_of_the_answers_they_need() -> None:
    scene = Scene(entries=20, per_entry=8)
    scene.now = 10.0
    for _ in range(10):
        scene.record(9, 9)
    scene.counts.answers, scene.counts.unneeded = 20, 60
    look = scene.progress.look()
    assert (look.answers, look.total, look.left) == (20, 100, 10.0)


def test_the_rate_is_that_of_the_last_minutes() -> None:
    scene = Scene(entries=1000)
    for minute in range(30):
        scene.now = 60.0 * minute
        scene.counts.answers += 6 if minute < 15 else 60
        look = scene.progress.look()
    assert look.rate == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_bar_shows_failures_and_never_more_than_fits(columns: int) -> None:
    scene = busy(2_000_000)
    scene.counts.answers, scene.counts.failed, scene.now = 1_234_567, 12_345, 200_000.0
    text = scene.progress.bar_format(columns).replace("{bar}", "#" * 4)
    assert len(text) <= columns
    assert ("12,345 failed" in text) == (columns > 60)


def test_at_80_columns_the_usual_bar_shows_failed_in_flight_and_accepted() -> None:
    text = busy().progress.bar_format(80)
    assert all(word in text for word in ("50/400 answers", "00:30<", "1 failed", "12 in flight", "50% accepted"))


@pytest.mark.parametrize(("rows", "columns"), [(0, 80), (1, 80), (2, 80), (0, 0), (50, 120)])
def test_a_terminal_of_any_size_has_a_bar(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, child = os.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with open(child, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with contextlib.suppress(asyncio.TimeoutError):
            asyncio.run(asyncio.wait_for(show_progress(busy().progress, quiet=False), 0.05))
        assert b"50/400 answers" in os.read(parent, 10_000)
    os.close(parent)


def test_cut_answers_are_unscored_in_the_log_as_in_the_summary() -> None:
    scene = Scene(accept=None)
    scene.counts.add_scores([Score(None, unscored=f"{CUT}length")] * 3 + [Score(None, unscored="no number")])
    assert ", 4 unscored, 0 prompt" in scene.progress.line()


def test_the_wider_the_bar_the_more_it_says() -> None:
    text = busy().progress.bar_format(200)
    assert all(word in text for word in ("10 unscored", "answers/s", "tokens/s", "0 retries", "11/100 entries"))


def test_without_a_terminal_a_run_says_a_line_from_time_to_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert LINE_EVERY == 30
    assert not sys.stderr.isatty()
    questions(tmp_path / "in.json", 5)

    def script(request: Request) -> Reply:
        """The last answer waits until a line was said."""
        last = request.number == 19
        return completion("a", delay=0.2 if last else 0)

    with caplog.at_level(logging.INFO), ScriptedServer(script) as server:
        assert run(make_job(tmp_path, server, quiet=False, line_every=0.02)) == 0
    lines = [text for text in caplog.messages if "answers/s" in text]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: \d of 5 entries, \d+ of 20 answers, .*", lines[-1]), lines


def test_a_quiet_run_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def expected() -> int:
        raise AssertionError("nobody looks at it")

    with caplog.at_level(logging.INFO):
        asyncio.run(show_progress(Progress(Counts(), [], expected, 4), quiet=True, line_every=0.0))
    lines: List[str] = caplog.messages
    assert lines == []
