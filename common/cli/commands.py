"""The commands: sample, score and reject, which are also the scripts of a clone, and report, select and serve.

Example: ``python -m common sample --input_file data/input.json --output_file data/sampled.jsonl --local``
"""

from __future__ import annotations

import argparse
import functools
import io
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Iterator, Sequence

from .. import __version__
from ..errors import Interrupted, ToolkitError, printable
from ..flag_types import Parser, path
from ..scoring.judge import prompt_of_flags
from ..scoring.scorers import add_scorer_flags, show_named
from ..streams import let_interrupts_raise, say
from . import flags
from .config import parse
from .flags import Role

if TYPE_CHECKING:
    from ..running.job import Job

GENERATOR = Role("generator", "server", "--port", 31415, "--model_name", "--base_url")
JUDGE = Role("scorer", "judge's server", "--api_port", 31415, "--model_name", "--base_url")
REJECT_GENERATOR = Role(
    "generator", "generator's server", "--generator_port", 31415, "--generator_model", "--generator_base_url"
)
REJECT_JUDGE = Role("scorer", "judge's server", "--scorer_port", None, "--scorer_model", "--scorer_base_url", "scorer_")

OUTPUT_HELP = "an output of a run"


@dataclass(frozen=True)
class Command:
    """One command: its script in a clone, its flags, and what it does with them."""

    name: str
    script: str
    help: str
    add_flags: Callable[[Parser], None]
    run: Callable[[argparse.Namespace, str], int]  # with the name of the command for messages; gives the exit code
    example: str
    resumes: bool = True  # whether the same command goes on with an unfinished job

    def make_parser(self, prog: str | None = None) -> Parser:
        """The command's parser; ``prog`` is how the user calls it (default: its script)."""
        description = f"{self.help} Run the same command again to resume." if self.resumes else self.help
        parser = flags.make_parser(prog or self.script, description, self.example)
        self.add_flags(parser)
        parser.others = functools.partial(parsers, parser.prog, self.name)
        return parser


def add_sample_flags(parser: Parser) -> None:
    flags.add_files(parser, flags.CONVERSATIONS, "records: one line per entry")
    flags.add_columns(parser)
    flags.add_concurrency(flags.add_server(parser, GENERATOR), "--concurrent_requests", 10)
    flags.add_sampling(parser, answers=10)
    flags.add_running(parser)
    flags.add_batches(parser)
    flags.add_planning(parser)


def add_score_flags(parser: Parser) -> None:
    files = flags.add_files(
        parser,
        "records of sampling.py; of several files, the answers to the same entry are joined",
        "the same records with scores: one line per entry",
        several=True,
    )
    flags.add_calibrate(files)
    flags.add_concurrency(flags.add_server(parser, JUDGE), "--concurrency", 10)
    add_scorer_flags(parser, flags.add_own_server)
    flags.add_selection(parser)
    flags.add_running(parser)
    flags.add_batches(parser)
    flags.add_planning(parser)


def add_reject_flags(parser: Parser) -> None:
    files = flags.add_files(parser, flags.CONVERSATIONS, "records with scores: one line per entry")
    files.add_argument(
        "--cache_file",
        type=path,
        metavar="FILE",
        help="keep each answer and each score here for later runs (without it they are kept until the run is complete)",
    )
    flags.add_columns(parser)
    flags.add_concurrency(flags.add_server(parser, REJECT_GENERATOR), "--concurrency", 5, " per role")
    flags.add_server(parser, REJECT_JUDGE)
    flags.add_sampling(parser, answers=4)
    flags.add_stopping(parser)
    add_scorer_flags(parser, flags.add_own_server)
    flags.add_selection(parser)
    flags.add_running(parser)
    flags.add_planning(parser)


def add_report_flags(parser: Parser) -> None:
    parser.add_argument("outputs", metavar="OUTPUT", nargs="+", help=f"{OUTPUT_HELP}; two are compared")
    flags.add_reading(parser)


def add_select_flags(parser: Parser) -> None:
    parser.add_argument("outputs", metavar="OUTPUT", nargs="?", help=OUTPUT_HELP)
    parser.add_argument(
        "--verify",
        type=path,
        metavar="FILE",
        help="make this selected file again from its output, by the card beside it, and compare each byte",
    )
    flags.add_reading(parser)


def sample(args: argparse.Namespace, prog: str) -> int:
    from .build import make_job, make_reader

    return start(make_job(args, prog, make_reader(args), generator=GENERATOR), args)


def score(args: argparse.Namespace, prog: str) -> int:
    from ..input.conversations import work_from_record
    from ..input.labelled import labelled_work
    from .build import make_job

    read = work_from_record if args.calibrate is None else labelled_work
    return start(make_job(args, prog, read, scorer=JUDGE), args)


def reject(args: argparse.Namespace, prog: str) -> int:
    from .build import make_job, make_reader

    return start(make_job(args, prog, make_reader(args), generator=REJECT_GENERATOR, scorer=REJECT_JUDGE), args)


