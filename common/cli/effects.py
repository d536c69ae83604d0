"""Which flags have an effect only with others. One that was given, and has none, is refused before anything is sent.

A flag that is not in ``needs_of`` always has an effect (--accept_score: accepted answers are counted during a run). So
has one whose value is its default. A port, a model and --concurrency are not refused for a scorer that needs none, so
that a command with a judge becomes one with a rule by --scorer alone. What a file of generators replaces is refused by
generator_flags.py.

Example: ``check_effects(args, {"judge_samples": Source("--judge_samples")})`` refuses it with ``--scorer match``.
"""

from __future__ import annotations

import argparse
from typing import Collection, Iterator, Mapping, NamedTuple, Sequence

from ..errors import UsageError
from ..scoring.scorers import has_range, named_scorers, needs_client, right_or_wrong, users_of
from .selected_file import OF_FILE

SELECTION = (
    "pair_precision select top_k select_seed pairs_per_entry min_margin length_match reference_as_chosen pass_rate "
    "per_entry rejected distinct"
).split()
ROWS = "reasoning reasoning_field keep_system_prompt".split()
OF_ANSWERS = "reasoning reasoning_field max_repetition decontaminate_answers".split()  # of the answers in the rows
WITHOUT_ANSWERS = ("prompts",)  # the formats whose rows hold no answer
SENDING = "max_retries request_timeout longest_wait local".split()
SERVER = "base_url api_key_env extra_body requests_per_minute tokens_per_minute".split()


BATCH = "batch_out batch_in batch_submit".split()
ONE_BY_ONE = (
    "token_budget time_budget breadth stop_loops longest_wait local ray dry_run estimate request_timeout".split()
)


class Source(NamedTuple):
    """Where a flag was given: its name as the user wrote it, after the file's name if it stands in a file."""

    name: str
    in_file: bool = False


class Need(NamedTuple):
    """What a flag needs to have an effect."""

    is_met: bool
    text: str  # "without --selected_file FILE", as it follows "has no effect"
    deciding: Collection[str]  # the flags that decide whether it is met


def check_effects(args: argparse.Namespace, given: Mapping[str, Source]) -> None:
    """UsageError if one of the ``given`` flags (by destination) has no effect with the others.

    A flag of a file may have none if the command line has a flag that takes it away: the command line wins.
    """
    on_command_line = {flag for flag, source in given.items() if not source.in_file}
    for flag, source in given.items():
        for need in needs_of(flag, args):
            if not (need.is_met or (source.in_file and on_command_line & set(need.deciding))):
                raise UsageError(f"{source.name} has no effect {need.text}")


def needs_of(flag: str, args: argparse.Namespace) -> Iterator[Need]:
    """All that a flag needs, by its destination."""
    values = vars(args)
    yield from _needs_of_results(flag, args)
    yield from _needs_without_batches(flag, args)
    if values.get("scorer"):
        yield from _needs_of_scoring(flag, args)
    if flag == "local":
        urls = [name for role in ("generator", "scorer") for name in (f"{role}_port", f"{role}_base_url")]
        yield Need(not _servers_are_named(args), "where a port or a base URL names the server", urls)
        text = "with --generators FILE, which says the model and the server of each generator"
        yield Need(values["generators"] is None, text, ["generators"])
    if flag.endswith("_api_key_env") and values.get("local") is not None:
        role = flag[: -len("_api_key_env")]
        own = [f"{role}_port", f"{role}_base_url"]
        yield Need(any(values[name] for name in own), "with --local, whose server needs no key", ["local", *own])
    yield from _needs_of_order(flag, args)
    if flag == "samples_per_request":
        yield Need(args.temperature != 0, "at --temperature 0, where all answers are one text", ["temperature"])


def _needs_of_order(flag: str, args: argparse.Namespace) -> Iterator[Need]:
    """What the flags of the order of work need: several requests per entry, and scores as the answers arrive."""
    if flag == "breadth":
        several = args.answers_per_question > args.samples_per_request
        deciding = ["answers_per_question", "samples_per_request"]
        yield Need(several, "where one request brings all answers of an entry", deciding)
    if flag in ("breadth", "target_accepted"):
        text = "with --scorer compare, which scores an entry's answers once all of them are there"
        yield Need("compare" not in args_scorer(args), text, ["scorer"])
    if flag == "target_accepted":
        wanted = ["accept_score", "accept_precision", "majority_min"]
        is_known = _any_of(args, wanted) or right_or_wrong(args_scorer(args))
        yield Need(is_known, "without --accept_score S, which says when an answer is accepted", wanted)
        text = "with --selected_format kto, whose rows are of other answers too"
        yield Need(args.selected_format != "kto", text, ["selected_format"])
        yield Need(args.estimate is None, "with --estimate N", ["estimate"])
        is_judged = args.select != "random" or _any_of(args, wanted[:2])
        text = "with --select random, which takes answers of any score without --accept_score S"
        yield Need(is_judged, text, ["select", *wanted[:2]])


