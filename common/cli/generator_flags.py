"""Several generators: by ``--generator_model A B``, or by ``--generators FILE``.

Each generator is the flags with values of its own. So all that follows makes one generator from a Namespace.

A file is a list, or has it under ``generators``:

    - {model: qwen, port: 8000, weight: 3}
    - {model: gpt-4o-mini, base_url: https://api.openai.com/v1, api_key_env: OPENAI_API_KEY, temperature: 1.0}

Example: ``[one.generator_model for one in each_generator(args, role)]``
"""

from __future__ import annotations

import argparse
from typing import Any, Dict, List, Mapping, Sequence

from ..errors import UsageError, did_you_mean
from ..flag_types import Parser, float_between
from ..running.turns import PARTS
from . import flags
from .effects import Source
from .flags import Role
from .value_files import read_values, value_of

LABEL, WEIGHT = "generator_name", "generator_weight"  # where a Namespace has these
OF_SERVERS = ("port", "base_url")
MOST_WEIGHT = 100
MAY_BE_NULL = ("temperature", "top_p", "max_tokens", "system_prompt", "concurrency")  # null: not that of the flag
KEYS = ("name", "weight", "model", "port", "base_url", "api_key_env", "extra_body", *MAY_BE_NULL)

Own = Dict[str, Any]  # the values of one generator that are not those of the flags, by the flags' destinations


def each_generator(args: argparse.Namespace, role: Role) -> List[argparse.Namespace]:
    """The flags of each generator: those of the command, and what its file or the place of its model says.

    UsageError if the file is wrong, or if there are not as many servers as generators, or one for all.
    """
    own = _of_file(args, role) if args.generators is not None else _of_flags(args, role)
    if len(own) > 1:
        _check_several(args, role, own)
        own = [{**_servers(args, role, place, own), **one} for place, one in enumerate(own)]
    weights = [one.get(WEIGHT) or 1.0 for one in own]
    slots = [_slots(args, weights, place) for place in range(len(own))]
    return [argparse.Namespace(**{**vars(args), **some, **one}) for some, one in zip(slots, own)]


def rounds_text(args: argparse.Namespace) -> str | None:
    """What to say if --samples_per_request has little effect, since each round of an entry is shared out; else None."""
    count, choices = len(args.each_generator), args.samples_per_request
    by_rounds = next((flag for flag in ("target_accepted", "breadth") if vars(args)[flag]), None)
    if by_rounds is None or not 1 < choices <= count:
        return None
    return (
        f"--samples_per_request {choices}: with --{by_rounds}, an entry's rounds of {choices} answers are shared out "
        f"among {count} generators, so most requests have one choice"
    )


def _servers(args: argparse.Namespace, role: Role, place: int, own: Sequence[Own]) -> Own:
    """The servers that the flags name for one of several generators, unless it has its own."""
    if any(own[place].get(f"{role.name}_{name}") for name in OF_SERVERS):
        return {}
    found = servers_of(args, role, place, len(own))
    return {f"{role.name}_{name}": value for name, value in found.items()}


def _slots(args: argparse.Namespace, weights: Sequence[float], place: int) -> Own:
    """A generator's part of the concurrency of its role, by its weight; at least 1."""
    if args.concurrency is None or len(weights) == 1:
        return {}
    before, after = (round(args.concurrency * sum(weights[:end]) / sum(weights)) for end in (place, place + 1))
    return {"concurrency": max(1, after - before)}


def servers_of(args: argparse.Namespace, role: Role, place: int, models: int) -> dict[str, Any]:
    """The ports or the base URLs of one of several models, by the names of their flags; none if no flag names any."""
    ranges: Any = role.value(args, "port") or []
    named: Any = role.value(args, "base_url") or []
    ports = [[port] for one in ranges for port in one]
    if len(ports) != models and len(ranges) == models:
        ports = ranges  # each model has several servers
    for name, flag, servers in (("port", role.port_flag, ports), ("base_url", role.url_flag, named)):
        if len(servers) not in (0, 1, models):
            raise UsageError(f"{flag} names {len(servers)} servers for {models} models: name {models}, or one for all")
        if servers and not (ranges and named):
            return {name: [servers[place if len(servers) > 1 else 0]]}
    return {}


