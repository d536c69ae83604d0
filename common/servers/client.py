"""ChatClient: chat completions from one role's OpenAI-compatible servers: send, time out, try again.

At most ``concurrency`` requests are in flight. A request that waits for its next try does not hold a slot. While a
server cannot be reached, its requests go to the other servers, or wait.

Example: ``answers = await client.complete(b'[{"role": "user", ...}]', {"temperature": 0.8, "n": 4})``
"""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass
from typing import Any, Callable, NoReturn, Sequence

import tenacity

from ..errors import Retryable, RunStopped, ServerGone, Unreachable, UsageError
from ..fast_json import dumps
from ..records import Answer
from . import auto_concurrency
from .auto_concurrency import Tuner
from .connection import Connection, HttpReply
from .deadlines import Deadlines
from .health import CircuitBreaker, Sleep
from .rate_limit import RateLimit
from .replies import EmptyReply, failure, parse_completion, token_count
from .slots import Pool, Server

LARGE = 1 << 16  # bytes of messages that are not copied for each request
MAX_GIVEN_UP = 10  # requests given up one after another, without a success between: the servers are gone
MANY_PROBES = 1 << 30  # more than any run makes
OTHER_FILES = 100  # open files that are not connections
BACK_OFF = tenacity.wait_random_exponential(multiplier=1, max=60)  # seconds between two tries


@dataclass
class Traffic:
    """Counts of what was sent and what came back, for progress and summary."""

    requests: int = 0
    retries: int = 0
    tokens: int = 0  # completion tokens, as the servers counted them
    cancelled: int = 0  # requests given up in flight, since their answers were no longer needed
    uncounted: int = 0  # replies without a count of tokens


def start_anyway() -> None:
    """The usual ``may_start``: every request may be sent."""


