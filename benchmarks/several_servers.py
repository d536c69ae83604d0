"""Three servers for one role: one is killed for some seconds in mid-run, one takes four times as long as the others.

``greedy`` is the schedule of all three together for the same requests in the order they came: each slot takes the next
one the moment it is free; the killed server's slots are not there while it is down, and what it had is done again.

Example: ``python -m benchmarks.several_servers --entries 3000 --down 5``
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import List, Sequence, Tuple

from benchmarks.simulated import SimulatedServer
from tests.helpers import ROOT, environment, questions, read_lines


def greedy(times: Sequence[float], slots: int, slow: float, down: Tuple[float, float]) -> float:
    """The makespan over a server, one that is down from ``down[0]`` to ``down[1]``, and one ``slow`` times slower."""
    free = [(0.0, server) for server in (0, 1, 2) for _ in range(slots)]
    heapq.heapify(free)
    waiting, end = list(reversed(times)), 0.0
    while waiting:
        at, server = heapq.heappop(free)
        if server == 1 and down[0] <= at < down[1]:
            heapq.heappush(free, (down[1], server))
            continue
        seconds = waiting.pop() * (slow if server == 2 else 1)
        if server == 1 and at < down[0] < at + seconds:  # lost with the server, and done again
            waiting.append(seconds)
            heapq.heappush(free, (down[1], server))
            continue
        end = max(end, at + seconds)
        heapq.heappush(free, (at + seconds, server))
    return end


def main() -> None:
    """Runs sampling.py against the three and prints what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=3000)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--slots", type=int, default=64, help="of each server")
    parser.add_argument("--median", type=float, default=0.2)
    parser.add_argument("--sigma", type=float, default=0.8)
    parser.add_argument("--slow", type=float, default=4.0, help="how many times slower the third server is")
    parser.add_argument("--down", type=float, default=5.0, help="seconds the second server is down")
    args = parser.parse_args()
    flags = ["--slots", args.slots, "--sigma", args.sigma]
    with tempfile.TemporaryDirectory() as name:
        medians = {"one": args.median, "two": args.median, "three": args.median * args.slow}
        one, two, three = (
            SimulatedServer(*flags, "--median", median, "--text", f"server {name}, {{n}}")
            for name, median in medians.items()
        )
        with one, three, two:
            source, output = questions(Path(name) / "in.json", args.entries), Path(name) / "out.jsonl"
            words: List[object] = ["sampling.py", "--input_file", source, "--output_file", output, "--model_name", "m"]
            words += ["--answers_per_question", args.answers, "--concurrent_requests", 3 * args.slots]
            words += ["--port", one.port, two.port, three.port]
            begun = time.monotonic()
            run = subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, env=environment())
            expected = args.entries * args.answers / (args.slots * (2 + 1 / args.slow)) * args.median * 1.38
            time.sleep(expected / 3)
            killed, before = time.monotonic() - begun, two.times()
            two.__exit__()
            time.sleep(args.down)
            again = ["--median", args.median, "--port", two.port, "--text", "server two again, {n}"]
            two = SimulatedServer(*flags, *again)
            with two:
                back = time.monotonic() - begun
                assert run.wait() == 0
                wall, after = time.monotonic() - begun, two.times()
            came = [one.times(), before + after, [(at, took / args.slow) for at, took in three.times()]]
            records = read_lines(output)
        sent = [len(times) for times in came]
        times = [took for _, took in sorted(chain(*came))][: args.entries * args.answers]
        best = greedy(times, args.slots, args.slow, (killed, back))
        found = [answer for record in records for answer in record["generated_answers"]]
        print(json.dumps({"sent": sent, "shares": [round(one / sum(sent), 3) for one in sent]}))
        print(f"records {len(records):,} of {args.entries:,}, answers {len(found):,}, distinct {len(set(found)):,}")
        print(f"sent beyond what was needed: {sum(sent) - args.entries * args.answers}")
        print(
            f"wall {wall:.1f} s, greedy {best:.1f} s, ratio {wall / best:.3f}; down from {killed:.1f} to {back:.1f} s"
        )


if __name__ == "__main__":
    main()
