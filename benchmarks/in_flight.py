"""Requests in flight over time, seen by a loopback server with heavy-tailed latency.

Shows that each script keeps ``--concurrency`` requests in flight until the work runs out, and never more.

Example: ``python -m benchmarks.in_flight --concurrency 64 --plot in_flight.png``
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, List, Tuple

from tests.helpers import ROOT, environment, questions
from tests.scripted_server import Reply, Request, ScriptedServer, completion

Timeline = List[Tuple[float, int]]


def heavy_tailed(text: str, median: float = 0.15, sigma: float = 0.8) -> Callable[[Request], Reply]:
    """Answers ``text`` (with ``{n}`` for the request's number) after a log-normal time drawn from that number."""

    def script(request: Request) -> Reply:
        return completion(
            text.format(n=request.number), delay=random.Random(request.number).lognormvariate(math.log(median), sigma)
        )

    return script


def by_parts(timeline: Timeline, parts: int = 20) -> List[float]:
    """The mean of requests in flight in each of ``parts`` equal spans of the timeline."""
    begin, end = timeline[0][0], timeline[-1][0]
    span = (end - begin) / parts
    area = [0.0] * parts
    for (start, level), (stop, _) in zip(timeline, timeline[1:]):
        for part in range(parts):
            low, high = begin + part * span, begin + (part + 1) * span
            area[part] += level * max(0.0, min(stop, high) - max(start, low))
    return [value / span for value in area]


def mean_until_last(timeline: Timeline) -> float:
    """The mean of requests in flight from the first arrival to the last: while there is still work to send."""
    arrivals = [at for (at, level), (_, before) in zip(timeline[1:], timeline) if level > before]
    begin, end = timeline[0][0], arrivals[-1]
    spans = [
        (min(stop, end) - start, level) for (start, level), (stop, _) in zip(timeline, timeline[1:]) if start < end
    ]
    return sum(seconds * level for seconds, level in spans) / (end - begin)


def main() -> None:
    """Runs the three scripts and prints a line for each role's server."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--entries", type=int, default=400)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--plot", help="PNG to write (needs matplotlib)")
    args = parser.parse_args()
    rows: List[Tuple[str, str, Timeline]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = questions(Path(folder) / "input.json", args.entries)
        sampled, scored, final = (Path(folder) / f"{name}.jsonl" for name in ("sampled", "scored", "final"))
        with ScriptedServer(heavy_tailed("answer {n}")) as one, ScriptedServer(heavy_tailed("Score: 7")) as two:
            drawn = ["--answers_per_question", args.answers, "--concurrency", args.concurrency]
            sampling = ["--input_file", source, "--output_file", sampled, "--model_name", "m", "--port", one.port]
            scoring = ["--input_file", sampled, "--output_file", scored, "--model_name", "j", "--api_port", two.port]
            both = ["--input_file", source, "--output_file", final, "--generator_model", "m", "--scorer_model", "j"]
            runs = {
                "sampling.py": [*sampling, *drawn[:2], "--concurrent_requests", args.concurrency],
                "score.py": [*scoring, *drawn[2:]],
                "reject.py": [*both, *drawn, "--generator_port", one.port, "--scorer_port", two.port],
            }
            for script, flags in runs.items():
                for server in (one, two):
                    server.timeline, server.peak = [], 0
                subprocess.run([sys.executable, str(ROOT / script), *map(str, flags)], check=True, env=environment())
                roles = (("generator", one), ("judge", two))
                rows += [(script, role, server.timeline) for role, server in roles if server.timeline]
    for script, role, timeline in rows:
        peak = max(level for _, level in timeline)
        print(f"{script} {role}: peak {peak}, mean until the last request is sent {mean_until_last(timeline):.1f}")
        print("  by twentieths of the time: " + " ".join(f"{x:.0f}" for x in by_parts(timeline)))
    if args.plot:
        plot(rows, args.concurrency, args.plot)


def plot(rows: List[Tuple[str, str, Timeline]], concurrency: int, path: str) -> None:
    """Draws requests in flight over time, a panel a row."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(rows), 1, figsize=(9, 2.2 * len(rows)), squeeze=False)
    for (script, role, timeline), panel in zip(rows, panels[:, 0]):
        begin = timeline[0][0]
        panel.step([at - begin for at, _ in timeline], [level for _, level in timeline], where="post", linewidth=0.8)
        panel.axhline(concurrency, color="gray", linestyle=":")
        panel.set_title(f"{script}: requests in flight at the {role}", fontsize=10, loc="left")
        panel.set_ylim(0, concurrency * 1.1)
    panels[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
