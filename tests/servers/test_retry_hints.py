"""The wait that a server asks for, in every place and form in which servers say it."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from email.utils import formatdate
from typing import Any

import pytest

from common.servers.retry_hints import wished_wait

EXHAUSTED = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}
GOOGLE = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"retry-after": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "20s"}, 20),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 2),
        ({"llm_provider-retry-after": "33"}, 33),
        ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 1),
        ({"x-ratelimit-reset-tokens": "1s", "x-ratelimit-remaining-tokens": "9", **EXHAUSTED}, 360),
        ({"Retry-After": "3", **EXHAUSTED}, 3),
        ({"Retry-After": "0", **EXHAUSTED}, 360),
        ({"llm_provider-x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5),
        ({"ratelimit-reset": "12"}, 12),
        ({"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT"}, 9),
        ({"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "anthropic-ratelimit-requests-reset": "2015-10-21T07:28:30Z"}, 30),
        ({"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "x-ratelimit-reset": "2015-10-21T09:28:30.123+02:00"}, 30),
        ({"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "X-RateLimit-Reset": "1445412489"}, 9),
        ({"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "X-RateLimit-Reset": "1445412489000"}, 9),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}, None),
        ({}, None),
    ],
)
def test_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert wished_wait(headers, b"") == seconds


def test_a_date_without_the_servers_clock_is_held_against_ours() -> None:
    soon = time.time() + 30
    for text in (formatdate(soon, usegmt=True), datetime.fromtimestamp(soon, timezone.utc).isoformat(), f"{soon:.0f}"):
        assert wished_wait({"Retry-After": text}, b"") == pytest.approx(30, abs=2)


@pytest.mark.parametrize(
    "wish",
    [
        *("soon", "nan", "inf", "", "Wed, 99 Foo", "Mon, 01 Jan 2020 99999999999:00:00", "2020-99-99T00:00:00Z"),
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_a_wish_that_says_nothing_is_none(wish: str) -> None:
    assert wished_wait({"Retry-After": wish}, b"") is None


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"message": "Rate limit reached for gpt-4o. Please try again in 7.66s. Visit https://a.b"}}, 7.66),
        ({"error": {"message": "Limit 3, Used 3. Please try again in 1h2m3s."}}, 3723),
        ({"error": {"message": "Please try again in 120ms."}}, 0.12),
        ({"error": {"message": "Please retry after 13 seconds."}}, 13),
        ({"error": {"message": "Please retry your request in 2 minutes and 5 seconds"}}, 125),
        ({"error": {"message": "Too many requests, please wait 1 minute"}}, 60),
        ({"error": {"message": "Please retry in 34.074824224s.", "details": [GOOGLE]}}, 34.074824224),
        ({"error": {"details": [GOOGLE]}}, 34.07),
        ([{"error": {"details": [{"retryDelay": {"seconds": 34, "nanos": 7}}]}}], 34),
        ({"error": {"message": "litellm.RateLimitError: " + json.dumps({"error": {"details": [GOOGLE]}})}}, 34.07),
        ({"retry_after": 7}, 7),
        ({"retryAfterMs": 1500}, 1.5),
        ({"error": {"metadata": {"headers": {"Retry-After": "12"}}}}, 12),
        ({"error": {"metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9"}}}}, 9),
        ({"error": {"message": "Limit: 10 requests per 60 seconds. Slow down."}}, None),
        ({"error": {"message": "try again later"}}, None),
    ],
)
def test_bodies(body: Any, seconds: float | None) -> None:
    assert wished_wait({}, json.dumps(body).encode()) == seconds


def test_the_longest_of_several_wishes_counts() -> None:
    assert wished_wait({"Retry-After": "0"}, b"Please try again in 7.66s") == 7.66


@pytest.mark.parametrize("page", [b"<html><h1>429</h1>Please try again in 5 seconds</html>", b"retry after 5s \xff"])
def test_a_page_that_is_not_json_is_read_too(page: bytes) -> None:
    assert wished_wait({}, page) == 5


def test_a_long_body_takes_no_long_time() -> None:
    begun = time.process_time()
    for piece in (b"retry ", b"1", b"again in 1 ", b"wait 1s ", b"ratelimit", b'"ratelimitreset'):
        wished_wait({}, piece * (10_000_000 // len(piece)))
    assert time.process_time() - begun < 5
