"""OpenAI's batches: pages of their list, bodies of any size, errors."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any, List

import pytest

from common.errors import ServerGone, ServerRefused
from common.servers.batch_api import BatchApi
from tests.batch_server import BatchServer
from tests.scripted_server import Reply, completion


async def no_sleep(_: float) -> None: ...


def api_of(server: BatchServer, key: str = "sk-secret-key") -> BatchApi:
    return BatchApi(f"http://127.0.0.1:{server.port}/v1", key, 2, no_sleep)


def test_a_batch_on_a_later_page_is_found(tmp_path: Path) -> None:
    pages: List[Any] = [
        {"data": [{"id": "b9", "input_file_id": "other", "status": "completed"}], "has_more": True},
        {"data": [{"id": "b1", "input_file_id": "mine", "status": "failed"}], "has_more": True},
        {"data": [{"id": "b0", "input_file_id": "mine", "status": "in_progress"}], "has_more": False},
    ]

    def hook(method: str, path: str, number: int) -> Any:
        return Reply(pages[number - 1]) if (method, path) == ("GET", "/v1/batches") else True

    async def create(server: BatchServer) -> Any:
        async with api_of(server) as api:
            return await api.create_once("mine")

    with BatchServer(lambda _: completion("a"), hook) as server:
        assert asyncio.run(create(server))["id"] == "b0"
        assert server.calls == 3 * ["GET /v1/batches"]


def test_a_large_file_is_saved_whole_and_without_the_piece_of_a_failed_try() -> None:
    content = bytes(range(256)) * 40_000

    async def save(server: BatchServer) -> bytes:
        server.files["f"] = content
        file = io.BytesIO(b"left over")
        async with api_of(server) as api:
            await api.save("f", file)
        return file.getvalue()

    with BatchServer(lambda _: completion("a"), lambda *call: None if call[2] == 1 else True) as server:
        assert asyncio.run(save(server)) == content


@pytest.mark.parametrize(
    ("reply", "error", "line"),
    [
        (Reply({"error": {"message": "bad key sk-secret-key"}}, 401), ServerRefused, r"401 bad key \*\*\* \(wrong"),
        (Reply({"error": {"message": "no such batch"}}, 404), ServerRefused, "no such batch; does it have /files"),
        (Reply({"error": {"message": "bad request"}}, 400), ServerRefused, "400 bad request$"),
        (Reply(b"<html>"), ServerGone, "another shape: '<html>'; run the same command"),
        (Reply({"error": "overloaded"}, 503), ServerGone, "503 overloaded; run the same command again"),
        (None, ServerGone, "run the same command again"),
    ],
)
def test_an_error_is_one_line(reply: Any, error: Any, line: str) -> None:
    async def look(server: BatchServer) -> Any:
        async with api_of(server) as api:
            return await api.look("b")

    with BatchServer(lambda _: completion("a"), lambda *_: reply) as server:
        server.batches.append({"id": "b"})
        with pytest.raises(error, match=line):
            asyncio.run(look(server))
        assert (len(server.calls) >= 3) == (error is ServerGone)  # aiohttp repeats a GET by itself
