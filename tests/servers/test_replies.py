"""Replies: the answers in a completion, and which failures are worth trying again, and when."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import RequestFailed, Retryable, ServerBusy, ServerRefused
from common.records import Answer
from common.servers.replies import EmptyReply, failure, is_retryable, parse_completion, stops_run, why_empty


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529, 599])
def test_a_passing_trouble_is_tried_again_and_stops_nothing(status: int) -> None:
    assert is_retryable(status)
    assert not stops_run(status)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401])
def test_what_every_request_would_meet_stops_the_run_at_once(status: int) -> None:
    assert stops_run(status)
    assert not is_retryable(status)


@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 413, 415, 422, 451])
def test_what_may_be_wrong_with_one_request_alone_is_neither(status: int) -> None:
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


@pytest.mark.parametrize(
    ("status", "kind", "line"),
    [
        (500, Retryable, "http://a/v1: 500 busy"),
        (503, ServerBusy, "http://a/v1: 503 busy"),
        (529, ServerBusy, "http://a/v1: 529 busy"),
        (429, ServerBusy, "http://a/v1: 429 busy"),
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


@pytest.mark.parametrize("status", [503, 529])
def test_an_overload_without_a_wish_is_a_failed_try(status: int) -> None:
    assert type(failure("http://a/v1", status, {"Retry-After": "0"}, b"busy")) is Retryable


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            429,
            {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"},
        ),
        (403, {"message": "no", "type": "insufficient_quota"}),
        (400, {"message": "Your credit balance is too low to access the Anthropic API."}),
        (402, {"message": "Insufficient Balance", "type": "unknown_error"}),
        (429, {"message": "OpenAIException - {'error': {'code': 'insufficient_quota'}}", "code": "429"}),
    ],
)
def test_a_spent_account_stops_the_run_whatever_the_status(status: int, error: dict[str, str]) -> None:
    refused = failure("http://a/v1", status, {"Retry-After": "3"}, body(error=error))
    assert isinstance(refused, ServerRefused)
    assert "credit" in str(refused)


def test_a_prompt_about_quotas_that_the_server_repeats_stops_nothing() -> None:
    data = body(error={"message": "cannot read: what does insufficient_quota mean?"})
    assert isinstance(failure("http://a/v1", 400, {}, data), RequestFailed)


def test_a_request_that_is_too_large_for_any_minute_fails_alone() -> None:
    text = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 47218."
    error = failure("http://a/v1", 429, {}, body(error={"message": text, "code": "rate_limit_exceeded"}))
    assert type(error) is RequestFailed


def test_json_that_is_no_completion_comes_from_a_server_that_is_well() -> None:
    for data, kind in ((b'{"error": "flagged"}', EmptyReply), (b"<html>", Retryable)):
        with pytest.raises(Retryable) as caught:
            parse_completion(data)
        assert type(caught.value) is kind


def test_the_reason_of_a_choice_that_failed_is_kept() -> None:
    failed = {"error": {"code": 502, "message": "upstream"}, "finish_reason": "error", "message": {"content": ""}}
    with pytest.raises(EmptyReply, match="upstream"):
        parse_completion(body(choices=[failed]))


@pytest.mark.parametrize(
    ("given", "reasons"),
    [
        ({"message": {"content": None}, "finish_reason": "content_filter"}, " (finish_reason: content_filter)"),
        ({"message": {"content": "", "refusal": "No\x1b[2J."}}, " (refusal: No [2J.)"),
        ({"message": {"content": ""}, "finish_reason": None}, ""),
        ({"message": {"content": ""}, "error": {"message": "flagged"}}, " (error: flagged)"),
        ({"message": []}, ""),
        ([], ""),
    ],
)
def test_the_reasons_of_an_empty_answer(given: object, reasons: str) -> None:
    assert why_empty(body(choices=[given])) == reasons
