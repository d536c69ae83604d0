"""``report`` and ``select``: how they read an output that a run may still be writing.

They take no lock and change nothing of the output. The page and the selection come from the code that ends a run.

Example: ``write(make_report(args, "rejection-sampling report"))``
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from typing import Any, Iterator

from ..errors import UsageError, plural
from ..records import Record
from ..results.record_view import OutputReader
from ..running.job import Results
from ..running.results import Output, Written, check_result_files, send_selection, write_result_files
from ..running.summary import selection_rows
from ..scoring.scorers import SCORERS, has_range
from ..storage.result_files import ResultFiles
from ..storage.run_files import scorer_of, settings_of
from ..streams import say
from .build import check_working_folder, files_of, identities, make_folder, make_results, take_thresholds
from .effects import check_effects
from .run_settings import specs_of

VERIFYING = ("verify", "outputs", "quiet")  # the flags that --verify goes with


@dataclass(frozen=True)
class Reading:
    """What one of these commands writes, and from which outputs: one, or two to compare."""

    outputs: list[Output]
    results: Results
    accept_score: float | None  # as the flag says
    quiet: bool = False


def make_report(args: argparse.Namespace, prog: str) -> Reading:
    """The report of one output, or the comparison of two. Its default file is beside the (first) output."""
    if len(args.outputs) > 2:
        raise UsageError(f"{prog} takes one output, or two to compare, not {len(args.outputs)}")
    if args.report_file is None:
        others = "".join(f"_vs_{_stem(os.path.basename(path))}" for path in args.outputs[1:])
        args.report_file = f"{_stem(args.outputs[0])}{others}_report.html"
    if len(args.outputs) == 2 and args.selected_file is not None:
        raise UsageError("--selected_file needs one output: a comparison selects nothing")
    return _reading(args, prog)


@dataclass(frozen=True)
class Verification:
    """What ``select --verify`` compares."""

    selected_file: str
    output_file: str | None  # None: where the card says
    quiet: bool


def make_selection(args: argparse.Namespace, prog: str) -> Reading | Verification:
    """The selection of an output, or the check of one. Its default file is beside the output."""
    if args.verify is not None:
        others = [source.name for flag, source in args.given.items() if flag not in VERIFYING]
        if others:
            raise UsageError(f"{others[0]} has no effect with --verify, which reads it from the card")
        return Verification(args.verify, args.outputs, args.quiet)
    if args.outputs is None:
        raise UsageError(f"{prog} needs an OUTPUT, or --verify FILE")
    args.outputs = [args.outputs]
    if args.selected_file is None:
        args.selected_file = f"{_stem(args.outputs[0])}_selected.json"
    return _reading(args, prog)


def _stem(path: str) -> str:
    return path[: -len(".jsonl")] if path.endswith(".jsonl") else path


def _reading(args: argparse.Namespace, prog: str) -> Reading:
    """What the flags ask for. UsageError if a file is missing, or is named twice."""
    check_working_folder()
    check_effects(args, args.given)
    _check_names(args)
    settings = settings_of(args.outputs[0])
    args.score_min, args.score_max = score_range(settings)
    if len(args.outputs) == 2 and args.calibration is not None:
        raise UsageError("--calibration needs one output: each has a scorer of its own")
    take_thresholds(args, scorer_of(settings))
    flag = args.accept_score
    if flag is None:
        args.accept_score = number_in(settings, "accept_score")
    args.scorer = scorers_of(settings)
    results = make_results(args)
    return Reading([_output(path, prog, args) for path in args.outputs], results, flag, args.quiet)


def score_range(settings: dict[str, Any]) -> tuple[float, float]:
    """The lowest and the highest score of an output's scorer; 0 and 10 if its settings do not say.

    >>> score_range({"scorer score_min": 1, "scorer score_max": 5}), score_range({})
    ((1.0, 5.0), (0.0, 10.0))
    """
    low, high = number_in(settings, "scorer score_min"), number_in(settings, "scorer score_max")
    return (low, high) if low is not None and high is not None and low < high else (0.0, 10.0)


def scorers_of(settings: dict[str, Any]) -> list[str]:
    """The scorers of an output, as after --scorer; none if its settings do not say, or name an unknown one.

    >>> scorers_of({"scorer scorer": "match math"}), scorers_of({"scorer scorer": "match other"}), scorers_of({})
    (['match', 'math'], [], [])
    """
    names = specs_of(str(settings.get("scorer scorer") or ""))
    return names if all(name.partition(":")[0] in SCORERS for name in names) else []


def number_in(settings: dict[str, Any], name: str) -> float | None:
    """A number of the settings; None if it is missing, or something else."""
    value = settings.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _output(path: str, prog: str, args: argparse.Namespace) -> Output:
    folder = args.image_root or os.path.dirname(os.path.abspath(path))
    return Output(
        path,
        prog,
        records=lambda: records_of(path),
        generator=generator_of(path),
        errors_file=path + ".errors.jsonl",
        image_root=folder,
        stay_inside=args.image_root is not None,
    )


def generator_of(path: str) -> str | None:
    """The model that made the answers of an output, as far as its settings say it."""
    model = settings_of(path).get("generator model")
    return model if isinstance(model, str) else None


def records_of(path: str) -> Iterator[Record]:
    """The records of an output, without a last line that is still being written."""
    return OutputReader(path).records()


def _check_names(args: argparse.Namespace) -> None:
    """UsageError if an output is missing, or if a file to write is one of its files, or another file to write."""
    seen: dict[object, str] = {}
    for path in args.outputs:
        if not os.path.isfile(path):
            raise UsageError(f"there is no output {path}")
        for own, title in files_of("--output_file", path, None):
            for identity in identities(own):
                seen[identity] = title.replace("--output_file", "OUTPUT")
    for flag, path in (("--selected_file", args.selected_file), ("--report_file", args.report_file)):
        if path is None:
            continue
        for own, title in files_of(flag, path, None):
            for identity in identities(own):
                if seen.setdefault(identity, title) != title:
                    raise UsageError(f"{title} and {seen[identity]} are the same file: {own}")
        make_folder(flag, path)


def select(wanted: Reading | Verification) -> int:
    """Writes the selection, or makes one again to compare it; the exit code. Raises UsageError or RunStopped."""
    if isinstance(wanted, Reading):
        return write(wanted)
    from ..running.verify import verify

    rows = verify(wanted.selected_file, wanted.output_file)
    if not wanted.quiet:
        say(f"verified  {wanted.selected_file}: each byte is the same ({plural(rows, 'row')})", sys.stdout)
    return 0


def write(reading: Reading) -> int:
    """Writes the files, says which; the exit code. Raises UsageError or RunStopped."""
    files = ResultFiles(reading.outputs[0].path, reads_only=True)
    check_result_files(reading.results, files)
    written = Written()
    if len(reading.outputs) == 2:
        _write_comparison(reading, files, written)
    else:
        write_result_files(reading.outputs[0], reading.results, files, written)
    if written.selected is not None:
        results = reading.results
        about = (written.selected, results.selection.accept_score, results.lowest_score)
        written.rows += selection_rows(*about, reading.outputs[0].records())
        send_selection(reading.results, written)
    if not reading.quiet:
        say("\n".join(f"{kind}  {text}" for kind, text in written.rows), sys.stdout)
    return 0


def _write_comparison(reading: Reading, files: ResultFiles, written: Written) -> None:
    """Writes the comparison. Each output has its own range of scores, and its own lowest one if no flag says it."""
    from ..results.comparison_page import write_comparison

    paths = [output.path for output in reading.outputs]
    settings = [settings_of(path) for path in paths]
    page, flag = reading.results.report_file or "", reading.accept_score
    with files.replacing("--report_file", page):
        write_comparison(
            page,
            paths,
            [score_range(one) if has_range(scorers_of(one)) else None for one in settings],
            [number_in(one, "accept_score") if flag is None else flag for one in settings],
            reading.outputs[0].script,
        )
    written.rows.append(("report", page))
