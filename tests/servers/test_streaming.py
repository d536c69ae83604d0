"""Streaming: a reply put together from its chunks, as if it had come in one piece, or no answer at all."""

from __future__ import annotations

import itertools
import json
from typing import Any, Dict, Iterable, List

import pytest

from common.errors import RequestFailed, Retryable
from common.records import Answer
from common.servers.loops import LEAST
from common.servers.redaction import KeyRemover
from common.servers.replies import read_completion
from common.servers.streaming import Stream
from tests.scripted_server import event, streamed

DONE = b"data: [DONE]\n\n"
URL = "http://host/v1"
LOOP = ["No, wait. "] * (LEAST // 10)


def stream_of(pieces: Iterable[bytes], wanted: int = 1) -> Stream:
    """A stream that took these pieces until it was over, or the body ended."""
    stream = Stream(URL, wanted, redact=KeyRemover("sk-secret"))
    for piece in pieces:
        stream.take(piece)
        if stream.is_over:
            return stream
    stream.end()
    return stream


def answers_of(pieces: Iterable[bytes], wanted: int = 1) -> List[Answer]:
    return read_completion(stream_of(pieces, wanted).reply()).answers


def only(pieces: Iterable[bytes]) -> Answer:
    [answer] = answers_of(pieces)
    return answer


def in_pieces(data: bytes, size: int) -> List[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_an_answer_is_the_same_wherever_the_pieces_end() -> None:
    data = b"".join(streamed(["Är", "ger \U0001f600 ", "日本", "語"], tokens=9))
    for size in (1, 2, 5, 17, 10_000):
        answer = only(in_pieces(data, size))
        assert (answer.text, answer.finish_reason) == ("Ärger \U0001f600 日本語", "stop")
        assert answer.usage == {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_are_kept_and_their_loops_are_found(field: str) -> None:
    thoughts = [event({field: "2 and "}), event({field: "2"}), event({"content": "4"}), event({}, finish="stop"), DONE]
    assert only(thoughts) == Answer("4", "stop", "2 and 2", {"completion_tokens": 3, "estimated": True})
    looped = only(streamed(itertools.repeat("No, wait. "), field=field))
    assert looped == Answer("", "repetition", "".join(LOOP), {"completion_tokens": len(LOOP), "estimated": True})


def test_both_fields_of_thoughts_in_one_chunk_count_once() -> None:
    pieces = [event({"reasoning": "2", "reasoning_details": [{"type": "reasoning.text", "text": "2"}]})]
    assert only([*pieces, event({"content": "4"}, finish="stop"), DONE]).reasoning == "2"


def test_a_list_of_parts_is_text_and_thoughts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "2 and 2"}]}, {"type": "text", "text": "4"}]
    answer = only([event({"content": parts}), event({"content": "."}, finish="stop"), DONE])
    assert (answer.text, answer.reasoning) == ("4.", "2 and 2")


def test_a_loop_ends_the_stream_and_keeps_its_text() -> None:
    stream = stream_of(streamed(itertools.repeat("No, wait. ")))
    assert (stream.is_over, stream.is_done) == (True, False)
    [answer] = read_completion(stream.reply()).answers
    assert (answer.text, answer.finish_reason) == ("".join(LOOP), "repetition")


def test_a_choice_that_loops_waits_for_the_others_and_says_no_more() -> None:
    def chunks() -> Iterable[bytes]:
        for number in range(1000):
            yield event({"content": "No, wait. "}, {"content": f"{number} "})
        yield event({"content": "No, wait. "}, {"content": "end."}, finish="stop")

    looped, whole = answers_of(chunks(), wanted=2)
    assert (looped.text, looped.finish_reason) == ("".join(LOOP), "repetition")
    assert (whole.text[-8:], whole.finish_reason) == ("999 end.", "stop")
    assert looped.usage == {"completion_tokens": 2002, "estimated": True}


def test_a_choice_that_has_not_begun_is_still_to_come() -> None:
    def chunks() -> Iterable[bytes]:
        for index in range(3):
            for text in [*LOOP, *LOOP] if index else ["4"]:
                yield event(choices=[{"index": index, "delta": {"content": text}}])
            yield event(choices=[{"index": index, "delta": {}, "finish_reason": "length" if index else "stop"}])

    stream = stream_of(chunks(), wanted=3)
    assert (stream.is_over, stream.is_done) == (True, False)  # at the loop of the last choice
    texts = [(one.text, one.finish_reason) for one in read_completion(stream.reply()).answers]
    assert texts == [("4", "stop"), ("".join(LOOP), "repetition"), ("".join(LOOP), "repetition")]


def test_tokens_are_the_servers_own_where_it_counts_them() -> None:
    counts = ({"prompt_tokens": 9, "completion_tokens": 3 * n, "total_tokens": 9 + 3 * n} for n in itertools.count())
    answer = only(event({"content": "No, wait. "}, usage=usage) for usage in counts)
    tokens = 3 * (len(LOOP) - 1)
    assert answer.usage == {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}


