"""Runs a row's tests on an answer's code, and compares what the code gives; no code of the answer runs in this process.

Tests in Python call the answer through code_remote.py. Each assert counts by itself: one that fails does not end the
others. The token of the check is sent with the result after the last test, and only this process knows it.

>>> same_output("0.50 a", "0.5 a\\n"), same_output("1\\n2", "1 2")
(True, False)
"""

from __future__ import annotations

import ast
import builtins
import os
import sys
import traceback
import types
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Callable

from .code_answer import code_of, parsed, parts_of
from .code_remote import CannotTell, Ended, Remote, RemoteObject
from .code_tests import IMPORTS, RowTests

SHOWN = 300  # characters of the first failure
TOLERANCE = Decimal("1e-6")  # of a number with decimals that a program prints


@dataclass
class Outcome:
    """What the tests say. ``why`` is set if they cannot say it: the answer is then undecided."""

    passed: int = 0
    of: int = 0
    first_failure: str | None = None
    why: str | None = None

    def add(self, failure: str | None) -> None:
        """Counts one test, which failed if ``failure`` says how."""
        self.of += 1
        self.passed += failure is None
        if failure is not None and self.first_failure is None:
            self.first_failure = failure[:SHOWN]


def check(tests: RowTests, answer: str, remote: Remote, outcome: Outcome) -> None:
    """Adds what the tests say to ``outcome``, which is right also if the answer's process ends during a test."""
    found = code_of(answer, tests.name, tests.prompt)
    if found.code is None:
        outcome.why = found.why
        return
    try:
        remote.ready()
        if tests.pairs and tests.name is None:
            _check_program(tests, [found.code], remote, outcome)
        elif tests.pairs:
            _check_calls(tests, [IMPORTS, *parts_of(found.code, tests.prompt, tests.name)], remote, outcome)
        else:
            remote_parts = parts_of(found.code, tests.prompt, tests.name)
            _PythonTests(tests, remote_parts, remote, outcome).run()
    except Ended as error:
        outcome.add(str(error))
    except CannotTell:
        pass
    if remote.fault is not None:
        if outcome.first_failure is None:
            outcome.add(remote.fault)
        outcome.of = max(outcome.of, planned(tests))
    if outcome.first_failure is None:
        outcome.why = outcome.why or remote.doubt


def planned(tests: RowTests) -> int:
    """The number of tests, as far as it shows before they run."""
    trees = filter(None, map(parsed, tests.asserts))
    return len(tests.pairs) or sum(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree))


# Pairs of input and output


def _check_program(tests: RowTests, parts: list[str], remote: Remote, outcome: Outcome) -> None:
    for number, (given, wanted) in enumerate(tests.pairs, 1):
        result = remote.run(parts, _lines(given))
        outcome.add(_program_failure(f"test {number}", result, _lines(wanted)))


def _lines(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _program_failure(test: str, result: dict[str, Any], wanted: str) -> str | None:
    status, printed = result.get("status"), str(result.get("stdout"))
    if status != 0:
        return f"{test}: {result.get('text') or f'the program ended with status {status}'}"
    if same_output(printed, wanted):
        return None
    return f"{test}: it printed {printed[:100]!r}, not {wanted[:100]!r}"


def same_output(printed: str, wanted: str) -> bool:
    """Whether two texts have the same lines of words; numbers are compared by value, and decimals within 1e-6."""
    ours, theirs = ([line.split() for line in text.rstrip().split("\n")] for text in (printed, wanted))
    return len(ours) == len(theirs) and all(
        len(one) == len(other) and all(map(_same_word, one, other)) for one, other in zip(ours, theirs)
    )


def _same_word(printed: str, wanted: str) -> bool:
    if printed == wanted:
        return True
    try:
        ours, theirs = Decimal(printed), Decimal(wanted)
        if not (ours.is_finite() and theirs.is_finite()):
            return False
        return ours == theirs or ("." in wanted and abs(ours - theirs) <= TOLERANCE * max(Decimal(1), abs(theirs)))
    except (InvalidOperation, ArithmeticError):
        return False


def _check_calls(tests: RowTests, parts: list[str], remote: Remote, outcome: Outcome) -> None:
    failure = _raised(lambda: remote.load(parts))
    for number, (arguments, wanted) in enumerate(tests.pairs, 1):
        outcome.add(failure or _call_failure(f"test {number}", remote, str(tests.name), arguments, wanted))


def _call_failure(test: str, remote: Remote, name: str, arguments: list[Any], wanted: Any) -> str | None:
    results: list[Any] = []
    failure = _raised(lambda: results.append(_function(remote, name)(*arguments)))
    if failure is not None:
        return f"{test}: {failure}"
    if _same_value(results[0], wanted):
        return None
    return f"{test}: it returned {results[0]!r:.100}, not {wanted!r:.100}"


def _function(remote: Remote, name: str) -> Any:
    """A function of the answer, or the method of its class ``Solution``."""
    try:
        return remote.get(name)
    except AttributeError:
        return getattr(remote.get("Solution")(), name)


def _same_value(result: Any, wanted: Any) -> bool:
    """Whether a result is the wanted value of JSON, which may stand in a list of one, as in APPS."""
    result = _as_json(result)
    return bool(result == wanted or (isinstance(wanted, list) and len(wanted) == 1 and result == wanted[0]))


def _as_json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _as_json(item) for key, item in value.items()}
    return value


