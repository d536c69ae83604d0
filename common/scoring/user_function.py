"""``--scorer python:FILE.py:FUNCTION``: a function of the user's that scores an answer.

It is called with question, reference (a text or None) and answer, and returns a score, a bool, or None for no score.
A function that also takes ``row``, or ``**row``, gets the entry's own keys and more (``rows.row_of``).
An async function is awaited in the event loop; any other function runs in processes that can be killed.

Example: ``UserFunction("python:check.py:verify", 0, 10)`` for ``def verify(question, reference, answer): return 7``
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib.util
import inspect
import math
import numbers
import os
import sys
from decimal import Decimal
from inspect import Parameter
from typing import Any, Callable, NamedTuple, Sequence

from ..errors import ToolkitError, UsageError
from ..records import Answer, Entry, Score, fingerprint
from ..servers.client import ChatClient
from .rows import ALL_KEYS, ROW_KEYS, row_of
from .rule_processes import RuleProcesses
from .rules import NamedErrors, Row, Rule, RuleFailed, RuleRunner, RuleScorer, Turns, Verdict, refuse_if_closed

CALLS_AT_ONCE = 8  # of an async function, where --concurrency is auto


class UserFunction(RuleScorer):
    """``concurrency`` bounds the calls of an async function at one time, ``processes`` (None: one per CPU) the
    processes of any other function; ``timeout`` is in seconds per answer.

    UsageError if the file or the function cannot be used.
    """

    name = "python"
    usage = "python:FILE.py:FUNCTION"
    help = "your own function(question, reference, answer[, row]), which returns a score, True, False or None"

    def __init__(
        self,
        spec: str,
        low: float,
        high: float,
        concurrency: int = 16,
        timeout: float = 30,
        processes: int | None = None,
    ) -> None:
        target = parse_target(spec)
        settings = {f"{spec} version": source_of(target)}
        super().__init__(settings, low, high, functools.partial(_runner, target, concurrency, timeout, processes), spec)
        if self._runner.takes_row:
            self.settings[ROW_KEYS] = [ALL_KEYS]

    @property
    def is_free(self) -> bool:
        """Whether a call costs no request; an async function probably sends some."""
        return not isinstance(self._runner, AsyncFunction)

    async def score_answer(self, entry: Entry, images: Sequence[str], answer: Answer) -> Score:
        """As ``score``, with the row of the answer."""
        return await self._score(entry, answer.text, row_of(entry, answer) if self._runner.takes_row else None)

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> UserFunction:
        """The function that ``spec`` names."""
        concurrency = args.concurrency or CALLS_AT_ONCE
        return cls(spec, args.score_min, args.score_max, concurrency, args.verifier_timeout)


class Target(NamedTuple):
    """A function of a file: as the user wrote it, the file's absolute path (a process may start in another folder),
    and the function's name."""

    spec: str
    path: str
    function: str

    @property
    def flag(self) -> str:
        """The flag as the user wrote it."""
        return f"--scorer {self.spec}"

    @property
    def file(self) -> str:
        """The file's path as the user wrote it."""
        return self.spec.partition(":")[2].rpartition(":")[0]

    @property
    def name(self) -> str:
        """The function in messages: ``check.py:verify``."""
        return f"{os.path.basename(self.path)}:{self.function}"


def parse_target(spec: str) -> Target:
    """The function that ``python:FILE.py:FUNCTION`` names; UsageError if it has another form or there is no file."""
    path, _, function = spec.partition(":")[2].rpartition(":")  # the last colon: a path may have one
    path = os.path.expanduser(path)
    if not path or not function.isidentifier():
        raise UsageError(f"--scorer {spec}: it must be {UserFunction.usage}")
    if not os.path.isfile(path):
        raise UsageError(f"--scorer {spec}: no file {path}")
    return Target(spec, os.path.abspath(path), function)


def source_of(target: Target) -> str:
    """12 hex digits that change with the file's bytes or the function's name. UsageError if the file is unreadable."""
    try:
        with open(target.path, "rb") as file:
            return fingerprint({"function": target.function, "source": file.read().decode("latin-1")})
    except OSError as error:
        raise UsageError(f"{target.flag}: cannot read {target.file}: {error.strerror}") from error


def load_function(target: Target) -> Callable[..., Any]:
    """The user's function, after its file was imported; the file prints to stderr.

    UsageError if the file raises an exception (with its line), if it has no such function, or if the function does
    not take question, reference and answer.
    """
    function: Callable[..., Any] | None = getattr(_imported(target), target.function, None)
    if function is None:
        raise UsageError(f"{target.flag}: {target.file} has no function {target.function}")
    if not callable(function):
        kind = type(function).__name__
        raise UsageError(f"{target.flag}: {target.function} is not a function (it is of type {kind})")
    try:
        inspect.signature(function).bind("question", "reference", "answer", **row_arguments(function, {}))
    except TypeError as error:
        text = f"{target.flag}: {target.function} must take question, reference and answer ({error})"
        raise UsageError(text) from error
    except ValueError:
        pass  # a function written in C may not say what it takes
    return function


