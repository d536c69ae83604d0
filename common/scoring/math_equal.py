r"""``--scorer math``: whether an answer's final answer equals the reference's as mathematics.

Numbers and lists of numbers are compared by value; formulas as math-verify (Hugging Face) sees them. Text that could be
read in two ways is undecided, and so is text that math-verify is known to misread: a false "equal" would be trained on.
math-verify is slow now and then, and can hang, so it runs in processes that can be killed.

>>> check_math("What is 2+2?", "4", r"It is \boxed{4}")
Verdict(value=True, why=None)
>>> check_math("What is 2+2?", "4", r"It is \boxed{4}. Wait, that is wrong.").why
'the answer has second thoughts'
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.metadata
import json
import logging
import re
import resource
from typing import Any, Sequence

from .. import extras
from ..patterns import Rule as Pattern
from ..patterns import any_word, either, regex
from ..records import Entry, Score
from ..servers.client import ChatClient
from .answer_value import Value
from .match import add_reading_flags, reading_settings
from .math_text import is_words, variables
from .rule_processes import RuleProcesses
from .rules import Rule, RuleFailed, RuleScorer, Verdict, score_of
from .same_answer import Decision, decide

MEMORY_LIMIT = 4 << 30  # bytes of address space of a process that does math: an answer may be 10^{10^{10}}
_EXACT = 1e-12  # relative difference of equal numbers
_LONGEST = 2_000  # characters of a formula that math-verify is asked about

MISREAD = [  # math-verify reads these as something else; the verdict: whether it is asked
    Pattern(
        "notation",
        rf"\\{any_word('neq? not overline bar dot [lc]?dots sim simeq')}(?![A-Za-z])",
        r"0.\overline{3}",
        None,
    ),
    Pattern(
        "relation",
        rf"\\{any_word('mod [bp]mod equiv to rightarrow Rightarrow implies iff')}(?![A-Za-z])",
        r"3 \to 4",
        None,
    ),
    Pattern("sign", r"[\u2260\u2026\u2192?]|\.\.", "0.33...", None),
    Pattern("base", r"(?<=\d)_", "101_2", None),
    Pattern("space", r"(?<=\d)\s+(?=\d)", "1 2", None),
    Pattern("ratio", r"\d:\d", "4:30", None),
    Pattern("option", r"^\(?[A-Z]\)\s*\S", "(A) 5", None),
]
_MISREAD = regex(either(MISREAD))
_MISJUDGED = regex(  # of these, math-verify may take equal ones as different: AB; H_2; 2 km; 2.5M; |x|
    r"(?<![\\A-Za-z{])[A-Z][A-Z]|[A-Z][a-z]?_?\{?[0-9]|[0-9]\s+[A-Za-z]{2}|^[-0-9.]+[kKMBT]$|\||\\[a-z]*matrix"
    r"|\\(?:angle|triangle|overline)(?![a-z])|[\u2220\u25b3]|^d[a-z]/d[a-z]$|[0-9]\s+\(|[a-z]['\u2019]s\b"
)


class Math(RuleScorer):
    """``high`` if the final answers are equal, ``low`` if they differ, unscored if that cannot be told.

    ``timeout`` is in seconds per answer, and ``processes`` (None: one per CPU) the number of processes.
    UsageError if math-verify is not installed.
    """

    name = "math"
    usage = "math"
    help = "the final answer equals the reference's as mathematics"
    right_or_wrong = True
    needs_reference = True

    def __init__(
        self,
        low: float,
        high: float,
        timeout: float = 30,
        processes: int | None = None,
        own: Sequence[str] = (),
        tolerance: float | None = None,
    ) -> None:
        make_runner = functools.partial(_runner, timeout, processes, tuple(own), tolerance)
        settings = {"math version": math_verify_version(), **reading_settings(own, tolerance)}
        super().__init__(settings, low, high, make_runner)
        self._own = tuple(map(re.compile, own))
        self._tolerance = tolerance

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """--answer_pattern, --math_tolerance, --verifier_timeout"""
        add_reading_flags(group)
        RuleScorer.add_flags(group)

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Math:
        """The rule with the flags' range and time limit."""
        more = {"own": args.answer_pattern or (), "tolerance": args.math_tolerance}
        return cls(args.score_min, args.score_max, args.verifier_timeout, **more)

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of one answer; a check that hangs or dies leaves it unscored. Only formulas need a process."""
        decision = decide(entry.question, entry.reference, text, self._own, self._tolerance)
        if decision.formulas is None:
            return score_of(_settled(decision), self.name, self._low, self._high)
        try:
            return await super().score(entry, images, text)
        except RuleFailed as error:
            return Score(None, unscored=str(error))


def math_verify_version() -> str:
    """The version of math-verify that is installed; UsageError with the command to install it if there is none."""
    extras.check_installed("math_verify", "--scorer math", "math")
    return importlib.metadata.version("math-verify")


def _runner(timeout: float, processes: int | None, own: tuple[str, ...], tolerance: float | None) -> RuleProcesses:
    math_verify_version()  # another node of a cluster may not have it
    return RuleProcesses("math", load_rule, [json.dumps([own, tolerance])], timeout=timeout, processes=processes)


def load_rule(settings: str = "[[], null]") -> Rule:
    """The rule; a process of the rule calls this first, so that slow imports do not count as a check."""
    with contextlib.suppress(OSError, ValueError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    logging.disable()  # math-verify would warn that its own time limits are off
    check_math("", "x^2", "2x")
    own, tolerance = json.loads(settings)
    return Rule("math", functools.partial(check_math, own=tuple(map(re.compile, own)), tolerance=tolerance))


def check_math(
    question: str,
    reference: str | None,
    answer: str,
    row: object = None,
    own: Sequence[re.Pattern[str]] = (),
    tolerance: float | None = None,
) -> Verdict:
    """Whether the answer's final answer equals the reference's; undecided, with the reason, if that cannot be told.

    It needs math-verify for formulas, and has no time limit of its own.
    """
    decision = decide(question, reference, answer, own, tolerance)
    if decision.formulas is None:
        return _settled(decision)
    return compare_formulas(*decision.formulas, tolerance)


def _settled(decision: Decision) -> Verdict:
    """The verdict of a decision that needs no math-verify. Words that differ are undecided."""
    return Verdict(None if decision.unsure else decision.value, decision.why)


def compare_formulas(wanted: Value, given: Value, tolerance: float | None = None) -> Verdict:
    """Whether two values are equal to math-verify; undecided if it may misread one, or if only their form differs."""
    for value, whose in ((wanted, "reference"), (given, "answer")):
        if len(value.plain) > _LONGEST or _MISREAD.search(value.plain) or is_words(value.plain):
            return Verdict(None, f"the {whose} is nothing that can be compared: {value.plain[:80]}")
    if wanted.unit and given.unit and wanted.unit != given.unit:
        return Verdict(None, f"the units differ: {wanted.unit}, {given.unit}")
    verdict = _equal(wanted.plain, given.plain, tolerance)
    if verdict.value is False and any(map(_MISJUDGED.search, (wanted.plain, given.plain))):
        return Verdict(None, "the letters may not be factors")
    doubt = _doubt(wanted, given) if verdict.value else None
    return Verdict(None, doubt) if doubt else verdict


def _doubt(wanted: Value, given: Value) -> str | None:
    """Why two values that are equal to math-verify may not be equal; None if they are."""
    is_range = any(re.search(r"[<>]|\\[lg]e", value.plain) for value in (wanted, given))
    if not is_range and _list_brackets(wanted.plain) != _list_brackets(given.plain):
        return "the brackets differ"
    left, equals, _ = given.plain.partition("=")
    if equals and "=" not in wanted.plain and re.search("[A-Za-z]", left):
        return "the answer is an equation, the reference is not"
    ours, theirs = variables(wanted.plain), variables(given.plain)
    if len(wanted.plain) > 1 and any(letter.swapcase() in ours | theirs for letter in ours ^ theirs):
        return "capital and small letters differ"
    return None


def _list_brackets(value: str) -> str:
    """The brackets around a list: round, square, or none, which means the same as braces."""
    return "".join(re.findall(r"[(\[\])]", value)) if "," in value else ""


def _equal(wanted: str, given: str, tolerance: float | None) -> Verdict:
    """Whether math-verify takes two LaTeX values as equal; undecided if it cannot read one. Raises what it raises."""
    math_verify = importlib.import_module("math_verify")
    config = [math_verify.LatexExtractionConfig()]
    values = []
    for text, whose in ((wanted, "reference"), (given, "answer")):
        parsed = math_verify.parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
        if not parsed:
            return Verdict(None, f"math-verify cannot read the {whose}: {text[:80]}")
        values.append(parsed[0])
    options = {"allow_set_relation_comp": True, "timeout_seconds": None, "raise_on_error": True}
    is_equal = bool(math_verify.verify(values[0], values[1], **options))
    distance = _distance(values[0], values[1])
    if distance is None:
        return Verdict(is_equal)
    if distance <= max(_EXACT, tolerance or 0):
        return Verdict(True)
    if distance < 0.05 and any(_is_rounded(text, values) for text in (wanted, given)):
        return Verdict(None, "one of the numbers is rounded, see --math_tolerance")
    return Verdict(False)


def _distance(wanted: Any, given: Any) -> float | None:
    """The relative difference of two numbers; None if one is not a number. To math-verify, small numbers are equal."""
    sympy = importlib.import_module("sympy")
    if not all(isinstance(value, sympy.Expr) and value.is_number for value in (wanted, given)):
        return None
    try:
        difference, size = (abs(complex(sympy.N(value, 30))) for value in (wanted - given, wanted))
    except (TypeError, ValueError, OverflowError):  # infinity, or a number that has no digits
        return None
    return difference / size if size > 0 else difference


def _is_rounded(text: str, values: Sequence[Any]) -> bool:
    """Whether one of two numbers, which is written so, is the other one rounded to its digits."""
    places = len(text.strip().partition(".")[2])
    is_decimal = re.fullmatch(r"-?[0-9]*\.[0-9]{1,12}", text.strip()) is not None
    return is_decimal and abs(complex(values[0] - values[1])) * 2 * 10**places <= 1 + _EXACT
