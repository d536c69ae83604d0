r"""Whether an answer's final answer is the reference's, read as people and models write them.

>>> decide("How much is it?", "#### 1,450,000", "It is $1.45 million.").value
True
>>> decide("Which is a gas? A) iron B) helium", "B", r"\boxed{\text{(A)}}").value
False
>>> decide("How much?", "4", r"\boxed{4}. Wait, that is wrong.")
Decision(value=None, why='the answer has second thoughts', unsure=False, formulas=None)
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple, Sequence

from ..patterns import any_of, any_word, regex
from ..thinking import without_thoughts
from .answer_value import Value, equal, has_formula, read_value
from .final_answer import FinalAnswer, find_final_answer
from .final_number import NUMBER_BEGINS, Number, number_at, read_number
from .math_text import is_words, plain_latex
from .moments import only_moment
from .question import WORD, Question, about
from .sentence_number import TIED, is_harmless, sentence_number
from .units import stem

NO_REFERENCE = "no reference to match"
FREE_TEXT = "the reference is a free text, which a rule cannot compare"
_LONGEST = 1_000  # characters of a final answer that is compared
_MOST_WORDS = 14  # of a reference without a mark; a longer one is free text
_MOST_CHARACTERS = 300  # of a reference without a mark
_CLAUSE = regex(r",?\s+(?:since|because|as|so|which)\s|;\s|,\s+(?:and\s+)?not\s+(?=[-$0-9\\*])")  # 4, since 2 + 2 = 4
_WORD = regex("[A-Za-z]{3}")
_FORMULA = regex(r"\\\((.+?)\\\)|\\\[(.+?)\\\]|\$\$?([^$]+)\$")  # \(4\), \[4\], $4$, $$4$$
_WORD_IN_DOLLARS = regex(r"(?<![\\A-Za-z{])[A-Za-z]{3}")  # "$5 and $6": prices, and not a formula
_VERB = regex(
    rf"\b(?:{any_word('is are equals? be gives? makes?')})(?:\s+(?:therefore|thus|then|just|now))?[\s:]+", re.I
)
_CONDITION = regex(r"\b(?:where|if|when|such\s+that|not)\b|n['\u2019]t\b", re.I)
_CHINESE = regex("[\u4e00-\u9fff]")
_NAMED_NUMBER = regex(r"(?!Total|Answer|About|In |Rs|Only|Just|Year)[A-Z][a-z]{2,20} [0-9]{1,4}")  # Apollo 11
_AND = regex(r"\s*,?\s(?:and|or)\s\s*", re.I)
_APPROXIMATELY = regex(
    r"\\approx(?![a-z])|\u2248|\\simeq|\\sim(?![a-z])|\bor\s+(?:about|approximately)\b|\(\s*(?:about|approximately)\b"
)
_UNCERTAIN = regex(
    rf"\b{any_word('maybe perhaps possibly either neither probably unsure unclear cannot')}\b|\?\s*$"
    r"|\b(?:could|may|might)\s+(?:also\s+)?be\b|\bused\s+to\s+be\b|\bno\s+longer\b",
    re.I,
)
_NEGATIONS = frozenset(
    "not or nor neither never cannot isnt arent wasnt doesnt cant wrong incorrect than except but eliminated "
    "excluded rejected ruled".split()
)
_OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
_BEFORE_WORDS = frozenset(
    "is are was were be as the a an called named by its in to answer label option choice: = ".split()
)
_LINKS = frozenset("of in on at for".split())  # within "Paris, the capital of France"
_EXCLUDED = regex(r"\b(?:besides|except|apart\s+from|other\s+than|another|else|both|two|three|all)\b", re.I)
_AFTER_WORDS = frozenset("is are was were because since as which for has have and, would will should".split())


class Decision(NamedTuple):
    """Whether an answer is right; None if that cannot be told, and ``why``.

    ``unsure``: a miss that compares only words, which may mean the same. ``formulas``: two formulas that are different
    texts, and may be equal as mathematics.
    """

    value: bool | None
    why: str | None = None
    unsure: bool = False
    formulas: tuple[Value, Value] | None = None


class Wanted(NamedTuple):
    """A reference as it is read: its kind ("option", "yes or no", "value", "words", "text" or "nothing")."""

    kind: str
    text: str = ""
    value: Value | None = None
    words: tuple[str, ...] = ()
    letter: str = ""


def decide(
    question: str,
    reference: str | None,
    answer: str,
    own: Sequence[re.Pattern[str]] = (),
    tolerance: float | None = None,
) -> Decision:
    """Whether an answer's final answer is the reference's (see final_answer.py).

    ``own`` are further patterns of final answers, and ``tolerance`` is the relative difference of equal numbers.
    """
    if reference is None:
        return Decision(None, NO_REFERENCE)
    reply = without_thoughts(answer)
    if reply is None:
        return Decision(None, "the thinking never ended")
    asked = about(question)
    wanted = read_reference(reference, question, tuple(own))
    if wanted.kind == "nothing":
        return Decision(None, NO_REFERENCE)
    if reply.strip() == reference.strip():
        return Decision(True)
    if wanted.kind == "text":
        return Decision(None, FREE_TEXT)
    final = _final_answer_of(reply, own)
    if isinstance(final, str):
        return Decision(None, final)
    return _compare(wanted, final, reply, asked, tolerance)


def _final_answer_of(reply: str, own: Sequence[re.Pattern[str]]) -> FinalAnswer | str:
    """The final answer of a reply without thoughts, or why it cannot be compared."""
    final = find_final_answer(reply, own)
    if final is None or not final.text.strip():
        return "the answer has no final answer"
    if len(final.text) > _LONGEST:
        return "the final answer is too long to compare"
    if final.doubt:
        return f"the answer has {final.doubt}" if "thoughts" in final.doubt else final.doubt
    return final


def _compare(wanted: Wanted, final: FinalAnswer, reply: str, asked: Question, tolerance: float | None) -> Decision:
    """Whether a final answer is the wanted one."""
    compare = {"option": _decide_option, "yes or no": _decide_yes_or_no, "value": _decide_value, "words": _decide_words}
    decision = compare[wanted.kind](wanted, final, reply, asked, tolerance)
    if decision.value is not True and wanted.letter and wanted.kind != "option":
        by_letter = _decide_option(wanted, final, reply, asked, tolerance)
        return by_letter if by_letter.value is not None else decision
    return decision


# --- two answers ------------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """What an answer says: its reply without thoughts, its final answer, and the same as a reference would be read."""

    reply: str
    final: FinalAnswer
    wanted: Wanted


def read_answer(
    question: str, answer: str, own: Sequence[re.Pattern[str]] = (), tolerance: float | None = None
) -> Said | str:
    r"""What an answer says, or why its final answer cannot be told. A final answer that can be told equals itself.

    >>> read_answer("How many?", r"So \boxed{4}").final.text, read_answer("How many?", "Perhaps 4, perhaps 5.")
    ('4', 'no single value can be read in the final answer: Perhaps 4, perhaps 5.')
    """
    reply = without_thoughts(answer)
    if reply is None:
        return "the thinking never ended"
    final = _final_answer_of(reply, own)
    if isinstance(final, str):
        return final
    if not re.search(r"\w", final.text):
        return "the answer has no final answer"
    asked = about(question)
    wanted = _wanted(final, asked)
    if wanted.kind == "words" and final.found_by == "last sentence":
        if re.search("[0-9]", final.text):
            return f"no single value can be read in the final answer: {final.text[:80]}"
        if _is_free_text(final.text, final):
            return "the final answer is a free text, which a rule cannot compare"
    decision = _compare(wanted, final, reply, asked, tolerance)
    if decision.value:
        return Said(reply, final, wanted)
    why = None if decision.unsure else decision.why
    return why or f"the final answer cannot be told: {final.text[:80]}"


def say_the_same(question: str, one: Said, other: Said, tolerance: float | None = None) -> bool:
    """Whether two final answers are certainly equal: each is compared as if the other were the reference."""
    asked = about(question)
    decisions = [
        _compare(ours.wanted, theirs.final, theirs.reply, asked, tolerance)
        for ours, theirs in ((one, other), (other, one))
    ]
    differ = any(decision.value is False and not decision.unsure for decision in decisions)
    return not differ and any(decision.value for decision in decisions)


# --- the reference ----------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def read_reference(reference: str, question: str, own: tuple[re.Pattern[str], ...] = ()) -> Wanted:
    r"""A reference as it is read. It is never doubted.

    >>> read_reference("2 + 2 is\n#### 4", "").value.number.value
    Fraction(4, 1)
    """
    final = find_final_answer(without_thoughts(reference) or reference, own)
    if final is None or not re.search(r"\w", final.text):
        return Wanted("nothing")
    if len(final.text) > _LONGEST or _is_free_text(reference, final):
        return Wanted("text")
    return _wanted(final, about(question))


def _wanted(final: FinalAnswer, asked: Question) -> Wanted:
    """A final answer as a reference is read."""
    text = final.text.strip()
    letter = _letter_of_reference(text, asked)
    words = tuple(_words(text))
    if letter and len(re.sub(r"\W|\\text\w*", "", text)) == 1:
        return Wanted("option", text, None, words, letter)
    if words and len(words) == 1 and words[0] in _OPPOSITES:
        return Wanted("yes or no", text, None, words, letter)
    values = [
        value
        for value in _values(final, asked, frozenset())
        if value.number or value.moment or not is_words(value.plain)
    ]
    if values and values[-1].number and _NAMED_NUMBER.fullmatch(text):
        return Wanted("words", text, None, words, letter)
    if values:
        return Wanted("value", text, values[-1], words, letter)
    if letter and re.match(r"\W*[A-J]\W", text):
        words = tuple(_words(re.sub(r"^\W*[A-J]\W+", "", text))) or words
    return Wanted("words", text, None, words, letter)


def _is_free_text(reference: str, final: FinalAnswer) -> bool:
    """Whether a reference without a mark is too long to have a final answer."""
    if final.found_by != "last sentence":
        return len(final.text.split()) > 3 * _MOST_WORDS and not re.search(r"\\|[0-9]", final.text)
    lines = [line for line in reference.split("\n") if line.strip()]
    is_long = len(reference.split()) > _MOST_WORDS or len(reference) > _MOST_CHARACTERS
    return (is_long and not _is_value_text(reference)) or (len(lines) > 1 and "\\" not in reference)


def _is_value_text(text: str) -> bool:
    return not is_words(plain_latex(text[: _MOST_CHARACTERS * 4]))


def _letter_of_reference(text: str, asked: Question) -> str:
    """The option that a reference names, by its letter or by its text; "" if it names none."""
    bare = plain_latex(text)
    match = re.fullmatch(r"\W*([A-J])\W*", bare) or re.match(r"\(?([A-J])(?:\)\.?|[.:])\s*(?=\S)", bare)
    if match and (
        match.end() == len(bare) or not asked.options or _same(bare[match.end() :], asked.options.get(match[1], ""))
    ):
        return match[1]
    return _option_with_text(bare, asked)


# --- values -----------------------------------------------------------------------------------------------------------


def _decide_value(wanted: Wanted, final: FinalAnswer, reply: str, asked: Question, tolerance: float | None) -> Decision:
    """Whether the answer's value is the reference's."""
    assert wanted.value is not None
    if _UNCERTAIN.search(final.text):
        return Decision(None, "the answer is not certain")
    known = frozenset(map(stem, wanted.words))
    values = _values(final, asked, known)
    if not values:
        return Decision(None, f"no single value can be read in the final answer: {final.text[:80]}")
    verdicts = [equal(wanted.value, value, asked, known, tolerance) for value in values]
    if any(verdict.value for verdict in verdicts):
        return Decision(True)
    last = verdicts[-1]
    if last.value is None or any(verdict.value is None for verdict in verdicts):
        undecided = next(verdict for verdict in reversed(verdicts) if verdict.value is None)
        formulas = (wanted.value, values[verdicts.index(undecided)])
        return Decision(None, undecided.why, False, formulas if any(map(has_formula, formulas)) else None)
    if final.found_by == "statement" and final.text.endswith("!"):
        return Decision(None, "the answer may be a factorial")
    if final.found_by == "last sentence" and _says(wanted.value.number, reply, final):
        return Decision(None, "the answer says the reference's number, but perhaps not as its final answer")
    return Decision(False)


def _says(number: Number | None, reply: str, final: FinalAnswer) -> bool:
    """Whether a reply that is not only its final answer says this number somewhere."""
    if number is None or (reply.strip() == final.text.strip() and not re.search(r"\s", reply.strip())):
        return False
    text = reply[-2_000:]
    places = (begin.start() for begin in NUMBER_BEGINS.finditer(text))
    found = (number_at(text, place) for place in places)
    return any(other is not None and other.value == abs(number.value) for other in found)


def _values(final: FinalAnswer, asked: Question, known: frozenset[str]) -> list[Value]:
    """The values that a final answer may stand for: one, or an exact and a rounded one; [] if that cannot be told."""
    text = final.text.strip()
    if final.found_by == "statement" or (final.found_by == "last sentence" and _WORD.search(text)):
        text = text.rstrip("!")
    whole = _whole_values(text)
    if whole or (final.found_by == "mark" and not (_WORD.search(text) and " " in text)):
        return whole
    if final.found_by != "last sentence":
        text = _CLAUSE.split(text)[0]
        whole = _whole_values(text)
        if whole:
            return whole
    segment = _only_formula(text, asked, known) or _after_verb(text)
    if segment:
        return segment
    prose = plain_prose(text)
    moment = only_moment(prose)
    if moment:
        return [Value(prose, moment=moment)]
    number = sentence_number(prose, asked, known)
    return [Value(text, number=number)] if number is not None else []


def plain_prose(text: str) -> str:
    """A sentence with its formulas as plain LaTeX, and its prices and thousands as they are."""
    text = text.replace("\\$", "$")
    if "\\" not in text and text.isascii():
        return text
    return plain_latex(re.sub(r"\$(?=\s?[0-9])", "\u00a4", text)).replace("\u00a4", "$").replace("dollar ", "$")


def _whole_values(text: str) -> list[Value]:
    """The values of a text that is nothing but a value; [] if it has words."""
    parts = [part for part in _APPROXIMATELY.split(text) if part.strip(" ()$")]
    values = [_whole_value(part.strip()) for part in parts]
    return [value for value in values if value is not None] if values and values[-1] is not None else []


def _whole_value(text: str) -> Value | None:
    text = re.sub(r"^(?:about|approximately|roughly|around|exactly|just|only|simply)\s+", "", text, flags=re.I)
    if text.endswith(("..", "\u2026")):
        return None
    number = read_number(text) if _AND.search(text) else None  # two hundred and five; x = 1 and x = 2 is a list
    value = Value(text, number=number) if number else read_value(_AND.sub(", ", text))
    if value.number is not None or value.moment is not None:
        return value
    if value.items is not None:
        return value if all(item.number or not is_words(item.plain) for item in value.items) else None
    return None if not value.plain or is_words(value.plain) or _CHINESE.search(value.plain) else value


def _only_formula(text: str, asked: Question, known: frozenset[str]) -> list[Value]:
    """The values of the only formula of a sentence; [] if it has several, or if the words beside it change it."""
    formulas = [match for match in _FORMULA.finditer(text) if _is_formula(match[3] or "")]
    if len(formulas) > 1 and all(_AND.fullmatch(f" {gap} ") or gap.strip() == "," for gap in _gaps(text, formulas)):
        value = _whole_value(", ".join("".join(filter(None, match.groups())) for match in formulas))
        return [value] if value else []
    if len(formulas) != 1:
        return []
    formula = formulas[0]
    before, after = text[: formula.start()], text[formula.end() :]
    if TIED.search(before.rstrip("-") + " ") or before.rstrip().endswith("-") or re.search(r"[0-9]", before + after):
        return []
    unit = re.match(r"\s*\(?((?:[A-Za-z\u00b0%]+\s?){0,4})", after)
    inner = "".join(filter(None, formula.groups()))
    if re.match(r"\s*(?:\\?%|percent|per\s+cent)", after):
        inner, unit = inner + r"\%", None
    if (unit and not is_harmless(unit[1], asked, known)) or any(map(asked.changes, WORD.findall(after))):
        return []
    return _whole_values(inner)


def _is_formula(in_dollars: str) -> bool:
    """Whether a text between dollar signs is a formula, and not a part of a sentence between two prices."""
    return not _WORD_IN_DOLLARS.search(in_dollars) or read_number(in_dollars.strip()) is not None


def _after_verb(text: str) -> list[Value]:
    """The formula or the list after the last "is" of a sentence; [] if it is anything else."""
    verbs = list(_VERB.finditer(text))
    if not verbs or _CONDITION.search(text):
        return []
    values = _whole_values(text[verbs[-1].end() :].strip())
    return values if values and all(value.number is None for value in values) else []


def _gaps(text: str, matches: Sequence[re.Match[str]]) -> list[str]:
    return [text[one.end() : other.start()] for one, other in zip(matches, matches[1:])]


# --- options ----------------------------------------------------------------------------------------------------------

_OPTION_FORMS = regex(
    any_of(
        r"^\W{0,3}([A-J])[\s).:,*\]}]*$",
        r"^\W{0,3}([A-J])(?:\s*[).:]|\s+[-\u2013]\s|,?\s+(?:because|since|as|is)\b)",
        r"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter|OPTION)\s*\W{0,3}([A-J])\b",
        r"\(([A-J])\)",
        r"\u9009\u9879?\s*([A-J])",
    )
)
_CHINESE_NOT = regex("\u4e0d(?:\u9009|\u6b63\u786e|\u662f|\u5bf9)|\u9519\u8bef|\u6392\u9664")
_BARE_LETTER = regex(r"(?<![A-Za-z'\u2019$\\])([B-HJ])(?![A-Za-z'\u2019])")
_OPTION_LINE = regex(r"^[\s*_>#-]{0,8}\(?([A-J])(?:\)\.?|[.:])[*_]{0,2}\s*(\S[^\n]*)$", re.M)


def _decide_option(
    wanted: Wanted, final: FinalAnswer, reply: str, asked: Question, tolerance: float | None
) -> Decision:
    """Whether the answer chooses the reference's option."""
    letter = _chosen_letter(final, asked)
    if not letter and final.found_by == "last sentence":
        letter = _letter_of_lines(reply, asked)
    if not letter:
        return Decision(None, f"the answer has no option that can be told: {final.text[:80]}")
    return Decision(letter == wanted.letter)


