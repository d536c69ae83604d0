"""Replies: the answers in a completion, and which failures are worth trying again, and when."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from common.errors import RequestFailed, Retryable, ServerRefused
from common.records import Answer
from common.servers.replies import failure, is_retryable, parse_completion, retry_after_seconds, stops_run


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529, 599])
def test_a_passing_trouble_is_tried_again_and_stops_nothing(status: int) -> None:
    assert is_retryable(status)
    assert not stops_run(status)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 402, 403, 404])
def test_what_every_request_would_meet_stops_the_run_at_once(status: int) -> None:
    assert stops_run(status)
    assert not is_retryable(status)


@pytest.mark.parametrize("status", [400, 405, 413, 415, 422, 451])
def test_what_is_wrong_with_one_request_fails_its_entry_alone(status: int) -> None:
    assert not is_retryable(status)
    assert not stops_run(status)


def test_no_status_is_both_tried_again_and_the_end_of_the_run() -> None:
    assert [status for status in range(100, 600) if is_retryable(status) and stops_run(status)] == []


def test_no_success_is_an_error() -> None:
    assert [status for status in range(200, 300) if is_retryable(status) or stops_run(status)] == []


def body(**reply: Any) -> bytes:
    return json.dumps(reply).encode()


def choice(text: object, index: object = 0, **more: Any) -> dict[str, Any]:
    return {"index": index, "message": {"content": text, **more}, "finish_reason": "stop"}


def test_choices_come_in_the_order_of_their_index() -> None:
    answers, _ = parse_completion(body(choices=[choice("b", 1), choice("a", 0)]))
    assert [answer.text for answer in answers] == ["a", "b"]


def test_finish_reason_reasoning_and_usage_are_kept() -> None:
    usage = {"completion_tokens": 9}
    answers, tokens = parse_completion(body(choices=[choice("a", 0, reasoning_content="hm")], usage=usage))
    assert answers == [Answer("a", "stop", "hm", usage)]
    assert tokens == 9


def test_the_usage_of_a_request_is_kept_once() -> None:
    answers, _ = parse_completion(body(choices=[choice("a"), choice("b", 1)], usage={"completion_tokens": 4}))
    assert [answer.usage for answer in answers] == [{"completion_tokens": 4}, None]


def test_an_empty_answer_cut_by_its_length_is_an_answer() -> None:
    cut = {"message": {"content": None, "reasoning": "hm"}, "finish_reason": "length"}
    assert parse_completion(body(choices=[cut]))[0] == [Answer("", "length", "hm")]


def test_an_empty_choice_among_others_is_left_out() -> None:
    answers, _ = parse_completion(body(choices=[choice("a"), choice("", 1), choice("c", 2)]))
    assert [answer.text for answer in answers] == ["a", "c"]


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parse_completion(body(choices=[choice(parts)]))[0][0].text == "ab"


def test_a_count_of_tokens_beyond_reason_is_none() -> None:
    assert parse_completion(body(choices=[choice("a")], usage={"completion_tokens": 10**400}))[1] is None


def test_usage_that_json_cannot_hold_is_left_out() -> None:
    data = b'{"choices": [{"message": {"content": "a"}}], "usage": {"completion_tokens": 1e999}}'
    assert parse_completion(data)[0] == [Answer("a")]


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_seconds({"Retry-After": formatdate(time.time() + 30, usegmt=True)}) == pytest.approx(30, abs=2)
    assert retry_after_seconds({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "", "Wed, 99 Foo"])
def test_a_retry_after_that_says_nothing_is_none(value: str) -> None:
    assert retry_after_seconds({"Retry-After": value}) is None
    assert retry_after_seconds({}) is None


def test_a_retry_after_date_is_held_against_the_servers_own_clock() -> None:
    headers = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT"}
    assert retry_after_seconds(headers) == 9


@pytest.mark.parametrize(
    "wish", ["Mon, 01 Jan 2020 99999999999:00:00", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"]
)
def test_a_retry_after_of_nonsense_is_none(wish: str) -> None:
    assert retry_after_seconds({"Retry-After": wish}) is None


@pytest.mark.parametrize(
    ("status", "kind", "line"),
    [
        (503, Retryable, "http://a/v1: 503 busy"),
        (401, ServerRefused, "http://a/v1: 401 busy (wrong or missing key?"),
        (400, RequestFailed, "http://a/v1: 400 busy"),
    ],
)
def test_a_failure_names_the_server_the_status_and_the_message(status: int, kind: type, line: str) -> None:
    error = failure("http://a/v1", status, {"Retry-After": "3"}, b'{"error": "busy"}')
    assert type(error) is kind
    assert str(error).startswith(line)


def test_a_failure_that_may_pass_holds_the_wait_that_the_server_asks_for() -> None:
    error = failure("http://a/v1", 429, {"Retry-After": "3"}, b"")
    assert isinstance(error, Retryable)
    assert (error.status, error.retry_after) == (429, 3)


def test_secrets_are_removed_before_a_message_is_cut() -> None:
    data = b"x" * 117 + b"secret"
    with pytest.raises(Retryable) as caught:
        parse_completion(data, redact=lambda text: text.replace(b"secret", b"***"))
    assert "x***" in str(caught.value)
