"""A language model small enough to enumerate: what the logprob judge is held against.

Its next-token probabilities are a fixed function of the text so far.

Example: ``ToyModel(seed=3).true_masses(range(11))``
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any, Dict, List, Sequence

END = ""
OTHERS = (END, "\n", ".", " points", "/10")


class ToyModel:
    """``whole`` puts two-digit numbers into the vocabulary, as some tokenizers do; else each digit is a token."""

    def __init__(self, seed: int, whole: bool = False, largest: int = 10) -> None:
        self.seed = seed
        self.whole = whole
        self.largest = largest
        self.digits = [str(digit) for digit in range(10)]
        self.numbers = [str(number) for number in range(largest + 1)] if whole else self.digits

    def next(self, text: str) -> Dict[str, float]:
        """The probabilities of all tokens after a text; numbers above ``largest`` are never begun."""
        started = text[-1:].isdigit()
        options = [*OTHERS] if started else [*self.numbers, "The", " "]
        if started and not self.whole:
            options += [digit for digit in self.digits if self._in_range(text, digit)]
        weights = {token: self._weight(text, token) for token in options}
        total = sum(weights.values())
        return {token: weight / total for token, weight in weights.items()}

    def _in_range(self, text: str, digit: str) -> bool:
        number = re.split(r"[^0-9]", text)[-1] + digit
        return number == str(int(number)) and int(number) <= self.largest

    def _weight(self, text: str, token: str) -> float:
        digest = hashlib.md5(f"{self.seed}|{text}|{token}".encode()).digest()
        return math.exp(4.0 * (digest[0] / 255.0))

    def true_masses(self, values: Sequence[int], before: str = "") -> Dict[int, float]:
        """The probability of each value as the number that a reply begins with, by going through all replies."""
        masses = dict.fromkeys(values, 0.0)

        def walk(said: str, weight: float) -> None:
            for token, probability in self.next(before + said).items():
                digits = token[: len(token) - len(token.lstrip("0123456789"))]
                if digits and len(said) < 4 and digits == token:
                    walk(said + digits, weight * probability)
                elif said and int(said) in masses and str(int(said)) == said:
                    masses[int(said)] += weight * probability

        walk("", 1.0)
        return masses

    def reply(self, before: str, length: int) -> List[Dict[str, Any]]:
        """The likeliest reply of ``length`` tokens at most after a text, as OpenAI's ``logprobs.content``."""
        content, text = [], before
        for _ in range(length):
            options = self.next(text)
            token = max(options, key=lambda one: options[one])
            tops = sorted(options.items(), key=lambda pair: -pair[1])[:20]
            listed = [{"token": top, "logprob": math.log(probability)} for top, probability in tops]
            content.append({"token": token, "logprob": math.log(options[token]), "top_logprobs": listed})
            if token == END:
                break
            text += token
        return content
