"""So many requests and so many tokens a minute: what hosted APIs allow, kept by aiolimiter's leaky buckets.

Example: ``limit = RateLimit(requests=500, tokens=200_000); await limit.wait(len(body)); limit.spent(total_tokens)``
"""

from __future__ import annotations

from typing import Optional

from aiolimiter import AsyncLimiter

BYTES_A_TOKEN = 4  # of a request's body, until a reply says what requests cost
WEIGHT = 0.1  # of the newest reply in the mean cost
BURST = 10.0  # seconds' worth of tokens that may be spent at once


class RateLimit:
    """``requests`` and ``tokens`` a minute (more than 0; None: any number). Tokens are prompt and completion."""

    def __init__(self, requests: Optional[float], tokens: Optional[float]) -> None:
        self._requests = None if requests is None else _bucket(requests, 1.0)
        self._tokens = None if tokens is None else _bucket(tokens, BURST)
        self._cost: Optional[float] = None  # tokens that a request takes: what replies said, the newest counting most

    async def wait(self, size: int) -> None:
        """Returns when a request whose body has so many bytes may be sent."""
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            expected = size / BYTES_A_TOKEN if self._cost is None else self._cost
            await self._tokens.acquire(min(expected, self._tokens.max_rate))

    def spent(self, tokens: int) -> None:
        """A reply says that its request took so many tokens."""
        self._cost = float(tokens) if self._cost is None else (1 - WEIGHT) * self._cost + WEIGHT * tokens


def _bucket(a_minute: float, seconds: float) -> AsyncLimiter:
    """Lets pass at once what ``seconds`` bring, and at least one."""
    seconds = max(seconds, 60 / a_minute)
    return AsyncLimiter(a_minute * seconds / 60, seconds)
