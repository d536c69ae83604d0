"""The flags of the three commands, each declared once, in the groups that ``--help`` shows.

Example: ``parser = make_parser("sampling.py", "Sample answers.", "python sampling.py ..."); add_files(parser, ...)``
"""

from __future__ import annotations

import argparse
from typing import Any, Callable, Dict, NamedTuple

from .. import __version__
from ..flag_types import HelpAll, Parser, duration, finite, float_between, int_between, json_object, path
from ..results.export import ORDERS
from ..results.formats import FORMATS, formats_help
from ..results.pass_rate import per_entry, share_range
from ..results.reasoning import FIELD, REASONING
from ..results.selected_keys import parse_keys
from ..results.selection import REJECTED, SELECTS
from ..servers import urls
from . import selected_file

ABSENT: Dict[str, Any] = {  # the values of the flags that not every command has
    "cache_file": None,
    "dry_run": False,
    "answers_per_question": 0,
    "token_budget": None,
    "time_budget": None,
    "target_accepted": None,
    "breadth": False,
    "stop_loops": False,
    "stop_after": None,
    "give_up_after": None,
    "stop_sure": None,
    "vote_weight": None,
    "majority_min": None,
    "scorer": (),
    "score_min": 0.0,
    "score_max": 10.0,
    "retry_unscored": False,
    "print_judge_prompt": False,
    "accept_score": None,
    "accept_precision": None,
    "pair_precision": None,
    "calibration": None,
    "calibrate": None,
    "select": "best",
    "top_k": 1,
    "select_seed": 0,
    "pairs_per_entry": 1,
    "min_margin": 0.0,
    "length_match": False,
    "reference_as_chosen": False,
    "selected_file": None,
    "selected_format": None,
    "selected_keys": [],
    "selected_order": ORDERS[0],
    "reasoning": REASONING[0],
    "reasoning_field": FIELD,
    "keep_system_prompt": False,
    "pass_rate": None,
    "per_entry": None,
    "rejected": REJECTED[0],
    "report_file": None,
    "generators": None,
    "batch_out": None,
    "batch_in": [],
    "batch_submit": False,
    **selected_file.ABSENT,
}

ACCEPT_HELP = "an answer is accepted if it scores at least S (default for match and math: --score_max)"
BASIC = frozenset(  # what --help shows; --help_all shows all flags
    "help help_all version input_file output_file cache_file config dry_run estimate question_key reference_key "
    "generator_port generator_base_url generator_model scorer_port scorer_base_url scorer_model concurrency "
    "answers_per_question temperature max_tokens scorer judge_prompt print_judge_prompt selected_file select "
    "accept_score report_file local".split()
)

CONVERSATIONS = "conversations or rows: JSON, JSONL, CSV, TSV (plain, .gz or .zst), Parquet, or a folder of such files"


class Role(NamedTuple):
    """How the flags name the servers of one role. Their values are stored under ``name``_port and so on."""

    name: str  # generator or scorer
    title: str  # of the group in --help
    port_flag: str
    default_port: int | None  # None: without a server of its own, the role uses the generator's server and model
    model_flag: str
    url_flag: str
    prefix: str = ""  # of the role's other flags

    def value(self, args: argparse.Namespace, name: str) -> object:
        """The value of one of the role's flags, such as ``extra_body``."""
        return vars(args)[f"{self.name}_{name}"]


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the defaults that say something, and the example as it is written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default in (None, argparse.SUPPRESS) or isinstance(action.default, (bool, dict, list))
        return action.help if silent else super()._get_help_string(action)


def make_parser(prog: str, description: str, example: str) -> Parser:
    """A parser with ``--version``; its ``--help`` ends with an example."""
    parser = Parser(prog=prog, description=description, epilog=f"example:\n  {example}", formatter_class=Help)
    parser.set_defaults(**ABSENT)
    parser.add_argument(
        "--version", action="version", version=f"rejection-sampling {__version__}", help="show the version and exit"
    )
    return parser


