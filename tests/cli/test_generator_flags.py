"""The flags and the file of several generators: what each gets, and what is refused in one line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, List, Optional

import pytest

from common.cli.build import make_job, make_reader
from common.cli.commands import COMMANDS, REJECT_GENERATOR, REJECT_JUDGE
from common.cli.config import parse
from common.cli.generator_flags import each_generator, rounds_text
from common.errors import UsageError
from tests.helpers import questions

ALWAYS = ["--input_file", "in.json", "--output_file", "out.jsonl"]


def read(*flags: object) -> argparse.Namespace:
    return parse(COMMANDS["reject"].make_parser(), [*ALWAYS, *map(str, flags)])


def each(*flags: object) -> List[argparse.Namespace]:
    return each_generator(read(*flags), REJECT_GENERATOR)


def in_file(folder: Path, value: Any, name: str = "generators.json") -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_each_model_has_its_port_or_all_have_one() -> None:
    assert [one.generator_port for one in each("--generator_model", "a", "b", "--port", 1, 2)] == [[[1]], [[2]]]
    assert [one.generator_port for one in each("--generator_model", "a", "b", "--port", 1)] == [[[1]], [[1]]]
    both = each("--generator_model", "a", "b", "--port", "1-2", "5-6")
    assert [one.generator_port for one in both] == [[[1, 2]], [[5, 6]]]
    urls = ["http://a/v1", "http://b/v1"]
    both = each("--generator_model", "a", "b", "--generator_base_url", *urls)
    assert [one.generator_base_url for one in both] == [[url] for url in urls]


def test_one_model_may_have_several_servers_as_before() -> None:
    [one] = each("--generator_model", "a", "--port", 1, 2, "--concurrency", 7)
    assert (one.generator_model, one.generator_port, one.concurrency) == (["a"], [[1], [2]], 7)


def test_the_concurrency_is_shared_by_weight(tmp_path: Path) -> None:
    file = in_file(tmp_path, [{"model": "a", "weight": 3}, {"model": "b"}, {"model": "c", "concurrency": 40}])
    assert [one.concurrency for one in each("--generators", file, "--concurrency", 10)] == [6, 2, 40]
    assert [one.concurrency for one in each("--generator_model", "a", "b", "--concurrency", 1)] == [1, 1]


@pytest.mark.parametrize("name", ["g.yaml", "g.toml", "g.json"])
def test_what_the_file_says_beats_the_flags(name: str, tmp_path: Path) -> None:
    texts = {
        "g.yaml": "- {model: a, port: 8000, temperature: 0.2, top_p: null}\n- {model: b, name: other}\n",
        "g.toml": '[[generators]]\nmodel = "a"\nport = 8000\ntemperature = 0.2\n[[generators]]\nmodel = "b"\n',
        "g.json": '{"generators": [{"model": "a", "port": [8000], "temperature": 0.2}, {"model": "b"}]}',
    }
    file = in_file(tmp_path, texts[name], name)
    first, second = each(
        "--generators", file, "--temperature", 0.7, "--top_p", 0.9, "--generator_base_url", "http://u/v1"
    )
    assert (first.generator_model, first.generator_port, first.generator_base_url) == (["a"], [[8000]], None)
    assert (first.temperature, second.temperature, second.top_p) == (0.2, 0.7, 0.9)
    assert first.top_p == (None if name == "g.yaml" else 0.9)
    assert (second.generator_port, second.generator_base_url) == (None, ["http://u/v1"])


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ([{"modle": "a"}], "generator 1: no key is named 'modle'; did you mean model?"),
        (
            [{"model": "a"}, {"model": "b", "temperatur": 1}],
            "generator 2: no key is named 'temperatur'; did you mean",
        ),
        ([{"model": "a", "weight": 0}], "generator 1: weight: must be a number, 0.01 to 100"),
        ([{"model": "a", "temperature": "hot"}], "generator 1: temperature: must be a number, 0 or more, not 'hot'"),
        ([{"model": ["a", "b"]}], "generator 1: model: a generator has one model"),
        ([{"model": "a", "port": 1, "base_url": "http://u/v1"}], "generator 1: port and base_url exclude each other"),
        ([{"model": "a", "base_url": "u"}], "generator 1: base_url: must be a URL"),
        ([], "must hold a list of generators"),
        (["a"], "must hold a list of generators"),
        ({"a": {"model": "a"}}, "must hold a list, or generators with a list, and nothing else"),
        ('[{"model": "a", "model": "b"}]', "has model twice; keep one"),
        ("[", "is not JSON"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_its_place(value: Any, line: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        each("--generators", in_file(tmp_path, value))
    assert line in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--generator_model", "a", "a"], "--generator_model a a names a model twice"),
        (["--port", 1, 2, 3], "--generator_port names 3 servers for 2 models: name 2, or one for all"),
        (["--local"], "there are 2 generators, and the embedded server of --local has one model"),
        (["--generators", "g.json"], "--generators and several names after --generator_model exclude each other"),
    ],
)
def test_flags_that_cannot_go_with_several_generators_are_refused(flags: List[object], line: str) -> None:
    with pytest.raises(UsageError) as refused:
        each("--generator_model", "a", "b", *flags)
    assert line in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--generator_model", "c"], "generator_model"),
        (["--model", "c"], "model"),
        (["--port", 1], "server"),
        (["--generator_base_url", "http://u/v1"], "server"),
        (["--top_p", 0.9], "top_p"),
    ],
)
def test_a_flag_that_each_generator_of_the_file_replaces_is_refused(
    flags: List[object], what: str, tmp_path: Path
) -> None:
    first, second = {"model": "a", "port": 1, "top_p": None}, {"model": "b", "base_url": "http://u/v1", "top_p": 1}
    with pytest.raises(UsageError) as refused:
        each("--generators", in_file(tmp_path, [first, second]), *flags)
    assert str(refused.value) == f"{flags[0]} has no effect with --generators: each one has its own {what} there"
    config = in_file(tmp_path, {str(flags[0]).lstrip("-"): flags[1]}, "config.json")
    assert len(each("--generators", tmp_path / "generators.json", "--config", config)) == 2
    assert len(each("--generators", in_file(tmp_path, [first, {}], "some.json"), *flags, "--concurrency", 9)) == 2


def test_rounds_that_leave_one_choice_per_request_are_told() -> None:
    def told(*flags: object) -> Optional[str]:
        args = read("--generator_model", "a", "b", "--samples_per_request", *flags)
        args.each_generator = each_generator(args, REJECT_GENERATOR)
        return rounds_text(args)

    assert str(told(2, "--target_accepted", 9)).startswith(
        "--samples_per_request 2: with --target_accepted, an entry's"
    )
    assert "with --breadth, an entry's rounds of 2 answers" in str(told(2, "--breadth"))
    assert (told(2), told(1, "--breadth"), told(4, "--breadth")) == (None, None, None)


def test_batch_files_are_refused() -> None:
    words = [*ALWAYS, "--model_name", "a", "b", "--batch_out", "batches"]
    with pytest.raises(UsageError, match="there are 2 generators, and --batch_out has one: each batch"):
        each_generator(parse(COMMANDS["sample"].make_parser(), words), REJECT_GENERATOR)


SAME = [{"model": "a", "port": 1}, {"model": "a", "port": 2}]


@pytest.mark.parametrize(
    ("generators", "flags", "line"),
    [
        (SAME, ["--scorer", "match"], "two generators have the same name, a and a"),
        ([SAME[0], {**SAME[1], "name": "b"}], ["--scorer", "match"], "two generators have the same settings, a and b"),
        (
            [SAME[0], {"model": "b", "port": 2}],
            [],
            "--scorer_port or --scorer_base_url is required: the generators have",
        ),
        (
            [SAME[0], {"model": "b", "port": 1}],
            [],
            "--scorer_model is required: its server has several generators: a, b",
        ),
    ],
)
def test_generators_that_cannot_be_told_apart_are_refused(
    generators: List[Any], flags: List[str], line: str, tmp_path: Path
) -> None:
    questions(tmp_path / "in.json", 1)
    names = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "out.jsonl"]
    args = parse(
        COMMANDS["reject"].make_parser(), [*map(str, [*names, "--generators", in_file(tmp_path, generators)]), *flags]
    )
    with pytest.raises(UsageError) as refused:
        make_job(args, "reject.py", make_reader(args), generator=REJECT_GENERATOR, scorer=REJECT_JUDGE)
    assert line in str(refused.value)


def test_a_judge_has_the_model_of_the_one_generator_on_its_server(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 1)
    names = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "out.jsonl", "--scorer_port", 2]
    args = parse(
        COMMANDS["reject"].make_parser(),
        [*map(str, names), "--generator_model", "a", "b", "--generator_port", "1", "2"],
    )
    job = make_job(args, "reject.py", make_reader(args), generator=REJECT_GENERATOR, scorer=REJECT_JUDGE)
    assert [client.model for client in job.pipeline.clients] == ["a", "b", "b"]
    assert [job.pipeline.role_of(client) for client in job.pipeline.clients] == ["generator", "generator", "scorer"]


def test_the_settings_of_several_generators_give_what_they_share_and_need_them_named(tmp_path: Path) -> None:
    both = (("a", 0.5), ("b", 0.6))
    mix = [{"name": name, "weight": 1, "model": name, "temperature": 0.3, "top_p": top_p} for name, top_p in both]
    values = {"max_tokens": [5, None], "generator mix": mix, "scorer scorer": "match"}
    path = in_file(tmp_path, values, "o.settings.json")
    with pytest.raises(UsageError, match="is of several generators, and holds no servers: name them with --generators"):
        read("--config", path)
    args = read("--config", path, "--generator_model", "a", "b")
    assert (args.temperature, args.top_p, args.max_tokens, args.scorer) == (0.3, None, None, ["match"])
