"""Server-sent events: however a server ends its lines, and wherever a piece ends."""

from __future__ import annotations

from typing import List, Sequence

import pytest

from common.servers.events import Event, Events

TEXT = ': hello\nevent: note\nid: 7\ndata: {"a": "ü\U0001f600"}\n\n: alive\n\ndata: 1\ndata: 2\n\ndata:[DONE]\n\n'
EVENTS = [Event("note", '{"a": "ü\U0001f600"}'.encode()), Event("", b"1\n 2"), Event("", b"[DONE]")]


def events_of(pieces: Sequence[bytes]) -> List[Event]:
    events = Events()
    found = [event for piece in pieces for event in events.take(piece)]
    return found + events.end()


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_end_in_three_ways_and_pieces_end_anywhere(ending: str) -> None:
    data = TEXT.replace("\n", ending).encode()
    for size in (1, 2, 3, 7, 1000):
        assert events_of([data[at : at + size] for at in range(0, len(data), size)]) == EVENTS, size


def test_the_end_of_the_body_ends_an_event() -> None:
    assert events_of([b"data: 1"]) == [Event("", b"1")]
    assert events_of([b"data: 1\r"]) == [Event("", b"1")]
    assert events_of([b"data: 1\r\n\r"]) == [Event("", b"1")]
    assert events_of([]) == []


def test_a_byte_order_mark_and_unknown_fields_are_passed_over() -> None:
    assert events_of([b"\xef\xbb", b"\xbfdata: 1\n\nretry: 5\nnonsense\ndatas: 3\n\n"]) == [Event("", b"1")]


def test_an_error_field_is_an_event_of_that_name() -> None:
    assert events_of([b'error: {"code": 500}\n\n']) == [Event("error", b'{"code": 500}')]


def test_what_has_come_of_the_next_event_is_counted() -> None:
    events = Events()
    assert events.take(b"data: 12\ndata: 3") == []
    assert events.waiting == len(b"data: 12") + len(b"data: 3")
