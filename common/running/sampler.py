"""Entry -> answers: draws what is missing of an entry's N answers, one or several choices a request.

Example: ``await sampler.draw(entry, messages, indices=[2, 3], keep=lambda index, answer: ...)``
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable, Coroutine, Dict, List, Optional, Sequence

from ..errors import RequestFailed
from ..records import Answer, Entry, fingerprint
from ..servers.client import ChatClient

Keep = Callable[[int, Answer], None]
Drawing = Coroutine[Any, Any, None]


@dataclass
class Sampler:
    """What the generator is asked for: ``count`` answers an entry, ``per_request`` of them at most in one request."""

    client: ChatClient
    count: int
    per_request: int = 1
    temperature: Optional[float] = None
    top_p: Optional[float] = None
    max_tokens: Optional[int] = None
    seed: Optional[int] = None
    system_prompt: Optional[str] = None

    def settings(self) -> Dict[str, Any]:
        """All that makes an answer what it is, but for the entry and the token limit."""
        return {
            "model": self.client.model,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "system_prompt": self.system_prompt,
            "extra_body": self.client.extra_body,
        }

    @cached_property
    def settings_id(self) -> str:
        """The fingerprint of the settings: which of the ledger's answers are this sampler's."""
        return fingerprint(self.settings())

    def usable(self, answer: Answer, limit: Optional[int]) -> bool:
        """Whether an answer drawn with ``limit`` tokens stands: only one cut by a smaller limit does not."""
        return not (answer.cut and limit is not None and (self.max_tokens is None or limit < self.max_tokens))

    def draws(self, entry: Entry, messages: bytes, missing: Sequence[int], keep: Keep) -> List[Drawing]:
        """One coroutine for each request that the ``missing`` indices need; ``keep`` gets each answer as it comes."""
        # at temperature 0 all choices of a request are one text, and vLLM refuses to make them
        size = 1 if self.temperature == 0 else self.per_request
        groups = [missing[start : start + size] for start in range(0, len(missing), size)]
        return [self._draw(entry, messages, group, keep) for group in groups]

    async def _draw(self, entry: Entry, messages: bytes, indices: Sequence[int], keep: Keep) -> None:
        """Asks until each index has its answer: a server may give fewer choices than ``n``."""
        left = list(indices)
        while left:
            request = {**self._asked, "seed": self._seed_for(entry, left[0]), "n": len(left) if len(left) > 1 else None}
            try:
                answers = await self.client.complete(messages, request, entry_id=entry.entry_id)
            except RequestFailed as error:
                error.stage = "sample"
                raise
            for answer in answers[: len(left)]:
                keep(left.pop(0), answer)

    @cached_property
    def _asked(self) -> Dict[str, Any]:
        """What all its requests say."""
        return {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}

    def _seed_for(self, entry: Entry, index: int) -> Optional[int]:
        """The candidate's own seed (31 bits): the same in every run, another one for each entry and index."""
        return None if self.seed is None else int(fingerprint([self.seed, entry.entry_id, index], 8), 16) >> 1
