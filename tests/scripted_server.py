"""A loopback server whose replies a test's plain function decides, and which records what it was sent.

Example:
    with ScriptedServer(lambda request: completion("4")) as server:
        run_script("sampling.py", "--port", server.port, ...)
    assert len(server.chats) == 1
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from aiohttp import web

PIECE = 1 << 19  # bytes of a body that are written at once


@dataclass
class Request:
    """One chat request: its number (from 0, in order of arrival), its parsed body, its headers, its path."""

    number: int
    body: Dict[str, Any]
    headers: Dict[str, str]
    path: str = "/v1/chat/completions"

    @property
    def question(self) -> str:
        """The text of the last message."""
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@dataclass
class Reply:
    """What the server does with a request. ``drop`` closes the connection instead of answering, ``cut_after`` so many
    bytes of the body. ``pieces`` are written one by one, as long as the client listens; ``drop`` closes after them."""

    body: Union[Dict[str, Any], List[Any], str, bytes] = b""
    status: int = 200
    headers: Dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    cut_after: Optional[int] = None
    pieces: Optional[Iterable[bytes]] = None


Script = Callable[[Request], Reply]
NOT_FOUND = Reply('{"detail":"Not Found"}', status=404)


def completion(
    *texts: Optional[str], finish: str = "stop", tokens: int = 7, delay: float = 0.0, **message: Any
) -> Reply:
    """A chat completion with one choice a text; ``message`` adds fields to each message."""
    choices = [
        {"index": index, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
    return Reply({"object": "chat.completion", "choices": choices, "usage": usage}, delay=delay)


def event(*deltas: Dict[str, Any], finish: Optional[str] = None, **more: Any) -> bytes:
    """A chunk of a streamed completion, with the next part of each choice; ``more`` are keys beside these."""
    choices = [{"index": index, "delta": delta, "finish_reason": finish} for index, delta in enumerate(deltas)]
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": choices, **more}).encode() + b"\n\n"


def streamed(pieces: Iterable[str], finish: str = "stop", field: str = "content", tokens: int = 7) -> Iterator[bytes]:
    """A whole completion with one choice, as the events of a server that counts its tokens at the end."""
    yield event({"role": "assistant", "content": ""})
    for piece in pieces:
        yield event({field: piece})
    yield event({}, finish=finish)
    yield event(usage={"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens})
    yield b"data: [DONE]\n\n"


async def turns(count: int) -> None:
    """Lets the event loop do what it has to do, and what follows from that."""
    for _ in range(count):
        await asyncio.sleep(0)


class ScriptedServer:
    """Serves ``/v1/chat/completions``, at any other base too, by ``script`` (and ``/v1/models``) from a thread of its
    own. ``posts`` replies to POSTs of other paths, as uvicorn does by default."""

    def __init__(self, script: Script, port: int = 0, posts: Optional[Script] = None) -> None:
        self.script = script
        self.port = port
        self.posts: Script = posts or (lambda _: NOT_FOUND)
        self.chats: List[Request] = []
        self.posted: List[Request] = []  # to other paths
        self.probes = 0  # requests to /v1/models
        self.models: List[Dict[str, Any]] = []  # which that lists
        self.schema: Optional[Dict[str, Any]] = None  # what /openapi.json tells; None: there is none
        self.asked_for_schema = 0
        self.sent = 0  # pieces of streams
        self.left = 0  # streams that the client left before their end
        self.in_flight = 0
        self.peak = 0
        self.timeline: List[Tuple[float, int]] = []  # (time, requests in flight) at each change
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ScriptedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, on the same port as before if it was started before."""
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Closes the port and every connection, mid-reply or not."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._session(ready))
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(turns(3))  # a socket is closed a turn after its transport
        self._loop.close()

    async def _session(self, ready: threading.Event) -> None:
        self._ending = asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/{base:.*}chat/completions", self._chat)
        app.router.add_post("/{path:.*}", self._other)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/openapi.json", self._describe)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        listening = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        await web.SockSite(runner, listening, backlog=1024).start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._ending.wait()
        self._loop.remove_reader(listening)
        await turns(3)  # asyncio leaks the socket of a connection that becomes one after the port is closed
        assert runner.server is not None
        transports = [connection.transport for connection in runner.server.connections]
        await runner.cleanup()
        for transport in filter(None, transports):
            transport.abort()  # a mere close waits until the client has read everything

    async def _models(self, _: web.Request) -> web.Response:
        self.probes += 1
        return web.json_response({"data": self.models})

    async def _describe(self, _: web.Request) -> web.Response:
        self.asked_for_schema += 1
        return web.json_response(self.schema or {}, status=200 if self.schema else 404)

    def _change(self, by: int) -> None:
        self.in_flight += by
        self.peak = max(self.peak, self.in_flight)
        self.timeline.append((time.monotonic(), self.in_flight))

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        return await self._reply(http, self.chats, self.script)

    async def _other(self, http: web.Request) -> web.StreamResponse:
        return await self._reply(http, self.posted, self.posts)

    async def _reply(self, http: web.Request, requests: List[Request], script: Script) -> web.StreamResponse:
        body = json.loads(await http.read())
        with self._lock:
            request = Request(len(requests), body, dict(http.headers), http.path)
            requests.append(request)
        self._change(+1)
        try:
            reply = script(request)
            if reply.delay:
                await asyncio.sleep(reply.delay)
        finally:
            self._change(-1)
        if reply.pieces is not None:
            return await self._stream(http, reply, reply.pieces)
        if reply.drop:
            assert http.transport is not None
            http.transport.abort()
        data = (
            reply.body
            if isinstance(reply.body, bytes)
            else (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
        )
        if reply.cut_after is not None or len(data) > PIECE:
            return await self._in_pieces(http, reply, data)
        headers = {"Content-Type": "application/json", **reply.headers}
        return web.Response(body=data, status=reply.status, headers=headers)

    async def _stream(self, http: web.Request, reply: Reply, pieces: Iterable[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(
            status=reply.status, headers={"Content-Type": "text/event-stream", **reply.headers}
        )
        await response.prepare(http)
        try:
            for piece in pieces:
                await response.write(piece)
                self.sent += 1
                await asyncio.sleep(0)
                if http.transport is None or http.transport.is_closing():
                    raise ConnectionResetError
        except ConnectionError:
            self.left += 1
        if reply.drop and http.transport is not None:
            http.transport.abort()
        return response

    async def _in_pieces(self, http: web.Request, reply: Reply, data: bytes) -> web.StreamResponse:
        """Sends a reply that is long, or that breaks off."""
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_type, response.content_length = "application/json", len(data)
        await response.prepare(http)
        end = len(data) if reply.cut_after is None else reply.cut_after
        with contextlib.suppress(ConnectionError):  # the client has had enough
            for start in range(0, end, PIECE):
                await response.write(data[start : min(end, start + PIECE)])
        if reply.cut_after is not None:
            assert http.transport is not None
            http.transport.abort()
        return response
