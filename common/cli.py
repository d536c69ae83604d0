"""The command line: flags spelled once for all three scripts, logging, errors as one line.

Example: ``sys.exit(main("score.py", build, parser()))``
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import resource
import sys
from typing import Any, Callable, Dict, NoReturn, Optional
from urllib.parse import urlsplit

from tqdm.contrib.logging import logging_redirect_tqdm

from common.client import ChatClient
from common.errors import ToolkitError, UsageError
from common.local_server import LocalServer, default_model, model_name
from common.messages import read_judge_prompt
from common.records import Work
from common.runner import Job, run
from common.sampler import Sampler
from common.scorers import Scorer, judge_scorer, match_scorer


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage block."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults where there are some, the example as it is written."""

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        hidden = any(action.default is nothing for nothing in (None, False)) or action.default == {}
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


port = whole(1, 65535)
finite = number(-1e308, 1e308)


def add_files(parser: argparse.ArgumentParser, input_help: str, output_help: str) -> argparse._ArgumentGroup:
    """--input_file, --output_file, --limit, --image_root, --allow_mixed, --quiet."""
    group = parser.add_argument_group("files")
    group.add_argument("--input_file", required=True, metavar="FILE", help=input_help)
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


def add_selection(group: argparse._ArgumentGroup) -> None:
    """--selected_file, --accept_score."""
    group.add_argument(
        "--selected_file",
        metavar="FILE",
        help="write each entry's best answer here as conversations: a JSON list, or JSONL if it ends in .jsonl",
    )
    group.add_argument("--accept_score", type=finite, metavar="S", help="select only answers that score at least S")


def add_server(
    parser: argparse.ArgumentParser, title: str, prefix: str, port_flag: str, default_port: int
) -> argparse._ArgumentGroup:
    """One role's servers: ports or base URLs, the key's variable, extra fields; ``prefix`` as ``scorer_``."""
    group = parser.add_argument_group(title)
    group.add_argument(
        port_flag,
        dest=f"{prefix}port",
        type=port,
        nargs="+",
        metavar="PORT",
        help=f"port(s) of servers on this machine (default: {default_port})",
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
    parser.set_defaults(**{f"{prefix}default_port": default_port})
    return group


def add_running(parser: argparse.ArgumentParser) -> None:
    """--local, --max_retries, --request_timeout."""
    group = parser.add_argument_group("running")
    group.add_argument(
        "--local",
        nargs="?",
        const="",
        metavar="GGUF",
        help="start an embedded llama.cpp server for this run; without a file it serves SmolLM2-135M-Instruct",
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


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """--scorer, the range, and the judge's own flags."""
    group = parser.add_argument_group("scoring")
    group.add_argument(
        "--scorer", choices=("judge", "match"), default="judge", help="an LLM, or a rule that needs no server"
    )
    group.add_argument("--score_min", type=finite, default=0.0, metavar="S", help="lowest score")
    group.add_argument("--score_max", type=finite, default=10.0, metavar="S", help="highest score")
    group.add_argument(
        "--judge_prompt", metavar="FILE", help="a prompt of your own with {question}, {reference}, {answer}"
    )
    group.add_argument("--judge_images", action="store_true", help="show the judge the entry's images")
    group.add_argument("--judge_temperature", type=number(0), default=0.0, metavar="T", help="the judge's temperature")
    group.add_argument(
        "--judge_max_tokens", type=whole(1), default=1024, metavar="N", help="tokens a judge's reply may take"
    )


def api_key(variable: str) -> Optional[str]:
    """The key in an environment variable; None if it is empty. UsageError if it cannot be one, without showing it."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            f"the environment variable {variable} holds no key: it has unprintable or non-ASCII characters"
        )
    return key or None


def make_client(args: argparse.Namespace, prefix: str, model: Optional[str], concurrency: int) -> ChatClient:
    """The client of the role whose flags begin with ``prefix``; without URLs if it is served by --local."""
    flags = vars(args)
    urls, ports = flags[f"{prefix}base_url"], flags[f"{prefix}port"]
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
    )


def make_local(args: argparse.Namespace, clients: Dict[str, ChatClient]) -> Optional[LocalServer]:
    """The embedded server for the clients without URLs, if any. UsageError if one with URLs has no model."""
    served = {flag: client for flag, client in clients.items() if not client.urls}
    for flag, client in clients.items():
        if client.urls and not client.model:
            raise UsageError(f"{flag} is required: the model's name at {client.urls[0]} (or --local)")
    if not served:
        return None
    return LocalServer(args.local or None, sum(client.concurrency for client in served.values()))


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
    """The scorer that the scoring flags ask for; ``client`` is None where it needs no server."""
    if args.score_min >= args.score_max:
        raise UsageError(f"--score_min {args.score_min:g} must be below --score_max {args.score_max:g}")
    if client is None:
        return match_scorer(args.score_min, args.score_max)
    return judge_scorer(
        client,
        args.score_min,
        args.score_max,
        template=read_judge_prompt(args.judge_prompt) if args.judge_prompt else None,
        temperature=args.judge_temperature,
        max_tokens=args.judge_max_tokens,
        images=args.judge_images,
    )


def make_job(
    args: argparse.Namespace,
    script: str,
    read: Callable[[object, int], Work],
    clients: Dict[str, ChatClient],
    sampler: Optional[Sampler] = None,
    scorer: Optional[Scorer] = None,
) -> Job:
    """The job that the flags ask for; ``clients`` are keyed by their model's flag."""
    names = ("input_file", "output_file", "cache_file", "selected_file")
    check_files({f"--{name}": getattr(args, name, None) for name in names})
    need_open_files(sum(client.concurrency for client in clients.values()))
    cache = getattr(args, "cache_file", None)
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
        image_root=args.image_root,
        max_image_bytes=round(args.max_image_mb * (1 << 20)),
        limit=args.limit,
        selected_file=getattr(args, "selected_file", None),
        accept_score=getattr(args, "accept_score", None),
        allow_mixed=args.allow_mixed,
        quiet=args.quiet,
    )


def need_open_files(connections: int) -> None:
    """Raises this process's limit on open files to what so many connections need; UsageError if it may not."""
    needed = connections + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and soft < needed:
        if hard < needed:
            raise UsageError(f"{connections} requests in flight need {needed} open files, and the limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def check_files(flags: Dict[str, Optional[str]]) -> None:
    """Raises UsageError if two flags name the same file."""
    seen: Dict[str, str] = {}
    for flag, path in flags.items():
        if path:
            other = seen.setdefault(os.path.realpath(path), flag)
            if other != flag:
                raise UsageError(f"{flag} and {other} are the same file: {path}")


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
