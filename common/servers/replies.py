"""A server's reply, read: answers out of a completion, and an error out of anything else.

>>> data = b'{"choices": [{"message": {"content": "4"}}], "usage": {"completion_tokens": 2}}'
>>> answers, tokens = parse_completion(data)
>>> answers[0].text, tokens
('4', 2)
"""

from __future__ import annotations

import json
import math
import time
from email.utils import parsedate_to_datetime
from typing import Any, Callable, Mapping

from ..errors import RequestFailed, Retryable, ServerRefused, ToolkitError, printable
from ..fast_json import dumps, loads
from ..records import Answer
from .known_servers import ERROR_KEYS, REASONING_FIELDS, is_cut, is_final_500, is_server_fault

PLAIN = frozenset([int, type(None)])  # the types in the usage of most servers
LONGEST_USAGE = 4000  # bytes of JSON; a larger usage is not kept

HINTS = {
    401: " (wrong or missing key? it is read from the environment variable named by --api_key_env)",
    403: " (is the key allowed to use this model?)",
    404: " (wrong model name, or a base URL that does not end in /v1?)",
}


class EmptyReply(Retryable):
    """A completion without text that was not cut by its length."""


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
        raise Retryable(f"a reply that is not a chat completion: {beginning!r}", 200) from error
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
    for key in ERROR_KEYS:
        if isinstance(value, dict) and value.get(key):
            value = value[key]
    text = value if isinstance(value, str) else json.dumps(value)
    return printable(text[:300]).strip()


def failure(url: str, status: int, headers: Mapping[str, str], data: bytes) -> ToolkitError:
    """The error that a reply with another status than 2xx is."""
    message = error_message(data)
    line = f"{url}: {status} {message}".rstrip()
    if is_retryable(status, message):
        return Retryable(line, status, retry_after_seconds(headers))
    if stops_run(status):
        return ServerRefused(line + HINTS.get(status, ""))
    return RequestFailed(line, status)


def is_retryable(status: int, message: str = "") -> bool:
    """Whether an HTTP status (100 to 599) is worth another try.

    408, 409, 425, 429 and every 5xx are: the list of the OpenAI SDK and of inspect_ai, with 425 (RFC 8470). A 5xx is
    not if its ``message`` says that the request itself is wrong.
    """
    return status in (408, 409, 425, 429) or (status >= 500 and not is_final_500(message))


def stops_run(status: int) -> bool:
    """Whether an HTTP status means that every request of this run would fail alike.

    The key, the credit, the model or the path is wrong, or the server has moved.
    """
    return status in (401, 402, 403, 404) or 300 <= status < 400


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds (0 or more) that ``Retry-After`` asks for, as a number or a date (RFC 9110, 10.2.3); None if not.

    A date is compared with the server's own ``Date`` if there is one, since clocks differ.

    >>> retry_after_seconds({"Retry-After": "17"}), retry_after_seconds({})
    (17.0, None)
    """
    wish = headers.get("Retry-After", "")
    try:
        seconds = float(wish)
    except ValueError:
        try:
            now = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else time.time()
            seconds = parsedate_to_datetime(wish).timestamp() - now
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _answer(choice: dict[str, Any]) -> Answer:
    """The answer of one choice; TypeError or its like if the choice has another shape."""
    message, finish_reason = choice["message"], choice.get("finish_reason")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if not isinstance(finish_reason, str):
        finish_reason = None
    elif finish_reason != "stop":
        if is_server_fault(finish_reason):
            raise TypeError("given up")
        finish_reason = "length" if is_cut(finish_reason) else finish_reason
    if not isinstance(content, (str, type(None))):
        raise TypeError("no text")
    reasoning = None
    for field in REASONING_FIELDS:
        reasoning = reasoning or message.get(field)
    logprobs = choice.get("logprobs")
    return Answer(
        content or "",
        finish_reason,
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
