"""How fast each script is where the servers cost nothing, over a bare loop that posts as much and keeps nothing.

The servers answer at once, the judge's in words that no answer holds. ``steady`` is requests per second from the first
tenth to the last, as the servers count them. ``whole`` is all requests over the command's wall time, the start of the
process included. ``CPU`` is the command's own seconds of the processor per request beyond those of a tenth of the job:
other work on the machine changes it least. Rounds alternate between the ways, and the medians' ratios are printed.

Example: ``python -m benchmarks.ceiling --entries 2000 --answers 10 --rounds 5``
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from benchmarks.growth import Spent, spent
from benchmarks.simulated import SimulatedServer
from tests.helpers import questions


class Way(NamedTuple):
    """A command, the same with a tenth of the job, and how many requests it sends per answer."""

    name: str
    words: List[str]
    small: List[str]
    per_answer: int


class Servers(NamedTuple):
    """The generator's and the judge's."""

    generator: SimulatedServer
    judge: SimulatedServer


def ways(folder: Path, servers: Servers, args: argparse.Namespace) -> List[Way]:
    """The bare loop and the scripts, each with a fresh output."""
    large, small = (commands(folder, servers, entries, args) for entries in (args.entries, args.entries // 10))
    python = [sys.executable]
    return [
        Way(name, python + large[name], python + small[name], 2 if name == "reject.py" else 1) for name in args.ways
    ]


def commands(folder: Path, servers: Servers, entries: int, args: argparse.Namespace) -> Dict[str, List[str]]:
    """The command lines of a job of so many entries, by name."""
    source = questions(folder / f"in{entries}.json", entries)
    port, judge_port = servers.generator.port, servers.judge.port
    fresh = ["--output_file", str(folder / "out.jsonl"), "--quiet"]
    asked = ["--input_file", source, "--answers_per_question", args.answers, *fresh]
    both = ["--generator_model", "m", "--scorer_model", "j", "--generator_port", port, "--scorer_port", judge_port]
    sampling = ["sampling.py", *asked, "--model_name", "m", "--port", port, "--concurrent_requests", args.in_flight]
    scored = ["--input_file", folder / f"sampled{entries}.jsonl", *fresh, "--model_name", "j", "--api_port", judge_port]
    bare = ["-m", "benchmarks.bare", "--port", port, "--requests", entries * args.answers]
    found = {
        "bare loop": [*bare, "--in_flight", args.in_flight],
        "sampling.py": sampling,
        "score.py": ["score.py", *scored, "--concurrency", args.in_flight],
        "reject.py": ["reject.py", *asked, *both, "--concurrency", args.in_flight // 2],
        "sampling.py, 10 a request": [*sampling, "--samples_per_request", 10],
    }
    return {name: list(map(str, words)) for name, words in found.items()}


def run(words: Sequence[str], servers: Servers, folder: Path) -> Spent:
    """One run of a command without an old output, while the servers count."""
    for left in folder.glob("out.jsonl*"):
        left.unlink()
    for server in servers:
        server.reset()
    return spent(words[1:])


def measure(way: Way, servers: Servers, folder: Path, answers: int) -> Dict[str, float]:
    """One run of a command: choices per second, in steady state and as a whole, and microseconds of CPU per choice."""
    small = run(way.small, servers, folder)
    large = run(way.words, servers, folder)
    stats = [server.stats() for server in servers]
    steady = sum(one["rate"] * one["choices"] / one["requests"] for one in stats if one["requests"])
    choices = sum(one["choices"] for one in stats)
    cpu = (large.cpu - small.cpu) / (0.9 * answers * way.per_answer) * 1e6
    return {"steady": steady, "whole": choices / large.seconds, "CPU": cpu}


WAYS = ["bare loop", "sampling.py", "score.py", "reject.py", "sampling.py, 10 a request"]


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=2000)
    parser.add_argument("--answers", type=int, default=10)
    parser.add_argument("--in_flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    args = parser.parse_args()
    answers = args.entries * args.answers
    generator, judge = SimulatedServer(), SimulatedServer("--text", "It is right. {n} {pad}\nScore: 7")
    with tempfile.TemporaryDirectory() as name, generator, judge:
        folder, servers = Path(name), Servers(generator, judge)
        compared = ways(folder, servers, args)
        for entries in (args.entries, args.entries // 10):
            run(["", *commands(folder, servers, entries, args)["sampling.py"]], servers, folder)
            (folder / "out.jsonl").rename(folder / f"sampled{entries}.jsonl")
        found: Dict[str, List[Dict[str, float]]] = {way.name: [] for way in compared}
        for _ in range(args.rounds):
            for way in compared:
                found[way.name].append(measure(way, servers, folder, answers))
    middle = {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    base = middle[compared[0].name]
    print("| way | steady | over the first | whole | over the first | CPU | over the first |")
    print("|---|---|---|---|---|---|---|")
    for name, one in middle.items():
        shown = [f"{one[key]:,.0f}/s | {one[key] / base[key]:.2f}" for key in ("steady", "whole")]
        print(f"| {name} | {' | '.join(shown)} | {one['CPU']:.0f} us | {base['CPU'] / one['CPU']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
