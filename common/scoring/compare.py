"""``--scorer compare``: an LLM compares an entry's distinct answers, ``window`` at a time, each window in both orders.

A winner that is not the same in both orders is a tie. compare_schedule.py says which answers are compared, and makes
scores of the results. They tell how an answer stands among those of its entry, and nothing about other entries. A
window whose verdict cannot be read in both orders does not count. An answer without any comparison is unscored.

Each reply is a line of the ledger as it arrives. The record keeps the results, so that an entry with further answers
needs only new comparisons.

Example: ``scores = await Compare(client, 0, 10).score_together(entry, [], ["It is 4.", "It is 5."])``
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from typing import Any, Dict, FrozenSet, Iterator, NamedTuple, Sequence

from ..errors import EntryFailed, RequestFailed, Retryable, UsageError
from ..flag_types import int_between
from ..records import Entry, Record, Score, fingerprint
from ..servers.client import ChatClient
from ..thinking import without_thoughts
from .compare_prompt import (
    COMPARE_ASKED,
    NAMES,
    TIE,
    compare_again,
    compare_prompt,
    compare_text,
    verdict_format,
)
from .compare_reply import read_best
from .compare_schedule import Window, chances, next_windows, windows_for
from .gathered import drop, gather_paid
from .judge import MAX_TOKENS, add_reply_flags
from .judge_prompt import judge_messages
from .judge_requests import JudgeRequests, Usage, fault_of
from .shapes import NO_VERDICTS, EntryScorer, Verdicts, maker_of

ORDERS = 2  # in which each window is read
ALONE = "the entry has one distinct answer: there is nothing to compare"


class Reading(NamedTuple):
    """What one reply says: the key of the winner, None for a tie; or ``unread``, why it says nothing."""

    winner: str | None
    unread: str | None = None


class Outcome(NamedTuple):
    """What both orders of a window say together."""

    kind: str  # beat, tied, flipped or unread
    winner: str | None = None
    why: str | None = None


Outcomes = Dict[FrozenSet[str], Outcome]


class Compare(EntryScorer):
    """Scores from ``low`` to ``high``, by ``mode`` text or json; otherwise as a ``Judge``."""

    name = "compare"
    usage = "compare"
    help = "an LLM compares the answers of each entry"
    needs_client = True

    def __init__(
        self,
        client: ChatClient,
        low: float,
        high: float,
        window: int = 2,
        mode: str = "text",
        temperature: float | None = 0.0,
        max_tokens: int | None = None,
        wants_images: bool = False,
    ) -> None:
        max_tokens = max_tokens or MAX_TOKENS[mode]
        comparing = {
            "model": client.model,
            "compare_prompt": fingerprint(compare_prompt(mode)),
            "judge_mode": mode,
            "judge_temperature": temperature,
            "judge_max_tokens": max_tokens,
            "judge_images": wants_images,
            "extra_body": client.extra_body,
        }
        super().__init__({**comparing, "score_min": low, "score_max": high, "compare_window": window})
        self.wants_images = wants_images
        self._maker = fingerprint(comparing)
        self._client = client
        self._low = low
        self._high = high
        self._window = window
        self._mode = mode
        self._requests = JudgeRequests(client, temperature, max_tokens)

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """--compare_window, and the flags of a judge's reply."""
        group.add_argument(
            "--compare_window",
            type=int_between(2, len(NAMES)),
            default=2,
            metavar="K",
            help="answers that compare shows the judge at once",
        )
        add_reply_flags(group)

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Compare:
        """The scorer that the flags ask for; UsageError for --judge_mode logprob."""
        assert client is not None
        if args.judge_mode not in COMPARE_ASKED:
            raise UsageError(f"--scorer compare reads no --judge_mode {args.judge_mode}: use text or json")
        return cls(
            client,
            args.score_min,
            args.score_max,
            window=args.compare_window,
            mode=args.judge_mode,
            temperature=0.0 if args.judge_temperature is None else args.judge_temperature,
            max_tokens=args.judge_max_tokens,
            wants_images=args.judge_images,
        )

    @property
    def requests_per_answer(self) -> int:
        """The limit for many pairs; see ``requests_for``."""
        return ORDERS

    def requests_for(self, answers: int) -> int:
        """Those of the schedule.

        >>> Compare(ChatClient([], "m", 1), 0, 10).requests_for(8)
        14
        """
        return ORDERS * windows_for(answers, self._window)

    async def room(self, depth: int) -> None:
        """Returns when fewer requests wait than ``depth`` times the number in flight."""
        await self._client.room(depth)

    def idle(self) -> bool:
        """Whether a request would be sent at once."""
        return self._client.idle()

    def recalls(self, line: Record) -> bool:
        """Whether the line has comparisons of the same model, prompt and settings."""
        if "verdict" in line:
            return maker_of(line) == self._maker
        return isinstance(line.get("compared"), dict) and line["compared"].get("made_by") == self._maker

    async def score_together(self, entry: Entry, images: Sequence[str], texts: Sequence[str]) -> list[Score]:
        """The score of each text: its chance to win against an average one, in the range."""
        return await self.score_together_with(entry, images, texts, NO_VERDICTS)

    async def score_together_with(
        self, entry: Entry, images: Sequence[str], texts: Sequence[str], verdicts: Verdicts
    ) -> list[Score]:
        """As ``score_together``; only comparisons that are not known are requested."""
        shown = [without_thoughts(text) for text in texts]
        keys = [None if text is None or not text.strip() else key_of(text) for text in shown]
        by_key = {key: text for key, text in zip(keys, shown) if key is not None and text is not None}
        table = Table(self, entry, images, by_key, verdicts)
        await table.play()
        scores = table.scores()
        return [_unscored(text) if key is None else scores[key] for key, text in zip(keys, texts)]

    async def read(
        self, entry: Entry, images: Sequence[str], window: Window, texts: Sequence[str], usage: Usage
    ) -> tuple[Reading, str]:
        """What the judge says of these texts in this order, and its reply."""
        messages = turns = judge_messages(compare_text(entry, texts, self._mode), images)
        features = {"response_format": verdict_format(len(texts))} if self._mode == "json" else {}
        for _ in range(self._client.max_retries + 1):
            reply = await self._requests.ask_with_room(usage, turns, features)
            fault = fault_of(reply)
            if fault is not None:
                return Reading(None, f"the judge's reply {fault}"), reply.text
            best = read_best(reply.text, texts)
            if best.best is not None:
                return Reading(None if best.best == TIE else window[NAMES.index(best.best)]), reply.text
            said = (without_thoughts(reply.text) or "").strip()
            turns = compare_again(messages, said, len(texts), self._mode)
        return Reading(None, f"the judge's reply {best.why}"), reply.text

    def known(self, verdicts: Verdicts) -> tuple[Outcomes, dict[str, Record]]:
        """The outcomes that records hold, and the ledger's lines of single replies by what they are about."""
        outcomes: Outcomes = {}
        replies: dict[str, Record] = {}
        for line in verdicts.lines:
            if "verdict" in line:
                replies[line["verdict"]] = line
            else:
                outcomes.update(outcomes_in(line["compared"]))
        if self.retry_unscored:
            outcomes = {window: one for window, one in outcomes.items() if one.kind != "unread"}
            replies = {about: line for about, line in replies.items() if line.get("unread") is None}
        return outcomes, replies

    def score_of(self, chance: float) -> float:
        """A chance from 0 to 1 as a score in the range."""
        return round(self._low + (self._high - self._low) * chance, 6)

    @property
    def window(self) -> int:
        """How many answers are compared at once."""
        return self._window

    @property
    def maker(self) -> str:
        """The fingerprint of all that makes a comparison what it is."""
        return self._maker


