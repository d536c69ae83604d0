"""Several requests of one score at the same time: what is paid for is kept, though one of them fails.

Example: ``first, second = await gather_paid([judge.score(...), other.score(...)])``
"""

from __future__ import annotations

import asyncio
from typing import Any, Coroutine, Iterable, TypeVar

from ..errors import EntryFailed

T = TypeVar("T")


async def gather_paid(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order. If one fails as an entry does, the others end first, and then the first failure is raised.

    Any other error is raised at once, and the others are cancelled.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                error = task.exception()
                if error is not None and not isinstance(error, EntryFailed):
                    raise error
        return [task.result() for task in tasks]
    finally:
        drop(tasks)


def drop(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels what still runs. An error that nobody waits for any more is not reported."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(_forget)


def _forget(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
