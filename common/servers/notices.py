"""What a run says about its servers: each notice once, also if both roles use the server.

>>> notices, generator, judge = Notices(), object(), object()
>>> notices.is_news(generator, "http://a/v1 away", 2), notices.is_news(judge, "http://a/v1 away", 2)
(True, False)
>>> notices.ended("http://a/v1 away"), notices.ended("http://a/v1 away")
(True, False)
"""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

SIMILAR = 1.5  # a notice is no news if it says at most this many times as much as another role's


class Notices:
    """One object that all clients of a run share.

    A topic is a text, such as a URL and its trouble. It lasts from its first notice until ``ended``.
    """

    def __init__(self) -> None:
        self._said: dict[str, dict[int, float]] = {}  # by topic: the largest number that each teller said

    def is_news(self, teller: object, topic: str, number: float = 1) -> bool:
        """Whether no other teller has said as much about the topic; ``number`` says how much, such as seconds."""
        said = self._said.setdefault(topic, {})
        if any(number <= SIMILAR * known for other, known in said.items() if other != id(teller)):
            return False
        said[id(teller)] = max(number, said.get(id(teller), number))
        return True

    def ended(self, topic: str) -> bool:
        """Ends a topic. Returns whether it lasted until now."""
        return self._said.pop(topic, None) is not None

    def warn(self, teller: object, topic: str, text: str, number: float = 1) -> None:
        """Logs a warning if it is news."""
        if self.is_news(teller, topic, number):
            log.warning("%s", text)
