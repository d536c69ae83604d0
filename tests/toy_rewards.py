"""Toy reward servers, which know the good and the bad answers of the check, and score every other answer by its text.

Example: ``with ScriptedServer(no_chat, posts=ToyRewards("tei").reply) as server: ...``
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any, Dict, List, Sequence

from common.scoring.reward_check import PAIRS
from tests.scripted_server import NOT_FOUND, Reply, Request

BOS = "<s>"
TAG = "<extra_0>"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
SHAPES = ("vllm", "pooling", "sglang", "embeddings", "tei", "openrlhf")
MOST_TOKENS = 200
REFUSED = Reply({"error": {"message": "Field required"}}, status=400)


def no_chat(request: Request) -> Reply:
    """A reward server has no chat completions."""
    return NOT_FOUND


def render(messages: Sequence[Dict[str, Any]]) -> str:
    """The text that the toy's own chat template makes of messages."""
    return "".join(f"<{one['role']}>{one['content']}</{one['role']}>" for one in messages)


def tokens_of(text: str) -> List[str]:
    """A text's tokens: tags and words."""
    return re.findall(r"<[^>]*>|[^<\s]+", text)


def reward_of(text: str) -> float:
    """The raw reward of a rendered conversation: from -1 to 1, and above or below that for the answers of the check."""
    noise = int(hashlib.md5(text.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF * 2 - 1
    flat = re.sub(r"\s+", " ", text.replace(TAG, " "))
    good = any(re.sub(r"\s+", " ", pair.good) in flat for pair in PAIRS)
    bad = any(re.sub(r"\s+", " ", pair.bad) in flat for pair in PAIRS)
    return round(noise + (4 if good else -4 if bad else 0), 6)


def sigmoid(raw: float) -> float:
    return 1 / (1 + math.exp(-raw))


TEXTS: Dict[Any, str] = {}  # by their tokens


class ToyRewards:
    """A server of one shape. ``activation`` is on whatever a request says, in steps as bfloat16's. ``bos`` adds a BOS
    to texts, and its chat template does; ``twice`` adds another to messages. ``renders`` says whether it has a chat
    template. ``sign`` -1 prefers the bad answers."""

    def __init__(
        self,
        shape: str,
        *,
        activation: bool = False,
        bos: bool = False,
        twice: bool = False,
        renders: bool = True,
        sign: int = 1,
    ) -> None:
        self.shape = shape
        self.twice = twice
        self.activation = activation
        self.bos = bos
        self.renders = renders
        self.sign = sign

    def reply(self, request: Request) -> Reply:
        """The reply to a POST."""
        path, body = request.path, request.body
        if path == "/tokenize" and self.shape in ("vllm", "pooling") and self.renders:
            text = self._text(body, "prompt").replace(BOS * 2, BOS * (1 + ("prompt" in body)))
            ids = [self._id(token) for token in tokens_of(text)]
            TEXTS[tuple(ids)] = text
            return Reply({"tokens": ids})
        expected = {"vllm": "/classify", "sglang": "/classify", "embeddings": "/v1/embeddings", "tei": "/predict"}
        if path != {"pooling": "/pooling", "openrlhf": "/get_reward", **expected}.get(self.shape):
            return NOT_FOUND
        try:
            return self._scored(body)
        except KeyError:
            return REFUSED

    def _id(self, token: str) -> int:
        return 1 if token == BOS else 2 + int(hashlib.md5(token.encode()).hexdigest()[:6], 16)

    def _text(self, body: Dict[str, Any], name: str) -> str:
        if "messages" in body and self.renders:
            return BOS * (self.bos + self.twice) + render(body["messages"])
        return (BOS if self.bos else "") + str(body[name])

    def _scored(self, body: Dict[str, Any]) -> Reply:
        if self.shape in ("vllm", "pooling"):
            return self._vllm(body)
        if self.shape == "embeddings":
            value, tokens = self._value(body["input"])
            return Reply({"data": [{"embedding": [value]}], "usage": {"prompt_tokens": tokens}})
        if self.shape == "sglang":
            value, tokens = self._value(body["text"])
            return Reply({"embedding": [value], "meta_info": {"prompt_tokens": tokens}})
        if self.shape == "openrlhf":
            return Reply({"rewards": [self._value(text)[0] for text in body["query"]]})
        raw = body.get("raw_scores", False)
        values = [self._value(text)[0] for (text,) in body["inputs"]]
        values = values if raw or self.activation else [sigmoid(value) for value in values]
        return Reply([[{"score": value, "label": "LABEL_0"}] for value in values])

    def _vllm(self, body: Dict[str, Any]) -> Reply:
        is_tokens = isinstance(body.get("input"), list)
        text = TEXTS[tuple(body["input"])] if is_tokens else self._text(body, "input")
        if len(tokens_of(text)) > MOST_TOKENS and "truncate_prompt_tokens" not in body:
            return Reply({"error": {"message": "maximum context length is 200 tokens"}}, status=400)
        raw = body.get("use_activation") is False
        usage = {"prompt_tokens": len(tokens_of(text))}
        if self.shape == "pooling" and TAG in text:
            return Reply({"data": [{"data": [self._step(text, end, raw) for end in _ends(text)]}], "usage": usage})
        value = self._value(text, bos=False)[0]
        value = value if raw or self.activation else sigmoid(value)
        kind = {"probs": [value]} if self.shape == "vllm" else {"data": [*[[0.0]] * 9, [value]]}
        return Reply({"data": [kind], "usage": usage})

    def _value(self, text: str, bos: bool = True) -> tuple[float, int]:
        """The reward of a text, and its tokens."""
        text = (BOS if self.bos and bos else "") + text
        raw = self.sign * reward_of(text)
        return (round(sigmoid(raw), 2) if self.activation else raw), len(tokens_of(text))

    def _step(self, text: str, end: int, raw: bool) -> List[float]:
        """[bad, good] of the step that ends there; probabilities, unless raw scores were asked for."""
        good = reward_of(text[:end]) + (3 if reward_of(text) > 2 else -3 if reward_of(text) < -2 else 0)
        return [0.0, good] if raw and not self.activation else [1 - sigmoid(good), sigmoid(good)]


def _ends(text: str) -> List[int]:
    return [match.end() for match in re.finditer(re.escape(TAG), text)]