def _of_flags(args: argparse.Namespace, role: Role) -> List[Own]:
    """A generator per model that the flag names."""
    models: Any = role.value(args, "model") or []
    if len(set(models)) < len(models):
        raise UsageError(f"{role.model_flag} {' '.join(models)} names a model twice")
    return [{f"{role.name}_model": [model]} for model in models] or [{}]


def _check_several(args: argparse.Namespace, role: Role, own: Sequence[Own]) -> None:
    """UsageError if the run cannot have several generators."""
    if args.local is not None:
        raise UsageError(f"there are {len(own)} generators, and the embedded server of --local has one model")
    batch = next((name for name in ("batch_out", "batch_in", "batch_submit") if vars(args)[name]), None)
    if batch is not None:
        raise UsageError(f"there are {len(own)} generators, and --{batch} has one: each batch is for one model")


# The file


def _of_file(args: argparse.Namespace, role: Role) -> List[Own]:
    """What each generator of the file has of its own."""
    path = args.generators
    if len(role.value(args, "model") or ()) > 1:  # type: ignore[arg-type]
        raise UsageError(f"--generators and several names after {role.model_flag} exclude each other; name one of them")
    values = read_values("--generators", path)
    if isinstance(values, dict):
        if list(values) != ["generators"]:
            raise UsageError(f"--generators {path} must hold a list, or generators with a list, and nothing else")
        values = values["generators"]
    if not isinstance(values, list) or not values or not all(isinstance(one, dict) for one in values):
        raise UsageError(f"--generators {path} must hold a list of generators, each with names and values")
    actions = actions_of_keys(role)
    own = [_own(one, actions, f"{path}: generator {place}") for place, one in enumerate(values, 1)]
    _check_flags(args, own)
    return own


def _check_flags(args: argparse.Namespace, own: Sequence[Own]) -> None:
    """UsageError if a flag was given whose value each generator of the file has itself.

    A flag of --config may have no effect if the command line names the generators.
    """
    given: Mapping[str, Source] = args.given
    always = set.intersection(*map(set, own)) - {"concurrency"}  # which is the judge's too
    for flag, source in given.items():
        if flag in always and (given["generators"].in_file or not source.in_file):
            what = "server" if flag.endswith(OF_SERVERS) else source.name.rpartition(" ")[2].lstrip("-")
            raise UsageError(f"{source.name} has no effect with --generators: each one has its own {what} there")


def _own(values: Mapping[Any, Any], actions: Mapping[str, argparse.Action], place: str) -> Own:
    """The values of one generator. UsageError, which begins with the place, if one is wrong or unknown."""
    found: Own = {}
    for key, value in values.items():
        if key not in actions:
            raise UsageError(f"{place}: no key is named {key!r}{did_you_mean(str(key), actions)}")
        if value is not None or key in MAY_BE_NULL:
            action = actions[key]
            found[action.dest] = None if value is None else value_of(action, value, f"{place}: {key}")
    if len(found.get(actions["model"].dest) or "") > 1:
        raise UsageError(f"{place}: model: a generator has one model")
    if all(values.get(name) is not None for name in OF_SERVERS):
        raise UsageError(f"{place}: port and base_url exclude each other; keep one")
    for name, other in (OF_SERVERS, OF_SERVERS[::-1]):
        if values.get(name) is not None:
            found[actions[other].dest] = None  # the file's server takes the place of the flag's
    return found


def actions_of_keys(role: Role) -> Dict[str, argparse.Action]:
    """The keys of a generator in a file, as the flags of their names: they have the same types."""
    parser = Parser(add_help=False)
    plain = role._replace(port_flag="--port", model_flag="--model", url_flag="--base_url", prefix="")
    group = flags.add_server(parser, plain)
    flags.add_sampling(parser, answers=1)
    flags.add_concurrency(group, "--concurrency", 1)
    group.add_argument("--name", dest=LABEL)
    group.add_argument("--weight", dest=WEIGHT, type=float_between(1 / PARTS, MOST_WEIGHT))
    found = {name.lstrip("-"): action for name, action in parser._option_string_actions.items()}
    return {key: found[key] for key in KEYS}
