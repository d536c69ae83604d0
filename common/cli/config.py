"""``--config FILE``: flags by name in YAML, TOML or JSON. The command line wins.

The settings file that a run writes beside its output can be read back: it holds what made the answers and the scores.
It names neither files nor servers.

Example: ``args = parse(COMMANDS["sample"].make_parser(), ["--config", "job.yaml", "--output_file", "out.jsonl"])``
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from typing import Any, Callable, Collection, Mapping, Sequence

from ..errors import UsageError, did_you_mean
from ..extras import require
from ..flag_types import Parser
from ..flag_types import path as expanded
from ..records import fingerprint
from ..scoring.judge import MAX_TOKENS
from ..scoring.judge_prompt import ENDINGS, JUDGE_PROMPT
from ..scoring.scorers import SCORERS
from ..storage.result_files import WRITTEN
from .effects import Source

NOT_IN_A_FILE = {"help", "help_all", "version", "config", "print_judge_prompt"}
NEEDS_NO_FILES = {"print_judge_prompt"}  # flags of which one is enough


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """The values of the flags of a command line and of its ``--config`` file.

    ``given`` in the result holds the Source of each flag whose value is not its default. UsageError if the file cannot
    be read, or holds an unknown name or a wrong value.
    """
    named = parser.given_flags(words)
    namespace, sources = argparse.Namespace(), {}
    if named.keys() & NEEDS_NO_FILES:
        for action in parser._actions:
            action.required = False
    if "config" in named and not named.keys() & {"help", "help_all", "version"}:
        path = _config_of(parser, words)
        sources = _set_from_file(parser, path, named, namespace)
    args = parser.parse_args(words, namespace)
    sources.update({flag: Source(name) for flag, name in named.items()})
    args.given = {flag: source for flag, source in sources.items() if _is_changed(parser, args, flag)}
    return args


def _is_changed(parser: Parser, args: argparse.Namespace, flag: str) -> bool:
    return flag in vars(args) and vars(args)[flag] != parser.get_default(flag)


def _config_of(parser: Parser, words: Sequence[str]) -> str:
    """The file after --config."""
    finder = Parser(prog=parser.prog, add_help=False)
    finder.add_argument("--config", type=expanded)
    return str(finder.parse_known_args(words)[0].config)


def _set_from_file(
    parser: Parser, path: str, named: Collection[str], namespace: argparse.Namespace
) -> dict[str, Source]:
    """Sets the flags of a file, without those that the command line takes away; returns where each was given."""
    actions = {
        name.lstrip("-"): action
        for name, action in parser._option_string_actions.items()
        if name.startswith("--") and action.dest not in NOT_IN_A_FILE
    }
    values = read_config(path)
    if is_settings(values):
        values = flags_of_settings(values, path, {action.dest for action in actions.values()}, named)
        actions = {action.dest: action for action in actions.values()}
    groups = alternatives(is_scorer_only="generator_port" not in {action.dest for action in actions.values()})
    taken_away = {flag for group in groups if group & set(named) for flag in group} | set(named)
    sources: dict[str, Source] = {}
    for key, value in values.items():
        if key not in actions:
            raise UsageError(f"{path}: no flag is named {key!r}{did_you_mean(str(key), actions)}")
        action = actions[key]
        if action.dest in sources:
            raise UsageError(f"{path}: {sources[action.dest].name} and {key} are two names of one flag; keep one")
        if value is None:
            continue
        converted = value_of(action, value, f"{path}: {key}")
        action.required = False
        if action.dest not in taken_away and converted is not False:
            setattr(namespace, action.dest, converted)
            sources[action.dest] = Source(key, in_file=True)
    _refuse_alternatives(path, sources, groups)
    return {flag: source._replace(name=f"{path}: {source.name}") for flag, source in sources.items()}


def alternatives(is_scorer_only: bool) -> list[set[str]]:
    """The flags of which one excludes the others: where the first role's servers are, and where the judge's are."""
    judge, generator = ({f"{role}_port", f"{role}_base_url"} for role in ("scorer", "generator"))
    return [{"local", "ray"}, *([{"local", *judge}] if is_scorer_only else [{"local", *generator}, judge])]


def _refuse_alternatives(path: str, sources: Mapping[str, Source], groups: Collection[set[str]]) -> None:
    """UsageError if a file holds flags that exclude each other."""
    for group in groups:
        both = sorted(sources[flag].name for flag in group & sources.keys())
        if len(both) > 1:
            raise UsageError(f"{path}: {' and '.join(both)} exclude each other; keep one")


def read_config(path: str) -> dict[Any, Any]:
    """What a file of YAML, TOML or JSON holds, by its ending. UsageError if it is not names with values."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in READERS:
        raise UsageError(f"--config {path}: its name must end in {', '.join(READERS)}")
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    values = READERS[ending](text, path)
    if not isinstance(values, dict):
        raise UsageError(f"--config {path} must hold names of flags with their values")
    return values