class ChatClient:
    """Chat completions from one role's servers, used as ``async with``.

    ``urls`` are base URLs such as ``http://127.0.0.1:8000/v1``. ``concurrency`` None finds the number of requests in
    flight that keeps each server full, up to ``max_concurrency`` per server. ``extra_body`` is merged into each
    request; a null removes a field. ``sleep`` waits between tries (tests pass their own). ``may_start`` is called
    before each request is sent, and raises RunStopped if no more may be.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        concurrency: int | None,
        api_key: str | None = None,
        max_retries: int = 5,
        request_timeout: float = 600,
        extra_body: dict[str, Any] | None = None,
        sleep: Sleep = asyncio.sleep,
        rate_limit: RateLimit | None = None,
        max_concurrency: int = auto_concurrency.MAX_LIMIT,
    ) -> None:
        self.urls = list(urls)
        self.model = model
        self.concurrency = concurrency
        self.max_concurrency = max_concurrency
        self.max_retries = max_retries
        self.extra_body = dict(extra_body or {})
        self.may_start: Callable[[], None] = start_anyway
        self.traffic = Traffic()
        self.kept_up = False  # whether this process starts its server again if it ends: then it is always waited for
        self.pool = Pool([], concurrency or auto_concurrency.START)
        self._api_key = api_key
        self._sleep = sleep
        self._rate_limit = rate_limit
        self._deadlines = Deadlines(request_timeout)
        self._breaker = self._make_breaker()
        self._connections: dict[Server, Connection] = {}
        self._tuners: dict[Server, Tuner] = {}
        self._helpers: list[asyncio.Task[None]] = []
        self._given_up_in_a_row = 0

    async def __aenter__(self) -> ChatClient:
        urls = [url.rstrip("/") for url in self.urls]
        self.pool = Pool(urls, self.concurrency or auto_concurrency.START * len(urls))
        self._breaker = self._make_breaker()
        self._connections = {server: Connection(server.url, self._api_key) for server in self.pool.servers}
        helpers = [self._deadlines.watch()]
        if self.concurrency is None:
            self._tuners = {server: Tuner(max_limit=self.max_concurrency) for server in self.pool.servers}
            helpers += [
                auto_concurrency.keep_tuned(self.pool, server, tuner, self._connections[server].metrics)
                for server, tuner in self._tuners.items()
            ]
        self._helpers = [asyncio.ensure_future(helper) for helper in helpers]
        return self

    def _make_breaker(self) -> CircuitBreaker:
        breaker = CircuitBreaker(
            self.pool, self._is_back, MANY_PROBES if self.kept_up else self.max_retries, self._sleep
        )
        if self.kept_up:
            breaker.answered()
        return breaker

    async def _is_back(self, server: Server) -> bool:
        return await self._connections[server].is_back()

    async def __aexit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.cancel()
        self._breaker.close()
        for connection in self._connections.values():
            await connection.close()

    def stop(self, error: RunStopped) -> None:
        """Sends nothing from now on: each request that waits for a slot raises ``error``."""
        self.pool.stop(error)

    def idle(self) -> bool:
        """Whether a request made now would be sent at once."""
        return self.pool.idle()

    async def room(self, depth: int = 1) -> None:
        """Returns once fewer than ``depth`` x ``concurrency`` requests wait for a slot, and few are backing off."""
        await self.pool.room(depth)

    async def complete(
        self, messages: bytes, parameters: dict[str, Any], empty_ok: bool = False, entry_id: str = ""
    ) -> list[Answer]:
        """The choices (at least one) of one chat completion, in the order of their ``index``.

        ``messages`` is the JSON of the messages, ``parameters`` are named as in the API (None: not sent). A choice
        without text does not count, and a reply without any text is asked for again, unless ``empty_ok``. Requests of
        one ``entry_id`` prefer one server.
        Raises RequestFailed (a 4xx for this request, or its last try failed) or RunStopped.
        """
        request = {"model": self.model, **parameters, **self.extra_body}
        request = {key: value for key, value in request.items() if value is not None}
        tries = 0
        while True:
            tries += 1
            try:
                answers = await self._send(_body(messages, request), empty_ok, entry_id)
                self._given_up_in_a_row = 0
                return answers
            except Retryable as error:
                if tries > self.max_retries:
                    self._give_up(error)
                self.traffic.retries += 1
                await self.pool.without_slot(self._sleep(_pause(error, tries)))
                if isinstance(error, EmptyReply) and isinstance(request.get("seed"), int):
                    request["seed"] += 1  # the same seed would bring the same empty reply

    def _give_up(self, error: Retryable) -> NoReturn:
        """Raises the error of a last try, or ServerGone once too many requests in a row came to this."""
        self._given_up_in_a_row += 1
        if self._given_up_in_a_row < MAX_GIVEN_UP:
            raise error
        raise ServerGone(
            f"{MAX_GIVEN_UP} requests in a row failed after all retries; last error: {error}; "
            "run the same command again once the server is well"
        ) from error

    async def _send(self, body: Sequence[bytes], empty_ok: bool, entry_id: str) -> list[Answer]:
        """One try. A server that cannot be reached does not count as a try: the request goes to another, or waits."""
        if self._rate_limit is not None:
            await self.pool.without_slot(self._rate_limit.wait(sum(map(len, body))))
        while True:
            server = await self.pool.take(entry_id)
            sent = time.monotonic()
            try:
                self.may_start()
                return await self._ask(server, body, sent, empty_ok)
            except Unreachable as error:
                server.errors += 1
                self._breaker.unreachable(server, error)
            except Retryable as error:
                self._count_failure(server, entry_id, sent, error)
                raise
            except RunStopped as error:
                self.stop(error)
                raise
            except asyncio.CancelledError:
                self.traffic.cancelled += 1
                raise
            finally:
                # not at once: an answer is kept before the next request is sent
                asyncio.get_running_loop().call_soon(self.pool.give_back, server)

    async def _ask(self, server: Server, body: Sequence[bytes], sent: float, empty_ok: bool) -> list[Answer]:
        """The answers of one request to one server."""
        reply = await self._post(server, body)
        self._breaker.answered()
        if not 200 <= reply.status < 300:
            raise failure(server.url, reply.status, reply.headers, self._without_key(reply.body))
        answers, tokens = parse_completion(reply.body, empty_ok, self._without_key)
        self._count_success(server, time.monotonic() - sent, answers, tokens)
        if not answers:
            raise EmptyReply(f"{server.url}: empty answer", reply.status)
        return answers

    async def _post(self, server: Server, body: Sequence[bytes]) -> HttpReply:
        self.traffic.requests += 1
        try:
            return await self._deadlines.run(self._connections[server].post_chat(body))
        except asyncio.TimeoutError as error:
            raise Retryable(f"no reply from {server.url} within {self._deadlines.seconds:g} s") from error
        except Unreachable:
            self.traffic.requests -= 1
            raise

    def _without_key(self, data: bytes) -> bytes:
        return data.replace(self._api_key.encode(), b"***") if self._api_key else data

    def _count_success(self, server: Server, seconds: float, answers: list[Answer], tokens: int | None) -> None:
        self._breaker.succeeded(server)
        server.requests += 1
        server.seconds += seconds
        self.traffic.tokens += tokens or 0
        self.traffic.uncounted += tokens is None
        if self._tuners:
            self._tuners[server].completed(tokens or 1)
        if self._rate_limit is not None and answers and answers[0].usage:
            self._rate_limit.spent(token_count(answers[0].usage, "total_tokens") or tokens or 0)

    def _count_failure(self, server: Server, entry_id: str, sent: float, error: Retryable) -> None:
        """A server that is too busy (429, 503) gets fewer requests. Other failures may send the next try elsewhere."""
        server.errors += 1
        if error.status in (429, 503) and self._tuners:
            self.pool.set_limit(server, self._tuners[server].refused(sent, time.monotonic()))
        if error.status != 429:
            self.pool.forget_preferred(entry_id)
            self._breaker.failed(server)


def need_open_files(clients: Sequence[ChatClient]) -> None:
    """Raises this process's limit on open files to what the connections need; UsageError if it may not.

    A client that finds its own number in flight gets what the limit leaves it.
    """
    connections = sum(client.concurrency or client.max_concurrency * max(1, len(client.urls)) for client in clients)
    needed = connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) or soft >= needed:
        return
    if hard < needed:
        if all(client.concurrency is not None for client in clients):
            raise UsageError(f"{connections} requests in flight need {needed} open files, and the limit is {hard}")
        needed = hard
        for client in clients:
            share = client.max_concurrency * (hard - OTHER_FILES) // connections
            client.max_concurrency = max(1, min(client.max_concurrency, share))
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _body(messages: bytes, parameters: dict[str, Any]) -> Sequence[bytes]:
    """A request's body in pieces: large messages (images) are not copied, they serve all requests of an entry."""
    rest = b",%b" % dumps(parameters)[1:]
    if len(messages) < LARGE:
        return (b'{"messages":%b%b' % (messages, rest),)
    return b'{"messages":', messages, rest


def _pause(error: Retryable, tries: int) -> float:
    """Seconds until the next try: as many as the server asks for, else a random number that grows with ``tries``."""
    if error.retry_after is not None:
        return error.retry_after
    state = tenacity.RetryCallState(tenacity.Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = tries
    return BACK_OFF(state)
