"""The HTTP connections to one server. The only module that knows aiohttp.

Example: ``reply = await Connection("http://127.0.0.1:8000/v1", api_key=None).post_chat([b'{"messages": ...}'])``
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any, BinaryIO, Mapping, NamedTuple, Sequence
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from ..errors import Retryable, RunStopped, Unreachable
from .known_servers import SERVER_KEEPALIVE
from .notices import Notices
from .redaction import KeyRemover
from .streaming import Stream
from .tls import TLS_ALERT, TLS_WANTED, speaks_tls, tls_fault
from .unpacking import ACCEPTED, unpacked
from .urls import endpoint, has_version, metrics_url, proxy_of, root_endpoint, with_version, without_password

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler


CONNECT_LIMIT = 30  # seconds until a connection must be made
GET_LIMIT = aiohttp.ClientTimeout(total=30)
TRANSFER_LIMIT = aiohttp.ClientTimeout(sock_connect=CONNECT_LIMIT, sock_read=300)
METRICS_LIMIT = aiohttp.ClientTimeout(total=5)
SCHEMA_LIMIT = aiohttp.ClientTimeout(total=15)  # FastAPI makes it at the first request
LARGEST_REPLY = 100 << 20  # bytes; anything larger is not a completion
LARGEST_ERROR = 1 << 20  # bytes of the body of an error that are read
LARGEST_HEADER = 1 << 16  # bytes
REST = 0.005  # seconds that a connection rests before its next request, while no more than SPARE are idle
SPARE = 16
GATHER = 0.01  # of the time that a stream has taken, its next tokens may wait to be read
SHORTEST_GATHER, LONGEST_GATHER = 0.02, 0.25  # seconds
GRACE = 5.0  # seconds for what may follow the last finish reason of a stream: the count of its tokens
END = 0.5  # seconds for its end, once it said that it is done
PLAIN_BODY = 1 << 20  # bytes; aiohttp warns of a larger body that is sent in one piece


class HttpReply(NamedTuple):
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(RunStopped):
    """A request that was made and not sent: its URL, its headers, its body."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"a request to {url} was not sent")
        self.url = url
        self.headers = headers
        self.body = b""


