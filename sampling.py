#!/usr/bin/env python3
"""Draws N answers to each question from an OpenAI-compatible server.

Example: ``python sampling.py --input_file data/input.json --output_file data/sampled.jsonl --local``
"""

from __future__ import annotations

import argparse
import sys

from common.cli import flags as cli
from common.input.conversations import entry_from_conversation
from common.records import PendingEntry
from common.running.run import Job


def make_parser() -> argparse.ArgumentParser:
    """The flags of sampling.py."""
    parser = cli.make_parser(
        "sampling.py",
        "Draw N answers to each question. The same command again resumes.",
        "python sampling.py --input_file data/input.json --output_file data/sampled.jsonl "
        "--model_name your-model-name --port 31415 --concurrent_requests 10 --answers_per_question 10",
    )
    cli.add_files(parser, cli.CONVERSATIONS, "records: one line an entry")
    server = cli.add_server(parser, "server", "", "--port", 31415)
    server.add_argument("--model_name", metavar="NAME", help="the model's name at the server")
    server.add_argument("--concurrent_requests", type=cli.concurrency, default=10, metavar="N", help=cli.IN_FLIGHT)
    cli.add_sampling(parser, answers=10)
    cli.add_running(parser)
    return parser


def make_job(args: argparse.Namespace) -> Job:
    """What the flags ask for."""
    client = cli.make_client(args, "", args.model_name, args.concurrent_requests)
    return cli.make_job(
        args,
        "sampling.py",
        lambda item, line: PendingEntry(entry_from_conversation(item, line), None),
        {"--model_name": client},
        sampler=cli.make_sampler(args, client),
    )


if __name__ == "__main__":
    sys.exit(cli.main("sampling.py", make_job, make_parser()))
