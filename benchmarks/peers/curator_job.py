"""bespokelabs-curator: an LLM with a prompt and a parse over a dataset; a second one judges the first one's rows.

Its limits a minute are set out of reach, its cache is fresh, its telemetry and its live display are off, and tiktoken's
table comes from the copy that litellm ships, not from the net.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict

import peer_io

found = find_spec("litellm")
assert found is not None
assert found.origin is not None
SETTINGS = {
    "TELEMETRY_ENABLED": "false",
    "CURATOR_DISABLE_CACHE": "true",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "TIKTOKEN_CACHE_DIR": str(Path(found.origin).parent / "litellm_core_utils" / "tokenizers"),
}
os.environ.update(SETTINGS)  # read at import

from bespokelabs import curator  # noqa: E402


class Answers(curator.LLM):
    """Draws an answer to each row's question."""

    def prompt(self, row: Dict[str, Any]) -> str:
        return str(row["question"])

    def parse(self, row: Dict[str, Any], response: str) -> Dict[str, Any]:
        return {"question": row["question"], "answer": response}


class Scores(curator.LLM):
    """Judges each row's answer."""

    def prompt(self, row: Dict[str, Any]) -> str:
        return peer_io.JUDGE.format(**row)

    def parse(self, row: Dict[str, Any], response: str) -> Dict[str, Any]:
        return {**row, "score": response.rpartition("Score:")[2].strip()}


def run(args: argparse.Namespace, folder: str) -> None:
    """The answers, and their scores where there is a judge."""
    settings = {"model_name": "m", "backend": "openai", "generation_params": {"temperature": 0.8}}
    limits = {
        "api_key": "none",
        "max_concurrent_requests": args.in_flight,
        "max_requests_per_minute": 10**9,
        "max_tokens_per_minute": 10**12,
        "max_retries": 0,
        "require_all_responses": False,
    }
    rows = [{"question": question} for question in peer_io.asked(args)]
    answers = Answers(**settings, backend_params={**limits, "base_url": peer_io.url(args.port)})
    rows = answers(rows, working_dir=folder).dataset
    if args.judge_port:
        scores = Scores(**settings, backend_params={**limits, "base_url": peer_io.url(args.judge_port)})
        rows = scores(rows, working_dir=folder).dataset
    peer_io.write(args, rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        run(peer_io.arguments(), name)
