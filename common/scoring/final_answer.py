r"""The final answer that a text puts forward: the only module that looks for the marks of a final answer.

>>> find_final_answer(r"First \boxed{3}. But no: $-\boxed{\frac{\sqrt{2}}{3}}$").text
'-\\frac{\\sqrt{2}}{3}'
>>> find_final_answer("3 + 4 = 7\n#### 7").text
'7'
>>> find_final_answer("The answer is 7. Bye!")
FinalAnswer(text='7.', after=' Bye!', found_by='statement', doubt=None)
>>> find_final_answer("There are 3 and 4.\nSo there are 7.").text
'there are 7.'
"""

from __future__ import annotations

import json
import re
from typing import Iterator, NamedTuple, Sequence

from ..patterns import Rule, any_word, either, regex
from .boxes import MOST, UNDERLINES, Mark, boxes

_LONGEST = 1_000  # characters of a sentence
_MOST_TEXT = 30_000  # characters at the end of a text that are read


class FinalAnswer(NamedTuple):
    """``text`` is the final answer, and ``after`` is the text that follows it.

    ``found_by`` is "mark" (a box, ``####``, a tag, JSON, the user's pattern), "statement" ("the answer is") or "last
    sentence". ``doubt`` says why the final answer may not be meant, or cannot be read; None if all is well.
    """

    text: str
    after: str
    found_by: str
    doubt: str | None = None


# --- second thoughts --------------------------------------------------------------------------------------------------

SECOND_THOUGHTS = [  # after a final answer; the verdict: the doubt
    Rule("wait", rf"\b{any_word('wait hmm+ oops sorry correction')}\b", "4. Wait.", "second thoughts"),
    Rule("actually", r"\bactually\b", "4. Actually, it is 5.", "second thoughts"),
    Rule("instead", r"\binstead\b(?!\s+of)", "4. It is 5 instead.", "second thoughts"),
    Rule("no", r"(?:^|[.!?\n])\s{0,3}no\b[,.:;!]", "4. No, 5.", "second thoughts"),
    Rule(
        "mistake",
        rf"\b{any_word('mistakes? mistaken wrong incorrect miscalculated miscounted')}\b",
        "4. Wrong.",
        "second thoughts",
    ),
    Rule(
        "check",
        r"\blet(?:\s+me|['\u2019]s|\s+us)\s+(?:double|re-?|check|verify|see|think|try|redo|correct|fix)",
        "4. Let me check.",
        "second thoughts",
    ),
    Rule(
        "again",
        r"\bon\s+second\s+thought|\bthinking\s+again|\bscratch\s+that|\bI\s+mean\b",
        "4. Scratch that.",
        "second thoughts",
    ),
    Rule(
        "rather", r"\bor\s+rather\b|\bshould\s+(?:have\s+been|be|actually)\b", "4. It should be 5.", "second thoughts"
    ),
    Rule(
        "chinese",
        r"\u4e0d\u5bf9|\u7b49\u7b49|\u7b49\u4e00\u4e0b|\u8ba9\u6211\u518d|\u91cd\u65b0|\u66f4\u6b63|\u9519\u4e86",
        "4\u3002\u4e0d\u5bf9\u3002",
        "second thoughts",
    ),
]
_SECOND_THOUGHTS = regex(either(SECOND_THOUGHTS), re.I)
_CONCLUSION = regex(r"(?:^|[.\n])[ \t]{0,3}(?:so|thus|hence|therefore|in\s+total)\b([^\n]{0,200})", re.I)
_LONGEST_AFTER = 3_000  # characters after a final answer, and at the end, in which second thoughts are looked for

# --- marks ------------------------------------------------------------------------------------------------------------

