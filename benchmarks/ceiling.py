"""How fast each script is where the server costs nothing, over a bare loop that posts as much and keeps nothing.

The server answers at once. ``steady`` is requests a second from the first tenth to the last, as the server counts them;
``whole`` is all requests over the command's wall time, the start of the process included. Rounds alternate between the
ways, and the medians' ratios are printed.

Example: ``python -m benchmarks.ceiling --entries 2000 --answers 10 --rounds 5``
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, NamedTuple

from benchmarks.simulated import SimulatedServer
from tests.helpers import ROOT, environment, questions


class Way(NamedTuple):
    """A command, and the choices a second it is measured by: all that the server gave, or half for two roles."""

    name: str
    words: List[str]


def ways(folder: Path, port: int, args: argparse.Namespace) -> List[Way]:
    """The bare loop and the scripts, each with a fresh output."""
    source = questions(folder / "in.json", args.entries)
    fresh = str(folder / "out.jsonl")
    asked = ["--input_file", source, "--answers_per_question", args.answers, "--output_file", fresh, "--quiet"]
    one = ["--model_name", "m"]
    both = ["--generator_model", "m", "--scorer_model", "j", "--generator_port", port, "--scorer_port", port]
    sampling = ["sampling.py", *asked, *one, "--port", port, "--concurrent_requests", args.in_flight]
    scored = ["--input_file", folder / "sampled.jsonl", "--output_file", fresh, "--quiet", *one, "--api_port", port]
    bare = ["-m", "benchmarks.bare", "--port", port, "--requests", args.entries * args.answers]
    found = {
        "bare loop": [*bare, "--in_flight", args.in_flight],
        "sampling.py": sampling,
        "score.py": ["score.py", *scored, "--concurrency", args.in_flight],
        "reject.py": ["reject.py", *asked, *both, "--concurrency", args.in_flight // 2],
        "sampling.py, 10 a request": [*sampling, "--samples_per_request", 10],
    }
    return [Way(name, [sys.executable, *map(str, words)]) for name, words in found.items() if name in args.ways]


def measure(way: Way, server: SimulatedServer, folder: Path) -> Dict[str, float]:
    """One run of a command: choices a second, in steady state and as a whole."""
    for left in folder.glob("out.jsonl*"):
        left.unlink()
    server.reset()
    begun = time.monotonic()
    subprocess.run(way.words, check=True, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - begun
    stats = server.stats()
    a_request = stats["choices"] / stats["requests"]
    return {"steady": stats["rate"] * a_request, "whole": stats["choices"] / wall}


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
    with tempfile.TemporaryDirectory() as name, SimulatedServer("--text", "Answer {n} {pad}\nScore: 7") as server:
        folder = Path(name)
        commands = ways(folder, server.port, args)
        sample = ways(folder, server.port, argparse.Namespace(**{**vars(args), "ways": ["sampling.py"]}))[0]
        measure(sample, server, folder)
        (folder / "out.jsonl").rename(folder / "sampled.jsonl")
        found: Dict[str, List[Dict[str, float]]] = {way.name: [] for way in commands}
        for _ in range(args.rounds):
            for way in commands:
                found[way.name].append(measure(way, server, folder))
    middle = {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    base = middle[commands[0].name]
    print("| way | steady | over the first | whole | over the first |\n|---|---|---|---|---|")
    for name, one in middle.items():
        shown = [f"{one[key]:,.0f}/s | {one[key] / base[key]:.2f}" for key in ("steady", "whole")]
        print(f"| {name} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
