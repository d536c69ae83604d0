r"""The ``math`` rule: whether an answer's final answer equals the reference, asked of math-verify.

What is taken for the final answer is told here, and what math-verify is known to call equal wrongly is not asked of
it: a false "equal" would be trained on, so what could be read in two ways is undecided. It is slow now and then, and
can hang: verifiers.py runs it where it can be killed.

Example: ``check_math("Half of 1?", r"\frac{1}{2}", r"It is \boxed{0.5}.").value``
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from decimal import Decimal
from typing import Any, List, NamedTuple, Optional, Tuple, Union

from .judge_reply import without_thoughts
from .match import _TIED_BEFORE, free_number


class Verdict(NamedTuple):
    """What a rule says of an answer: a number, whether it is right, or None = undecided, with ``why`` if known."""

    value: Union[float, bool, None]
    why: Optional[str] = None


_BOX = re.compile(r"\\f?boxed\s*\{")
_HASHED = re.compile(r"####[ \t]*(\S[^\n]*)")  # how GSM8K marks its answers
_ANNOUNCED = re.compile(
    r"(?:(?<!wrong )(?<!incorrect )\banswer\b(?:\s+is\b|\s*:)+|\u7b54\u6848(?:\u662f|\u4e3a|:|\uff1a)+)"
    r"[\s*_:]*(\S[^\n]*)",
    re.I,
)
_JOINS = re.compile(r"[\s$,.;]*(?:(?:and|or)[\s$]*)?")  # between two boxes: both are the answer
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=\u3002)(?!$)")
_DOUBT = re.compile(
    r"\b(?:wait|actually|correction|instead|sorry|mistake|wrong|incorrect|let\s+me(?!\s+know)|hmm|no,)|n['\u2019]t\b"
    r"|\b(?:not|maybe|perhaps|possibly|either|about|around|approximately|roughly|least|most|than|between|nearly|never|cannot|neither|nor|fails?"
    r"|exceeds?|above|below|up\s+to|(?:close|equal)\s+or|or\s+equal)\b|[<>\u2264\u2265]"
    r"|\?|\u4e0d\u5bf9|\u4e0d\u662f|\u7b49\u7b49|\u8ba9\u6211",
    re.I,
)
_RAISED = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_SIGNS = str.maketrans(
    {
        **{digit: f"^{{{number}}}" for number, digit in enumerate(_RAISED)},
        **dict.fromkeys("\u2212\u2013\ufe63", "-"),
        "\u00d7": r"\times ",
        "\u00f7": r"\div ",
        "\u00b7": r"\cdot ",
        "\u22c5": r"\cdot ",
        "\u03c0": r"\pi ",
        "\u221e": r"\infty ",
        "\u2264": r"\leq ",
        "\u2265": r"\geq ",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ",
        "\u2208": r"\in ",
        "\u2205": r"\emptyset ",
        "\u00b1": r"\pm ",
        "\u00b0": r"^\circ ",
        "\u20ac": " euro ",
        "\u00a3": " pound ",
    }
)
_TIDY = [  # what a final answer is written with, made plain; in this order
    (re.compile(r"(?<=[0-9])\s*([\u00bc-\u00be\u2150-\u215e])"), r" \1"),
    (re.compile(r"\\(?:left|right|displaystyle|limits|!|[bB]igg?[lr]?)(?![A-Za-z])"), ""),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf)|mbox|operatorname|boldsymbol)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"(?<!\\)\\(?:quad|qquad|[,;: ])|~"), " "),
    (re.compile(r"\\\$"), " dollar "),
    (re.compile(r"\\[()\[\]]|\$|[`]|\*\*|__"), ""),
    (re.compile(r"\s*(?:\\%|%|\uff05|\bper\s?cent\b)", re.I), r"\\%"),
    (re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|\bdegrees?\b)", re.I), " degree"),
    (re.compile(r"\s(?:and|or)\s", re.I), ", "),
    (re.compile(r"\u221a\s*(\d+|[a-z])"), r"\\sqrt{\1}"),
    (re.compile(r"\bsqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\w\\])(pi|infinity)\b"), r"\\\1"),
    (re.compile(r"\\infinity"), r"\\infty"),
    (re.compile(r"(?<=\d)[eE]([-+]?\d+)(?![\w.])"), r"\\times 10^{\1}"),
    (re.compile(r"(?<![\d.,^_/])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    (re.compile(r"\s+"), " "),
    (re.compile(r"^(?:[\s,;:]|\.(?!\d))+|[\s.,;:\u3002]+$"), ""),
]
_THOUSANDS = re.compile(r"(?<![\d.,^_{])[1-9]\d{0,2}(?:(?:,\d{3})+|(?: \d{3})+)(?![\d,])")
_UNIT = re.compile(
    r"(?P<value>.*?[\d})!])(?:(?<=[\d})])\s*(?=[A-Za-z]{2})|\s+)"
    r"(?P<unit>[A-Za-z\u00b5]+\.?(?:(?:\^\{?-?\d\}?)?(?:\s*/\s*|\s+)[A-Za-z]+){0,3}(?:\^\{?-?\d\}?)?)"
)
_PRICE = re.compile(r"(?P<unit>dollar|euro|pound)\s*(?P<value>-?[\d.,]+)")
_NO_UNIT = re.compile(r"\b(?:to|if|when|for|in|is|as|by|with|each|pi|sqrt|sin|cos|tan|log|ln)\b", re.I)
# what math-verify reads as something else: a repeating decimal as 0, another base as base ten, "not 3" as 3
_MISREAD = re.compile(
    r"\\(?:neq?|not|overline|bar|dot|[lc]?dots|approx|sim|simeq|mod|[bp]mod|equiv|to|rightarrow|Rightarrow|implies|iff)"
    r"(?![A-Za-z])|[\u2248\u2260\u2026\u2192?]|\.\.|(?<=\d)_|(?<=\d)\s+(?=\d)|\d:\d|^\(?[A-Z]\)\s*\S"
)
_FUNCTIONS = re.compile(
    r"\\(?:begin|end)\{\w+\}|\\[A-Za-z]+"
    r"|(?<![A-Za-z])(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|ln|exp|max|min|det|gcd|lcm)(?![A-Za-z])"
)
_CHANGED = re.compile(  # words that make a number another number
    r"\b(?:hundreds?|thousands?|[mbt]r?illions?|dozens?|k|bn|half|halves|thirds?|quarters?|fifths?|tenths?|squared|cubed"
    r"|factorial|modulo|mod|base|more|less|fewer|over|under|minus|plus|times)\b",
    re.I,
)
# letters that are a unit and no variables, as in 2xy
_WORD_UNIT = re.compile(r"[A-Za-z\u00b5]{3}|(?:[mckd\u00b5]m|[km]g|m[lLs]|ft|in|lb|oz|hr|mi|yd|[mg])(?![A-Za-z])")
_INTEGER = re.compile(r"-?[0-9]{1,4000}")
_NAME = re.compile(r"\s*\\?[A-Za-z]+(?:_\{?\w+\}?)?\s*(?:\(\s*[A-Za-z]\s*\))?\s*")
_NUMERIC = r"-?(?:\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}|(?:\d{1,3}(?:,\d{3})+|\d+)?\.?\d+(?:\s*/\s*\d+)?)(?:\\%)?"
_ONE_NUMBER = re.compile(rf"(?<![\w.,^/(\[+*=<>{{])({_NUMERIC})(?![\w^/(\[*{{]|[.,]\d|\s*[-+*/^=<>\\(])(\s+[a-z]+)?")


_CONCLUSION = re.compile(
    r"(?:=|\b(?:is|are|(?:equal|equivalent)\s+to|equals?|makes?|gives?|gets?|leaves?|has|have|totals?(?:\s+of|\s+to)?|becomes?))"
    r"(?:\s+(?:simply|just|exactly|now|then))?[\s*$(]*-?\d[\d.,]*[^\d=]*$",
    re.I,
)
_CONDITION = re.compile(r"\^|(?<![A-Za-z])[A-Za-z]\s*=|\b(?:where|if|when|such\s+that)\b", re.I)
_SO = re.compile(r"\b(?:so|thus|hence|therefore|total|altogether|which)\b", re.I)
_CLAIM = re.compile(r"(?:=|\b(?:is|are|equals?|makes?|gives?|gets?|leaves?|has|have|becomes?))[\s*$(]*-?\d", re.I)


class _Final(NamedTuple):
    """A final answer made plain: the text, its value without a unit, and the unit."""

    text: str
    value: str
    unit: str


def check_math(question: str, reference: Optional[str], answer: str) -> Verdict:
    """Whether the answer's final answer equals the reference's, as math-verify (Hugging Face) sees it.

    The final answer is the last ``\\\\boxed{}`` or ``####``, what follows "the answer is", or what the last sentence
    holds. What could be read in two ways, or what math-verify is known to misread, is undecided, with the reason: a
    false "equal" would be trained on. Needs math-verify; has no time limit of its own.
    """
    if reference is None:
        return Verdict(None, "no reference to verify against")
    spoken = without_thoughts(answer)
    if spoken is None:
        return Verdict(None, "the thinking never ended")
    wanted, said = _final(reference), _final(spoken)
    for final, whose in ((wanted, "reference"), (said, "answer")):
        if final is None:
            return Verdict(None, f"the {whose} has no final answer that can be told")
    assert wanted is not None
    assert said is not None
    if _bare(wanted.text) == _bare(said.text):
        return Verdict(True)
    for final, whose in ((wanted, "reference"), (said, "answer")):
        if _MISREAD.search(final.value) or _is_words(final.value):
            return Verdict(None, f"the {whose} holds nothing that can be compared: {final.text[:80]}")
    return _compared(wanted, said)


def _bare(text: str) -> str:
    return re.sub(r"(?<!\d)\s|\s(?!\d)|(?<=^)\((?=[A-Z]\)$)|(?<=^\([A-Z])\)$", "", text)


def _compared(wanted: _Final, said: _Final) -> Verdict:
    """The verdict on two values, undecided where only a per cent sign, or what is no value, tells them apart."""
    values = [wanted.value, said.value]
    per_cent = [value.endswith(r"\%") for value in values]
    if per_cent[0] != per_cent[1]:
        bare = [value[:-2] if is_one else value for value, is_one in zip(values, per_cent)]
        if _equal(bare[0], bare[1]).value:
            return Verdict(None, "a per cent sign stands on one side only")
        values = [f"({value})/100" if is_one else value for value, is_one in zip(bare, per_cent)]
    if any(re.fullmatch(r"-?\d+,\d+", value) for value in values) and not all("," in value for value in values):
        return Verdict(None, "a comma may be a decimal one")
    verdict = _equal(values[0], values[1])
    doubt = _doubt(wanted, said) if verdict.value else None
    return Verdict(None, doubt) if doubt else verdict


def _doubt(wanted: _Final, said: _Final) -> Optional[str]:
    """Why two values that math-verify takes for equal may not be; None if they are."""
    if wanted.unit and said.unit and wanted.unit != said.unit:
        return f"the units differ: {wanted.unit}, {said.unit}"
    unit = wanted.unit or said.unit
    if not (wanted.unit and said.unit) and unit and not _WORD_UNIT.match(unit):
        return f"{unit} stands on one side only, and may be no unit"
    is_range = any(re.search(r"[<>]|\\[lg]e", final.value) for final in (wanted, said))
    if not is_range and _brackets(wanted.value) != _brackets(said.value):
        return "the brackets differ"
    named, equals, _ = said.value.partition("=")
    if equals and "=" not in wanted.value and re.search("[A-Za-z]", named) and not _NAME.fullmatch(named):
        return "the answer is an equation, the reference is none"
    left, right = (set(re.findall("[A-Za-z]", _FUNCTIONS.sub("", final.value))) for final in (wanted, said))
    if len(wanted.value) > 1 and any(letter.swapcase() in left | right for letter in left ^ right):
        return "capital and small letters differ"
    return None


def _brackets(text: str) -> str:
    """What stands around a list: ( and [, or nothing, which is as good as braces."""
    return "".join(re.findall(r"[(\[\])]", text)) if "," in text else ""


def _equal(wanted: str, said: str) -> Verdict:
    """What math-verify says of two values, read as LaTeX; undecided if it cannot read one. Raises what it raises."""
    if _INTEGER.fullmatch(wanted) and _INTEGER.fullmatch(said):  # the most common case, 100 times as fast
        return Verdict(Decimal(wanted) == Decimal(said))
    math_verify = importlib.import_module("math_verify")
    config = [math_verify.LatexExtractionConfig()]
    found = []
    for text, whose in ((wanted, "reference"), (said, "answer")):
        parsed = math_verify.parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
        if not parsed:
            return Verdict(None, f"math-verify cannot read the {whose}: {text[:80]}")
        found.append(parsed[0])
    options = {"allow_set_relation_comp": True, "timeout_seconds": None, "raise_on_error": True}
    return Verdict(bool(math_verify.verify(found[0], found[1], **options)) and _close(found[0], found[1]))


def _close(wanted: Any, said: Any) -> bool:
    """Whether two numbers agree to five digits: math-verify takes all below 0.0000005 for equal."""
    sympy = importlib.import_module("sympy")
    if not all(isinstance(value, sympy.Expr) and value.is_number for value in (wanted, said)):
        return True
    difference, size = abs(sympy.N(wanted - said)), abs(sympy.N(wanted))
    return bool(difference <= 1e-5 * size) if size > 0 else bool(difference == 0)


def _is_words(value: str) -> bool:
    """Whether a value is text: letters alone, or a word among the signs."""
    rest = _FUNCTIONS.sub(" + ", value)
    many = not re.search(r"\d", value) and re.search(r"[^\W\d_]{2}", rest)
    return bool(many or re.search(r"[^\W\d_]{4}|[^\W\d_]{2}\s+\w|\w\s+[^\W\d_]{2}", rest))


def _final(text: str) -> Optional[_Final]:
    """The final answer of a text; None if it has none, several, or takes it back."""
    marked = _marked(text)
    if marked is None:
        return None
    said, after, is_marked = marked
    plain = _tidy(said)
    if _DOUBT.search(after):
        return None
    if not is_marked and not _is_math(plain):
        if _DOUBT.search(said):
            return None
        plain = _in_prose(said) or _concluded(said) or plain
    if not is_marked and plain.endswith("!"):  # a factorial, or joy
        return None
    return _with_unit(plain) if plain else None


def _is_math(plain: str) -> bool:
    value = _with_unit(plain).value
    return not _is_words(value) or not re.search(r"\s", plain)


def _marked(text: str) -> Optional[Tuple[str, str, bool]]:
    """What a text puts forward as its answer, what follows that, and whether a box or ``####`` marks it."""
    boxes = _boxes(text)
    if boxes is None:
        return None
    hashed = [(match.start(), match.end(), match[1]) for match in _HASHED.finditer(text)]
    marks = sorted([*boxes, *hashed])
    if marks:
        chosen = [marks[-1]]
        for mark in reversed(marks[:-1]):
            if not _JOINS.fullmatch(text, mark[1], chosen[0][0]):
                break
            chosen.insert(0, mark)
        return ", ".join(dict.fromkeys(mark[2] for mark in chosen)), text[marks[-1][1] :], True
    announced = list(_ANNOUNCED.finditer(text))
    if announced:
        last = announced[-1]
        first, *rest = _SENTENCE_END.split(last[1])
        said = re.split(r",?\s+(?:since|because|as)\s", first)[0]
        return said, " ".join(rest) + text[last.end() :], False
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (_SENTENCE_END.split(lines[-1])[-1], "", False) if lines else None


def _boxes(text: str) -> Optional[List[Tuple[int, int, str]]]:
    r"""Where each ``\boxed{}`` begins and ends, and what it holds; None if the last one never ends."""
    found = []
    place = 0
    opening = _BOX.search(text)
    while opening is not None:
        depth, place = 1, opening.end()
        for brace in re.finditer(r"\\.|[{}]", text[place:]):
            depth += {"{": 1, "}": -1}.get(brace.group(), 0)
            if depth == 0:
                found.append((opening.start(), place + brace.end(), text[place : place + brace.start()]))
                place += brace.end()
                break
        if depth:
            return None
        opening = _BOX.search(text, place)
    return found


def _tidy(text: str) -> str:
    """A final answer without markup, spaces of LaTeX, thousands separators and the like."""
    for pattern, plain in _TIDY[:1]:
        text = pattern.sub(plain, text)
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS).replace("\u2044", "/")
    for pattern, plain in _TIDY[1:]:
        text = pattern.sub(plain, text)
    if not re.search(r"[(\[]|\\\{", text):
        text = _THOUSANDS.sub(lambda match: re.sub("[ ,]", "", match.group()), text)
    return text


def _in_prose(said: str) -> str:
    """The only formula, else the only number, of a sentence, with the word after it; "" if there are several."""
    formulas = re.findall(r"\\\((.+?)\\\)|\\\[(.+?)\\\]|\$\$?([^$]+)\$", said)
    if formulas and not any(re.search(r"(?<![\\A-Za-z])[A-Za-z]{3}", formula[2]) for formula in formulas):
        return _tidy("".join(formulas[0])) if len(formulas) == 1 else ""
    plain = _tidy(said)
    found = list(_ONE_NUMBER.finditer(plain))
    if len(found) != 1 or _CHANGED.search(plain) or len(re.findall(r"\d[\d,./]*", plain.replace(found[0][1], " "))) > 0:
        return ""
    if _TIED_BEFORE.search(plain[: found[0].start()]):
        return ""
    return found[0].group()


def _concluded(said: str) -> str:
    """The last of several numbers of a sentence, where the sentence puts it forward: "17 - 2 is 15."; else ""."""
    number = None if _CONDITION.search(said) or not _CONCLUSION.search(said) else free_number(said, marked=False)
    claims = [] if number is None else list(_CLAIM.finditer(said))
    if number is None or (len(claims) > 1 and not _SO.search(said, claims[-2].end())):
        return ""
    unit = re.search(r"\d(\s+[a-z]+)?[^\d=]*$", said)
    return format(number, "f") + ((unit and unit[1]) or "")


def _with_unit(plain: str) -> _Final:
    """A plain final answer taken apart; a word that changes the number is no unit."""
    match = _PRICE.fullmatch(plain) or _UNIT.fullmatch(plain)
    if (
        match is None
        or _NO_UNIT.search(match["unit"])
        or _CHANGED.search(match["unit"])
        or re.search("[A-Za-z]", _FUNCTIONS.sub("", match["value"]))
    ):
        return _Final(plain, plain, "")
    words = re.sub(r"[{}\s.]", "", match["unit"])
    unit = re.sub(r"(?<=[A-Za-z]{2})s(?![A-Za-z])", "", words)
    return _Final(plain, match["value"].strip(), unit if len(unit) <= 3 else unit.lower())
