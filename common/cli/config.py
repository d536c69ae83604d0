"""``--config FILE``: flags by name in YAML, TOML or JSON. The command line wins.

The settings file that a run writes beside its output can be read back, see run_settings.py.

Example: ``args = parse(COMMANDS["sample"].make_parser(), ["--config", "job.yaml", "--output_file", "out.jsonl"])``
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Callable, Collection, Sequence

from ..errors import UsageError, did_you_mean
from ..extras import require
from ..flag_types import Parser
from ..flag_types import path as expanded
from .effects import Source
from .run_settings import flags_of_settings, is_settings

NOT_IN_A_FILE = {"help", "help_all", "version", "config", "print_judge_prompt"}
NEEDS_NO_FILES = {"print_judge_prompt"}  # flags of which one is enough
INSTEAD = {"input_file": {"calibrate"}}  # by a flag that must be given: those of which one may be given instead


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """The values of the flags of a command line and of its ``--config`` file.

    ``given`` in the result holds the Source of each flag whose value is not its default. UsageError if the file cannot
    be read, or holds an unknown name or a wrong value.
    """
    named = parser.given_flags(words)
    namespace, sources = argparse.Namespace(), {}
    for action in parser._actions:
        if named.keys() & (NEEDS_NO_FILES | INSTEAD.get(action.dest, set())):
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
        for required in actions.values():
            if required is action or action.dest in INSTEAD.get(required.dest, ()):
                required.required = False
        if action.dest not in taken_away and converted is not False:
            setattr(namespace, action.dest, converted)
            sources[action.dest] = Source(key, in_file=True)
    if {"local", "ray"} <= sources.keys():
        raise UsageError(f"{path}: local and ray exclude each other; keep one")
    return {flag: source._replace(name=f"{path}: {source.name}") for flag, source in sources.items()}


def alternatives(is_scorer_only: bool) -> list[set[str]]:
    """The flags of which one on the command line takes others away: where the entries are processed, and by which
    servers."""
    judge, generator = ({f"{role}_port", f"{role}_base_url"} for role in ("scorer", "generator"))
    return [{"local", "ray"}, *([{"local", *judge}] if is_scorer_only else [{"local", *generator}, judge])]


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
        _check_once(_keys_of_yaml(yaml.compose(text, Loader=yaml.SafeLoader)), path)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--config {path} is not YAML: {error}") from error
    return {} if values is None else values


def _keys_of_yaml(node: Any) -> list[str]:
    """The keys of the mapping that a YAML file holds."""
    pairs = node.value if node is not None and node.id == "mapping" else []
    return [str(key.value) for key, _ in pairs if key.id == "scalar"]


def _check_once(keys: Sequence[str], path: str) -> None:
    """UsageError if a key is there twice."""
    twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
    if twice is not None:
        raise UsageError(f"--config {path} has {twice} twice; keep one")


def _read_toml(text: str, path: str) -> Any:
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli", f"--config {path}", "config")
    try:
        return toml.loads(text)
    except (toml.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"--config {path} is not TOML: {error}") from error


def _read_json(text: str, path: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path} is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]], path: str) -> dict[str, Any]:
    _check_once([key for key, _ in pairs], path)
    return dict(pairs)


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
    if isinstance(value, list) and str(action.metavar).endswith(",..."):
        value = ",".join(map(str, value))  # the flag takes its values with commas between
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