def show_basic_flags(parser: Parser) -> None:
    """Makes ``--help`` show the flags that most users need, and adds ``--help_all``."""
    parser.basic = BASIC
    parser.usage = "%(prog)s --input_file PATH --output_file FILE [--FLAG VALUE ...]"
    parser.add_argument("--help_all", action=HelpAll, help="show all flags and exit")


def base_url(text: str) -> str:
    """A flag's type: an http(s) URL without user and password."""
    try:
        urls.base_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text if "?" in text else text.rstrip("/")


port = int_between(1, 65535)


def some_text(text: str) -> str:
    """A flag's type: a text that says something."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def share_below_one(text: str) -> float:
    """A flag's type: a share between 0 and 1.

    >>> share_below_one("0.95")
    0.95
    """
    share = float_between(0, 1)(text)
    if share in (0, 1):
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, not {text!r}")
    return share


def ports(text: str) -> list[int]:
    """A flag's type: a port, or a range of ports such as 8000-8007."""
    first, dash, last = text.partition("-")
    numbers = range(port(first), port(last if dash else first) + 1)
    if not 0 < len(numbers) <= 1000:
        raise argparse.ArgumentTypeError(f"must be a port, or a range such as 8000-8007, not {text!r}")
    return list(numbers)


def concurrency(text: str) -> int | None:
    """A flag's type: a number of requests in flight; None for ``auto``."""
    return None if text == "auto" else int_between(1)(text)


def add_files(parser: Parser, input_help: str, output_help: str, several: bool = False) -> argparse._ArgumentGroup:
    """Where the input is (or the ``several`` inputs are) and where the output goes."""
    show_basic_flags(parser)
    group = parser.add_argument_group("files")
    add = group.add_argument
    add("--input_file", required=True, type=path, metavar="PATH", nargs="+" if several else None, help=input_help)
    add("--output_file", required=True, type=path, metavar="FILE", help=output_help)
    add(
        "--config",
        type=path,
        metavar="FILE",
        help="set flags by name in a .yaml, .toml or .json file, such as a run's .settings.json; the command line wins",
    )
    add("--limit", type=int_between(1), metavar="N", help="process only the first N entries of the input")
    add(
        "--image_root",
        type=path,
        metavar="DIR",
        help="folder that image paths are relative to and may not leave (default: relative to the input file's folder, "
        "and free to leave it)",
    )
    size = float_between(0.001, 10_000)
    add("--max_image_mb", type=size, default=20.0, metavar="MB", help="largest image that is sent")
    add("--allow_mixed", action="store_true", help="add to an output that was written with other settings")
    add("--quiet", action="store_true", help="show no progress bar and no summary")
    return group


def add_reading(parser: argparse.ArgumentParser) -> None:
    """What the commands have that only read an output."""
    add = parser.add_argument_group("files").add_argument
    add("--image_root", metavar="DIR", help="folder that image paths are relative to (default: the output's)")
    add("--quiet", action="store_true", help="print nothing")
    add_selection(parser)


