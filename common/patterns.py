"""Regular expressions: compiled at their first use, and long ones written as tables with an example per alternative.

A command imports many modules and uses few of their patterns, and to compile them all takes longer than a small run.

>>> YEAR = regex("[12][0-9]{3}")
>>> YEAR.findall("from 1815 to 1852")  # compiled here
['1815', '1852']
>>> any_of("colou?r", any_word("light shade"))
'(?:colou?r|(?:light|shade))'
>>> either([Rule("colour", "colou?r", "my color", True), Rule("shade", "shades?", "a shade", True)])
'(?:colou?r|shades?)'
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, NamedTuple, Sequence, cast


def regex(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """What re.compile returns, compiled at its first use: for the constants of a module."""
    return cast("re.Pattern[AnyStr]", _CompiledLater(text, flags))


class _CompiledLater:
    """Gets each method of its compiled pattern when that is first asked for, and keeps it as an attribute."""

    def __init__(self, text: object, flags: int) -> None:
        self._source = text, flags

    def __getattr__(self, name: str) -> Any:  # Python asks for what is not an attribute yet
        value = getattr(re.compile(*self._source), name)  # type: ignore[call-overload]
        setattr(self, name, value)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return regex, self._source


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