def test_a_count_of_each_choice_is_added_up() -> None:
    one = {"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}
    pieces = [
        event({"content": "a"}, finish="stop", usage={"prompt_tokens": 4, "completion_tokens": 2}),
        event(choices=[one], usage={"prompt_tokens": 4, "completion_tokens": 5}),
    ]
    assert answers_of(pieces, wanted=2)[0].usage == {"prompt_tokens": 4, "completion_tokens": 7, "total_tokens": 11}


@pytest.mark.parametrize("rest", [[], [DONE], [b": alive\n\n"], [event()], [event({"content": " 5"})]])
def test_a_stream_that_ends_before_its_answer_is_no_answer(rest: List[bytes]) -> None:
    with pytest.raises(Retryable, match=f"{URL}: the stream ended before the answer did, after about [12] tokens"):
        stream_of([event({"content": "4"}), *rest]).reply()


@pytest.mark.parametrize("finish", ["", "null", None])
def test_an_empty_finish_reason_ends_nothing(finish: Any) -> None:
    stream = stream_of([event({"content": "4"}, finish=finish)])
    assert not stream.has_answer
    assert only([event({"content": "4"}, finish=finish), event({"content": "2"}, finish="stop")]).text == "42"


def test_a_finish_reason_is_enough_without_done_and_usage() -> None:
    assert only([event({"content": "4"}, finish="length")]) == Answer(
        "4", "length", usage={"completion_tokens": 1, "estimated": True}
    )


def test_choices_that_ended_are_kept_if_the_stream_breaks_off() -> None:
    part = {"index": 1, "delta": {"content": "half"}, "finish_reason": None}
    [answer] = answers_of([event({"content": "whole"}, finish="stop"), event(choices=[part])], wanted=2)
    assert answer.text == "whole"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        ({"message": "out of memory sk-secret", "code": 500}, Retryable, f"{URL}: 500 out of memory ***"),
        ({"message": "too long", "code": "400"}, RequestFailed, f"{URL}: 400 too long"),
        ("it broke", Retryable, f"{URL}: an error in the stream: it broke"),
    ],
)
def test_an_error_in_a_stream_is_a_failed_request(error: object, kind: type, said: str) -> None:
    pieces = [event({"content": "4"}), b"data: " + json.dumps({"error": error}).encode() + b"\n\n", DONE]
    with pytest.raises(kind) as caught:
        stream_of(pieces).reply()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "line", [b'error: {"code": 500, "message": "gone"}', b'event: error\ndata: {"message": "gone"}']
)
def test_an_error_event_is_a_failed_request(line: bytes) -> None:
    old = b'data: {"object": "error", "message": "gone"}'  # of vLLM
    with pytest.raises(Retryable, match="gone"):
        stream_of([old + b"\n\n"]).reply()
    with pytest.raises(Retryable, match="gone"):
        stream_of([event({"content": "4"}), line + b"\n\n"]).reply()


@pytest.mark.parametrize(
    "data", [b"{", b"[1]", b'"a"', b'{"choices": [3]}', b'{"choices": [{"delta": {"content": 5}}]}']
)
def test_a_chunk_of_another_shape_is_a_failed_request(data: bytes) -> None:
    with pytest.raises(Retryable, match="a chunk of another shape"):
        stream_of([b"data: " + data + b"\n\n"])


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b": alive\n\n", DONE])
def test_a_body_without_chunks_is_a_failed_request(body: bytes) -> None:
    with pytest.raises(Retryable, match=r"not a chat completion|without choices"):
        read_completion(stream_of([body]).reply())


def test_json_in_one_piece_is_the_reply() -> None:
    data = json.dumps({"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}, indent=1).encode()
    stream = stream_of(in_pieces(b"\n" + data, 3))
    assert stream.is_plain
    assert read_completion(stream.reply()).answers == [Answer("4", "stop")]


def test_refusals_and_tool_calls_are_no_text() -> None:
    refused = [event({"refusal": "I can"}), event({"refusal": "not."}, finish="stop"), DONE]
    reply: Dict[str, Any] = json.loads(stream_of(refused).reply())
    assert reply["choices"][0]["message"] == {"content": "", "refusal": "I cannot."}
    called = [event({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), event({}, finish="tool_calls")]
    assert answers_of(called) == []


def test_a_last_message_in_full_is_not_added_to_its_parts() -> None:
    last = {"index": 0, "message": {"content": "42"}, "finish_reason": "stop"}
    assert only([event({"content": "4"}), event({"content": "2"}), event(choices=[last])]).text == "42"
    assert only([event(choices=[last])]).text == "42"


def test_whoever_waits_is_told_of_each_piece() -> None:
    heard: List[int] = []
    stream = Stream(URL, heard=lambda: heard.append(1))
    for piece in streamed("4"):
        stream.take(piece)
    assert len(heard) == 5