def add_calibrate(group: argparse._ArgumentGroup) -> None:
    """Labelled answers as the input."""
    group.add_argument(
        "--calibrate",
        type=path,
        metavar="LABELLED",
        help="instead of --input_file: score labelled answers or pairs, and measure the scorer by their labels, into "
        "OUTPUT_FILE.calibration.json",
    )


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Which keys of an entry are read, where their names do not say it."""
    add = parser.add_argument_group("columns (dotted paths, such as reward_model.ground_truth)").add_argument
    add("--question_key", metavar="KEY", help="holds the question (default: recognised by its name)")
    add("--reference_key", metavar="KEY", help="holds the reference (default: recognised by its name)")
    add("--system_key", metavar="KEY", help="holds the system text (default: system)")
    add("--images_key", metavar="KEY", help="holds the images (default: images, or image)")
    add(
        "--prompt_template",
        type=path,
        metavar="FILE",
        help="text around each question: it holds {question}, and may hold {row.KEY} for other keys of the entry",
    )


def add_server(parser: argparse.ArgumentParser, role: Role) -> argparse._ArgumentGroup:
    """One role's servers: ports or base URLs, the key, extra fields, limits."""
    group = parser.add_argument_group(role.title)
    shares = role.default_port is None
    default_server = "the generator's server" if shares else role.default_port

    def add(flag: str, name: str, help: str, **options: object) -> None:
        has_common_name = name in ("port", "model") and not shares
        names = dict.fromkeys([flag, f"--{name}"] if has_common_name else [flag])  # each once
        group.add_argument(*names, dest=f"{role.name}_{name}", help=help, **options)  # type: ignore[arg-type]

    add(
        role.port_flag,
        "port",
        f"port(s) of servers on this machine, or ranges such as 8000-8007 (default: {default_server})",
        type=ports,
        nargs="+",
        metavar="PORT",
    )
    add(
        role.url_flag,
        "base_url",
        f"base URL(s) ending in /v1, instead of {role.port_flag}"
        + ("" if shares else " (default: that of the environment variable OPENAI_BASE_URL, if it is set)"),
        type=base_url,
        nargs="+",
        metavar="URL",
    )
    add(role.model_flag, "model", _about_models(role), nargs="+", metavar="NAME")
    add(
        f"--{role.prefix}api_key_env",
        "api_key_env",
        "environment variable that holds the API key"
        + (" (default: the generator's on the same server, else OPENAI_API_KEY)" if shares else ""),
        default=None if shares else "OPENAI_API_KEY",
        metavar="NAME",
    )
    _add_requests(group, role)
    if role.name != "scorer":
        group.add_argument(
            "--generators",
            type=path,
            metavar="FILE",
            help="generators that share the answers, in a .yaml, .toml or .json file: the model, the port, ... of each",
        )
    return group


def _about_models(role: Role) -> str:
    default = "the generator's on the same server, else " if role.default_port is None else ""
    are = "a panel of judges" if role.name == "scorer" else "generators that share the answers"
    several = f"several are {are}, with a port or a base URL each, or one for all"
    return f"the name of the model at the server (default: {default}the one that the server lists); {several}"


def _add_requests(group: argparse._ArgumentGroup, role: Role) -> None:
    """What a role's requests hold besides, and how many are sent."""
    group.add_argument(
        f"--{role.prefix}extra_body",
        dest=f"{role.name}_extra_body",
        help="fields to add to each request; null leaves out a field that we send",
        type=json_object,
        default={},
        metavar="JSON",
    )
    for unit, of in (("requests", ""), ("tokens", " (prompts and replies)")):
        group.add_argument(
            f"--{role.prefix}{unit}_per_minute",
            dest=f"{role.name}_{unit}_per_minute",
            help=f"send at most N {unit}{of} per minute",
            type=float_between(0.001),
            metavar="N",
        )


def add_own_server(group: argparse._ArgumentGroup, name: str) -> None:
    """Where a scorer's server is, if it is not the server of the scorer's role."""
    port_flag, url_flag = f"--{name}_port", f"--{name}_base_url"
    add = group.add_argument
    add(port_flag, type=ports, nargs="+", metavar="PORT", help="port(s) of its servers (default: the scorer's server)")
    add(url_flag, type=base_url, nargs="+", metavar="URL", help=f"its base URL(s), instead of {port_flag}")
    add(f"--{name}_model", metavar="NAME", help="its name at the server (default: the one that the server lists)")


def add_concurrency(group: argparse._ArgumentGroup, flag: str, default: int, per_role: str = "") -> None:
    """How many requests are in flight."""
    group.add_argument(
        *dict.fromkeys([flag, "--concurrency"]),
        dest="concurrency",
        type=concurrency,
        default=default,
        metavar="N",
        help=f"requests in flight{per_role}, or auto: finds the number that keeps the servers full",
    )


