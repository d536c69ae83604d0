"""A chat completion that is streamed: put together from its chunks, and ended early once all that comes are loops.

What comes of it is the reply that the server would have sent in one piece, so that one module reads both. A choice
counts only if its server gave it a finish reason, or if it loops: a stream that breaks off is a failed request, never
an answer. The text of a loop is kept as far as it came, with the finish reason "repetition".

>>> stream = Stream("http://host/v1")
>>> stream.take(b'data: {"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}], "usage": {"n": 1}}\\n\\n')
>>> stream.is_whole, stream.reply()
(True, b'{"choices":[{"index":0,"message":{"content":"4"},"finish_reason":"stop"}],"usage":{"n":1}}')
"""

from __future__ import annotations

from typing import Any, Callable

from ..errors import Retryable
from ..fast_json import dumps, loads, small_int
from ..records import LOOPED
from .contents import text_and_thoughts, words
from .events import Event, Events
from .known_servers import REASONING_FIELDS, WHOLE_FINISH_REASONS
from .loops import GrowingText
from .replies import ODD, Redact, error_message, failure, token_count

DONE = b"[DONE]"
LARGEST = 100 << 20  # bytes of a reply, and characters of a text
LARGEST_EVENT = 16 << 20  # bytes
BEGINNING = 1 << 10  # bytes of another body that are kept for the error line
NOT_ENDED = ("null", "none", "")  # finish reasons of a choice that goes on, in lower case, beside JSON's null
assert set(NOT_ENDED) < set(WHOLE_FINISH_REASONS[""])


class Choice:
    """One choice as it grows."""

    def __init__(self, index: object) -> None:
        self.index = index
        self.text = GrowingText()
        self.thoughts = GrowingText()
        self.refusal = ""
        self.finish: object = None  # its finish reason, once it has one
        self.looped = False
        self.chunks = 0
        self.counted = 0  # its tokens so far, as far as the server counts them

    @property
    def is_whole(self) -> bool:
        return self.finish is not None or self.looped

    @property
    def tokens(self) -> int:
        """Its tokens: as the server counted them, else one per chunk, which may hold more."""
        return max(self.chunks, self.counted)

    def grow(self, delta: dict[str, Any]) -> None:
        """Adds what one chunk has, unless it loops already."""
        text, thoughts = delta.get("content") or "", ""
        if type(text) is not str:
            text, thoughts = text_and_thoughts(text)
        for field in REASONING_FIELDS:
            thoughts = thoughts or delta.get(field) or ""
        if type(thoughts) is not str:
            thoughts = words(thoughts)
        if text or thoughts or delta.get("tool_calls"):
            self.chunks += 1
        if not self.looped:
            if delta.get("refusal"):
                self.refusal += words(delta["refusal"])
            self.looped = (self.text.add(text) if text else False) or (
                self.thoughts.add(thoughts) if thoughts else False
            )
        if self.text.size + self.thoughts.size > LARGEST:
            raise ValueError(f"an answer of more than {LARGEST >> 20} million characters")

    def end(self, finish: object) -> None:
        """Notes a finish reason, if it is one."""
        if finish is not None and not (isinstance(finish, str) and finish.strip().lower() in NOT_ENDED):
            self.finish = finish

    def whole(self) -> dict[str, Any]:
        """The choice as it stands in a reply of one piece."""
        message = {"content": self.text.text()}
        if self.thoughts.size:
            message["reasoning_content"] = self.thoughts.text()
        if self.refusal:
            message["refusal"] = self.refusal
        return {"index": self.index, "message": message, "finish_reason": LOOPED if self.looped else self.finish}


