"""The settings of scorers: a score in a user's ledger or output must be recognised by later versions."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from common.cli.build import make_client
from common.cli.commands import COMMANDS
from common.cli.commands import JUDGE as JUDGE_ROLE
from common.scoring.scorers import make_scorer
from common.scoring.shapes import Scorer
from common.servers.notices import Notices

CHECK = "def verify(question, reference, answer):\n    return answer == reference\n"
MATH = "0.9.0"  # the version of math-verify that the fingerprints with math were made with
JUDGE = {
    "scorer": "judge",
    "model": "m",
    "score_min": 0.0,
    "score_max": 10.0,
    "prompt": "357d9635dc4b",
    "judge_mode": "text",
    "judge_samples": 1,
    "judge_temperature": 0.0,
    "judge_max_tokens": 1024,
    "judge_images": False,
    "extra_body": {},
}
RANGE = {"score_min": 0.0, "score_max": 10.0}
OWN = {"python:check.py:verify version": "5615a6bc8b68"}
MADE_BEFORE = [  # flags, the fingerprint, the settings: as they were before scorers became classes
    ("", "4514edc33c73", JUDGE),
    ("--score_min 1 --score_max 5", "172797944e80", {**JUDGE, "score_min": 1.0, "score_max": 5.0}),
    ("--judge_mode json", "62c17a7ed362", {**JUDGE, "prompt": "c8518998ba6d", "judge_mode": "json"}),
    (
        "--judge_mode logprob",
        "b8c502e19c52",
        {**JUDGE, "prompt": "3d2dd966ba87", "judge_mode": "logprob", "judge_max_tokens": 8},
    ),
    ("--judge_samples 3", "a76606d8d56c", {**JUDGE, "judge_samples": 3, "judge_temperature": 1.0}),
    (
        '--judge_images --judge_temperature 0.5 --judge_max_tokens 9 --extra_body {"top_k":1}',
        "75fe78542204",
        {
            **JUDGE,
            "judge_images": True,
            "judge_temperature": 0.5,
            "judge_max_tokens": 9,
            "extra_body": {"top_k": 1},
        },
    ),
    ("--scorer match", "eccf42992425", {"scorer": "match", **RANGE}),
    (
        "--scorer match --score_min -1 --score_max 1",
        "1b85eeac7976",
        {"scorer": "match", "score_min": -1.0, "score_max": 1.0},
    ),
    ("--scorer math", "b97249ec82d2", {"scorer": "math", "math version": MATH, **RANGE}),
    ("--scorer python:check.py:verify", "54426e17aea0", {"scorer": "python:check.py:verify", **OWN, **RANGE}),
    ("--scorer majority", "ca5950fca073", {"scorer": "majority", **RANGE}),
    (
        "--scorer majority --vote_weight judge",
        "08158957eb98",
        {**JUDGE, "scorer": "majority", "vote_weight": "judge", "vote_weight_id": "4514edc33c73"},
    ),
    ("--scorer match math", "e56f9379d66b", {"scorer": "match math", **RANGE, "math version": MATH}),
    ("--scorer match judge", "52cde0f0b9f9", {**JUDGE, "scorer": "match judge"}),
    (
        "--scorer judge python:check.py:verify",
        "8d8cb9f463df",
        {**JUDGE, **OWN, "scorer": "judge python:check.py:verify"},
    ),
    (
        "--scorer match math python:check.py:verify judge",
        "653c8a2e7e44",
        {**JUDGE, **OWN, "math version": MATH, "scorer": "match math python:check.py:verify judge"},
    ),
]


def has_math() -> bool:
    """Whether math-verify is installed, in the version that the fingerprints were made with."""
    return importlib.util.find_spec("math_verify") is not None and importlib.metadata.version("math-verify") == MATH


def scorer_of(flags: str) -> Scorer:
    """The scorer that flags of score.py ask for."""
    args = COMMANDS["score"].make_parser().parse_args(f"--input_file a --output_file b --model_name m {flags}".split())

    async def make() -> Scorer:
        return make_scorer(args, make_client(args, JUDGE_ROLE, Notices()))

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("flags", "settings_id", "settings"), [row for row in MADE_BEFORE if "math" not in row[0] or has_math()]
)
def test_scores_of_earlier_versions_are_recognised(
    flags: str, settings_id: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "check.py").write_text(CHECK)
    monkeypatch.chdir(tmp_path)
    scorer = scorer_of(flags)
    assert scorer.settings_id == settings_id
    assert json.loads(json.dumps(scorer.settings)) == settings
