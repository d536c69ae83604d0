"""The bar that a person sees during a run, and the summary at its end.

Example: ``print(summary("reject.py", counts, traffic, seconds=41.0, rows=[("output", "out.jsonl")]))``
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable, Iterable, Sequence

from tqdm import tqdm

from ..errors import printable
from ..records import Answer, Score
from ..results.quantiles import ScoreSample
from ..scoring.same_answer import FREE_TEXT
from ..servers.client import Traffic
from ..servers.known_servers import ended_by_itself
from ..servers.slots import Server

EVERY = 0.5  # seconds between two looks at the counts


@dataclass
class Counts:
    """The numbers of this run's entries, answers and scores."""

    done: int = 0
    skipped: int = 0  # in the output before this run
    duplicates: int = 0
    failed: int = 0
    postponed: int = 0  # begun, and left for the next run
    answers: int = 0  # sampled in this run
    recalled: int = 0  # answers taken from the ledger
    scores: int = 0  # numbers in this run's records
    unscored: int = 0
    free_texts: int = 0  # answers that no rule could compare with their reference
    score_sum: float = 0.0
    sample: ScoreSample | None = None  # of the scores, where they have no range
    cut: Counter[str] = field(default_factory=Counter)  # answers in this run's records, by finish reason

    def add_answers(self, answers: Iterable[Answer]) -> None:
        """Counts the cut answers of one record."""
        self.cut.update(str(one.finish_reason) for one in answers if not ended_by_itself(one.finish_reason))

    def add_scores(self, scores: Sequence[Score]) -> None:
        """Counts the scores of one record."""
        values = [score.value for score in scores if score.value is not None]
        self.scores += len(values)
        self.unscored += len(scores) - len(values)
        self.free_texts += sum(score.unscored == FREE_TEXT for score in scores)
        self.score_sum += sum(values)
        if self.sample is not None:
            for value in values:
                self.sample.add(value)

    def anything(self) -> bool:
        """Whether there is anything to report."""
        return any((self.done, self.skipped, self.duplicates, self.failed, self.postponed, self.answers))

    @property
    def mean_score(self) -> float | None:
        return self.score_sum / self.scores if self.scores else None


def _total(traffic: Sequence[Traffic], name: str) -> int:
    return sum(getattr(traffic, name) for traffic in traffic)


async def show_bar(counts: Counts, traffic: Sequence[Traffic], expected: Callable[[], int | None], quiet: bool) -> None:
    """Shows a bar on a terminal until cancelled; ``expected`` returns the number of entries at the end, if known."""
    hidden = quiet or not sys.stderr.isatty()
    with tqdm(unit=" entries", disable=hidden, dynamic_ncols=True) as bar:
        try:
            while not hidden:
                with contextlib.suppress(OSError):
                    _update(bar, counts, traffic, expected())
                await asyncio.sleep(EVERY)
        finally:
            if not hidden:
                with contextlib.suppress(OSError):  # the terminal is gone
                    _update(bar, counts, traffic, expected())


def _update(bar: tqdm, counts: Counts, traffic: Sequence[Traffic], expected: int | None) -> None:  # type: ignore[type-arg]
    over = counts.done + counts.skipped + counts.duplicates + counts.failed
    bar.total = max(over, expected) if expected else None
    if not bar.n and counts.skipped:  # they say nothing about the rate
        bar.initial = counts.skipped
    bar.n = over
    seconds = max(bar.format_dict["elapsed"], 1e-9)
    shown = [f"{counts.answers / seconds:.1f} answers/s", f"{_total(traffic, 'tokens') / seconds:.0f} tokens/s"]
    shown += [f"{_total(traffic, 'retries')} retries", f"{counts.failed} failed"]
    if counts.mean_score is not None:
        shown.append(f"mean score {counts.mean_score:.2f}")
    bar.set_postfix_str(", ".join(shown), refresh=False)
    bar.refresh()


def server_rows(servers: Sequence[Server], found: bool) -> list[tuple[str, str]]:
    """(kind, text) per server of a role, if there are several or if ``found``: ``auto`` found their concurrency."""
    if len(servers) < 2 and not found:
        return []
    every = sum(server.requests for server in servers)
    rows = []
    for server in servers:
        share = f"{server.requests:,} requests ({server.requests / max(1, every):.0%}), {server.errors:,} errors"
        each = f"{server.seconds / max(1, server.requests):.2f} s each, up to {server.peak} in flight"
        rows.append(("server", f"{server.url}: {share}, {each}" + (f", {server.limit} at the end" if found else "")))
    return rows


def summary(
    script: str,
    counts: Counts,
    traffic: Sequence[Traffic],
    seconds: float,
    rows: Sequence[tuple[str, str]],
) -> str:
    """The end of a run in a few lines; ``rows`` are (kind, text) pairs that come last, such as the files."""
    rate = 1 / max(seconds, 1e-9)
    parts = [f"{counts.done:,} done", f"{counts.skipped:,} skipped (already done)", f"{counts.failed:,} failed"]
    if counts.postponed:
        parts.append(f"{counts.postponed:,} postponed")
    if counts.duplicates:
        parts.append(f"{counts.duplicates:,} duplicates left out")
    lines: list[tuple[str, str]] = [("entries", ", ".join(parts) + f" in {seconds:.1f} s ({counts.done * rate:.1f}/s)")]
    if counts.answers or counts.recalled:
        again = f", {counts.recalled:,} from the ledger" if counts.recalled else ""
        lines.append(("answers", f"{counts.answers:,} sampled{again} ({counts.answers * rate:.1f}/s)"))
    if counts.cut:
        reasons = ", ".join(f"{number:,} by {reason}" for reason, number in counts.cut.most_common())
        lines.append(("cut", f"{sum(counts.cut.values()):,} answers: {printable(reasons)}"))
    if traffic:
        requests, retries, tokens = (_total(traffic, name) for name in ("requests", "retries", "tokens"))
        dropped = _total(traffic, "cancelled")
        sent = f"{requests:,} sent, {retries:,} retries" + (f", {dropped:,} dropped" if dropped else "")
        lines.append(("requests", f"{sent}, {tokens:,} tokens ({tokens * rate:.0f}/s)"))
    if counts.mean_score is not None or counts.unscored:
        mean = "none" if counts.mean_score is None else f"{counts.mean_score:.2f}"
        lines.append(("scores", f"mean {mean}, {counts.scores:,} scored, {counts.unscored:,} unscored"))
    if counts.free_texts:
        lines.append(("unscored", f"{counts.free_texts:,} because {FREE_TEXT}; add a judge: --scorer match judge"))
    return "\n".join([script, *(f"  {name:<9} {printable(text)}" for name, text in [*lines, *rows])])
