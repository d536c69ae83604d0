"""(Entry, answer) -> Score: the judge, the rules, and cascades of them.

A scorer is a ``Scorer``: its settings, which make its scores what they are, and a coroutine that scores one answer.

Example: ``score = await cascade([match_scorer(0, 10), judge_scorer(judge)]).score(entry, [], "2 + 2 is 4")``
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Awaitable, Callable, Dict, List, Sequence

from ..records import Entry, Score, fingerprint
from .judge import Judge
from .match import matches
from .rule_processes import Verifier, VerifierFailed


async def _room(_: int) -> None:
    """A scorer that never waits has room at once."""


def _idle() -> bool:
    """And nothing to do."""
    return True


@dataclass(frozen=True)
class Scorer:
    """``score(entry, images, text)`` gives the score of one text; ``images`` are the entry's URLs where wanted.

    ``room(depth)`` returns once fewer than ``depth`` times what it does at once is waiting, ``idle`` says whether a
    score asked for now would be begun at once. ``low_is_final`` says whether its lowest score settles the matter in
    a cascade. ``close`` ends what it started.
    """

    settings: Dict[str, Any]
    score: Callable[[Entry, Sequence[str], str], Awaitable[Score]]
    wants_images: bool = False
    low_is_final: bool = True
    room: Callable[[int], Awaitable[None]] = _room
    idle: Callable[[], bool] = _idle
    close: Callable[[], None] = lambda: None

    @cached_property
    def settings_id(self) -> str:
        """The fingerprint of the settings: which of the ledger's scores are this scorer's."""
        return fingerprint(self.settings)


def match_scorer(low: float, high: float) -> Scorer:
    """``high`` where the answer ends in the reference, ``low`` where not, unscored where there is no reference."""

    async def score(entry: Entry, _: Sequence[str], text: str) -> Score:
        matched = None if entry.reference is None else matches(entry.reference, text)
        if matched is None:
            return Score(None, unscored="no reference to match")
        return Score(high if matched else low)

    return Scorer({"scorer": "match", "score_min": low, "score_max": high}, score, low_is_final=False)


def judge_scorer(judge: Judge) -> Scorer:
    """The judge as a scorer."""
    client = judge.client
    return Scorer(judge.settings(), judge.score, wants_images=judge.images, room=client.room, idle=client.idle)


def verifier_scorer(settings: Dict[str, Any], verifier: Verifier, low: float, high: float) -> Scorer:
    """A verifier's verdicts as scores: True is ``high``, False ``low``, a number itself, None unscored.

    Its score raises VerifierFailed where the rule itself fails, or gives a number outside the range.
    """

    async def score(entry: Entry, _: Sequence[str], text: str) -> Score:
        verdict = await verifier.check(entry.question, entry.reference, text)
        value = verdict.value
        if value is None:
            return Score(None, unscored=verdict.why or f"{settings['scorer']} gave no score")
        if isinstance(value, bool):
            return Score(high if value else low)
        if not low <= value <= high:
            raise VerifierFailed(f"{settings['scorer']} gave {value:g}, which is not from {low:g} to {high:g}")
        return Score(float(value))

    bounds = {"score_min": low, "score_max": high}
    return Scorer({**settings, **bounds}, score, room=verifier.room, idle=verifier.idle, close=verifier.close)


def cascade(scorers: Sequence[Scorer], low: float) -> Scorer:
    """Asks each in turn until one decides; its name is kept with the score.

    A scorer that is not sure of a miss decides by a hit alone: its ``low`` counts where none after it has a say, and
    not where a judge was asked and said nothing that could be read.
    """
    names = [str(scorer.settings["scorer"]) for scorer in scorers]

    async def score(entry: Entry, images: Sequence[str], text: str) -> Score:
        found: List[Score] = []
        for name, scorer in zip(names, scorers):
            last = (await scorer.score(entry, images, text))._replace(scorer=name)
            if last.value is not None and (scorer.low_is_final or last.value > low):
                return last
            found.append(last)
        judged = [one for one in found if one.judge_usage is not None]
        missed = [one for one in found if one.value is not None]
        return (judged or missed or found)[-1]

    async def room(depth: int) -> None:
        for scorer in scorers:
            await scorer.room(depth)

    def idle() -> bool:
        return all(scorer.idle() for scorer in scorers)

    def close() -> None:
        for scorer in scorers:
            scorer.close()

    settings: Dict[str, Any] = {}
    for scorer in scorers:
        settings.update(scorer.settings)
    settings["scorer"] = " ".join(names)
    shown = any(scorer.wants_images for scorer in scorers)
    return Scorer(settings, score, wants_images=shown, room=room, idle=idle, close=close)
