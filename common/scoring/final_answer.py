r"""The final answer that a text puts forward: the only module that looks for the marks of a final answer.

>>> find_final_answer(r"First \boxed{3}. But no: \boxed{\frac{\sqrt{2}}{3}}").text
'\\frac{\\sqrt{2}}{3}'
>>> find_final_answer("3 + 4 = 7\n#### 7").text
'7'
>>> find_final_answer("The answer is 7. Bye!")
FinalAnswer(text='7.', after='Bye!', found_by='statement')
>>> find_final_answer("There are 3 and 4.\nSo there are 7.")
FinalAnswer(text='So there are 7.', after='', found_by='last sentence')
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .patterns import any_of

_BOX = re.compile(r"\\f?boxed\s*(?:\{|(?=[-\d\\]))")  # \boxed{4}, \boxed {4}, \fboxed{4}; also \boxed 4, without braces
_BRACE = re.compile(r"\\.|[{}]", re.S)  # an escaped brace, \{, is part of the content and does not count
_HASHES = re.compile(r"####[ \t]*(\S[^\n]*)")  # GSM8K marks its answers so
_STATEMENT = re.compile(
    any_of(
        r"(?<!wrong )(?<!incorrect )\banswer\b(?:\s+is\b|\s*:)+",  # the answer is 4; Answer: 4
        r"\u7b54\u6848(?:\u662f|\u4e3a|:|\uff1a)+",  # the same in Chinese
    )
    + r"[\s*_:]*(\S[^\n]*)",
    re.I,
)
_JOINED = re.compile(r"[\s$,.;]*(?:(?:and|or)[\s$]*)?")  # between two marked answers that are one: \boxed{3}, \boxed{4}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=\u3002)(?!$)")
_SENTENCE_END_AFTER_NO_OPTION = re.compile(r"(?<=[.!?])(?<!\b[A-H]\.)\s+|(?<=\u3002)(?!$)")


class FinalAnswer(NamedTuple):
    """``text`` is the final answer, and ``after`` is the text that follows it.

    ``found_by`` is "mark" (a box or ``####``), "statement" ("the answer is") or "last sentence".
    """

    text: str
    after: str
    found_by: str


class _Mark(NamedTuple):
    start: int
    end: int
    content: str | None  # None: it cannot be read


def find_final_answer(text: str, keep_options: bool = False) -> FinalAnswer | None:
    r"""The final answer of a text; None if the text is empty, or if its last box cannot be read.

    The last box or ``####`` counts. Several of them that are only joined ("\boxed{3} and \boxed{4}") count together.
    Without a mark, it is the sentence after "the answer is", and without that, the last sentence. ``keep_options``:
    "B. Paris" is one sentence and not two.

    >>> find_final_answer(r"\boxed{3} or \boxed{4}").text
    '3, 4'
    >>> find_final_answer(r"First \boxed{3}. Then \boxed{4") is None
    True
    """
    boxes = _boxes(text)
    if boxes is None:
        return None
    hashes = [_Mark(match.start(), match.end(), match[1]) for match in _HASHES.finditer(text)]
    marks = sorted([*boxes, *hashes], key=lambda mark: mark.start)
    if marks:
        contents = [mark.content for mark in _last_joined(text, marks)]
        if None in contents:
            return None
        return FinalAnswer(", ".join(dict.fromkeys(map(str, contents))), text[marks[-1].end :], "mark")
    sentence_end = _SENTENCE_END_AFTER_NO_OPTION if keep_options else _SENTENCE_END
    return _statement(text, sentence_end) or _last_sentence(text, sentence_end)


def _boxes(text: str) -> list[_Mark] | None:
    """The boxes of a text, outer ones only; None if one never ends. A box without braces cannot be read."""
    boxes = []
    box = _BOX.search(text)
    while box is not None:
        if box.group().endswith("{"):
            end = _closing_brace(text, box.end())
            if end is None:
                return None
            boxes.append(_Mark(box.start(), end + 1, text[box.end() : end]))
        else:
            boxes.append(_Mark(box.start(), box.end(), None))
        box = _BOX.search(text, boxes[-1].end)
    return boxes


def _closing_brace(text: str, start: int) -> int | None:
    """The place of the brace that closes the group whose content begins at ``start``; None if there is none."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return brace.start()
    return None


def _last_joined(text: str, marks: list[_Mark]) -> list[_Mark]:
    """The last of these marks, and the marks before it that are joined to it without a word but "and" or "or"."""
    last = [marks[-1]]
    for mark in reversed(marks[:-1]):
        if not _JOINED.fullmatch(text, mark.end, last[0].start):
            break
        last.insert(0, mark)
    return last


def _statement(text: str, sentence_end: re.Pattern[str]) -> FinalAnswer | None:
    statements = list(_STATEMENT.finditer(text))
    if not statements:
        return None
    first, *rest = sentence_end.split(statements[-1][1])
    return FinalAnswer(first, " ".join(rest) + text[statements[-1].end() :], "statement")


def _last_sentence(text: str, sentence_end: re.Pattern[str]) -> FinalAnswer | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return FinalAnswer(sentence_end.split(lines[-1])[-1], "", "last sentence") if lines else None
