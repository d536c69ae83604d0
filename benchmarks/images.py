"""Images of a megabyte: the wall time of sampling.py over that of a bare loop that posts the same bytes.

The server reads each request and answers at once. The bare loop has the encoded body ready before it begins; the script
reads, checks and encodes each entry's image. The processes' start is in both.

Example: ``python -m benchmarks.images --entries 400 --answers 8 --rounds 3``
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Dict, List

from benchmarks.simulated import SimulatedServer
from tests.helpers import ROOT, conversation, environment, write_input


def write_png(path: Path, size: int) -> Path:
    """A PNG of about ``size`` bytes: noise, which does not compress."""
    width = 512
    rows = size // (3 * width)
    raw = b"".join(b"\0" + os.urandom(3 * width) for _ in range(rows))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, rows, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(raw, 0))]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in [*chunks, (b"IEND", b"")]:
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(data)
    return path


def commands(folder: Path, port: int, args: argparse.Namespace) -> Dict[str, List[str]]:
    """The bare loop's command and the script's."""
    image = write_png(folder / "image.png", args.bytes)
    items = [conversation(f"<image>question {number}?", images=[image.name]) for number in range(args.entries)]
    source = write_input(folder / "in.json", items)
    bare = ["-m", "benchmarks.bare", "--requests", args.entries * args.answers, "--image", image]
    script = [
        "sampling.py",
        "--input_file",
        source,
        "--output_file",
        folder / "out.jsonl",
        "--model_name",
        "m",
        "--quiet",
    ]
    script += ["--answers_per_question", args.answers, "--concurrent_requests", args.in_flight]
    ways = {"bare loop": [*bare, "--in_flight", args.in_flight], "sampling.py": script}
    return {name: [sys.executable, *map(str, words), "--port", str(port)] for name, words in ways.items()}


def main() -> None:
    """Alternates the two and prints a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=400)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--in_flight", type=int, default=64)
    parser.add_argument("--bytes", type=int, default=1 << 20, help="of the image file")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    taken: Dict[str, List[float]] = {}
    with tempfile.TemporaryDirectory() as name, SimulatedServer() as server:
        folder = Path(name)
        for _ in range(args.rounds):
            for way, words in commands(folder, server.port, args).items():
                server.reset()
                begun = time.monotonic()
                subprocess.run(words, check=True, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL)
                taken.setdefault(way, []).append(time.monotonic() - begun)
                sent = server.stats()["bytes"]
            for left in folder.glob("out.jsonl*"):
                left.unlink()
    base = statistics.median(taken["bare loop"])
    for way, times in taken.items():
        middle = statistics.median(times)
        print(f"{way}: {middle:.2f} s, {sent / 1e6 / middle:,.0f} MB/s, {middle / base:.2f} of the bare loop's time")


if __name__ == "__main__":
    main()