class Connection:
    """What is sent to the server at ``base_url``, with ``api_key`` as the bearer token. Needs a running loop.

    ``notices`` are those of all clients of a run. If it does not ``send``, no connection is made, and ``post_chat``
    raises NotSent.
    """

    def __init__(self, base_url: str, api_key: str | None, notices: Notices | None = None, send: bool = True) -> None:
        headers = {"Content-Type": "application/json", "Accept-Encoding": ACCEPTED}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._base_url = base_url
        self._notices = notices or Notices()
        self._chat_url = endpoint(base_url, "chat/completions")
        self._proxy = proxy_of(base_url)
        self._redact = KeyRemover(api_key)
        self._has_answered = False
        self._session = aiohttp.ClientSession(
            connector=_Connector(base_url, self._notices, limit=0) if send else _NoConnector(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=LARGEST_HEADER,
            max_field_size=LARGEST_HEADER,
        )

    async def close(self) -> None:
        await self._session.close()

    async def post_chat(self, body: Sequence[bytes], stream: Stream | None = None) -> HttpReply:
        """The reply to a chat request, whose body comes in pieces. The body of a success goes to a ``stream``.

        Raises Unreachable if nothing was sent, and Retryable if the connection was lost after that.
        """
        try:
            reply = await self._exchange("POST", self._chat_url, stream, data=_payload(body))
        except NotSent as request:
            request.body = b"".join(body)
            request.headers = {name: self._redact(value) for name, value in request.headers.items()}
            raise
        if reply.status in (404, 405) and not has_version(self._base_url):
            return await self._post_with_version(body, reply, stream)
        if reply.status == 400 and TLS_WANTED.search(reply.body):
            raise self._wants_tls()
        return reply

    async def post(self, path: str, body: Sequence[bytes]) -> HttpReply:
        """The reply to a POST to a path beside ``/v1``. Raises as ``post_chat``."""
        return await self._exchange("POST", root_endpoint(self._base_url, path), data=_payload(body))

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> HttpReply:
        """The reply to a GET of a path below the base URL. Raises as ``post_chat``, and asyncio.TimeoutError."""
        url = endpoint(self._base_url, path)
        return await self._exchange("GET", url.update_query(query) if query else url, timeout=GET_LIMIT)

    async def send(self, path: str, body: Sequence[bytes]) -> HttpReply:
        """The reply to a POST to a path below the base URL. Raises as ``post_chat``."""
        url = endpoint(self._base_url, path)
        return await self._exchange("POST", url, data=_payload(body), timeout=TRANSFER_LIMIT)

    async def upload(self, path: str, fields: Mapping[str, str], file: BinaryIO) -> HttpReply:
        """The reply to a form with a file. Raises as ``post_chat``."""
        form = aiohttp.FormData(fields)
        form.add_field("file", file, filename=os.path.basename(file.name), content_type="application/jsonl")
        payload = form()
        headers = {"Content-Type": payload.headers["Content-Type"]}
        url = endpoint(self._base_url, path)
        return await self._exchange("POST", url, data=payload, headers=headers, timeout=TRANSFER_LIMIT)

    async def save(self, path: str, file: BinaryIO) -> HttpReply:
        """Writes the body of the reply to a GET to ``file``, of any size. Raises as ``post_chat``."""
        url = endpoint(self._base_url, path)
        return await self._exchange("GET", url, file, timeout=TRANSFER_LIMIT)

    async def is_back(self) -> bool:
        """Whether the server answers, and not with the status of a server (or of its proxy) that is still loading."""
        try:
            return (await self.get("models")).status not in (502, 503, 504)
        except (Unreachable, Retryable, asyncio.TimeoutError):
            return False

    async def metrics(self) -> str | None:
        """The server's page of metrics: empty if it has none, None if it did not answer."""
        try:
            reply = await self._exchange("GET", metrics_url(self._base_url), timeout=METRICS_LIMIT)
        except (Unreachable, Retryable, asyncio.TimeoutError):
            return None
        return reply.body.decode("utf-8", "replace") if reply.status == 200 else ""

    async def schema(self) -> bytes | None:
        """The server's description of its API: empty if it has none, None if it did not answer."""
        try:
            url = root_endpoint(self._base_url, "openapi.json")
            reply = await self._exchange("GET", url, timeout=SCHEMA_LIMIT)
        except (Unreachable, Retryable, asyncio.TimeoutError):
            return None
        return reply.body if reply.status == 200 else b""

    async def _exchange(
        self, method: str, url: URL, sink: BinaryIO | Stream | None = None, **options: Any
    ) -> HttpReply:
        """A request and its reply, whose body goes to a ``sink`` if there is one; Unreachable or Retryable if not."""
        if sink is not None:
            options["headers"] = {"Accept-Encoding": "identity"}
        try:
            response = await self._session.request(method, url, allow_redirects=False, proxy=self._proxy, **options)
            try:
                reply = HttpReply(response.status, response.headers, await _read(response, sink))
            finally:
                response.release()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError) as error:
            raise self._unreachable(error) from error
        except (aiohttp.ClientError, ValueError) as error:
            await self._check_scheme(error)
            raise Retryable(self._redact(f"{self._base_url}: {_fault(error)}")) from error
        self._has_answered = True
        return reply

    async def _post_with_version(self, body: Sequence[bytes], refusal: HttpReply, stream: Stream | None) -> HttpReply:
        """The reply at a base URL with /v1, which is used from now on, unless that is not found either."""
        url = with_version(self._base_url)
        reply = await self._exchange("POST", endpoint(url, "chat/completions"), stream, data=_payload(body))
        if reply.status in (404, 405):
            return refusal
        if not has_version(self._base_url):
            text = f"{self._base_url}: {refusal.status} at /chat/completions, so {url} is used"
            self._notices.warn(self, text, text)
            self._base_url, self._chat_url = url, endpoint(url, "chat/completions")
        return reply

    def _unreachable(self, error: Exception) -> Unreachable:
        reason, *advice = _reason(error)
        way = f" through the proxy {without_password(self._proxy)}" if self._proxy else ""
        return Unreachable(self._redact(f"cannot reach {self._base_url}{way}: {reason}"), *advice)

    async def _check_scheme(self, error: Exception) -> None:
        """Raises Unreachable if the error is that of a server that never answered plain HTTP, and that speaks TLS."""
        parts = urlsplit(self._base_url)
        is_alert = TLS_ALERT in str(error)
        if self._has_answered or self._proxy or parts.scheme != "http":
            return
        if not is_alert and not isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            return
        self._has_answered = True  # one look is enough
        if is_alert or await speaks_tls(parts.hostname or "", parts.port or 80):
            raise self._wants_tls()

    def _wants_tls(self) -> Unreachable:
        return Unreachable(f"cannot reach {self._base_url}: it speaks TLS", "write https:// instead of http://")


