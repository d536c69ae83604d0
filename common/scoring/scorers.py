"""The scorers of ``--scorer``, several of them in turn, and their flags.

A new scorer is a class of shapes.py in a file of its own, one line in ``SCORERS``, and a test.

Example: ``score = await Cascade([Match(0, 10), Judge(client, 0, 10)]).score(entry, [], "2 + 2 is 4")``
"""

from __future__ import annotations

import argparse
import functools
from typing import Any, Callable, Sequence

from ..errors import EntryFailed, UsageError
from ..flag_types import Parser, finite
from ..records import Answer, Entry, Record, Score
from ..servers.client import ChatClient
from .code import Code
from .compare import Compare
from .majority import Majority
from .match import Match
from .math_equal import Math
from .panel import Panel
from .reward import Reward
from .rows import ROW_KEYS
from .shapes import NO_VERDICTS, AnswerScorer, Scorer, Verdicts
from .user_function import UserFunction

SCORERS: dict[str, type[Scorer]] = {
    "judge": Panel,  # of one model: a Judge
    "match": Match,
    "math": Math,
    "code": Code,
    "compare": Compare,
    "reward": Reward,
    "majority": Majority,
    "python": UserFunction,
}
DEFAULT = ["judge"]


class Cascade(AnswerScorer):
    """Asks several scorers in turn until one decides; that scorer's name is kept with the score.

    A score that is ``unsure`` decides only if no scorer after it gives a score, and not if a judge was asked whose
    reply could not be read.

    The rules after the scorer that decides are asked too, if they are free. If one of them decides otherwise, what each
    of them says is kept with the score, as ``verdicts``: one of the two is wrong, or the reference is.
    """

    def __init__(self, scorers: Sequence[AnswerScorer]) -> None:
        settings = {key: value for scorer in scorers for key, value in scorer.settings.items() if key != "scorer"}
        row_keys = sorted({key for scorer in scorers for key in scorer.settings.get(ROW_KEYS, [])})
        settings.update({ROW_KEYS: row_keys} if row_keys else {})
        super().__init__(settings, name=" ".join(scorer.name for scorer in scorers))
        self.wants_images = any(scorer.wants_images for scorer in scorers)
        self.needs_reference = all(scorer.needs_reference for scorer in scorers)
        self.needed_keys = [key for scorer in scorers for key in scorer.needed_keys]
        self._scorers = scorers

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of the first scorer that decides."""
        return await self.score_answer(entry, images, Answer(text))

    async def score_answer(self, entry: Entry, images: Sequence[str], answer: Answer) -> Score:
        """As ``score``, of the whole answer."""
        return await self.score_with(entry, images, answer, NO_VERDICTS)

    def recalls(self, line: Record) -> bool:
        """Whether it saves one of the scorers a request."""
        return any(scorer.recalls(line) for scorer in self._scorers)

    async def score_with(self, entry: Entry, images: Sequence[str], answer: Answer, verdicts: Verdicts) -> Score:
        """As ``score_answer``, with what is known of the scorers' parts."""
        undecided = []
        for place, scorer in enumerate(self._scorers):
            score = (await scorer.score_with(entry, images, answer, verdicts))._replace(scorer=scorer.name)
            if score.value is not None and score.unsure is None:
                return await _with_verdicts(score, self._scorers[place + 1 :], entry, answer)
            undecided.append(score)
        judged = [score for score in undecided if score.judge_usage is not None]
        missed = [score for score in undecided if score.value is not None]
        return (judged or missed or undecided)[-1]

    @property
    def requests_per_answer(self) -> int:
        """Those of all its scorers: more than an answer takes that an earlier scorer decides."""
        return sum(scorer.requests_per_answer for scorer in self._scorers)

    def askers(self) -> list[Scorer]:
        """Those of its scorers that send requests."""
        return [asker for scorer in self._scorers for asker in scorer.askers()]

    async def room(self, depth: int) -> None:
        """Returns when each of the scorers has room."""
        for scorer in self._scorers:
            await scorer.room(depth)

    def idle(self) -> bool:
        """Whether all the scorers are idle."""
        return all(scorer.idle() for scorer in self._scorers)

    def summary_rows(self) -> list[tuple[str, str]]:
        """What each of the scorers says."""
        return [row for scorer in self._scorers for row in scorer.summary_rows()]

    def close(self) -> None:
        """Ends the processes that the scorers started."""
        for scorer in self._scorers:
            scorer.close()


