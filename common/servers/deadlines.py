"""A time limit for each of many requests.

One look at all of them now and then takes 6 us per request less than a timer for each (``asyncio.wait_for``).

Example: ``deadlines = Deadlines(600)``, one task runs ``deadlines.watch()``, others ``await deadlines.run(request)``
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Awaitable, TypeVar

T = TypeVar("T")


class Deadlines:
    """Lets each request take ``seconds``, and up to a second more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}

    async def run(self, request: Awaitable[T]) -> T:
        """The request's result. asyncio.TimeoutError if it took too long."""
        task = asyncio.current_task()
        assert task is not None
        self._due[task] = time.monotonic() + self.seconds
        try:
            return await request
        except asyncio.CancelledError as error:
            if task in self._due:  # not cancelled by ``watch``
                raise
            raise asyncio.TimeoutError from error
        finally:
            self._due.pop(task, None)

    async def watch(self) -> None:
        """Ends the requests that take too long, until it is cancelled itself.

        Time during which this process stood still does not count: the replies that came meanwhile were not read yet.
        """
        pause = min(1.0, self.seconds / 10)
        while True:
            begun = time.monotonic()
            await asyncio.sleep(pause)
            now = time.monotonic()
            lost = now - begun - pause
            if lost > pause:
                self._due = {task: due + lost for task, due in self._due.items()}
            for task in [task for task, due in self._due.items() if due < now]:
                del self._due[task]
                task.cancel()
