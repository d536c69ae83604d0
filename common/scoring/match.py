"""Whether an answer puts the reference forward as its final answer: the ``match`` rule.

Pure text work, no requests. What could be read in two ways is no match: a false one would be trained on.

Example: ``matches("4", "2 and 2 make **4**.")``
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import List, Match, Optional, Tuple

from .judge_reply import without_thoughts

_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_HASHED = re.compile(r"####[ \t]*(\S[^\n]*)")  # how GSM8K marks its answers
_ANNOUNCED = re.compile(
    r"(?:(?<!wrong )(?<!incorrect )\banswer\b(?:\s+is\b|\s*:)+|\u7b54\u6848(?:\u662f|\u4e3a|:|\uff1a))"
    r"[\s*_:]*(\S[^\n]*)",
    re.I,
)
_AND = re.compile(r"[\s$,.;]*(?:(?:and|or)[\s$]*)?")  # between two boxes: neither is the answer
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b[A-H]\.)\s+|(?<=\u3002)(?!$)")
_DOUBT = re.compile(
    r"\b(?:wait|actually|correction|instead|sorry|mistake|let\s+me(?!\s+know)|hmm|no,)|\u4e0d\u5bf9|\u4e0d\u662f|\u7b49\u7b49|\u8ba9\u6211",
    re.I,
)
_NEGATION = set("not or nor neither never cannot isnt arent wasnt doesnt cant wrong incorrect than except".split())
_OPPOSITES = ({"yes", "no"}, {"true", "false"})

_NUMERAL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
_ANY_NUMERAL = (
    rf"(?:{'|'.join(_NUMERAL)}|thirty|forty|fifty|sixty|seventy|eighty|ninety"
    "|hundred|thousand|million|billion|trillion|half|dozen)"
)
_NUMERALS = re.compile(rf"\b{_ANY_NUMERAL}(?:[\s-]+(?:and\s+)?{_ANY_NUMERAL})*\b", re.I)
_BARE_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?")
# What ties a number to what stands before or after it: an expression, a range, a time, a unit, another number.
_TIED_BEFORE = re.compile(
    r"(?:[A-Za-z\d_.,^\\{}(\[|+*/%:#\u221a\u2026-]|[-+*/^\u00b1\u221a\u00d7\u00f7\u00b7<>\u2260\u2264\u2265~\u2013\u2014]\s*"
    r"|\\[a-z]+\s*|\b(?:than|minus|negative|(?:divided|multiplied)\s+by|base|at\s+(?:least|most)|sqrt|twice|double|step|question|chapter|figure|page|line|part"
    r"|(?:half|thirds?|quarters?|root|power|square|cube|factorial)\s+of)\s+"
    r"|[0-9][^\w=\u2192\u2248]*(?:(?!(?:is|are|was|equals?|makes?|gives?|leaves?|yields?)\b)[A-Za-z]+[^\w=]+)?(?:(?:and|to)\s+)?"
    r"|[0-9]\s*[\u4e00-\u9fff]{0,2}[\u6216\u548c\u5230\u81f3\u4e0e\u3001]\s*|[\u8d1f\u7b2c\u5341\u767e\u5343\u4e07\u4e4b])$",
    re.I,
)
_ASIDE = re.compile(
    r"\b(?:for|per|every|each|in|over|within|after|at|with)\s+(?:the\s+|all\s+)?$", re.I
)  # "9 in 2 days"
_TIED_AFTER = re.compile(
    r"[A-Za-z\d_^\\{}(*/%\u00b1-\u00b9\u00bc-\u00be\u2070-\u209f\u221a\u03c0]|[.,:-][0-9]|\s*\.\.|\s*[-+*/^=\u00b1\u00d7\u00f7\u00b7<>]\s*[\w(\\]"
    r"|\s*[%\u2030\u00bc-\u00be\u03c0\u221a]|\s*[\u4e07\u4ebf\u5343\u767e\u5341\u6210\u591a\u51e0]|\s*\u5206\u4e4b"
    r"|\s+(?:and\s+a\b|(?:hundred|thousand|million|billion|trillion|dozen|percent|per\s+(?:cent|thousand)|point|bn|[kmb]"
    r"|half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|eighths?|tenths?|hundredths?|thousandths?|squared|cubed|factorial|[ap]\.?m)\b)",
    re.I,
)


def matches(reference: str, answer: str) -> Optional[bool]:
    """Whether ``answer`` puts the reference forward as its final answer; None if the reference says nothing.

    The final answer is the last ``\\\\boxed{}`` or ``####``, what follows "the answer is", or the last sentence. A
    number must be the only one there, or the last of a sentence, free-standing and equal in value; another text must
    begin or end it as whole words. Negations, alternatives and second thoughts are misses: a false match would be
    trained on.
    """
    wanted = _words(final_answer(reference))
    if not wanted:
        return None
    spoken = without_thoughts(answer)
    said, after = ("", "") if spoken is None else _marked(spoken)
    heard = _words(said)
    if _DOUBT.search(f"{said} {after or ''}") or (_NEGATION & set(heard)) - set(wanted) or said.endswith("?"):
        return False
    if len(wanted) == 1 and _value(wanted[0]) is not None:
        return free_number(said, after is not None) == _value(wanted[0])
    if len(wanted) == 1 and any(not pair.isdisjoint(wanted) and pair <= set(heard) for pair in _OPPOSITES):
        return False
    return (heard[: len(wanted)] == wanted or heard[-len(wanted) :] == wanted) and _alone(final_answer(reference), said)


def _alone(wanted: str, said: str) -> bool:
    """Whether an answer that begins or ends in ``wanted`` has nothing beside it that makes it another."""
    wanted = wanted.strip(" .*$")
    letter = wanted.strip("()")
    if len(letter) == 1 and set(re.findall(r"\b[A-H]\b", said)) - {letter.upper()}:
        return False
    beside = said.lower().replace(wanted.lower(), " ", 1).rpartition("=")[2]
    if re.search(r"[0-9^+*/]", wanted):  # brackets and signs count
        return wanted.replace(" ", "") in said.replace(" ", "") and not re.search(r"[0-9^+*/-]|\b[a-z]\b", beside)
    return not re.search(r"\b(?:and|to|both)\b|&", beside)


def final_answer(text: str) -> str:
    """What a text puts forward as its answer, as plain as the comparison wants it."""
    return _marked(text)[0]


def _marked(text: str) -> Tuple[str, Optional[str]]:
    """A text's final answer and what follows it; None follows a last sentence, which nothing marks."""
    text = text.replace("\u2212", "-")
    marks = sorted([*_BOXED.finditer(text), *_HASHED.finditer(text)], key=lambda mark: mark.start())
    if marks:
        last = marks[-1]
        beside = [mark[1] for mark in marks[:-1] if _AND.fullmatch(text, mark.end(), last.start())]
        return ", ".join(dict.fromkeys([*beside[-1:], last[1]])), text[last.end() :]
    announced = list(_ANNOUNCED.finditer(text))
    if announced:
        first, *rest = _SENTENCE_END.split(announced[-1][1])
        reason = re.split(r"\b(?:since|because|as|for)\b", first)[0]  # "4, since 2+2=4"
        return reason, " ".join(rest) + text[announced[-1].end() :]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (_SENTENCE_END.split(lines[-1])[-1] if lines else ""), None