async def _with_verdicts(score: Score, later: Sequence[AnswerScorer], entry: Entry, answer: Answer) -> Score:
    """A score with what the free ones of the ``later`` scorers say, if one of them contradicts it."""
    verdicts = {str(score.scorer): score.value}
    for scorer in later:
        if scorer.is_free:
            try:
                other = await scorer.score_answer(entry, [], answer)
            except EntryFailed:
                continue  # the entry has its score
            if other.value is not None and other.unsure is None:
                verdicts[scorer.name] = other.value
    return score._replace(verdicts=verdicts) if len(set(verdicts.values())) > 1 else score


def scorer_name(text: str) -> str:
    """A flag's type: a scorer as it is written after --scorer.

    >>> scorer_name("python:check.py:verify")
    'python:check.py:verify'
    """
    name, colon, _ = text.partition(":")
    if name not in SCORERS or bool(colon) != (":" in SCORERS[name].usage):
        *usages, last = (scorer.usage for scorer in SCORERS.values())
        raise argparse.ArgumentTypeError(f"must be {', '.join(usages)} or {last}, not {text!r}")
    return text


def _no_server(group: argparse._ArgumentGroup, name: str) -> None:
    """The usual ``add_server``: the scorers have no servers of their own."""


def add_scorer_flags(
    parser: argparse.ArgumentParser, add_server: Callable[[argparse._ArgumentGroup, str], None] = _no_server
) -> None:
    """--scorer, --score_min, --score_max, and the flags that only one scorer has: some in a group of their own.

    ``add_server`` adds the flags that name the server of a scorer which may have its own.
    """
    names = "; ".join(f"{scorer.usage}: {scorer.help}" for scorer in SCORERS.values())
    text = f"{names}. Of several scorers, the first that decides counts (default: {' '.join(DEFAULT)})"
    group = parser.add_argument_group("scoring")
    group.add_argument("--scorer", type=scorer_name, nargs="+", default=DEFAULT, metavar="NAME", help=text)
    group.add_argument("--score_min", type=finite, default=0.0, metavar="S", help="lowest score")
    group.add_argument("--score_max", type=finite, default=10.0, metavar="S", help="highest score")
    group.add_argument("--retry_unscored", action="store_true", help="score the answers again that are unscored")
    group.add_argument(
        "--vote_weight",
        type=scorer_name,
        metavar="SCORER",
        help="with majority, a vote weighs as much as this other scorer's score of the answer: judge",
    )
    for scorer in {scorer.add_flags: scorer for scorer in SCORERS.values()}.values():  # some scorers share theirs
        own_group = parser.add_argument_group(scorer.flags_title) if scorer.flags_title else group
        if scorer.own_server is not None:
            add_server(own_group, scorer.own_server)
        scorer.add_flags(_Once(own_group))


class _Once(argparse._ArgumentGroup):
    """A group to which each flag is added once, however many scorers have it."""

    def __init__(self, group: argparse._ArgumentGroup) -> None:
        super().__init__(group)
        self._group = group

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """Adds a flag; one that is there already stays as it is."""
        known = self._option_string_actions.get(names[0])
        return known or self._group.add_argument(*names, **options)


def flags_of(scorer: type[Scorer]) -> dict[str, object]:
    """The flags that a scorer has, besides those of all scorers: their destinations and defaults."""
    parser = argparse.ArgumentParser(add_help=False)
    scorer.add_flags(parser.add_argument_group())
    return vars(parser.parse_args([]))


def users_of(flag: str) -> list[str]:
    """The scorers that have a flag, named by its destination; none if it is not a scorer's own.

    >>> users_of("judge_samples"), users_of("score_max")
    (['judge'], [])
    """
    return _users().get(flag, [])


@functools.lru_cache(maxsize=None)
def _users() -> dict[str, list[str]]:
    """The scorers that have each flag, made once: a parser per scorer tells its flags."""
    users: dict[str, list[str]] = {}
    for name, scorer in SCORERS.items():
        for flag in (*flags_of(scorer), *_server_flags(scorer)):
            users.setdefault(flag, []).append(name)
    return users