def add_running(parser: argparse.ArgumentParser) -> None:
    """Where the entries are processed, and how often a request is tried."""
    group = parser.add_argument_group("running")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--local",
        type=path,
        nargs="?",
        const="",
        metavar="GGUF",
        help="start an embedded llama.cpp server for this run; without a file it serves SmolLM2-135M-Instruct",
    )
    where.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on a Ray cluster: auto, HOST:PORT, or a local one if omitted; each node uses the servers on its own "
        "ports",
    )
    add = group.add_argument
    add("--max_retries", type=int_between(0), default=5, metavar="N", help="further tries of a request that failed")
    add("--request_timeout", type=float_between(0.001), default=600.0, metavar="S", help="seconds to wait for a reply")
    add(
        "--longest_wait",
        type=float_between(0),
        default=3600.0,
        metavar="S",
        help="seconds to wait, at most, for a server that refuses requests for now",
    )


def add_sampling(parser: argparse.ArgumentParser, answers: int) -> None:
    """How many answers each entry gets, and how they are sampled."""
    add = parser.add_argument_group("sampling").add_argument
    add("--answers_per_question", type=int_between(1), default=answers, metavar="N", help="answers per entry")
    add("--temperature", type=float_between(0), default=0.8, metavar="T", help="sampling temperature")
    add("--top_p", type=float_between(0, 1), metavar="P", help="nucleus sampling (default: the server's)")
    add("--max_tokens", type=int_between(1), metavar="N", help="tokens per answer (default: the server's)")
    add("--seed", type=int_between(0), metavar="N", help="give each answer its own seed, derived from N")
    add("--system_prompt", metavar="TEXT", help="for entries without a system turn of their own")
    add(
        "--prefill",
        type=some_text,
        metavar="TEXT",
        help="what each answer begins with: the server continues it, and the answer holds both",
    )
    add("--samples_per_request", type=int_between(1), default=1, metavar="K", help="choices per request")
    add(
        "--token_budget",
        type=int_between(1),
        metavar="T",
        help="request no further answers after T completion tokens",
    )
    add(
        "--time_budget",
        type=duration,
        metavar="TIME",
        help="request no further answers after this time, such as 8h, 90m or 1h30m",
    )
    add(
        "--breadth",
        action="store_true",
        help="sample one answer for every entry, then a second one where it is still needed, and so on; with a budget, "
        "where an accepted answer takes the fewest tokens",
    )
    add(
        "--stop_loops",
        action="store_true",
        help="end an answer that repeats itself: by vLLM's own means, elsewhere by closing the connection of a stream",
    )


