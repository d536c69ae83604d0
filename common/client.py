"""ChatClient: one role's OpenAI-compatible servers. The only module that knows aiohttp.

At most ``concurrency`` requests are in flight; a request that waits to be tried again holds no slot.
While a server cannot be reached its requests wait for it, and one probe asks whether it is back.

Example: ``reply = await client.complete(messages, {"temperature": 0.8, "n": 4})``
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import logging
import math
import os
import time
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union
from urllib.parse import urlsplit

import aiohttp
import tenacity

from common.errors import (
    RequestFailed,
    Retryable,
    RunStopped,
    ServerGone,
    ServerRefused,
    ToolkitError,
    Unreachable,
    is_retryable,
    printable,
    stops_run,
)
from common.fast_json import dumps, loads
from common.records import Answer

log = logging.getLogger(__name__)

IDLE_LIMIT = 4  # seconds a connection may idle: servers built on uvicorn close theirs after 5
LARGEST_REPLY = 100 << 20  # bytes; what is larger is no completion
CONNECT_LIMIT = 30  # seconds a connection may take to be made
LONGEST_WAIT = 60  # seconds between two tries, unless the server asks for more
FAILURES_IN_A_ROW = 10  # requests given up one after another, none succeeding between: the server is gone

HINTS = {
    401: " (wrong or missing key? it is read from the environment variable named by --api_key_env)",
    403: " (is the key allowed to use this model?)",
    404: " (wrong model name, or a base URL that does not end in /v1?)",
}

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class Meter:
    """What was sent and what came back, for progress and summary."""

    requests: int = 0
    retries: int = 0
    tokens: int = 0  # completion tokens, as the servers counted them
    cancelled: int = 0  # requests given up in flight, their answers no longer needed
    uncounted: int = 0  # replies without a count of tokens


@dataclass
class Endpoint:
    """One server: its base URL, its connections, and whether it can be reached."""

    url: str
    session: aiohttp.ClientSession
    proxy: Optional[str] = None
    in_flight: int = 0
    reachable: bool = True
    probe: Optional[asyncio.Task[None]] = None


class ChatClient:
    """Chat completions from one role's servers, used as ``async with``.

    ``urls`` are base URLs such as ``http://127.0.0.1:8000/v1``; ``extra_body`` is merged into each request, a null
    removing a field. ``sleep`` is what waits between tries, for tests to hurry. ``may_start`` is asked before each
    request is sent, and raises RunStopped where no further one may be.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        concurrency: int,
        api_key: Optional[str] = None,
        max_retries: int = 5,
        request_timeout: float = 600,
        extra_body: Optional[Dict[str, Any]] = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.urls = list(urls)
        self.model = model
        self.concurrency = concurrency
        self.max_retries = max_retries
        self.extra_body = dict(extra_body or {})
        self.meter = Meter()
        self.queued = 0  # requests ready to go that wait for a slot
        self.asleep = 0  # requests that wait before their next try
        self._api_key = api_key
        self._timeout = request_timeout
        self._sleep = sleep
        self.may_start: Callable[[], None] = lambda: None
        self._endpoints: List[Endpoint] = []
        self._answered = False
        self._given_up_in_a_row = 0
        self._over: Optional[RunStopped] = None  # why no further request is sent

    async def __aenter__(self) -> ChatClient:
        # made here, not in __init__: before Python 3.10 these bind to the loop that is current when they are made
        self._slots = asyncio.Semaphore(self.concurrency)
        self._moved = asyncio.Event()  # fewer requests wait than before
        self._reachable = asyncio.Event()  # some server can be reached, or none ever will again
        self._reachable.set()
        self._endpoints = [Endpoint(url.rstrip("/"), self._open_session(), proxy_of(url)) for url in self.urls]
        return self

    def _open_session(self) -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.concurrency, keepalive_timeout=IDLE_LIMIT),
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_LIMIT),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aexit__(self, *_: object) -> None:
        for endpoint in self._endpoints:
            if endpoint.probe is not None:
                endpoint.probe.cancel()
            await endpoint.session.close()

    def stop(self, error: RunStopped) -> None:
        """Sends nothing from now on: each request that waits for a slot raises ``error``."""
        self._over = self._over or error

    def idle(self) -> bool:
        """Whether a request made now would be sent at once."""
        return self.queued == 0 and not self._slots.locked()

    async def room(self, depth: int = 1) -> None:
        """Returns once fewer than ``depth`` x ``concurrency`` requests wait for a slot, and few sleep."""
        while self.queued >= depth * self.concurrency or self.asleep >= 8 * self.concurrency:
            self._moved.clear()
            await self._moved.wait()

    async def complete(self, messages: bytes, parameters: Dict[str, Any], empty_ok: bool = False) -> List[Answer]:
        """The choices (at least one) of one chat completion, in the order of their ``index``.

        ``messages`` is the JSON of the messages, ``parameters`` are named as in the API (None: not sent). A choice
        without text is none, and a reply of such alone is asked for again, unless ``empty_ok``.
        Raises RequestFailed (a 4xx for this request, or its last try failed) or RunStopped.
        """
        request = {"model": self.model, **parameters, **self.extra_body}
        try:
            answers = await self._send(_body(messages, request), empty_ok)
        except Retryable as error:
            answers = await self._try_again(error, messages, request, empty_ok)
        self._given_up_in_a_row = 0
        return answers

    async def _try_again(
        self, error: Retryable, messages: bytes, request: Dict[str, Any], empty_ok: bool
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
                return await self._send(_body(messages, request), empty_ok)
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
        self.meter.retries += 1
        self.asleep += 1
        try:
            await self._sleep(seconds)
        finally:
            self.asleep -= 1
            self._moved.set()

    async def _send(self, body: bytes, empty_ok: bool) -> List[Answer]:
        """One try. A server that cannot be reached costs no try: nothing was sent; it is waited for."""
        while True:
            endpoint = await self._take_slot()
            try:
                return await self._post(endpoint, body, empty_ok)
            except Unreachable as error:
                self._lost(endpoint, error)
            except RunStopped as error:
                self.stop(error)
                raise
            except asyncio.CancelledError:
                self.meter.cancelled += 1
                raise
            finally:
                endpoint.in_flight -= 1
                self._slots.release()

    async def _take_slot(self) -> Endpoint:
        """The reachable server with the fewest requests, once there is a slot; the caller gives both back."""
        self.queued += 1
        try:
            await self._slots.acquire()
            while not self._reachable.is_set():
                self._slots.release()
                await self._reachable.wait()
                await self._slots.acquire()
        finally:
            self.queued -= 1
            self._moved.set()
        try:
            if self._over is not None:
                raise self._over
            self.may_start()
        except RunStopped as error:
            self.stop(error)
            self._slots.release()
            raise
        endpoint = min((one for one in self._endpoints if one.reachable), key=lambda one: one.in_flight)
        endpoint.in_flight += 1
        return endpoint

    async def _post(self, endpoint: Endpoint, body: bytes, empty_ok: bool) -> List[Answer]:
        url = endpoint.url
        try:
            self.meter.requests += 1
            async with endpoint.session.post(
                f"{url}/chat/completions", data=_payload(body), allow_redirects=False, proxy=endpoint.proxy
            ) as response:
                data = await _read(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self.meter.requests -= 1
            raise Unreachable(f"cannot reach {url}: {_connection_trouble(error)}") from error
        except asyncio.TimeoutError as error:
            raise Retryable(f"no reply from {url} within {self._timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise Retryable(f"{url}: connection lost: {error or type(error).__name__}") from error
        self._answered = True
        if not 200 <= response.status < 300:
            raise self._refusal(url, response.status, seconds_of(response.headers), self._without_key(data))
        try:
            answers, tokens = parse_completion(data, empty_ok)
        except Retryable:
            parse_completion(self._without_key(data))  # the same again, for its message
            raise
        self.meter.tokens += tokens or 0
        self.meter.uncounted += tokens is None
        if not answers:
            raise EmptyReply(f"{url}: empty answer", response.status)
        return answers

    def _without_key(self, data: bytes) -> bytes:
        return data.replace(self._api_key.encode(), b"***") if self._api_key else data

    def _refusal(self, url: str, status: int, retry_after: Optional[float], data: bytes) -> ToolkitError:
        said = error_message(data)
        message = f"{url}: {status} {said}".rstrip()
        if is_retryable(status):
            return Retryable(message, status, retry_after)
        if stops_run(status):
            return ServerRefused(f"{message}{HINTS.get(status, '')}")
        return RequestFailed(message, status)

    def _lost(self, endpoint: Endpoint, error: Unreachable) -> None:
        """Takes a server out until its probe succeeds; stops the run if no server ever answered."""
        if not self._answered:
            gone = ServerGone(f"{error}; is the server running there?")
            self.stop(gone)
            raise gone from error
        if endpoint.reachable:
            endpoint.reachable = False
            endpoint.probe = asyncio.ensure_future(self._wait_for_return(endpoint, error))
            self._update_reachable()

    def _update_reachable(self) -> None:
        if self._over is not None or any(one.reachable for one in self._endpoints):
            self._reachable.set()
        else:
            self._reachable.clear()

    async def _wait_for_return(self, endpoint: Endpoint, error: Unreachable) -> None:
        """Asks ``max_retries`` times, 2, 4, 8, ... seconds apart, whether the server is back."""
        for number in range(self.max_retries):
            pause = min(LONGEST_WAIT, 2 ** (number + 1))
            log.warning("%s; trying again in %d s", error, pause)
            await self._sleep(pause)
            if await self._is_back(endpoint):
                log.warning("%s is back", endpoint.url)
                endpoint.reachable = True
                self._update_reachable()
                return
        others = [one for one in self._endpoints if one is not endpoint]
        if not any(one.reachable or (one.probe and not one.probe.done()) for one in others):
            self.stop(ServerGone(f"{error}; it did not come back; start it and run the same command again"))
        self._update_reachable()

    async def _is_back(self, endpoint: Endpoint) -> bool:
        """Whether the server answers, and not as one (or a proxy before it) that is still loading."""
        try:
            async with endpoint.session.get(f"{endpoint.url}/models", proxy=endpoint.proxy) as response:
                return response.status not in (502, 503, 504)
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False


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


def seconds_of(headers: Mapping[str, str]) -> Optional[float]:
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


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, if it is of a size that a completion can have; else Retryable."""
    if 0 <= (response.content_length or -1) <= LARGEST_REPLY and "Content-Encoding" not in response.headers:
        return await response.read()
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
        pairs = [(choice.get("index", place), _answer(choice)) for place, choice in enumerate(choices)]
        ordered = [answer for _, answer in sorted(pairs, key=lambda pair: pair[0])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Retryable(f"a reply that is no chat completion: {error_message(data)[:120]!r}", 200) from error
    if not ordered:
        raise Retryable("a chat completion without choices", 200)
    usage = _usage(reply.get("usage"))
    answers = [answer for answer in ordered if empty_ok or answer.cut or answer.text.strip()]
    if answers and usage:
        answers[0].usage = usage
    tokens = (usage or {}).get("completion_tokens")
    return answers, tokens if isinstance(tokens, int) and 0 <= tokens < 1 << 53 else None


def _usage(found: object) -> Optional[Dict[str, Any]]:
    """A reply's usage, if it is an object that JSON can hold again."""
    try:
        text = dumps(found)
    except RecursionError:
        return None
    return found if isinstance(found, dict) and len(text) < 4000 and loads(text) == found else None


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


def _body(messages: bytes, parameters: Dict[str, Any]) -> bytes:
    rest = dumps({key: value for key, value in parameters.items() if value is not None})
    return b'{"messages":' + messages + b"," + rest[1:]


def _payload(body: bytes) -> Union[bytes, io.BytesIO]:
    """A body as aiohttp wants it: a large one as a file, sent in pieces."""
    return body if len(body) <= 1 << 20 else io.BytesIO(body)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RequestFailed) and error.retry_after is not None:
        return error.retry_after
    return tenacity.wait_random_exponential(multiplier=1, max=LONGEST_WAIT)(state)


def _connection_trouble(error: BaseException) -> str:
    """The plain reason (``Connection refused``) inside aiohttp's longer words."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else str(error)
