"""A server's reply, read: answers out of a completion, and an error out of anything else.

>>> data = b'{"choices": [{"message": {"content": "4"}}], "usage": {"completion_tokens": 2}}'
>>> answers, tokens = parse_completion(data)
>>> answers[0].text, tokens
('4', 2)
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from ..errors import RequestFailed, Retryable, ServerBusy, ServerRefused, ToolkitError, printable
from ..fast_json import dumps, loads, small_int
from ..records import LOOPED, Answer
from .contents import text_and_thoughts, words
from .known_servers import (
    ERROR_KEYS,
    REASONING_FIELDS,
    is_cut,
    is_final,
    is_loop,
    is_out_of_credit,
    is_server_fault,
)
from .retry_hints import wished_wait

Redact = Callable[[str], str]  # removes secrets from a text

PLAIN = frozenset([int, type(None)])  # the types in the usage of most servers
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
LONGEST_USAGE = 4000  # bytes of JSON; only the counts of a larger usage are kept
LONGEST_FINISH_REASON = 100  # characters
LONGEST_ERROR = 1 << 20  # bytes of JSON that are searched for a message
SEARCHED = 10_000  # characters of a message that are searched for secrets; far fewer are shown

ODD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised by a reply of another shape

HINTS = {
    401: " (wrong or missing key? it is read from the environment variable named by --api_key_env)",
    402: " (is there credit left for this key?)",
    403: " (is the key allowed to use this model?)",
    404: " (wrong model name, or a base URL that does not end in /v1?)",
}
NO_CREDIT = " (no credit is left: add some, and run the same command again)"


class EmptyReply(Retryable):
    """A reply without an answer that was not cut by its length; ``all_thoughts`` if it has reasoning instead.

    It says nothing about the server's health.
    """

    def __init__(self, message: str, status: int | None = None, all_thoughts: bool = False) -> None:
        super().__init__(message, status)
        self.all_thoughts = all_thoughts


class FiledReply(NamedTuple):
    """A reply that stands in a file: where, its HTTP status (None if the request was not answered), and its body."""

    where: str
    status: int | None
    body: bytes


class _GivenUp(ValueError):
    """The server gave a choice up."""


class Completion(NamedTuple):
    """The answers of a chat completion, and the usage that its server reports."""

    answers: list[Answer]
    usage: dict[str, Any] | None


def parse_completion(data: bytes, empty_ok: bool = False, redact: Redact = str) -> tuple[list[Answer], int | None]:
    """The answers as ``read_completion`` reads them, and the completion tokens if the server counts them."""
    answers, usage = read_completion(data, empty_ok, redact)
    return answers, token_count(usage, "completion_tokens")


def read_completion(data: bytes, empty_ok: bool = False, redact: Redact = str) -> Completion:
    """The choices of a chat completion in the order of their ``index``, and its usage.

    A choice without text is left out, unless it was cut by its length or looped, or ``empty_ok``. So is a choice of
    another shape beside others. The first answer holds the usage. Raises Retryable if ``data`` is not a chat
    completion; ``redact`` removes secrets from its message.
    """
    try:
        reply = loads(data, small_int)
        choices = reply["choices"]
        answers = [_answer(choice, redact) for choice in choices]
    except ODD as error:
        reply, choices, answers = _readable_part(data, redact, error)
    if not answers:
        raise Retryable("a chat completion without choices", 200)
    if len(answers) > 1:
        answers = _in_order(choices, answers)
    usage = _usage(reply.get("usage"), redact)
    answers = [answer for answer in answers if empty_ok or answer.text.strip() or answer.cut or answer.looped]
    if answers and usage:
        answers[0].usage = usage
    return Completion(answers, usage)


def empty_reply(server: str, status: int, data: bytes, redact: Redact = str) -> EmptyReply:
    """The error that a completion without text is."""
    thoughts = sum(len(answer.reasoning or "") for answer in parse_completion(data, empty_ok=True)[0])
    if not thoughts:
        return EmptyReply(f"{server}: empty answer{why_empty(data, redact)}", status)
    return EmptyReply(
        f"{server}: all of the answer ({thoughts:,} characters) is in its reasoning: raise --max_tokens, "
        "or correct the server's reasoning parser",
        status,
        all_thoughts=True,
    )


def other_shape(url: str, data: bytes, redact: Redact = str) -> Retryable:
    """The error that a reply of another shape than the one that was asked for is.

    >>> print(other_shape("http://host/classify", b'{"data": []}'))
    http://host/classify: a reply of another shape: '{"data": []}'
    """
    kind = EmptyReply if data.lstrip().startswith((b"{", b"[")) else Retryable  # JSON comes from a server that is well
    return kind(f"{url}: a reply of another shape: {error_message(data, redact)[:120]!r}", 200)


def token_count(usage: dict[str, Any] | None, name: str) -> int | None:
    """A number of tokens in a reply's usage, if it is one.

    >>> token_count({"total_tokens": 9}, "total_tokens"), token_count({"total_tokens": "9"}, "total_tokens")
    (9, None)
    """
    count = usage.get(name) if usage else None
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    return count if type(count) is int and 0 <= count < 1 << 53 else None


def error_message(data: bytes, redact: Redact = str) -> str:
    """The message in an error reply of any server, as one printable line of at most 300 characters.

    >>> error_message(b'{"error": {"message": "prompt too long"}}'), error_message(b'{"detail": "Not Found"}')
    ('prompt too long', 'Not Found')
    """
    try:
        value: Any = loads(data[:LONGEST_ERROR], small_int)
        if isinstance(value, dict) and isinstance(value.get("choices"), list):
            choices = (choice for choice in value["choices"] if isinstance(choice, dict) and choice.get("error"))
            value = next(choices, value)
        for key in ERROR_KEYS:
            if isinstance(value, dict) and value.get(key):
                value = value[key]
        text = value if isinstance(value, str) else json.dumps(value)
    except (ValueError, RecursionError):
        text = data[:SEARCHED].decode("utf-8", "replace")
    return printable(redact(text[:SEARCHED])[:300]).strip()


def failure(url: str, status: int, headers: Mapping[str, str], data: bytes, redact: Redact = str) -> ToolkitError:
    """The error that a reply with another status than 2xx is."""
    message = error_message(data, redact)
    line = f"{url}: {status} {message}".rstrip()
    if is_out_of_credit(message, data):
        return ServerRefused(line + NO_CREDIT)
    if is_retryable(status, message):
        wait = wished_wait(headers, data)
        is_busy = status == 429 or (status in (503, 529) and bool(wait))
        return (ServerBusy if is_busy else Retryable)(line, status, wait)
    if stops_run(status):
        return ServerRefused(line + HINTS.get(status, ""))
    return RequestFailed(line, status)


def filed_failure(reply: FiledReply, redact: Redact = str) -> RequestFailed:
    """The error that a reply in a file is. It is about its request, whatever it says: the others have their own."""
    if reply.status is None:
        return Retryable(f"{reply.where}: {error_message(reply.body, redact)}")
    error = failure(reply.where, reply.status, {}, reply.body, redact)
    return error if isinstance(error, RequestFailed) else Retryable(str(error), reply.status)


def is_retryable(status: int, message: str = "") -> bool:
    """Whether an HTTP status (100 to 599) is worth another try.

    408, 409, 425, 429 and every 5xx are: the list of the OpenAI SDK and of inspect_ai, with 425 (RFC 8470), and 424, by
    which TEI says that its backend failed. They are not if the ``message`` says that the request itself is wrong.
    """
    return (status in (408, 409, 424, 425, 429) or status >= 500) and not is_final(status, message)


def stops_run(status: int) -> bool:
    """Whether an HTTP status means that every request of this run would fail alike.

    The key is wrong, or the server has moved. 402, 403 and 404 may be about one prompt: refusals.py decides.
    """
    return status == 401 or 300 <= status < 400


def why_empty(data: bytes, redact: Redact = str) -> str:
    """The reasons that a completion without text gives, in parentheses.

    >>> why_empty(b'{"choices": [{"message": {"refusal": "I cannot."}, "finish_reason": "content_filter"}]}')
    ' (finish_reason: content_filter, refusal: I cannot.)'
    """
    try:
        choice = loads(data, small_int)["choices"][0]
        given = {"finish_reason": choice.get("finish_reason"), "refusal": choice["message"].get("refusal")}
        if given["finish_reason"] == "stop":
            del given["finish_reason"]
        if isinstance(choice.get("error"), (dict, str)):
            given["error"] = error_message(json.dumps(choice).encode())
    except (*ODD, IndexError):
        return ""
    texts = {name: value for name, value in given.items() if isinstance(value, str) and value}
    reasons = [f"{name}: {printable(redact(text[:SEARCHED])[:300])}" for name, text in texts.items()]
    return f" ({', '.join(reasons)})" if reasons else ""


def _answer(choice: dict[str, Any], redact: Redact) -> Answer:
    """The answer of one choice; one of ``ODD`` if the choice has another shape or was given up."""
    message, finish_reason, logprobs = choice["message"], choice.get("finish_reason"), choice.get("logprobs")
    text, thoughts = message.get("content") or "", ""
    if type(text) is not str:
        text, thoughts = text_and_thoughts(text)
    if finish_reason != "stop":
        finish_reason = _finish_reason(finish_reason, redact)
    reasoning = None
    for field in REASONING_FIELDS:
        reasoning = reasoning or message.get(field)
    if reasoning is not None and type(reasoning) is not str:
        reasoning = words(reasoning)
    return Answer(
        text,
        finish_reason,
        reasoning or thoughts or None,
        logprobs=logprobs.get("content") if type(logprobs) is dict else None,
    )


def _finish_reason(value: object, redact: Redact) -> str | None:
    """Another finish reason than "stop" as it is kept: the token limit as "length", a loop as "repetition"."""
    if isinstance(value, dict):
        value = value.get("type")  # SGLang's own API, behind some gateways
    if not isinstance(value, str):
        return None
    if is_server_fault(value):
        raise _GivenUp
    if is_loop(value):
        return LOOPED
    return "length" if is_cut(value) else redact(value)[:LONGEST_FINISH_REASON]


def _readable_part(data: bytes, redact: Redact, error: Exception) -> tuple[dict[str, Any], list[Any], list[Answer]]:
    """A reply that cannot be read as a whole: the reply, the choices that can be read, and their answers.

    Retryable, because of ``error``, if no choice can.
    """
    found = []
    try:
        reply = loads(data, small_int)
        for choice in list(reply["choices"]):
            with contextlib.suppress(*ODD):
                found.append((choice, _answer(choice, redact)))
    except ODD:
        reply = {}
    if not found:
        shape = f"a reply that is not a chat completion: {error_message(data, redact)[:120]!r}"
        kind = EmptyReply if data.lstrip().startswith(b"{") else Retryable  # JSON comes from a server that is well
        given_up = f"the server gave the answer up{why_empty(data, redact)}"
        raise kind(given_up if isinstance(error, _GivenUp) else shape, 200) from error
    return reply, [choice for choice, _ in found], [answer for _, answer in found]


def _in_order(choices: Sequence[dict[str, Any]], answers: list[Answer]) -> list[Answer]:
    """The answers in the order of their choices' ``index``; a choice without a number keeps its place."""
    places = [choice.get("index") for choice in choices]
    if places == list(range(len(places))):
        return answers
    numbers = [_number(place, number) for number, place in enumerate(places)]
    return [answer for _, answer in sorted(zip(numbers, answers), key=lambda pair: pair[0])]


def _number(place: object, otherwise: int) -> float:
    """A choice's ``index`` as a number.

    >>> _number(2, 7), _number("2", 7), _number(None, 7)
    (2, 2, 7)
    """
    if isinstance(place, str) and place.isdecimal() and len(place) < 10:
        return int(place)
    return place if isinstance(place, (int, float)) else otherwise


def _usage(value: object, redact: Redact) -> dict[str, Any] | None:
    """A reply's usage, as far as it is a small object that JSON can hold again."""
    if not isinstance(value, dict):
        return None
    if len(value) < 10 and PLAIN.issuperset(map(type, value.values())):
        return value  # the usual one; this saves 3 us of the 200 us that a reply takes
    try:
        text = dumps(value)
    except RecursionError:
        text = b""
    if not 0 < len(text) < LONGEST_USAGE:
        return {name: value[name] for name in COUNTS if type(value.get(name)) is int}
    kept: dict[str, Any] = loads(redact(text.decode()).encode())
    return kept
