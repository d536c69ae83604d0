"""The types of flags: what each takes, and what it refuses."""

from __future__ import annotations

import argparse
from typing import Any, Callable

import pytest

from common.flag_types import float_between, int_between, json_object


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (int_between(1), "7", 7),
        (int_between(0), "0", 0),
        (float_between(0), "0.8", 0.8),
        (float_between(0, 1), "1", 1.0),
        (json_object, '{"a": null}', {"a": None}),
    ],
)
def test_a_flag_takes_what_it_should(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (int_between(1), "0"),
        (int_between(1), "1.5"),
        (int_between(1), ""),
        (int_between(1, 65535), "65536"),
        (float_between(0), "-1"),
        (float_between(0), "nan"),
        (float_between(0), "inf"),
        (float_between(0, 1), "1.01"),
        (json_object, "[1]"),
        (json_object, "{"),
    ],
)
def test_a_flag_refuses_what_it_should_not(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse(text)
