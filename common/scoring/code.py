"""``--scorer code``: runs the last fenced block of an answer against the row's own tests.

The code runs in a process of its own, which holds no test and no expected value (code_child.py). The tests run in
another process (code_checker.py). The score is ``high`` if every test passes, ``low`` if one fails, and none if the row
has no tests, or if its tests cannot tell.

Example: ``Code(0, 10, key="test")`` scores an answer by the tests under ``test`` of its row.
"""

from __future__ import annotations

import argparse
import functools
import json
from typing import Any, Mapping, Sequence

from ..errors import UsageError
from ..records import Entry, Score
from ..servers.client import ChatClient
from .code_sandbox import KINDS, find_sandbox
from .code_tests import BESIDE
from .rows import ROW_KEYS
from .rule_processes import RuleProcesses
from .rules import RuleFailed, RuleScorer, Verdict, score_of

MARGIN = 15  # seconds beyond the limit of an answer, for its processes to start and to end


class Code(RuleScorer):
    """``key`` is the dotted key of the row's tests, ``sandbox`` one of ``KINDS`` or ``auto``, ``timeout`` the seconds
    per answer, and ``processes`` (None: one per CPU) the answers that run at once.

    UsageError if the sandbox does not work here.
    """

    name = "code"
    usage = "code"
    help = "the answer's code passes the row's own tests (--code_tests)"
    right_or_wrong = True

    def __init__(
        self,
        low: float,
        high: float,
        key: str,
        sandbox: str = "auto",
        timeout: float = 30,
        processes: int | None = None,
    ) -> None:
        self.sandbox, self.problem = find_sandbox(sandbox)
        if self.problem and self.sandbox != "none":
            raise UsageError(f"--sandbox {self.sandbox} does not work here: {self.problem}")
        self._key = key
        settings = {"code_tests": key, ROW_KEYS: sorted({key, *BESIDE})}
        super().__init__(settings, low, high, functools.partial(_processes, sandbox, timeout, processes))
        self.needed_keys = [("--code_tests", key)]

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """--verifier_timeout, --code_tests, --sandbox"""
        RuleScorer.add_flags(group)
        add = group.add_argument
        add("--code_tests", metavar="KEY", help="key of a row's tests for code: asserts, or inputs and outputs")
        add(
            "--sandbox",
            choices=("auto", *KINDS),
            default="auto",
            help="where the code of answers runs; auto takes the first that works here",
        )

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Code:
        """The scorer with the flags' range, key and sandbox; UsageError without --code_tests."""
        if args.code_tests is None:
            raise UsageError("--scorer code needs --code_tests KEY, the key of the row's tests")
        return cls(args.score_min, args.score_max, args.code_tests, args.sandbox, args.verifier_timeout)

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of one answer's code, with ``tests``: how many passed, of how many, and the first failure."""
        job = json.dumps([_extra_of(entry.extra), self._key, entry.question])
        verdict = await self._check(job, text)
        outcome = json.loads(verdict.why or "{}")
        score = score_of(Verdict(verdict.value, outcome["why"]), self.name, self._low, self._high)
        return score._replace(tests=_tests_of(outcome)) if outcome["of"] else score

    async def _check(self, job: str, text: str) -> Verdict:
        """The verdict of the tests. Code that ends the process that watches it, twice, is wrong."""
        try:
            return await self._runner.check(job, None, text)
        except RuleFailed:
            pass  # the system may have ended the process
        try:
            return await self._runner.check(job, None, text)
        except RuleFailed as error:
            return Verdict(False, json.dumps({"passed": 0, "of": 1, "first_failure": str(error), "why": None}))

    def summary_rows(self) -> list[tuple[str, str]]:
        """Says if the code of the answers ran without a sandbox."""
        if self.sandbox != "none":
            return []
        why = f" ({self.problem})" if self.problem else ""
        return [("sandbox", f"none: the answers' code could read this user's files and use the network{why}")]


def _processes(sandbox: str, timeout: float, processes: int | None) -> RuleProcesses:
    from .code_runner import load_rule

    arguments = [find_sandbox(sandbox)[0], str(timeout)]
    return RuleProcesses("code", load_rule, arguments, timeout + MARGIN, processes)


def _tests_of(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an outcome; ``first_failure`` only if a test failed."""
    return {name: outcome[name] for name in ("passed", "of", "first_failure") if outcome[name] is not None}


def _extra_of(extra: object) -> Any:
    """The row's own keys, also where they are kept as JSON."""
    return json.loads(extra) if isinstance(extra, (bytes, str)) else extra or {}
