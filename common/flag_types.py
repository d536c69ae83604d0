"""A parser of command lines, and types of flags: each takes the text of a flag and gives its value, or says what is
allowed.

>>> int_between(1)("7")
7
>>> float_between(0, 1)("0.5")
0.5
>>> json_object('{"top_k": 1}')
{'top_k': 1}
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Callable, NoReturn

from .errors import printable
from .streams import say


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one printable line, and which minds no closed stream."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"{self.prog}: error: {message} (see {self.prog} --help)") + "\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        say(message[:-1] if message.endswith("\n") else message, file or sys.stderr)


def int_between(low: int, high: int | None = None) -> Callable[[str], int]:
    """A flag's type: a whole number from ``low`` to ``high`` (None: without an upper limit)."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            bounds = f"{low} to {high}" if high is not None else f"{low} or more"
            raise argparse.ArgumentTypeError(f"must be a whole number, {bounds}, not {text!r}")
        return value

    return parse


def float_between(low: float, high: float = float("inf")) -> Callable[[str], float]:
    """A flag's type: a finite number from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high or value == float("inf"):
            bounds = f"{low:g} to {high:g}" if high != float("inf") else f"{low:g} or more"
            raise argparse.ArgumentTypeError(f"must be a number, {bounds}, not {text!r}")
        return value

    return parse


class Default(float):
    """The default of a flag whose value may be refused: it tells from the same number that a user wrote."""

    def __repr__(self) -> str:
        return f"{float(self):g}"


def is_given(value: float) -> bool:
    """Whether a value of a flag with a ``Default`` was written by the user.

    >>> is_given(Default(10)), is_given(10.0)
    (False, True)
    """
    return not isinstance(value, Default)


finite = float_between(-1e308, 1e308)


def json_object(text: str) -> dict[str, Any]:
    """A flag's type: a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object, not {text!r}")
    return value