def add_stopping(parser: argparse.ArgumentParser) -> None:
    """When an entry has enough answers."""
    add = parser.add_argument_group("early stopping").add_argument
    add("--stop_after", type=int_between(1), metavar="K", help="stop sampling an entry with K accepted answers")
    add(
        "--give_up_after",
        type=int_between(1),
        metavar="M",
        help="stop sampling an entry if none of its first M answers is accepted",
    )
    add(
        "--target_accepted",
        type=int_between(1),
        metavar="N",
        help="end the run with N selected rows of accepted answers, those of the easiest entries (with --breadth)",
    )
    add(
        "--stop_sure",
        type=float_between(0.5, 0.999999),
        metavar="P",
        help="with majority, stop sampling an entry once its leading answer is, with probability P, the one that the "
        "model gives most often: 0.95",
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which candidates are kept, in which format, and the report."""
    add = parser.add_argument_group("selection").add_argument
    add(
        "--selected_file",
        type=path,
        metavar="FILE",
        help="write the selected answers here: .json (a list), .jsonl or .parquet",
    )
    _add_rows(add)
    add("--select", choices=SELECTS, default="best", help="which answers of an entry are selected")
    add("--accept_score", type=finite, metavar="S", help=ACCEPT_HELP)
    _add_calibrated(add)
    add(
        "--pass_rate",
        type=share_range,
        metavar="LOW-HIGH",
        help="select only from entries of which this share of the scored answers is accepted, such as 0.1-0.9",
    )
    add(
        "--per_entry",
        type=per_entry,
        metavar="HOW",
        help="answers per entry, for top_k, threshold and random: uniform:K, or prop2diff, more for hard entries",
    )
    add("--top_k", type=int_between(1), default=1, metavar="K", help="answers per entry, for top_k and random")
    add("--distinct", action="store_true", help="for top_k: the accepted answers that differ most from each other")
    add("--select_seed", type=int_between(0), default=0, metavar="N", help="another N picks other answers at random")
    add("--pairs_per_entry", type=int_between(1), default=1, metavar="K", help="pairs per entry, for dpo")
    add("--min_margin", type=float_between(0), default=0.0, metavar="S", help="least difference of a pair's scores")
    add("--rejected", choices=REJECTED, default=REJECTED[0], help="the rejected answer of a pair, by its score")
    add("--length_match", action="store_true", help="prefer pairs of similar length")
    add("--reference_as_chosen", action="store_true", help="the reference is the chosen answer of each pair")
    add("--report_file", type=path, metavar="FILE", help="write a page (.html) that shows the results of the run")
    selected_file.add_cleaning(parser)


def _add_calibrated(add: Callable[..., argparse.Action]) -> None:
    """Thresholds that a calibration finds."""
    add("--calibration", type=path, metavar="FILE", help="the file that score.py --calibrate wrote for this scorer")
    add(
        "--accept_precision",
        type=share_below_one,
        metavar="P",
        help="instead of --accept_score: the lowest score at which at least the share P of answers is right, with 95%% "
        "confidence, by --calibration",
    )
    add(
        "--pair_precision",
        type=share_below_one,
        metavar="P",
        help="instead of --min_margin: the least margin at which at least the share P of pairs is in order, with 95%% "
        "confidence, by --calibration",
    )


def _add_rows(add: Callable[..., argparse.Action]) -> None:
    """How the rows of the selected file look."""
    add(
        "--selected_format",
        choices=list(FORMATS),
        help=f"format of --selected_file (default: preference for --select dpo, else sharegpt). {formats_help()}",
    )
    add(
        "--selected_keys",
        type=parse_keys,
        default=[],
        metavar="KEY,...",
        help="further columns: keys of the entry and of its answer, such as id,source,score,entry_id,model",
    )
    add("--selected_order", choices=ORDERS, default=ORDERS[0], help="the rows are in the order of this file")
    add(
        "--reasoning",
        choices=REASONING,
        default=REASONING[0],
        help="thoughts of the selected answers: think puts <think> before the answer, field gives them a key of the "
        "message, drop leaves them out; auto is field for formats of messages, else think",
    )
    add("--reasoning_field", default=FIELD, metavar="KEY", help="the key of thoughts in a message (gpt-oss: thinking)")
    add("--keep_system_prompt", action="store_true", help="put --system_prompt into the rows of --selected_file")


def add_planning(parser: argparse.ArgumentParser) -> None:
    """What is told before a whole job is run."""
    group = parser.add_argument_group("before a run")
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--dry_run",
        action="store_true",
        help="send and write nothing: show what was read, how many requests there would be, and the first of each role",
    )
    one.add_argument(
        "--estimate",
        type=int_between(1),
        metavar="N",
        help="process N entries spread over the input, and estimate tokens, time and cost of the whole job",
    )
    for name, tokens in (("in", "prompt"), ("out", "completion")):
        group.add_argument(
            f"--price_{name}",
            type=float_between(0),
            nargs="+",
            metavar="P",
            help=f"price per million {tokens} tokens, for --estimate: one for all roles, or the generator's and the "
            "judge's",
        )


def add_batches(parser: argparse.ArgumentParser) -> None:
    """Batch files in place of requests."""
    group = parser.add_argument_group("batch files (OpenAI's Batch API, vllm run-batch)")
    add = group.add_argument
    add("--batch_out", type=path, metavar="DIR", help="send nothing: write what is missing as batch files to DIR")
    add(
        "--batch_in",
        type=path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="send nothing: take replies from these files; with --batch_out, write what is still missing",
    )
    add(
        "--batch_submit",
        action="store_true",
        help="upload batch files to the server, wait for their replies and take them, until nothing is missing",
    )
