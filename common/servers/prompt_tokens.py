"""How many tokens a prompt has whose server did not say it: the stream was closed before the count came.

Another request with the same prompt tells it exactly. Else it is about as many as other prompts of this length have.

>>> counts = PromptTokens()
>>> short, longer = b'[{"role":"user","content":"2+2?"}]', b'[{"role":"user","content":"2+2, and then 3+3?"}]'
>>> counts.guess(short)
>>> counts.learn(short, 20)
>>> counts.guess(short), counts.guess(longer)
(20, 28)
"""

from __future__ import annotations

REMEMBERED = 10_000  # prompts
IMAGE = b'"image_url"'


class PromptTokens:
    """What the servers said of the prompts so far. A prompt is the JSON of its messages."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}  # by the hash of the prompt, the oldest first
        self._bytes = 0
        self._tokens = 0

    def learn(self, messages: bytes, tokens: int) -> None:
        """Notes what a server counted."""
        key = hash(messages)
        if key in self._known:
            return
        if len(self._known) == REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = tokens
        if IMAGE not in messages:
            self._bytes += len(messages)
            self._tokens += tokens

    def guess(self, messages: bytes) -> int | None:
        """The tokens of a prompt; None if nothing tells it. The bytes of an image tell nothing."""
        known = self._known.get(hash(messages))
        if known is not None or not self._bytes or IMAGE in messages:
            return known
        return round(len(messages) * self._tokens / self._bytes)
