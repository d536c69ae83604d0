"""ChatClient: one role's OpenAI-compatible servers. The only module that knows aiohttp.

At most ``concurrency`` requests are in flight; a request that waits to be tried again holds no slot.
While a server cannot be reached its requests go to the others, or wait for it, and one probe asks whether it is back.

Example: ``reply = await client.complete(messages, {"temperature": 0.8, "n": 4})``
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import math
import os
import resource
import time
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import urlsplit

import aiohttp
import tenacity
from yarl import URL

from ..errors import (
    RequestFailed,
    Retryable,
    RunStopped,
    ServerGone,
    ServerRefused,
    ToolkitError,
    Unreachable,
    UsageError,
    is_retryable,
    printable,
    stops_run,
)
from ..fast_json import dumps, loads
from ..records import Answer
from . import auto_concurrency as tuner
from .auto_concurrency import Tuner, read_gauges
from .rate_limit import RateLimit
from .slots import Pool, Server

log = logging.getLogger(__name__)

IDLE_LIMIT = 4  # seconds a connection may idle: servers built on uvicorn close theirs after 5
METRICS_LIMIT = aiohttp.ClientTimeout(total=5)
LARGE = 1 << 16  # bytes of messages that are not copied for each request
LARGEST_REPLY = 100 << 20  # bytes; what is larger is no completion
CONNECT_LIMIT = 30  # seconds a connection may take to be made
LONGEST_WAIT = 60  # seconds between two tries, unless the server asks for more
STRIKES = 5  # failures of one server in a row, none succeeding between, that take it out while others are up
PLAIN = {int, type(None)}  # what most servers' usage holds
FAILURES_IN_A_ROW = 10  # requests given up one after another, none succeeding between: the server is gone

HINTS = {
    401: " (wrong or missing key? it is read from the environment variable named by --api_key_env)",
    403: " (is the key allowed to use this model?)",
    404: " (wrong model name, or a base URL that does not end in /v1?)",
}

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class Traffic:
    """What was sent and what came back, for progress and summary."""

    requests: int = 0
    retries: int = 0
    tokens: int = 0  # completion tokens, as the servers counted them
    cancelled: int = 0  # requests given up in flight, their answers no longer needed
    uncounted: int = 0  # replies without a count of tokens


@dataclass
class _Door:
    """How a server is reached: the connections to it, and the probe that asks whether it is back."""

    session: aiohttp.ClientSession
    chat_url: URL
    proxy: Optional[str]
    strikes: int = 0  # failures since its last success
    probe: Optional[asyncio.Task[None]] = None
    probes: int = 0  # since its last success


class ChatClient:
    """Chat completions from one role's servers, used as ``async with``.

    ``urls`` are base URLs such as ``http://127.0.0.1:8000/v1``; ``concurrency`` None finds how much in flight keeps
    each server full, up to ``most``; ``extra_body`` is merged into each request, a null removing a field. ``sleep`` is
    what waits between tries, for tests to servers_idle. ``may_start`` is asked before each request is sent, and raises
    RunStopped where no further one may be.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        concurrency: Optional[int],
        api_key: Optional[str] = None,
        max_retries: int = 5,
        request_timeout: float = 600,
        extra_body: Optional[Dict[str, Any]] = None,
        sleep: Sleep = asyncio.sleep,
        rate_limit: Optional[RateLimit] = None,
        most: int = tuner.MOST,
    ) -> None:
        self.urls = list(urls)
        self.model = model
        self.concurrency = concurrency
        self.max_retries = max_retries
        self.extra_body = dict(extra_body or {})
        self.traffic = Traffic()
        self.pool = Pool([], concurrency or tuner.START)
        self._rate_limit = rate_limit
        self.most = most
        self._tuners: Dict[Server, Tuner] = {}
        self._api_key = api_key
        self._timeout = request_timeout
        self._sleep = sleep
        self.may_start: Callable[[], None] = lambda: None
        self._doors: Dict[Server, _Door] = {}
        self._due: Dict[asyncio.Task[Any], Optional[float]] = {}  # when each request is late; None: it was ended
        self._answered = False
        self._given_up_in_a_row = 0

    async def __aenter__(self) -> ChatClient:
        self._loop = asyncio.get_running_loop()
        self.pool = Pool([url.rstrip("/") for url in self.urls], self.concurrency or tuner.START * len(self.urls))
        self._doors = {server: self._open(server.url) for server in self.pool.servers}
        self._helpers = [asyncio.ensure_future(self._end_late_ones())]
        if self.concurrency is None:
            self._tuners = {server: Tuner(most=self.most) for server in self.pool.servers}
            self._helpers += [asyncio.ensure_future(self._tune(*one)) for one in self._tuners.items()]
        return self

    def _open(self, url: str) -> _Door:
        headers = {"Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_LIMIT),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return _Door(session, URL(f"{url}/chat/completions"), proxy_of(url))

    async def _end_late_ones(self) -> None:
        """Ends each request that took too long: one look at all of them costs less than a timer for each."""
        while True:
            await asyncio.sleep(min(1.0, self._timeout / 10))
            now = self._loop.time()
            for task, due in list(self._due.items()):
                if due is not None and due < now:
                    self._due[task] = None
                    task.cancel()

    async def __aexit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.cancel()
        for door in self._doors.values():
            if door.probe is not None:
                door.probe.cancel()
            await door.session.close()

    async def _tune(self, server: Server, tune: Tuner) -> None:
        """Sets a server's limit again and again, by what it says of itself or by its throughput."""
        url = f"{server.url[: -len('/v1')] if server.url.endswith('/v1') else server.url}/metrics"
        tells = True
        while True:
            await asyncio.sleep(tuner.LOOK_EVERY)
            text = await self._metrics(self._doors[server], url) if tells else ""
            gauges = read_gauges(text) if text else None
            tells = text is None or gauges is not None
            full = not server.short and server.in_flight >= server.limit
            server.short = False
            self.pool.set_limit(server, tune.look(self._loop.time(), full, server.in_flight, gauges))

    async def _metrics(self, door: _Door, url: str) -> Optional[str]:
        """A server's page of metrics: empty if it has none, None if it did not answer."""
        try:
            async with door.session.get(url, proxy=door.proxy, timeout=METRICS_LIMIT) as response:
                return await response.text(errors="replace") if response.status == 200 else ""
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return None

    def stop(self, error: RunStopped) -> None:
        """Sends nothing from now on: each request that waits for a slot raises ``error``."""
        self.pool.stop(error)

    def idle(self) -> bool:
        """Whether a request made now would be sent at once."""
        return self.pool.idle()

    async def room(self, depth: int = 1) -> None:
        """Returns once fewer than ``depth`` x ``concurrency`` requests wait for a slot, and few sleep."""
        await self.pool.room(depth)

    async def complete(
        self, messages: bytes, parameters: Dict[str, Any], empty_ok: bool = False, entry_id: str = ""
    ) -> List[Answer]:
        """The choices (at least one) of one chat completion, in the order of their ``index``.

        ``messages`` is the JSON of the messages, ``parameters`` are named as in the API (None: not sent). A choice
        without text is none, and a reply of such alone is asked for again, unless ``empty_ok``. Requests of one
        ``entry_id`` prefer one server.
        Raises RequestFailed (a 4xx for this request, or its last try failed) or RunStopped.
        """
        request = {"model": self.model, **parameters, **self.extra_body}
        request = {key: value for key, value in request.items() if value is not None}
        try:
            answers = await self._send(_body(messages, request), empty_ok, entry_id)
        except Retryable as error:
            answers = await self._try_again(error, messages, request, empty_ok, entry_id)
        self._given_up_in_a_row = 0
        return answers

    async def _try_again(
        self, error: Retryable, messages: bytes, request: Dict[str, Any], empty_ok: bool, entry_id: str
    ) -> List[Answer]:
        """All tries after the first, which failed with ``error``: tenacity takes its time, and few requests need it."""
        failures = [error]
        tries = 0

        async def one_try() -> List[Answer]:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise error
            if isinstance(failures[-1], EmptyReply) and isinstance(request.get("seed"), int):
                request["seed"] += 1  # the same seed would bring the same nothing
            try:
                return await self._send(_body(messages, request), empty_ok, entry_id)
            except Retryable as another:
                failures.append(another)
                raise

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Retryable),
            stop=tenacity.stop_after_attempt(self.max_retries + 1),
            wait=_wait,
            sleep=self._sleep_between_tries,
            reraise=True,
        )
        try:
            answers: List[Answer] = await retrying(one_try)
            return answers
        except Retryable as error:
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= FAILURES_IN_A_ROW:
                raise ServerGone(
                    f"{FAILURES_IN_A_ROW} requests in a row failed for good, the last with: {error}; "
                    "run the same command again once the server is well"
                ) from error
            raise

    async def _sleep_between_tries(self, seconds: float) -> None:
        self.traffic.retries += 1
        await self._apart(self._sleep(seconds))

    async def _apart(self, wait: Awaitable[None]) -> None:
        """Waits, holding no slot, until a request may be sent."""
        self.pool.asleep += 1
        try:
            await wait
        finally:
            self.pool.asleep -= 1
            self.pool.moved()

    async def _send(self, body: Tuple[bytes, ...], empty_ok: bool, entry_id: str) -> List[Answer]:
        """One try. A server that cannot be reached costs no try: nothing was sent; it is waited for."""
        if self._rate_limit is not None:
            await self._apart(self._rate_limit.wait(sum(map(len, body))))
        while True:
            server = await self.pool.take(entry_id)
            sent = self._loop.time()
            try:
                self.may_start()
                return await self._post(server, body, sent, empty_ok)
            except Unreachable as error:
                self._lost(server, error)
            except Retryable as error:
                self._strike(server, entry_id, sent, error)
                raise
            except RunStopped as error:
                self.stop(error)
                raise
            except asyncio.CancelledError:
                self.traffic.cancelled += 1
                raise
            finally:
                # not at once: what came back is kept before the next request is sent
                self._loop.call_soon(self.pool.give_back, server)

    async def _post(self, server: Server, body: Tuple[bytes, ...], sent: float, empty_ok: bool) -> List[Answer]:
        door, url, task = self._doors[server], server.url, asyncio.current_task()
        assert task is not None
        payload: aiohttp.payload.Payload = (
            aiohttp.BytesPayload(body[0], content_type="application/json") if len(body) == 1 else _Pieces(body)
        )
        self._due[task] = sent + self._timeout
        try:
            self.traffic.requests += 1
            response = await door.session.post(door.chat_url, data=payload, allow_redirects=False, proxy=door.proxy)
            try:
                data = await (response.read() if _is_short(response) else _read(response))
            finally:
                response.release()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self.traffic.requests -= 1
            raise Unreachable(f"cannot reach {url}: {_connection_trouble(error)}") from error
        except asyncio.CancelledError as error:
            if self._due[task] is not None:
                raise
            raise Retryable(f"no reply from {url} within {self._timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise Retryable(f"{url}: connection lost: {error or type(error).__name__}") from error
        finally:
            del self._due[task]
        self._answered = True
        if not 200 <= response.status < 300:
            raise self._refusal(url, response.status, retry_after_seconds(response.headers), self._without_key(data))
        try:
            answers, tokens = parse_completion(data, empty_ok)
        except Retryable:
            parse_completion(self._without_key(data))  # the same again, for its message
            raise
        self.traffic.tokens += tokens or 0
        self.traffic.uncounted += tokens is None
        if self._tuners:
            self._tuners[server].completed(tokens or 1)
        server.requests += 1
        server.seconds += self._loop.time() - sent
        door.strikes = door.probes = 0
        if self._rate_limit is not None and answers and answers[0].usage:
            self._rate_limit.spent(_count(answers[0].usage.get("total_tokens")) or tokens or 0)
        if not answers:
            raise EmptyReply(f"{url}: empty answer", response.status)
        return answers

    def _without_key(self, data: bytes) -> bytes:
        return data.replace(self._api_key.encode(), b"***") if self._api_key else data

    def _refusal(self, url: str, status: int, retry_after: Optional[float], data: bytes) -> ToolkitError:
        said = error_message(data)
        message = f"{url}: {status} {said}".rstrip()
        if is_retryable(status, said):
            return Retryable(message, status, retry_after)
        if stops_run(status):
            return ServerRefused(f"{message}{HINTS.get(status, '')}")
        return RequestFailed(message, status)

    def _strike(self, server: Server, entry_id: str, sent: float, error: Retryable) -> None:
        """Counts a failure; its next try may go elsewhere, and a server that only fails is taken out for a while."""
        server.errors += 1
        if error.status in (429, 503) and self._tuners:
            self.pool.set_limit(server, self._tuners[server].refused(sent, self._loop.time()))
        if error.status == 429:
            return
        door = self._doors[server]
        door.strikes += 1
        self.pool.forget_home(entry_id)
        if door.strikes >= STRIKES and self._others_up(server):
            self._take_out(server, f"{server.url} failed {STRIKES} times in a row")

    def _lost(self, server: Server, error: Unreachable) -> None:
        """Takes a server out until its probe succeeds; stops the run if no server ever answered."""
        server.errors += 1
        if not self._answered and not self._others_up(server):
            gone = ServerGone(f"{error}; is the server running there?")
            self.stop(gone)
            raise gone from error
        self._take_out(server, str(error))

    def _others_up(self, server: Server) -> bool:
        return any(one.up for one in self.pool.servers if one is not server)

    def _take_out(self, server: Server, why: str) -> None:
        if server.up:
            server.up = False
            door = self._doors[server]
            door.probe = asyncio.ensure_future(self._wait_for_return(server, door, why))
            self.pool.fill_all()

    async def _wait_for_return(self, server: Server, door: _Door, why: str) -> None:
        """Asks 2, 4, 8, ... seconds apart whether the server is back; ``max_retries`` times, if no other is up."""
        while True:
            door.probes += 1
            pause = min(LONGEST_WAIT, 2**door.probes)
            log.warning("%s; trying again in %d s", why, pause)
            await self._sleep(pause)
            if await self._is_back(server, door):
                break
            doors = [self._doors[one] for one in self.pool.servers]
            if not any(one.up for one in self.pool.servers) and min(d.probes for d in doors) >= self.max_retries:
                self.stop(ServerGone(f"{why}; it did not come back; start it and run the same command again"))
                return
        log.warning("%s is back", server.url)
        server.up = True
        self.pool.fill_all()

    async def _is_back(self, server: Server, door: _Door) -> bool:
        """Whether the server answers, and not as one (or a proxy before it) that is still loading."""
        try:
            async with door.session.get(f"{server.url}/models", proxy=door.proxy) as response:
                return response.status not in (502, 503, 504)
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False


def need_open_files(clients: Sequence[ChatClient]) -> None:
    """Raises this process's limit on open files to what the connections need; UsageError if it may not.

    A client that finds its own number is given what the limit leaves it.
    """
    connections = sum(client.concurrency or client.most * max(1, len(client.urls)) for client in clients)
    needed = connections + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and soft < needed:
        if hard < needed and any(client.concurrency is None for client in clients):
            needed = hard
            for client in clients:
                client.most = max(1, min(client.most, client.most * (hard - 100) // connections))
        elif hard < needed:
            raise UsageError(f"{connections} requests in flight need {needed} open files, and the limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class EmptyReply(Retryable):
    """A completion without text that was not cut by its length."""


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine, which no proxy can reach."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def proxy_of(url: str) -> Optional[str]:
    """The proxy that the environment (``http_proxy``, ``https_proxy``, ``no_proxy``) names for a URL, if any."""
    parts = urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def retry_after_seconds(headers: Mapping[str, str]) -> Optional[float]:
    """The seconds (0 or more) that ``Retry-After`` asks for, as a number or a date (RFC 9110, 10.2.3); None if not.

    A date is held against the server's own ``Date``, where it sends one: clocks differ.
    """
    wish = headers.get("Retry-After", "")
    try:
        seconds = float(wish)
    except ValueError:
        try:
            now = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else time.time()
            seconds = parsedate_to_datetime(wish).timestamp() - now
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _is_short(response: aiohttp.ClientResponse) -> bool:
    """Whether the head alone proves that the body is of a size that a completion can have."""
    return 0 <= (response.content_length or -1) <= LARGEST_REPLY and "Content-Encoding" not in response.headers


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, if it is of a size that a completion can have; else Retryable."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_REPLY:
            raise Retryable(f"{response.url}: a reply of more than {LARGEST_REPLY >> 20} MB", response.status)
    return b"".join(pieces)


def error_message(data: bytes) -> str:
    """The message in an error reply, in any of the shapes servers use, as one printable line of 300 characters."""
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        found = data[:2000].decode("utf-8", "replace")
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    text = found if isinstance(found, str) else json.dumps(found)
    return printable(text[:300]).strip()


def parse_completion(data: bytes, empty_ok: bool = False) -> Tuple[List[Answer], Optional[int]]:
    """The choices of a chat completion by ``index``, and the completion tokens it cost, if it says so.

    Raises Retryable if ``data`` is no chat completion. Without ``empty_ok`` an empty text is an answer only if it was
    cut by its length.
    """
    try:
        reply = loads(data)
        choices = reply["choices"]
        ordered = [_answer(choice) for choice in choices]
        if len(ordered) > 1:
            places = [choice.get("index", place) for place, choice in enumerate(choices)]
            ordered = [ordered[place] for place in sorted(range(len(places)), key=places.__getitem__)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Retryable(f"a reply that is no chat completion: {error_message(data)[:120]!r}", 200) from error
    if not ordered:
        raise Retryable("a chat completion without choices", 200)
    usage = _usage(reply.get("usage"))
    answers = [answer for answer in ordered if empty_ok or answer.cut or answer.text.strip()]
    if answers and usage:
        answers[0].usage = usage
    return answers, _count((usage or {}).get("completion_tokens"))


def _count(found: object) -> Optional[int]:
    """A number of tokens, if that is what was found."""
    return found if isinstance(found, int) and 0 <= found < 1 << 53 else None


def _usage(found: object) -> Optional[Dict[str, Any]]:
    """A reply's usage, if it is an object of some size that JSON can hold again."""
    if not isinstance(found, dict):
        return None
    if len(found) < 10 and PLAIN.issuperset(map(type, found.values())):
        return found
    try:
        text = dumps(found)
    except RecursionError:
        return None
    return found if len(text) < 4000 and loads(text) == found else None


def _answer(choice: Dict[str, Any]) -> Answer:
    """The answer of one choice; TypeError and its kin if it has another shape."""
    message, finish = choice["message"], choice.get("finish_reason")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(content, (str, type(None))) or finish in ("abort", "error"):
        raise TypeError("no text")
    logprobs = choice.get("logprobs")
    return Answer(
        content or "",
        finish if isinstance(finish, str) else None,
        reasoning if isinstance(reasoning, str) else None,
        logprobs=logprobs.get("content") if isinstance(logprobs, dict) else None,
    )


def _body(messages: bytes, parameters: Dict[str, Any]) -> Tuple[bytes, ...]:
    """A request's body in pieces; a large one is not copied, its messages serve all requests of an entry."""
    rest = b",%b" % dumps(parameters)[1:]
    if len(messages) < LARGE:
        return (b'{"messages":%b%b' % (messages, rest),)
    return b'{"messages":', messages, rest


class _Pieces(aiohttp.payload.Payload):
    """A large body as aiohttp sends it: each piece when the one before has left."""

    _value: Tuple[bytes, ...]

    def __init__(self, pieces: Tuple[bytes, ...]) -> None:
        super().__init__(pieces, content_type="application/json")
        self._size = sum(map(len, pieces))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        for piece in self._value:
            await writer.write(piece)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RequestFailed) and error.retry_after is not None:
        return error.retry_after
    return tenacity.wait_random_exponential(multiplier=1, max=LONGEST_WAIT)(state)


def _connection_trouble(error: BaseException) -> str:
    """The plain reason (``Connection refused``) inside aiohttp's longer words."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else str(error)
