"""From the values of the flags to the objects of a job, with every check that needs more than one flag.

Example: ``job = make_job(args, "sampling.py", read_item, generator=GENERATOR)``
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from typing import Any, Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from ..errors import ServerGone, UsageError
from ..input.columns import Columns
from ..input.conversations import ItemReader
from ..input.files import InputFile
from ..records import PendingEntry, fingerprint
from ..results.card import CARD
from ..results.cleaning.cleaner import REMOVED
from ..results.examples import RowOptions
from ..results.export import check_selection, settled
from ..results.selection import Selection
from ..running.early_stopping import StopRule, StopSure
from ..running.generators import Generators
from ..running.job import Job, Pipeline, Results
from ..running.sampler import Sampler
from ..scoring.judge_prompt import check_names, read_judge_prompt
from ..scoring.majority import score_of_share
from ..scoring.scorers import has_range, make_scorer, named_scorers, needs_client, own_server, right_or_wrong
from ..scoring.shapes import EntryScorer
from ..scoring.user_function import UserFunction, parse_target
from ..servers.client import ChatClient, need_open_files
from ..servers.discovery import find_model, owners_of
from ..servers.local import LocalServer, default_model, model_name
from ..servers.notices import Notices
from ..servers.prefill import Prefill, check_owners, make_prefill
from ..servers.rate_limit import RateLimit
from ..servers.urls import base_url, proxy_of
from ..storage.held import check_place
from ..storage.run_files import generators_in, settings_of
from .effects import check_effects
from .flags import Role
from .generator_flags import LABEL, WEIGHT, each_generator, rounds_text, servers_of
from .selected_file import command_line, make_cleaning

log = logging.getLogger(__name__)

UNKNOWN_MODEL = "(the model that the server lists)"  # in the requests of a dry run, which asks no server
BASE_URL = "OPENAI_BASE_URL"
ABOVE_ALL = 1e9  # the score of the reference where scores have no range; margins to it still differ by their scores
LOCAL_SLOTS = 8  # of the embedded server, where --concurrency is auto

Read = Callable[[object, int], PendingEntry]


def make_job(
    args: argparse.Namespace, script: str, read: Read, generator: Role | None = None, scorer: Role | None = None
) -> Job:
    """The job that the flags describe. A role is None if the command does not have it.

    Raises UsageError if flags contradict each other, or a file or a package that they need is missing.
    """
    check_flags(args)
    take_labelled(args)
    args.input_file, *more_inputs = different_files(args.input_file)
    check_files(args, more_inputs)
    check_inputs([args.input_file, *more_inputs])
    args.each_generator = [] if generator is None else each_generator(args, generator)
    results, _ = make_results(args), make_stop_rule(args)  # both refuse flags before a server is asked
    pipeline, roles = make_pipeline(args, read, generator, scorer)
    if args.calibration is not None:
        results = make_results(args)  # with the thresholds that the calibration gave
    output_file = os.path.realpath(args.output_file) if os.path.islink(args.output_file) else args.output_file
    return Job(
        script=script,
        input_file=args.input_file,
        output_file=output_file,
        ledger_file=args.cache_file or output_file + ".ledger",
        keep_ledger=args.cache_file is not None,
        read=read,
        pipeline=pipeline,
        results=results,
        local=make_local(args, pipeline.clients),
        ray=args.ray,
        image_root=args.image_root,
        max_image_bytes=round(args.max_image_mb * (1 << 20)),
        limit=args.limit,
        token_budget=args.token_budget,
        time_budget=args.time_budget,
        target_accepted=args.target_accepted,
        breadth=args.breadth or args.target_accepted is not None,
        estimate=args.estimate,
        prices=make_prices(args, [role.name for role in roles]),
        allow_mixed=args.allow_mixed,
        quiet=args.quiet,
        more_inputs=more_inputs,
    )


def make_pipeline(
    args: argparse.Namespace, read: Read, generator: Role | None, scorer: Role | None
) -> tuple[Pipeline, list[Role]]:
    """What samples and scores, and the roles that have servers. Sets the thresholds that a calibration gives."""
    notices = Notices()
    generators = None if generator is None else make_generators(args, generator, notices, read)
    generating = [] if generators is None else generators.clients
    asks = scorer is not None and needs_client(named_scorers(args))
    judges = make_clients(args, scorer, notices, generating) if scorer is not None and asks else []
    clients = [*generating, *judges]
    need_open_files(clients)
    roles = [role for role in (generator, scorer) if role is not None and (role is generator or judges)]
    if args.ray is not None:
        check_ray(args, roles)
    made_scorer = None if scorer is None else make_scorer(args, judges[0] if judges else None, judges[1:])
    if made_scorer is not None:
        take_thresholds(args, made_scorer.settings)
    pipeline = Pipeline(
        clients=clients,
        sampler=generators,
        scorer=made_scorer,
        stop_rule=make_stop_rule(args),
    )
    check_stop_rule(pipeline)
    return pipeline, roles


def check_flags(args: argparse.Namespace) -> None:
    """UsageError if a flag has no effect, or a file that it names is missing or wrong: before a server is asked."""
    check_effects(args, vars(args).get("given", {}))
    if vars(args).get("judge_prompt"):
        read_judge_prompt(args.judge_prompt)
    for spec in args.scorer:
        if spec.startswith(f"{UserFunction.name}:"):
            parse_target(spec)
    if args.calibration is not None:
        from ..results.calibration import read_calibration

        read_calibration(args.calibration)


def check_inputs(paths: Sequence[str]) -> None:
    """UsageError if an input cannot be opened: before a server is asked. A pipe is not tried, as it opens only once."""
    for path in paths:
        if os.path.isfile(path) or os.path.isdir(path) or not os.path.exists(path):
            InputFile(path).close()


def take_labelled(args: argparse.Namespace) -> None:
    """Makes the labelled answers of --calibrate the input. UsageError if there is an input too."""
    if args.calibrate is None:
        return
    if args.input_file is not None:
        raise UsageError("--calibrate and --input_file exclude each other; name one of them")
    args.input_file = args.calibrate


def take_thresholds(args: argparse.Namespace, scorer: Mapping[str, Any]) -> None:
    """Sets --accept_score and --min_margin as --accept_precision and --pair_precision ask for, by --calibration.

    ``scorer`` is the settings of the scorer. UsageError if a flag is missing or excludes another, or if the calibration
    is another scorer's or has no such threshold. A dry run may not know the scorer's model.
    """
    if args.calibration is None:
        for flag in ("accept_precision", "pair_precision"):
            if vars(args)[flag] is not None:
                raise UsageError(f"--{flag} needs --calibration FILE, which score.py --calibrate writes")
        return
    from ..results.calibration import read_calibration

    calibration = read_calibration(args.calibration)
    if UNKNOWN_MODEL not in map(str, scorer.values()):
        calibration.check_scorer(fingerprint(scorer), str(scorer.get("scorer")), args.calibration)
    for flag, gives, default in (("accept_precision", "accept_score", None), ("pair_precision", "min_margin", 0.0)):
        asked = vars(args)[flag]
        if asked is None:
            continue
        if vars(args)[gives] != default:
            raise UsageError(f"--{flag} and --{gives} exclude each other; name one of them")
        found = calibration.threshold(f"--{flag}", asked)
        setattr(args, gives, found.value)
        log.info(
            "--%s %g: --%s %.6g, where %s of %s labelled ones are right: with 95 %% confidence at least %.4f",
            *(flag, asked, gives, found.value, f"{found.right:,}", f"{found.of:,}", found.bound),
        )
    args.calibration_read = calibration


def make_reader(args: argparse.Namespace) -> ItemReader:
    """What makes an entry of an input item. UsageError if the prompt template cannot be read."""
    path = args.prompt_template
    return ItemReader(
        Columns(
            args.question_key,
            args.reference_key,
            args.system_key,
            args.images_key,
            None if path is None else read_template("--prompt_template", path, "{question}"),
        )
    )


def read_template(flag: str, path: str, needed: str) -> str:
    """The text of a template's file, without the newline that ends its last line.

    UsageError if it cannot be read, or lacks the name that it must hold.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag}: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if needed not in text:
        raise UsageError(f"{flag}: {path} must hold {needed}")
    check_names(flag, path, text, [needed.strip("{}")], has_row=True)
    return text[:-1] if text.endswith("\n") else text


