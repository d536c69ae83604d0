"""The command line: flags spelled once for all three scripts, logging, errors as one line.

Example: ``sys.exit(main("score.py", build, parser()))``
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import os
import sys
from typing import Any, Callable, Dict, List, NoReturn, Optional
from urllib.parse import urlsplit

from tqdm.contrib.logging import logging_redirect_tqdm

from ..errors import ToolkitError, UsageError
from ..records import PendingEntry
from ..results.export import check_selection
from ..results.formats import FORMATS, formats_help
from ..results.report import require_packages
from ..results.selection import SELECTS, Selection
from ..running.early_stopping import StopRule
from ..running.ray_cluster import need_ray
from ..running.run import Job, run
from ..running.sampler import Sampler
from ..scoring.judge import MODES, Judge
from ..scoring.judge_prompt import read_judge_prompt
from ..scoring.rule_processes import Verifier, need_math_verify, source_of
from ..scoring.scorers import Scorer, cascade, judge_scorer, match_scorer, verifier_scorer
from ..servers.client import ChatClient, need_open_files
from ..servers.local import LocalServer, default_model, model_name
from ..servers.rate_limit import RateLimit

IN_FLIGHT = "requests in flight, or auto: what keeps the servers full"
LOCAL_SLOTS = 8  # of the embedded server, where the number in flight is to be found
RULES_AT_ONCE = 8  # calls of an async rule, there


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage block."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults where there are some, the example as it is written."""

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        hidden = any(action.default is nothing for nothing in (None, False)) or action.default in ({}, ["judge"])
        return action.help if hidden else super()._get_help_string(action)


def make_parser(script: str, description: str, example: str) -> argparse.ArgumentParser:
    """An empty parser whose --help ends with an example."""
    return _Parser(
        prog=script,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=_Help,
        allow_abbrev=False,
    )


def whole(low: int, high: Optional[int] = None) -> Callable[[str], int]:
    """A flag's type: a whole number from ``low`` (to ``high``)."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            bounds = f"{low} to {high}" if high is not None else f"{low} or more"
            raise argparse.ArgumentTypeError(f"must be a whole number, {bounds}, not {text!r}")
        return value

    return parse


def number(low: float, high: float = float("inf")) -> Callable[[str], float]:
    """A flag's type: a number from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high or value == float("inf"):
            bounds = f"{low:g} to {high:g}" if high != float("inf") else f"{low:g} or more"
            raise argparse.ArgumentTypeError(f"must be a number, {bounds}, not {text!r}")
        return value

    return parse


def json_object(text: str) -> Dict[str, Any]:
    """A flag's type: a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object, not {text!r}")
    return value


def base_url(text: str) -> str:
    """A flag's type: an http(s) URL."""
    parts = urlsplit(text)
    if parts.username is not None:
        raise argparse.ArgumentTypeError("must not hold a user or password; a key comes from the environment")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"must be a URL such as http://127.0.0.1:8000/v1, not {text!r}")
    return text.rstrip("/")


def ports(text: str) -> List[int]:
    """A flag's type: a port, or a range of them such as 8000-8007."""
    first, dash, last = text.partition("-")
    found = range(port(first), port(last if dash else first) + 1)
    if not 0 < len(found) <= 1000:
        raise argparse.ArgumentTypeError(f"must be a port, or a range such as 8000-8007, not {text!r}")
    return list(found)


def concurrency(text: str) -> Optional[int]:
    """A flag's type: a number of requests in flight; None for ``auto``."""
    return None if text == "auto" else whole(1)(text)


CONVERSATIONS = "conversations: JSON or JSONL (also as .gz or .zst), Parquet, or a folder of such files"
port = whole(1, 65535)
finite = number(-1e308, 1e308)


