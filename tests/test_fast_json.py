"""JSON lines: what comes back is what was written, to the digit."""

from __future__ import annotations

import json
import pickle

import pytest

from common.fast_json import dumps, exact_float
from common.input.strict_json import loads

NUMBERS = ["1.0", "1e5", "1E+5", "1e+16", "1e16", "1.10", "0.1", "-0.0", "0.12345678901234567891", "1e-7", "1e-07"]
NUMBERS += ["123456789012345678901234567890", "0.00001", "10000000000000000.0"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("beside", ["1", '"text"', "98765432109876543210987654321", '"\\ud800"'])
def test_a_number_keeps_its_digits(number: str, beside: str) -> None:
    line = f'{{"b":{number},"a":[{number},{{"c":{number}}}],"more":{beside}}}'
    assert dumps(loads(line)).decode() == line


def test_an_exact_number_is_a_number_and_can_be_pickled() -> None:
    number = exact_float("1.10")
    copy = pickle.loads(pickle.dumps(number))
    assert (number, copy + 1, dumps(copy)) == (1.1, 2.1, b"1.10")


def test_text_and_order_stay_and_the_last_of_a_doubled_key_counts() -> None:
    line = '{"z": "é\\u00e9\\u2019\\n\\/", "a": null, "z": true, "b": {"y": 1, "x": 2}}'
    assert dumps(loads(line)) == b'{"z":true,"a":null,"b":{"y":1,"x":2}}'
    assert json.loads(dumps(loads('["\\u00e9\\u2019\\n\\/\\ud83d\\ude00"]'))) == ["é\u2019\n/😀"]