class Stream:
    """The reply of the server at ``url``, of which ``wanted`` choices are expected. ``heard`` is told of each piece.

    The server may send JSON in one piece all the same: then that is the reply. ``redact`` removes secrets from errors.
    """

    def __init__(
        self, url: str, wanted: int = 1, heard: Callable[[], None] = lambda: None, redact: Redact = str
    ) -> None:
        self._url = url
        self._redact = redact
        self.is_plain = False  # whether the server does not stream
        self._wanted = wanted
        self._heard = heard
        self._choices: dict[object, Choice] = {}
        self._events = Events()
        self._begun = b""  # the first bytes, or all of them if it is plain
        self._any = False  # whether an event came
        self.is_done = False  # whether the server said so, or the body ended
        self.is_whole = False  # whether all choices have ended, so that only the count of tokens may be missing
        self.is_over = False  # whether nothing is expected any more, or only more of what loops
        self.given = 0  # the choices of the reply, once the server said that there are no others
        self._error: bytes | None = None
        self._usage: dict[str, Any] | None = None  # of the whole reply
        self.prompt_tokens: int | None = None  # as the server counted them

    @property
    def has_answer(self) -> bool:
        """Whether a choice has ended."""
        return any(choice.is_whole for choice in self._choices.values())

    def take(self, piece: bytes) -> None:
        """Takes the next piece of the body. Retryable if it is not that of a streamed chat completion."""
        self._heard()
        if not self._any and (self.is_plain or len(self._begun) < BEGINNING):
            self._begun += piece
            self.is_plain = self._begun.lstrip().startswith((b"{", b"["))
        if self.is_plain:
            if len(self._begun) > LARGEST:
                raise Retryable(f"{self._url}: a reply of more than {LARGEST >> 20} MB", 200)
            return
        for event in self._events.take(piece):
            self._read(event)
        if self._events.waiting > LARGEST_EVENT:
            raise Retryable(f"{self._url}: an event of more than {LARGEST_EVENT >> 20} MB", 200)

    def end(self) -> None:
        """The body has ended."""
        if not self.is_plain:
            for event in self._events.end():
                self._read(event)
            self.is_done = self.is_over = True

    def reply(self, guess: int | None = None) -> bytes:
        """The reply in one piece, of the choices that have ended. RequestFailed or Retryable if none has.

        ``guess`` is about how many tokens the prompt has, for a server that did not say it.
        """
        if not (self.is_plain or self.has_answer):
            self._fail()
        if self.is_plain or not self._any:
            return self._begun
        ended = [choice for choice in self._choices.values() if choice.is_whole]
        return dumps({"choices": [choice.whole() for choice in ended], "usage": self._spent(guess)})

    def _fail(self) -> None:
        """Raises the reason why there is no answer, unless what came was not a stream at all."""
        if self._error is not None:
            status = _status_of(self._error)
            if status is not None:
                raise failure(self._url, status, {}, self._error, self._redact)
            raise Retryable(f"{self._url}: an error in the stream: {error_message(self._error, self._redact)}")
        if self._choices:
            tokens = sum(choice.tokens for choice in self._choices.values())
            raise Retryable(f"{self._url}: the stream ended before the answer did, after about {tokens:,} tokens")

    def _read(self, event: Event) -> None:
        if event.data == DONE:
            self._any = self.is_done = self.is_over = True
            self.given = len(self._choices)
        elif not self.is_over:
            try:
                self._take_chunk(event)
            except ODD as error:
                shown = error_message(event.data, self._redact)[:120]
                raise Retryable(f"{self._url}: a chunk of another shape: {shown!r}", 200) from error

    def _take_chunk(self, event: Event) -> None:
        self._any = True
        chunk = loads(event.data, small_int)
        if event.name == "error" or chunk.get("error") or chunk.get("object") == "error":
            self._error, self.is_over = event.data, True
            return
        usage, choices = chunk.get("usage"), chunk.get("choices") or []
        if isinstance(usage, dict):
            self._take_usage(usage, choices)
        for part in choices:
            index = part.get("index") or 0
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = Choice(index)
            if "delta" in part or not choice.text.size:
                choice.grow(part.get("delta") or part.get("message") or {})
            choice.end(part.get("finish_reason"))
            if choice.is_whole:
                self._look()

    def _look(self) -> None:
        """Looks whether the stream is whole or over, since a choice has ended or loops.

        Some servers stream choice after choice. So a choice that has not begun is still to come.
        """
        choices = self._choices.values()
        if len(choices) >= self._wanted and all(choice.is_whole for choice in choices):
            self.is_whole = True
            self.is_over = self.is_over or any(choice.looped for choice in choices)

    def _take_usage(self, usage: dict[str, Any], choices: list[Any]) -> None:
        """Notes the tokens so far: of all choices, or of the one that the chunk is about."""
        prompt, tokens = token_count(usage, "prompt_tokens"), token_count(usage, "completion_tokens")
        self.prompt_tokens = self.prompt_tokens if prompt is None else prompt
        if not choices or (self._wanted == 1 and choices[0].get("finish_reason") is not None):
            self._usage = usage
        elif len(choices) == 1 and tokens is not None:
            index = choices[0].get("index") or 0
            self._choices.setdefault(index, Choice(index)).counted = tokens

    def _spent(self, guess: int | None) -> dict[str, Any]:
        """The usage: the server's own if it came, else what can be counted of the chunks, as an estimate."""
        if self._usage is not None:
            return self._usage
        choices = self._choices.values()
        tokens = sum(choice.tokens for choice in choices)
        usage: dict[str, Any] = {"completion_tokens": tokens}
        prompt = guess if self.prompt_tokens is None else self.prompt_tokens
        if prompt is not None:
            usage = {"prompt_tokens": prompt, **usage, "total_tokens": prompt + tokens}
        if prompt != self.prompt_tokens or any(choice.counted < choice.chunks for choice in choices):
            usage["estimated"] = True
        return usage


def _status_of(error: bytes) -> int | None:
    """The HTTP status that an error in a stream names, if it names one."""
    try:
        value = loads(error, small_int)
        inner = value.get("error", value)
        code = inner.get("code", inner.get("status")) if isinstance(inner, dict) else None
        code = int(code) if isinstance(code, str) and code.isdecimal() else code
    except ODD:
        return None
    return code if type(code) is int and 400 <= code < 600 else None