class Table:
    """One entry's comparisons: the distinct ``texts`` by their keys, and what is known of them."""

    def __init__(
        self, scorer: Compare, entry: Entry, images: Sequence[str], texts: dict[str, str], verdicts: Verdicts
    ) -> None:
        self._scorer = scorer
        self._entry = entry
        self._images = images
        self._texts = texts
        self._verdicts = verdicts
        outcomes, self._replies = scorer.known(verdicts)
        self._outcomes = {window: one for window, one in outcomes.items() if window <= texts.keys()}
        self._usage: dict[str, Counter[str]] = {key: Counter() for key in texts}

    async def play(self) -> None:
        """Compares until the schedule is done. If a request fails, those in flight end first: they are paid for."""
        running: Dict[FrozenSet[str], asyncio.Task[Outcome]] = {}
        failure: EntryFailed | None = None
        try:
            while True:
                for window in [] if failure else next_windows(list(self._texts), self._scorer.window, self._winners()):
                    if frozenset(window) not in running:
                        running[frozenset(window)] = asyncio.ensure_future(self._decide(window))
                if not running:
                    break
                done, _ = await asyncio.wait(running.values(), return_when=asyncio.FIRST_COMPLETED)
                for key in [key for key, task in running.items() if task in done]:
                    try:
                        self._outcomes[key] = running.pop(key).result()
                    except EntryFailed as error:
                        failure = failure or error
        finally:
            drop(running.values())
        if failure is not None:
            raise failure

    async def _decide(self, window: Window) -> Outcome:
        """The outcome of a window, read in both orders."""
        return joined(*await gather_paid([self._read(window), self._read(window[::-1])]))

    def _winners(self) -> dict[FrozenSet[str], str | None]:
        return {window: one.winner for window, one in self._outcomes.items()}

    async def _read(self, order: Window) -> Reading:
        """The reading of one order of a window: the known one, or that of a reply, which is kept."""
        about = " ".join(order)
        line = self._replies.get(about)
        if line is None:
            usage = Usage(self._entry.entry_id)
            try:
                texts = [self._texts[key] for key in order]
                reading, reply = await self._scorer.read(self._entry, self._images, order, texts, usage)
            except Retryable:
                raise  # the server's fault: the next run asks again
            except RequestFailed as error:
                reading, reply = Reading(None, f"the judge's server refused the request: {error}"), ""
            unread = {} if reading.unread is None else {"unread": reading.unread}
            line = {"winner": reading.winner, **unread, "judge_reply": reply, "judge_usage": usage.spent}
            self._verdicts.keep(self._scorer.maker, about, line)
        self._usage[order[0]].update(line.get("judge_usage") or {})
        return Reading(line.get("winner"), line.get("unread"))

    def scores(self) -> dict[str, Score]:
        """The score of each text, by its key."""
        readable = {window: one.winner for window, one in self._outcomes.items() if one.kind != "unread"}
        by_chance = chances(list(self._texts), readable)
        return {key: self._score(key, by_chance[key]) for key in self._texts}

    def _score(self, key: str, chance: float) -> Score:
        own = {window: one for window, one in self._outcomes.items() if key in window}
        kinds = Counter(one.kind if one.winner in (None, key) else "lost" for one in own.values())
        reasons = [one.why for one in own.values() if one.kind == "unread"]
        decided = len(own) - len(reasons)
        return Score(
            self._scorer.score_of(chance) if decided else None,
            unscored=None if decided else (reasons[0] if reasons else ALONE),
            judge_usage=dict(self._usage[key]) or None,
            wins=kinds["beat"],
            losses=kinds["lost"],
            ties=kinds["tied"] + kinds["flipped"],
            flips=kinds["flipped"],
            compared={"made_by": self._scorer.maker, "as": key, **_listed(key, own)},
        )


