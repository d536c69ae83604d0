"""Every fault of chaos.py in a shorter form: nothing lost, twice or invented, and nothing paid for twice."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Dict, Iterator

import pytest

from tests.chaos import IN_POOL, IN_PROCESS, SHORT, Row, can_mount, perform


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Dict[str, Future[Row]]]:
    """The chosen scenarios, which run side by side: most of their time is waiting."""
    chosen = [item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")]
    there = {name for name in chosen if name in IN_POOL and (not name.startswith("tmpfs") or can_mount())}
    with ThreadPoolExecutor(10) as pool:  # the longest first
        longest_first = sorted(there, key=lambda name: (not name.startswith(("mixed", "SIG")), name))
        yield {name: pool.submit(perform, IN_POOL[name], SHORT, 1) for name in longest_first}


def check(row: Row) -> None:
    assert row.trouble == []
    assert row.injected > 0
    assert row.counts() == (0, 0, 0, 0), row


@pytest.mark.parametrize("name", IN_PROCESS)
def test_what_a_crash_leaves_of_a_file_is_mended(name: str) -> None:
    check(perform(IN_PROCESS[name], SHORT, 1))


@pytest.mark.xdist_group("chaos")  # in one process, since the fixture runs all of them
@pytest.mark.parametrize("name", IN_POOL)
def test_nothing_is_lost_twice_invented_or_paid_for_twice(name: str, running: Dict[str, Future[Row]]) -> None:
    if name not in running:
        pytest.skip("file systems cannot be mounted here")
    check(running[name].result())
