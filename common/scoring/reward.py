"""``--scorer reward``: a reward model behind vLLM, SGLang, TEI or OpenRLHF scores the answer, in its own units.

The scores are raw: no activation squeezes them, and they have no range. With ``--reward_steps``, a process reward model
scores each step, and the answer's score is their product (or minimum, mean, last). An answer that the server refuses
(too long, an image) is unscored, with the server's reason. Before the first score, the model is checked.

Example: ``score = await Reward(RewardModel(client)).score(entry, [], "2 + 2 is 4")``
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Sequence

from ..errors import BadEntry, RequestFailed, Retryable, RunStopped, UsageError
from ..flag_types import path
from ..records import Entry, Score
from ..servers.client import ChatClient
from ..servers.messages import chat_messages
from ..thinking import without_thoughts
from .reward_apis import APIS, STEP_APIS
from .reward_check import check, conversation
from .reward_model import Reading, RewardModel
from .reward_steps import AGGREGATES, steps_of, tagged
from .reward_template import ChatTemplate
from .shapes import AnswerScorer


class Reward(AnswerScorer):
    """The score of a reward model; ``aggregate`` makes one of the scores of steps.

    ``score`` raises RunStopped if the check of the model fails, Retryable if a request failed in all its tries.
    """

    name = "reward"
    usage = "reward"
    help = "a reward model scores the answer, in its own units (--scorer reward --help shows its flags)"
    needs_client = True
    own_server = "reward"
    flags_title = "reward model (--scorer reward)"
    has_range = False
    wants_images = True

    def __init__(self, model: RewardModel, aggregate: str = "product") -> None:
        settings: dict[str, Any] = {"model": model.client.model, "extra_body": model.client.extra_body}
        if model.template is not None:
            settings["reward_template"] = model.template.version
        if model.step_tag is not None:
            settings.update(reward_steps=model.step_tag, reward_aggregate=aggregate)
        if model.cuts:
            settings["reward_truncate"] = True
        super().__init__(settings)
        self._model = model
        self._aggregate = AGGREGATES[aggregate]
        self._check: asyncio.Future[None] | None = None  # made in the event loop

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """--reward_port and the others of the reward model."""
        add = group.add_argument
        add("--reward_api", choices=["auto", *APIS], default="auto", help="the API of the reward server; auto finds it")
        add(
            "--reward_template",
            type=path,
            metavar="FILE",
            help="a chat template (Jinja), for a server that takes only text",
        )
        add("--reward_steps", metavar="TAG", help="for a process reward model: its token that ends a step of an answer")
        add(
            "--reward_aggregate",
            choices=list(AGGREGATES),
            help="makes one score of those of the steps (default: product)",
        )
        add(
            "--reward_truncate", action="store_true", help="let the server cut an answer that is too long for the model"
        )

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Reward:
        """The reward model that the --reward flags name."""
        assert client is not None
        _check_flags(args)
        template = ChatTemplate("--reward_template", args.reward_template) if args.reward_template else None
        model = RewardModel(client, args.reward_api, template, args.reward_steps, args.reward_truncate)
        return cls(model, args.reward_aggregate or "product")

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of one answer's text, without its thoughts; ``images`` are the URLs of the entry's images."""
        answer = without_thoughts(text)
        if answer is None or not answer.strip():
            return Score(None, unscored="the answer has only thoughts" if text.strip() else "the answer is empty")
        if images and self._model.template is not None:
            return Score(None, unscored="--reward_template cannot show the entry's images to the reward model")
        try:
            await self._checked()
            return await self._score_now(entry, images, answer)
        except Retryable as error:
            error.stage = "score"
            raise  # the server's fault: the next run asks again
        except RequestFailed as error:
            return Score(None, unscored=f"the reward server refused the request: {error}")
        except BadEntry as error:
            return Score(None, unscored=str(error))

    async def _score_now(self, entry: Entry, images: Sequence[str], answer: str) -> Score:
        model = self._model
        assert model.api is not None
        steps = steps_of(answer, model.step_tag) if model.step_tag is not None else []
        text = tagged(answer, model.step_tag) if model.step_tag is not None else answer
        messages = [*chat_messages(entry, images, None), conversation("", text)[-1]]
        reading = await model.ask(model.api, model.prompt(messages), entry.entry_id)
        usage = {"requests": 1, "prompt_tokens": reading.tokens or 0, "completion_tokens": 0}
        return self._score_of(reading, len(steps))._replace(judge_usage=usage)

    def _score_of(self, reading: Reading, steps: int) -> Score:
        """The score in a reading of an answer with so many steps."""
        if reading.fault is not None:
            return Score(None, unscored=reading.fault)
        if reading.steps is None:
            return Score(reading.value)
        if not reading.steps or (len(reading.steps) != steps and not self._model.cuts):
            return Score(None, unscored=f"the reward model gives {len(reading.steps)} scores for {steps} steps")
        return Score(self._aggregate(reading.steps), step_scores=reading.steps)

    async def _checked(self) -> None:
        """Waits for the check of the model, and begins it if nobody did. An entry that is given up does not end it.

        If a request of the check fails in all its tries, the answer that began it fails, and another begins it again.
        """
        while True:
            begins = self._check is None or (self._check.done() and _failed_for_now(self._check))
            if begins:
                self._check = asyncio.ensure_future(check(self._model))
                self._check.add_done_callback(_failed_for_now)  # looks at its end, even if nobody waits for it any more
            assert self._check is not None
            try:
                return await asyncio.shield(self._check)
            except RequestFailed:
                if begins:
                    raise

    async def room(self, depth: int) -> None:
        """Returns when fewer requests wait than ``depth`` times the number in flight."""
        await self._model.client.room(depth)

    def idle(self) -> bool:
        """Whether a request would be sent at once."""
        return self._model.client.idle()

    def close(self) -> None:
        """Ends the check if it runs."""
        if self._check is not None:
            self._check.cancel()


def _failed_for_now(check: asyncio.Future[None]) -> bool:
    """Whether a check was not made to its end, since a request failed, so that the next score begins it again."""
    if check.cancelled():
        return False
    error = check.exception()
    return error is not None and not isinstance(error, RunStopped)


def _check_flags(args: argparse.Namespace) -> None:
    """UsageError if the flags cannot be used together."""
    if args.reward_aggregate is not None and args.reward_steps is None:
        raise UsageError("--reward_aggregate needs --reward_steps TAG, which says where a step ends")
    if args.reward_steps is not None and not args.reward_steps.strip():
        raise UsageError("--reward_steps must be the model's token that ends a step, such as <extra_0>")
    if args.reward_steps is not None and args.reward_api not in ("auto", *STEP_APIS):
        raise UsageError(f"--reward_steps needs --reward_api {STEP_APIS[0]}, not {args.reward_api}")
