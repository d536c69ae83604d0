"""What the ledger and flushing it once a second cost: sampling.py with both, with the ledger alone, with neither.

The server answers at once, so that nothing hides the cost; the rate is the server's own count from the first tenth of
the requests to the last. The ways alternate, and the medians' ratios are printed.

Example: ``python -m benchmarks.sync_cost --entries 4000 --rounds 7``
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

from benchmarks.simulated import SimulatedServer
from tests.helpers import ROOT, environment, questions

RUN = (
    "import sys; sys.path.insert(0, {root!r}); import common.running.run, common.storage.ledger; {change}; "
    "from common.start import start; "
    "sys.exit(start('sample'))"
)
NEVER = "common.running.run.SYNC_EVERY = 1e9"
WAYS = {
    "ledger, flushed each second": "pass",
    "ledger, never flushed": NEVER,
    "neither": f"{NEVER}; common.storage.ledger.Ledger.append = lambda self, line: None",
}


def rate(folder: Path, server: SimulatedServer, entries: Path, change: str) -> float:
    """Answers a second of one fresh run."""
    output = folder / "out.jsonl"
    words = ["--input_file", entries, "--output_file", output, "--model_name", "m", "--port", server.port, "--quiet"]
    words += ["--concurrent_requests", 64, "--answers_per_question", 10]
    server.reset()
    code = RUN.format(root=str(ROOT), change=change)
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True, env=environment())
    output.unlink()
    return float(server.stats()["rate"])


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pad", type=int, default=1000, help="characters an answer has")
    parser.add_argument("--folder", help="where the files go: the disk to measure (default: the system's)")
    args = parser.parse_args()
    found: Dict[str, List[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=args.folder) as name, SimulatedServer("--pad", args.pad) as server:
        source = questions(Path(name) / "in.json", args.entries)
        for _ in range(args.rounds):
            for way, change in WAYS.items():
                found[way].append(rate(Path(name), server, source, change))
    base = statistics.median(found["neither"])
    for way, rates in found.items():
        middle = statistics.median(rates)
        print(f"{way}: {middle:,.0f} answers/s, {middle / base:.3f} of the rate with neither")


if __name__ == "__main__":
    main()
