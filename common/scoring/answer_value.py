r"""The value of a final answer, and whether two values are equal, without a computer algebra system.

A value is a number, a list of values (a set, a tuple, an interval, a matrix), or a formula, which is compared as text.

>>> equal(read_value(r"\{1, 2\}"), read_value(r"\left\{2, \frac{2}{2}\right\}"), Question("")).value
True
>>> equal(read_value("1/2"), read_value("0.6"), Question("")).value
False
>>> equal(read_value("(x+1)^2"), read_value("x^2+2x+1"), Question("")).value is None
True
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple, Sequence

from ..patterns import regex
from .final_number import Number, read_number
from .math_text import LONGEST, canonical, plain_latex
from .moments import Moment, read_moment
from .question import WORD, Question
from .rules import Verdict
from .sentence_number import NEXT_PHRASE, is_harmless
from .units import dimension_of, leading_unit, unit_of

_SIMPLE = regex(r"\s*(-?)(\$?)([0-9]{1,18}|[0-9]{1,3}(?:,[0-9]{3}){1,5})(\.[0-9]{1,18})?[.\s]*")
_LEFT = regex(  # x; x_1; f(x); \theta; AB; m \in
    r"\s*(\\?[A-Za-z]{1,12}(?:_\{?\w{1,6}\}?)?\s*(?:\(\s*[A-Za-z]\s*\))?)\s*(?:=|\\in(?![a-z])|\\approx|:(?!\d))"
)
_WORDS_LEFT = regex(r"[A-Za-z][A-Za-z ']{2,60}\s*(?:=|:)\s*(?=[-+\\$0-9.({\[])")
_FORMULA_AND_UNIT = regex(r"(.*(?:[0-9})]|\\pi|\\theta))\s+([A-Za-z][A-Za-z ./]*(?:\^\{?[23]\}?)?)", re.S)
_COMPARES = regex(r"[<>]|\\[lg]")
_LESS = r"\s*(<=?|>=?|\\(?:leq?|geq?|lt|gt)(?![a-z]))\s*"
_VARIABLE = r"(\\?[a-z])"
_BOUND = r"(-?[^<>=|:\\{}]*[0-9)a-z]|[^<>=|:]*(?:[0-9})]|\\infty|\\pi))"
_BUILDER, _END = r"\s*(?:\\?\{\s*[a-z]\s*(?:\\in\s*(?:\\mathbb\s*\{?R\}?|R)\s*)?[|:]\s*)?", r"\s*(?:\\?\})?"
_BETWEEN = regex(_BUILDER + _BOUND + _LESS + r"\\?[a-z]" + _LESS + _BOUND + _END)
_ONE_BOUND = [
    regex(_BUILDER + first + _LESS + second + _END) for first, second in ((_VARIABLE, _BOUND), (_BOUND, _VARIABLE))
]
_RELATION = regex(r"(?<![<>!])=|\\approx(?![a-z])")
_MATRIX = regex(r"\\begin\{([pv]?matrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1\}", re.S)
_PAIRS = {"(": ")", "[": "]", r"\{": r"\}", "{": "}"}
_TOKEN = regex(r"\\[{}]|\\\\|\\[A-Za-z]+|.", re.S)
_PLUS_MINUS = regex(r"\\pm\s*(.+)", re.S)
_DECIMAL_COMMA = regex(r"-?[0-9]+,[0-9]+")


class Value(NamedTuple):
    """A value: its plain LaTeX, the variable before "=", its number, or its items and the brackets around them."""

    plain: str
    left: str = ""
    number: Number | None = None
    items: tuple[Value, ...] | None = None
    brackets: str = ""
    unit: str = ""  # of a formula; a number has its own
    moment: Moment | None = None

    @property
    def is_formula(self) -> bool:
        """Whether it is neither a number nor a list nor a moment."""
        return self.number is None and self.items is None and self.moment is None


def has_formula(value: Value) -> bool:
    """Whether a value is a formula, or a list with a formula in it."""
    return value.is_formula or any(map(has_formula, value.items or ()))


def read_value(text: str) -> Value:
    r"""The value that a text is.

    >>> read_value("$1,450.50").number.value, [item.plain for item in read_value("x = 1, 2").items]
    (Fraction(2901, 2), ['1', '2'])
    """
    simple = _SIMPLE.fullmatch(text)
    if simple:
        digits = simple[1] + simple[3].replace(",", "") + (simple[4] or "")
        unit = "dollar" if simple[2] else ""
        return Value(digits, number=Number(Fraction(digits), unit=unit, places=len(simple[4] or ".") - 1))
    plain = plain_latex(text[:LONGEST])
    moment = read_moment(plain)
    return Value(plain, moment=moment) if moment else _value(plain)


def _value(plain: str, depth: int = 0) -> Value:
    """The value of plain LaTeX."""
    left, right = _without_left_side(plain, depth == 0)
    number = read_number(right)
    if number is not None or depth > 3:
        return Value(right, left, number)
    plus_minus = _PLUS_MINUS.fullmatch(right)
    if plus_minus:
        both = (_value(plus_minus[1], depth + 1), _value("-" + plus_minus[1], depth + 1))
        return Value(right, left, items=both if both[0].number else None)
    matrix = _MATRIX.fullmatch(right.strip())
    if matrix:
        rows = [row.split("&") for row in matrix[2].split(r"\\") if row.strip()]
        items = tuple(_value(cell.strip(), depth + 1) for row in rows for cell in row)
        return Value(right, left, items=items, brackets=f"{matrix[1]} {[len(row) for row in rows]}")
    interval = _interval(right, depth)
    if interval is not None:
        return interval._replace(plain=plain)
    brackets, parts = _parts(right)
    if len(parts) < 2 and brackets not in (r"\{\}", "[]", "{}"):
        formula, unit = _with_unit(right)
        return Value(formula, left, unit=unit)
    if not left and len(parts) > 1 and brackets == "" and all("=" not in part for part in parts[:1]) and "=" in right:
        return Value(right)
    items = tuple(_value(part.strip(), depth + 1) for part in parts if part.strip())
    return Value(right, left, items=items, brackets={r"\{\}": "", "{}": ""}.get(brackets, brackets))


def _interval(plain: str, depth: int) -> Value | None:
    """The interval that an inequality or a set-builder says: "x >= 3", "{x | -2 <= x < 1}"."""
    if not _COMPARES.search(plain) or len(plain) > 200:
        return None
    matches = (pattern.fullmatch(plain) for pattern in (_BETWEEN, *_ONE_BOUND))
    match = next(filter(None, matches), None)
    if match is None:
        return None
    low, low_sign, high_sign, high = _bounds(*match.groups())
    items = (_value(low.strip(), depth + 1), _value(high.strip(), depth + 1))
    opening, closing = (
        "[" if "=" in low_sign or "eq" in low_sign else "(",
        "]" if "=" in high_sign or "eq" in high_sign else ")",
    )
    return Value(plain, items=items, brackets=opening + closing)


def _bounds(first: str, sign: str, *rest: str) -> tuple[str, str, str, str]:
    """The bounds of an inequality, the lower one first, each with its sign."""
    is_up = "<" in sign or "l" in sign
    if len(rest) == 2:
        return (first, sign, rest[0], rest[1]) if is_up else (rest[1], rest[0], sign, first)
    if re.fullmatch(r"\s*\\?[a-z]+\s*", first):
        return ("-\\infty", "", sign, rest[0]) if is_up else (rest[0], sign, "", "\\infty")
    return (first, sign, "", "\\infty") if is_up else ("-\\infty", "", sign, first)


def _with_unit(formula: str) -> tuple[str, str]:
    """A formula, and the unit that follows it."""
    match = _FORMULA_AND_UNIT.fullmatch(formula)
    unit = unit_of(match[2]) if match else ""
    return (match[1], unit) if match and unit else (formula, "")


def _without_left_side(plain: str, may_be_words: bool) -> tuple[str, str]:
    """The variable before the first "=", and the text after the last one; all of the text if it is an equation."""
    left, words = _LEFT.match(plain), _WORDS_LEFT.match(plain)
    if may_be_words and words and words.end() < len(plain) and not left:
        rest = plain[words.end() :]
        if "," in rest:
            return "", plain if _RELATION.search(rest) else rest
        return "", _RELATION.split(rest)[-1].strip()
    if not _RELATION.search(plain) and not left:
        return "", plain
    rest = plain[left.end() :] if left else plain
    parts = _RELATION.split(rest)
    if "," in rest and len(parts) > 1:
        return "", plain
    if left is None and re.search(r"[A-Za-z]", re.sub(r"\\[a-z]+", "", parts[0])):
        return "", plain
    name = left[1].strip() if left else ""
    return name, parts[-1].strip()


def _parts(text: str) -> tuple[str, list[str]]:
    """The brackets around a text, as "[)", and its parts between commas or semicolons outside of inner brackets."""
    text = text.strip()
    tokens = _TOKEN.findall(text)
    opening = tokens[0] if tokens and tokens[0] in _PAIRS else ""
    inner = tokens[1:-1] if opening and tokens[-1] in _PAIRS.values() else tokens
    parts = _split(inner)
    if inner is tokens or parts is None:
        return "", list(_split(tokens) or [text])
    return opening + tokens[-1], parts


def _split(tokens: Sequence[str]) -> list[str] | None:
    """Tokens split at commas and semicolons; None if their brackets do not match each other."""
    parts: list[list[str]] = [[]]
    depth = 0
    for place, token in enumerate(tokens):
        if token in _PAIRS:
            depth += 1
        elif token in _PAIRS.values():
            depth -= 1
            if depth < 0:
                return None
        if token in (",", ";") and depth == 0 and not _is_in_number(tokens, place):
            parts.append([])
        else:
            parts[-1].append(token)
    return ["".join(part) for part in parts] if depth == 0 else None


def _is_in_number(tokens: Sequence[str], place: int) -> bool:
    """Whether a comma stands between thousands: a digit before it, and three digits after it, without spaces."""
    before, after = tokens[place - 1 : place], tokens[place + 1 : place + 4]
    more = tokens[place + 4 : place + 5]
    is_thousand = len(after) == 3 and all(map(str.isdigit, after)) and not (more and more[0].isdigit())
    return tokens[place] == "," and bool(before) and before[0].isdigit() and is_thousand and tokens[0] not in _PAIRS


# --- equality ---------------------------------------------------------------------------------------------------------

_NO_WORDS: frozenset[str] = frozenset()


def equal(
    wanted: Value,
    given: Value,
    question: Question,
    known: frozenset[str] = _NO_WORDS,
    tolerance: float | None = None,
) -> Verdict:
    """Whether two values are equal; undecided, with the reason, if that cannot be told.

    ``known`` are words of the reference, and ``tolerance`` is the relative difference of equal numbers.
    """
    if wanted.left and given.left and canonical(wanted.left) != canonical(given.left) and _is_variable(wanted, given):
        return Verdict(False)
    if wanted.moment and given.moment and wanted.moment.kind == given.moment.kind:
        return Verdict(wanted.moment == given.moment)
    if wanted.moment or given.moment:
        return Verdict(None, f"not of the same form: {wanted.plain[:60]}, {given.plain[:60]}")
    if wanted.number and given.number:
        return _equal_numbers(wanted.number, given.number, question, known, tolerance)
    if wanted.items is not None and given.items is not None:
        return _equal_lists(wanted, given, question, known, tolerance)
    if wanted.unit and given.unit and wanted.unit != given.unit:
        return Verdict(None, f"the units differ: {wanted.unit}, {given.unit}")
    if canonical(wanted.plain) == canonical(given.plain):
        return Verdict(True)
    if wanted.is_formula or given.is_formula:
        return Verdict(None, f"{_formula_beside(wanted, given)}: {wanted.plain[:60]}, {given.plain[:60]}")
    values = (wanted, given)
    if any(_DECIMAL_COMMA.fullmatch(value.plain) for value in values):
        return Verdict(None, "a comma may be a decimal comma")
    single = [value for value in values if value.items is not None and len(value.items) == 1]
    if single or any(value.brackets.startswith("\\") for value in values):
        return Verdict(None, "only one side is a list")
    return Verdict(False)


def _formula_beside(wanted: Value, given: Value) -> str:
    """Why two different texts, one of which may be a formula, cannot be compared."""
    if wanted.number and re.fullmatch(r"\(?[A-Za-z]\)?", given.plain):
        return "the reference is a number and the final answer a letter (is the reference the index of a choice?)"
    return "the reference and the final answer are different texts, and one may be a formula"


def _is_variable(*values: Value) -> bool:
    return all(re.fullmatch(r"\\?[A-Za-z]{1,2}(?:_\{?\w\}?)?", value.left) for value in values)


def _equal_lists(
    wanted: Value, given: Value, question: Question, known: frozenset[str], tolerance: float | None
) -> Verdict:
    """Whether two lists are equal: in their order within round or square brackets, else in any order."""
    ours, theirs = wanted.items or (), given.items or ()
    if len(ours) != len(theirs) or "matrix" in wanted.brackets + given.brackets:
        if wanted.brackets != given.brackets and len(ours) == len(theirs):
            return Verdict(None, "the brackets differ")
        if len(ours) != len(theirs):
            return _differ(ours, theirs)
    if wanted.brackets != given.brackets:
        if wanted.brackets and given.brackets and len(ours) == 2:
            return Verdict(False)
        return Verdict(None, "the brackets differ")
    rest = list(theirs)
    is_ordered, unsure = bool(wanted.brackets), None
    for item in ours:
        verdicts = [equal(item, other, question, known, tolerance) for other in (rest[:1] if is_ordered else rest)]
        hit = next((number for number, verdict in enumerate(verdicts) if verdict.value), None)
        if hit is not None:
            del rest[hit]
            continue
        undecided = [verdict for verdict in verdicts if verdict.value is None]
        if not undecided:
            return Verdict(False)
        unsure = undecided[0]
        del rest[verdicts.index(unsure)]
    return unsure or Verdict(True)


def _differ(ours: Sequence[Value], theirs: Sequence[Value]) -> Verdict:
    """Two lists of different lengths differ if all of their items were read."""
    if any(item.is_formula for item in (*ours, *theirs)):
        return Verdict(None, "lists of different lengths, whose items are not all numbers")
    return Verdict(False)


def _equal_numbers(
    wanted: Number, given: Number, question: Question, known: frozenset[str], tolerance: float | None
) -> Verdict:
    """Whether two numbers are equal, with their units and per cent signs."""
    if wanted.percent != given.percent:
        verdict = _equal_percent(wanted, given, question)
        if verdict is not None:
            return verdict
    ours, theirs = wanted.value, given.value
    if wanted.percent != given.percent:
        ours, theirs = (ours / 100, theirs) if wanted.percent else (ours, theirs / 100)
    doubt = _unit_doubt(wanted, given, question, known)
    if doubt:
        return Verdict(None, doubt)
    if ours == theirs:
        return Verdict(True)
    if tolerance is not None:
        is_close = abs(ours - theirs) <= Fraction(tolerance) * max(abs(ours), abs(theirs))
        return Verdict(is_close and not ours.denominator == theirs.denominator == 1)
    if _is_rounded(wanted, given) or _is_rounded(given, wanted):
        return Verdict(None, "one of the numbers is rounded, see --math_tolerance")
    return Verdict(False)


def _equal_percent(wanted: Number, given: Number, question: Question) -> Verdict | None:
    """The verdict on two numbers of which one has a per cent sign; None if the sign is to be taken as 1/100."""
    if wanted.value != given.value:
        return None
    if question.asks_percent:
        return Verdict(True)
    return Verdict(None, "only one side has a per cent sign")


def _unit_doubt(wanted: Number, given: Number, question: Question, known: frozenset[str]) -> str | None:
    """Why the units of two numbers may make them differ; None if they do not."""
    ours, theirs = leading_unit(wanted.unit), leading_unit(given.unit)
    if wanted.unit == given.unit or (ours == theirs and ours):
        return None
    first = WORD.match(given.unit)
    if ours and given.unit and not theirs and not (first and first.group().lower() in NEXT_PHRASE):
        return f"the units differ: {ours}, {given.unit[:40]}"
    if ours and theirs:
        return f"the units differ: {ours}, {theirs}"
    if theirs and not ours:
        others = [unit for unit in question.units if unit != theirs and dimension_of(unit) == dimension_of(theirs)]
        if others and theirs not in question.units:
            return f"the question is about {others[0]}, and the answer has {theirs}"
    if given.unit and not is_harmless(given.unit, question, known):
        return f"the answer has {given.unit[:40]}, which may not be a unit"
    return None


def _is_rounded(exact: Number, rounded: Number) -> bool:
    """Whether a number is another one, rounded to its own digits."""
    if not rounded.places or (exact.places is not None and exact.places <= rounded.places):
        return False
    if exact.percent != rounded.percent:
        return False
    return bool(abs(exact.value - rounded.value) * 2 * 10**rounded.places <= 1)