def different_files(paths: str | list[str]) -> list[str]:
    """The inputs, each once."""
    by_file = {os.path.realpath(path): path for path in reversed([paths] if isinstance(paths, str) else paths)}
    return list(by_file.values())[::-1]


def check_files(args: argparse.Namespace, more_inputs: Sequence[str] = ()) -> None:
    """Makes the folders of the files that are written at the end, but not in a dry run.

    UsageError if two files of the run are the same one, or if a dry run finds a place where none can be made.

    Links are followed, and the files beside the output count too. No file may be written into a folder that is the
    input, or be one of its files, since the next run would read it.
    """
    check_working_folder()
    source = args.input_file
    folder = os.path.join(os.path.realpath(source), "") if os.path.isdir(source) else None
    seen = {identity: "--input_file" for path in (source, *more_inputs) for identity in _inputs(path)}
    for name in ("output_file", "cache_file", "selected_file", "report_file"):
        flag, path = f"--{name}", vars(args)[name]
        if not path:
            continue
        for own, title in files_of(flag, path, args.cache_file):
            for identity in identities(own):
                other = seen.setdefault(identity, title)
                if other != title:
                    raise UsageError(f"{title} and {other} are the same file: {own}")
        if folder and os.path.realpath(path).startswith(folder):
            raise UsageError(f"{flag} {path} lies in the folder --input_file {source}: it would be read as input")
        if args.dry_run:
            check_place(path)
        elif name in ("selected_file", "report_file"):
            make_folder(flag, path)


