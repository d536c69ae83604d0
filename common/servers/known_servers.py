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
from itertools import chain
from typing import NamedTuple, Sequence

from ..fast_json import loads
from ..patterns import regex


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
    ("llama.cpp", r"This server does not support"),  # 501, for an endpoint that it was not started for
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

# The fields of a message that hold the thoughts of a reasoning model: the first that has any counts.
REASONING_FIELDS = (
    "reasoning_content",  # DeepSeek, SGLang, llama.cpp, older vLLM
    "reasoning",  # newer vLLM, Ollama, OpenRouter
    "thinking",  # Ollama's own API, behind some gateways
    "reasoning_details",  # OpenRouter: a list of parts
)

# The types of the parts of a message that hold its text. All others hold thoughts, or something that is not text.
TEXT_PARTS = ("text", "output_text")
# How the type of a part that holds thoughts begins: "thinking" (Mistral, Anthropic), "reasoning", "reasoning.text", ...
THOUGHT_PARTS = ("thinking", "thought", "reasoning")
# Where such a part holds its words: a string, a part or a list of parts.
WORDS_IN_PART = (
    "text",
    "thinking",
    "reasoning",
    "reasoning_content",
    "reasoning_text",
    "summary",
    "content",
    "thought",
)

# The finish reasons of a choice, in lower case, with the servers that send them. A whole answer: its model ended it.
WHOLE_FINISH_REASONS = {
    "": ("stop", "null", "none", ""),  # none means that no reason was given
    "Together, TGI, watsonx": ("eos", "eos_token", "stop_sequence", "stop_token"),
    "Anthropic, AI21": ("end_turn", "end_of_turn", "endoftext", "end_of_text", "eot"),
    "Cohere": ("complete", "completed"),
    "Amazon": ("finish", "finished", "done", "stop_criteria_met"),
    "Gemini, older vLLM": ("finish_reason_stop", "finish_reason_unspecified", "finished_stopped"),
    "llama.cpp": ("word",),
}

# The token limit cut the answer. Each of these is kept as "length".
CUT_FINISH_REASONS = {
    "": ("length", "max_length", "limit"),
    "Anthropic, Gemini": ("max_tokens", "max_output_tokens", "finish_reason_max_tokens"),
    "Mistral, GLM": ("model_length", "model_context_window_exceeded", "context_length_exceeded"),
    "watsonx, Cohere, older vLLM": ("token_limit", "error_limit", "finished_length_capped"),
}

# The server gave the choice up, whatever text there is: it is asked for again.
FAILED_FINISH_REASONS = {
    "vLLM, SGLang": ("abort", "aborted", "finished_aborted"),
    "OpenRouter, Mistral, Cohere": ("error", "failed", "failure", "internal_error", "server_error", "engine_error"),
    "DeepSeek, GLM": ("insufficient_system_resource", "network_error", "overloaded"),
    "TensorRT-LLM, watsonx": ("timeout", "time_limit", "cancelled", "canceled", "user_cancel", "not_finished"),
}

# The server, or this client, ended the answer since it repeated itself. Each of these is kept as "repetition".
LOOP_FINISH_REASONS = {"vLLM": ("repetition",)}

# The fields by which vLLM (since 0.17) ends an answer that repeats itself: its tail is 16 copies of a pattern of 64 to
# 127 tokens. Shorter patterns count by their multiples, so it is 1,024 tokens at least. vLLM compares the tail with
# each size of pattern after every token, so a wider range would cost its scheduler time.
STOP_LOOPS = {"repetition_detection": {"min_pattern_size": 64, "max_pattern_size": 127, "min_count": 16}}
# The fields of a request that limit the tokens of each answer.
LIMITS = ("max_tokens", "max_completion_tokens")
# The fields of a streamed request: with the tokens at its end, and with those so far in each chunk.
STREAM_OPTIONS = ("include_usage", "continuous_usage_stats")

# Request fields that let a server continue the assistant message that ends the conversation.
# vLLM and SGLang need them. llama.cpp continues the message without them.
CONTINUE_LAST_MESSAGE = {"continue_final_message": True, "add_generation_prompt": False}