def row_arguments(function: Callable[..., Any], row: Row) -> dict[str, Any]:
    """The arguments that give a function the row: none, ``row``, or each of its keys that has no argument yet.

    >>> row_arguments(lambda question, reference, answer, row: True, {"id": 7})
    {'row': {'id': 7}}
    >>> row_arguments(lambda question, reference, answer, **row: True, {"id": 7, "answer": "own"})
    {'id': 7}
    """
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # a function written in C may not say what it takes
        return {}
    if "row" in parameters and parameters["row"].kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
        return {"row": row}
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values()):
        return {key: value for key, value in (row or {}).items() if key not in parameters}
    return {}


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of the function must be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _imported(target: Target) -> Any:
    """The module of the user's file, under a name that hides no other module; it can import files of its folder."""
    folder, file = os.path.split(target.path)
    name = f"verifier_{os.path.splitext(file)[0]}"
    spec = importlib.util.spec_from_file_location(name, target.path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{target.flag}: {target.file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and pickle look there
    vars(module)["print"] = _print
    current_folder = os.getcwd()
    named = NamedErrors(f"{target.flag}: {file}", UsageError, file, (ToolkitError, KeyboardInterrupt))  # Ctrl-C
    try:
        with contextlib.redirect_stdout(sys.stderr), named:
            spec.loader.exec_module(module)
    finally:
        os.chdir(current_folder)  # the run's own paths are relative to it
    return module


def _print(*values: object, **options: Any) -> None:
    """The user's ``print``: stdout is the run's own."""
    print(*values, **{"file": sys.stderr, **options})


def verdict_of(result: object, name: str) -> Verdict:
    """A function's result as a verdict: a finite number, a bool or None, also numpy's and torch's.

    RuleFailed, with the function's name, for anything else.

    >>> verdict_of(Decimal("0.5"), "check.py:verify")
    Verdict(value=0.5, why=None)
    """
    if not isinstance(result, (numbers.Number, Decimal)) and hasattr(result, "item"):
        result = result.item()
    if result is None or isinstance(result, bool):
        return Verdict(result)
    if not isinstance(result, (numbers.Real, Decimal)):
        raise RuleFailed(f"{name} gave a {type(result).__name__}, not a number, a bool or None")
    try:
        value = float(result)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise RuleFailed(f"{name} gave {value}, which is not a score")
    return Verdict(value)


def load_rule(*target: str) -> Rule:
    """The user's function as a rule; a process of the rule calls this with the parts of a ``Target``."""
    function, name = load_function(Target(*target)), Target(*target).name

    def check(question: str, reference: str | None, answer: str, row: Row) -> Verdict:
        return verdict_of(function(question, reference, answer, **row_arguments(function, row)), name)

    return Rule(name, check, os.path.basename(Target(*target).path))


def _runner(target: Target, concurrency: int, timeout: float, processes: int | None) -> RuleRunner:
    function = load_function(target)
    runner: AsyncFunction | RuleProcesses
    if is_async(function):
        runner = AsyncFunction(function, target, concurrency, timeout)
    else:
        runner = RuleProcesses(target.name, load_rule, target, timeout, processes)
    runner.takes_row = bool(row_arguments(function, {"": None}))
    return runner


def _forget(call: asyncio.Future[Verdict]) -> None:
    """Looks at the end of a call that nobody waits for any more, which would be reported otherwise."""
    if not call.cancelled():
        call.exception()


class AsyncFunction:
    """Awaits an async function in the event loop."""

    def __init__(self, function: Callable[..., Any], target: Target, concurrency: int, timeout: float) -> None:
        self.turns = Turns(concurrency)
        self.takes_row = False
        self._function = function
        self._target = target
        self._timeout = timeout
        self._closed = False

    async def check(self, question: str, reference: str | None, answer: str, row: Row = None) -> Verdict:
        """The verdict on one answer. RuleFailed names what the function did wrong."""
        async with self.turns:
            refuse_if_closed(self._closed, self._target.name)
            # a task of its own: a CancelledError in it is the function's, unless it is cancelled here
            call = asyncio.ensure_future(self._call(question, reference, answer, row))
            try:
                if (await asyncio.wait([call], timeout=self._timeout))[0]:
                    return call.result()
                raise RuleFailed(f"{self._target.name} took longer than {self._timeout:g} s")
            finally:
                call.cancel()
                call.add_done_callback(_forget)

    def close(self) -> None:
        """No check can begin after this."""
        self._closed = True

    async def _call(self, question: str, reference: str | None, answer: str, row: Row) -> Verdict:
        with NamedErrors(self._target.name, RuleFailed, os.path.basename(self._target.path)):
            more = row_arguments(self._function, row)
            return verdict_of(await self._function(question, reference, answer, **more), self._target.name)