_HASHES = regex(r"####[ \t]*([^\s#][^\n]*)")  # GSM8K marks its answers so
_TAG_NAME = r"(?:final[_ -]?)?(?:answer|ans|result|solution|conclusion)|final|begin_of_solution"
_TAG = regex(rf"(?:<\|?|\[)\s?(/|end_of_(?=solution))?(?:{_TAG_NAME})\s?(?:\|?>|\])", re.I)
_JSON_KEY = regex(
    r"[\"']((?:final|correct|predicted)?[_ -]?(?:answer|ans|result|solution|prediction)"
    r"|(?:final|correct)_?(?:option|choice))[\"']\s*:\s*",
    re.I,
)
_JSON_BARE = regex(r"'((?:[^'\\\n]|\\.){0,400})'|([-\w.]{1,40})(?=\s*[,}\n])")
_JOINED = regex(r"(?:[\s$,.;~&]|\\[()\[\]]|\\q?quad|\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b){0,40}")
_UNDERLINED = 300  # characters at the end of a text in which an underlined value is its final answer
_SPECIAL = regex(r"<\|[a-z_]{2,30}\|>|</?s>|<eos>|<end_of_turn>")
_MARKUP = regex(
    r"</?(?:u|b|i|em|strong|p|span|div|br|mark|center|h[1-6]|code|li|ul|ol|font|td|tr)(?:\s[^<>]{0,80})?/?>", re.I
)
_EMOJI = " \t\n\u2713\u2714\u2705\u2611\ufe0f\U0001f389\U0001f60a\U0001f31f\u2b50"


def find_final_answer(text: str, own: Sequence[re.Pattern[str]] = ()) -> FinalAnswer | None:
    r"""The final answer of a text without thoughts; None if the text is empty.

    The last mark counts. Several boxes that are only joined ("\boxed{3} and \boxed{4}") count together. A statement
    ("the answer is 4") counts if no mark follows it. Without both, the last sentence counts. ``own`` are further
    patterns of marks: the first group of their last match is the final answer.

    >>> find_final_answer(r"\boxed{3} or \boxed{4}").text
    '3, 4'
    >>> find_final_answer(r"\boxed{4}. Wait, that is wrong.").doubt
    'second thoughts'
    """
    text = text[-_MOST_TEXT:]
    if "<" in text:
        text = _MARKUP.sub("", _SPECIAL.sub("", text))
    text = text.strip().rstrip(_EMOJI)
    if not text:
        return None
    mark, statement = _last_mark(text, own), _last_statement(text)
    if mark is not None and (statement is None or statement.start < mark.end or not _overrules(statement)):
        found = mark
    elif statement is not None:
        found = statement
    else:
        return _last_sentence(text)
    after = text[found.end :]
    if found.found_by == "statement" and _concludes_otherwise(found.text or "", after):
        return FinalAnswer(found.text or "", after, found.found_by, "a later conclusion")
    if found.text is None:
        return FinalAnswer(text[found.start : found.end][:200], after, found.found_by, "its mark cannot be read")
    return FinalAnswer(found.text, after, found.found_by, _doubt(found.text, after))


def _doubt(text: str, after: str) -> str | None:
    """Why a final answer may not be meant: second thoughts in it or after it."""
    parts = (after[:_LONGEST_AFTER], after[_LONGEST_AFTER:][-_LONGEST_AFTER:])
    found = _SECOND_THOUGHTS.search(text[:_LONGEST_AFTER], 1) or any(
        map(_SECOND_THOUGHTS.search, parts)
    )  # 1: "No, ..."
    return "second thoughts" if found else None


def _concludes_otherwise(text: str, after: str) -> bool:
    """Whether a conclusion after a statement ("So in total ...") holds numbers, and none of the statement's."""
    for conclusion in _CONCLUSION.finditer(after[:_LONGEST_AFTER]):
        numbers = set(re.findall(r"[0-9]+", conclusion[1]))
        if numbers and numbers.isdisjoint(re.findall(r"[0-9]+", text)):
            return True
    return False