def key_of(text: str) -> str:
    """The name of an answer in the comparisons of its entry.

    >>> key_of("It is 4."), key_of(" It is 4. ")
    ('5efbdd2b', '5efbdd2b')
    """
    return fingerprint(text.strip(), 8)


def _unscored(text: str) -> Score:
    return Score(None, unscored="the answer has only thoughts" if text.strip() else "the answer is empty")


def joined(one: Reading, other: Reading) -> Outcome:
    """The outcome of a window from its two orders.

    >>> joined(Reading("a"), Reading("a")), joined(Reading("a"), Reading("b")).kind, joined(Reading("a"), Reading(None))
    (Outcome(kind='beat', winner='a', why=None), 'flipped', Outcome(kind='tied', winner=None, why=None))
    """
    unread = one.unread or other.unread
    if unread is not None:
        return Outcome("unread", why=unread)
    if one.winner == other.winner:
        return Outcome("tied" if one.winner is None else "beat", one.winner)
    return Outcome("tied" if None in (one.winner, other.winner) else "flipped")


def _listed(key: str, outcomes: Outcomes) -> dict[str, Any]:
    """An answer's windows by how they ended, each as the keys of the others in it. The winner lists a window it won."""
    found: dict[str, Any] = {}
    for window, one in outcomes.items():
        others = " ".join(sorted(window - {key}))
        if one.kind == "unread":
            found.setdefault("unread", {})[others] = one.why
        elif one.winner in (None, key):
            found.setdefault(one.kind, []).append(others)
    return found


def outcomes_in(compared: dict[str, Any]) -> Iterator[tuple[FrozenSet[str], Outcome]]:
    """The outcomes of the windows that ``compared`` of an answer's details lists.

    >>> list(outcomes_in({"as": "a", "beat": ["b"]}))[0][1]
    Outcome(kind='beat', winner='a', why=None)
    """
    own = str(compared.get("as"))
    for kind in ("beat", "tied", "flipped", "unread"):
        listed = compared.get(kind) or ()
        for others in listed if isinstance(listed, (list, dict)) else ():
            window = frozenset([own, *str(others).split()])
            why = str(listed[others]) if isinstance(listed, dict) else None
            yield window, Outcome(kind, own if kind == "beat" else None, why)
