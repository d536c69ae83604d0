"""The report: one HTML page that says whether a run worked, and shows every candidate.

The page is one file (no network, no fonts, its own policy forbids both). It is written whole or not at all, and the
same output gives the same bytes. The output is streamed: charts come from counts and samples, the table holds the first
100,000 candidates. The texts of models reach the page as packed data and become text nodes, never markup.

The words are in report_text.py, the table's data in report_rows.py, the page in report.html (Jinja2), .css and .js.

Example: ``write_report("report.html", "out.jsonl", Selection(), errors_file=None, image_root="data",
score_range=(0, 10), script="reject.py")``
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any, Iterable, Iterator

from ..errors import RunStopped, UsageError
from ..extras import require
from ..storage.append_file import write_whole
from .curves import Curves, curves_of
from .quantiles import ScoreSample
from .record_view import OutputReader
from .report_rows import CandidateTable, packed
from .report_text import DOTS, ReportText
from .selection import Selection
from .tally import BINS, MOST_EXACT, OCTAVE, STATUSES, Totals, count, count_failures

STARTS = (b"<!doctype html>",)  # of the page
HERE = os.path.dirname(os.path.abspath(__file__))


def require_packages() -> None:
    """Raises UsageError, with the command that installs it, if a package of the report is missing."""
    for package in ("plotly", "jinja2"):
        require(package, "--report_file", "report")


def write_report(
    path: str,
    output_file: str,
    selection: Selection,
    *,
    errors_file: str | None,
    image_root: str | None,
    score_range: tuple[float, float] | None,
    script: str,
    stay_inside: bool = False,
) -> None:
    """Writes the page of ``output_file`` to ``path``, whole or not at all.

    ``selection`` decides which answers are accepted and selected. ``errors_file`` holds the failed entries (None or
    missing: none failed). Images below ``image_root`` are embedded (None: only named), and with ``stay_inside`` no
    others. ``score_range`` is the scorer's (low, high); None if its scores have no range: then the page
    shows their quantiles. A last line that is still being written is left out, and the
    page says so.
    Raises UsageError without the packages or an output, RunStopped for a damaged line or a page that cannot be written.
    """
    require_packages()
    if not os.path.isfile(output_file):
        raise UsageError(f"no output {output_file} to report on; run {script} first")
    reader = OutputReader(output_file, selection)
    sample = None if score_range is not None else _sample_of(reader)
    totals = Totals(*(score_range or _ends(sample)), selection, sample)
    table = CandidateTable(image_root, stay_inside)
    for view in reader:
        count(totals, view)
        table.add(view)
    table.close()
    curves = curves_of(totals.histories.items, totals.low, totals.high) if totals.answers["scored"] else None
    text = ReportText(totals, table, curves, selection, count_failures(errors_file), torn=reader.torn)
    try:
        write_whole(path, _page(text, output_file, script))
    except OSError as error:
        raise RunStopped(f"cannot write {path}: {error.strerror}") from error


def _sample_of(reader: OutputReader) -> ScoreSample:
    """The scores of an output, read once before the totals are."""
    sample = ScoreSample()
    for view in reader:
        for candidate in view.candidates:
            if candidate.score is not None:
                sample.add(candidate.score)
    return sample


def _ends(sample: ScoreSample | None) -> tuple[float, float]:
    """The lowest and the highest score."""
    return (0.0, 1.0) if sample is None or sample.is_empty else (sample.low, sample.high)


def _page(text: ReportText, output_file: str, script: str) -> Iterator[bytes]:
    """The page in pieces."""
    jinja2 = require("jinja2", "--report_file", "report")
    library = require("plotly.offline", "--report_file", "report").get_plotlyjs()
    style, code, page = (_file(f"report.{ending}") for ending in ("css", "js", "html"))
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(page)
    pieces: Iterable[str] = template.generate(
        text=text,
        name=os.path.basename(output_file),
        script=script,
        style=style,
        code=code,
        hashes=[_hash(code), _hash(library)],
        packed_data=_packed_data(text, library),
    )
    for piece in pieces:
        yield piece.encode("utf-8", "replace")


def _file(name: str) -> str:
    """The text of a file beside this one."""
    with open(os.path.join(HERE, name), encoding="utf-8", newline="\n") as file:
        return file.read()


def _hash(code: str) -> str:
    """The SHA-256 (base64) by which the page's policy knows a script; no other script may run."""
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def _packed_data(text: ReportText, library: str) -> Iterator[tuple[str, str]]:
    """What report.js unpacks, by name: the charts' numbers, the table, the library that draws the charts."""
    charts = _charts(text.totals, text.curves, text.selection)
    for name, data in (("charts", charts), ("columns", text.table.columns())):
        yield name, packed(json.dumps(data, separators=(",", ":"), allow_nan=False))
    for chunk in text.table.chunks:
        yield "chunk", chunk
    yield "library", packed(library)


# The charts


def _charts(totals: Totals, curves: Curves | None, selection: Selection) -> dict[str, Any]:
    """The numbers of the page's charts."""
    return {
        "range": [totals.low, totals.high],
        "accept": selection.accept_score,
        "dpo": selection.makes_pairs,
        "scores": _histogram(totals),
        "curves": None
        if curves is None
        else {"k": curves.steps, "pass": curves.passed, "best": curves.best, "running": curves.in_order},
        "dots": totals.length_samples.items[:DOTS],
        "trend": [
            [2 ** ((octave + 0.5) / OCTAVE), score.mean]
            for octave, score in sorted(totals.score_at_length.items())
            if score.count >= max(5, totals.length_samples.seen // 500)
        ],
        "ratios": sorted((2 ** (octave / OCTAVE), pairs) for octave, pairs in totals.length_ratios.items()),
    }


def _histogram(totals: Totals) -> dict[str, Any]:
    """A bar for each score if they are few, else for each bin; by status."""
    scores = sorted({score for score, _ in totals.exact})
    if len(scores) <= MOST_EXACT and len(totals.exact) <= MOST_EXACT * STATUSES:
        gaps = [late - early for early, late in zip(scores, scores[1:])]
        width = min([*gaps, (totals.high - totals.low) / 4 or 1.0])
        counts = [[totals.exact[score, status] for score in scores] for status in range(STATUSES)]
    else:
        width = (totals.high - totals.low) / BINS
        scores = [totals.low + (place + 0.5) * width for place in range(BINS)]
        counts = [[totals.binned[place, status] for place in range(BINS)] for status in range(STATUSES)]
    return {"at": scores, "width": width, "counts": counts}
