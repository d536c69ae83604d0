"""URLs: joined below a base, and which hosts a proxy can reach."""

from __future__ import annotations

import pytest

from common.servers.urls import endpoint, is_loopback, metrics_url, proxy_of


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