def _last_mark(text: str, own: Sequence[re.Pattern[str]]) -> Mark | None:
    """The last mark that is not inside of another mark, with the marks that are joined to it."""
    marks = [*_own_marks(text, own)]
    if "box" in text:
        marks += boxes(text)
    elif "\\underline" in text[-_UNDERLINED:]:
        marks += boxes(text, UNDERLINES)
    if "####" in text:
        marks += [Mark(match.start(), match.end(), match[1]) for match in _HASHES.finditer(text)]
    if "<" in text or "[" in text:
        marks += _tags(text)
    if '":' in text or "':" in text or '" :' in text:
        marks += _json_answers(text)
    if not marks:
        return None
    marks.sort(key=lambda mark: (mark.start, -mark.end))
    outer = marks[:1]
    for mark in marks[1:]:
        if mark.start >= outer[-1].end:
            outer.append(mark)
    return _joined(text, outer)


def _own_marks(text: str, own: Sequence[re.Pattern[str]]) -> Iterator[Mark]:
    for pattern in own:
        for match in pattern.finditer(text):
            group = 1 if pattern.groups else 0
            if match[group] is not None:
                yield Mark(match.start(), match.end(), match[group])


def _joined(text: str, marks: list[Mark]) -> Mark:
    """The last of these marks, with the marks before it that are joined to it by nothing but "and" or "or"."""
    last = [marks[-1]]
    for mark in reversed(marks[:-1]):
        if last[0].start - mark.end > 60 or not _JOINED.fullmatch(text, mark.end, last[0].start):
            break
        last.insert(0, mark)
    texts = list(dict.fromkeys(mark.text for mark in last))
    content = None if None in texts else ", ".join(map(str, texts))
    return Mark(last[0].start, last[-1].end, content)


# Tags and JSON


def _tags(text: str) -> list[Mark]:
    """The contents of answer tags; a tag that is not closed ends with the text."""
    marks: list[Mark] = []
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opened = tag
        elif opened is not None:
            marks.append(Mark(opened.start(), tag.end(), text[opened.end() : tag.start()]))
            opened = None
    if opened is not None:
        marks.append(Mark(opened.start(), len(text), text[opened.end() :]))
    return [_inner(mark) for mark in marks[-1:]]


def _json_answers(text: str) -> list[Mark]:
    """The value of the last answer key of a JSON object."""
    keys = list(_JSON_KEY.finditer(text))
    if not keys:
        return []
    start, place = keys[-1].span()
    try:
        value, end = json.JSONDecoder().raw_decode(text, place)
    except (ValueError, RecursionError):
        bare = _JSON_BARE.match(text, place)
        return [Mark(start, bare.end(), bare[1] or bare[2])] if bare else []
    if isinstance(value, (dict, float)) and not isinstance(value, float):
        return [Mark(start, end, None)]
    said = value if isinstance(value, str) else text[place:end]
    return [_inner(Mark(start, end, said))]


_PLAIN = regex(r"[-+$]?[0-9][0-9,./]{0,30}[%]?")  # has no marks of its own


def _inner(mark: Mark) -> Mark:
    """A mark whose content may be a text with marks of its own, or of several lines."""
    content = (mark.text or "").strip()
    if _PLAIN.fullmatch(content):
        return mark._replace(text=content)
    inner = find_final_answer(content)
    if inner is None or inner.doubt:
        return mark._replace(text=None)
    is_line = inner.found_by == "last sentence" and "\n" not in content
    return mark._replace(text=content if is_line else inner.text, found_by="mark" if is_line else inner.found_by)


# --- statements -------------------------------------------------------------------------------------------------------

