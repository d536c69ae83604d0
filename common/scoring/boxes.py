r"""Boxes, the marks of LaTeX for a final answer, with the text that touches them.

>>> [box.text for box in boxes(r"First \boxed{3}, then $-\boxed{\frac{1}{2}}$, that is \boxed{5} million")]
['3', '-\\frac{1}{2}', '5 million']
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..patterns import any_of, regex

MOST = 20  # marks of a kind that are looked at, from the end
_REACH = 80  # characters beside a mark that may belong to it
_BOX = regex(r"\\(?:f?boxed|fbox|framebox)\s*(?:\{|(?=[-\d\\$.]))")  # \boxed{4}, \boxed {4}, \fbox{4}, \boxed 4
UNDERLINES = regex(r"\\underline\s*\{")
_WRAPPED = regex(r"\\(?:f?boxed|fbox|underline)\s*\{([^{}]*)\}")
_BRACE = regex(r"\\.|[{}]", re.S)  # an escaped brace, \{, is part of the content and does not count
_OPEN_END = regex(r"\n|\$|\\[)\]]|(?<=\d)\.(?:\s|$)|(?<=\})\.")  # where a box without a closing brace ends


class Mark(NamedTuple):
    """A mark of a final answer: its place, and the final answer that it marks (None: it cannot be read)."""

    start: int
    end: int
    text: str | None
    found_by: str = "mark"


def boxes(text: str, pattern: re.Pattern[str] = _BOX) -> list[Mark]:
    """The last boxes of a text, outer ones only, with the text that touches them."""
    found: list[Mark] = []
    box = pattern.search(text, _start_of_last(text, "box" if pattern is _BOX else "underline", 2 * MOST))
    closing = _closing_braces(text, box.start()) if box else {}
    while box is not None:
        found.append(_box(text, box, closing))
        box = pattern.search(text, found[-1].end)
    return [_touched(text, mark) for mark in found[-MOST:]]


def _start_of_last(text: str, word: str, count: int) -> int:
    """A place shortly before the last ``count`` of these words."""
    place = len(text)
    for _ in range(count):
        place = text.rfind(word, 0, place)
        if place < 0:
            return 0
    return max(0, place - 6)


def _closing_braces(text: str, start: int) -> dict[int, int]:
    """The place of each opening brace from ``start`` on, and of the brace that closes it."""
    opened: list[int] = []
    closing: dict[int, int] = {}
    for brace in _BRACE.finditer(text, start):
        if brace.group() == "{":
            opened.append(brace.start())
        elif brace.group() == "}" and opened:
            closing[opened.pop()] = brace.start()
    return closing


def _box(text: str, box: re.Match[str], closing: dict[int, int]) -> Mark:
    """A box and its content. A box that no brace closes ends with its formula or its line."""
    start, inside = box.span()
    end = closing.get(inside - 1) if box.group().endswith("{") else None
    if end is not None:
        return Mark(start, end + 1, _WRAPPED.sub(r"\1", text[inside:end]))
    stop = _OPEN_END.search(text, inside + 1)
    end = stop.start() if stop else len(text)
    content = text[inside : min(end, inside + _REACH)].strip().rstrip(".")
    is_whole = content.count("{") == content.count("}") and content and end - inside < _REACH
    is_open = box.group().endswith("{") or not re.search(r"\s", content)
    return Mark(start, end, content if is_whole and is_open else None)


# Text that touches a box

_OPENERS = regex(
    r"(?:[\s$~]|\\[(\[]|\*\*|__|\\displaystyle|\{?\\(?:large|Large|huge)|\\\$|\\text(?:bf|rm)?\{\s*|\\math(?:bf|rm)\{\s*|\\color\{\w+\}\{?)+$"
)
_SIGN_BEFORE = regex(r"(?:(?<![\w)}\]\s])|(?<=[A-Za-z]{2}))\s*([-\u2212\u2013\u00b1]|\\pm|\b(?:minus|negative))$", re.I)
_FACTOR_BEFORE = regex(
    any_of(
        r"[-+*/^_\u2212\u2013\u00b1\u00d7\u00f7\u00b7\u221a!%0-9)\]]",
        r"(?<![A-Za-z\\])[A-Za-z]",  # a variable
        r"\\(?:sqrt|frac|times|cdot|div|pm|mp|pi|theta|log|ln|sin|cos|tan|exp|sum|prod|int|lim)",
        r"[_^]\{|\\(?:sqrt|[dt]?frac|log|ln|sin|cos|tan|overline)(?:\[\d+\]|\{[^{}]*\})?[{(]",
        r"[<>\u2260\u2264\u2265]|\\(?:neq?|leq?|geq?|[lg]t|approx)(?![A-Za-z])",  # a bound
        r"\b(?:(?:less|more|fewer|greater|larger|smaller|higher|lower|other)\s+than|between|except)",
        r"\\(?!text|math|underline|fbox|boxed|color|ensuremath|emph|large|Large|huge)[A-Za-z]{2,20}\{",  # \cancel{
        r"[(\[][^()\[\]\n]{0,40}[\w}]\s*,",  # a later part of a tuple
        r"\b(?:half|third|quarter|square|root|factorial)\s+of|\b(?:twice|double|triple|times|plus|over)",
    )
    + "$"
)
_NOT_BEFORE = regex(r"(?:\bnot|n['\u2019]t)(?:\s+\w+){0,2}$", re.I)
_CLOSERS = regex(r"(?:\s?(?:\$+|\\[)\]]|\*\*|__|\}))*")
_MATH_AFTER = regex(  # the rest of a formula that goes on after its box
    r"(?:\\[,;: ]|~)*"
    + any_of(
        r"\s?\\(?:cdot|times|div|pm)(?![a-z])",
        r"\s?:\s?[0-9]",
        r"\\(?:sqrt|pi|frac|[dt]frac|%|theta|circ|log|ln|sin|cos|infty|overline)",
        r"\s?(?:[\^_!%/]|\*(?!\*))",
        r"\s?[\u00d7\u00f7\u00b7\u221a\u03c0\u00b0(+]",
        r"[A-Za-z](?![A-Za-z])",
        r"[.,]?[0-9]",
        r"\s?[-\u2212]\s?[\\\d]",
    )
    + r"[^$\n=]*?(?=[.,;:]?(?:\s*\$|\s*\\[)\]]|\n|=|$|[.,;:]\s|\*\*))"
)
_WORD = r"[A-Za-z\u00b0\u00b5\u4e00-\u9fff][A-Za-z'\u2019\u4e00-\u9fff]*(?:\^\{?[23]\}?)?"
_WORDS_AFTER = regex(rf"(?:[\s~]|\\[,;: ]|\\(?:text|mathrm|mbox|textbf)\s*\{{)*((?:{_WORD}[ ~/]*){{1,4}}|%|\\%)")
_ALTERNATIVE = regex(
    r"(?:[\s,;~(]|\\[,;: ]|\\text\s*\{)*(?:or|and)\b[\s$~}]*(?:-?\s?[\d\\]|a\s+(?:half|third|quarter))[^.,;\n]{0,40}",
    re.I,
)


def _touched(text: str, box: Mark) -> Mark:
    """A box with its sign, factor, unit or magnitude; one without a text if what touches it cannot be read."""
    if box.text is None:
        return box
    line = text.rfind("\n", 0, box.start) + 1
    before = text[max(line, box.start - _REACH) : box.start]
    bare = _OPENERS.sub("", before)
    sign = _SIGN_BEFORE.search(bare) if _touches(bare, before) else None
    content = box.text
    if sign:
        content = ("\\pm " if sign[1] in ("\u00b1", "\\pm") else "-") + content
    elif (_touches(bare, before) and _FACTOR_BEFORE.search(bare)) or _NOT_BEFORE.search(bare):
        return box._replace(text=None)
    end, more = _after(text, box.end) if re.search(r"[0-9\\]", content) else (box.end, "")
    return Mark(box.start, end, content + more)


def _touches(bare: str, before: str) -> bool:
    """Whether a text before a box may belong to it: not a bullet, a step's number, or a dash between words."""
    gap = before[len(bare) :]
    is_open = re.match(r"\\|\s*\$?$", gap) is not None and not bare.endswith((")", "]", "!", "%"))
    if is_open or not gap.strip("$"):
        is_dash = re.search(r"(?:^|[A-Za-z:.]\s)\s*[-\u2013*+]$|^\s*\d+$|[A-Za-z]\s\d+$", bare) and gap[:1].isspace()
        is_article = bare.endswith((" a", " A", " I")) or bare in ("a", "A", "I")
        return not is_dash and not (is_article and gap)
    return not gap[:1].isspace()


