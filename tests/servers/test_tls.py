"""TLS: each fault says what it is, and never an error of the system that has the same number."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any, Awaitable, Callable

import pytest

from common.errors import Unreachable
from common.servers.connection import Connection
from common.servers.tls import CERTIFICATES, speaks_tls, tls_fault
from tests.scripted_server import Reply, ScriptedServer, completion

CERTIFICATE_FILES = Path(__file__).parent / "certificates"


async def with_tls_server(certificate: str, work: Callable[[int], Awaitable[Any]]) -> Any:
    """What ``work`` makes of the port of a server that speaks TLS with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE_FILES / certificate)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    try:
        return await work(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def post(url: str) -> Unreachable:
    connection = Connection(url, None)
    try:
        with pytest.raises(Unreachable) as caught:
            await connection.post_chat([b"{}"])
        return caught.value
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        ("expired.pem", "its TLS certificate has expired"),
        ("future.pem", "its TLS certificate is not valid yet"),
        ("other_host.pem", "its TLS certificate is for another host"),
    ],
)
def test_a_certificate_that_is_trusted_and_still_wrong_says_why(certificate: str, said: str) -> None:
    trusting = ssl.create_default_context(cafile=CERTIFICATE_FILES / certificate)

    async def fault(port: int) -> str:
        with pytest.raises(ssl.SSLError) as caught:
            await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        return tls_fault(caught.value)[0]

    assert asyncio.run(with_tls_server(certificate, fault)) == said


def test_a_certificate_that_is_self_signed_says_so_and_names_the_variable() -> None:
    error = asyncio.run(with_tls_server("good.pem", lambda port: post(f"https://127.0.0.1:{port}/v1")))
    assert "its TLS certificate is self-signed" in str(error)
    assert "SSL_CERT_FILE" in error.advice


def test_plain_http_to_a_tls_port_says_so() -> None:
    error = asyncio.run(with_tls_server("good.pem", lambda port: post(f"http://127.0.0.1:{port}/v1")))
    assert str(error).endswith("it speaks TLS")
    assert "https://" in error.advice


@pytest.mark.parametrize(
    "said",
    [
        "<h1>400</h1>The plain HTTP request was sent to HTTPS port",
        "Client sent an HTTP request to an HTTPS server.\n",
        "Reason: You're speaking plain HTTP to an SSL-enabled server port.",
    ],
)
def test_a_tls_port_that_says_so_in_plain_http_is_understood(said: str) -> None:
    with ScriptedServer(lambda _: Reply(said, status=400)) as server:
        assert str(asyncio.run(post(server.url))).endswith("it speaks TLS")


def test_tls_to_a_plain_http_port_says_so() -> None:
    with ScriptedServer(lambda _: completion("4")) as server:
        error = asyncio.run(post(server.url.replace("http:", "https:")))
    assert str(error).endswith("it speaks no TLS")
    assert "http://" in error.advice


@pytest.mark.parametrize("number", range(1, 12))
def test_the_number_of_a_tls_error_is_not_read_as_the_systems(number: int) -> None:
    what, advice = tls_fault(ssl.SSLError(number, "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert (_ssl.c:1000)"))
    assert what == "TLS failed: tlsv1 alert protocol version"
    assert os.strerror(number) not in what
    assert advice


def test_each_known_certificate_fault_has_advice() -> None:
    assert all(what and advice for what, advice in CERTIFICATES.values())


def test_a_server_that_speaks_tls_is_told_from_one_that_does_not() -> None:
    assert asyncio.run(with_tls_server("good.pem", lambda port: speaks_tls("127.0.0.1", port))) is True
    with ScriptedServer(lambda _: completion("4")) as server:
        assert asyncio.run(speaks_tls("127.0.0.1", server.port)) is False
    assert asyncio.run(speaks_tls("127.0.0.1", server.port)) is False