def _chosen_letter(final: FinalAnswer, asked: Question) -> str:
    """The letter of the option that a final answer chooses; "" if it chooses none, several, or negates one."""
    text = re.sub(r"[*_`\"\u201c\u201d]", "", plain_latex(final.text)).strip()
    matches = list(_OPTION_FORMS.finditer(text))
    letters = {str(next(filter(None, match.groups()))) for match in matches}
    if len(letters) == 1:
        letter = letters.pop()
        rest = text[matches[0].end() :].strip(" .:)(") if matches[0].start() == 0 else ""
        if rest and _same(rest, asked.options.get(letter, "")):
            return letter
        other = _option_with_text(rest, asked) if rest else ""
        others = set(_BARE_LETTER.findall(text)) - {letter}
        negated = _NEGATIONS.intersection(_words(text)) - {"but"}
        is_clause = re.match(r"(?:because|since|as|in|it|the|this|that|for)\b", rest, re.I)
        is_refused = (negated and not is_clause) or _CHINESE_NOT.search(text)
        return "" if (other and other != letter) or others or is_refused else letter
    if letters or _NEGATIONS.intersection(_words(text)):
        return ""
    return _option_with_text(text, asked) or _option_in_sentence(final, text, asked)


def _letter_of_lines(reply: str, asked: Question) -> str:
    """The letter of the only line that is an option with its text."""
    lines = _OPTION_LINE.findall(reply[:8_000])
    chosen = {letter for letter, text in lines if _same(text, asked.options.get(letter, ""))}
    return chosen.pop() if len(chosen) == 1 and len(lines) == 1 else ""