# Hosted servers that cannot continue an answer: an assistant message at the end is a whole answer to them.
CANNOT_CONTINUE = (
    ("OpenAI", r"(?:.+\.)?openai\.com"),
    ("Azure OpenAI", r".+\.openai\.azure\.com"),
)
# Servers that start a new answer in place of continuing one, by their ``owned_by`` at /v1/models.
CANNOT_CONTINUE_OWNERS = {"me": "llama-cpp-python"}
# Hosted servers that want a word in the message that they continue, in place of the fields above.
CONTINUED_MESSAGE = (
    ("DeepSeek", r"api\.deepseek\.com", {"prefix": True}),
    ("Mistral", r"api\.mistral\.ai", {"prefix": True}),
    ("Moonshot", r"api\.moonshot\.(?:ai|cn)", {"partial": True}),
    ("Alibaba", r"dashscope(?:-intl|-us)?\.aliyuncs\.com", {"partial": True}),
)
DEEPSEEK_BETA = ("api.deepseek.com", "/beta")  # the host, and the path below which it continues an answer

# Seconds after which a server closes an idle connection: uvicorn (vLLM, SGLang, llama-cpp-python) does after 5.
SERVER_KEEPALIVE = 5

_WHOLE = frozenset(chain(*WHOLE_FINISH_REASONS.values()))
_CUT = frozenset(chain(*CUT_FINISH_REASONS.values()))
_FAILED = frozenset(chain(*FAILED_FINISH_REASONS.values()))
_LOOP = frozenset(chain(*LOOP_FINISH_REASONS.values()))


def _any_of(patterns: Sequence[tuple[str, str]]) -> re.Pattern[str]:
    return regex("|".join(pattern for _, pattern in patterns))


_FINAL_500, _FINAL_429 = _any_of(FINAL_500_MESSAGES), _any_of(FINAL_429_MESSAGES)
_OUT_OF_CREDIT = _any_of(OUT_OF_CREDIT_MESSAGES)
_OUT_OF_CREDIT_CODE = regex(  # not in a prompt that the server repeats
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


def ended_by_itself(finish_reason: str | None) -> bool:
    """Whether a finish reason says that the model ended its answer itself. None means that the server gave no reason.

    >>> ended_by_itself("STOP"), ended_by_itself(None), ended_by_itself("length"), ended_by_itself("content_filter")
    (True, True, False, False)
    """
    return finish_reason in ("stop", None) or _plain(finish_reason) in _WHOLE


def is_cut(finish_reason: str) -> bool:
    """Whether a finish reason says that the token limit cut the answer.

    >>> is_cut("MAX_TOKENS"), is_cut("stop")
    (True, False)
    """
    return _plain(finish_reason) in _CUT


def is_server_fault(finish_reason: str) -> bool:
    """Whether a finish reason says that the server gave the answer up, so that another try may bring it.

    >>> is_server_fault("insufficient_system_resource"), is_server_fault("content_filter")
    (True, False)
    """
    return _plain(finish_reason) in _FAILED


def is_loop(finish_reason: str) -> bool:
    """Whether a finish reason says that the answer was ended because it repeated itself.

    >>> is_loop("repetition"), is_loop("length")
    (True, False)
    """
    return _plain(finish_reason) in _LOOP


class Abilities(NamedTuple):
    """What a server can do about loops: find them itself, and count the tokens of what it streams."""

    finds_loops: bool = False
    stream_options: Sequence[str] = STREAM_OPTIONS[:1]


def abilities(schema: bytes) -> Abilities:
    """The abilities that a server's /openapi.json tells of. vLLM, SGLang and others built on FastAPI have one.

    A server ignores the fields that it does not know, so a field that is not named there cannot be relied on.

    >>> abilities(b"<html>")
    Abilities(finds_loops=False, stream_options=('include_usage',))
    """
    try:
        schemas = loads(schema)["components"]["schemas"]
        request = schemas["ChatCompletionRequest"]["properties"]
        options = schemas.get("StreamOptions", {}).get("properties", {})
        known = tuple(name for name in STREAM_OPTIONS if name in options)
        return Abilities(all(name in request for name in STOP_LOOPS), known or STREAM_OPTIONS[:1])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Abilities()


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


def _plain(finish_reason: object) -> str:
    return str(finish_reason).strip().lower()
