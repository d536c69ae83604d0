#!/usr/bin/env python3
"""Scores the answers that sampling.py drew, with a judge LLM or a rule.

Example: ``python score.py --input_file data/sampled.jsonl --output_file data/scored.jsonl --scorer match``
"""

from __future__ import annotations

import argparse
import sys

from common.cli import flags as cli
from common.input.conversations import work_from_record
from common.running.run import Job
from common.scoring.scorers import add_scorer_flags, make_scorer, needs_client


def make_parser() -> argparse.ArgumentParser:
    """The flags of score.py."""
    parser = cli.make_parser(
        "score.py",
        "Score each answer of sampling.py's records. The same command again resumes.",
        "python score.py --input_file data/sampled.jsonl --output_file data/scored.jsonl "
        "--model_name judge-model-name --api_port 31415 --concurrency 10",
    )
    cli.add_files(parser, "records of sampling.py", "the same records with scores: one line an entry")
    server = cli.add_server(parser, "judge's server", "", "--api_port", 31415)
    server.add_argument("--model_name", metavar="NAME", help="the judge's name at the server")
    server.add_argument("--concurrency", type=cli.concurrency, default=10, metavar="N", help=cli.IN_FLIGHT)
    add_scorer_flags(parser.add_argument_group("scoring"))
    cli.add_selection(parser)
    cli.add_running(parser)
    return parser


def make_job(args: argparse.Namespace) -> Job:
    """What the flags ask for."""
    clients = {}
    if needs_client(args.scorer):
        clients["--model_name"] = cli.make_client(args, "", args.model_name, args.concurrency)
    scorer = make_scorer(args, clients.get("--model_name"))
    return cli.make_job(args, "score.py", work_from_record, clients, scorer=scorer)


if __name__ == "__main__":
    sys.exit(cli.main("score.py", make_job, make_parser()))