def _option_with_text(text: str, asked: Question) -> str:
    """The letter of the only option that has this text or value."""
    letters = [letter for letter, option in asked.options.items() if _same(text, option)]
    return letters[0] if len(letters) == 1 else ""


def _option_in_sentence(final: FinalAnswer, text: str, asked: Question) -> str:
    """The letter of the only option whose text ends a sentence, or whose number the sentence puts forward."""
    words = _words(text)
    ends = [
        letter
        for letter, option in asked.options.items()
        if _words(option) and words[-len(_words(option)) :] == _words(option)
    ]
    inside = [
        letter for letter, option in asked.options.items() if f" {' '.join(_words(option))} " in f" {' '.join(words)} "
    ]
    if len(ends) == 1 and len(inside) == 1:
        return ends[0]
    values = _values(final, asked, frozenset())
    if not values:
        return ""
    letters = [
        letter
        for letter, option in asked.options.items()
        if (value := _option_value(option)) is not None and equal(value, values[-1], asked).value
    ]
    return letters[0] if len(letters) == 1 else ""


def _option_value(option: str) -> Value | None:
    return _whole_value(option)


def _same(text: str, option: str) -> bool:
    """Whether a text is an option's text, as words or as a value."""
    if not option:
        return False
    if _words(text) == _words(option) and _words(option):
        return True
    ours, theirs = _whole_value(option), _whole_value(text)
    return ours is not None and theirs is not None and equal(ours, theirs, about("")).value is True