_IS = (
    r"(?:is|are|equals|becomes|(?:would|must|should|will|has\s+to)\s+be)\b"
    r"(?:\s+(?:therefore|thus|then|simply|just|indeed|now|equal\s+to|given\s+by))*"
)
_ADVERB = r"(?:\s+(?:also|daher|somit|donc|entonces|por\s+(?:lo\s+)?tanto|portanto|quindi|dunque)\b)?\s*:?"
STATEMENTS = [  # the verdict: the final answer
    Rule(
        "answer",
        r"(?<!wrong )(?<!incorrect )\b(?:answers?|ans)\b\.?[*_)]*(?:\s+(?:to|for|of|in|here)\b[^\n.:=?]{0,60}?)?[*_\s]*"
        rf"(?:\b{_IS}|[:=\uff1a\u2192\u21d2]|[-=]>)",
        "The correct answer to the question is 4",
        "4",
    ),
    Rule("heading", r"^[\s#*_>-]{0,8}(?:final\s+|my\s+)?answer[*_ \t]{0,4}$", "### Final Answer\n\n4", "4"),
    Rule("final", r"\bfinal\s+answer\b[*_]*\s+(?=[-$\\(]?[0-9\\])", "Final answer 4", "4"),
    Rule("short", r"\banswer['\u2019]s\s+(?=[-$\\(*]*[0-9\\])", "The answer's 4", "4"),
    Rule("table", r"^\s{0,3}\|[ *]{0,4}(?:final\s+)?answer[ *]{0,4}\|(?=[ \t]*[^\s|-])", "| Answer | 4 |", "4"),
    Rule("letter", r"^[ \t>*_#-]{0,6}A[*_]{0,2}\s?[:\uff1a]", "A: 4", "4"),
    Rule("result", rf"\b(?:final|end)\s+(?:result|value)\b[*_]*\s*(?:{_IS}|[:=])", "The final result is 4", "4"),
    Rule(
        "option",
        rf"\b(?:correct|right|best)\s+(?:answer\s+)?(?:option|choice|letter)\b[*_]*\s*(?:{_IS}|:)",
        "The correct option is B",
        "B",
    ),
    Rule("choice", r"\bI(?:['\u2019]d|\s+would|\s+will)?\s+(?:choose|pick|select|go\s+with)\b", "I choose B", "B"),
    Rule(
        "chinese",
        r"(?:\u7b54\u6848|\u7ed3\u679c)(?:\u5e94\u8be5|\u5e94)?(?:\u9009|\u662f|\u4e3a|\u7b49\u4e8e|:|\uff1a)+",
        "\u7b54\u6848\u662f4",
        "4",
    ),
    Rule("chinese reply", r"(?:^|(?<=[\u3002\uff01\s]))\u7b54\s*[:\uff1a]", "\u7b54\uff1a4", "4"),
    Rule(
        "chinese choice",
        r"(?:\u6545|\u5e94|\u6240\u4ee5|\u56e0\u6b64)\u9009\u62e9?[:\uff1a]?(?=\s*\(?[A-J])",
        "\u6545\u9009B",
        "B",
    ),
    Rule("spanish", rf"\brespuesta(?:\s+(?:final|correcta))?\s*(?:es\b|:){_ADVERB}", "La respuesta es 4", "4"),
    Rule("french", rf"\br\u00e9ponse(?:\s+(?:finale|correcte))?\s*(?:est\b|:){_ADVERB}", "La r\u00e9ponse est 4", "4"),
    Rule("german", rf"\bantwort\s*(?:ist\b|lautet\b|:){_ADVERB}", "Die Antwort lautet 4", "4"),
    Rule(
        "portuguese", rf"\bresposta(?:\s+(?:final|correta))?\s*(?:\u00e9(?!\w)|:){_ADVERB}", "A resposta \u00e9 4", "4"
    ),
    Rule(
        "italian", rf"\brisposta(?:\s+(?:finale|corretta))?\s*(?:\u00e8(?!\w)|:){_ADVERB}", "La risposta \u00e8 4", "4"
    ),
    Rule("japanese", r"(?:\u7b54\u3048|\u6b63\u89e3)\s*(?:\u306f|[:\uff1a])", "\u7b54\u3048\u306f4\u3067\u3059", "4"),
    Rule("korean", r"(?:\uc815\ub2f5|\ub2f5)\s*(?:\uc740|[:\uff1a])", "\uc815\ub2f5\uc740 4\uc785\ub2c8\ub2e4", "4"),
    Rule(
        "other languages",
        r"(?<!\w)(?:\u043e\u0442\u0432\u0435\u0442|odpowied\u017a|antwoord|cevap|\u0111\u00e1p\s+\u00e1n|jawaban|svar|vastaus"
        r"|\u0627\u0644\u062c\u0648\u0627\u0628|\u0627\u0644\u0625\u062c\u0627\u0628\u0629|\u0909\u0924\u094d\u0924\u0930"
        r"|\u0e04\u0e33\u0e15\u0e2d\u0e1a|\u05ea\u05e9\u05d5\u05d1\u05d4|odpov\u011b\u010f)\s*[*_]{0,2}[:\uff1a]",
        "\u041e\u0442\u0432\u0435\u0442: 4",
        "4",
    ),
]
_ANCHORS = {  # by the name of a rule: a text without these does not match
    "answer": ("answer", "ans:", "ans.", "ans ", "ans*"),
    "heading": ("answer",),
    "final": ("answer",),
    "short": ("answer",),
    "table": ("answer",),
    "letter": ("a:", "a*", "a_", "a :", "a\uff1a"),
    "result": ("result", "value"),
    "option": ("option", "choice", "letter"),
    "choice": ("choose", "pick", "select", "go with"),
    "chinese": ("\u7b54\u6848", "\u7ed3\u679c"),
    "chinese reply": ("\u7b54",),
    "chinese choice": ("\u9009",),
    "spanish": ("respuesta",),
    "french": ("ponse",),
    "german": ("antwort",),
    "portuguese": ("resposta",),
    "italian": ("risposta",),
    "japanese": ("\u7b54\u3048", "\u6b63\u89e3"),
    "korean": ("\ub2f5",),
    "other languages": (":", "\uff1a"),
}
_STATEMENTS = [(_ANCHORS[rule.name], regex(rule.pattern, re.I | re.M)) for rule in STATEMENTS]
_BEFORE_CONTENT = regex(r"(?:[\s*_:\uff1a`]|={3,}\n|\\\[\s|\$\$\s)*")
_WINDOW = 4_000  # characters at the end of a text in which statements are looked for
_SENTENCE_END = regex(
    r"(?<=[.!?])(?<!\b[A-J]\.)(?<!\b[A-J]\)\.)(?<!\b[Rr]s\.)(?<!\b[MD]r\.)(?<!\bMrs\.)(?<!\bapprox\.)(?<!\be\.g\.)(?<!\bi\.e\.)"
    r"(?<!\bsq\.)[*_\"\u201d]{0,3}\s+|(?<=[\u3002\uff01])(?!$)"
)
_OVERRULES = regex(r"[\d\\$]|^\W*\(?[A-J]\)?(?:\W|$)|^\W*(?:yes|no|true|false)\b|^[A-Z]\S*(?:\s\S+){0,2}$")
_COURTESY = regex(
    r"\W*(?:I\s+)?(?:hope|let\s+me\s+know|feel\s+free|if\s+you\s+(?:have|need|want|would)|happy\s+to|please\s+(?:let|feel)|thank"
    r"|good\s+luck|is\s+there\s+anything|have\s+a\s+(?:nice|great))\b",
    re.I,
)
_LEAD_IN = regex(  # Thus, we get
    r"(?:(?:thus|hence|therefore|\u2234|=>|\u21d2|so|then|finally|consequently|in\s+conclusion|as\s+a\s+result|we\s+(?:get|have|find|obtain|conclude)"
    r"|it\s+is|(?:it|that)['\u2019]s|this\s+(?:is|gives)|that\s+(?:is|gives)|which\s+(?:is|gives)|\u6240\u4ee5|\u56e0\u6b64)(?![A-Za-z])(?:\s+that\b)?[\s,:\uff0c]*)+(?=\S)",
    re.I,
)
_IS_THE_ANSWER = regex(r"(?<=\S)\s+is\s+(?:the|our|my)\s+(?:final\s+|correct\s+)?(?:answer|result|solution)\W*$", re.I)
_LINE_MARKS = regex(r"(?:\s*>)+\s*(?![-\s$0-9.])|\s*(?:[-*\u2022]\s+(?![-\s$0-9.])|\d{1,2}\.\s+(?=\S)|#+\s+)")
_COPULA_AFTER = regex(  # Japanese and Korean: it is (after the answer); the bar of a table
    r"\s?(?:\u3067\u3059|\u3060|\u3067\u3042\u308b|\uc785\ub2c8\ub2e4|\uc774\ub2e4|\|)[\u3002.]?$"
)
_QUOTES = '"\u201c\u201d\u2018\u2019`'
_BULLET_OR_MINUS = regex(r"[-\u2212\u2013]\s+\$?[0-9]")
_ONLY_SIGNS = regex(r"[\s\\\[\]$`*_#{}=-]*|\\end\{\w+\}|\\begin\{\w+\}")