def args_scorer(args: argparse.Namespace) -> Sequence[str]:
    """The words of --scorer; none for a command without scorers."""
    found: Sequence[str] = vars(args).get("scorer") or ()
    return found


def _needs_of_results(flag: str, args: argparse.Namespace) -> Iterator[Need]:
    """What the flags of the selection and of the report need: a file to write to."""
    if flag in SELECTION:
        files = ["selected_file", "report_file"]
        yield Need(_any_of(args, files), f"without {_listed(files)}", files)
    for file in ("selected_file", "report_file"):
        if flag != file and flag.startswith(file[: -len("file")]):
            yield Need(_any_of(args, [file]), f"without --{file}", [file])
    if flag in ("accept_precision", "pair_precision"):
        yield Need(args.calibration is not None, "without --calibration FILE", ["calibration"])
    if flag == "calibration":
        wanted = ["accept_precision", "pair_precision"]
        yield Need(_any_of(args, wanted), f"without {_listed(wanted)}", wanted)
    if flag == "pair_precision":
        yield Need(args.select == "dpo", "without --select dpo", ["select"])
    yield from _needs_of_rows(flag, args)
    if flag == "select_seed":
        is_random = "random" in (args.select, args.rejected)
        yield Need(is_random, "without --select random or --rejected random", ["select", "rejected"])


def _needs_of_rows(flag: str, args: argparse.Namespace) -> Iterator[Need]:
    """What the flags of the rows and of the cleaning need: rows that they are about."""
    if flag in OF_FILE or flag in ROWS:
        yield Need(_any_of(args, ["selected_file"]), "without --selected_file", ["selected_file"])
    if (flag in SELECTION and flag != "pass_rate") or flag in OF_ANSWERS:
        is_reported = _any_of(args, ["report_file"]) and flag not in OF_ANSWERS
        text = f"with --selected_format {args.selected_format}, whose rows hold no answers"
        yield Need(is_reported or args.selected_format not in WITHOUT_ANSWERS, text, ["selected_format"])
    if flag in ("ngram", "decontaminate_answers"):
        yield Need(bool(args.decontaminate), "without --decontaminate", ["decontaminate"])
    if flag == "distinct":
        yield Need(args.select == "top_k", "without --select top_k", ["select"])


def _needs_without_batches(flag: str, args: argparse.Namespace) -> Iterator[Need]:
    """What the flags need that are about requests which are sent one by one: no batch files."""
    chosen = [name for name in BATCH if vars(args)[name]]
    if flag in ONE_BY_ONE or flag.endswith("_per_minute"):
        yield Need(not chosen, f"with {_listed(chosen or BATCH)}: no request is sent by itself", BATCH)
    if flag in ("batch_out", "batch_in"):
        yield Need(not args.batch_submit, "with --batch_submit, which has files of its own", ["batch_submit"])


def _needs_of_scoring(flag: str, args: argparse.Namespace) -> Iterator[Need]:
    """What the flags of the scorers and of their servers need: a scorer that has them."""
    chosen = f"with --scorer {' '.join(args.scorer)}"
    users = users_of(flag)
    if users:
        names = [spec.partition(":")[0] for spec in named_scorers(args)]
        is_met = any(name in users for name in names)
        yield Need(is_met, f"{chosen}: only {_listed(users, '')} has it", ["scorer"])
    if flag in ("vote_weight", "stop_sure"):
        yield Need(args.scorer == ["majority"], f"{chosen}: only majority has it", ["scorer"])
    if flag in ("score_min", "score_max"):
        yield Need(has_range(args.scorer), f"{chosen}, whose scores are in the model's own units", ["scorer"])
    if flag in [f"scorer_{name}" for name in SERVER]:
        yield Need(needs_client(named_scorers(args)), f"{chosen}, which sends no requests", ["scorer"])
    if "generator_port" in vars(args):
        return
    if flag in SENDING:
        yield Need(needs_client(named_scorers(args)), f"{chosen}, which sends no requests", ["scorer"])
    if flag in ("image_root", "max_image_mb"):
        yield Need(args.judge_images, "without --judge_images: no other request shows images", ["judge_images"])


def _servers_are_named(args: argparse.Namespace) -> bool:
    """Whether flags name the servers of all roles. A judge without any has the generator's."""
    values = vars(args)
    roles = [role for role in ("generator", "scorer") if f"{role}_port" in values]
    if values.get("scorer") and not needs_client(named_scorers(args)):
        roles.remove("scorer")
    return all(values[f"{role}_port"] or values[f"{role}_base_url"] for role in roles)


def _any_of(args: argparse.Namespace, flags: Collection[str]) -> bool:
    return any(vars(args)[flag] is not None for flag in flags)


def _listed(names: Collection[str], start: str = "--") -> str:
    """Names as a list in a sentence."""
    *others, last = [start + name for name in names]
    return f"{', '.join(others)} or {last}" if others else last
