"""--config: flags by name from a file, under the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from common.cli.commands import COMMANDS
from common.cli.config import parse
from common.cli.effects import check_effects
from common.errors import UsageError
from tests.helpers import questions, run_script
from tests.scripted_server import ScriptedServer, completion

FILES = ("--input_file", "a", "--output_file", "b")

YAML = """
temperature: 0.3
port: [8000, 8002-8003]
model: m
extra_body: {top_k: 5}
quiet: true
allow_mixed: false
system_prompt: -be brief
ray: null
"""
TOML = """
temperature = 0.3
port = [8000, "8002-8003"]
model = "m"
extra_body = '{"top_k": 5}'
quiet = true
system_prompt = "-be brief"
"""


def read(command: str, path: Path, *words: str, files: Any = FILES) -> argparse.Namespace:
    args = parse(COMMANDS[command].make_parser(), [*files, "--config", str(path), *words])
    check_effects(args, args.given)
    return args


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(("name", "text"), [("c.yaml", YAML), ("c.yml", YAML), ("c.toml", TOML)])
def test_a_file_sets_flags_as_the_command_line_does(name: str, text: str, tmp_path: Path) -> None:
    args = read("sample", write(tmp_path / name, text))
    assert (args.temperature, args.generator_model, args.quiet, args.allow_mixed) == (0.3, ["m"], True, False)
    assert (args.generator_port, args.generator_extra_body) == ([[8000], [8002, 8003]], {"top_k": 5})
    assert args.system_prompt == "-be brief"
    assert args.top_p is None


def test_required_flags_may_stand_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"input_file": ["x", "~/y"], "output_file": "z", "scorer": "match"})
    args = read("score", path, files=())
    assert (args.input_file, args.output_file, args.scorer) == (["x", str(Path.home() / "y")], "z", ["match"])


def test_the_command_line_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"temperature": 0.3, "generator_base_url": "http://a/v1", "scorer": ["judge"]})
    args = read("reject", path, "--temperature", "1", "--port", "8000", "--scorer", "match")
    assert (args.temperature, args.generator_port, args.generator_base_url) == (1, [[8000]], None)
    assert args.scorer == ["match"]


@pytest.mark.parametrize(
    ("command", "content", "words", "flag"),
    [
        ("sample", {"local": True}, "--port 8000", "local"),
        ("sample", {"port": 8000}, "--local", "generator_port"),
        ("sample", {"ray": "auto"}, "--local", "ray"),
        ("sample", {"local": True}, "--generators g.json", "local"),
        ("score", {"api_port": 8000}, "--local", "scorer_port"),
        ("reject", {"scorer_port": 8000}, "--scorer_base_url http://a/v1", "scorer_port"),
    ],
)
def test_the_command_line_takes_away_what_it_excludes(
    command: str, content: Any, words: str, flag: str, tmp_path: Path
) -> None:
    assert vars(read(command, write(tmp_path / "c.json", content), *words.split()))[flag] is None


def test_a_flag_of_the_file_may_lose_its_effect_to_the_command_line_only(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"judge_samples": 3, "scorer_model": "m", "selected_format": "messages"})
    with pytest.raises(UsageError, match=r"c.json: selected_format has no effect without --selected_file$"):
        read("reject", path, "--scorer", "match")
    read("reject", path, "--scorer", "match", "--selected_file", "a.json")


WRONG = [
    ({"temprature": 1}, "c.json: no flag is named 'temprature'; did you mean temperature?"),
    ({"input-file": "x"}, "c.json: no flag is named 'input-file'; did you mean input_file?"),
    ({"config": "x"}, "c.json: no flag is named 'config'"),
    ({"batch_out": "x"}, "c.json: no flag is named 'batch_out'; it is a flag of sampling.py and score.py"),
    ({"temperature": "hot"}, "c.json: temperature: must be a number, 0 or more, not 'hot'"),
    ({"temperature": [1]}, "c.json: temperature: must be a number or a text"),
    ({"system_prompt": True}, "c.json: system_prompt: must be a number or a text"),
    ({"quiet": "yes"}, "c.json: quiet: must be true or false, not 'yes'"),
    ({"port": []}, "c.json: port: must not be an empty list"),
    ({"port": 1, "generator_port": 2}, "c.json: port and generator_port are two names of one flag; keep one"),
    ({"local": True, "ray": ""}, "c.json: local and ray exclude each other; keep one"),
    ({"port": 1, "base_url": "http://a/v1"}, "no flag is named 'base_url'; did you mean generator_base_url?"),
    ({"select": "worst"}, "c.json: select: must be one of best, top_k, threshold, random, dpo, not 'worst'"),
    ([1], "c.json must hold names of flags with their values"),
    ("{", "c.json is not JSON"),
    ({"written": {}, "temprature": 1}, "c.json: no flag is named 'temprature'; did you mean temperature?"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_what_is_wrong_in_a_file_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read("reject", write(tmp_path / "c.json", content))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["c.yaml", "c.toml", "c.ini", "none.yaml"])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    if name != "none.yaml":
        write(tmp_path / name, "a: [1\nb = ")
    with pytest.raises(UsageError, match=name):
        read("sample", tmp_path / name)


@pytest.mark.parametrize("keys", ["[id, source]", "id,source", "\n  - id\n  - source\n"])
def test_a_flag_of_values_with_commas_takes_a_list(keys: str, tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", f"scorer: match\nselected_file: s.json\nselected_keys: {keys}")
    assert read("reject", path).selected_keys == ["id", "source"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "top_p: 0.5\nmodel: m\ntop_p: 0.6\n"),
        ("c.json", '{"top_p": 0.5, "model": "m", "top_p": 0.6}'),
        ("c.toml", "top_p = 0.5\nmodel = 'm'\ntop_p = 0.6\n"),
    ],
)
def test_a_name_that_a_file_has_twice_is_refused(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        read("sample", write(tmp_path / name, text))
    assert "twice" in str(caught.value) or "overwrite" in str(caught.value)


def test_an_unknown_name_is_one_line_and_exit_2(tmp_path: Path) -> None:
    run = run_script("sampling.py", *FILES, "--config", write(tmp_path / "c.yaml", "temprature: 1"))
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.endswith("c.yaml: no flag is named 'temprature'; did you mean temperature?\n")


def test_the_settings_of_a_run_can_be_read_back(tmp_path: Path) -> None:
    source = questions(tmp_path / "i.json", 1)
    flags = "--temperature 0.3 --top_p 0.9 --seed 5 --answers_per_question 2 --judge_samples 2 --score_max 9".split()
    with ScriptedServer(lambda _: completion("Score: 7")) as server:
        common = ("--input_file", source, "--model", "m", "--port", server.port)
        run = run_script("reject.py", *common, "--output_file", tmp_path / "a", *flags)
        assert run.returncode == 0, run.stderr
        run = run_script(
            "reject.py", *common, "--output_file", tmp_path / "b", "--config", tmp_path / "a.settings.json"
        )
    assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "a.settings.json").read_text() == (tmp_path / "b.settings.json").read_text()


SETTINGS = {
    "answers_per_question": 4,
    "max_tokens": None,
    "generator model": "g",
    "generator extra_body": {},
    "scorer scorer": "match python:my check.py:f judge",
    "scorer model": "j",
    "scorer prompt": "another",
    "scorer judge_mode": "text",
    "scorer judge_samples": 1,
    "scorer judge_temperature": 0.0,
    "scorer judge_max_tokens": 1024,
    "scorer judge_images": False,
    "written": {},
}


def test_settings_do_not_hold_the_prompt_of_a_judge(tmp_path: Path) -> None:
    path = write(tmp_path / "o.settings.json", SETTINGS)
    with pytest.raises(UsageError, match="does not hold the judge's prompt"):
        read("reject", path)
    args = read("reject", path, "--judge_prompt", "p")
    assert args.scorer == ["match", "python:my check.py:f", "judge"]
    assert (args.judge_temperature, args.judge_max_tokens, args.scorer_model) == (None, None, ["j"])
    read("reject", path, "--scorer", "match")
    assert read("sample", path).generator_model == ["g"]
