"""Finds the API of a reward server, and checks the model on answers of our own before anything is paid for.

The check stops the run, with one line that says what to change, if:

- no API answers, or the reply has not one score per answer (or per step);
- an activation (a sigmoid) is on: with bfloat16 it makes a third of the scores of real answers equal;
- the text of ``--reward_template`` is not that of the server's own template, or has its first token (BOS) twice;
- the model does not prefer the good answers of easy pairs.

Example: ``await check(RewardModel(client, "auto"))``
"""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple, Sequence

from ..errors import RequestFailed, Retryable, ServerRefused
from ..fast_json import loads, small_int
from ..records import Record
from ..servers.messages import Message
from .reward_apis import APIS, STEP_APIS, Api, Prompt
from .reward_model import REFUSED, Reading, RewardModel
from .reward_steps import tagged

ENOUGH = 0.75  # of the pairs must be in order
KNOWN_BOS = (
    "<s>",
    "<|begin_of_text|>",
    "<bos>",
    "<|startoftext|>",
    "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
    "[CLS]",
)


class Pair(NamedTuple):
    """A question with a good and a bad answer; ``has_steps`` if they reason step by step."""

    question: str
    good: str
    bad: str
    has_steps: bool = False


PAIRS = (
    Pair(
        "What is 2+2?",
        "2+2 is 4.",
        "It is five, I think.",
    ),
    Pair(
        "Tom has 3 boxes with 4 pens each, and loses 2 pens. How many pens are left?",
        "There are 3 * 4 = 12 pens in the boxes.\n\nAfter losing 2 pens, 12 - 2 = 10 pens are left.",
        "There are 3 + 4 = 9 pens in the boxes.\n\nAfter losing 2 pens, 9 + 2 = 57 pens are left.",
        True,
    ),
    Pair(
        "A train travels 60 km per hour. How far does it travel in 3 hours?",
        "The distance is speed times time.\n\nSo it travels 60 * 3 = 180 km.",
        "The distance is time minus speed.\n\nSo it travels 3 - 60 = 12 bananas.",
        True,
    ),
    Pair(
        "What is half of 50?",
        "Half of 50 is 50 / 2.\n\n50 / 2 = 25, so the answer is 25.",
        "Half of 50 is 50 * 2.\n\n50 * 2 = 7, so the answer is -3.",
        True,
    ),
    Pair(
        "What is 15% of 200?",
        "15% is 0.15.\n\n0.15 * 200 = 30, so the answer is 30.",
        "15% is 1500.\n\n1500 - 200 = 2, so the answer is 2000000.",
        True,
    ),
    Pair(
        "What is the capital of France?",
        "The capital of France is Paris.",
        "france capital france capital what what what what",
    ),
    Pair(
        "How do I boil an egg?",
        "Put the egg into boiling water for about eight minutes, then cool it in cold water and peel it.",
        "Eggs are stupid and so is your question.",
    ),
    Pair(
        "Write one sentence about the sea.",
        "The sea stretches to the horizon, and its waves break gently on the sand.",
        "asdf sea lkj ## 00 qqq sea",
    ),
)