def add_files(parser: argparse.ArgumentParser, input_help: str, output_help: str) -> argparse._ArgumentGroup:
    """--input_file, --output_file, --limit, --image_root, --allow_mixed, --quiet."""
    group = parser.add_argument_group("files")
    group.add_argument("--input_file", required=True, metavar="PATH", help=input_help)
    group.add_argument("--output_file", required=True, metavar="FILE", help=output_help)
    group.add_argument("--limit", type=whole(1), metavar="N", help="do only the first N entries of the input")
    group.add_argument(
        "--image_root",
        metavar="DIR",
        help="folder that image paths are relative to and may not leave (without it: the input file's folder)",
    )
    group.add_argument(
        "--max_image_mb", type=number(0.001, 10_000), default=20.0, metavar="MB", help="largest image file that is sent"
    )
    group.add_argument(
        "--allow_mixed", action="store_true", help="add to an output that was written with other settings"
    )
    group.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    return group


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which candidates are kept, in which form, and the report."""
    group = parser.add_argument_group("selection")
    add = group.add_argument
    add("--selected_file", metavar="FILE", help="write what is selected here: .json (a list), .jsonl or .parquet")
    add(
        "--selected_format",
        choices=FORMATS,
        help=f"format of --selected_file (default: preference for --select dpo, else sharegpt). {formats_help()}",
    )
    add("--select", choices=SELECTS, default="best", help="which answers of an entry")
    add("--accept_score", type=finite, metavar="S", help="only answers that score at least S")
    add("--top_k", type=whole(1), default=1, metavar="K", help="answers an entry, for top_k and random")
    add("--select_seed", type=whole(0), default=0, metavar="N", help="another N picks other answers at random")
    add("--pairs_per_entry", type=whole(1), default=1, metavar="K", help="pairs an entry, for dpo")
    add("--min_margin", type=number(0), default=0.0, metavar="S", help="least difference of a pair's scores")
    add("--length_match", action="store_true", help="prefer pairs of similar length")
    add("--reference_as_chosen", action="store_true", help="the reference is the chosen answer of each pair")
    add("--report_file", metavar="FILE", help="write a page here (.html) that shows what came of it all")


def add_server(
    parser: argparse.ArgumentParser, title: str, prefix: str, port_flag: str, default_port: int
) -> argparse._ArgumentGroup:
    """One role's servers: ports or base URLs, the key's variable, extra fields; ``prefix`` as ``scorer_``."""
    group = parser.add_argument_group(title)
    group.add_argument(
        port_flag,
        dest=f"{prefix}port",
        type=ports,
        nargs="+",
        metavar="PORT",
        help=f"port(s) of servers on this machine, or ranges such as 8000-8007 (default: {default_port})",
    )
    group.add_argument(
        f"--{prefix}base_url", type=base_url, nargs="+", metavar="URL", help="base URL(s) ending in /v1, for ports"
    )
    group.add_argument(
        f"--{prefix.replace('generator_', '')}api_key_env",
        dest=f"{prefix}api_key_env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable that holds the API key",
    )
    group.add_argument(
        f"--{prefix.replace('generator_', '')}extra_body",
        dest=f"{prefix}extra_body",
        type=json_object,
        default={},
        metavar="JSON",
        help="fields added to each request; a null removes one",
    )
    for what, of in (("requests", ""), ("tokens", " of prompts and replies")):
        group.add_argument(
            f"--{prefix.replace('generator_', '')}{what}_per_minute",
            dest=f"{prefix}{what}_per_minute",
            type=number(0.001),
            metavar="N",
            help=f"send no more {what}{of} a minute",
        )
    parser.set_defaults(**{f"{prefix}default_port": default_port})
    return group


def add_running(parser: argparse.ArgumentParser) -> None:
    """--local, --ray, --max_retries, --request_timeout."""
    group = parser.add_argument_group("running")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--local",
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
        help="do the entries on the Ray cluster there (auto, HOST:PORT; without it: on this machine's), each node "
        "asking the servers at its own ports",
    )
    group.add_argument(
        "--max_retries", type=whole(0), default=5, metavar="N", help="further tries of a request that failed"
    )
    group.add_argument(
        "--request_timeout", type=number(0.001), default=600.0, metavar="S", help="seconds to wait for a reply"
    )


def add_sampling(parser: argparse.ArgumentParser, answers: int) -> None:
    """--answers_per_question and how each answer is drawn."""
    group = parser.add_argument_group("sampling")
    group.add_argument("--answers_per_question", type=whole(1), default=answers, metavar="N", help="answers an entry")
    group.add_argument("--temperature", type=number(0), default=0.8, metavar="T", help="sampling temperature")
    group.add_argument("--top_p", type=number(0, 1), metavar="P", help="nucleus sampling (default: the server's)")
    group.add_argument("--max_tokens", type=whole(1), metavar="N", help="tokens an answer (default: the server's)")
    group.add_argument("--seed", type=whole(0), metavar="N", help="give each answer its own seed, derived from N")
    group.add_argument("--system_prompt", metavar="TEXT", help="for entries without a system turn of their own")
    group.add_argument(
        "--samples_per_request", type=whole(1), default=1, metavar="K", help="choices asked for in one request"
    )
    group.add_argument(
        "--token_budget", type=whole(1), metavar="T", help="start no further draw once this run has spent T tokens"
    )


def add_stopping(parser: argparse.ArgumentParser) -> None:
    """When an entry has enough answers."""
    add = parser.add_argument_group("enough").add_argument
    add("--stop_after", type=whole(1), metavar="K", help="draw no more for an entry with K answers of --accept_score")
    add("--give_up_after", type=whole(1), metavar="M", help="nor for one with none among its first M")


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """--scorer, the range, and the judge's own flags."""
    group = parser.add_argument_group("scoring")
    group.add_argument(
        "--scorer",
        type=scorer_name,
        nargs="+",
        default=["judge"],
        metavar="NAME",
        help="judge (an LLM), or rules: match, math, python:FILE.py:FUNCTION; of several the first that decides "
        "(default: judge)",
    )
    group.add_argument("--score_min", type=finite, default=0.0, metavar="S", help="lowest score")
    group.add_argument("--score_max", type=finite, default=10.0, metavar="S", help="highest score")
    group.add_argument(
        "--judge_prompt", metavar="FILE", help="a prompt of your own with {question}, {reference}, {answer}"
    )
    group.add_argument("--judge_images", action="store_true", help="show the judge the entry's images")
    group.add_argument("--judge_mode", choices=MODES, default="text", help="how the judge says its score")
    group.add_argument("--judge_samples", type=whole(1), default=1, metavar="K", help="replies whose mean is the score")
    group.add_argument(
        "--judge_temperature", type=number(0), metavar="T", help="the judge's (default: 0, or 1 for several samples)"
    )
    group.add_argument(
        "--judge_max_tokens",
        type=whole(1),
        metavar="N",
        help="tokens a judge's reply may take (default: 1024; logprob 8)",
    )
    group.add_argument(
        "--verifier_timeout",
        type=number(0.001),
        default=30.0,
        metavar="S",
        help="seconds a rule may take for an answer",
    )


