"""ChatClient: chat completions from one role's OpenAI-compatible servers: send, time out, try again.

At most ``concurrency`` requests are in flight. A request that waits for its next try does not hold a slot. While a
server cannot be reached, or asks for a pause, its requests go to the other servers, or wait.

Example: ``answers = await client.complete(b'[{"role": "user", ...}]', {"temperature": 0.8, "n": 4})``
"""

from __future__ import annotations

import asyncio
import functools
import math
import resource
import time
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Container, NamedTuple, Sequence, TypeVar

from ..errors import RequestFailed, Retryable, RunStopped, ServerBusy, ServerGone, Unreachable, UsageError
from ..fast_json import dumps
from ..records import Answer, Record
from . import auto_concurrency
from .auto_concurrency import Tuner
from .deadlines import Deadlines
from .health import CircuitBreaker, Sleep, patience, pause, report_silences
from .loop_stopping import Asked, LoopStopping, limit_of, tokens_of_each
from .notices import Notices
from .rate_limit import RateLimit
from .redaction import KeyRemover
from .refusals import Refusals, distinct
from .replies import (
    ODD,
    EmptyReply,
    FiledReply,
    empty_reply,
    failure,
    filed_failure,
    other_shape,
    read_completion,
    token_count,
)
from .slots import Pool, Server
from .urls import root_endpoint

if TYPE_CHECKING:
    from .batch_api import BatchApi
    from .connection import Connection, HttpReply

LARGE = 1 << 16  # bytes of messages that are not copied for each request
MAX_GIVEN_UP, ENTRIES_GIVEN_UP = 10, 3  # requests, and their entries, without a success between: the servers are gone
MANY_REFUSALS = 4  # of one request, by a busy server: from then on it also waits by itself
LONGEST_WAIT = 3600.0  # seconds
OTHER_FILES = 100  # open files that are not connections
ABOUT_FIELDS = (400, 422, 500)  # statuses of a request with fields that the server does not support

T = TypeVar("T")
Filed = Callable[[str, "int | None", bytes], FiledReply]  # the reply to an entry's request, by index and body
Ask = Callable[[Server, Sequence[bytes], float], Awaitable[T]]  # one try: to whom, what, and when it began