def check_working_folder() -> None:
    """UsageError if the folder in which the command was called was removed."""
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError("the current folder does not exist any more; change to another folder") from error


CALIBRATION = ".calibration.json"
BESIDE_OUTPUT = (
    CALIBRATION,
    *(".settings.json", ".results.json", ".errors.jsonl", ".ledger", ".damaged", ".lock"),
    *(".new", ".new.settings.json"),  # while an output is topped up
)
BESIDE = {"--output_file": BESIDE_OUTPUT, "--cache_file": (".lock",), "--selected_file": (CARD, REMOVED)}


def files_of(flag: str, path: str, cache_file: str | None) -> Iterator[tuple[str, str]]:
    """The files that a flag makes the run write, each with a title for messages."""
    yield path, flag
    for ending in BESIDE.get(flag, ()):
        if ending != ".ledger" or not cache_file:
            yield path + ending, f"the {ending} file of {flag}"


def _inputs(source: str) -> set[object]:
    """The identities of the input: of the file, or of all files in the folder."""
    if not os.path.isdir(source):
        return identities(source)
    found = {os.path.join(parent, name) for parent, _, names in os.walk(source) for name in names}
    return {identity for path in found for identity in identities(path)}


def identities(path: str) -> set[object]:
    """All that tells whether two paths lead to one file: the name without links, and where it exists its inode."""
    found: set[object] = {os.path.realpath(path)}
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return found
    return {*found, (status.st_dev, status.st_ino)} if status.st_ino else found


def make_folder(flag: str, path: str) -> None:
    """Makes the folder of a file."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise UsageError(f"{flag}: cannot make the folder of {path}: {error.strerror}") from error


def make_generators(args: argparse.Namespace, role: Role, notices: Notices, read: Read) -> Generators:
    """The generators, which share the role's limits per minute. UsageError if two cannot be told apart."""
    rate_limit, samplers = make_rate_limit(args, role), []
    rounds = rounds_text(args)
    if rounds is not None:
        log.warning("%s", rounds)
    for own in args.each_generator:
        client = make_client(own, role, notices, rate_limit=rate_limit)
        samplers.append(make_sampler(own, client, read))
    for what, why in (("name", "give one of them another name"), ("settings_id", "make one of them with all servers")):
        first: dict[str, Sampler] = {}
        for sampler in samplers:
            other = first.setdefault(getattr(sampler, what), sampler)
            if other is not sampler:
                title = "name" if what == "name" else "settings"
                raise UsageError(f"two generators have the same {title}, {other.name} and {sampler.name}: {why}")
    return Generators(samplers)


