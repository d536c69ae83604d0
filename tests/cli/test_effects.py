"""A flag that has no effect with the others is refused; a flag that has one, or has its default, is not."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Set

import pytest

from common.cli.commands import COMMANDS
from common.cli.config import parse
from common.cli.effects import check_effects
from common.errors import UsageError
from common.scoring.scorers import SCORERS, flags_of


def check(command: str, flags: str) -> None:
    args = parse(COMMANDS[command].make_parser(), f"--input_file a --output_file b {flags}".split())
    check_effects(args, args.given)


WITHOUT_EFFECT = [  # the command, the flag without effect, the others
    ("score", "--judge_prompt p.txt", "--scorer match"),
    ("score", "--judge_samples 2", "--scorer match math"),
    ("score", "--judge_images", "--scorer python:a.py:f"),
    ("score", "--base_url http://a/v1", "--scorer math"),
    ("score", "--requests_per_minute 3", "--scorer match"),
    ("score", "--max_retries 1", "--scorer match"),
    ("score", "--local", "--scorer match"),
    ("score", "--score_max 5", "--scorer reward"),
    ("score", "--score_min -1", "--scorer reward"),
    ("score", "--reward_port 8000", ""),
    ("score", "--image_root a", "--scorer judge"),
    ("score", "--max_image_mb 3", ""),
    ("reject", "--scorer_extra_body {}1", "--scorer match"),
    ("reject", "--scorer_api_key_env A", "--scorer match"),
    ("reject", "--answer_pattern x", ""),
    ("reject", "--math_tolerance 0.1", "--scorer judge"),
    ("reject", "--verifier_timeout 3", "--scorer match"),
    ("reject", "--select top_k", ""),
    ("reject", "--top_k 3", ""),
    ("reject", "--min_margin 3", ""),
    ("reject", "--length_match", ""),
    ("reject", "--accept_precision 0.9", ""),
    ("score", "--pair_precision 0.9", "--select dpo --selected_file a.json"),
    ("score", "--pair_precision 0.9", "--calibration c.json --selected_file a.json"),
    ("score", "--calibration c.json", ""),
    ("reject", "--selected_format messages", "--report_file r.html"),
    ("reject", "--select_seed 1", "--selected_file a.json --select best"),
    ("reject", "--keep_system_prompt", ""),
    ("reject", "--reasoning drop", "--selected_file a.json --selected_format prompts"),
    ("reject", "--pass_rate 0.1-0.9", ""),
    ("reject", "--samples_per_request 3", "--temperature 0"),
    ("sample", "--local", "--port 8000"),
    ("sample", "--local", "--base_url http://a/v1"),
    ("sample", "--api_key_env A", "--local"),
    ("reject", "--local", "--port 8000 --scorer match"),
    ("reject", "--local", "--generators g.json"),
    ("sample", "--dry_run", "--batch_out d"),
    ("sample", "--token_budget 9", "--batch_in r"),
    ("sample", "--time_budget 9h", "--batch_out d"),
    ("sample", "--breadth", "--batch_submit"),
    ("sample", "--breadth", "--answers_per_question 1"),
    ("reject", "--breadth", "--answers_per_question 8 --samples_per_request 8"),
    ("reject", "--breadth", "--scorer compare"),
    ("reject", "--target_accepted 9", "--scorer judge"),
    ("reject", "--target_accepted 9", "--scorer compare --accept_score 8"),
    ("reject", "--target_accepted 9", "--scorer match --estimate 5"),
    ("reject", "--target_accepted 9", "--scorer match --select random --selected_file a.json"),
    ("reject", "--target_accepted 9", "--scorer match --selected_file a.json --selected_format kto"),
    ("sample", "--stop_loops", "--batch_out d"),
    ("sample", "--requests_per_minute 9", "--batch_submit"),
    ("score", "--longest_wait 9", "--batch_submit"),
    ("score", "--estimate 9", "--batch_out d --batch_in r"),
    ("sample", "--ray", "--batch_submit"),
    ("sample", "--batch_out d", "--batch_submit"),
    ("score", "--batch_in r", "--batch_submit"),
]


@pytest.mark.parametrize(("command", "flag", "others"), WITHOUT_EFFECT)
def test_a_flag_without_effect_is_refused_by_name(command: str, flag: str, others: str) -> None:
    flag = flag.replace("{}1", '{"a":1}')
    with pytest.raises(UsageError, match=f"^{flag.split()[0]} has no effect (with|without|at|where) ") as caught:
        check(command, f"{flag} {others}")
    assert "\n" not in str(caught.value)


WITH_EFFECT = [
    ("score", "--judge_samples 2 --judge_prompt p --scorer match judge --model m --port 1"),
    ("score", "--scorer python:a.py:f --concurrency 3 --verifier_timeout 3"),
    ("score", "--image_root a --judge_images"),
    ("score", "--select top_k --top_k 2 --report_file r.html"),
    ("reject", "--accept_score 3 --stop_after 1"),
    ("reject", "--accept_score 3 --target_accepted 9"),
    ("reject", "--accept_score 3 --target_accepted 9 --select random --selected_file a.json"),
    ("reject", "--scorer match --target_accepted 9 --breadth --time_budget 1h30m"),
    ("sample", "--breadth --samples_per_request 4 --answers_per_question 8 --estimate 4"),
    ("reject", "--accept_precision 0.9 --calibration c.json --stop_after 1"),
    ("score", "--pair_precision 0.9 --calibration c.json --select dpo --selected_file a.json"),
    ("score", "--accept_score 3"),
    ("reject", "--select random --select_seed 3 --selected_file a.json --selected_format messages"),
    ("reject", "--scorer match math --answer_pattern x --verifier_timeout 3"),
    ("reject", "--scorer math --answer_pattern x"),
    ("reject", "--scorer match --max_retries 1 --concurrency 3 --max_image_mb 3 --local"),
    ("reject", "--local --scorer_port 8000 --scorer_api_key_env A"),
    ("sample", "--samples_per_request 3 --port 8000 --api_key_env A"),
    ("sample", "--batch_out d --batch_in r --max_retries 1 --port 8000"),
    ("score", "--batch_submit --max_retries 1 --concurrency 3"),
    # defaults are as good as not given
    ("score", "--scorer match --judge_mode text --judge_samples 1 --concurrency 10 --max_retries 5 --max_image_mb 20"),
    ("reject", "--select best --top_k 1 --min_margin 0 --verifier_timeout 30"),
]


@pytest.mark.parametrize(("command", "flags"), WITH_EFFECT)
def test_a_flag_with_an_effect_is_taken(command: str, flags: str) -> None:
    check(command, flags)


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_declares_each_flag_that_it_reads(name: str) -> None:
    """Else its flag would be refused with it."""
    source = textwrap.dedent(inspect.getsource(SCORERS[name].from_flags))
    read: Set[str] = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "args"
    }
    others = {flag for scorer in SCORERS.values() for flag in flags_of(scorer)}
    assert read & others <= set(flags_of(SCORERS[name]))
