"""A pattern is compiled at its first use. Each example of a table needs its rule, and is read as its verdict says."""

from __future__ import annotations

import pickle
import re
from typing import Callable, Optional, Sequence

import pytest

from common.patterns import Rule, either, regex
from common.scoring.answer_value import Value, read_value
from common.scoring.final_answer import SECOND_THOUGHTS, STATEMENTS, find_final_answer
from common.scoring.math_equal import MISREAD, compare_formulas
from common.scoring.question import about
from common.scoring.sentence_number import TAILS, TIE_RULES, sentence_number


def final_text(text: str) -> Optional[str]:
    """The final answer of a text."""
    final = find_final_answer(text)
    return None if final is None else final.text


def doubt_in(text: str) -> Optional[str]:
    """The doubt of a text that ends after its statement."""
    final = find_final_answer(f"The answer is {text}")
    return None if final is None else final.doubt


def number_in(text: str) -> object:
    """The number of a sentence."""
    return sentence_number(text, about(""))


def verdict_on(text: str) -> object:
    """The verdict on a formula that math-verify would misread."""
    return compare_formulas(read_value(text)._replace(plain=text), Value("7")).value


TABLES = [
    (STATEMENTS, re.I | re.M, final_text),
    (SECOND_THOUGHTS, re.I, doubt_in),
    (TIE_RULES, re.I, number_in),
    (TAILS, re.I, number_in),
    (MISREAD, 0, verdict_on),
]


@pytest.mark.parametrize(("rules", "flags", "read"), TABLES)
def test_each_example_needs_its_rule_and_is_read_as_its_verdict_says(
    rules: Sequence[Rule], flags: int, read: Callable[[str], object]
) -> None:
    for rule in rules:
        assert re.search(rule.pattern, rule.example, flags), rule.name
        assert read(rule.example) == rule.verdict, rule.name


@pytest.mark.parametrize(("rules", "flags", "read"), TABLES)
def test_the_rules_of_a_table_have_names_of_their_own_and_make_one_pattern(
    rules: Sequence[Rule], flags: int, read: object
) -> None:
    assert len({rule.name for rule in rules}) == len(rules)
    re.compile(either(rules), flags)


def test_a_pattern_is_compiled_at_its_first_use_and_once() -> None:
    wrong = regex("(")
    with pytest.raises(re.error):
        wrong.search("(")
    year = regex(r"\b[12][0-9]{3}\b", re.I)
    assert year.search("in 1815") is not None
    assert year.search is year.search
    assert (year.sub("Y", "1815-1852"), year.flags & re.I) == ("Y-Y", re.I)
    assert pickle.loads(pickle.dumps(year)).findall("from 1815") == ["1815"]
