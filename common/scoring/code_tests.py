"""The tests of a row: in Python (HumanEval's ``check(candidate)``, MBPP's asserts), or pairs of input and output.

>>> read_tests({"cases": '{"inputs": ["1 2"], "outputs": ["3"]}'}, "cases", "").pairs
[('1 2', '3')]
>>> read_tests({"test_list": ["assert f(1) == 2"]}, "test_list", "").asserts
['assert f(1) == 2']
>>> read_tests({}, "test", "")
'the row has no tests under test'
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Mapping

from ..errors import ToolkitError
from ..patterns import regex
from .code_answer import head_in

SETUPS = ("test_setup_code", "test_imports", "setup_code")  # keys beside the tests: code that runs before them
NAMES = ("entry_point", "fn_name", "func_name", "function_name")
BESIDE = (*SETUPS, *NAMES, "prompt", "metadata")  # all keys beside the tests that are read
IMPORTS = "from typing import *\nfrom collections import *\nfrom functools import *\nfrom itertools import *\n" + (
    "from heapq import *\nfrom bisect import *\nimport bisect, collections, functools, heapq, itertools, math, re\n"
)
_LAST_DEF = regex(r"^def\s+(\w+)", re.M)


class Unreadable(ToolkitError):
    """The row's tests have none of the forms that are known."""


@dataclass
class RowTests:
    """``asserts`` are pieces of Python, ``pairs`` (input, output), for a function ``name`` or for a program."""

    asserts: list[str] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)
    name: str | None = None
    prompt: str = ""
    setup: str = ""


def read_tests(extra: Mapping[str, Any], key: str, question: str) -> RowTests | str:
    """The tests under the dotted ``key`` of the row's own keys, or why there are none."""
    value, beside = _find(extra, key)
    value = _from_json(value)
    if value in (None, "", [], {}):
        return f"the row has no tests under {key}"
    places = (value, beside, _from_json(beside.get("metadata")))
    name = next((str(place[one]) for place in places for one in NAMES if _has(place, one)), None)
    source = str(beside.get("prompt") or question)
    if name is None and isinstance(value, str) and "def check(" in value:
        name = next(iter(_LAST_DEF.findall(source)[-1:]), None)
    prompt = head_in(source, name)
    setup = "\n".join(_text(beside[one]) for one in SETUPS if beside.get(one))
    try:
        return _tests(value, RowTests(name=name, prompt=prompt, setup=setup))
    except Unreadable as error:
        return f"the tests under {key} cannot be read: {error}"


def _find(extra: Mapping[str, Any], key: str) -> tuple[Any, Mapping[str, Any]]:
    """The value at a dotted key, and the object that holds it; a key with dots in its name comes first."""
    if key in extra:
        return extra[key], extra
    first, dot, rest = key.partition(".")
    inside = _from_json(extra.get(first))
    return _find(inside, rest) if dot and isinstance(inside, dict) else (None, extra)


def _from_json(value: Any) -> Any:
    """A value that may be written as JSON in a string."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _has(place: Any, key: str) -> bool:
    return isinstance(place, dict) and bool(place.get(key))


def _text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _tests(value: Any, tests: RowTests) -> RowTests:
    if isinstance(value, str):
        tests.asserts = [value]
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        tests.asserts = value
    elif isinstance(value, list) and all(_has_pair(item) for item in value):
        tests.pairs = [(item["input"], item["output"]) for item in value]
    elif isinstance(value, dict) and _are_lists(value):
        tests.pairs = list(zip(value["inputs"], value["outputs"]))
    elif isinstance(value, dict) and _has_pair(value):
        tests.pairs = [(value["input"], value["output"])]
    else:
        raise Unreadable("they must be Python, a list of asserts, or inputs and outputs")
    if tests.pairs and tests.name:
        tests.pairs = [(_arguments(given), _from_json_line(wanted)) for given, wanted in tests.pairs]
    return tests


def _has_pair(item: Any) -> bool:
    return isinstance(item, dict) and "input" in item and "output" in item


def _are_lists(value: dict[str, Any]) -> bool:
    inputs, outputs = value.get("inputs"), value.get("outputs")
    if not (isinstance(inputs, list) and isinstance(outputs, list)):
        return False
    if len(inputs) != len(outputs):
        raise Unreadable(f"there are {len(inputs)} inputs and {len(outputs)} outputs")
    return True


def _arguments(given: Any) -> list[Any]:
    """The arguments of one call: a list, or a text with one JSON value per line."""
    if isinstance(given, list):
        return given
    if not isinstance(given, str):
        return [given]
    return [_from_json_line(line) for line in given.split("\n") if line.strip()]


def _from_json_line(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text
