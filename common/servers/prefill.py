"""``--prefill``: an answer that begins with a given text, which the server continues.

The text is an assistant message at the end of the conversation. Most servers reply with the continuation alone. Others
repeat the text before it: Mistral, and llama.cpp since 2026. The kept answer has the text once.

>>> Prefill("The answer is").joined_text(" 4."), Prefill("The answer is").joined_text("The answer is 4.")
('The answer is 4.', 'The answer is 4.')
>>> found = Prefill("<think>\\nWell, ").joined(Answer("It is 4.", reasoning="2 + 2"), False)
>>> found.text, found.reasoning
('It is 4.', 'Well, 2 + 2')
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Iterable, Sequence
from urllib.parse import urlsplit

from ..errors import RequestFailed, RunStopped, UsageError
from ..fast_json import dumps
from ..records import Answer
from ..thinking import split_thoughts
from .client import ChatClient
from .known_servers import (
    CANNOT_CONTINUE,
    CANNOT_CONTINUE_OWNERS,
    CONTINUE_LAST_MESSAGE,
    CONTINUED_MESSAGE,
    DEEPSEEK_BETA,
)

SURE = 8  # characters of a text that no continuation begins with by chance
QUESTION = "Go on with these numbers."
NUMBERS = "7 3 9 1 8 2 6 4 5 0"  # more tokens than the reply may have: only a server that repeats them has them in it
FEW = 4  # tokens


@dataclass
class Prefill:
    """The text with which each answer begins. ``word`` is what the server wants in the message for it."""

    text: str
    word: dict[str, Any] | None = None
    repeats: bool | None = None  # whether the server's reply begins with the text, once that is known
    _asking: asyncio.Future[bool] | None = field(default=None, compare=False, repr=False)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that a request has because of it."""
        return {} if self.word is not None else CONTINUE_LAST_MESSAGE

    def message(self, text: str | None = None) -> dict[str, Any]:
        """The last message of the conversation."""
        return {"role": "assistant", "content": self.text if text is None else text, **(self.word or {})}

    @cached_property
    def _is_thought(self) -> bool:
        """Whether the text ends inside a thought."""
        return split_thoughts(self.text).answer is None

    @cached_property
    def _thought(self) -> str:
        """The text without the tag that opens a thought, and without the space after that."""
        words = split_thoughts(self.text).thoughts if self._is_thought else self.text
        place = self.text.rfind(words) if words else len(self.text)
        return self.text[place:] if place >= 0 else words

    def _is_begun(self, text: str) -> bool:
        return text.startswith(self.text) or text.lstrip().startswith(self.text.strip())

    @property
    def is_sure(self) -> bool:
        """Whether a reply that begins with the text repeats it, as no continuation does."""
        return self._is_thought or len(self.text.strip()) >= SURE

    def joined_text(self, text: str, repeats: bool | None = None) -> str:
        """The answer that a reply's text is the end of, or that it is already."""
        is_whole = self._is_begun(text) and (self.is_sure if repeats is None else repeats or self.is_sure)
        return text if is_whole else self.text + text

    def joined(self, answer: Answer, repeats: bool | None = None) -> Answer:
        """The answer with the text before it. ``repeats``: the server's replies have it already (None: not known).

        If the reply has thoughts, they came first: they are what continues the text, unless it has closed its thought.
        """
        if answer.reasoning and not self._closes:
            if not repeats and not answer.reasoning.lstrip().startswith(self._thought.strip() or "\0"):
                answer.reasoning = self._thought + answer.reasoning
        else:
            answer.text = self.joined_text(answer.text, repeats)
        return answer

    @cached_property
    def _closes(self) -> bool:
        found = split_thoughts(self.text)
        return found.answer is not None and found.answer != self.text

    async def join(self, answers: Sequence[Answer], client: ChatClient) -> None:
        """Puts the text before the answers of a reply; if that is unclear, asks the server whether it repeats it."""
        for answer in answers:
            begun = not answer.reasoning and self._is_begun(answer.text)
            if not begun and not answer.reasoning and answer.text:
                self.repeats = False
            if begun and not self.is_sure and self.repeats is None:
                self._asking = self._asking or asyncio.ensure_future(self._ask(client))
                self.repeats = await asyncio.shield(self._asking)
            self.joined(answer, self.repeats)

    async def _ask(self, client: ChatClient) -> bool:
        """Whether the server's reply repeats the text that it continues: one request of a few tokens.

        It raises nothing, since an answer that is paid for waits for it.
        """
        if client.filed is not None:
            return False
        messages = dumps([{"role": "user", "content": QUESTION}, self.message(NUMBERS)])
        try:
            answers = await client.complete(
                messages, {"temperature": 0.0, "max_tokens": FEW, **self.fields}, empty_ok=True, tentative=True
            )
        except (RequestFailed, RunStopped):
            return False
        return answers[0].text.lstrip().startswith(NUMBERS)


def make_prefill(text: str, urls: Sequence[str], flag: str = "--prefill") -> Prefill:
    """The prefill for these servers. UsageError if one of them cannot continue an answer, or not as the others do."""
    words = [_word(url, flag) for url in urls] or [None]
    if any(word != words[0] for word in words):
        raise UsageError(f"{flag}: {urls[0]} and the other servers continue an answer in different ways")
    return Prefill(text, words[0])


def check_owners(url: str, owners: Iterable[str], flag: str = "--prefill") -> None:
    """UsageError if the owner of a server's models tells that it cannot continue an answer."""
    for owner in owners:
        if owner in CANNOT_CONTINUE_OWNERS:
            name = CANNOT_CONTINUE_OWNERS[owner]
            raise UsageError(f"{flag}: {name} ({url}) cannot continue an answer that is begun: it starts a new one")


def _word(url: str, flag: str) -> dict[str, Any] | None:
    """What a server wants in the message that it continues; None if it takes the usual fields."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    for name, pattern in CANNOT_CONTINUE:
        if re.fullmatch(pattern, host):
            raise UsageError(f"{flag}: {name} ({url}) cannot continue an answer that is begun")
    beta_host, beta = DEEPSEEK_BETA
    if host == beta_host and not parts.path.startswith(beta):
        raise UsageError(f"{flag}: DeepSeek continues an answer only at https://{beta_host}{beta}, not at {url}")
    return next((word for _, pattern, word in CONTINUED_MESSAGE if re.fullmatch(pattern, host)), None)
