"""Limits on requests and tokens per minute, which hosted APIs set, kept by aiolimiter's leaky buckets.

Example: ``limit = RateLimit(requests=500, tokens=200_000); await limit.wait(len(body)); limit.spent(total_tokens)``
"""

from __future__ import annotations

from aiolimiter import AsyncLimiter

BYTES_PER_TOKEN = 4  # of a request's body, until a reply says how many tokens a request costs
NEWEST_WEIGHT = 0.1  # of the newest reply in the mean cost
BURST = 10.0  # seconds: the tokens of this time may be spent at once


class RateLimit:
    """``requests`` and ``tokens`` per minute (more than 0; None: no limit). Tokens are prompt and completion."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests = None if requests is None else _bucket(requests, 1.0)
        self._tokens = None if tokens is None else _bucket(tokens, BURST)
        self._cost: float | None = None  # tokens per request: a mean of the replies, the newest counting most

    async def wait(self, size: int) -> None:
        """Returns when a request whose body has ``size`` bytes may be sent."""
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            expected = size / BYTES_PER_TOKEN if self._cost is None else self._cost
            await self._tokens.acquire(min(expected, self._tokens.max_rate))

    def least_seconds(self, requests: float, tokens: float) -> float:
        """The least time in which so many requests and tokens may pass.

        >>> RateLimit(60, None).least_seconds(120, 9000)
        120.0
        """
        buckets = ((self._requests, requests), (self._tokens, tokens))
        return max(amount * one.time_period / one.max_rate for one, amount in buckets if one is not None)

    def spent(self, tokens: int) -> None:
        """A reply says that its request cost this many tokens."""
        self._cost = float(tokens) if self._cost is None else (1 - NEWEST_WEIGHT) * self._cost + NEWEST_WEIGHT * tokens


def _bucket(per_minute: float, seconds: float) -> AsyncLimiter:
    """Lets the share of ``seconds`` pass at once, and at least one."""
    seconds = max(seconds, 60 / per_minute)
    return AsyncLimiter(per_minute * seconds / 60, seconds)