def _server_flags(scorer: type[Scorer]) -> list[str]:
    return [f"{scorer.own_server}_{part}" for part in ("port", "base_url", "model")] if scorer.own_server else []


def show_named(parser: Parser, words: Sequence[str]) -> None:
    """Adds to --help the groups of flags of the scorers that a command line names."""
    named = {word.rpartition("=")[2].partition(":")[0] for word in words}
    titles = {scorer.flags_title for name, scorer in SCORERS.items() if name in named}
    shown = (action.dest for group in parser._action_groups if group.title in titles for action in group._group_actions)
    parser.basic = {*parser.basic, *shown}


def has_range(specs: Sequence[str]) -> bool:
    """Whether the scores of these scorers lie between --score_min and --score_max.

    >>> has_range(["match", "judge"]), has_range(["reward"])
    (True, False)
    """
    return all(_class_of(spec).has_range for spec in specs)


def own_server(specs: Sequence[str]) -> str | None:
    """The NAME of the flags --NAME_port and so on, if one of these scorers may have a server of its own."""
    return next((name for name in (_class_of(spec).own_server for spec in specs) if name), None)


def named_scorers(args: argparse.Namespace) -> list[str]:
    """All scorers that the flags name, as they are written: those of --scorer, and the one that weights the votes."""
    return [*args.scorer, *([] if args.vote_weight is None else [args.vote_weight])]


def needs_client(specs: Sequence[str]) -> bool:
    """Whether one of these scorers sends requests to a server.

    >>> needs_client(["match", "judge"]), needs_client(["match", "python:check.py:verify"])
    (True, False)
    """
    return any(_class_of(spec).needs_client for spec in specs)


def right_or_wrong(specs: Sequence[str]) -> bool:
    """Whether each of these scorers gives only the highest and the lowest score.

    >>> right_or_wrong(["match", "math"]), right_or_wrong(["match", "judge"]), right_or_wrong([])
    (True, False, False)
    """
    return bool(specs) and all(_class_of(spec).right_or_wrong for spec in specs)


def make_scorer(args: argparse.Namespace, client: ChatClient | None, others: Sequence[ChatClient] = ()) -> Scorer:
    """The scorer that the flags ask for; ``client`` is the judge's, and None if no scorer needs one.

    ``others`` are those of further models of a panel.

    UsageError if the flags cannot be used together, or if a package is missing.
    """
    if args.score_min >= args.score_max:
        raise UsageError(f"--score_min {args.score_min:g} must be below --score_max {args.score_max:g}")
    if len(set(args.scorer)) < len(args.scorer):
        raise UsageError(f"--scorer {' '.join(args.scorer)} names a scorer twice")
    clients = [*([] if client is None else [client]), *others]
    scorers = [_class_of(spec).from_clients(spec, args, clients) for spec in args.scorer]
    scorer = scorers[0] if len(scorers) == 1 else _cascade(scorers, args)
    if isinstance(scorer, Majority) and args.vote_weight is not None:
        scorer = scorer.weighted_by(_weigher(args, clients))
    for one in (scorer, *scorers):
        one.retry_unscored = args.retry_unscored
    return scorer


def _cascade(scorers: Sequence[Scorer], args: argparse.Namespace) -> Cascade:
    """Several scorers as one; UsageError if one of them does not score each answer by itself."""
    if not has_range(args.scorer):
        raise UsageError(
            f"--scorer {' '.join(args.scorer)}: a reward model's scores are in its own units, so it stands alone"
        )
    alone = [scorer for scorer in scorers if isinstance(scorer, AnswerScorer)]
    if len(alone) < len(scorers):
        raise UsageError(
            f"--scorer {' '.join(args.scorer)}: a scorer that scores an entry's answers together stands alone"
        )
    return Cascade(alone)


def _weigher(args: argparse.Namespace, clients: Sequence[ChatClient]) -> AnswerScorer:
    """The scorer of --vote_weight; UsageError if it does not score each answer by itself."""
    scorer = _class_of(args.vote_weight).from_clients(args.vote_weight, args, clients)
    if not isinstance(scorer, AnswerScorer):
        raise UsageError(f"--vote_weight {args.vote_weight}: it must be a scorer that scores each answer by itself")
    return scorer


def _class_of(spec: str) -> type[Scorer]:
    return SCORERS[spec.partition(":")[0]]
