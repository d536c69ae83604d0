"""A server's reply, read: answers out of a completion, and an error out of anything else.

>>> data = b'{"choices": [{"message": {"content": "4"}}], "usage": {"completion_tokens": 2}}'
>>> answers, tokens = parse_completion(data)
>>> answers[0].text, tokens
('4', 2)
"""

from __future__ import annotations

import json
from typing import Any, Callable, Mapping

from ..errors import RequestFailed, Retryable, ServerBusy, ServerRefused, ToolkitError, printable
from ..fast_json import dumps, loads
from ..records import Answer
from .known_servers import ERROR_KEYS, FAILED_FINISH_REASONS, REASONING_FIELDS, is_final, is_out_of_credit
from .retry_hints import wished_wait

PLAIN = frozenset([int, type(None)])  # the types in the usage of most servers
LONGEST_USAGE = 4000  # bytes of JSON; a larger usage is not kept

HINTS = {
    401: " (wrong or missing key? it is read from the environment variable named by --api_key_env)",
    402: " (is there credit left for this key?)",
    403: " (is the key allowed to use this model?)",
    404: " (wrong model name, or a base URL that does not end in /v1?)",
}
NO_CREDIT = " (no credit is left: add some, and run the same command again)"


class EmptyReply(Retryable):
    """A reply without an answer that was not cut by its length. It says nothing about the server's health."""


def parse_completion(
    data: bytes, empty_ok: bool = False, redact: Callable[[bytes], bytes] = lambda data: data
) -> tuple[list[Answer], int | None]:
    """The choices of a chat completion in the order of their ``index``, and the completion tokens if it counts them.

    A choice without text is left out, unless it was cut by its length or ``empty_ok``. The first answer holds the
    usage. Raises Retryable if ``data`` is not a chat completion; ``redact`` removes secrets from its message.
    """
    try:
        reply = loads(data)
        choices = reply["choices"]
        answers = [_answer(choice) for choice in choices]
        if len(answers) > 1:
            indices = [choice.get("index", place) for place, choice in enumerate(choices)]
            answers = [answer for _, answer in sorted(zip(indices, answers), key=lambda pair: pair[0])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        beginning = error_message(redact(data))[:120]
        kind = EmptyReply if data.lstrip().startswith(b"{") else Retryable  # JSON comes from a server that is well
        raise kind(f"a reply that is not a chat completion: {beginning!r}", 200) from error
    if not answers:
        raise Retryable("a chat completion without choices", 200)
    usage = _usage(reply.get("usage"))
    answers = [answer for answer in answers if empty_ok or answer.cut or answer.text.strip()]
    if answers and usage:
        answers[0].usage = usage
    return answers, token_count(usage, "completion_tokens")


def token_count(usage: dict[str, Any] | None, name: str) -> int | None:
    """A number of tokens in a reply's usage, if it is one.

    >>> token_count({"total_tokens": 9}, "total_tokens"), token_count({"total_tokens": "9"}, "total_tokens")
    (9, None)
    """
    count = usage.get(name) if usage else None
    return count if isinstance(count, int) and 0 <= count < 1 << 53 else None


def error_message(data: bytes) -> str:
    """The message in an error reply of any server, as one printable line of at most 300 characters.

    >>> error_message(b'{"error": {"message": "prompt too long"}}'), error_message(b'{"detail": "Not Found"}')
    ('prompt too long', 'Not Found')
    """
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):
        value = data[:2000].decode("utf-8", "replace")
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = next((choice for choice in value["choices"] if isinstance(choice, dict) and choice.get("error")), value)
    for key in ERROR_KEYS:
        if isinstance(value, dict) and value.get(key):
            value = value[key]
    text = value if isinstance(value, str) else json.dumps(value)
    return printable(text[:300]).strip()


def failure(url: str, status: int, headers: Mapping[str, str], data: bytes) -> ToolkitError:
    """The error that a reply with another status than 2xx is."""
    message = error_message(data)
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


def is_retryable(status: int, message: str = "") -> bool:
    """Whether an HTTP status (100 to 599) is worth another try.

    408, 409, 425, 429 and every 5xx are: the list of the OpenAI SDK and of inspect_ai, with 425 (RFC 8470). They are
    not if the ``message`` says that the request itself is wrong.
    """
    return (status in (408, 409, 425, 429) or status >= 500) and not is_final(status, message)


def stops_run(status: int) -> bool:
    """Whether an HTTP status means that every request of this run would fail alike.

    The key is wrong, or the server has moved. 402, 403 and 404 may be about one prompt: refusals.py decides.
    """
    return status == 401 or 300 <= status < 400


def why_empty(data: bytes) -> str:
    """The reasons that a completion without text gives, in parentheses.

    >>> why_empty(b'{"choices": [{"message": {"refusal": "I cannot."}, "finish_reason": "content_filter"}]}')
    ' (finish_reason: content_filter, refusal: I cannot.)'
    """
    try:
        choice = json.loads(data)["choices"][0]
        given = {"finish_reason": choice.get("finish_reason"), "refusal": choice["message"].get("refusal")}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return ""
    if isinstance(choice.get("error"), (dict, str)):
        given["error"] = error_message(json.dumps(choice).encode())
    reasons = [f"{name}: {printable(value[:300])}" for name, value in given.items() if isinstance(value, str) and value]
    return f" ({', '.join(reasons)})" if reasons else ""


def _answer(choice: dict[str, Any]) -> Answer:
    """The answer of one choice; TypeError or its like if the choice has another shape."""
    message, finish_reason = choice["message"], choice.get("finish_reason")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if not isinstance(content, (str, type(None))) or finish_reason in FAILED_FINISH_REASONS:
        raise TypeError("no text")
    reasoning = None
    for field in REASONING_FIELDS:
        reasoning = reasoning or message.get(field)
    logprobs = choice.get("logprobs")
    return Answer(
        content or "",
        finish_reason if isinstance(finish_reason, str) else None,
        reasoning if isinstance(reasoning, str) else None,
        logprobs=logprobs.get("content") if isinstance(logprobs, dict) else None,
    )


def _usage(value: object) -> dict[str, Any] | None:
    """A reply's usage, if it is a small object that JSON can hold again."""
    if not isinstance(value, dict):
        return None
    if len(value) < 10 and PLAIN.issuperset(map(type, value.values())):
        return value  # the usual one; this saves 3 us of the 200 us that a reply takes
    try:
        text = dumps(value)
    except RecursionError:
        return None
    return value if len(text) < LONGEST_USAGE and loads(text) == value else None