# --- yes and no, and other words --------------------------------------------------------------------------------------


def _decide_yes_or_no(
    wanted: Wanted, final: FinalAnswer, reply: str, asked: Question, tolerance: float | None
) -> Decision:
    """Whether the answer says yes where the reference does; true and false are other words."""
    word = wanted.words[0]
    pair = {word, _OPPOSITES[word]}
    said = _yes_or_no(_words(final.text), pair)
    if said is None and final.found_by == "last sentence" and not pair.intersection(_words(final.text)):
        said = _yes_or_no(_words(reply[:200].split("\n")[0]), pair)
    if said is None:
        return Decision(None, f"the answer says neither {word} nor {_OPPOSITES[word]} for certain")
    return Decision(said == word)


def _yes_or_no(words: list[str], pair: set[str]) -> str | None:
    """The word of this pair that words begin or end with, if the other word is not among them."""
    said = pair.intersection(words)
    if len(said) != 1 or _UNCERTAIN.search(" ".join(words)):
        return None
    word = said.pop()
    if words[0] == word and (len(words) == 1 or words[1] not in ("one", "more", "doubt", "matter", "longer")):
        return word
    is_last = words[-1] == word and len(words) > 1 and words[-2] in ("is", "are", "be", "answer")
    return word if is_last and not _NEGATIONS.intersection(words[:-1]) and words.count(word) == 1 else None


