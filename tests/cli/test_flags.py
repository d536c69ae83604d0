"""Flags: what each kind takes, what it refuses, and how the scripts spell them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Callable, List

import pytest

from common.cli.build import api_key, check_files, make_job, make_reader
from common.cli.commands import COMMANDS, READERS, REJECT_GENERATOR, REJECT_JUDGE
from common.cli.config import parse as parse_all
from common.cli.flags import base_url
from common.errors import UsageError
from common.scoring.judge_prompt import read_judge_prompt
from tests.helpers import questions, run_script
from tests.scripted_server import ScriptedServer, completion


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


NAMES_IN_ALL = "--port 8000 --model m --concurrency 3"


@pytest.mark.parametrize("name", SEED)
def test_port_model_and_concurrency_mean_the_same_in_all_commands(name: str) -> None:
    args = COMMANDS[name].make_parser().parse_args(f"--input_file a --output_file b {NAMES_IN_ALL}".split())
    role = "scorer" if name == "score" else "generator"
    values = vars(args)
    assert (values[f"{role}_port"], values[f"{role}_model"], args.concurrency) == ([[8000]], ["m"], 3)
    if name == "reject":  # the judge has the generator's server
        assert (args.scorer_port, args.scorer_model) == (None, None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("score", "--port 1 --api_port 2"),
        ("sample", "--concurrency 1 --concurrent_requests=2"),
        ("reject", "--model a --generator_model a"),
    ],
)
def test_two_names_of_one_flag_are_refused(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        COMMANDS[name].make_parser().parse_args(f"--input_file a --output_file b {words}".split())
    assert caught.value.code == 2
    assert "are two names of one flag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--temprature", "--temperature"),
        ("--input", "--input_file"),
        ("--input-file", "--input_file"),
        ("-input_file", "--input_file"),
        ("--Top_P", "--top_p"),
        ("--answers=3", "--answers_per_question"),
        ("--select_file", "--selected_file"),
    ],
)
def test_an_unknown_flag_names_the_one_that_was_meant(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:  # though required flags are missing
        COMMANDS["reject"].make_parser().parse_args([word, "1"])
    assert caught.value.code == 2
    assert f"unrecognized arguments: {word.partition('=')[0]}; did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "word", "meant"),
    [("score", "--scorer_port", "--api_port"), ("sample", "--generator_model", "--model_name")],
)
def test_another_scripts_name_of_a_flag_names_this_scripts(
    name: str, word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        COMMANDS[name].make_parser().parse_args([word, "1"])
    assert f"unrecognized arguments: {word}; did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "cannot read {}/no.jsonl: No such file or directory"),
        (["--scorer", "python:no.py:f"], "--scorer python:no.py:f: no file no.py"),
        (["--accept_precision", "0.9", "--calibration", "no.json"], "--calibration: cannot read no.json: No such file"),
    ],
)
def test_a_missing_file_is_named_before_a_server_is_asked(flags: List[str], line: str, tmp_path: Path) -> None:
    name = tmp_path / ("in.jsonl" if flags else "no.jsonl")
    if flags:
        questions(name, 1)
    with ScriptedServer(lambda _: completion("4")) as server:
        names = ["--input_file", str(name), "--output_file", str(tmp_path / "o.jsonl"), "--port", str(server.port)]
        args = parse_all(COMMANDS["reject"].make_parser(), [*names, *flags])
        with pytest.raises(UsageError) as refused:
            make_job(args, "reject.py", make_reader(args), generator=REJECT_GENERATOR, scorer=REJECT_JUDGE)
        assert server.probes == 0
    assert line.format(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "word", "hint"),
    [
        ("sample", "--stop_after", "it is a flag of reject.py"),
        ("sample", "--stop-after", "did you mean --stop_after, a flag of reject.py?"),
        ("sample", "--target_accept=2", "did you mean --target_accepted, a flag of reject.py?"),
        ("sample", "--accept_score", "it is a flag of score.py and reject.py"),
        ("sample", "--n", "did you mean --answers_per_question?"),
        ("reject", "-n", "did you mean --answers_per_question?"),
        ("score", "--num_samples", "did you mean --answers_per_question, a flag of sampling.py and reject.py?"),
        ("score", "--time_budget", "it is a flag of sampling.py and reject.py"),
        ("reject", "--calibrate", "it is a flag of score.py"),
        ("reject", "--batch_out", "it is a flag of sampling.py and score.py"),
        ("reject", "--base_ur", "did you mean --generator_base_url?"),
        ("reject", "--api_port", "did you mean --scorer_port?"),
        ("score", "--concurrent_requests", "did you mean --concurrency?"),
        ("score", "--verify", "it is a flag of rejection-sampling select"),
        ("report", "--port", "it is a flag of rejection-sampling sample and rejection-sampling score"),
    ],
)
def test_a_flag_of_another_command_names_the_command(
    name: str, word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        {**COMMANDS, **READERS}[name].make_parser().parse_args([word, "1"])
    assert f"unrecognized arguments: {word.partition('=')[0]}; {hint} (see" in capsys.readouterr().err


def test_a_value_may_look_like_a_flag_if_it_has_a_space() -> None:
    words = ["--input_file", "a", "--output_file", "b", "--system_prompt", "--be brief"]
    assert COMMANDS["sample"].make_parser().parse_args(words).system_prompt == "--be brief"


@pytest.mark.parametrize("name", SEED)
def test_help_shows_the_flags_that_a_user_needs_and_help_all_shows_all(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = COMMANDS[name].make_parser()
    shown = parser.format_help()
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--help_all"])
    assert caught.value.code == 0
    everything = capsys.readouterr().out
    flags = {action.option_strings[0] for action in parser._actions}
    assert {flag for flag in flags if f"  {flag}" not in everything} == set()
    assert 14 <= len([flag for flag in flags if f"  {flag}" in shown]) <= 29
    assert "--max_retries" not in shown


@pytest.mark.parametrize("name", SEED)
def test_a_path_may_begin_in_the_users_home(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for action in COMMANDS[name].make_parser()._actions:
        if action.metavar in ("PATH", "FILE", "DIR", "GGUF"):
            assert callable(action.type)
            assert action.type("~/x") == "/home/me/x", action.option_strings


def test_the_environments_server_is_used_if_no_flag_names_one(tmp_path: Path) -> None:
    flags = ("--input_file", questions(tmp_path / "i.json", 1), "--model", "m", "--answers_per_question", 1)
    with ScriptedServer(lambda _: completion("4")) as server, ScriptedServer(lambda _: completion("5")) as other:
        env = {"OPENAI_BASE_URL": server.url + "/"}
        run = run_script("sampling.py", *flags, "--output_file", tmp_path / "a", **env)
        assert (run.returncode, len(server.chats)) == (0, 1), run
        assert "from the environment variable OPENAI_BASE_URL" in run.stderr
        run = run_script("sampling.py", *flags, "--output_file", tmp_path / "b", "--port", other.port, **env)
        assert (run.stderr, len(server.chats), len(other.chats)) == ("", 1, 1)
    run = run_script("sampling.py", *flags, "--output_file", tmp_path / "c", OPENAI_BASE_URL="localhost:8000")
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "the environment variable OPENAI_BASE_URL must be a URL" in run.stderr


def test_the_judges_default_prompt_is_printed_as_a_template(tmp_path: Path) -> None:
    run = run_script("score.py", "--print_judge_prompt", "--score_max", 5, "--judge_mode", "json")
    assert (run.returncode, run.stderr) == (0, "")
    assert "Scale, from 0 to 5" in run.stdout
    assert '"score": <number from 0 to 5>' in run.stdout
    (tmp_path / "p.txt").write_text(run.stdout)
    assert read_judge_prompt(str(tmp_path / "p.txt")) == run.stdout


@pytest.mark.parametrize("name", ["x.csv", "x.json.gz", "x", "x.JSON"])
def test_a_file_that_cannot_be_written_is_refused(name: str, tmp_path: Path) -> None:
    flags = ("--input_file", questions(tmp_path / "i.json", 1), "--output_file", tmp_path / "o", "--scorer", "match")
    run = run_script("reject.py", *flags, "--model", "m", "--selected_file", tmp_path / name)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "its name must end in .json, .jsonl, .parquet" in run.stderr
