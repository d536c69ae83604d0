"""What flushing to the disk once a second costs: wall time of sampling.py with it over without it, in one run.

Example: ``python -m benchmarks.sync_cost --entries 2000 --rounds 5``
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List

from tests.helpers import ROOT, environment, questions
from tests.scripted_server import ScriptedServer, completion

RUN = (
    "import sys; sys.path.insert(0, {root!r}); import common.runner; common.runner.SYNC_EVERY = {every}; "
    "import sampling; from common import cli; "
    "sys.exit(cli.main('sampling.py', sampling.make_job, sampling.make_parser()))"
)


def seconds(folder: Path, port: int, entries: Path, every: float) -> float:
    """The wall time of one fresh run that flushes each ``every`` seconds."""
    output = folder / "out.jsonl"
    words = ["--input_file", entries, "--output_file", output, "--model_name", "m", "--port", port, "--quiet"]
    words += ["--concurrent_requests", 64, "--answers_per_question", 10]
    code = RUN.format(root=str(ROOT), every=every)
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True, env=environment())
    taken = time.monotonic() - begun
    output.unlink()
    return taken


def main() -> None:
    """Alternates runs with and without flushing and prints the ratio of the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the files go: the disk to measure (default: the system's)")
    args = parser.parse_args()
    text = "a thousand characters of an answer " * 30
    taken: Dict[float, List[float]] = {1.0: [], 1e9: []}
    with tempfile.TemporaryDirectory(dir=args.folder) as name, ScriptedServer(lambda _: completion(text)) as server:
        source = questions(Path(name) / "in.json", args.entries)
        for _ in range(args.rounds):
            for every, times in taken.items():
                server.chats.clear()
                times.append(seconds(Path(name), server.port, source, every))
    with_it, without = (statistics.median(times) for times in taken.values())
    print(f"flushed each second: {with_it:.2f} s, never: {without:.2f} s, ratio {with_it / without:.3f}")


if __name__ == "__main__":
    main()
