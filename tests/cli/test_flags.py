"""Flags: what each kind takes, what it refuses, and how the scripts spell them."""

from __future__ import annotations

import argparse
from typing import Any, Callable

import pytest

from common.cli.build import api_key, check_files
from common.cli.commands import COMMANDS
from common.cli.flags import base_url
from common.errors import UsageError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (base_url, "https://api.example/v1/", "https://api.example/v1"),
    ],
)
def test_a_flag_takes_what_it_should(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (base_url, "localhost:8000/v1"),
        (base_url, "ftp://host/v1"),
        (base_url, "http:///v1"),
    ],
)
def test_a_flag_refuses_what_it_should_not(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse(text)


def test_two_flags_may_not_name_one_file() -> None:
    args = COMMANDS["sample"].make_parser().parse_args("--input_file x/../y.json --output_file y.json".split())
    with pytest.raises(UsageError, match="--output_file and --input_file are the same file"):
        check_files(args)


SEED = {
    "sample": "--input_file a --output_file b --model_name m --port 31415 --concurrent_requests 10 "
    "--answers_per_question 10",
    "score": "--input_file a --output_file b --model_name m --api_port 31415 --concurrency 10",
    "reject": "--input_file a --output_file b --cache_file c --generator_model g --scorer_model j "
    "--generator_port 31415 --scorer_port 31416 --concurrency 5 --answers_per_question 4",
}


@pytest.mark.parametrize("name", SEED)
def test_the_flags_of_the_seed_are_known_and_are_the_defaults(name: str) -> None:
    parser = COMMANDS[name].make_parser()
    given = vars(parser.parse_args(SEED[name].split()))
    default = vars(parser.parse_args("--input_file a --output_file b".split()))
    for flag in ("concurrency", "answers_per_question"):
        assert given[flag] == default[flag]
    shown = parser.format_help()
    # a judge without a server of its own has the generator's, and a reward model the scorer's
    others = ("reward_port", "scorer_port" if name == "reject" else "")
    ports = {flag: given[flag] for flag in given if flag.endswith("_port") and flag not in others}
    assert ports
    for ((number,),) in ports.values():  # a list for each range
        assert f"(default: {number})" in " ".join(shown.split())


@pytest.mark.parametrize("name", SEED)
def test_flags_are_not_abbreviated(name: str) -> None:
    with pytest.raises(SystemExit):
        COMMANDS[name].make_parser().parse_args("--input a --output_file b".split())


@pytest.mark.parametrize("url", ["http://user:pass@host/v1", "http://user@host/v1"])
def test_a_url_with_a_password_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        base_url(url)
    assert "pass@" not in str(caught.value)


def test_a_key_loses_the_newline_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret\n")
    assert api_key("SOME_KEY") == "sk-secret"
    assert api_key("NO_SUCH_VARIABLE") is None


def test_what_cannot_be_a_key_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-\u00fcber-secret")
    with pytest.raises(UsageError, match="SOME_KEY") as caught:
        api_key("SOME_KEY")
    assert "secret" not in str(caught.value)