def free_number(said: str, marked: bool) -> Optional[Decimal]:
    """The number a final answer ends in, after its last "=", if it is not tied to anything; if marked, its only one."""
    text = re.sub(r"\\(?:text|mathrm|mbox)\{([^{}]*)\}|\^\{?\\circ\}?|\\(?=\$)", r" \1 ", said)
    left, _, text = _digits(text).rpartition("=")
    numbers = list(_BARE_NUMBER.finditer(text))
    if not numbers or (marked and len(numbers) > 1) or re.search(r"[0-9]\W+(?:and\s+)?[A-Za-z]\s*$", left[-40:]):
        return None
    last = numbers[-1]
    if len(numbers) > 1 and _ASIDE.search(text[max(0, last.start() - 40) : last.start()]):
        return None
    tied = _TIED_BEFORE.search(text[max(0, last.start() - 40) : last.start()]) or _TIED_AFTER.match(text, last.end())
    return None if tied else _value(last.group())


def _value(text: str) -> Optional[Decimal]:
    """The value of a text that is one number, perhaps a sum of money."""
    bare = text.strip(" $\u20ac\u00a3*.\u3002")
    return Decimal(bare.replace(",", "")) if _BARE_NUMBER.fullmatch(bare) else None


def _digits(text: str) -> str:
    """The text with its number words as digits: zero to twenty, but for "one", a pronoun more often than not."""

    def digit(match: Match[str]) -> str:
        word = match.group().lower()
        return str(_NUMERAL.index(word)) if word in _NUMERAL and word != "one" else re.sub(r"\s+", "-", match.group())

    return _NUMERALS.sub(digit, re.sub(r"[*_`$]|\\[,;! ]", "", text))


def _words(text: str) -> List[str]:
    """Lower-case words without markup and punctuation, and without articles unless that is all there is."""
    text = re.sub(r"\\(?:text|mathrm)\b", " ", re.sub(r"n['\u2019]t\b", " not", _digits(text.lower())))
    words = [word.strip(".,\u3002\uff0c") for word in re.sub(r"[\"'\\{}()\[\]<>!?;]|:(?!\d)", " ", text).split()]
    there = [word for word in words if word]
    return [word for word in there if word not in ("a", "an", "the")] or there
