"""``auto`` on a simulated clock: how soon the server is full, what the trials cost, and how far it overshoots.

Servers without metrics: by slots, the spread of the lengths (sigma of the log-normal), and how many requests at once
make each take twice as long (continuous batching). The time is in request lengths, so a length of one second stands for
all. Servers with metrics: by slots, length, and how old the gauges may be. Each row has several seeds: the median, and
the worst.

Example: ``python -m benchmarks.auto_simulated --seeds 10``
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Callable, List, Tuple

from common.servers.auto_concurrency import LOOK_EVERY
from tests.simulated_clock import Played, Server, play

SLOTS = (4, 8, 16, 32, 64, 128, 512)
SIGMAS = (0.0, 0.3, 0.8, 1.2)
CROWDS = ((64, 64), (64, 16), (256, 256), (256, 64))  # slots, and how many at once take twice as long
LENGTHS = (0.05, 0.25, 1.0, 10.0, 60.0)
LAGS = (0.0, 0.5, 2.0, 5.0)


def measured(values: List[float], worst: Callable[[List[float]], float], digits: int) -> str:
    """The median, and the worst."""
    return f"{statistics.median(values):.{digits}f} ({worst(values):.{digits}f})"


def silent_row(server: Server, seeds: int) -> str:
    """A server without metrics, for 100 request lengths."""
    length = server.mean * (1 + server.slots / server.crowd)
    runs = [play(server, 100 * length, seed) for seed in range(seeds)]
    cells = [
        measured([run.reached(0.9) for run in runs], max, 1),
        measured([run.reached(0.95) for run in runs], max, 1),
        measured([run.share(10 * length, 100 * length) for run in runs], min, 3),
        measured([run.peak / server.slots for run in runs], max, 1),
        measured([late_limit(run) / server.slots for run in runs], max, 1),
    ]
    return " | ".join(cells)


def late_limit(run: Played) -> float:
    """The mean limit of the second half."""
    limits = [limit for _, limit in run.limits]
    return statistics.fmean(limits[len(limits) // 2 :])


def telling_row(server: Server, seeds: int) -> str:
    """A server with metrics, until it has answered some hundred requests and shown its gauges some ten times."""
    seconds = max(20 * max(LOOK_EVERY, server.lag), min(10 * server.mean, 60.0))
    runs = [play(server, seconds, seed) for seed in range(seeds)]
    cells = [
        measured([full_after(run, seconds) for run in runs], max, 2),
        measured([run.share(seconds / 2, seconds) for run in runs], min, 3),
        measured([run.peak / server.slots for run in runs], max, 1),
        measured([run.limits[-1][1] / server.slots for run in runs], max, 2),
    ]
    return " | ".join(cells)


def full_after(run: Played, seconds: float) -> float:
    """The second from which 95 % of the slots are busy for a quarter of a second."""
    steps = range(int((seconds - LOOK_EVERY) * 20))
    return next((step / 20 for step in steps if run.share(step / 20, step / 20 + LOOK_EVERY) >= 0.95), math.inf)


def table(columns: Tuple[str, ...]) -> None:
    """The head of a table."""
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)


def main() -> None:
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    silent = ("lengths to 90 %", "lengths to 95 %", "of the best fixed", "peak / slots", "late limit / slots")
    table(("slots", "sigma", *silent))
    for slots in SLOTS:
        for sigma in SIGMAS:
            seeds = args.seeds if sigma else 1
            print(f"| {slots} | {sigma} | {silent_row(Server(slots, 1.0, sigma), seeds)} |", flush=True)
    table(("slots", "twice as long at", *silent))
    for slots, crowd in CROWDS:
        print(f"| {slots} | {crowd} | {silent_row(Server(slots, 1.0, crowd=crowd), args.seeds)} |", flush=True)
    table(("slots", "length", "lag", "seconds to 95 %", "of the best fixed", "peak / slots", "last limit / slots"))
    for slots in (8, 16, 128, 512):
        for length in LENGTHS:
            for lag in LAGS:
                server = Server(slots, length, tells=True, lag=lag)
                print(f"| {slots} | {length} s | {lag} s | {telling_row(server, min(3, args.seeds))} |", flush=True)


if __name__ == "__main__":
    main()
