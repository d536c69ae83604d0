"""OpenAI's batches at a base URL: ``/files`` and ``/batches``. A batch is created once, whatever happens.

Example: ``async with client.batch_api() as api: batch = await api.create_once(await api.upload("batch-00001.jsonl"))``
"""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, BinaryIO, Callable
from urllib.parse import quote

from ..errors import RequestFailed, Retryable, ServerGone, ServerRefused, Unreachable
from ..fast_json import dumps, loads, small_int
from .connection import Connection, HttpReply
from .health import Sleep, pause
from .redaction import KeyRemover
from .replies import HINTS, ODD, failure, other_shape

CHAT = "/v1/chat/completions"
WINDOW = "24h"
PAGE = 100  # batches per page of their list
ENDED = ("completed", "failed", "expired", "cancelled")  # statuses of a batch


class BatchApi:
    """The batches of one server, used as ``async with``. A call that fails is tried again, ``max_retries`` times.

    Each call raises ServerGone if the server is away, and ServerRefused if it refuses the call.
    """

    def __init__(self, url: str, api_key: str | None, max_retries: int = 5, sleep: Sleep = asyncio.sleep) -> None:
        self._url = url
        self._api_key = api_key
        self._max_retries = max_retries
        self._sleep = sleep
        self._redact = KeyRemover(api_key)

    async def __aenter__(self) -> BatchApi:
        self._connection = Connection(self._url, self._api_key)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def upload(self, path: str) -> str:
        """The id of a file of requests at the server."""

        async def send() -> HttpReply:
            with open(path, "rb") as file:
                return await self._connection.upload("files", {"purpose": "batch"}, file)

        return str((await self._call(send, "id"))["id"])

    async def create_once(self, file_id: str) -> dict[str, Any]:
        """The batch of an uploaded file: the one that is there, else a new one.

        A creation whose reply was lost is looked for before another is tried.
        """
        body = dumps({"input_file_id": file_id, "endpoint": CHAT, "completion_window": WINDOW})
        for number in range(1, self._max_retries + 2):
            found = await self._find(file_id)
            if found is not None:
                return found
            try:
                return self._read(await self._connection.send("batches", (body,)), "id")
            except (Unreachable, Retryable) as error:
                await self._wait(number, error)
        raise AssertionError

    async def _find(self, file_id: str) -> dict[str, Any] | None:
        """The batch of an uploaded file, if there is one that did not fail."""
        after: dict[str, str] = {}
        while True:
            page = await self._page(after)
            batches = [one for one in page["data"] or () if isinstance(one, dict)]
            for batch in batches:
                if batch.get("input_file_id") == file_id and batch.get("status") != "failed":
                    found: dict[str, Any] = batch
                    return found
            last = {"after": str(batches[-1].get("id"))} if batches else after
            if not page.get("has_more") or last == after:
                return None
            after = last

    async def _page(self, after: dict[str, str]) -> dict[str, Any]:
        """A page of the list of batches, the newest first."""
        return await self._call(lambda: self._connection.get("batches", {"limit": str(PAGE), **after}), "data")

    async def look(self, batch_id: str) -> dict[str, Any]:
        """A batch as it is now."""
        return await self._call(lambda: self._connection.get(f"batches/{quote(batch_id, '')}"), "status")

    async def save(self, file_id: str, file: BinaryIO) -> None:
        """Writes the content of a file at the server to an empty ``file``."""

        async def fetch() -> HttpReply:
            file.seek(0)
            file.truncate()
            return await self._connection.save(f"files/{quote(file_id, '')}/content", file)

        await self._call(fetch, None)

    async def _call(self, send: Callable[[], Awaitable[HttpReply]], key: str | None) -> dict[str, Any]:
        """The object in the reply, which has the ``key``; an empty one if there is no object to read."""
        for number in range(1, self._max_retries + 2):
            try:
                return self._read(await send(), key)
            except (Unreachable, Retryable, asyncio.TimeoutError) as error:
                await self._wait(number, error)
        raise AssertionError

    async def _wait(self, number: int, error: Exception) -> None:
        """Waits before the next try; ServerGone if there is none."""
        if number > self._max_retries:
            raise ServerGone(f"{error or 'no reply'}; run the same command again to go on") from error
        await self._sleep(pause(number, getattr(error, "retry_after", None)))

    def _read(self, reply: HttpReply, key: str | None) -> dict[str, Any]:
        """The object in a reply; its error if it is one."""
        if not 200 <= reply.status < 300:
            error = failure(self._url, reply.status, reply.headers, reply.body, self._redact)
            if isinstance(error, RequestFailed) and not isinstance(error, Retryable):
                hint = "; does it have /files and /batches?" if reply.status in (404, 405) else ""
                raise ServerRefused(f"{error}{hint or HINTS.get(reply.status, '')}")
            raise error
        if key is None:
            return {}
        try:
            found: dict[str, Any] = loads(reply.body, small_int)
            found[key]
        except ODD as error:
            raise other_shape(self._url, reply.body, self._redact) from error
        return found
