"""Replies: which failures are worth trying again."""

from __future__ import annotations

import pytest

from common.servers.replies import is_retryable, stops_run


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


@pytest.mark.parametrize(
    "said",
    [
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        "Cannot load local files without `--allowed-local-media-path`.",
        "1 validation error:   {'type': 'literal_error', 'loc': ('body', 'response_format', 'type')",
    ],
)
def test_a_500_that_says_it_is_for_good_is_believed_only_where_it_begins_so(said: str) -> None:
    assert not is_retryable(500, said)
    assert is_retryable(500, f"worker died after: {said}")
    assert is_retryable(429, said)


def test_a_reply_that_did_not_validate_may_pass() -> None:
    assert is_retryable(500, "1 validation error: {'type': 'missing', 'loc': ('response', 'choices')")


def test_no_status_is_both_tried_again_and_the_end_of_the_run() -> None:
    assert [status for status in range(100, 600) if is_retryable(status) and stops_run(status)] == []


def test_no_success_is_an_error() -> None:
    assert [status for status in range(200, 300) if is_retryable(status) or stops_run(status)] == []
