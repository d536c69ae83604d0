"""What the peers' scripts share: their flags, the questions, and the output of one line an answer.

They run in environments of their own, as files, so that this is imported by its bare name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Dict, Iterable, List

JUDGE = "Score the answer from 0 to 10.\nQuestion: {question}\nAnswer: {answer}\nEnd with 'Score: <number>'."


def arguments() -> argparse.Namespace:
    """The flags of each script; ``--judge_port`` for those that can draw and judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True, help="a JSON list of conversations")
    parser.add_argument("--output", required=True, help="JSONL: one line an answer")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--judge_port", type=int)
    parser.add_argument("--answers", type=int, required=True, help="for each question")
    parser.add_argument("--in_flight", type=int, required=True)
    return parser.parse_args()


def url(port: int) -> str:
    """The base URL of a server on loopback."""
    return f"http://127.0.0.1:{port}/v1"


def asked(args: argparse.Namespace) -> List[str]:
    """Each question as often as it wants answers."""
    items = json.loads(Path(args.input).read_text())
    return [item["conversations"][0]["value"] for item in items for _ in range(args.answers)]


def write(args: argparse.Namespace, rows: Iterable[Dict[str, Any]]) -> None:
    """Writes the rows as JSONL."""
    with open(args.output, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
