"""The two shapes of a scorer: one scores each answer by itself, the other scores an entry's answers together.

A new scorer is a class in a file of its own, one line in ``SCORERS`` of scorers.py, and a test.

Example: ``class Length(AnswerScorer)`` with ``async def score(self, entry, images, text): return Score(len(text))``
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Callable, ClassVar, Mapping, NamedTuple, Sequence

from ..errors import UsageError
from ..records import Answer, Entry, Record, Score, fingerprint
from ..servers.client import ChatClient


def keep_nothing(maker: str, about: str, fields: dict[str, Any]) -> None:
    """The usual ``keep`` of verdicts."""


class Verdicts(NamedTuple):
    """The parts of an entry's scores that are paid for one by one.

    ``lines`` are those of the ledger that the scorer ``recalls``. ``keep(maker, about, fields)`` writes one more, as
    soon as it arrives: ``maker`` is the fingerprint of what made it, ``about`` says what it judges.
    """

    lines: Sequence[Record] = ()
    keep: Callable[[str, str, dict[str, Any]], None] = keep_nothing


NO_VERDICTS = Verdicts()


def maker_of(line: Record) -> str:
    """The fingerprint of what made a ledger line: the last part of its ``made_by``.

    >>> maker_of({"made_by": "a4ee7358e557:0f25835ba725"})
    '0f25835ba725'
    """
    return str(line["made_by"]).rpartition(":")[2]


class Scorer:
    """What all scorers share.

    ``name`` is kept beside each score that the scorer decides in a cascade. ``settings`` is everything that makes its
    scores what they are: it is written beside the output, and its fingerprint marks the scores in the ledger.
    ``wants_images`` says whether the scorer is shown the entry's images. ``retry_unscored`` says whether an answer that
    an earlier run left unscored is scored again.
    """

    name: str
    usage: ClassVar[str]  # how it is written after --scorer; a scorer with an argument has a colon here
    help: ClassVar[str]  # one line for --help
    needs_client: ClassVar[bool] = False  # whether it sends requests to a server
    right_or_wrong: ClassVar[bool] = False  # whether all its scores are the highest or the lowest
    own_server: ClassVar[str | None] = None  # NAME if --NAME_port, --NAME_base_url and --NAME_model may name its server
    flags_title: ClassVar[str | None] = None  # of a group of its own in --help, shown where the scorer is named
    has_range: ClassVar[bool] = True  # whether its scores lie between --score_min and --score_max
    needs_reference: bool = False  # whether it scores no answer of an entry without a reference
    needed_keys: Sequence[tuple[str, str]] = ()  # (flag, key) of each own key without which it scores no answer
    wants_images: bool = False
    retry_unscored: bool = False

    def __init__(self, settings: Mapping[str, Any], name: str | None = None) -> None:
        if name is not None:
            self.name = name
        self.settings: dict[str, Any] = {"scorer": self.name, **settings}

    @cached_property
    def settings_id(self) -> str:
        """The fingerprint of the settings: it tells which scores of the ledger are this scorer's."""
        return fingerprint(self.settings)

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """Adds the flags that only this scorer has."""

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Scorer:
        """The scorer that ``--scorer spec`` and the other flags ask for; ``client`` is set if it ``needs_client``.

        UsageError if the flags cannot be used together, or if a package is missing.
        """
        raise NotImplementedError(f"{cls.__name__} is not made from flags")

    @classmethod
    def from_clients(cls, spec: str, args: argparse.Namespace, clients: Sequence[ChatClient]) -> Scorer:
        """As ``from_flags``, with a client per model; UsageError if there are more models than the scorer can ask."""
        if cls.needs_client and len(clients) > 1:
            raise UsageError(f"--scorer {spec} asks one model, not {len(clients)}: name one of them")
        return cls.from_flags(spec, args, clients[0] if clients else None)

    def recalls(self, line: Record) -> bool:
        """Whether a line of the ledger, of a verdict or of a score, saves this scorer a part of its requests."""
        return False

    @property
    def is_free(self) -> bool:
        """Whether a score costs no request."""
        return not self.needs_client

    @property
    def requests_per_answer(self) -> int:
        """How many requests one score takes at least, if it takes any: 0 if the scorer has no server."""
        return int(self.needs_client)

    def askers(self) -> list[Scorer]:
        """The scorers that send requests: this one, or some of those in it."""
        return [self] if self.needs_client else []

    async def room(self, depth: int) -> None:
        """Returns when fewer answers wait for the scorer than ``depth`` times the number that it scores at once."""

    def idle(self) -> bool:
        """Whether the scorer would begin at once with another answer."""
        return True

    def summary_rows(self) -> list[tuple[str, str]]:
        """(kind, text) of what the end of a run says about the scorer."""
        return []

    def close(self) -> None:
        """Ends the processes that the scorer started."""


class AnswerScorer(Scorer, ABC):
    """Scores each answer by itself, as soon as it arrives.

    ``part_ids`` are the fingerprints of settings whose scores are a part of this scorer's: with such a score,
    ``rest(known)`` asks for the other part, and ``joined(known, more)`` is the score of both.
    """

    part_ids: frozenset[str] = frozenset()

    def rest(self, known: Score) -> AnswerScorer:
        """The scorer of what a known part lacks."""
        return self

    def joined(self, known: Score, more: Score) -> Score:
        """The score of two parts."""
        return more

    @abstractmethod
    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of one answer's text; ``images`` are the URLs of the entry's images if ``wants_images``.

        An answer that cannot be scored is unscored, with the reason. EntryFailed if the scorer itself fails.
        """

    async def score_answer(self, entry: Entry, images: Sequence[str], answer: Answer) -> Score:
        """As ``score``, for a scorer that looks at more of an answer than its text."""
        return await self.score(entry, images, answer.text)

    async def score_with(self, entry: Entry, images: Sequence[str], answer: Answer, verdicts: Verdicts) -> Score:
        """As ``score_answer``, for a scorer whose parts are kept one by one."""
        return await self.score_answer(entry, images, answer)


class EntryScorer(Scorer, ABC):
    """Scores an entry's answers together, when all of them are there.

    ``counts_copies`` says whether the scores are others where a text is there twice. ``part`` is a scorer that is asked
    about each answer first, as it arrives: its scores are kept, and ``score_with_parts`` is given them.
    """

    counts_copies: ClassVar[bool] = False
    part: AnswerScorer | None = None

    @abstractmethod
    async def score_together(self, entry: Entry, images: Sequence[str], texts: Sequence[str]) -> list[Score]:
        """The score of each of the answers' texts, in their order; otherwise as ``AnswerScorer.score``."""

    async def score_with_parts(
        self, entry: Entry, images: Sequence[str], texts: Sequence[str], parts: Sequence[Score]
    ) -> list[Score]:
        """As ``score_together``; ``parts`` are the scores that ``part`` gave, in the same order, if there is one."""
        return await self.score_together(entry, images, texts)

    def about_entry(self, scores: Sequence[Score]) -> dict[str, Any]:
        """What the record says of the entry as a whole, besides the answers' scores."""
        return {}

    async def score_together_with(
        self, entry: Entry, images: Sequence[str], texts: Sequence[str], verdicts: Verdicts
    ) -> list[Score]:
        """As ``score_together``, for a scorer whose parts are kept one by one."""
        return await self.score_together(entry, images, texts)

    def requests_for(self, answers: int) -> int:
        """How many requests the scores of this many distinct answers take."""
        return answers * self.requests_per_answer