def _decide_words(wanted: Wanted, final: FinalAnswer, reply: str, asked: Question, tolerance: float | None) -> Decision:
    """Whether the answer's words are the reference's."""
    ours, links = list(wanted.words), ("and",) if "," in wanted.text + final.text else ()
    text = re.sub(r"^\W{0,3}[A-J][).:]+\s+(?=\S)", "", plain_latex(final.text).strip("*_ "))
    words, ours = ([word for word in some if word not in links] for some in (_words(text), ours))
    if ours in (words, _words(text.rpartition(": ")[2])) or _is_rotated(words, ours, asked):
        return Decision(True)
    doubts = _NEGATIONS.intersection(words).difference(ours)
    if doubts or _UNCERTAIN.search(text):
        return Decision(None, f"the answer is not certain: {final.text[:80]}")
    if _begins_or_ends_in(words, ours) or _is_followed_by_the_question(words, ours, asked):
        return Decision(True)
    if f" {' '.join(ours)} " in f" {' '.join(words)} ":
        return Decision(None, f"the answer says more than the reference: {final.text[:80]}")
    if sorted(map(stem, ours)) == sorted(map(stem, words)):
        return Decision(None, f"the same words in another order or form: {final.text[:80]}")
    return Decision(False, "the words differ, but may mean the same", unsure=True)


