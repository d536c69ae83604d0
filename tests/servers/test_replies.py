"""Replies: the answers in a completion, and which failures are worth trying again, and when."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from common.errors import RequestFailed, Retryable, ServerBusy, ServerRefused
from common.records import Answer
from common.servers.redaction import KeyRemover
from common.servers.replies import (
    EmptyReply,
    empty_reply,
    error_message,
    failure,
    is_retryable,
    parse_completion,
    stops_run,
    why_empty,
)


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


@pytest.mark.parametrize("number", ["1e999", "9" * 5000, "NaN", "-Infinity"])
def test_a_number_in_the_usage_that_json_cannot_hold_again_is_null(number: str) -> None:
    data = b'{"choices": [{"message": {"content": "a"}}], "usage": {"a": %b, "completion_tokens": 3}}'
    answers, tokens = parse_completion(data % number.encode())
    assert (answers, tokens) == ([Answer("a", usage={"a": None, "completion_tokens": 3})], 3)


def test_a_million_digits_anywhere_in_a_reply_are_read_in_no_time() -> None:
    data = b'{"choices": [{"index": %b, "message": {"content": "a"}, "logprobs": {"content": [%b]}}], "created": %b}'
    begun = time.process_time()
    assert parse_completion(data % ((b"9" * 1_000_000,) * 3))[0][0].text == "a"
    assert error_message(b'{"error": %s}' % (b"9" * 1_000_000)) == '{"error": null}'
    assert time.process_time() - begun < 1  # Python alone takes 10 s or more


@pytest.mark.parametrize("usage", [7, "7", [7], None, {"completion_tokens": "7"}, {"completion_tokens": True}])
def test_a_usage_of_wrong_types_counts_nothing(usage: object) -> None:
    answers, tokens = parse_completion(body(choices=[choice("a")], usage=usage))
    assert (answers[0].text, tokens) == ("a", None)


def test_of_a_large_usage_only_the_counts_are_kept() -> None:
    usage = {"completion_tokens": 7, "note": "x" * 10_000}
    assert parse_completion(body(choices=[choice("a")], usage=usage))[0][0].usage == {"completion_tokens": 7}
    deep = b'{"choices": [{"message": {"content": "a"}}], "usage": {"total_tokens": 7, "a": %b1%b}}'
    data = deep % (b"[" * 900, b"]" * 900)
    assert parse_completion(data)[0][0].usage == {"total_tokens": 7, "a": json.loads(b"[" * 900 + b"1" + b"]" * 900)}


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_nested_json_is_a_reply_that_is_not_a_completion(depth: int) -> None:
    for data in (b"[" * depth, b"[" * depth + b"]" * depth, b'{"choices": %b}' % (b"[" * depth + b"]" * depth)):
        with pytest.raises(Retryable, match="not a chat completion"):
            parse_completion(data)
        assert error_message(data)


@pytest.mark.parametrize(
    "places", [[None, None], [0, 0], [5, 5], ["0", "1"], ["x", {}], [{}, []], [1e99, 1e99], [0, None], [-1, None]]
)
def test_choices_with_an_odd_index_are_kept_in_their_order(places: list[object]) -> None:
    answers, _ = parse_completion(body(choices=[choice("a", places[0]), choice("b", places[1])]))
    assert [answer.text for answer in answers] == ["a", "b"]


def test_choices_without_an_index_are_kept_and_an_index_in_quotes_is_one() -> None:
    bare = [{"message": {"content": text}} for text in "ab"]
    assert [answer.text for answer in parse_completion(body(choices=bare))[0]] == ["a", "b"]
    quoted = [choice("b", "10"), choice("a", "9")]
    assert [answer.text for answer in parse_completion(body(choices=quoted))[0]] == ["a", "b"]


@pytest.mark.parametrize("odd", [None, 7, "text", [], {}, {"message": None}, {"message": {"content": 7}}])
def test_a_choice_of_another_shape_costs_only_itself(odd: object) -> None:
    answers, _ = parse_completion(body(choices=[choice("a", 0), odd, choice("b", 2)]))
    assert [answer.text for answer in answers] == ["a", "b"]


def test_a_choice_that_the_server_gave_up_costs_only_itself_and_is_named_if_it_is_alone() -> None:
    lost = {**choice("half an ans"), "finish_reason": "insufficient_system_resource"}
    assert [answer.text for answer in parse_completion(body(choices=[lost, choice("a")]))[0]] == ["a"]
    with pytest.raises(Retryable, match=r"gave the answer up \(finish_reason: insufficient_system_resource"):
        parse_completion(body(choices=[lost]))


THOUGHTS = {
    "Mistral": {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
    "Anthropic": {"type": "thinking", "thinking": "hm", "signature": "x"},
    "a reasoning part": {"type": "reasoning", "reasoning": "hm"},
    "OpenRouter": {"type": "reasoning.text", "text": "hm"},
    "OpenAI": {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
    "Bedrock": {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "x"}},
}


@pytest.mark.parametrize("server", THOUGHTS)
def test_the_thoughts_in_a_list_of_contents_are_kept_as_reasoning(server: str) -> None:
    for text in ({"type": "text", "text": "4"}, {"type": "output_text", "text": "4"}, "4"):
        [answer], _ = parse_completion(body(choices=[choice([THOUGHTS[server], text])]))
        assert (answer.text, answer.reasoning) == ("4", "hm")


def test_reasoning_in_parts_beside_the_content_is_kept() -> None:
    parts = [{"type": "reasoning.text", "text": "h"}, {"type": "reasoning.text", "text": "m"}]
    [answer], _ = parse_completion(body(choices=[choice("4", reasoning_details=parts)]))
    assert (answer.text, answer.reasoning) == ("4", "hm")


def test_a_reply_that_is_all_reasoning_says_so() -> None:
    thinking = body(choices=[choice("", reasoning_content="hm" * 600)])
    assert parse_completion(thinking)[0] == []
    error = empty_reply("http://a/v1", 200, thinking)
    assert error.all_thoughts
    assert "all of the answer (1,200 characters) is in its reasoning: raise --max_tokens" in str(error)
    assert str(empty_reply("http://a/v1", 200, body(choices=[choice("")]))) == "http://a/v1: empty answer"


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
        parse_completion(data, redact=KeyRemover("secret"))
    assert "x***" in str(caught.value)
    assert error_message(b"x" * 298 + b"secret", KeyRemover("secret")).endswith("x**")


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
        ({"message": {"content": "", "refusal": "No\x1b[2J."}}, " (refusal: No\\x1b[2J.)"),
        ({"message": {"content": ""}, "finish_reason": None}, ""),
        ({"message": {"content": ""}, "error": {"message": "flagged"}}, " (error: flagged)"),
        ({"message": []}, ""),
        ([], ""),
    ],
)
def test_the_reasons_of_an_empty_answer(given: object, reasons: str) -> None:
    assert why_empty(body(choices=[given])) == reasons


def test_an_answer_that_holds_the_key_is_not_changed_but_what_surrounds_it_is() -> None:
    usage = {"completion_tokens": 7, "note": "for sk-1/2"}
    data = body(choices=[{**choice("sk-1/2", reasoning="sk-1/2"), "finish_reason": "sk-1/2"}], usage=usage)
    [answer], _ = parse_completion(data, redact=KeyRemover("sk-1/2"))
    assert answer == Answer("sk-1/2", "***", "sk-1/2", {"completion_tokens": 7, "note": "for ***"})
