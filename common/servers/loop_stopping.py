"""How the loops of one client's answers are stopped: by each server itself if it can, else by closing the connection.

A server's description of its API (/openapi.json) tells whether it finds loops itself, as vLLM does since 0.17. A server
without this field, such as an older vLLM, would ignore it: its replies are streamed. One that refuses to count the
tokens of a stream, or to stream at all, is asked without from then on.

Example: ``reply = await LoopStopping(notices, True, str).post(Asked(server, connection, messages, request, make))``
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence

from ..records import Answer
from .known_servers import LIMITS, STOP_LOOPS, Abilities, abilities
from .notices import Notices
from .prompt_tokens import PromptTokens
from .replies import Redact, token_count
from .slots import Server
from .streaming import Stream

if TYPE_CHECKING:
    from .connection import Connection, HttpReply

REFUSED = (400, 404, 405, 415, 422, 501)  # statuses of a server that does not know a field, or what it asks for


class Asked(NamedTuple):
    """A request on its way to a server: its messages and its fields, and what makes a body of fields."""

    server: Server
    connection: Connection
    messages: bytes
    request: dict[str, Any]
    make_body: Callable[[dict[str, Any]], Sequence[bytes]]

    async def post(self, fields: dict[str, Any], stream: Stream | None = None) -> HttpReply:
        """The reply to the request with these further fields. Raises as ``Connection.post_chat``."""
        return await self.connection.post_chat(self.make_body({**self.request, **fields}), stream)


@dataclass
class Way:
    """How one server's loops are stopped."""

    can: Abilities
    streams: bool = True  # whether it may be asked to
    told: bool = False  # whether the user knows that it does not
    most: int = 0  # the most choices of a reply, if it gave fewer than it was asked for; else 0

    def expected(self, wanted: int) -> int:
        """The choices of its reply to a request for ``wanted``."""
        return min(wanted, self.most or wanted)

    def learn(self, wanted: int, given: int) -> None:
        """Notes how many choices of the ``wanted`` ones a whole reply had."""
        if given < wanted or self.most:
            self.most = max(self.most, given)


class LoopStopping:
    """The ways of one client's servers. If it does not ``ask``, no server is asked for its description."""

    def __init__(self, notices: Notices, ask: bool, redact: Redact) -> None:
        self._notices = notices
        self._ask = ask
        self._redact = redact
        self._ways: dict[Server, asyncio.Future[Way]] = {}
        self._prompts: dict[Server, PromptTokens] = defaultdict(PromptTokens)

    def close(self) -> None:
        """Ends what is asked."""
        for way in self._ways.values():
            way.cancel()

    async def post(self, asked: Asked) -> HttpReply:
        """The reply to a chat request, in one piece. Raises as ``Connection.post_chat``, and the error in a stream."""
        way = await self._way_of(asked)
        if way.can.finds_loops:
            return await asked.post({name: asked.request.get(name, value) for name, value in STOP_LOOPS.items()})
        if not way.streams:
            return await asked.post({})
        reply = await self._stream(asked, way)
        if reply.status in REFUSED and way.can.stream_options and b"stream_options" in reply.body:
            way.can = way.can._replace(stream_options=())
            reply = await self._stream(asked, way)
        if reply.status in REFUSED and b"stream" in reply.body.lower():
            return await self._post_whole(asked, way, reply)
        return reply

    async def _stream(self, asked: Asked, way: Way) -> HttpReply:
        server, wanted = asked.server, asked.request.get("n", 1)
        stream = Stream(server.url, way.expected(wanted), server.still_there, self._redact)
        own = asked.request.get("stream_options")
        options = {**dict.fromkeys(way.can.stream_options, True), **(own if isinstance(own, dict) else {})}
        fields = {"stream": True, **({"stream_options": options} if options else {})}
        reply = await asked.post(fields, stream)
        if not 200 <= reply.status < 300:
            return reply
        if stream.is_plain:
            self._say_whole(asked.server, way)
        server.heard()  # also if this was not an answer
        way.learn(wanted, stream.given)
        return reply._replace(body=stream.reply(self._prompt_tokens(asked, stream)))

    def _prompt_tokens(self, asked: Asked, stream: Stream) -> int | None:
        """About how many tokens the prompt has, for a stream that was closed before the server said it."""
        prompts = self._prompts[asked.server]
        if stream.prompt_tokens is not None:
            prompts.learn(asked.messages, stream.prompt_tokens)
        return prompts.guess(asked.messages)

    async def _post_whole(self, asked: Asked, way: Way, refusal: HttpReply) -> HttpReply:
        """The reply in one piece of a server that refused to stream; its ``refusal`` if that was not the reason."""
        reply = await asked.post({})
        if not 200 <= reply.status < 300:
            return refusal
        way.streams = False
        self._say_whole(asked.server, way)
        return reply

    def _say_whole(self, server: Server, way: Way) -> None:
        """Tells the user that a server does not stream."""
        if not way.told:
            way.told = True
            text = f"{server.url} does not stream its replies: --stop_loops stops none of its loops"
            self._notices.warn(self, text, text)

    async def _way_of(self, asked: Asked) -> Way:
        """How a server's loops are stopped. It is asked once; while it cannot be asked, its replies are streamed."""
        way = self._ways.get(asked.server)
        if way is None:
            way = self._ways[asked.server] = asyncio.ensure_future(self._find_way(asked))
        return await asyncio.shield(way)

    async def _find_way(self, asked: Asked) -> Way:
        if not self._ask:
            return Way(Abilities())
        schema = await asked.connection.schema()
        if schema is None:
            del self._ways[asked.server]
        return Way(abilities(schema or b""))


def limit_of(request: dict[str, Any]) -> int | None:
    """The most tokens that each answer to a request may have, if the request says so.

    >>> limit_of({"max_tokens": 5}), limit_of({"max_completion_tokens": 6}), limit_of({})
    (5, 6, None)
    """
    given = [request[name] for name in LIMITS if isinstance(request.get(name), int)]
    return min(given, default=None)


def tokens_of_each(answers: Sequence[Answer]) -> list[int]:
    """The completion tokens of the answers to one request, whose sum the first one has: in proportion to their texts.

    >>> tokens_of_each([Answer("ab", usage={"completion_tokens": 9}), Answer("", reasoning="a")])
    [6, 3]
    """
    spent = token_count(answers[0].usage, "completion_tokens") or 0 if answers else 0
    lengths = [len(answer.text) + len(answer.reasoning or "") for answer in answers]
    return [spent * length // max(1, sum(lengths)) for length in lengths]