def _begins_or_ends_in(words: list[str], wanted: list[str]) -> bool:
    """Whether a sentence begins or ends in these words, beside a word such as "is", and holds them once."""
    size = len(wanted)
    if len(words) <= size or f" {' '.join(words)} ".count(f" {' '.join(wanted)} ") != 1:
        return False
    if words[-size:] == wanted:
        return words[-size - 1] in _BEFORE_WORDS and not {"and", "both", "to", "&"}.intersection(words[:-size][-3:])
    return words[:size] == wanted and words[size] in _AFTER_WORDS and "and" not in words


def _is_followed_by_the_question(words: list[str], wanted: list[str], asked: Question) -> bool:
    """Whether only words of the question follow the wanted ones, as in "the capital of France is Paris, France".

    Where the question itself says the wanted words, or excludes something, the words after them may be a second answer.
    """
    place = next((place for place in range(len(words)) if words[place : place + len(wanted)] == wanted), None)
    if place is None or (place and words[place - 1] not in _BEFORE_WORDS) or asked.words.issuperset(map(stem, wanted)):
        return False
    rest = words[place + len(wanted) :]
    known = all(word in _LINKS or stem(word) in asked.words for word in rest)
    return known and not _EXCLUDED.search(asked.text) and " ".join(words).count(" ".join(wanted)) == 1


