r"""``--scorer math``: whether an answer's final answer equals the reference's, as math-verify (Hugging Face) sees it.

Text that could be read in two ways is undecided, and so is text that math-verify is known to misread: a false "equal"
would be trained on. math-verify is slow now and then, and can hang, so it runs in processes that can be killed.

>>> check_math("What is 2+2?", "4", r"It is \boxed{4}")
Verdict(value=True, why=None)
>>> check_math("What is 2+2?", "4", r"It is \boxed{4}. Wait, that is wrong.").why
'the answer has no final answer that can be told'
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.metadata
import logging
import re
import resource
from decimal import Decimal
from typing import Any, Sequence

from .. import extras
from ..records import Entry, Score
from ..servers.client import ChatClient
from .math_answer import find_math_answer
from .math_text import MathText, is_words, variables
from .patterns import any_of, any_word
from .rule_processes import RuleProcesses
from .rules import Rule, RuleFailed, RuleScorer, Verdict
from .thinking import without_thoughts

MEMORY_LIMIT = 4 << 30  # bytes of address space of a process that does math: an answer may be 10^{10^{10}}

# math-verify reads these as something else: a repeating decimal as 0, another base as base ten, "not 3" as 3
_MISREAD = re.compile(
    any_of(
        rf"\\{any_word('neq? not overline bar dot [lc]?dots approx sim simeq')}(?![A-Za-z])",
        rf"\\{any_word('mod [bp]mod equiv to rightarrow Rightarrow implies iff')}(?![A-Za-z])",
        r"[\u2248\u2260\u2026\u2192?]|\.\.",  # signs for: about, not equal, dots, to
        r"(?<=\d)_",  # 101_2
        r"(?<=\d)\s+(?=\d)",  # 1 2
        r"\d:\d",  # 4:30
        r"^\(?[A-Z]\)\s*\S",  # (A) 5
    )
)
_UNIT_LETTERS = re.compile(  # a unit, and not variables as in 2xy
    r"[A-Za-z\u00b5]{3}|" + any_word(r"[mckd\u00b5]m [km]g m[lLs] ft in lb oz hr mi yd [mg]") + "(?![A-Za-z])"
)
_INTEGER = re.compile(r"-?[0-9]{1,4000}")
_LEFT_SIDE = re.compile(r"\s*\\?[A-Za-z]+(?:_\{?\w+\}?)?\s*(?:\(\s*[A-Za-z]\s*\))?\s*")  # x; x_1; f(x)
_PER_CENT = r"\%"


class Math(RuleScorer):
    """``high`` if the final answers are equal, ``low`` if they differ, unscored if that cannot be told.

    ``timeout`` is in seconds per answer, and ``processes`` (None: one per CPU) the number of processes.
    UsageError if math-verify is not installed.
    """

    name = "math"
    usage = "math"
    help = "the final answer equals the reference's as mathematics"

    def __init__(self, low: float, high: float, timeout: float = 30, processes: int | None = None) -> None:
        make_runner = functools.partial(_runner, timeout, processes)
        super().__init__({"math version": math_verify_version()}, low, high, make_runner)

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Math:
        """The rule with the flags' range and time limit."""
        return cls(args.score_min, args.score_max, args.verifier_timeout)

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of one answer; a check that hangs or dies leaves it unscored."""
        try:
            return await super().score(entry, images, text)
        except RuleFailed as error:
            return Score(None, unscored=str(error))


def math_verify_version() -> str:
    """The version of math-verify that is installed; UsageError with the command to install it if there is none."""
    extras.check_installed("math_verify", "--scorer math", "math")
    return importlib.metadata.version("math-verify")


def _runner(timeout: float, processes: int | None) -> RuleProcesses:
    math_verify_version()  # another node of a cluster may not have it
    return RuleProcesses("math", load_rule, timeout=timeout, processes=processes)


def load_rule() -> Rule:
    """The rule; a process of the rule calls this first, so that slow imports do not count as a check."""
    with contextlib.suppress(OSError, ValueError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    logging.disable()  # math-verify would warn that its own time limits are off
    check_math("", "x=1", "2")
    return Rule("math", check_math)


def check_math(question: str, reference: str | None, answer: str) -> Verdict:
    """Whether the answer's final answer equals the reference's; undecided, with the reason, if that cannot be told.

    It needs math-verify, and has no time limit of its own.
    """
    if reference is None:
        return Verdict(None, "no reference to verify against")
    reply = without_thoughts(answer)
    if reply is None:
        return Verdict(None, "the thinking never ended")
    wanted, given = find_math_answer(reference), find_math_answer(reply)
    if wanted is None or given is None:
        whose = "reference" if wanted is None else "answer"
        return Verdict(None, f"the {whose} has no final answer that can be told")
    if _without_spaces(wanted.text) == _without_spaces(given.text):
        return Verdict(True)
    for final, whose in ((wanted, "reference"), (given, "answer")):
        if _MISREAD.search(final.value) or is_words(final.value):
            return Verdict(None, f"the {whose} is nothing that can be compared: {final.text[:80]}")
    return _compared(wanted, given)


def _without_spaces(text: str) -> str:
    """A text without spaces, except between digits, and without the brackets of an option: (B)."""
    return re.sub(r"(?<!\d)\s|\s(?!\d)|(?<=^)\((?=[A-Z]\)$)|(?<=^\([A-Z])\)$", "", text)


def _compared(wanted: MathText, given: MathText) -> Verdict:
    """The verdict on two values; undecided if only a per cent sign or something that is not a value differs."""
    values = [wanted.value, given.value]
    is_per_cent = [value.endswith(_PER_CENT) for value in values]
    if is_per_cent[0] != is_per_cent[1]:
        bare = [value[: -len(_PER_CENT)] if per_cent else value for value, per_cent in zip(values, is_per_cent)]
        if _equal(bare[0], bare[1]).value:
            return Verdict(None, "only one side has a per cent sign")
        values = [f"({value})/100" if per_cent else value for value, per_cent in zip(bare, is_per_cent)]
    if any(re.fullmatch(r"-?\d+,\d+", value) for value in values) and not all("," in value for value in values):
        return Verdict(None, "a comma may be a decimal comma")
    verdict = _equal(values[0], values[1])
    doubt = _doubt(wanted, given) if verdict.value else None
    return Verdict(None, doubt) if doubt else verdict


def _doubt(wanted: MathText, given: MathText) -> str | None:
    """Why two values that are equal to math-verify may not be equal; None if they are."""
    if wanted.unit and given.unit and wanted.unit != given.unit:
        return f"the units differ: {wanted.unit}, {given.unit}"
    unit = wanted.unit or given.unit
    if unit and not (wanted.unit and given.unit) and not _UNIT_LETTERS.match(unit):
        return f"only one side has {unit}, which may not be a unit"
    is_range = any(re.search(r"[<>]|\\[lg]e", value) for value in (wanted.value, given.value))
    if not is_range and _list_brackets(wanted.value) != _list_brackets(given.value):
        return "the brackets differ"
    left, equals, _ = given.value.partition("=")
    if equals and "=" not in wanted.value and re.search("[A-Za-z]", left) and not _LEFT_SIDE.fullmatch(left):
        return "the answer is an equation, the reference is not"
    ours, theirs = variables(wanted.value), variables(given.value)
    if len(wanted.value) > 1 and any(letter.swapcase() in ours | theirs for letter in ours ^ theirs):
        return "capital and small letters differ"
    return None


def _list_brackets(value: str) -> str:
    """The brackets around a list: round, square, or none, which means the same as braces."""
    return "".join(re.findall(r"[(\[\])]", value)) if "," in value else ""


def _equal(wanted: str, given: str) -> Verdict:
    """Whether math-verify takes two LaTeX values as equal; undecided if it cannot read one. Raises what it raises."""
    if _INTEGER.fullmatch(wanted) and _INTEGER.fullmatch(given):  # the most common case, 100 times as fast
        return Verdict(Decimal(wanted) == Decimal(given))
    math_verify = importlib.import_module("math_verify")
    config = [math_verify.LatexExtractionConfig()]
    values = []
    for text, whose in ((wanted, "reference"), (given, "answer")):
        parsed = math_verify.parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
        if not parsed:
            return Verdict(None, f"math-verify cannot read the {whose}: {text[:80]}")
        values.append(parsed[0])
    options = {"allow_set_relation_comp": True, "timeout_seconds": None, "raise_on_error": True}
    return Verdict(bool(math_verify.verify(values[0], values[1], **options)) and _close(values[0], values[1]))


def _close(wanted: Any, given: Any) -> bool:
    """Whether two numbers agree to five digits: math-verify takes all below 0.0000005 as equal."""
    sympy = importlib.import_module("sympy")
    if not all(isinstance(value, sympy.Expr) and value.is_number for value in (wanted, given)):
        return True
    difference, size = abs(sympy.N(wanted - given)), abs(sympy.N(wanted))
    return bool(difference <= 1e-5 * size) if size > 0 else bool(difference == 0)
