"""From the values of the flags to the objects of a job, with every check that needs more than one flag.

Example: ``job = make_job(args, "sampling.py", read_item, generator=GENERATOR)``
"""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any, Callable

from ..errors import UsageError
from ..records import PendingEntry
from ..results.export import check_selection
from ..results.report import require_packages
from ..results.selection import Selection
from ..running.early_stopping import StopRule
from ..running.job import Job, Pipeline, Results
from ..running.ray_connection import import_ray
from ..running.sampler import Sampler
from ..scoring.scorers import make_scorer, needs_client
from ..scoring.shapes import EntryScorer
from ..servers.client import ChatClient, need_open_files
from ..servers.local import LocalServer, default_model, model_name
from ..servers.rate_limit import RateLimit
from .flags import Role

LOCAL_SLOTS = 8  # of the embedded server, where --concurrency is auto

Read = Callable[[object, int], PendingEntry]


def make_job(
    args: argparse.Namespace, script: str, read: Read, generator: Role | None = None, scorer: Role | None = None
) -> Job:
    """The job that the flags describe. A role is None if the command does not have it.

    Raises UsageError if flags contradict each other, or a file or a package that they need is missing.
    """
    check_files(args)
    clients: dict[Role, ChatClient] = {}
    if generator is not None:
        clients[generator] = make_client(args, generator)
    if scorer is not None and needs_client(args.scorer):
        clients[scorer] = make_client(args, scorer)
    need_open_files(list(clients.values()))
    results = make_results(args)
    if args.ray is not None:
        check_ray(args, list(clients))
    pipeline = Pipeline(
        clients=list(clients.values()),
        sampler=make_sampler(args, clients[generator]) if generator is not None else None,
        scorer=make_scorer(args, clients.get(scorer)) if scorer is not None else None,
        stop_rule=make_stop_rule(args),
    )
    check_stop_rule(pipeline)
    return Job(
        script=script,
        input_file=args.input_file,
        output_file=args.output_file,
        ledger_file=args.cache_file or args.output_file + ".ledger",
        keep_ledger=args.cache_file is not None,
        read=read,
        pipeline=pipeline,
        results=results,
        local=make_local(args, clients),
        ray=args.ray,
        image_root=args.image_root,
        max_image_bytes=round(args.max_image_mb * (1 << 20)),
        limit=args.limit,
        token_budget=args.token_budget,
        allow_mixed=args.allow_mixed,
        quiet=args.quiet,
    )


def check_files(args: argparse.Namespace) -> None:
    """Makes the folders of the files that are written at the end. UsageError if two flags name the same file.

    No file may be written into a folder that is the input, since the next run would read it.
    """
    source = args.input_file
    folder = os.path.join(os.path.realpath(source), "") if os.path.isdir(source) else None
    seen: dict[str, str] = {}
    for name in ("input_file", "output_file", "cache_file", "selected_file", "report_file"):
        flag, path = f"--{name}", vars(args)[name]
        if not path:
            continue
        other = seen.setdefault(os.path.realpath(path), flag)
        if other != flag:
            raise UsageError(f"{flag} and {other} are the same file: {path}")
        if folder and name != "input_file" and os.path.realpath(path).startswith(folder):
            raise UsageError(f"{flag} {path} lies in the folder --input_file {source}: it would be read as input")
        if name in ("selected_file", "report_file"):
            make_folder(flag, path)


