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
import math
import os
import re
import sys
from typing import Any, Callable, Collection, Iterable, Iterator, Mapping, NoReturn, Sequence

from .errors import nearest, printable
from .streams import say

OF_OTHER_TOOLS = dict.fromkeys(  # the names by which other tools call a flag
    "n num_samples n_samples num_answers num_generations num_return_sequences best_of".split(), "answers_per_question"
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one printable line, and which minds no closed stream.

    No flag can be abbreviated. ``basic`` holds the destinations of the flags that ``--help`` shows; if it is empty,
    ``--help`` shows all. ``others`` makes the parsers of the other commands, for the hints of unknown flags.
    """

    basic: Collection[str] = ()
    others: Callable[[], Iterable[Parser]] = tuple

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """As argparse does it. But an unknown flag is refused first, with the name of one that it resembles."""
        words = sys.argv[1:] if args is None else list(args)
        self.given_flags(words)
        found: argparse.Namespace = super().parse_args(words, namespace)
        return found

    def given_flags(self, words: Sequence[str]) -> dict[str, str]:
        """The flags among the words of a command line: their destinations, and how the user wrote them.

        Ends the program if one is unknown, or if two names of one flag are there.
        """
        given: dict[str, str] = {}
        for name in _flags_among(words, self._option_string_actions):
            if name not in self._option_string_actions:
                self.error(f"unrecognized arguments: {name}{self.hint(name, self._option_string_actions)}")
            destination = self._option_string_actions[name].dest
            if given.setdefault(destination, name) != name:
                self.error(f"{given[destination]} and {name} are two names of one flag; give one of them")
        return given

    def hint(self, name: str, known: Mapping[str, argparse.Action]) -> str:
        """A hint for an unknown name of a flag, if there is one; ``known`` are the flags that may be meant.

        A name of another command or tool means the flag here that has its destination. Else it is that command's flag.
        """
        written = name.lstrip("-")
        key = written.replace("-", "_")
        key = OF_OTHER_TOOLS.get(key, key)
        elsewhere = self._elsewhere()
        here = {action.dest: own for own, action in reversed(list(known.items()))}
        near = key if key in here or key in elsewhere else nearest(name, [*known, *elsewhere])
        if near is None:
            return ""
        destinations = (near, *elsewhere.get(near, {}).values())
        own = near if near in known else next((here[one] for one in destinations if one in here), None)
        if own is not None:
            return f"; did you mean {own}?"
        commands = " and ".join(elsewhere[near])
        dashes = "--" if name.startswith("-") else ""
        if near == written:
            return f"; it is a flag of {commands}"
        return f"; did you mean {dashes}{near}, a flag of {commands}?"

    def _elsewhere(self) -> dict[str, dict[str, str]]:
        """The flags of other commands only, without dashes: by each, two commands and its destination there."""
        found: dict[str, dict[str, str]] = {}
        for parser in self.others():
            for name, destination in parser.flags().items():
                commands = found.setdefault(name, {})
                if len(commands) < 2:
                    commands[parser.prog] = destination
        return {name: commands for name, commands in found.items() if name not in self.flags()}

    def flags(self) -> dict[str, str]:
        """The names of all flags, without their dashes, and their destinations."""
        shown = {n: a for n, a in self._option_string_actions.items() if a.help != argparse.SUPPRESS}
        return {name.lstrip("-"): action.dest for name, action in shown.items()}

    def format_help(self) -> str:
        """The help of the basic flags."""
        return self.help_of(lambda action: not self.basic or action.dest in self.basic)

    def help_of(self, shows: Callable[[argparse.Action], bool]) -> str:
        """The help of the flags for which ``shows`` holds, by group."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments([action for action in group._group_actions if shows(action)])
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"{self.prog}: error: {message} (see {self.prog} --help)") + "\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        say(message[:-1] if message.endswith("\n") else message, file or sys.stderr)


class HelpAll(argparse.Action):
    """The flag that shows the help of all flags."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, Parser)
        parser._print_message(parser.help_of(lambda action: True), sys.stdout)
        parser.exit()


def _flags_among(words: Sequence[str], known: Collection[str]) -> Iterator[str]:
    """The words that argparse takes for flags, without their values. A word with a space can only be a value."""
    for word in words:
        if word == "--":
            return
        name = word if word in known else word.partition("=")[0]
        if name in known or (re.match("--?[A-Za-z]", word) and " " not in word):
            yield name


def path(text: str) -> str:
    """A flag's type: the path of a file or a folder, in which ``~`` is the user's home.

    >>> path("data/input.json")
    'data/input.json'
    """
    return os.path.expanduser(text)


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


UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def duration(text: str) -> float:
    """A flag's type: a time, in seconds.

    >>> duration("8h"), duration("1h30m"), duration("0.5s")
    (28800.0, 5400.0, 0.5)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    seconds = math.fsum(float(number) * UNITS[unit] for number, unit in parts)
    order = [unit for _, unit in parts]
    if "".join(map("".join, parts)) != text or order != [unit for unit in UNITS if unit in order] or seconds <= 0:
        raise argparse.ArgumentTypeError(f"must be a time such as 8h, 90m, 1h30m or 2d, not {text!r}")
    return seconds


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