def scorer_name(text: str) -> str:
    """A flag's type: the name of a scorer."""
    if text not in ("judge", "match", "math") and not text.startswith("python:"):
        raise argparse.ArgumentTypeError(f"must be judge, match, math or python:FILE.py:FUNCTION, not {text!r}")
    return text


def api_key(variable: str) -> Optional[str]:
    """The key in an environment variable; None if it is empty. UsageError if it cannot be one, without showing it."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            f"the environment variable {variable} holds no key: it has unprintable or non-ASCII characters"
        )
    return key or None


def make_client(args: argparse.Namespace, prefix: str, model: Optional[str], concurrency: Optional[int]) -> ChatClient:
    """The client of the role whose flags begin with ``prefix``; without URLs if it is served by --local."""
    flags = vars(args)
    urls, ports = flags[f"{prefix}base_url"], [one for some in flags[f"{prefix}port"] or () for one in some]
    if urls and ports:
        raise UsageError(f"--{prefix}base_url and ports exclude each other; name one of them")
    local = args.local is not None and not urls and not ports
    if not urls and not local:
        urls = [f"http://127.0.0.1:{one}/v1" for one in ports or [flags[f"{prefix}default_port"]]]
    return ChatClient(
        [] if local else urls,
        model or (model_name(args.local or default_model()) if local else ""),
        concurrency,
        api_key=None if local else api_key(flags[f"{prefix}api_key_env"]),
        max_retries=args.max_retries,
        request_timeout=args.request_timeout,
        extra_body=flags[f"{prefix}extra_body"],
        rate_limit=_rate_limit(flags[f"{prefix}requests_per_minute"], flags[f"{prefix}tokens_per_minute"]),
    )


def _rate_limit(requests: Optional[float], tokens: Optional[float]) -> Optional[RateLimit]:
    return None if requests is None and tokens is None else RateLimit(requests, tokens)


def make_local(args: argparse.Namespace, clients: Dict[str, ChatClient]) -> Optional[LocalServer]:
    """The embedded server for the clients without URLs, if any. UsageError if one with URLs has no model."""
    served = {flag: client for flag, client in clients.items() if not client.urls}
    for flag, client in clients.items():
        if client.urls and not client.model:
            raise UsageError(f"{flag} is required: the model's name at {client.urls[0]} (or --local)")
    if not served:
        return None
    return LocalServer(args.local or None, sum(client.concurrency or LOCAL_SLOTS for client in served.values()))


def make_sampler(args: argparse.Namespace, client: ChatClient) -> Sampler:
    """The sampler that the sampling flags ask for."""
    return Sampler(
        client,
        count=args.answers_per_question,
        per_request=args.samples_per_request,
        temperature=args.temperature,
        top_p=args.top_p,
        max_tokens=args.max_tokens,
        seed=args.seed,
        system_prompt=args.system_prompt,
    )


def make_scorer(args: argparse.Namespace, client: Optional[ChatClient]) -> Scorer:
    """The scorer that the scoring flags ask for; ``client`` is the judge's, None where there is none."""
    if args.score_min >= args.score_max:
        raise UsageError(f"--score_min {args.score_min:g} must be below --score_max {args.score_max:g}")
    if len(set(args.scorer)) < len(args.scorer):
        raise UsageError(f"--scorer {' '.join(args.scorer)} names a scorer twice")
    scorers = [_one_scorer(args, name, client) for name in args.scorer]
    return scorers[0] if len(scorers) == 1 else cascade(scorers, args.score_min)