def _is_rotated(words: list[str], wanted: list[str], asked: Question) -> bool:
    """Whether "the condition is necessary" stands for "a necessary condition", or for "necessary" if asked so."""
    for verb in ("is", "are"):
        if verb in words:
            place = words.index(verb)
            subject, said = words[:place], words[place + 1 :]
            if len(said) > 0 and (said + subject == wanted or said + subject[-1:] == wanted):
                return True
    is_noun = len(wanted) > 2 and asked.noun != "" and stem(wanted[-1]) == asked.noun
    return is_noun and words == wanted[:-1]


def _words(text: str) -> list[str]:
    """Lower-case words without markup and punctuation, and without articles unless there are only articles."""
    text = re.sub(r"(?<=\b[A-Z])\.(?=[A-Z]\b\.?)", "", text)  # U.S.A.
    text = re.sub(r"n['\u2019]t\b", " not", text.lower())
    text = re.sub(
        r"\\(?:text|mathrm)(?:bf|rm|it)?\b|[\"'\u2019*_`$\\{}()\[\]<>!?;\u201c\u201d\u3002\uff0c\u300c\u300d]|:(?!\d)|,(?!\d)|\.(?!\d)",
        " ",
        text,
    )
    words = text.split()
    return [word for word in words if word not in ("a", "an", "the")] or words