def _last_statement(text: str) -> Mark | None:
    """The last statement of a final answer that says something."""
    place, lower = max(0, len(text) - _WINDOW), text[-_WINDOW:].lower()
    patterns = [pattern for anchors, pattern in _STATEMENTS if any(map(lower.__contains__, anchors))]
    statements = [statement for pattern in patterns for statement in pattern.finditer(text, place)]
    for statement in sorted(statements, key=re.Match.end)[-MOST:][::-1]:
        content = _BEFORE_CONTENT.match(text, statement.end())
        assert content is not None
        start = content.end()
        line = text[start : start + _LONGEST].split("\n", 1)[0]
        sentence = _SENTENCE_END.split(line, 1)[0]
        if sentence.strip(" .*_$"):
            return _after_bullet(Mark(statement.start(), start + len(sentence), _bare(sentence), "statement"))
    return None


def _after_bullet(statement: Mark) -> Mark:
    """A statement without the bullet before its content; without content if the bullet may be a minus sign."""
    bullet = re.match(r"[-\u2022]\s+", statement.text or "")
    if bullet is None:
        return statement
    rest = (statement.text or "")[bullet.end() :]
    may_be_minus = bullet.group().startswith("-") and re.match(r"[$\\]*[0-9]|[$\\]*[dt]?frac", rest)
    return statement._replace(text=None if may_be_minus else rest)