def _one_scorer(args: argparse.Namespace, name: str, client: Optional[ChatClient]) -> Scorer:
    low, high = args.score_min, args.score_max
    if name == "match":
        return match_scorer(low, high)
    if name == "judge" and client is not None:
        return judge_scorer(make_judge(args, client))
    verifier = Verifier(name, concurrency=args.concurrency or RULES_AT_ONCE, timeout=args.verifier_timeout)
    made_by = need_math_verify() if name == "math" else source_of(name[len("python:") :])
    return verifier_scorer({"scorer": name, f"{name} version": made_by}, verifier, low, high)


def make_judge(args: argparse.Namespace, client: ChatClient) -> Judge:
    """The judge that the judge's flags ask for."""
    low, high, samples, temperature = args.score_min, args.score_max, args.judge_samples, args.judge_temperature
    if args.judge_mode == "logprob" and math.floor(high) - math.ceil(low) < 1:
        raise UsageError(
            f"--judge_mode logprob needs two whole numbers from --score_min {low:g} to --score_max {high:g}"
        )
    if args.judge_mode == "logprob" and high - low > 1000:
        raise UsageError(f"--judge_mode logprob knows 1000 scores at most, not {low:g} to {high:g}")
    if args.judge_mode == "logprob" and samples > 1:
        raise UsageError("--judge_mode logprob needs no --judge_samples: it reads the whole distribution at once")
    if samples > 1 and temperature == 0:
        raise UsageError(f"--judge_samples {samples} at --judge_temperature 0 asks for the same reply {samples} times")
    return Judge(
        client,
        low,
        high,
        mode=args.judge_mode,
        samples=samples,
        template=read_judge_prompt(args.judge_prompt) if args.judge_prompt else None,
        temperature=temperature if temperature is not None else float(samples > 1),
        max_tokens=args.judge_max_tokens,
        images=args.judge_images,
    )


def make_selection(args: argparse.Namespace) -> Selection:
    """What the selection flags ask for; the defaults where a script has none."""
    if "select" not in args:
        return Selection()
    selection = Selection(
        select=args.select,
        top_k=args.top_k,
        accept_score=args.accept_score,
        min_margin=args.min_margin,
        length_match=args.length_match,
        pairs_per_entry=args.pairs_per_entry,
        reference_as_chosen=args.reference_as_chosen,
        reference_score=args.score_max,
        seed=args.select_seed,
    )
    if args.selected_file is None and args.report_file is None and args.select != "best":
        raise UsageError(f"--select {args.select} needs --selected_file FILE to write to")
    return selection


