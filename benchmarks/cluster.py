"""--ray on 1, 2, 4, ... nodes of a Ray cluster on this machine: how the rate grows where the servers are the limit.

All nodes share this machine's loopback, so that one simulated server stands for all of theirs: it has ``--slots`` for
each node, and each node's worker keeps so many requests in flight. ``steady`` is answers a second from the first tenth
to the last, as the server counts them; ``of the best`` is the time its slots need at least over the time it took from
its first request to its last reply. The last row's server answers at once: what driver and workers can do on this
machine's cores. ``driver`` is the script's CPU time for a thousand answers, its start included.

Example: ``python -m benchmarks.cluster --nodes 1 2 4``
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict

from benchmarks.simulated import SimulatedServer
from tests.helpers import ROOT, environment, questions
from tests.ray_nodes import RayNodes


def measure(address: str, server: SimulatedServer, entries: int, args: argparse.Namespace) -> Dict[str, float]:
    """One run of sampling.py: answers a second, in steady state and as a whole, and the driver's CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        source = questions(Path(folder) / "in.json", entries)
        words = ["sampling.py", "--input_file", source, "--output_file", f"{folder}/out.jsonl", "--model_name", "m"]
        words += ["--port", server.port, "--concurrent_requests", args.slots, "--answers_per_question", args.answers]
        words += ["--ray", address, "--quiet"]
        server.reset()
        begun, before = time.monotonic(), os.times()
        env = environment(RAY_AUTH_MODE="disabled")  # as RayNodes has it
        subprocess.run([sys.executable, *map(str, words)], check=True, env=env, cwd=ROOT, stdout=subprocess.DEVNULL)
        wall, after = time.monotonic() - begun, os.times()
    stats = server.stats()
    assert stats["choices"] == entries * args.answers
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"steady": stats["rate"], "whole": stats["choices"] / wall, "cpu": cpu, **stats}


def main() -> None:
    """Prints a row for each number of nodes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--slots", type=int, default=32, help="of each node's server")
    parser.add_argument("--median", type=float, default=0.2, help="seconds a request decodes")
    parser.add_argument("--sigma", type=float, default=0.8)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20, help="that each run should take")
    args = parser.parse_args()
    mean = args.median * math.exp(args.sigma**2 / 2)
    print("| nodes | servers | steady | over the first | of the best | whole | driver |\n|---|---|---|---|---|---|---|")
    first = 0.0
    for count in [*args.nodes, 0]:
        nodes = count or max(args.nodes)
        flags = ["--slots", args.slots * nodes, "--median", args.median, "--sigma", args.sigma] if count else []
        ideal = args.slots * nodes / mean if count else 4000.0
        with SimulatedServer(*flags) as server, RayNodes(nodes) as cluster:
            found = measure(cluster.address, server, int(ideal * args.seconds / args.answers), args)
        first = first or found["steady"]
        kind = f"{args.slots} slots each" if count else "instant"
        best = found["greedy"] / found["seconds"]
        over = (f"{found['steady'] / first:.2f}", f"{best:.1%}") if count else ("", "")
        driver = f"{found['cpu'] / found['choices'] * 1000:.2f} s"
        row = [str(nodes), kind, f"{found['steady']:,.0f}/s", *over, f"{found['whole']:,.0f}/s", driver]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
