"""Rules that run the code of others: what such a rule says, how its errors are named, and how many run at once.

>>> score_of(Verdict(True), "math", 0, 10).value
10.0
>>> score_of(Verdict(None, "no reference"), "math", 0, 10).unscored
'no reference'
"""

from __future__ import annotations

import argparse
import asyncio
import os
import traceback
from types import TracebackType
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Protocol, Sequence

from ..errors import EntryFailed, RunStopped, ToolkitError
from ..flag_types import float_between
from ..records import Entry, Score
from .shapes import AnswerScorer

Row = Optional[Dict[str, Any]]


class Verdict(NamedTuple):
    """What a rule says about an answer: a number, whether it is right, or None (undecided) and ``why``, if known."""

    value: float | bool | None
    why: str | None = None


class Rule(NamedTuple):
    """A rule as it is called: ``check(question, reference, answer, row)``. ``name`` is used in messages.

    ``row`` is what ``rows.row_of`` makes, or None for a rule that does not take it.

    ``file`` is the name of the file whose line is named when the rule raises an exception.
    """

    name: str
    check: Callable[[str, str | None, str, Row], Verdict]
    file: str = ""


class RuleFailed(EntryFailed):
    """The rule raised an exception, took too long, ended its process, or returned something that is not a score."""

    stage = "score"


def score_of(verdict: Verdict, name: str, low: float, high: float) -> Score:
    """The score of a verdict: ``high`` for True, ``low`` for False, a number as it is, unscored for None.

    RuleFailed if the number is outside the range.
    """
    value = verdict.value
    if value is None:
        return Score(None, unscored=verdict.why or f"{name} gave no score")
    if isinstance(value, bool):
        return Score(float(high if value else low))
    if not low <= value <= high:
        raise RuleFailed(f"{name} gave {value:g}, which is not from {low:g} to {high:g}")
    return Score(float(value))


class NamedErrors:
    """Turns an exception in a ``with`` block into an error of ``kind`` with the name, the message and the file's line.

    It does so with every exception, also CancelledError. Errors that are of a class in ``unchanged`` pass as they are.
    """

    def __init__(
        self,
        name: str,
        kind: type[ToolkitError],
        file: str,
        unchanged: tuple[type[BaseException], ...] = (ToolkitError,),
    ) -> None:
        self._name = name
        self._kind = kind
        self._file = file
        self._unchanged = unchanged

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and not isinstance(error, self._unchanged):
            text = f"{type(error).__name__}: {_message_of(error)}".rstrip(": ")
            raise self._kind(f"{self._name} raised {text}{self._line_of(error, trace)}") from error

    def _line_of(self, error: BaseException, trace: TracebackType | None) -> str:
        lines = [line for frame, line in traceback.walk_tb(trace) if self._is_in_file(frame.f_code.co_filename)]
        if isinstance(error, SyntaxError) and error.filename and self._is_in_file(error.filename):
            lines.append(error.lineno or 0)
        return f" ({self._file} line {lines[-1]})" if lines else ""

    def _is_in_file(self, path: str) -> bool:
        return os.path.basename(path) == self._file


def _message_of(error: BaseException) -> str:
    """What the error says; nothing if that fails too."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 the error's class is the user's own
        return ""


class Turns:
    """Lets at most ``size`` checks run at once: ``async with turns: ...``. It is used within one event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.waiting = 0
        self._free: asyncio.Semaphore | None = None
        self._moved: asyncio.Event | None = None

    async def __aenter__(self) -> None:
        if self._free is None or self._moved is None:
            # made here, not in __init__: before Python 3.10 these bind to the loop that is current when they are made
            self._free, self._moved = asyncio.Semaphore(self.size), asyncio.Event()
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
            self._moved.set()

    async def __aexit__(self, *_: object) -> None:
        assert self._free is not None
        self._free.release()

    def idle(self) -> bool:
        """Whether a check would begin at once."""
        return self._free is None or (self.waiting == 0 and not self._free.locked())

    async def room(self, depth: int) -> None:
        """Returns when fewer than ``depth`` times ``size`` checks wait."""
        while self._moved is not None and self.waiting >= depth * self.size:
            self._moved.clear()
            await self._moved.wait()


class RuleRunner(Protocol):
    """What runs a rule: processes that can be killed, or the event loop."""

    turns: Turns
    takes_row: bool  # whether the rule looks at more than question, reference and answer

    async def check(self, question: str, reference: str | None, answer: str, row: Row = None) -> Verdict:
        """The verdict on one answer. RuleFailed if the rule fails, RunStopped if no check can run."""

    def close(self) -> None:
        """Ends what is running; no check can begin after this."""


def refuse_if_closed(closed: bool, name: str) -> None:
    """RunStopped if a check begins after ``RuleRunner.close``."""
    if closed:
        raise RunStopped(f"{name} is closed")


class RuleScorer(AnswerScorer):
    """A scorer whose verdicts come from a ``RuleRunner``. Another process that gets the scorer makes its own runner."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        low: float,
        high: float,
        make_runner: Callable[[], RuleRunner],
        name: str | None = None,
    ) -> None:
        super().__init__({**settings, "score_min": low, "score_max": high}, name)
        self._low = low
        self._high = high
        self._make_runner = make_runner
        self._runner = make_runner()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_runner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._runner = self._make_runner()

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """--verifier_timeout"""
        group.add_argument(
            "--verifier_timeout",
            type=float_between(0.001),
            default=30.0,
            metavar="S",
            help="seconds that a rule may take per answer",
        )

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of the rule's verdict; see ``score_of``."""
        return await self._score(entry, text, None)

    async def _score(self, entry: Entry, text: str, row: Row) -> Score:
        verdict = await self._runner.check(entry.question, entry.reference, text, row)
        return score_of(verdict, self.name, self._low, self._high)

    async def room(self, depth: int) -> None:
        """Returns when fewer checks wait than ``depth`` times the number that runs at once."""
        await self._runner.turns.room(depth)

    def idle(self) -> bool:
        """Whether a check would begin at once."""
        return self._runner.turns.idle()

    def close(self) -> None:
        """Ends the rule's processes."""
        self._runner.close()
