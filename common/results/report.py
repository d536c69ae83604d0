"""The report: one HTML page that says whether a run worked, and shows every candidate.

The page is one file (no network, no fonts, its own policy forbids both). It is written whole or not at all, and the
same output gives the same bytes. The output is streamed: charts come from counts and samples, the table holds the first
100,000 candidates.

The words are in report_text.py and how_made.py, the table's data in report_rows.py, and the page in report.html, which
page.py fills.

Example: ``write_report("report.html", "out.jsonl", Selection(), errors_file=None, image_root="data",
score_range=(0, 10), script="reject.py")``
"""

from __future__ import annotations

import os
from typing import Any, Callable, Iterator

from ..errors import UsageError
from ..storage.run_files import settings_of
from .agreement import Agreement
from .by_generator import ByGenerator
from .calibration import Calibration
from .curves import Curves, curves_of
from .how_made import how_made
from .page import Data, require_packages, write_page
from .quantiles import sample_of
from .record_view import OutputReader
from .report_rows import CandidateTable
from .report_text import DOTS, ReportText
from .selection import Selection
from .tally import BINS, MOST_EXACT, OCTAVE, STATUSES, Totals, count, count_failures

STARTS = (b"<!doctype html>",)  # of the page


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
    read_answer: Callable[[str], str | None] | None = None,
    calibration: Calibration | None = None,
    most_rows: int | None = None,
) -> None:
    """Writes the page of ``output_file`` to ``path``, whole or not at all.

    ``selection`` decides which answers are accepted and selected. ``errors_file`` holds the failed entries (None or
    missing: none failed). Images below ``image_root`` are embedded (None: only named), and with ``stay_inside`` no
    others. ``score_range`` is the scorer's (low, high); None if its scores have no range: then the page shows their
    quantiles. ``read_answer`` tells the final answer that a rule reads in a text. ``calibration`` is the scorer's.
    ``most_rows`` is the limit of the selected file. The page says if the last line is still being written and left out.
    Raises UsageError without the packages or an output, RunStopped for a damaged line or a page that cannot be written.
    """
    require_packages()
    if not os.path.isfile(output_file):
        raise UsageError(f"no output {output_file} to report on; run {script} first")
    reader = OutputReader(output_file)
    if score_range is None:  # one reading more, before the totals
        sample = sample_of(reader.scores())
        totals = Totals(*sample.ends, selection, sample)
    else:
        totals = Totals(*score_range, selection)
    table = CandidateTable(image_root, stay_inside, read_answer)
    settings = settings_of(output_file)
    agreement = _agreement(settings, selection, score_range)
    by_generator = ByGenerator(settings.get("generator model"), totals.threshold)
    for view in reader.views(selection, most_rows):
        agreement.add(view)
        by_generator.add(view)
        table.add(view, count(totals, view))
    table.close()
    curves = curves_of(totals.histories.items, totals.low, totals.high) if totals.answers["scored"] else None
    text = ReportText(totals, table, curves, selection, count_failures(errors_file), torn=reader.torn)
    made = how_made(settings, output_file, totals)
    panels = agreement.panels(calibration, selection.accept_score)
    values = {"text": text, "made": made, "tables": by_generator.panels(), "panels": panels, "script": script}
    values["name"] = os.path.basename(output_file)
    write_page(path, "report", values, _data(text))


def _agreement(settings: dict[str, Any], selection: Selection, score_range: tuple[float, float] | None) -> Agreement:
    """What compares the verdicts of an output with these settings.

    A score says "right" from the lowest accepted one on, else from the middle of the range.
    """
    lowest = selection.accept_score
    if lowest is None and score_range is not None:
        lowest = sum(score_range) / 2
    return Agreement(lowest, has_labels=not any(name.startswith("generator ") for name in settings))


def _data(text: ReportText) -> Iterator[Data]:
    """What report.js unpacks, by name: the charts' numbers, and the table."""
    yield "charts", _charts(text.totals, text.curves, text.selection)
    yield "columns", text.table.columns()
    for chunk in text.table.chunks:
        yield "chunk", chunk


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
            [2 ** (octave / OCTAVE), 2 ** ((octave + 1) / OCTAVE), score.mean, score.count]
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
