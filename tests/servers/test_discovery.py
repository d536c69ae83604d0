"""Discovery: the model's name is what the servers say, and anything unclear is an error that names the flag."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, List, Optional

import pytest
from aiohttp import web

from common.errors import ServerGone, ServerRefused, UsageError
from common.servers.discovery import find_model, model_names
from tests.scripted_server import ScriptedServer, completion


class ListingServer(ScriptedServer):
    """A server that lists these models; None: it has no such list."""

    def __init__(self, models: Any, status: int = 200) -> None:
        super().__init__(lambda _: completion("4"))
        self.listed, self.status = models, status

    async def _models(self, request: web.Request) -> web.Response:
        self.probes += 1
        if isinstance(self.listed, list):
            return web.json_response({"data": [{"id": name} for name in self.listed]}, status=self.status)
        return web.json_response(self.listed, status=self.status)


def found(*servers: ScriptedServer, base: str = "/v1", key: Optional[str] = None) -> str:
    urls = [f"http://127.0.0.1:{server.port}{base}" for server in servers]
    return asyncio.run(find_model(urls, key, "--model_name"))


def test_the_one_model_of_a_server_is_found_with_one_request_and_no_chat() -> None:
    with ListingServer(["Qwen/Qwen2.5-7B-Instruct"]) as server:
        assert found(server) == "Qwen/Qwen2.5-7B-Instruct"
    assert (server.probes, server.chats) == (1, [])


def test_a_base_url_without_a_version_or_with_a_query_is_understood() -> None:
    with ListingServer(["m"]) as server:
        assert found(server, base="") == found(server, base="/v1?key=1") == found(server, base="?key=1") == "m"


def test_several_models_are_listed_and_several_servers_may_have_the_same_one() -> None:
    with ListingServer(["a", "b"]) as two, pytest.raises(UsageError, match=r"--model_name is required.*: a, b$"):
        found(two)
    with ListingServer(["a"]) as one, ListingServer(["a"]) as other:
        assert found(one, other) == "a"
    with ListingServer(["a"]) as one, ListingServer(["b"]) as other, pytest.raises(UsageError, match=r": a, b$"):
        found(one, other)


@pytest.mark.parametrize(
    ("listed", "status"),
    [([], 200), ([], 404), ({"error": "no"}, 405), ("text", 200), ({"data": 7}, 200), ([None], 200), ([""], 200)],
)
def test_a_server_that_names_no_model_is_an_error_that_names_the_flag(listed: Any, status: int) -> None:
    with ListingServer(listed, status) as server, pytest.raises(UsageError, match="--model_name is required"):
        found(server)


def test_a_wrong_key_is_an_error_of_its_own_without_the_key() -> None:
    with ListingServer({"error": "bad key sk-1"}, 401) as server, pytest.raises(ServerRefused) as caught:
        found(server, key="sk-1")
    assert "401 bad key *** (wrong or missing key?" in str(caught.value)


def test_a_server_that_is_away_does_not_count_unless_all_are() -> None:
    with contextlib.ExitStack() as stack:
        gone = stack.enter_context(ListingServer(["x"]))
        gone.stop()
        with ListingServer(["a"]) as server:
            assert found(gone, server) == "a"
        with pytest.raises(ServerGone, match="Connection refused; is the server running there"):
            found(gone)


def test_a_server_that_is_loading_is_asked_again() -> None:
    class Loading(ListingServer):
        async def _models(self, request: web.Request) -> web.Response:
            self.status = 503 if self.probes == 0 else 200
            return await super()._models(request)

    with Loading(["a"]) as server:
        assert asyncio.run(find_model([server.url], None, "--model_name", max_retries=1)) == "a"
    with ListingServer({"error": "Loading model"}, 503) as server, pytest.raises(ServerGone, match="503 Loading model"):
        found(server)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b'{"data": [{"id": "a"}, {"id": 7}, {"name": "b"}, "c", null, {}]}', ["a", "b", "c"]),
        (b'{"models": [{"name": "a"}], "data": []}', ["a"]),
        (b'[{"id": "a"}]', ["a"]),
        (b"", []),
        (b"<html>", []),
        (b"[" * 100_000, []),
        (b'{"data": {"id": "a"}}', []),
    ],
)
def test_lists_of_models_have_several_shapes(data: bytes, names: List[str]) -> None:
    assert model_names(data) == names
