"""Long regular expressions, written as tables with one alternative per line, each with an example that is its test.

>>> any_of("colou?r", any_word("light shade"))
'(?:colou?r|(?:light|shade))'
>>> either([Rule("colour", "colou?r", "my color", True), Rule("shade", "shades?", "a shade", True)])
'(?:colou?r|shades?)'
"""

from __future__ import annotations

from typing import NamedTuple, Sequence


class Rule(NamedTuple):
    """One alternative of a long pattern.

    ``example`` is a text that needs this alternative, and ``verdict`` is the reading of that text. The module of the
    table says which reading: a test holds each example against its verdict.
    """

    name: str
    pattern: str
    example: str
    verdict: object


def either(rules: Sequence[Rule]) -> str:
    """The pattern that matches one of these rules; the first that matches counts."""
    return any_of(*(rule.pattern for rule in rules))


def any_of(*alternatives: str) -> str:
    """The pattern that matches one of these patterns; the first that matches counts."""
    return f"(?:{'|'.join(alternatives)})"


def any_word(words: str) -> str:
    """The pattern that matches one of these words; each may be a pattern itself, and a space ends it."""
    return any_of(*words.split())
