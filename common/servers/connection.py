"""The HTTP connections to one server. The only module that knows aiohttp.

Example: ``reply = await Connection("http://127.0.0.1:8000/v1", api_key=None).post_chat([b'{"messages": ...}'])``
"""

from __future__ import annotations

import asyncio
import os
from typing import Mapping, NamedTuple, Sequence

import aiohttp

from ..errors import Retryable, Unreachable
from .known_servers import SERVER_KEEPALIVE
from .urls import endpoint, metrics_url, proxy_of

CONNECT_LIMIT = 30  # seconds until a connection must be made
METRICS_LIMIT = aiohttp.ClientTimeout(total=5)
LARGEST_REPLY = 100 << 20  # bytes; anything larger is not a completion
PLAIN_BODY = 1 << 20  # bytes; aiohttp warns of a larger body that is sent in one piece


class HttpReply(NamedTuple):
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """What is sent to the server at ``base_url``, with ``api_key`` as the bearer token. Needs a running loop."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._base_url = base_url
        self._chat_url = endpoint(base_url, "chat/completions")
        self._proxy = proxy_of(base_url)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=SERVER_KEEPALIVE - 1),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def post_chat(self, body: Sequence[bytes]) -> HttpReply:
        """The reply to a chat request, whose body comes in pieces.

        Raises Unreachable if nothing was sent, and Retryable if the connection was lost after that.
        """
        try:
            response = await self._session.post(
                self._chat_url, data=_payload(body), allow_redirects=False, proxy=self._proxy
            )
            try:
                return HttpReply(response.status, response.headers, await _read(response))
            finally:
                response.release()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(f"cannot reach {self._base_url}: {_reason(error)}") from error
        except aiohttp.ClientError as error:
            raise Retryable(f"{self._base_url}: connection lost: {error or type(error).__name__}") from error

    async def is_back(self) -> bool:
        """Whether the server answers, and not with the status of a server (or of its proxy) that is still loading."""
        try:
            async with self._session.get(endpoint(self._base_url, "models"), proxy=self._proxy) as response:
                return response.status not in (502, 503, 504)
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    async def metrics(self) -> str | None:
        """The server's page of metrics: empty if it has none, None if it did not answer."""
        url = metrics_url(self._base_url)
        try:
            async with self._session.get(url, proxy=self._proxy, timeout=METRICS_LIMIT) as response:
                return await response.text(errors="replace") if response.status == 200 else ""
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return None


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


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body; Retryable if it is too large for a completion."""
    length = response.content_length
    if length is not None and length <= LARGEST_REPLY and "Content-Encoding" not in response.headers:
        return await response.read()  # its head proves its size; to count its pieces takes 8 us more
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_REPLY:
            raise Retryable(f"{response.url}: a reply of more than {LARGEST_REPLY >> 20} MB", response.status)
    return b"".join(pieces)


def _reason(error: BaseException) -> str:
    """The plain reason ("Connection refused") inside aiohttp's longer message."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else str(error)
