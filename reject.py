#!/usr/bin/env python3
"""Rejection sampling in one run: draws answers, scores them as they come, selects the best.

Example: ``python reject.py --input_file data/input.json --output_file data/final_results.jsonl --local --scorer match``
"""

from __future__ import annotations

import argparse
import sys

from common.cli import flags as cli
from common.input.conversations import entry_from_conversation
from common.records import PendingEntry
from common.running.run import Job
from common.scoring.scorers import add_scorer_flags, make_scorer, needs_client


def make_parser() -> argparse.ArgumentParser:
    """The flags of reject.py."""
    parser = cli.make_parser(
        "reject.py",
        "Draw N answers to each question, score them, select the best. The same command again resumes.",
        "python reject.py --input_file data/input.json --output_file data/final_results.jsonl "
        "--cache_file data/sampling_cache.jsonl --generator_model gen-model --scorer_model judge-model "
        "--generator_port 31415 --scorer_port 31416 --concurrency 5 --answers_per_question 4",
    )
    files = cli.add_files(
        parser,
        cli.CONVERSATIONS,
        "records with scores: one line an entry",
    )
    files.add_argument(
        "--cache_file",
        metavar="FILE",
        help="keep each answer and score here, for later runs to use (without it: kept until the run is complete)",
    )
    generator = cli.add_server(parser, "generator's server", "generator_", "--generator_port", 31415)
    generator.add_argument("--generator_model", metavar="NAME", help="the generator's name at its server")
    generator.add_argument(
        "--concurrency", type=cli.concurrency, default=5, metavar="N", help=f"{cli.IN_FLIGHT}, to each role's servers"
    )
    judge = cli.add_server(parser, "judge's server", "scorer_", "--scorer_port", 31416)
    judge.add_argument("--scorer_model", metavar="NAME", help="the judge's name at its server")
    cli.add_sampling(parser, answers=4)
    cli.add_stopping(parser)
    add_scorer_flags(parser.add_argument_group("scoring"))
    cli.add_selection(parser)
    cli.add_running(parser)
    return parser


def make_job(args: argparse.Namespace) -> Job:
    """What the flags ask for."""
    generator = cli.make_client(args, "generator_", args.generator_model, args.concurrency)
    clients = {"--generator_model": generator}
    if needs_client(args.scorer):
        clients["--scorer_model"] = cli.make_client(args, "scorer_", args.scorer_model, args.concurrency)
    return cli.make_job(
        args,
        "reject.py",
        lambda item, line: PendingEntry(entry_from_conversation(item, line), None),
        clients,
        sampler=cli.make_sampler(args, generator),
        scorer=make_scorer(args, clients.get("--scorer_model")),
    )


if __name__ == "__main__":
    sys.exit(cli.main("reject.py", make_job, make_parser()))
