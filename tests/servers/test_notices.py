"""Notices: what both roles see of one server is said once."""

from __future__ import annotations

import asyncio
import logging
from typing import List

import pytest

from common.errors import ServerBusy, Unreachable
from common.servers.health import CircuitBreaker, report_silence
from common.servers.notices import Notices
from common.servers.slots import Pool
from tests.helpers import questions, run_script
from tests.scripted_server import Reply, Request, ScriptedServer, completion


class TwoRoles:
    """Two roles that use the server "a", whose probes fail a few times; a wait takes one turn of the loop."""

    def __init__(self, failing_probes: int) -> None:
        self.pools = [Pool(["a"], 4), Pool(["a"], 4)]
        self.left = [failing_probes, failing_probes]
        notices = Notices()
        self.notices = notices
        self.breakers = [
            CircuitBreaker(pool, self.probe(role), 1000, 3600, lambda _: asyncio.sleep(0), notices)
            for role, pool in enumerate(self.pools)
        ]
        for breaker in self.breakers:
            breaker.answered()

    def probe(self, role: int):  # type: ignore[no-untyped-def]
        async def is_back(server: object) -> bool:
            self.left[role] -= 1
            return self.left[role] < 0

        return is_back


def play(world: TwoRoles, *steps: str) -> None:
    async def work() -> None:
        for step in steps:
            for breaker, pool in zip(world.breakers, world.pools):
                if step == "away":
                    breaker.unreachable(pool.servers[0], Unreachable("cannot reach a"))
                else:
                    await pool.take()
                    breaker.busy(pool.servers[0], 0.0, ServerBusy("a: 429 slow down", 429, float(step)))
            for _ in range(200):
                await asyncio.sleep(0)

    asyncio.run(work())


def test_an_outage_that_both_roles_see_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    play(TwoRoles(failing_probes=5), "away")
    waits = [f"cannot reach a; trying again {when} s" for when in ("in 2", "in 4", "in 8", "every 10")]
    assert caplog.messages == [*waits, "a is back"]


def test_the_next_outage_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    play(TwoRoles(failing_probes=0), "away", "away")
    assert caplog.messages == ["cannot reach a; trying again in 2 s", "a is back"] * 2


def test_a_pause_that_both_roles_are_asked_for_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    play(TwoRoles(0), "900")
    assert caplog.messages == ["a: 429 slow down; nothing is sent there for the next 900 s, as it wishes"]


def test_a_much_longer_pause_of_the_other_role_is_news(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    notices.warn("generator", "a is closed", "60 s", 60)
    notices.warn("judge", "a is closed", "80 s", 80)
    notices.warn("judge", "a is closed", "3000 s", 3000)
    assert caplog.messages == ["60 s", "3000 s"]


def test_a_silence_that_both_roles_see_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        notices, pools = Notices(), [Pool(["a"], 1), Pool(["a"], 1)]
        for pool in pools:
            await pool.take()
            since = pool.servers[0].unheard_since or 0.0
            report_silence(pool, pool.servers[0], since + 61, notices)

    with caplog.at_level(logging.WARNING):
        asyncio.run(work())
    assert len(caplog.messages) == 1


def test_a_judge_at_the_generators_server_doubles_no_line(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A base URL without /v1 is corrected by each role's first request."""

    def script(request: Request) -> Reply:
        if "/v1/" in request.path:
            return completion("Score: 7")
        return Reply({"error": "not found"}, status=404)

    with ScriptedServer(script) as server:
        flags: List[object] = ["--generator_base_url", f"http://127.0.0.1:{server.port}/api", "--generator_model", "m"]
        flags += ["--input_file", questions(tmp_path / "in.json", 4), "--output_file", tmp_path / "out.jsonl"]
        run = run_script("reject.py", *flags)
    assert run.stderr.count(" is used") == 1, run.stderr