def make_stop_rule(args: argparse.Namespace) -> Optional[StopRule]:
    """When an entry has enough answers; None where all are drawn."""
    most = getattr(args, "answers_per_question", 0)
    if getattr(args, "accept_score", None) is not None and args.accept_score > args.score_max:
        raise UsageError(f"--accept_score {args.accept_score:g} is above --score_max {args.score_max:g}: none would be")
    for name in ("stop_after", "give_up_after"):
        value = getattr(args, name, None)
        if value is not None and args.accept_score is None:
            raise UsageError(f"--{name} needs --accept_score S: what counts as accepted")
        if value is not None and value > most:
            raise UsageError(f"--{name} {value} is more than --answers_per_question {most}, the most that is drawn")
    if getattr(args, "stop_after", None) is None and getattr(args, "give_up_after", None) is None:
        return None
    return StopRule(args.accept_score, args.stop_after, args.give_up_after)


def make_job(
    args: argparse.Namespace,
    script: str,
    read: Callable[[object, int], PendingEntry],
    clients: Dict[str, ChatClient],
    sampler: Optional[Sampler] = None,
    scorer: Optional[Scorer] = None,
) -> Job:
    """The job that the flags ask for; ``clients`` are keyed by their model's flag."""
    names = ("input_file", "output_file", "cache_file", "selected_file", "report_file")
    check_files({f"--{name}": getattr(args, name, None) for name in names})
    need_open_files(list(clients.values()))
    cache = getattr(args, "cache_file", None)
    selection = make_selection(args)
    selected_file, report_file = getattr(args, "selected_file", None), getattr(args, "report_file", None)
    selected_format = getattr(args, "selected_format", None) or (
        "preference" if selection.select == "dpo" else "sharegpt"
    )
    check_selection(selection, selected_format, selected_file)
    if report_file is not None:
        require_packages()
    if args.ray is not None:
        check_ray(args)
    return Job(
        script=script,
        input_file=args.input_file,
        output_file=args.output_file,
        ledger_file=cache or args.output_file + ".ledger",
        keep_ledger=cache is not None,
        read=read,
        clients=list(clients.values()),
        sampler=sampler,
        scorer=scorer,
        local=make_local(args, clients),
        ray=args.ray,
        image_root=args.image_root,
        max_image_bytes=round(args.max_image_mb * (1 << 20)),
        limit=args.limit,
        stop_rule=make_stop_rule(args),
        token_budget=getattr(args, "token_budget", None),
        selection=selection,
        selected_file=selected_file,
        selected_format=selected_format,
        report_file=report_file,
        score_range=(getattr(args, "score_min", 0.0), getattr(args, "score_max", 10.0)),
        allow_mixed=args.allow_mixed,
        quiet=args.quiet,
    )


def check_ray(args: argparse.Namespace) -> None:
    """UsageError if Ray is not there, or a limit is to be kept that its workers could not keep together."""
    limited = [flag for flag, value in vars(args).items() if flag.endswith("_per_minute") and value is not None]
    if limited:
        name = limited[0].replace("generator_", "")
        raise UsageError(f"--{name} cannot be kept with --ray: each node's worker sends on its own")
    need_ray()


def check_files(flags: Dict[str, Optional[str]]) -> None:
    """Makes the folders of what is written at the end. UsageError if it cannot, or two flags name the same file.

    Nor may anything be written into a folder that is the input, since the next run would read it.
    """
    seen: Dict[str, str] = {}
    source = flags.get("--input_file")
    folder = os.path.realpath(source) if source and os.path.isdir(source) else None
    for flag, path in flags.items():
        if path:
            other = seen.setdefault(os.path.realpath(path), flag)
            if other != flag:
                raise UsageError(f"{flag} and {other} are the same file: {path}")
            if folder and flag != "--input_file" and os.path.realpath(path).startswith(os.path.join(folder, "")):
                raise UsageError(f"{flag} {path} lies in the folder --input_file {source}: it would be read as input")
            if flag in ("--selected_file", "--report_file"):
                try:
                    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
                except OSError as error:
                    raise UsageError(f"{flag}: cannot make the folder of {path}: {error.strerror}") from error


def main(script: str, make: Callable[[argparse.Namespace], Job], parser: argparse.ArgumentParser) -> int:
    """Parses, runs, and turns each ToolkitError into one line on stderr and its exit code."""
    args = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a path must not end the run
    logging.basicConfig(format=f"{script}: %(message)s", level=logging.ERROR if args.quiet else logging.INFO)
    try:
        with logging_redirect_tqdm():
            return run(make(args))
    except ToolkitError as error:
        print(f"{script}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{script}: error: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
