"""``--config FILE``: flags by name in YAML, TOML or JSON. The command line wins.

The settings file that a run writes beside its output can be read back, see run_settings.py.

Example: ``args = parse(COMMANDS["sample"].make_parser(), ["--config", "job.yaml", "--output_file", "out.jsonl"])``
"""

from __future__ import annotations

import argparse
from typing import Collection, Sequence

from ..errors import UsageError
from ..flag_types import Parser
from ..flag_types import path as expanded
from .effects import Source
from .run_settings import flags_of_settings, is_settings
from .value_files import read_values, value_of

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
    values = read_values("--config", path)
    if not isinstance(values, dict):
        raise UsageError(f"--config {path} must hold names of flags with their values")
    if is_settings(values):
        values = flags_of_settings(values, path, {action.dest for action in actions.values()}, named)
        actions = {action.dest: action for action in actions.values()}
    groups = alternatives(is_scorer_only="generator_port" not in {action.dest for action in actions.values()})
    taken_away = {flag for group in groups if group & set(named) for flag in group} | set(named)
    sources: dict[str, Source] = {}
    for key, value in values.items():
        if key not in actions:
            raise UsageError(f"{path}: no flag is named {key!r}{parser.hint(str(key), actions)}")
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
    of_role = [{"local", *judge}] if is_scorer_only else [{"local", *generator}, {"local", "generators"}, judge]
    return [{"local", "ray"}, *of_role]
