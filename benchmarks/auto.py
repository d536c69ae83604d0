"""``auto`` against a sweep of fixed numbers in flight, on simulated servers that queue without limit, as vLLM does.

Each server has so many slots and log-normal lengths. Each number is held for some seconds; ``auto`` runs on, once with
the server's metrics to be read and once without any. Then a server whose capacity halves and doubles again, and one
that refuses (429) what is over its limit. Replies a second are counted by the server; ratios are to the best fixed
number's. With ``--hold 0`` no number is held, and the best is computed: slots over the mean length.

Example: ``python -m benchmarks.auto --slots 8 64 512 --plot docs/auto.png``
"""

from __future__ import annotations

import argparse
import heapq
import math
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from benchmarks.simulated import SimulatedServer
from tests.helpers import ROOT, environment, questions

SIGMA = 0.8
Series = Dict[str, List[int]]  # replies in each second, by what was run
NAMES = {"auto, by throughput": [], "auto, by the server's metrics": ["--metrics"]}


def latency(args: argparse.Namespace) -> List[object]:
    """The flags of a server whose requests take ``--length`` seconds on average."""
    return ["--median", args.length / math.exp(SIGMA**2 / 2), "--sigma", SIGMA]


def play(server: SimulatedServer, in_flight: object, seconds: float, changes: Sequence[Tuple[float, int]] = ()) -> Any:
    """The server's count of a run of so many seconds, ended amid its work; ``changes`` are (second, slots)."""
    with tempfile.TemporaryDirectory() as name:
        source = questions(Path(name) / "in.json", 60_000)
        words = ["sampling.py", "--input_file", source, "--output_file", Path(name) / "out.jsonl", "--model_name", "m"]
        words += ["--port", server.port, "--concurrent_requests", in_flight, "--answers_per_question", 8, "--quiet"]
        server.reset()
        run = subprocess.Popen(
            [sys.executable, *map(str, words)], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL
        )
        timers = [threading.Timer(at, server.resize, [slots]) for at, slots in changes]
        for timer in timers:
            timer.start()
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGTERM)
            run.wait()
        return server.stats()


def rate(series: List[int], begin: int, end: int) -> float:
    """Replies a second from one second to another."""
    return statistics.fmean(series[begin:end])


def busy(times: Sequence[Tuple[float, float]], slots: int, step: float) -> List[float]:
    """The share of the slots that decode, in each step of time, by when requests came and how long they decode."""
    free, first = [0.0] * slots, times[0][0]
    work = [0.0] * (int((times[-1][0] - first) / step) + 1)
    for came, took in times:
        begin = max(came - first, free[0])
        heapq.heapreplace(free, begin + took)
        at = int(begin / step)
        while at < len(work) and at * step < begin + took:
            work[at] += min(begin + took, (at + 1) * step) - max(begin, at * step)
            at += 1
    return [each / (slots * step) for each in work]


def reached(shares: Sequence[float], share: float, window: int) -> float:
    """The first step from which the mean of a window is this share."""
    steps = range(len(shares) - window)
    return next((at for at in steps if statistics.fmean(shares[at : at + window]) >= share), math.inf)