class _Connector(aiohttp.TCPConnector):
    """Keeps a second reply to a request from being taken for the reply to the next request on that connection.

    The connection that has been idle longest is used next. It rests before, as long as few connections are idle, since
    some servers have a thread for each connection. If anything came on it meanwhile, it is closed, and from then on no
    connection to this server is used twice.
    """

    def __init__(self, base_url: str, notices: Notices, **options: Any) -> None:
        super().__init__(**options)
        self._notices = notices
        self._base_url = base_url
        self._idle: deque[tuple[float, Any, ResponseHandler]] = deque()  # in the order of their last replies
        self._answers_twice = False

    def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        """A connection on which nothing has come since its last reply, to be awaited."""
        self._offer_idle()
        return super().connect(req, traces, timeout)

    def _offer_idle(self) -> None:
        """Lets the next request have the connection that has been idle longest, if it is good and has rested."""
        now = time.monotonic()
        while self._idle:
            since, key, protocol = self._idle[0]
            if now - since < REST and len(self._idle) <= SPARE:
                return
            self._idle.popleft()
            is_good = now - since < SERVER_KEEPALIVE - 1 and self._is_silent(protocol)
            super()._release(key, protocol, should_close=not is_good)
            if is_good:
                return

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if should_close or protocol.should_close or self._answers_twice:
            super()._release(key, protocol, should_close=True)
        else:
            self._idle.append((time.monotonic(), key, protocol))

    def _is_silent(self, protocol: ResponseHandler) -> bool:
        """Whether nothing came on an idle connection. Says so once if something did."""
        if not protocol.should_close:
            return True
        if protocol.is_connected() and not self._answers_twice:
            self._answers_twice = True
            text = (
                f"{self._base_url} sent more than one reply to a request: the others are dropped, and each request now "
                "gets a new connection"
            )
            self._notices.warn(self, text, text)
        return False


class _NoConnector(aiohttp.BaseConnector):
    """Raises each request, as aiohttp made it, in place of a connection."""

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        """Raises NotSent."""
        raise NotSent(str(req.url), req.headers)


class _Body(aiohttp.payload.Payload):
    """A request's body as aiohttp sends it, piece by piece.

    Joining the pieces first would copy the images of an entry for each of its requests (2.5 ms per image of 1 MB).
    """

    _value: Sequence[bytes]

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(pieces, content_type="application/json")
        self._size = sum(map(len, pieces))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        for piece in self._value:
            await writer.write(piece)


def _payload(body: Sequence[bytes]) -> aiohttp.payload.Payload:
    """The body as aiohttp sends it: one piece goes out together with the head."""
    if len(body) == 1 and len(body[0]) < PLAIN_BODY:
        return aiohttp.BytesPayload(body[0], content_type="application/json")
    return _Body(body)