def conversation(question: str, answer: str) -> list[Message]:
    """A question and its answer as messages."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


async def check(model: RewardModel) -> None:
    """Finds the model's API, and checks the model.

    ServerRefused if something is to be changed, Retryable if a request failed in all its tries.
    """
    try:
        await _check_all(model)
    except Retryable:
        raise
    except RequestFailed as error:
        raise ServerRefused(f"{model.server} refuses a conversation of the check: {error}") from error


async def _check_all(model: RewardModel) -> None:
    model.checks += 1
    pairs = [pair for pair in PAIRS if pair.has_steps or model.step_tag is None]
    good = [_messages(model, pair.question, pair.good) for pair in pairs]
    bad = [_messages(model, pair.question, pair.bad) for pair in pairs]
    api = model.api = await find_api(model, good[0])
    if model.cuts and api.cut is None:
        raise ServerRefused(f"{model.server} cuts nothing by {api.title}: leave out --reward_truncate")
    await _check_activation(model, api, [*good, *bad])
    await _check_text(model, api, good[0])
    await _check_order(model, api, pairs, good, bad)


def _messages(model: RewardModel, question: str, answer: str) -> list[Message]:
    return conversation(question, answer if model.step_tag is None else tagged(answer, model.step_tag))


# The API


async def find_api(model: RewardModel, messages: list[Message]) -> Api:
    """The first API by which the server scores a conversation. ServerRefused if there is none, or if it needs a text
    and there is no template."""
    refusals = []
    for name in _candidates(model):
        api = APIS[name]
        needs_text = model.template is None and not api.takes_messages
        prompt = Prompt(messages, "2+2? 4") if needs_text else model.prompt(messages)
        try:
            await model.ask(api, prompt, f"check {model.checks}", probe=True)
        except Retryable as error:
            if error.status != 200:
                raise  # the server's fault: the next score begins the check again
            refusals.append(str(error))
        except RequestFailed as error:
            refusals.append(str(error))
        else:
            if needs_text:
                raise ServerRefused(f"{model.server} needs the text of a conversation ({api.title}): {GIVE_TEMPLATE}")
            return api
    raise ServerRefused(_none_found(model, refusals))


NOT_FOUND = ("404 Not Found", "405 Method Not Allowed", ": 404", ": 405")  # how a refusal ends that tells nothing
GIVE_TEMPLATE = "give the model's chat template with --reward_template FILE"


def _candidates(model: RewardModel) -> Sequence[str]:
    if model.api_name != "auto":
        return [model.api_name]
    return STEP_APIS if model.step_tag is not None else list(APIS)


def _none_found(model: RewardModel, refusals: Sequence[str]) -> str:
    """What is wrong with a server of which no API answers: the first refusal that says more than "not found"."""
    telling = [one for one in refusals if not one.endswith(NOT_FOUND)]
    advice = "name the reward model's server with --reward_port or --reward_base_url"
    if telling and "chat template" in telling[0]:
        advice = GIVE_TEMPLATE
    elif telling and ": 404 " in telling[0]:
        advice = "correct the model's name (--reward_model)"
    why = telling[0] if telling else refusals[-1]
    return f"{model.server} scores no conversation by {', '.join(_paths(model))}; {advice} ({why})"


def _paths(model: RewardModel) -> list[str]:
    return list(dict.fromkeys(f"/{APIS[name].path}" for name in _candidates(model)))


# The scores


async def _check_activation(model: RewardModel, api: Api, texts: Sequence[list[Message]]) -> None:
    """Compares scores with and without an activation. ServerRefused if one is on that cannot be turned off."""
    model.gives_probabilities = model.step_tag is not None  # for now: the numbers are read as they are
    sample = texts[:1] if len(model.client.urls) == 1 else texts  # several servers: each gets some of them
    raw = await _readings(model, api, sample)
    squashed = await _readings(model, api, sample, squashed=True) if api.squashed else raw
    changed = [bool(api.squashed) and not _equal([one], [other]) for one, other in zip(raw, squashed)]
    squeezed = [not is_changed and _in_unit(one) for is_changed, one in zip(changed, raw)]
    if any(changed) and any(squeezed):
        raise ServerRefused(f"some servers of {model.server} apply an activation, and others do not: {api.plain_flag}")
    if model.step_tag is not None:
        model.gives_probabilities = all(squeezed)
        return
    if not all(squeezed):
        return
    scores = await _readings(model, api, texts)
    values = _numbers(scores)
    if all(map(_in_unit, scores)) and (api.squashed or len(set(values)) < len(values)):
        ignored = f", with and without {next(iter(api.raw))}" if api.raw else ""
        raise ServerRefused(
            f"{model.server} gives only scores from 0 to 1{ignored}: an activation is on, which makes good answers "
            f"equal; {api.plain_flag}"
        )


def _in_unit(reading: Reading) -> bool:
    """Whether all numbers of a reading lie from 0 to 1."""
    return all(0 <= value <= 1 for value in _numbers([reading]))


async def _readings(
    model: RewardModel, api: Api, texts: Sequence[list[Message]], squashed: bool = False
) -> list[Reading]:
    """What the model says of several conversations, asked at the same time. ServerRefused if it is not a score."""
    asked = [
        asyncio.ensure_future(model.ask(api, model.prompt(messages), f"check {model.checks}.{number}", squashed))
        for number, messages in enumerate(texts)
    ]
    try:
        readings = await asyncio.gather(*asked)
    finally:
        for one in asked:
            one.cancel()
    for messages, reading in zip(texts, readings):
        _check_reading(model, messages, reading)
    return readings


def _check_reading(model: RewardModel, messages: list[Message], reading: Reading) -> None:
    if reading.fault is not None:
        raise ServerRefused(f"{model.server}: {reading.fault}")
    if model.step_tag is None or reading.steps is None:
        return
    sent = messages[-1]["content"].count(model.step_tag)
    if len(reading.steps) != sent:
        raise ServerRefused(
            f"{model.server} gives {len(reading.steps)} scores for {sent} steps: --reward_steps {model.step_tag} must "
            'be the token of the server\'s step_tag_id (vLLM: --pooler-config \'{"tok_pooling_type": "STEP", '
            '"step_tag_id": ID}\')'
        )


def _numbers(readings: Sequence[Reading]) -> list[float]:
    """All scores, of answers or of steps."""
    values = [reading.value for reading in readings] + [step for reading in readings for step in reading.steps or ()]
    return [value for value in values if value is not None]


def _equal(one: Sequence[Reading], other: Sequence[Reading], tolerance: float = 1e-3) -> bool:
    pairs = list(zip(_numbers(one), _numbers(other)))
    return all(math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance) for first, second in pairs)


# The text


async def _check_text(model: RewardModel, api: Api, messages: list[Message]) -> None:
    """Compares the score of messages with that of the same conversation as text, and the numbers of their tokens."""
    if model.template is None:
        ids = await _token_ids(model, {"messages": messages, "add_generation_prompt": False})
        if ids:
            await _compare(model, api, Prompt(messages), Prompt(messages, ids), ids)
    elif api.takes_messages and await _takes_messages(model, api, messages):
        prompt = model.prompt(messages)
        ids = await _token_ids(model, {"prompt": prompt.text})
        await _compare(model, api, Prompt(messages), prompt, ids)
    elif api.adds_bos:
        await _check_bos(model, api, str(model.prompt(messages).text))


async def _compare(model: RewardModel, api: Api, by_messages: Prompt, by_text: Prompt, ids: list[int]) -> None:
    """ServerRefused if messages and text differ."""
    said = await model.ask(api, by_messages, "check 0")
    read = await model.ask(api, by_text, "check 0")
    more = (read.tokens or 0) - (said.tokens or 0)
    if not more and _equal([said], [read], tolerance=0.02):
        return
    counts = f"{read.tokens} tokens" if model.template is not None else f"{said.tokens} tokens"
    is_doubled = len(ids) > 1 and ids[0] == ids[1]
    if model.template is None:
        what = "has the first token (BOS) twice in" if is_doubled or more == -1 else "scores the text of"
        raise ServerRefused(
            f"{model.server} {what} messages ({counts}, and {read.tokens} by its /tokenize): correct the server's "
            f"chat template (vLLM: --chat-template), or {GIVE_TEMPLATE}"
        )
    path = model.template.path
    if is_doubled or (more == 1 and not ids):
        raise ServerRefused(_doubled(model, f"{counts}, and {said.tokens} by the server's own template"))
    raise ServerRefused(
        f"{model.server} scores the text of --reward_template {path} {_shown(read)} ({counts}), and the same messages "
        f"by its own template {_shown(said)} ({said.tokens} tokens): leave out --reward_template, or correct the file"
    )


def _doubled(model: RewardModel, why: str) -> str:
    assert model.template is not None
    return (
        f"{model.server} adds a first token (BOS) to the text of --reward_template {model.template.path}, which has it "
        f"already ({why}): remove it from the file"
    )


def _shown(reading: Reading) -> str:
    return ", ".join(f"{value:.4g}" for value in _numbers([reading]))


async def _takes_messages(model: RewardModel, api: Api, messages: list[Message]) -> bool:
    """Whether the server has a template of its own."""
    try:
        await model.ask(api, Prompt(messages), "check 0", probe=True)
    except Retryable:
        raise
    except RequestFailed:
        return False
    return True


async def _token_ids(model: RewardModel, fields: Record) -> list[int]:
    """The tokens of messages or of a text by vLLM's /tokenize; empty if the server cannot say."""

    def read(data: bytes) -> tuple[list[int], None]:
        return [int(token) for token in loads(data, small_int)["tokens"]], None

    try:
        return (await model.client.post("tokenize", fields, read, "check 0", REFUSED))[0]
    except RequestFailed:
        return []


