"""Known servers: one example for each line of each table, read by the code that uses the table."""

from __future__ import annotations

import json
from typing import Mapping, Sequence

import pytest

from common.errors import Retryable
from common.servers.gauges import Gauges, read_gauges
from common.servers.known_servers import (
    CUT_FINISH_REASONS,
    FAILED_FINISH_REASONS,
    FINAL_500_MESSAGES,
    METRICS,
    REASONING_FIELDS,
    WHOLE_FINISH_REASONS,
    choices_per_request,
    ended_by_itself,
    probability,
)
from common.servers.replies import error_message, is_retryable, parse_completion

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 12.0
vllm:num_requests_running{engine="1",model_name="m"} 10.0
vllm:num_requests_waiting{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
"""
SGLANG = (
    'sglang:num_running_reqs{model_name="m"} 7.0\nsglang:num_queue_reqs{model_name="m"} 2.0\nsglang:token_usage{} 0.5\n'
)
LLAMA = "llamacpp:requests_processing 4\nllamacpp:requests_deferred 1\n"
PAGES = {
    "vLLM": (VLLM, Gauges(22, 3, 0.75)),
    "SGLang": (SGLANG, Gauges(7, 2, 0.5)),
    "llama.cpp": (LLAMA, Gauges(4, 1, 0)),
}


@pytest.mark.parametrize("server", METRICS)
def test_the_gauges_of_each_server_are_read(server: str) -> None:
    page, gauges = PAGES[server]
    assert read_gauges(page) == gauges


FINAL_500 = {
    "llama.cpp": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
    "vLLM": "Cannot load local files without `--allowed-local-media-path`.",
    "llama-cpp-python": "1 validation error:   {'type': 'literal_error', 'loc': ('body', 'response_format', 'type')",
}


@pytest.mark.parametrize("server", [server for server, _ in FINAL_500_MESSAGES])
def test_a_500_that_says_it_is_for_good_is_believed_only_where_it_begins_so(server: str) -> None:
    message = FINAL_500[server]
    assert not is_retryable(500, message)
    assert is_retryable(500, f"worker died after: {message}")
    assert is_retryable(429, message)


def test_a_reply_that_did_not_validate_may_pass() -> None:
    assert is_retryable(500, "1 validation error: {'type': 'missing', 'loc': ('response', 'choices')")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"error": {"message": "no", "code": 400}}', "no"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"message": "no"}', "no"),
        (b'{"error": {"code": 7}}', '{"code": 7}'),
        (b"\xff\x1b[31mred\n", "\ufffd\\x1b[31mred"),
        (b"", ""),
    ],
)
def test_an_error_reply_is_one_printable_line(data: bytes, said: str) -> None:
    assert error_message(data) == said


def completion(finish_reason: str = "stop", **message: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": "a", **message}, "finish_reason": finish_reason}]}).encode()


@pytest.mark.parametrize("field", REASONING_FIELDS)
def test_reasoning_has_several_names(field: str) -> None:
    assert parse_completion(completion(**{field: "hm"}))[0][0].reasoning == "hm"


def spellings(table: Mapping[str, Sequence[str]]) -> list[str]:
    """Each finish reason of a table, as it is and in the other case."""
    reasons = [reason for group in table.values() for reason in group]
    return reasons + [reason.upper() for reason in reasons]


@pytest.mark.parametrize("finish_reason", spellings(FAILED_FINISH_REASONS))
def test_a_choice_that_the_server_gave_up_is_not_an_answer(finish_reason: str) -> None:
    assert not ended_by_itself(finish_reason)
    with pytest.raises(Retryable):
        parse_completion(completion(finish_reason))


@pytest.mark.parametrize("finish_reason", spellings(WHOLE_FINISH_REASONS))
def test_an_answer_that_its_model_ended_is_whole(finish_reason: str) -> None:
    [answer], _ = parse_completion(completion(finish_reason))
    assert ended_by_itself(answer.finish_reason)
    assert not answer.cut


@pytest.mark.parametrize("finish_reason", spellings(CUT_FINISH_REASONS))
def test_an_answer_that_its_limit_cut_is_kept_as_cut(finish_reason: str) -> None:
    [answer], _ = parse_completion(completion(finish_reason))
    assert (answer.finish_reason, ended_by_itself(finish_reason)) == ("length", False)


@pytest.mark.parametrize("finish_reason", ["content_filter", "tool_calls", "SAFETY", "refusal", "a new one"])
def test_an_answer_that_ended_in_another_way_is_kept_and_is_not_whole(finish_reason: str) -> None:
    [answer], _ = parse_completion(completion(finish_reason))
    assert (answer.finish_reason, ended_by_itself(finish_reason)) == (finish_reason, False)


@pytest.mark.parametrize(("temperature", "choices"), [(0, 1), (0.0, 1), (0.1, 4), (None, 4)])
def test_a_greedy_request_asks_for_one_choice(temperature: float | None, choices: int) -> None:
    assert choices_per_request(4, temperature) == choices


def test_a_log_probability_of_null_is_a_probability_of_zero() -> None:
    assert (probability(None), probability(0.0)) == (0.0, 1.0)
