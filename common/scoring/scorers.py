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


def needs_client(names):  # TEMP
    return "judge" in names


def add_scorer_flags(parser):  # TEMP
    from ..flag_types import finite
    from ..flag_types import float_between as number
    from ..flag_types import int_between as whole
    from .judge import MODES

    group = parser.add_argument_group("scoring")
    group.add_argument("--scorer", nargs="+", default=["judge"], metavar="NAME", help="")
    group.add_argument("--score_min", type=finite, default=0.0, metavar="S", help="lowest score")
    group.add_argument("--score_max", type=finite, default=10.0, metavar="S", help="highest score")
    group.add_argument("--judge_prompt", metavar="FILE", help="")
    group.add_argument("--judge_images", action="store_true", help="")
    group.add_argument("--judge_mode", choices=MODES, default="text", help="how the judge says its score")
    group.add_argument("--judge_samples", type=whole(1), default=1, metavar="K", help="replies whose mean is the score")
    group.add_argument("--judge_temperature", type=number(0), metavar="T", help="the")
    group.add_argument("--judge_max_tokens", type=whole(1), metavar="N", help="tokens a judge's")
    group.add_argument("--verifier_timeout", type=number(0.001), default=30.0, metavar="S", help="seconds")


def make_scorer(args, client):  # TEMP
    from .rule_processes import need_math_verify, source_of

    def one(name):
        low, high = args.score_min, args.score_max
        if name == "match":
            return match_scorer(low, high)
        if name == "judge":
            from .judge_prompt import read_judge_prompt

            s, t = args.judge_samples, args.judge_temperature
            return judge_scorer(
                Judge(
                    client,
                    low,
                    high,
                    mode=args.judge_mode,
                    samples=s,
                    template=read_judge_prompt(args.judge_prompt) if args.judge_prompt else None,
                    temperature=t if t is not None else float(s > 1),
                    max_tokens=args.judge_max_tokens,
                    images=args.judge_images,
                )
            )
        v = Verifier(name, concurrency=args.concurrency or 8, timeout=args.verifier_timeout)
        return verifier_scorer(
            {"scorer": name, f"{name} version": need_math_verify() if name == "math" else source_of(name[7:])},
            v,
            low,
            high,
        )

    ss = [one(n) for n in args.scorer]
    return ss[0] if len(ss) == 1 else cascade(ss, args.score_min)
