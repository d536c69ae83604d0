"""A reward model behind a server: which API the server has, what a conversation is sent as, what its reply says.

Example: ``model = RewardModel(client); reading = await model.ask(APIS["vllm"], model.prompt(messages), "entry 1")``
"""

from __future__ import annotations

import math
from typing import NamedTuple, Sequence

from ..servers.client import ChatClient
from ..servers.messages import Message
from .reward_apis import Api, Prompt, Rows, read_rows
from .reward_template import ChatTemplate

REFUSED = (400, 404, 405, 413, 415, 422, 501)  # statuses that say that a server does not have an API


class Reading(NamedTuple):
    """What a reply says: the score, or the probability that each step is right; ``fault`` if it says neither."""

    value: float | None = None
    steps: list[float] | None = None
    fault: str | None = None
    tokens: int | None = None  # of the conversation


class RewardModel:
    """The model of a client's servers.

    ``api`` is one of ``APIS``, or auto. ``template`` renders the messages (None: the server does). ``step_tag`` follows
    each step of an answer; None if the model scores an answer as a whole. ``cuts`` says whether the server may cut a
    conversation that is too long.
    """

    def __init__(
        self,
        client: ChatClient,
        api: str = "auto",
        template: ChatTemplate | None = None,
        step_tag: str | None = None,
        cuts: bool = False,
    ) -> None:
        self.client = client
        self.api_name = api
        self.template = template
        self.step_tag = step_tag
        self.cuts = cuts
        self.api: Api | None = None  # once it is found
        self.checks = 0  # that were begun
        self.gives_probabilities = False  # of the steps, rather than raw scores

    @property
    def server(self) -> str:
        """The server in messages."""
        return f"the reward server ({', '.join(self.client.urls)})"

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """The conversation as it is sent. BadEntry if the template refuses it."""
        return Prompt(list(messages), self.template.render(messages) if self.template is not None else None)

    async def ask(
        self, api: Api, prompt: Prompt, entry_id: str, squashed: bool = False, probe: bool = False
    ) -> Reading:
        """What the model says by an API. ``squashed`` asks for scores with an activation. The refusal of a ``probe``
        tells nothing about other requests."""
        fields = {**api.body(prompt), **(api.squashed if squashed else api.raw), **((self.cuts and api.cut) or {})}
        if not api.names_model:
            fields["model"] = None
        rows, usage = await self.client.post(
            api.path, fields, lambda data: read_rows(api, data), entry_id, REFUSED if probe else ()
        )
        reading = reading_of(rows, self.step_tag is not None, self.gives_probabilities or squashed)
        return reading._replace(tokens=usage["prompt_tokens"] if usage else None)


def reading_of(rows: Rows, has_steps: bool, are_probabilities: bool = False) -> Reading:
    """The score in the rows of a reply: that of the last token, or with steps that of each row.

    >>> reading_of([[-3.0], [1.5]], has_steps=False).value
    1.5
    >>> reading_of([[0.0, 0.0], [0.1, 0.9]], True, are_probabilities=True).steps
    [0.0, 0.9]
    """
    if has_steps:
        return _steps_of(rows, are_probabilities)
    if not rows or len(rows[-1]) == 2:
        return Reading(fault="the model scores steps: name its step tag with --reward_steps")
    if len(rows[-1]) != 1:
        return Reading(fault=f"the model gives {len(rows[-1])} numbers, and a reward model gives one")
    value = rows[-1][0]
    return Reading(value, fault=None if value is not None else "the reward is not a finite number")


def _steps_of(rows: Rows, are_probabilities: bool) -> Reading:
    """The probability that each step is right: of [bad, good], or of one number."""
    steps = []
    for row in rows:
        numbers = [number for number in row if number is not None]
        if len(numbers) < len(row):
            return Reading(fault="the reward of a step is not a finite number")
        if len(row) not in (1, 2):
            return Reading(fault=f"the model gives {len(row)} numbers per step, and a process reward model one or two")
        raw = numbers[-1] - (numbers[0] if len(row) == 2 else 0.0)
        steps.append(numbers[-1] if are_probabilities else sigmoid(raw))
    return Reading(steps=steps)


def sigmoid(raw: float) -> float:
    """The probability of a raw score.

    >>> sigmoid(0.0), sigmoid(-1000.0)
    (0.5, 0.0)
    """
    return 1 / (1 + math.exp(-raw)) if raw >= 0 else math.exp(raw) / (1 + math.exp(raw))
