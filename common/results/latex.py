"""Cuts the LaTeX out of a Markdown text, so that Markdown does not read it, and puts it back as elements for KaTeX.

The text between is left as it is, and so is code. A text of n characters takes time in proportion to n.

Example: ``cut = cut_latex("It is $x_1$."); put_back(render(cut.text), cut)``
"""

from __future__ import annotations

import html
import re
from typing import List, NamedTuple
from urllib.parse import quote

from ..patterns import regex

LONGEST, LONGEST_BOX = 2000, 500  # characters of one formula
BLANK_LINE = regex(r"\n[ \t]*\n")
INLINE, DISPLAY, END = "\ue0f0", "\ue0f1", "\ue0f2"  # around a formula's number; private characters, see ``clean``
IN_ADDRESS = regex(f"(?:{quote(INLINE)}|{quote(DISPLAY)})(\\d+){quote(END)}")  # a mark in an address
OPENING = regex(
    r"""^[ \t]*(?:(?:>|[-*+]|\d{1,9}[.)])[ \t]+)*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})  # a block of code
    | (?P<code>`+)
    | \\[\\$`]                                                                     # a character that means itself
    | (?P<latex>\$\$?|\\\[|\\\(|\\begin\{(?P<name>[a-zA-Z]{1,20}\*?)\}|\\boxed[ ]?\{)""",
    re.MULTILINE | re.VERBOSE,
)
CLOSING = {
    "$$": regex(r"(?<!\\)\$\$"),
    "$": regex(r"(?<!\\)\$"),
    "\\[": regex(r"\\\]"),
    "\\(": regex(r"\\\)"),
}
PRICE = regex(r"`|\s\Z")  # $5 and $6 are prices: a formula does not end in a space, and no digit follows it
BRACE = regex(r"\\.|[{}]", re.DOTALL)


class Cut(NamedTuple):
    """A text with marks in the places of its formulas, and the formulas."""

    text: str
    formulas: List[str]


def cut_latex(text: str) -> Cut:
    """Takes ``$..$``, ``$$..$$``, ``\\(..\\)``, ``\\[..\\]``, environments and ``\\boxed{..}`` out of a text.

    >>> cut_latex("It costs $5 and $6, `$x$`, and $y_1$.").formulas
    ['$y_1$']
    """
    if "$" not in text and "\\" not in text:
        return Cut(text, [])
    finder, done = _Finder(text), 0
    formulas: list[str] = []
    pieces: list[str] = []
    opening = OPENING.search(text)
    while opening is not None:
        begin, end = opening.start("latex"), opening.end()
        if opening["fence"] is not None:
            end = finder.end_of_fence(opening["fence"], end)
        elif opening["code"] is not None:
            end = finder.end_of_code(opening["code"], end)
        elif opening["latex"] is not None:
            close = finder.end_of_latex(opening["latex"], opening["name"], end)
            if close is not None:
                is_inline = opening["latex"] in ("$", "\\(") or opening["latex"].startswith("\\boxed")
                pieces += [text[done:begin], f"{INLINE if is_inline else DISPLAY}{len(formulas)}{END}"]
                formulas.append(text[begin:close])
                done = end = close
        opening = OPENING.search(text, end)
    return Cut("".join([*pieces, text[done:]]), formulas)


def put_back(page: str, cut: Cut) -> str:
    """The formulas as elements in the rendered text, each as the escaped text that was cut out.

    >>> put_back("<p>" + cut_latex("$x<y$").text + "</p>", cut_latex("$x<y$"))
    '<p><span class="latex">$x&lt;y$</span></p>'
    """
    if not cut.formulas:
        return page

    def element(mark: re.Match[str]) -> str:
        formula = html.escape(cut.formulas[int(mark[2])], quote=False)
        return f'<span class="latex{" display" if mark[1] == DISPLAY else ""}">{formula}</span>'

    page = IN_ADDRESS.sub(lambda mark: quote(cut.formulas[int(mark[1])]), page)
    page = re.sub(f"<br />(?=\n{DISPLAY})|(?<={END})<br />(?=\n)", "", page)
    return re.sub(f"([{INLINE}{DISPLAY}])(\\d+){END}", element, page)


class _Finder:
    """Finds where code and formulas end. Each kind of end is looked for from where the last one was found."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[str, int] = {}  # by pattern: where the next match begins; the end of the text if none does

    def end_of_fence(self, fence: str, start: int) -> int:
        """After the line that closes a block of code; the end of the text if none does."""
        pattern = f"(?m)^[ \\t>]*{fence[0]}{{{len(fence)},}}[ \\t]*$"
        return self._next(re.compile(pattern), start) + len(fence)

    def end_of_code(self, ticks: str, start: int) -> int:
        """After the same number of backticks; right after the first ones if these do not close."""
        at = self._next(re.compile(f"(?<!`){ticks}(?!`)"), start)
        return at + len(ticks) if at < len(self._text) else start

    def end_of_latex(self, opening: str, name: str | None, start: int) -> int | None:
        """After the end of a formula; None if it is no formula."""
        text = self._text
        if opening.startswith("\\boxed"):
            return self._end_of_braces(start)
        if opening == "$" and (start >= len(text) or text[start].isspace()):
            return None
        ending = re.compile(re.escape(f"\\end{{{name}}}")) if name else CLOSING[opening]
        close = self._next(ending, start + 1)
        inside = text[start:close] if close - start <= LONGEST else ""
        if close >= len(text) or not inside.strip() or BLANK_LINE.search(inside):
            return None
        if opening == "$" and (PRICE.search(inside) or text[close + 1 : close + 2].isdigit()):
            return None
        return close + len(f"\\end{{{name}}}" if name else opening)

    def _end_of_braces(self, start: int) -> int | None:
        depth = 1
        for brace in BRACE.finditer(self._text, start, start + LONGEST_BOX):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if not depth:
                return brace.end()
        return None

    def _next(self, pattern: re.Pattern[str], start: int) -> int:
        found = self._found.get(pattern.pattern, -1)
        if found < start:
            match = pattern.search(self._text, start)
            found = self._found[pattern.pattern] = match.start() if match else len(self._text)
        return found
