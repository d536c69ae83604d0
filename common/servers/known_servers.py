"""Everything that the toolkit knows about individual servers: a quirk is one line here and one test.

All other modules speak the OpenAI API and ask this one where servers differ. ``tests/recorded/`` holds real replies of
the servers that are named here.

>>> is_final(500, "image input is not supported - hint: the model has no mmproj")
True
>>> is_final(500, "CUDA out of memory")
False
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple, Sequence


class Metrics(NamedTuple):
    """The names of the Prometheus gauges that tell how busy a server is."""

    running: str  # requests that the server works on
    waiting: str  # requests that wait inside the server
    cache_use: Sequence[str] = ()  # share of the KV cache in use, 0 to 1, under the name of each version


METRICS = {
    "vLLM": Metrics(
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        cache_use=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    ),
    "SGLang": Metrics(
        running="sglang:num_running_reqs", waiting="sglang:num_queue_reqs", cache_use=("sglang:token_usage",)
    ),
    "llama.cpp": Metrics(running="llamacpp:requests_processing", waiting="llamacpp:requests_deferred"),
}

# How the message of a status 500 begins where the request itself is wrong, so that another try would fail alike.
FINAL_500_MESSAGES = (
    ("llama.cpp", r"image input is not supported"),
    ("vLLM", r"Cannot load local files"),
    ("llama-cpp-python", r"\d+ validation errors?:.*?'loc': \('body'"),
)

# How the message of a status 429 begins where the request is larger than all that a minute allows.
FINAL_429_MESSAGES = (
    ("OpenAI", r"Request too large"),
    ("LiteLLM", r"litellm\.RateLimitError: .{0,80}Request too large"),
)

# How a server says that the account has no credit left, so that each request would fail: by a code, or in words.
OUT_OF_CREDIT_CODES = (
    "insufficient_quota",  # OpenAI, Azure, and those that copy them
    "billing_hard_limit_reached",  # OpenAI
    "insufficient_balance",
)
OUT_OF_CREDIT_MESSAGES = (
    ("DeepSeek", r"Insufficient Balance"),
    ("OpenRouter", r"Insufficient credits"),
    ("Anthropic", r"Your credit balance is too low"),
)

# Where an error reply holds its message. Each key is followed in turn, since one may lie inside another.
ERROR_KEYS = (
    "error",  # OpenAI, vLLM, llama.cpp: {"error": {"message": "..."}}; others: {"error": "..."}
    "message",  # older vLLM: {"object": "error", "message": "..."}
    "detail",  # FastAPI, which transformers serve and others are built on: {"detail": "..."}
)

# The fields of a message that hold the thoughts of a reasoning model.
REASONING_FIELDS = (
    "reasoning_content",  # DeepSeek, SGLang, llama.cpp, older vLLM
    "reasoning",  # newer vLLM, Ollama, OpenRouter
)

# The finish reasons of a choice that the server itself gave up, whatever text there is.
FAILED_FINISH_REASONS = (
    "abort",  # vLLM, SGLang
    "error",  # OpenRouter
)

# Request fields that let a server continue the assistant message that ends the conversation.
# vLLM and SGLang need them. llama.cpp continues the message without them.
CONTINUE_LAST_MESSAGE = {"continue_final_message": True, "add_generation_prompt": False}

# Seconds after which a server closes an idle connection: uvicorn (vLLM, SGLang, llama-cpp-python) does after 5.
SERVER_KEEPALIVE = 5


def _any_of(patterns: Sequence[tuple[str, str]]) -> re.Pattern[str]:
    return re.compile("|".join(pattern for _, pattern in patterns))


_FINAL_500, _FINAL_429 = _any_of(FINAL_500_MESSAGES), _any_of(FINAL_429_MESSAGES)
_OUT_OF_CREDIT = _any_of(OUT_OF_CREDIT_MESSAGES)
_OUT_OF_CREDIT_CODE = re.compile(  # not in a prompt that the server repeats
    rb"(?:^|[\"'](?:code|type|error|message|status)\\*[\"']\s*:\s*\\*[\"'])(?:%b)\b"
    % "|".join(OUT_OF_CREDIT_CODES).encode()
)


def is_final(status: int, message: str) -> bool:
    """Whether the message of a status 429 or 5xx says that the request itself is wrong."""
    return (_FINAL_429 if status == 429 else _FINAL_500).match(message) is not None


def is_out_of_credit(message: str, body: bytes) -> bool:
    """Whether an error reply says that no request will be answered until somebody pays.

    >>> is_out_of_credit("You exceeded your quota", b'{"error": {"code": "insufficient_quota"}}')
    True
    """
    return _OUT_OF_CREDIT.match(message) is not None or _OUT_OF_CREDIT_CODE.search(body) is not None


def choices_per_request(wanted: int, temperature: float | None) -> int:
    """How many choices (``n``) one request may ask for.

    At temperature 0 all choices of a request are the same text, and vLLM refuses to make more than one.

    >>> choices_per_request(4, temperature=0.8), choices_per_request(4, temperature=0)
    (4, 1)
    """
    return 1 if temperature == 0 else wanted


def probability(logprob: float | None) -> float:
    """The probability (0 to 1) of a token. SGLang sends null instead of minus infinity.

    >>> probability(0.0), probability(None)
    (1.0, 0.0)
    """
    return 0.0 if logprob is None else math.exp(logprob)