async def _read(response: aiohttp.ClientResponse, sink: BinaryIO | Stream | None = None) -> bytes:
    """The body; only its beginning if it is a long error. Retryable if it is too large, ValueError if it is damaged.

    The body of a success goes to a ``sink`` if there is one.
    """
    if isinstance(sink, Stream):
        if response.status < 300:
            await _follow(response, sink)
            return b""
    elif sink is not None and response.status < 300:
        async for piece in response.content.iter_any():
            sink.write(piece)
        return b""
    limit = LARGEST_REPLY if response.status < 300 else LARGEST_ERROR
    length = response.content_length
    if length is not None and length <= limit:
        data = await response.read()  # its head proves its size; to count its pieces takes 8 us more
    else:
        data = await _beginning(response, limit)
    encodings = response.headers.get("Content-Encoding")
    if encodings is not None:
        data = unpacked(data, encodings, limit)
    if len(data) > limit and response.status < 300:
        del data  # the error would keep it alive
        raise Retryable(f"{response.url}: a reply of more than {limit >> 20} MB", response.status)
    return data[:limit]


async def _follow(response: aiohttp.ClientResponse, stream: Stream) -> None:
    """Gives a stream what comes, until it is over. A connection that has more to say is closed: nobody listens."""
    if response.headers.get("Content-Encoding"):  # although it was not asked for: read as a whole
        stream.take(await _read(response))
        return stream.end()
    begun = time.monotonic()
    try:
        while not stream.is_over:
            waiting = response.content.readany()
            piece = await (asyncio.wait_for(waiting, GRACE) if stream.is_whole else waiting)
            if not piece:
                return stream.end()
            stream.take(piece)
            if not (stream.is_whole or stream.is_over):
                await _gather(response, min(LONGEST_GATHER, (time.monotonic() - begun) * GATHER))
    except (aiohttp.ClientError, asyncio.TimeoutError):
        if not stream.has_answer:
            raise
    if stream.is_done and not response.content.at_eof():  # the rest of this reply: then the connection serves again
        with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
            await asyncio.wait_for(response.content.readany(), END)
    if not response.content.at_eof():
        response.close()


async def _gather(response: aiohttp.ClientResponse, seconds: float) -> None:
    """Lets the next pieces gather in the system: to read many at once takes less CPU than to read each."""
    protocol = response.connection.protocol if response.connection is not None else None
    if seconds < SHORTEST_GATHER or protocol is None:
        return
    protocol.pause_reading()
    try:
        await asyncio.sleep(seconds)
    finally:
        protocol.resume_reading()


async def _beginning(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The first bytes of the body, a few more than ``limit``."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            break
    return b"".join(pieces)


def _reason(error: BaseException) -> tuple[str, ...]:
    """The plain reason ("Connection refused") inside aiohttp's longer message, and advice if there is any."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy replied {error.status} {error.message}", "is the proxy right?"
    tls_error = _tls_error(error)
    if tls_error is not None:
        return tls_fault(tls_error)
    inner = getattr(error, "os_error", error)
    if isinstance(inner, socket.gaierror):
        return f"{inner.strerror or inner}", "is the host's name right?"
    number = getattr(inner, "errno", None)
    reason = os.strerror(number) if number and number > 0 else str(error)
    return (reason, "is the proxy right?") if isinstance(error, aiohttp.ClientProxyConnectionError) else (reason,)


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS error that caused an error of aiohttp, if one did. Some of aiohttp's own errors pretend to be one."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ClientError):
            return error
        error = error.__cause__
    return None


def _fault(error: Exception) -> str:
    """What went wrong with a connection that was made."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"a reply that is not HTTP: {' '.join(error.message.split()).rstrip('^ ')}"
    if isinstance(error, aiohttp.ClientError):
        inner = _tls_error(error)
        return f"connection lost: {tls_fault(inner)[0] if inner else error or type(error).__name__}"
    return str(error)