def make_folder(flag: str, path: str) -> None:
    """Makes the folder of a file."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise UsageError(f"{flag}: cannot make the folder of {path}: {error.strerror}") from error


def make_client(args: argparse.Namespace, role: Role) -> ChatClient:
    """The client of a role. It has no URLs if the embedded server of ``--local`` serves it."""
    flags = {name: role.value(args, name) for name in ("base_url", "port", "model", "api_key_env", "extra_body")}
    urls: Any = flags["base_url"]
    port_ranges: Any = flags["port"] or ()
    if urls and port_ranges:
        raise UsageError(f"{role.url_flag} and ports ({role.port_flag}) exclude each other; name one of them")
    if port_ranges:
        urls = [f"http://127.0.0.1:{port}/v1" for ports in port_ranges for port in ports]
    local = args.local is not None and not urls
    if not urls and not local:
        urls = [f"http://127.0.0.1:{role.default_port}/v1"]
    model: Any = flags["model"] or (model_name(args.local or default_model()) if local else "")
    if not local and not model:
        raise UsageError(f"{role.model_flag} is required: the model's name at {urls[0]} (or --local)")
    extra_body: Any = flags["extra_body"]
    return ChatClient(
        [] if local else urls,
        model,
        args.concurrency,
        api_key=None if local else api_key(str(flags["api_key_env"])),
        max_retries=args.max_retries,
        request_timeout=args.request_timeout,
        extra_body=extra_body,
        rate_limit=make_rate_limit(args, role),
    )


def make_rate_limit(args: argparse.Namespace, role: Role) -> RateLimit | None:
    """The limits per minute of a role, if it has any."""
    requests: Any = role.value(args, "requests_per_minute")
    tokens: Any = role.value(args, "tokens_per_minute")
    return None if requests is None and tokens is None else RateLimit(requests, tokens)


def api_key(variable: str) -> str | None:
    """The key in an environment variable; None if it is empty. UsageError, without the text, if it is not a key."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            f"the environment variable {variable} does not hold a key: it has unprintable or non-ASCII characters"
        )
    return key or None


def make_local(args: argparse.Namespace, clients: dict[Role, ChatClient]) -> LocalServer | None:
    """The embedded server for the clients without URLs, if there are any."""
    served = [client for client in clients.values() if not client.urls]
    if not served:
        return None
    return LocalServer(args.local or None, sum(client.concurrency or LOCAL_SLOTS for client in served))


def make_sampler(args: argparse.Namespace, client: ChatClient) -> Sampler:
    """The sampler of the generator."""
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


def make_stop_rule(args: argparse.Namespace) -> StopRule | None:
    """When an entry has enough answers; None if each entry gets all."""
    if args.accept_score is not None and args.accept_score > args.score_max:
        bounds = f"--accept_score {args.accept_score:g} is above --score_max {args.score_max:g}"
        raise UsageError(f"{bounds}, so no answer could be accepted")
    for name in ("stop_after", "give_up_after"):
        value = vars(args)[name]
        if value is not None and args.accept_score is None:
            raise UsageError(f"--{name} needs --accept_score S, which says when an answer is accepted")
        if value is not None and value > args.answers_per_question:
            raise UsageError(f"--{name} {value} is more than --answers_per_question {args.answers_per_question}")
    if args.stop_after is None and args.give_up_after is None:
        return None
    return StopRule(args.accept_score, args.stop_after, args.give_up_after)


def check_stop_rule(pipeline: Pipeline) -> None:
    """UsageError if the stop rule needs scores before the scorer can give them."""
    if pipeline.stop_rule is not None and isinstance(pipeline.scorer, EntryScorer):
        raise UsageError(
            f"--stop_after and --give_up_after need a score per answer as it arrives; --scorer {pipeline.scorer.name} "
            "scores an entry's answers together"
        )


def make_results(args: argparse.Namespace) -> Results:
    """The selection, its file and the report."""
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
    selected_format = args.selected_format or ("preference" if args.select == "dpo" else "sharegpt")
    check_selection(selection, selected_format, args.selected_file)
    if args.report_file is not None:
        require_packages()
    return Results(selection, args.selected_file, selected_format, args.report_file, (args.score_min, args.score_max))


def check_ray(args: argparse.Namespace, roles: list[Role]) -> None:
    """UsageError if Ray is missing, or if the workers could not keep a limit per minute together."""
    for role in roles:
        for name in ("requests_per_minute", "tokens_per_minute"):
            if role.value(args, name) is not None:
                raise UsageError(
                    f"--{role.prefix}{name} cannot be kept with --ray: each node's worker sends on its own"
                )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, during the seconds that the import takes
    import_ray()