def _after(text: str, end: int) -> tuple[int, str]:
    """The end of the text that touches a box from the right, and that text; "" if nothing touches it."""
    rest = text[end : end + _REACH]
    maths = _MATH_AFTER.match(rest)
    if maths and not re.match(r"\s?\([A-Za-z]{3}|\s\(", rest):
        return end + maths.end(), maths.group()
    closers = _CLOSERS.match(rest)
    assert closers is not None
    place = closers.end()
    alternative = _ALTERNATIVE.match(rest, place)
    if alternative and "box" not in rest[place : alternative.end() + 5]:
        return end + alternative.end(), alternative.group().replace("(", " ")
    maths = _MATH_AFTER.match(rest, place) if rest[place : place + 1] in "\\^%/\u00b0\u00d7*" else None
    if maths:
        return end + maths.end(), maths.group()
    words = _WORDS_AFTER.match(rest, place)
    unit = _unit_words(words[1]) if words else ""
    return (end + words.start(1) + len(unit), " " + unit) if words and unit else (end, "")


def _unit_words(phrase: str) -> str:
    """The words at the start of a phrase that may be a magnitude or a unit: up to a word such as "is" or "in"."""
    kept: list[str] = []
    for word in re.findall(r"\S+", phrase):
        if word.lower().strip("',") in _FUNCTION_WORDS:
            break
        kept.append(word)
    return " ".join(kept)


_FUNCTION_WORDS = frozenset(
    "is are was were be in on at per for with by to from every each that which who because since as when where if so "
    "and but or of left remaining total altogether the a an this has have had will would can could makes make it we i "
    "you he she they there then thus hence therefore let wait answer final also after before not".split()
)