async def _check_bos(model: RewardModel, api: Api, text: str) -> None:
    """ServerRefused if the text begins with a BOS token to which the server adds another."""
    bos = next((token for token in KNOWN_BOS if text.lstrip().startswith(token)), None)
    if bos is None:
        return
    tokens = (await model.ask(api, Prompt([], bos), "check 0")).tokens
    if tokens != 1:
        seen = "" if tokens is None else f": it counts {tokens} tokens in {bos} alone"
        raise ServerRefused(_doubled(model, f"{bos}{seen}"))


# The order


async def _check_order(
    model: RewardModel, api: Api, pairs: Sequence[Pair], good: Sequence[list[Message]], bad: Sequence[list[Message]]
) -> None:
    """ServerRefused if the model prefers too many of the bad answers."""
    readings = await _readings(model, api, [*good, *bad])
    scores = [math.prod(reading.steps) if reading.steps else reading.value or 0.0 for reading in readings]
    wrong = [pair for pair, better, worse in zip(pairs, scores, scores[len(pairs) :]) if better <= worse]
    if len(wrong) <= (1 - ENOUGH) * len(pairs):
        return
    template = "the server's chat template" if model.template is None else f"--reward_template {model.template.path}"
    raise ServerRefused(
        f"{model.server} does not prefer the good answer in {len(wrong)} of {len(pairs)} easy pairs (the first: "
        f"{wrong[0].question!r}): correct {template}, or name another reward model"
    )
