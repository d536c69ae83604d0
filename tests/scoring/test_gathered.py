"""Requests at the same time of which one fails: the others' results are waited for if they are paid for."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, Dict, List, Type

import pytest

from common.errors import RequestFailed, ServerGone, ToolkitError
from common.scoring.gathered import gather_paid


def gathered(error: Type[ToolkitError], others: int) -> List[str]:
    """What happened when one work failed while another ran, and ``others`` failed in the same turn."""
    seen: List[str] = []

    async def fail() -> None:
        raise error("away")

    async def last() -> None:
        await asyncio.sleep(0.01)
        seen.append("paid")

    async def run() -> None:
        def note(_: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
            seen.append(str(context))

        asyncio.get_running_loop().set_exception_handler(note)
        with pytest.raises(error):
            await gather_paid([last(), fail(), *(fail() for _ in range(others))])
        await asyncio.sleep(0)
        gc.collect()

    asyncio.run(run())
    return seen


def test_results_are_in_order() -> None:
    async def value(number: int) -> int:
        await asyncio.sleep(0.001 * (3 - number))
        return number

    async def run() -> List[int]:
        return await gather_paid([value(number) for number in range(3)])

    assert asyncio.run(run()) == [0, 1, 2]


@pytest.mark.parametrize("others", [0, 3])
def test_after_a_failed_request_the_others_end_first(others: int) -> None:
    assert gathered(RequestFailed, others) == ["paid"]


@pytest.mark.parametrize("others", [0, 3])
def test_the_end_of_the_run_waits_for_nothing_and_leaves_no_noise(others: int) -> None:
    assert gathered(ServerGone, others) == []