def _raised(act: Callable[[], object], unchanged: tuple[type[Exception], ...] = ()) -> str | None:
    """The exception that an action raises, in words; one of ``unchanged`` is raised as it is."""
    try:
        act()
    except unchanged:
        raise
    except Exception as error:  # noqa: BLE001 it is the answer's, or that of the tests
        return f"{type(error).__name__}: {error}".rstrip(": ")
    return None


# Tests in Python


class _Names(dict):  # type: ignore[type-arg]
    """The names of the tests: those that they do not define are the answer's, except the names of built-ins."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(__name__="tests", __builtins__=builtins)
        self._remote = remote

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        try:
            return self._remote.get(name)
        except AttributeError:
            raise KeyError(name) from None


class _Module(types.ModuleType):
    """A module that tests import the answer's functions from."""

    remote: Remote

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.remote.get(name)


class _CountAsserts(ast.NodeTransformer):
    """Makes each assert count by itself. One in a ``try`` or ``with`` stays: its exception may be expected there."""

    def __init__(self) -> None:
        self.sources: list[str] = []

    def visit_Try(self, node: ast.Try) -> ast.AST:
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.sources.append(_source_of(node))
        number = len(self.sources) - 1
        counted = ast.parse(f"try: pass\nexcept Exception: __failed__({number})\nelse: __passed__()").body[0]
        assert isinstance(counted, ast.Try)
        counted.body = [node]
        return ast.fix_missing_locations(ast.copy_location(counted, node))


def _source_of(node: ast.Assert) -> str:
    """The text of an assert, without its message."""
    unparse = getattr(ast, "unparse", None)  # Python 3.9
    return f"assert {unparse(node.test)}" if unparse else f"the assert in line {node.lineno}"


class _PythonTests:
    """Tests that are pieces of Python, in one namespace."""

    def __init__(self, tests: RowTests, parts: list[str], remote: Remote, outcome: Outcome) -> None:
        self._tests = tests
        self._parts = parts
        self._remote = remote
        self._outcome = outcome
        self._count = _CountAsserts()
        own = {"__passed__": lambda: outcome.add(None), "__failed__": self._failed}
        self._names = _Names(remote)
        self._names.update(own)

    def run(self) -> None:
        """Runs all tests. A test that ends with an exception fails, with the asserts that it did not reach."""
        trees = [tree for tree in map(parsed, self._tests.asserts) if tree is not None]
        if len(trees) < len(self._tests.asserts):
            self._outcome.why = "the row's tests are not Python"
            return
        pieces = [compile(self._count.visit(tree), "tests", "exec", dont_inherit=True) for tree in trees]
        if self._prepare():
            for piece in pieces:
                self._run(lambda piece=piece: exec(piece, self._names))  # type: ignore[misc]
            self._run_functions()
        if not self._outcome.of and not self._outcome.why:
            self._outcome.why = "the row's tests assert nothing"

    def _prepare(self) -> bool:
        """Loads the answer, and defines what the tests may use: the prompt's own functions, and the row's setup."""
        failure = _raised(lambda: self._remote.load(self._parts))
        if failure is not None:
            self._outcome.add(failure)
            self._reach_all()
            return False
        failure = _raised(self._set_up)
        if failure is not None:
            self._outcome.why = f"the code before the row's tests fails: {failure}"
            return False
        for name in ("solution", "answer"):
            sys.modules[name] = _Module(name)
            sys.modules[name].remote = self._remote  # type: ignore[attr-defined]
        if self._tests.name is not None:
            self._names[self._tests.name] = self._candidate(self._tests.name)
        return True

    def _set_up(self) -> None:
        for code in (self._tests.prompt, self._tests.setup):
            exec(compile(code, "setup", "exec", dont_inherit=True), self._names)

    def _candidate(self, name: str) -> Any:
        try:
            return _function(self._remote, name)
        except AttributeError:
            return _Absent(name)

    def _run_functions(self) -> None:
        """Calls HumanEval's ``check``, and functions named as pytest wants it."""
        check = self._names.get("check")
        if callable(check) and self._tests.name is not None:
            self._run(lambda: check(self._names[self._tests.name]))
        elif callable(check) and not isinstance(check, RemoteObject) and not self._outcome.of:
            self._outcome.why = "the row does not say which function its tests check (entry_point)"
        for name, function in list(self._names.items()):
            if name.startswith("test_") and isinstance(function, types.FunctionType) and not _takes_arguments(function):
                self._run(function)

    def _run(self, act: Callable[[], object]) -> None:
        try:
            failure = _raised(act, (ModuleNotFoundError,))
        except ModuleNotFoundError as error:  # of the tests' own imports: code_remote.py raises none
            self._outcome.why = f"the row's tests cannot run here: {error}"
            return
        if failure is not None:
            self._outcome.add(failure)
            self._reach_all()

    def _reach_all(self) -> None:
        """Counts the asserts that were not reached."""
        self._outcome.of = max(self._outcome.of, len(self._count.sources))

    def _failed(self, number: int) -> None:
        error = sys.exc_info()[1]
        said = traceback.format_exception_only(type(error), error)[-1].strip()
        got = f" (the last call gave {self._remote.last!r:.100})" if isinstance(error, AssertionError) else f": {said}"
        self._outcome.add(self._count.sources[number][:200] + got)


class _Absent:
    """Stands for a function that the answer does not define."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise NameError(f"the answer does not define {self._name}")


def _takes_arguments(function: types.FunctionType) -> bool:
    code = function.__code__
    return code.co_argcount + code.co_kwonlyargcount > 0


def leave_streams() -> None:
    """Keeps what tests print out of this process's streams."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