@dataclass
class Traffic:
    """Counts of what was sent and what came back, for progress and summary."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0  # as the servers counted them
    tokens: int = 0  # completion tokens, also as the servers counted them
    cancelled: int = 0  # requests given up in flight, since their answers were no longer needed
    uncounted: int = 0  # replies without a count of tokens
    loops: int = 0  # answers that were stopped since they repeated themselves
    loop_tokens: int = 0  # tokens of these
    loop_room: int = 0  # tokens that the limit of tokens, if there is one, would have let these have besides
    cut: int = 0  # answers that the limit of tokens cut; like the next, counted only where loops are stopped
    cut_tokens: int = 0  # tokens of these

    def plus(self, other: Traffic) -> Traffic:
        """The counts of both."""
        return Traffic(*(one + more for one, more in zip(astuple(self), astuple(other))))


class Tries:
    """What one request has behind it."""

    failed = 0
    refused = 0  # by a busy server
    refused_seconds = 0.0  # of the pauses after that
    answered = 0  # requests that had been answered at the first of these refusals


def start_anyway() -> None:
    """The usual ``may_start``: every request may be sent."""


def observe_nothing(entry_id: str, seconds: float) -> None:
    """The usual ``observe``."""


class Sending(NamedTuple):
    """How a request is sent. The refusals with ``tentative`` statuses tell nothing about other requests.

    ``begin`` is called before each try, and ``vary`` after a reply without an answer.
    """

    entry_id: str
    tentative: Container[int | None] = ()
    begin: Callable[[], None] = start_anyway
    vary: Callable[[], None] = start_anyway


class ChatClient:
    """Chat completions from one role's servers, used as ``async with``.

    ``urls`` are base URLs such as ``http://127.0.0.1:8000/v1``. ``concurrency`` None finds the number of requests in
    flight that keeps each server full, up to ``max_concurrency`` per server. ``extra_body`` is merged into each
    request; a null removes a field. ``sleep`` waits between tries (tests pass their own). ``longest_wait`` is how many
    seconds a server may ask to wait. ``may_start`` is called before each request is sent, and raises RunStopped if no
    more may be. ``observe`` is told the entry of each request that was answered or timed out, and its seconds.
    ``answered_before`` says that an earlier run of the same job got answers. ``sends`` False: each request raises
    NotSent, which holds the request, in place of being sent. ``stops_loops``: answers that repeat themselves are ended.
    ``filed`` gives the replies to chat requests in place of the servers: it raises Postponed for a request without a
    reply. ``notices`` are those of all clients of a run.
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
        longest_wait: float = LONGEST_WAIT,
        notices: Notices | None = None,
    ) -> None:
        self.urls = list(urls)
        self.model = model
        self.concurrency = concurrency
        self.max_concurrency = max_concurrency
        self.max_retries = max_retries
        self.extra_body = dict(extra_body or {})
        self.may_start: Callable[[], None] = start_anyway
        self.observe: Callable[[str, float], None] = observe_nothing
        self.answered_before = False
        self.sends = True
        self.stops_loops = False
        self.filed: Filed | None = None
        self.traffic = Traffic()
        self.kept_up = False  # whether this process starts its server again if it ends: then it is always waited for
        self.pool = Pool([], concurrency or auto_concurrency.START)
        self.api_key = api_key
        self._without_key = KeyRemover(api_key)
        self._sleep = sleep
        self._rate_limit = rate_limit
        self._deadlines = Deadlines(request_timeout)
        self._longest_wait = longest_wait
        self._notices = notices or Notices()
        self._breaker = self._make_breaker()
        self._refusals = self._make_refusals()
        self._loop_stopping: LoopStopping | None = None
        self._connections: dict[Server, Connection] = {}
        self._tuners: dict[Server, Tuner] = {}
        self._helpers: list[asyncio.Task[None]] = []
        self._given_up: list[str] = []  # the entries of the requests given up since the last success

    async def __aenter__(self) -> ChatClient:
        from .connection import Connection  # aiohttp takes 0.1 s, and a run that is complete sends nothing

        self.pool = Pool(self.urls, self.concurrency or auto_concurrency.START * len(self.urls))
        self._breaker = self._make_breaker()
        self._refusals = self._make_refusals()
        servers, key = self.pool.servers, self.api_key
        self._connections = {server: Connection(server.url, key, self._notices, self.sends) for server in servers}
        if self.stops_loops:
            self._loop_stopping = LoopStopping(self._notices, self.sends, self._without_key)
        helpers = [self._deadlines.watch(), report_silences(self.pool, self._notices)]
        if self.concurrency is None:
            longest = self._deadlines.seconds * auto_concurrency.MOST_OF_DEADLINE
            self._tuners = {server: Tuner(self.max_concurrency, longest) for server in servers}
            helpers += [
                auto_concurrency.keep_tuned(self.pool, server, tuner, self._connections[server].metrics)
                for server, tuner in self._tuners.items()
            ]
        self._helpers = [asyncio.ensure_future(helper) for helper in helpers]
        return self

    def _make_breaker(self) -> CircuitBreaker:
        away = math.inf if self.kept_up else patience(self.max_retries, self._longest_wait)
        breaker = CircuitBreaker(self.pool, self._is_back, away, self._longest_wait, self._sleep, self._notices)
        if self.kept_up:
            breaker.answered()
        return breaker

    def _make_refusals(self) -> Refusals:
        return Refusals(self.pool, self._breaker, self._sleep, self.answered_before)

    async def _is_back(self, server: Server) -> bool:
        return await self._connections[server].is_back()

    async def __aexit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.cancel()
        self._breaker.close()
        if self._loop_stopping is not None:
            self._loop_stopping.close()
        for connection in self._connections.values():
            await connection.close()

    def batch_api(self) -> BatchApi:
        """OpenAI's batches at the first of the servers, with this client's key."""
        from .batch_api import BatchApi

        return BatchApi(self.urls[0], self.api_key, self.max_retries, self._sleep)

    def stop(self, error: RunStopped) -> None:
        """Sends nothing from now on: each request that waits for a slot raises ``error``."""
        self.pool.stop(error)

    def idle(self) -> bool:
        """Whether a request made now would be sent at once."""
        return self.pool.idle()

    def least_seconds(self, requests: float, prompt_tokens: float, completion_tokens: float) -> float:
        """The least time in which the limits per minute let so much pass."""
        return self._rate_limit.least_seconds(requests, prompt_tokens + completion_tokens) if self._rate_limit else 0.0

    def has_room(self) -> bool:
        """Whether ``room`` would return at once."""
        return self.pool.has_room()

    async def room(self, depth: int = 1) -> None:
        """Returns once fewer than ``depth`` x ``concurrency`` requests wait for a slot, and few are backing off."""
        await self.pool.room(depth)

    async def complete(
        self,
        messages: bytes,
        parameters: dict[str, Any],
        empty_ok: bool = False,
        entry_id: str = "",
        tentative: bool = False,
        begin: Callable[[], None] = start_anyway,
        index: int | None = None,
    ) -> list[Answer]:
        """The choices (at least one) of one chat completion, in the order of their ``index``.

        ``messages`` is the JSON of the messages, ``parameters`` are named as in the API (None: not sent). A choice
        without text does not count, and a reply without any text is asked for again, unless ``empty_ok``. Requests of
        one ``entry_id`` prefer one server. The refusal (400) of a ``tentative`` request tells nothing about the others.
        ``begin`` is called before each try is sent, and may raise to prevent it. ``index`` is the first answer that is
        asked for, if the request is for answers.
        Raises RequestFailed (this request was refused, or its last try failed) or RunStopped.
        """
        request = self._fields(parameters)
        if self.filed is not None:
            begin()
            return self._read_filed(self.filed(entry_id, index, b"".join(_body(messages, request))), empty_ok)

        ask = functools.partial(self._ask_chat, messages, request, empty_ok, entry_id)
        sending = Sending(entry_id, ABOUT_FIELDS if tentative else (), begin, functools.partial(_vary, request))
        return await self._send(functools.partial(_body, messages, request), ask, sending)

    async def post(
        self,
        path: str,
        fields: dict[str, Any],
        read: Callable[[bytes], tuple[T, Record | None]],
        entry_id: str = "",
        tentative: Container[int | None] = (),
    ) -> tuple[T, Record | None]:
        """What ``read`` makes of the reply to a POST to a path beside ``/v1``, which is sent as ``complete`` sends.

        ``read`` returns a result and the usage, and raises one of ``ODD`` if the reply has another shape: then the
        request is sent again. A refusal with one of the ``tentative`` statuses is raised at once.
        """
        body = (dumps(self._fields(fields)),)

        ask = functools.partial(self._ask_path, path, read, entry_id)
        return await self._send(lambda: body, ask, Sending(entry_id, tentative))

    def _fields(self, parameters: dict[str, Any]) -> dict[str, Any]:
        request = {"model": self.model, **parameters, **self.extra_body}
        return {key: value for key, value in request.items() if value is not None}

    async def _send(self, make_body: Callable[[], Sequence[bytes]], ask: Ask[T], sending: Sending) -> T:
        """Waits for a slot, sends, and tries again, until there is a result, or an error of the request or the run."""
        tries, entry_id = Tries(), sending.entry_id
        while True:
            body = make_body()
            if self._rate_limit is not None:
                await self.pool.without_slot(self._rate_limit.wait(sum(map(len, body))))
            server = await self.pool.take(entry_id, first=tries.failed > 0)
            try:
                return await self._try(server, body, ask, sending)
            except Unreachable as error:  # no try: nothing was sent
                self._breaker.unreachable(server, error)
            except ServerBusy as error:
                await self._wait_for_turn(server, tries, error)
            except Retryable as error:
                tries.failed += 1
                if tries.failed > self.max_retries:
                    await self._give_up(server, entry_id, error)
                await self._pause(tries, error)
                if isinstance(error, EmptyReply):
                    sending.vary()
            except RequestFailed as error:
                if error.status in sending.tentative:
                    raise
                await self._refusals.judge(server, entry_id, error)

    async def _pause(self, tries: Tries, error: Retryable) -> None:
        """Waits between two tries."""
        self.traffic.retries += 1
        await self.pool.without_slot(self._sleep(pause(tries.failed, error.retry_after)))

    async def _wait_for_turn(self, server: Server, tries: Tries, error: ServerBusy) -> None:
        """Counts the refusal of a busy server. The request fails if others are answered, and it never is."""
        self.traffic.retries += 1
        answered = sum(server.requests for server in self.pool.servers)
        tries.answered = tries.answered if tries.refused else answered
        tries.refused += 1
        tries.refused_seconds += error.retry_after or 0.0
        if tries.refused_seconds > self._longest_wait and answered > tries.answered:
            raise error
        if not server.closed or tries.refused > MANY_REFUSALS:
            wait = pause(max(1, tries.refused - MANY_REFUSALS))
            tries.refused_seconds += wait
            await self.pool.without_slot(self._sleep(wait))

    async def _give_up(self, server: Server, entry_id: str, error: Retryable) -> None:
        """Raises the error of a last try, or the end of the run if this is not about the request."""
        if isinstance(error, EmptyReply):
            return await self._refusals.judge(server, entry_id, error)
        self._given_up.append(entry_id)
        given_up = len(self._given_up)
        if given_up < MAX_GIVEN_UP or distinct(self._given_up) < ENTRIES_GIVEN_UP:
            raise error
        raise ServerGone(
            f"{given_up} requests in a row failed after all retries; last error: {error}; "
            "run the same command again once the server is well"
        ) from error

    async def _try(self, server: Server, body: Sequence[bytes], ask: Ask[T], sending: Sending) -> T:
        """One try, at a server of which it holds a slot."""
        sent = time.monotonic()
        try:
            sending.begin()
            self.may_start()
            return await ask(server, body, sent)
        except Unreachable:
            server.errors += 1
            server.let_go()
            raise
        except Retryable as error:
            self._count_failure(server, sending.entry_id, sent, error)
            raise
        except RunStopped as error:
            self.stop(error)
            raise
        except asyncio.CancelledError:
            self.traffic.cancelled += 1
            server.let_go()
            raise
        finally:
            # not at once: an answer is kept before the next request is sent
            asyncio.get_running_loop().call_soon(self.pool.give_back, server)

    async def _ask_chat(
        self,
        messages: bytes,
        request: dict[str, Any],
        empty_ok: bool,
        entry_id: str,
        server: Server,
        body: Sequence[bytes],
        sent: float,
    ) -> list[Answer]:
        """The answers of one chat request to one server, which may be stopped if they loop."""
        connection, stopping = self._connections[server], self._loop_stopping
        if stopping is None:
            return await self._ask(server, connection.post_chat(body), sent, empty_ok, entry_id)
        exchange = stopping.post(Asked(server, connection, messages, request, functools.partial(_body, messages)))
        answers = await self._ask(server, exchange, sent, empty_ok, entry_id)
        self._count_ends(answers, limit_of(request))
        return answers

    async def _ask(
        self, server: Server, exchange: Awaitable[HttpReply], sent: float, empty_ok: bool, entry_id: str
    ) -> list[Answer]:
        """The answers of one request to one server."""
        reply = await self._post(server, exchange, entry_id)
        self._check(server, reply)
        answers, usage = read_completion(reply.body, empty_ok, self._without_key)
        self._count_success(server, time.monotonic() - sent, usage, token_count(usage, "completion_tokens"))
        if not answers:
            raise empty_reply(server.url, reply.status, reply.body, self._without_key)
        self._refusals.answered(server)
        return answers

    def _read_filed(self, reply: FiledReply, empty_ok: bool) -> list[Answer]:
        """The answers in a reply that stands in a file."""
        if reply.status is None or not 200 <= reply.status < 300:
            raise filed_failure(reply, self._without_key)
        try:
            answers, usage = read_completion(reply.body, empty_ok, self._without_key)
        except Retryable as error:
            error.args = (f"{reply.where}: {error}",)
            raise
        self.traffic.prompt_tokens += token_count(usage, "prompt_tokens") or 0
        self.traffic.tokens += token_count(usage, "completion_tokens") or 0
        if not answers:
            raise empty_reply(reply.where, reply.status, reply.body, self._without_key)
        return answers

    async def _ask_path(
        self,
        path: str,
        read: Callable[[bytes], tuple[T, Record | None]],
        entry_id: str,
        server: Server,
        body: Sequence[bytes],
        sent: float,
    ) -> tuple[T, Record | None]:
        """What is read of the reply to one request to a path of one server."""
        reply = await self._post(server, self._connections[server].post(path, body), entry_id)
        self._check(server, reply, path)
        try:
            result, usage = read(reply.body)
        except (*ODD, IndexError) as error:
            raise other_shape(str(root_endpoint(server.url, path)), reply.body, self._without_key) from error
        self._count_success(server, time.monotonic() - sent, usage, 0)
        self._refusals.answered(server)
        return result, usage

    def _check(self, server: Server, reply: HttpReply, path: str | None = None) -> None:
        """Takes note of a reply; raises its error if it is one."""
        server.heard()
        self._breaker.answered()
        if not 200 <= reply.status < 300:
            url = server.url if path is None else str(root_endpoint(server.url, path))
            raise failure(url, reply.status, reply.headers, reply.body, self._without_key)

    async def _post(self, server: Server, exchange: Awaitable[HttpReply], entry_id: str) -> HttpReply:
        self.traffic.requests += 1
        sent = time.monotonic()
        try:
            reply = await self._deadlines.run(exchange)
        except asyncio.TimeoutError as error:
            self.observe(entry_id, time.monotonic() - sent)
            raise Retryable(f"no reply from {server.url} within {self._deadlines.seconds:g} s") from error
        except Unreachable:
            self.traffic.requests -= 1
            raise
        self.observe(entry_id, time.monotonic() - sent)
        return reply

    def _count_success(self, server: Server, seconds: float, usage: Record | None, tokens: int | None) -> None:
        self._breaker.succeeded(server)
        self._given_up.clear()
        server.requests += 1
        server.seconds += seconds
        self.traffic.prompt_tokens += token_count(usage, "prompt_tokens") or 0
        self.traffic.tokens += tokens or 0
        self.traffic.uncounted += tokens is None
        if self._tuners:
            auto_concurrency.count_reply(self.pool, server, self._tuners[server], seconds, tokens or 1)
        if self._rate_limit is not None and usage:
            self._rate_limit.spent(token_count(usage, "total_tokens") or tokens or 0)

    def _count_ends(self, answers: Sequence[Answer], limit: int | None) -> None:
        """Counts the loops that were stopped, and the answers that the limit of tokens cut."""
        for answer, tokens in zip(answers, tokens_of_each(answers)):
            self.traffic.loops += answer.looped
            self.traffic.loop_tokens += tokens * answer.looped
            self.traffic.loop_room += max(0, (limit or 0) - tokens) * answer.looped
            self.traffic.cut += answer.cut
            self.traffic.cut_tokens += tokens * answer.cut

    def _count_failure(self, server: Server, entry_id: str, sent: float, error: Retryable) -> None:
        """A server that is too busy gets fewer requests. Other failures may send the next try elsewhere."""
        server.errors += 1
        if error.status in (429, 503, 529) and self._tuners:
            auto_concurrency.count_refusal(self.pool, server, self._tuners[server], sent)
        if isinstance(error, ServerBusy):
            error.retry_after = self._breaker.busy(server, sent, error)
            return
        self.pool.forget_preferred(entry_id)
        if not isinstance(error, EmptyReply):
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


def _vary(request: dict[str, Any]) -> None:
    """Changes the seed of a request: the same one would bring the same empty reply."""
    if isinstance(request.get("seed"), int):
        request["seed"] += 1


def _body(messages: bytes, parameters: dict[str, Any]) -> Sequence[bytes]:
    """A request's body in pieces: large messages (images) are not copied, they serve all requests of an entry."""
    rest = b",%b" % dumps(parameters)[1:]
    if len(messages) < LARGE:
        return (b'{"messages":%b%b' % (messages, rest),)
    return b'{"messages":', messages, rest
