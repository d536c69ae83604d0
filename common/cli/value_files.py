"""Files of named values: YAML, TOML or JSON, and how a value there becomes the value of a flag.

Example: ``value_of(parser._option_string_actions["--port"], read_values("--config", "job.yaml")["port"], "port")``
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Callable, Sequence

from ..errors import UsageError
from ..extras import require


def read_values(flag: str, path: str) -> Any:
    """What the file after a flag holds: YAML, TOML or JSON, by its ending. UsageError if it cannot be read."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in READERS:
        raise UsageError(f"{flag} {path}: its name must end in {', '.join(READERS)}")
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag}: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return READERS[ending](text, f"{flag} {path}")


def _read_yaml(text: str, source: str) -> Any:
    yaml = require("yaml", source, "config")
    try:
        values = yaml.safe_load(text)
        _check_mappings(yaml.compose(text, Loader=yaml.SafeLoader), source)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{source} is not YAML: {error}") from error
    return {} if values is None else values


def _check_mappings(node: Any, source: str) -> None:
    """UsageError if a mapping of a YAML file has a key twice."""
    if node is None or node.id == "scalar":
        return
    pairs = node.value if node.id == "mapping" else [(None, one) for one in node.value]
    _check_once([str(key.value) for key, _ in pairs if key is not None and key.id == "scalar"], source)
    for _, value in pairs:
        _check_mappings(value, source)


def _check_once(keys: Sequence[str], source: str) -> None:
    """UsageError if a key is there twice."""
    twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
    if twice is not None:
        raise UsageError(f"{source} has {twice} twice; keep one")


def _read_toml(text: str, source: str) -> Any:
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli", source, "config")
    try:
        return toml.loads(text)
    except (toml.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{source} is not TOML: {error}") from error


def _read_json(text: str, source: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, source))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source} is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    _check_once([key for key, _ in pairs], source)
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
