"""The APIs of reward servers: what a conversation is posted as, and where the reply holds its score.

A new API is a row of ``APIS`` and a test. A reply is read as rows of numbers: one row with the score of the whole
conversation, or a row per token, or a row per step.

>>> APIS["tei"].body(Prompt([], "2+2? 4"))
{'inputs': [['2+2? 4']]}
>>> rows, usage = read_rows(APIS["vllm"], b'{"data": [{"probs": [-0.5]}], "usage": {"prompt_tokens": 46}}')
>>> rows
[[-0.5]]
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from ..fast_json import loads, small_int
from ..records import Record
from ..servers.messages import Message

Rows = List[List[Optional[float]]]  # None is a number that is not finite


class Prompt(NamedTuple):
    """A conversation that ends with an answer: its messages, and its text (or tokens) if they were rendered."""

    messages: List[Message]
    text: Any = None

    @property
    def question(self) -> str:
        """The words before the answer, for servers that ask for them apart."""
        return "\n".join(str(message["content"]) for message in self.messages[:-1])


class Api(NamedTuple):
    """One API.

    ``raw`` are the fields that ask for raw scores, ``squashed`` those that ask for the opposite, and ``plain_flag`` is
    how the server is started without an activation. ``cut`` are the fields that let the server cut a long conversation.
    """

    title: str
    path: str  # beside /v1
    body: Callable[[Prompt], Dict[str, Any]]
    read: Callable[[Any], List[Any]]
    takes_messages: bool = False
    names_model: bool = False
    raw: Mapping[str, Any] = {}
    squashed: Mapping[str, Any] = {}
    plain_flag: str = ""
    cut: Optional[Mapping[str, Any]] = None  # None: it cannot be asked to
    adds_bos: bool = True  # to a text


def _messages_or_input(prompt: Prompt) -> dict[str, Any]:
    return {"messages": prompt.messages} if prompt.text is None else {"input": prompt.text}


def _first(reply: Any) -> Any:
    """What a reply says of the one conversation that was sent."""
    return reply[0] if isinstance(reply, list) else reply


_VLLM: dict[str, Any] = {
    "body": _messages_or_input,
    "takes_messages": True,
    "names_model": True,
    "raw": {"use_activation": False},
    "squashed": {"use_activation": True},
    "plain_flag": """start vLLM with --pooler-config '{"use_activation": false}'""",
    # the end of an answer decides: the last token is the one that is scored
    "cut": {"truncate_prompt_tokens": -1, "truncation_side": "left"},
}

# In the order in which --reward_api auto tries them.
APIS: dict[str, Api] = {
    "vllm": Api("vLLM's /classify", "classify", read=lambda reply: reply["data"][0]["probs"], **_VLLM),
    "sglang": Api(
        "SGLang's /classify",
        "classify",
        body=lambda prompt: {"text": prompt.text},
        read=lambda reply: _first(reply)["embedding"],
        plain_flag="start SGLang without an activation in the model's configuration",
    ),
    "pooling": Api("vLLM's /pooling", "pooling", read=lambda reply: reply["data"][0]["data"], **_VLLM),
    "tei": Api(
        "TEI's /predict",
        "predict",
        body=lambda prompt: {"inputs": [[prompt.text]]},
        read=lambda reply: [label["score"] for label in reply[0]],
        raw={"raw_scores": True, "truncate": False},
        squashed={"raw_scores": False, "truncate": False},
        plain_flag="use a version of TEI that knows raw_scores",
        cut={"truncate": True, "truncation_direction": "Left"},
    ),
    "openrlhf": Api(
        "OpenRLHF's /get_reward",
        "get_reward",
        body=lambda prompt: {"query": [prompt.text], "prompts": [prompt.question]},
        read=lambda reply: reply["rewards"][:1],
        plain_flag="return the reward model's raw output from /get_reward",
        cut={},  # it always cuts, at its --max_len
        adds_bos=False,  # by some versions
    ),
    "embeddings": Api(
        "SGLang's /v1/embeddings",
        "v1/embeddings",
        body=lambda prompt: {"input": prompt.text},
        read=lambda reply: reply["data"][0]["embedding"],
        names_model=True,
        plain_flag="start SGLang without an activation in the model's configuration",
    ),
}
STEP_APIS = ("pooling",)  # those that score each step


def read_rows(api: Api, data: bytes) -> tuple[Rows, Record | None]:
    """The rows of a reply, and its usage if it has any. Raises an error of ``ODD`` or IndexError for another shape."""
    reply = loads(data, small_int)
    values = api.read(reply)
    if not all(isinstance(value, list) for value in values):
        values = [values]
    rows = [[_number(value) for value in row] for row in values]
    return rows, _usage(reply)


def _number(value: object) -> float | None:
    """A number of a reply; JSON's null is one that is not finite."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"not a number: {value!r}")
    return None if value is None else float(value)


def _usage(reply: Any) -> Record | None:
    """The tokens that the server counted."""
    found = _first(reply)
    usage = found.get("usage") or found.get("meta_info") if isinstance(found, dict) else None
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return {"prompt_tokens": tokens, "total_tokens": tokens} if isinstance(tokens, int) else None
