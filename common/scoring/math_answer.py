r"""The final answer of a text, for the ``math`` rule: marked, stated, or concluded by its last sentence.

>>> find_math_answer(r"So she has \boxed{5 \text{ apples}}.")
MathText(text='5 apples', value='5', unit='apple')
>>> find_math_answer("Tom has 3 apples and gets 4, so he now has 7 apples.").value
'7'
>>> find_math_answer("The answer is 5 or so, perhaps.") is None
True
"""

from __future__ import annotations

import re

from .final_answer import find_final_answer
from .final_number import final_number, is_tied_before
from .math_text import MathText, changes_number, is_words, plain_latex, with_unit
from .patterns import any_of, any_word

_DOUBT = re.compile(  # a text takes its answer back, or says it with less than certainty
    any_of(
        rf"\b{any_word('wait actually correction instead sorry mistake wrong incorrect hmm no,')}",
        r"\blet\s+me(?!\s+know)",  # let me check; but not: let me know if you have questions
        r"n['\u2019]t\b",  # isn't
        rf"\b{any_word('not never cannot neither nor fails? maybe perhaps possibly either')}\b",
        rf"\b{any_word('about around approximately roughly nearly least most than between')}\b",
        rf"\b{any_word('exceeds? above below')}\b",
        r"\b(?:up\s+to|(?:close|equal)\s+or|or\s+equal)\b",
        r"[<>\u2264\u2265]|\?",
        r"\u4e0d\u5bf9|\u4e0d\u662f|\u7b49\u7b49|\u8ba9\u6211",  # Chinese: wrong, is not, wait, let me
    ),
    re.I,
)
_REASON = re.compile(r",?\s+(?:since|because|as)\s")  # 4, since 2 + 2 = 4
_FORMULA = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]|\$\$?([^$]+)\$")  # \(4\), \[4\], $4$, $$4$$
_WORD_IN_DOLLARS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3}")  # "$5 and $6": prices, and not a formula
_NUMERIC = r"-?(?:\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}|(?:\d{1,3}(?:,\d{3})+|\d+)?\.?\d+(?:\s*/\s*\d+)?)(?:\\%)?"
_NOT_BEFORE, _NOT_AFTER = r"(?<![\w.,^/(\[+*=<>{])", r"(?![\w^/(\[*{]|[.,]\d|\s*[-+*/^=<>\\(])"
_LONE_NUMBER = re.compile(rf"{_NOT_BEFORE}({_NUMERIC}){_NOT_AFTER}(\s+[a-z]+)?")  # with the word after it
_SOME_NUMBER = re.compile(r"\d[\d,./]*")

_VERBS = any_word("is are equals? makes? gives? gets? leaves? has have becomes?")
_CLAIM = re.compile(rf"(?:=|\b{_VERBS})[\s*$(]*-?\d", re.I)  # is 4; = 4
_CONCLUSION = re.compile(  # a sentence that ends in: is 4; is equal to just 4; totals to 4 apples
    r"(?:=|\b"
    + any_of(_VERBS, r"(?:equal|equivalent)\s+to", r"totals?(?:\s+of|\s+to)?")
    + rf")(?:\s+{any_word('simply just exactly now then')})?"
    + r"[\s*$(]*-?\d[\d.,]*[^\d=]*$",
    re.I,
)
_CONDITION = re.compile(r"\^|(?<![A-Za-z])[A-Za-z]\s*=|\b(?:where|if|when|such\s+that)\b", re.I)  # x where y = 4
_THEREFORE = re.compile(rf"\b{any_word('so thus hence therefore total altogether which')}\b", re.I)
_UNIT_AFTER_LAST_NUMBER = re.compile(r"\d(\s+[a-z]+)?[^\d=]*$")


def find_math_answer(text: str) -> MathText | None:
    """The final answer of a text; None if it has none, several, or an uncertain one, or takes it back."""
    final = find_final_answer(text)
    if final is None or _DOUBT.search(final.after):
        return None
    if final.found_by == "mark":
        plain = plain_latex(final.text)
    else:
        plain = _unmarked(_REASON.split(final.text)[0] if final.found_by == "statement" else final.text)
    return with_unit(plain) if plain else None


def _unmarked(sentence: str) -> str:
    """The answer in a sentence without a mark, as plain LaTeX; "" if it cannot be told."""
    plain = plain_latex(sentence)
    if not _is_formula(plain):
        if _DOUBT.search(sentence):
            return ""
        plain = _only_value(sentence) or _conclusion(sentence) or plain
    return "" if plain.endswith("!") else plain  # "4!" is a factorial, or joy


def _is_formula(plain: str) -> bool:
    return not is_words(with_unit(plain).value) or not re.search(r"\s", plain)


def _only_value(sentence: str) -> str:
    """The only formula of a sentence, or else its only number, with the word after it; "" if there are several."""
    formulas = _FORMULA.findall(sentence)
    if formulas and not any(_WORD_IN_DOLLARS.search(dollars) for _, _, dollars in formulas):
        return plain_latex("".join(formulas[0])) if len(formulas) == 1 else ""
    plain = plain_latex(sentence)
    numbers = list(_LONE_NUMBER.finditer(plain))
    if len(numbers) != 1 or changes_number(plain) or _SOME_NUMBER.search(plain.replace(numbers[0][1], " ")):
        return ""
    return "" if is_tied_before(plain, numbers[0].start()) else numbers[0].group()


def _conclusion(sentence: str) -> str:
    """The last of several numbers of a sentence that puts it forward: "17 - 2 is 15."; else ""."""
    if _CONDITION.search(sentence) or not _CONCLUSION.search(sentence):
        return ""
    number = final_number(sentence, only=False)
    claims = list(_CLAIM.finditer(sentence))
    if number is None or (len(claims) > 1 and not _THEREFORE.search(sentence, claims[-2].end())):
        return ""
    unit = _UNIT_AFTER_LAST_NUMBER.search(sentence)
    return format(number, "f") + ((unit and unit[1]) or "")