def _read_yaml(text: str, path: str) -> Any:
    yaml = require("yaml", f"--config {path}", "config")
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--config {path} is not YAML: {error}") from error
    return {} if values is None else values


def _read_toml(text: str, path: str) -> Any:
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli", f"--config {path}", "config")
    try:
        return toml.loads(text)
    except (toml.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"--config {path} is not TOML: {error}") from error


def _read_json(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path} is not JSON: {error}") from error


READERS: dict[str, Callable[[str, str], Any]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": _read_toml,
    ".json": _read_json,
}


def value_of(action: argparse.Action, value: Any, place: str) -> Any:
    """The value of a flag as the command line would give it; ``place`` begins the UsageError if it is wrong."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{place}: must be true or false, not {value!r}")
        return value
    if action.nargs == "?" and isinstance(value, bool):
        return action.const if value else None
    if action.nargs == "+":
        values = value if isinstance(value, list) else [value]
        if not values:
            raise UsageError(f"{place}: must not be an empty list")
        return [_one_value(action, one, place) for one in values]
    return _one_value(action, value, place)


def _one_value(action: argparse.Action, value: Any, place: str) -> Any:
    """One value of a flag, through the flag's type."""
    if isinstance(value, dict):
        value = json.dumps(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"{place}: must be a number or a text (in quotes), not {json.dumps(value, default=str)}")
    try:
        converted = action.type(str(value)) if callable(action.type) else str(value)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{place}: {error}") from error
    if action.choices is not None and converted not in action.choices:
        raise UsageError(f"{place}: must be one of {', '.join(map(str, action.choices))}, not {value!r}")
    return converted


# the settings file of a run


def is_settings(values: Mapping[Any, Any]) -> bool:
    """Whether a file's values are the settings that a run wrote beside its output.

    >>> is_settings({"generator model": "m", "written": {}}), is_settings({"temperature": 1})
    (True, False)
    """
    return WRITTEN in values or any(re.match("(generator|scorer) ", str(name)) for name in values)


def flags_of_settings(
    settings: Mapping[str, Any], path: str, flags: Collection[str], named: Collection[str]
) -> dict[str, Any]:
    """The flags, by destination, that make a run with these settings. What this command has no flag for is left out.

    UsageError if the judge had a prompt of the user's own, which settings do not hold, and ``named`` lacks one too.
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        role, space, rest = name.partition(" ")
        flag = next((one for one in (f"{role}_{rest}", rest if space else name) if one in flags), None)
        if flag is not None:
            found[flag] = value
    if "scorer" in found:
        found["scorer"] = re.split(f" (?=(?:{'|'.join(SCORERS)})(?:[ :]|$))", found["scorer"])
    mode = settings.get("scorer judge_mode")
    if "judge_mode" in found and mode in ENDINGS:
        _leave_out_judge_defaults(found, mode)
        is_ours = settings.get("scorer prompt") == fingerprint(JUDGE_PROMPT + ENDINGS[mode])
        if not (is_ours or {"judge_prompt", "scorer"} & set(named)):
            raise UsageError(
                f"{path} does not hold the judge's prompt, which was not ours: name it with --judge_prompt"
            )
    return found


def _leave_out_judge_defaults(found: dict[str, Any], mode: str) -> None:
    """Removes what the judge's other flags give by themselves."""
    if found.get("judge_temperature") == float(found.get("judge_samples", 1) > 1):
        del found["judge_temperature"]
    if found.get("judge_max_tokens") == MAX_TOKENS[mode]:
        del found["judge_max_tokens"]