def _overrules(statement: Mark) -> bool:
    """Whether a statement after a mark says another final answer, and is not a remark such as "the answer is in cm"."""
    return _OVERRULES.search(statement.text or "") is not None


def _last_sentence(text: str) -> FinalAnswer | None:
    """The last sentence of the last line that says something."""
    lines = text[-3 * _LONGEST :].split("\n")
    while lines:
        line = _unmarked(lines.pop())
        if _ONLY_SIGNS.fullmatch(line):
            continue
        sentences = [part for part in _SENTENCE_END.split(line) if part.strip()]
        while sentences and _COURTESY.match(sentences[-1]):
            sentences.pop()
        if sentences:
            said = _bare(sentences[-1])
            doubt = "a bullet or a minus sign" if _BULLET_OR_MINUS.match(line) else _doubt(sentences[-1], "")
            return FinalAnswer(said, "", "last sentence", doubt)
    return None


def _unmarked(line: str) -> str:
    marks = _LINE_MARKS.match(line)
    return line[marks.end() :].strip() if marks else line.strip()


def _bare(sentence: str) -> str:
    """A sentence without quotation marks, "Thus we get" before it, and "is the answer" after it."""
    lead_in = _LEAD_IN.match(sentence)
    said = _IS_THE_ANSWER.sub("", sentence[lead_in.end() :] if lead_in else sentence).strip().rstrip("*_ ")
    said = _COPULA_AFTER.sub("", said)
    return said.rstrip(" .").strip(_QUOTES).strip() if said[:1] in _QUOTES else said