def make_clients(
    args: argparse.Namespace, role: Role, notices: Notices, generators: Sequence[ChatClient] = ()
) -> list[ChatClient]:
    """The scorer's clients, one per model. They share the role's ``concurrency`` and its limits per minute.

    UsageError unless there are as many servers as models, or one for all.
    """
    models: Any = role.value(args, "model") or []
    own = own_server(args.scorer)
    if len(models) < 2 or (own and any(vars(args)[f"{own}_{part}"] for part in ("port", "base_url", "model"))):
        return [make_scorer_client(args, role, notices, generators)]
    if len(set(models)) < len(models):
        raise UsageError(f"{role.model_flag} {' '.join(models)} names a model twice")
    if args.local is not None and not named_urls(args, role):
        raise UsageError(f"{role.model_flag} names {len(models)} models, and the embedded server of --local has one")
    rate_limit, clients = make_rate_limit(args, role), []
    for place, model in enumerate(models):
        mine = {"model": [model], **servers_of(args, role, place, len(models))}
        slots = args.concurrency and max(1, (args.concurrency + place) // len(models))
        values = {**vars(args), **{f"{role.name}_{name}": value for name, value in mine.items()}, "concurrency": slots}
        clients.append(make_client(argparse.Namespace(**values), role, notices, generators, rate_limit))
    return clients


def make_client(
    args: argparse.Namespace,
    role: Role,
    notices: Notices,
    generators: Sequence[ChatClient] = (),
    rate_limit: RateLimit | None = None,
) -> ChatClient:
    """The client of a role. It has no URLs if the embedded server of ``--local`` serves it.

    A judge without a server of its own uses the server and the model of the ``generators``, if they are one.
    """
    urls = named_urls(args, role)
    is_local = args.local is not None and not urls
    shared = shared_server(role, generators) if not urls and not is_local else None
    key = None if is_local else role_key(args, role, shared)
    if not urls and not is_local:
        urls = list(shared.urls) if shared is not None else [default_url(role)]
    for url in urls:
        proxy_of(url)
    named: Any = role.value(args, "model")
    model = named[0] if isinstance(named, list) else named
    if not model:
        model = model_of_generators(role, urls, generators)
    if not model:
        model = model_name(args.local or default_model()) if is_local else served_model(args, role, urls, key)
    client = ChatClient(
        urls,
        model,
        args.concurrency,
        api_key=key,
        max_retries=args.max_retries,
        request_timeout=args.request_timeout,
        longest_wait=args.longest_wait,
        extra_body=make_extra_body(args, role),
        rate_limit=rate_limit or make_rate_limit(args, role),
        notices=notices,
    )
    client.stops_loops = args.stop_loops and role.name == "generator"
    return client


def shared_server(role: Role, generators: Sequence[ChatClient]) -> ChatClient | None:
    """The generator whose server a judge without one of its own uses. UsageError if their servers are different."""
    if len({frozenset(one.urls) for one in generators}) > 1:
        raise UsageError(f"{role.port_flag} or {role.url_flag} is required: the generators have different servers")
    return generators[0] if generators else None


def model_of_generators(role: Role, urls: Sequence[str], generators: Sequence[ChatClient]) -> str | None:
    """The model of the generators at a judge's servers. UsageError if they are several."""
    models = sorted({one.model for one in generators if set(one.urls) == set(urls)})
    if len(models) > 1:
        raise UsageError(f"{role.model_flag} is required: its server has several generators: {', '.join(models)}")
    return models[0] if models else None


def make_scorer_client(
    args: argparse.Namespace, role: Role, notices: Notices, generators: Sequence[ChatClient]
) -> ChatClient:
    """The client of the scorer: of its own server, if its flags name one."""
    name = own_server(named_scorers(args))
    if name is None:
        return make_client(args, role, notices, generators)
    client = make_client(args, take_own_server(args, role, name), notices, generators)
    if not client.urls:
        raise UsageError(f"--scorer {name}: --local has no such model; name its server with --{name}_port")
    return client


def take_own_server(args: argparse.Namespace, role: Role, name: str) -> Role:
    """Lets a scorer's own flags (--NAME_port and so on), as far as they are given, stand for those of its role.

    The role's limits and further fields are for its own server, not for another one.
    """
    port, url, model = (vars(args)[f"{name}_{part}"] for part in ("port", "base_url", "model"))
    if not (port or url or model):
        return role
    values: dict[str, Any] = {"model": model or role.value(args, "model")}
    if port or url:
        values = {"port": port, "base_url": url, "model": model, "extra_body": {}}
        values.update(requests_per_minute=None, tokens_per_minute=None)
    vars(args).update({f"{role.name}_{part}": value for part, value in values.items()})
    return role._replace(port_flag=f"--{name}_port", model_flag=f"--{name}_model", url_flag=f"--{name}_base_url")


def named_urls(args: argparse.Namespace, role: Role) -> list[str]:
    """The base URLs that a role's flags name; none if they name no server."""
    named: Any = role.value(args, "base_url") or ()
    port_ranges: Any = role.value(args, "port") or ()
    if named and port_ranges:
        raise UsageError(f"{role.url_flag} and ports ({role.port_flag}) exclude each other; name one of them")
    urls = [f"http://127.0.0.1:{port}/v1" for ports in port_ranges for port in ports]
    for text in named:
        urls.append(base_url(text))
        if urlsplit(urls[-1]).path != urlsplit(text).path.rstrip("/"):
            log.warning("%s %s: %s is used", role.url_flag, text, urls[-1])
    return urls


def default_url(role: Role) -> str:
    """The base URL where no flag names a server: the environment's, or the default port. UsageError if it is wrong."""
    named = os.environ.get(BASE_URL, "").strip()
    if not named:
        return f"http://127.0.0.1:{role.default_port}/v1"
    try:
        url = base_url(named)
    except ValueError as error:
        raise UsageError(f"the environment variable {BASE_URL} {error}") from error
    log.info("the server is %s, from the environment variable %s", url, BASE_URL)
    return url


def role_key(args: argparse.Namespace, role: Role, shared: ChatClient | None) -> str | None:
    """The API key of a role: the generator's, if the judge uses its server and no flag names another."""
    own: Any = role.value(args, "api_key_env")
    return shared.api_key if shared is not None and not own else api_key(own or "OPENAI_API_KEY")


def served_model(args: argparse.Namespace, role: Role, urls: Sequence[str], key: str | None) -> str:
    """The name of the one model that a role's servers have.

    If they are away, it is the one that the output was made with: a finished output needs no server. A dry run asks no
    server either.
    """
    if args.dry_run:
        known = settings_of(args.output_file).get(f"{role.name} model")
        return known if isinstance(known, str) else UNKNOWN_MODEL
    if args.batch_out or args.batch_in:
        known = settings_of(args.output_file).get(f"{role.name} model")
        if isinstance(known, str):
            return known
        raise UsageError(f"{role.model_flag} is required: --batch_out and --batch_in ask no server for it")
    try:
        return asyncio.run(find_model(urls, key, role.model_flag, args.max_retries))
    except ServerGone as error:
        before = settings_of(args.output_file).get(f"{role.name} model")
        if isinstance(before, str):
            return before
        asked = f"without {role.model_flag}, the server is asked for the name of its model"
        raise UsageError(f"{error} ({asked})") from error


def make_extra_body(args: argparse.Namespace, role: Role) -> dict[str, Any]:
    """The further fields of a role's requests. UsageError if one would change how a reply is to be read."""
    fields: Any = role.value(args, "extra_body")
    flag = f"--{role.prefix}extra_body"
    if fields.get("n") is not None:
        more = "--samples_per_request" if role.name == "generator" else "--judge_samples"
        raise UsageError(f"{flag} must not contain n, the number of choices of a request: see {more}")
    if fields.get("stream"):
        raise UsageError(f"{flag} must not contain stream: only --stop_loops streams replies")
    return dict(fields)


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


def make_local(args: argparse.Namespace, clients: Sequence[ChatClient]) -> LocalServer | None:
    """The embedded server for the clients without URLs, if there are any."""
    served = [client for client in clients if not client.urls]
    if not served:
        return None
    return LocalServer(args.local or None, sum(client.concurrency or LOCAL_SLOTS for client in served))


def make_sampler(args: argparse.Namespace, client: ChatClient, read: Read) -> Sampler:
    """The sampler of a generator, for the entries that ``read`` makes."""
    label = vars(args).get(LABEL)
    return Sampler(
        client,
        count=args.answers_per_question,
        per_request=args.samples_per_request,
        temperature=args.temperature,
        top_p=args.top_p,
        max_tokens=args.max_tokens,
        seed=args.seed,
        system_prompt=args.system_prompt,
        prompt_template=read.columns.template if isinstance(read, ItemReader) else None,
        prefill=None if args.prefill is None else take_prefill(args, client.urls),
        label=None if label == client.model else label,
        weight=vars(args).get(WEIGHT) or 1.0,
    )


def take_prefill(args: argparse.Namespace, urls: Sequence[str]) -> Prefill:
    """What each answer begins with. UsageError if a server cannot continue it, as far as it says what it is."""
    prefill = make_prefill(args.prefill, urls)
    if not (args.dry_run or args.batch_out or args.batch_in):
        for url, owners in asyncio.run(owners_of([url for url in urls if url.startswith("http://")])).items():
            check_owners(url, owners)
    return prefill


def make_prices(args: argparse.Namespace, roles: Sequence[str]) -> dict[str, tuple[float, float]]:
    """By role: the prices of a million prompt tokens and of a million completion tokens; none if no flag says them."""
    given = {flag: vars(args)[flag] for flag in ("price_in", "price_out")}
    for flag, prices in given.items():
        if prices and args.estimate is None:
            raise UsageError(f"--{flag} has an effect only with --estimate N")
        if prices and len(prices) not in (1, len(roles)):
            raise UsageError(f"--{flag} takes one price, or one for each role: {', '.join(roles) or 'there is none'}")
    if not any(given.values()):
        return {}
    both = [prices * len(roles) if len(prices) == 1 else prices for prices in (p or [0.0] for p in given.values())]
    return dict(zip(roles, zip(*both)))


def accept_score(args: argparse.Namespace) -> float | None:
    """The lowest score that is accepted: as the flag says, else of a rule that knows only right and wrong the highest.

    None if every score is accepted.
    """
    accept: float | None = args.accept_score
    if args.majority_min is not None:
        if accept is not None:
            raise UsageError("--majority_min and --accept_score exclude each other; name one of them")
        return score_of_share(args.majority_min, args.score_min, args.score_max)
    if accept is None and right_or_wrong(vars(args).get("scorer") or ()):
        accept = args.score_max
    return accept


def make_stop_rule(args: argparse.Namespace) -> StopRule | StopSure | None:
    """When an entry has enough answers; None if each entry gets all."""
    if args.stop_sure is not None:
        return make_stop_sure(args)
    accept, low_high = accept_score(args), score_range(args)
    if accept is not None and low_high is not None and accept > low_high[1]:
        bounds = f"--accept_score {accept:g} is above --score_max {args.score_max:g}"
        raise UsageError(f"{bounds}, so no answer could be accepted")
    for name in ("stop_after", "give_up_after"):
        value = vars(args)[name]
        if value is not None and accept is None and args.accept_precision is None:
            raise UsageError(f"--{name} needs --accept_score S, which says when an answer is accepted")
        if value is not None and value > args.answers_per_question:
            raise UsageError(f"--{name} {value} is more than --answers_per_question {args.answers_per_question}")
    if accept is None or (args.stop_after is None and args.give_up_after is None):
        return None
    return StopRule(accept, args.stop_after, args.give_up_after)


def make_stop_sure(args: argparse.Namespace) -> StopSure:
    """The rule of --stop_sure. UsageError if another flag asks for a rule that cannot go with it."""
    if args.vote_weight is not None:
        raise UsageError("--stop_sure counts votes, so it cannot be used with --vote_weight")
    for name in ("stop_after", "give_up_after"):
        if vars(args)[name] is not None:
            raise UsageError(f"--stop_sure and --{name} exclude each other; name one of them")
    return StopSure(args.stop_sure)


def score_range(args: argparse.Namespace) -> tuple[float, float] | None:
    """The lowest and the highest score; None if the scores have no range."""
    return (args.score_min, args.score_max) if has_range(args.scorer) else None


def check_stop_rule(pipeline: Pipeline) -> None:
    """UsageError if the stop rule needs scores before the scorer can give them."""
    if isinstance(pipeline.stop_rule, StopRule) and isinstance(pipeline.scorer, EntryScorer):
        raise UsageError(
            f"--stop_after and --give_up_after need a score per answer as it arrives; --scorer {pipeline.scorer.name} "
            "scores an entry's answers together"
        )


def make_results(args: argparse.Namespace) -> Results:
    """The selection, its file and the report. ``random`` selects wrong answers too, unless a flag says otherwise."""
    low_high = score_range(args)
    selection = Selection(
        select=args.select,
        top_k=args.top_k,
        accept_score=args.accept_score if args.select == "random" else accept_score(args),
        min_margin=args.min_margin,
        length_match=args.length_match,
        pairs_per_entry=args.pairs_per_entry,
        reference_as_chosen=args.reference_as_chosen,
        reference_score=ABOVE_ALL if low_high is None else low_high[1],
        seed=args.select_seed,
        pass_score=accept_score(args),
        pass_rate=args.pass_rate,
        per_entry=args.per_entry,
        rejected=args.rejected,
        distinct=args.distinct,
    )
    selected_format = args.selected_format or ("preference" if args.select == "dpo" else "sharegpt")
    check_selection(selection, selected_format, args.selected_file, args.selected_keys)
    rows = settled(RowOptions(args.reasoning, args.reasoning_field, kept_system_prompt(args)), selected_format)
    if args.report_file is not None:
        if not args.report_file.endswith((".html", ".htm")):
            raise UsageError(f"--report_file {args.report_file}: its name must end in .html")
        from ..results.page import require_packages

        require_packages()
    return Results(
        selection=selection,
        selected_file=args.selected_file,
        selected_format=selected_format,
        selected_keys=args.selected_keys,
        selected_order=args.selected_order,
        most_rows=args.target_accepted,
        rows=rows,
        report_file=args.report_file,
        score_range=low_high,
        calibration_file=None if args.calibrate is None else args.output_file + CALIBRATION,
        calibration=vars(args).get("calibration_read"),
        cleaning=make_cleaning(args),
        licence=args.licence,
        push_to_hub=args.push_to_hub,
        command=command_line(),
    )


def kept_system_prompt(args: argparse.Namespace) -> str | None:
    """What ``--keep_system_prompt`` puts into the rows: this run's text, or that of the run that sampled the input."""
    if not args.keep_system_prompt:
        return None
    inputs = vars(args).get("outputs") or args.input_file
    inputs = [inputs] if isinstance(inputs, str) else inputs
    sampled = [one.get("system_prompt") for path in inputs for one in generators_in(settings_of(path))]
    prompts = {one.system_prompt for one in vars(args).get("each_generator", ())} or set(sampled) or {None}
    found = prompts.pop()
    if prompts:
        raise UsageError("--keep_system_prompt: the answers were sampled with different system prompts")
    if not isinstance(found, str) or not found:
        raise UsageError("--keep_system_prompt: no --system_prompt is known of the run that sampled the answers")
    return found


def check_ray(args: argparse.Namespace, roles: list[Role]) -> None:
    """UsageError if Ray is missing, or if the workers could not keep a limit per minute together."""
    for role in roles:
        for name in ("requests_per_minute", "tokens_per_minute"):
            if role.value(args, name) is not None:
                raise UsageError(
                    f"--{role.prefix}{name} cannot be kept with --ray: each node's worker sends on its own"
                )
    from ..running.ray_connection import import_ray

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, during the seconds that the import takes
    import_ray()