def start(job: Job, args: argparse.Namespace) -> int:
    """Does what the flags ask for with a job; returns the exit code."""
    do = what_to_do(args)
    let_interrupts_raise()
    return do(job)


def what_to_do(args: argparse.Namespace) -> Callable[[Job], int]:
    """What the flags ask for. Only that is imported."""
    if args.dry_run:
        from ..running.dry_run import dry_run

        return dry_run
    if args.batch_submit or args.batch_out or args.batch_in:
        from ..running.batch_submit import run_on_files, submit

        if args.batch_submit:
            return submit
        return functools.partial(run_on_files, folder=args.batch_out, replies=args.batch_in)
    from ..running.run import run

    return run


def report(args: argparse.Namespace, prog: str) -> int:
    from .outputs import make_report, write

    reading = make_report(args, prog)
    let_interrupts_raise()
    return write(reading)


def select(args: argparse.Namespace, prog: str) -> int:
    from .outputs import make_selection, select

    wanted = make_selection(args, prog)
    let_interrupts_raise()
    return select(wanted)


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "sample",
            "sampling.py",
            "Sample N answers per question.",
            add_sample_flags,
            sample,
            "python sampling.py --input_file data/input.json --output_file data/sampled.jsonl --port 31415 "
            "--answers_per_question 10",
        ),
        Command(
            "score",
            "score.py",
            "Score each answer of sampling.py's records.",
            add_score_flags,
            score,
            "python score.py --input_file data/sampled.jsonl --output_file data/scored.jsonl --port 31415 "
            "--concurrency 10",
        ),
        Command(
            "reject",
            "reject.py",
            "Sample N answers per question, score them, select the best.",
            add_reject_flags,
            reject,
            "python reject.py --input_file data/input.json --output_file data/results.jsonl --port 31415 "
            "--scorer match --accept_score 10 --selected_file data/train.jsonl",
        ),
    )
}

READERS = {  # the commands that only read an output; they have no script
    command.name: command
    for command in (
        Command(
            "report",
            "rejection-sampling report",
            "Write a page that shows an output, or compares two. It may still be written by a run.",
            add_report_flags,
            report,
            "rejection-sampling report out/answers.jsonl --accept_score 8",
            resumes=False,
        ),
        Command(
            "select",
            "rejection-sampling select",
            "Write the selected answers of an output. It may still be written by a run.",
            add_select_flags,
            select,
            "rejection-sampling select out/answers.jsonl --select dpo --min_margin 2 --selected_file out/pairs.jsonl",
            resumes=False,
        ),
    )
}


def parsers(prog: str, name: str) -> Iterator[Parser]:
    """The parsers of the other commands, each with the name by which a user calls it who calls this one ``prog``."""
    before = prog.rpartition(" ")[0]
    for other in (*COMMANDS.values(), *READERS.values()):
        if other.name != name:
            yield other.make_parser(f"{before} {other.name}" if before else other.script)


def main(prog: str, arguments: Sequence[str]) -> int:
    """``rejection-sampling COMMAND ...``: runs the named command; returns its exit code."""
    parser = Parser(prog=prog, description="Rejection sampling: sample answers, score them, select the best.")
    parser.add_argument("--version", action="version", version=f"rejection-sampling {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (*COMMANDS.values(), *READERS.values()):
        commands.add_parser(command.name, help=command.help, add_help=False)
    commands.add_parser("serve", help="Serve a GGUF model on this machine until Ctrl-C.", add_help=False)
    name = parser.parse_args(arguments[:1]).command
    called = f"{prog} {name}"
    if name == "serve":
        from ..servers import local

        let_interrupts_raise()
        return local.main(called, arguments[1:])
    return run_command(name, called, arguments[1:])


def run_command(name: str, prog: str, arguments: Sequence[str]) -> int:
    """Parses, runs, and turns each ToolkitError into one line on stderr and its exit code."""
    command = {**COMMANDS, **READERS}[name]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a path must not end the run
    try:
        parser = command.make_parser(prog)
        show_named(parser, arguments)
        args = parse(parser, arguments)
        if args.print_judge_prompt:
            say(prompt_of_flags(args), sys.stdout)
            return 0
        log_to_stderr(prog, logging.ERROR if args.quiet else logging.INFO)
        return command.run(args, prog)
    except (Interrupted, KeyboardInterrupt):  # the user's own wish is not an error
        say(f"{prog}: {Interrupted()}", sys.stderr)
        return Interrupted.exit_code
    except ToolkitError as error:
        say(f"{prog}: error: {error}", sys.stderr)
        return error.exit_code


class PrintableFormatter(logging.Formatter):
    """Shows each message as one printable line: it may hold others' names and texts."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr(prog: str, level: int) -> None:
    """Shows messages of a level and above on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(f"{prog}: %(message)s"))
    logging.basicConfig(handlers=[handler], level=level)