def held(slots: int, server: SimulatedServer, args: argparse.Namespace) -> Dict[int, float]:
    """Replies a second with each of some fixed numbers, or with the best as it is computed."""
    if not args.hold:
        return {slots: slots / args.length}
    hold = args.hold * max(1, 32 / slots)  # few slots, few replies, and much chance in them
    numbers = (slots // 4, slots // 2, slots, 2 * slots)
    return {number: rate(play(server, number, hold)["by_second"], 3, int(hold) - 1) for number in numbers}


def sweep(slots: int, args: argparse.Namespace) -> Tuple[Series, List[str]]:
    """Fixed numbers and auto on servers of so many slots: the series to plot, and the table's rows."""
    found: Series = {}
    with SimulatedServer("--slots", slots, *latency(args)) as silent:
        fixed = held(slots, silent, args)
    best = max(fixed.values())
    rows = [f"| {slots} | {number} | {value:.1f}/s | {value / best:.2f} | | | |" for number, value in fixed.items()]
    for name, flags in NAMES.items():
        with SimulatedServer("--slots", slots, *latency(args), *flags) as server:
            stats = play(server, "auto", args.seconds)
            shares = busy(server.times(), slots, args.length / 20)
        found[name] = stats["by_second"]
        late = rate(found[name], len(found[name]) // 2, len(found[name]) - 1)
        ninety, most = reached(shares, 0.9, 20) / 20, reached(shares, 0.95, 20) * args.length / 20
        rows.append(
            f"| {slots} | {name} | {late:.1f}/s | {late / best:.2f} | {ninety:.1f} | {most:.1f} s | {stats['most']} |"
        )
    found["the best fixed number"] = [round(best)] * int(args.seconds)
    return found, rows


def following(args: argparse.Namespace) -> Tuple[Series, List[str]]:
    """A server of 64 slots that has 32 for the middle third of the run."""
    third, found, rows = int(args.seconds * 2 / 3), {}, []
    for name, flags in NAMES.items():
        with SimulatedServer("--slots", 64, *latency(args), *flags) as server:
            series = play(server, "auto", 3 * third, [(third, 32), (2 * third, 64)])["by_second"]
        found[name] = series
        parts = [rate(series, third * part - 20, third * part - 2) for part in (1, 2, 3)]
        ratios = [part / (slots / args.length) for part, slots in zip(parts, (64, 32, 64))]
        rows.append(f"capacity 64, 32, 64 slots, {name}: {', '.join(f'{ratio:.2f}' for ratio in ratios)} of it used")
    return found, rows


def refusing(args: argparse.Namespace) -> str:
    """A server that takes 40 requests at once and refuses what is over that."""
    with SimulatedServer("--slots", 4096, *latency(args), "--refuse_over", 40) as server:
        stats = play(server, "auto", args.seconds)
    used = stats["work"] / stats["seconds"]
    return f"refused over 40: {stats['refused']} of {stats['requests']:,} requests refused, {used:.1f} in flight"


def plot(panels: Dict[str, Series], path: str) -> None:
    """Draws replies a second over time, a panel a server."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(panels), 1, figsize=(9, 2.2 * len(panels)), squeeze=False)
    for (title, found), axis in zip(panels.items(), axes[:, 0]):
        for name, series in found.items():
            smooth = [statistics.fmean(series[max(0, at - 2) : at + 3]) for at in range(len(series) - 1)]
            axis.plot(smooth, label=name, linewidth=1.2, linestyle=":" if "fixed" in name else "-")
        axis.set_title(f"replies a second, {title}", fontsize=10, loc="left")
        axis.set_ylim(0)
        axis.legend(fontsize=7, loc="lower right")
    axes[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    """Prints the table and lines, and draws the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--slots", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--length", type=float, default=0.275, help="seconds a request takes, the mean")
    parser.add_argument("--hold", type=float, default=14.0, help="seconds each fixed number is held")
    parser.add_argument("--seconds", type=float, default=70.0, help="seconds auto runs")
    parser.add_argument("--sweep_only", action="store_true", help="without the servers that change or refuse")
    parser.add_argument("--plot", help="PNG to write (needs matplotlib)")
    args = parser.parse_args()
    panels: Dict[str, Series] = {}
    columns = ("slots", "in flight", "replies (auto: second half)", "of the best fixed")
    columns += ("lengths to 90 %", "time to 95 %", "most at the server")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for slots in args.slots:
        panels[f"a server of {slots} slots"], rows = sweep(slots, args)
        print("\n".join(rows), flush=True)
    if not args.sweep_only:
        panels["64 slots, 32 for the middle third, 64 again"], rows = following(args)
        print("\n".join([*rows, refusing(args)]))
    if args.plot:
        plot(panels, args.plot)


if __name__ == "__main__":
    main()
