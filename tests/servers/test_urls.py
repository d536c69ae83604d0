"""URLs: joined below a base, and which hosts a proxy can reach."""

from __future__ import annotations

import pytest

from common.errors import UsageError
from common.servers.urls import base_url, endpoint, has_version, is_loopback, metrics_url, proxy_of, with_version


@pytest.mark.parametrize(
    ("base", "models", "metrics"),
    [
        ("http://h:8000/v1", "http://h:8000/v1/models", "http://h:8000/metrics"),
        ("http://h:8000/v1//", "http://h:8000/v1/models", "http://h:8000/metrics"),
        ("http://h", "http://h/models", "http://h/metrics"),
        ("http://h/", "http://h/models", "http://h/metrics"),
        ("https://h/llm/v1", "https://h/llm/v1/models", "https://h/llm/metrics"),
        ("https://h/llm", "https://h/llm/models", "https://h/llm/metrics"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/models", "http://[::1]:8000/metrics"),
        ("https://h/v1?api-version=1", "https://h/v1/models?api-version=1", "https://h/metrics?api-version=1"),
        (
            "https://h/a%20b%2Fc/v1?x=1&x=2",
            "https://h/a%20b%2Fc/v1/models?x=1&x=2",
            "https://h/a%20b%2Fc/metrics?x=1&x=2",
        ),
    ],
)
def test_a_path_is_joined_to_a_base_whose_query_stays(base: str, models: str, metrics: str) -> None:
    assert str(endpoint(base, "models")) == models
    assert str(metrics_url(base)) == metrics


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.8.8/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]:80/v1", True),
        ("http://10.0.0.1/v1", False),
        ("https://localhost.example/v1", False),
    ],
)
def test_loopback_is_told_from_other_hosts(url: str, local: bool) -> None:
    assert is_loopback(url) is local


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://h/v1", "http://proxy:1"),
        ("https://h/v1", "http://proxy:2"),
        ("http://inside/v1", None),
        ("http://localhost/v1", None),
    ],
)
def test_the_proxy_is_the_environments(url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("http_proxy", "http://proxy:1"), ("https_proxy", "http://proxy:2"), ("no_proxy", "inside")):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://me:secret@proxy:1", "http_proxy names the proxy socks5://proxy:1: only http://"),
        ("socks5h://proxy:1", "http_proxy names the proxy socks5h://proxy:1: only http://"),
        ("proxy:3128", "http_proxy names a proxy without a scheme: write http://proxy:3128"),
        ("me:secret@proxy:3128", "http_proxy names a proxy without a scheme: write http://proxy:3128"),
        ("//proxy:3128", "http_proxy names a proxy without a scheme: write http://proxy:3128"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    proxy: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(UsageError) as caught:
        proxy_of("http://model.example/v1")
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert proxy_of("http://127.0.0.1/v1") is None


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://h/v1", "http://h/v1"),
        ("http://h/v1//", "http://h/v1"),
        ("http://h", "http://h"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/v1/chat/completions/", "http://h/v1"),
        ("http://h/chat/completions", "http://h"),
        ("http://h/v1/models?x=a/", "http://h/v1?x=a/"),
        (
            "https://h/openai/deployments/d/chat/completions?api-version=1",
            "https://h/openai/deployments/d?api-version=1",
        ),
        ("http://h/v1#top", "http://h/v1"),
    ],
)
def test_a_base_url_is_kept_without_an_endpoint(text: str, base: str) -> None:
    assert base_url(text) == base


@pytest.mark.parametrize(
    "text", ["h/v1", "ftp://h", "http://", "http://h:99999/v1", "http://h:x/v1", "http://h:0/", "http://u:p@h/v1", ""]
)
def test_what_is_not_a_base_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        base_url(text)


def test_a_version_is_seen_in_the_path_alone() -> None:
    with_one = ["http://h/v1", "http://h/v1beta/openai", "http://h/api/v3?x=1"]
    without = ["http://v1", "http://h", "http://h/api", "http://h?x=/v1", "http://h/vllm"]
    assert [has_version(url) for url in with_one + without] == [True] * 3 + [False] * 5
    assert with_version("http://h/api/?x=1") == "http://h/api/v1?x=1"


@pytest.mark.parametrize("query", ["a=1&a=2", "key=a%26b%2Bc", "x=a+b", "flag", "u=%C3%A4", "e=%25"])
def test_a_query_is_sent_exactly_as_it_was_given(query: str) -> None:
    assert str(endpoint(f"http://h/v1?{query}", "chat/completions")) == f"http://h/v1/chat/completions?{query}"
