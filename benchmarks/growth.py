"""What a job's size costs: memory, entries a second, and the time until a resumed job sends its first request.

For each number of entries: a run against an instant server; the finished run again; and, with one entry more in the
input, the time to its request, of which reading the input (parsing alone) is told apart. Then the scan of an output,
and the opening of a cache of many answers. Each in a process of its own, whose peak memory is the system's count.
``--generated N`` resumes a job of N finished short entries instead, whose files are written without a run.

Example: ``python -m benchmarks.growth --entries 10000 100000 1000000 --cache_answers 8000000``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from benchmarks.simulated import SimulatedServer
from common.records import Answer, Entry, Origin, entry_id_of, make_record
from common.storage.append_file import to_line
from tests.helpers import ROOT, conversation, environment

READ = "import sys; from common.input.files import InputFile; print(sum(1 for _ in InputFile(sys.argv[1])))"
SCAN = "import sys; from common.storage.append_file import scan; print(sum(1 for _ in scan(sys.argv[1])))"
OPEN = "import sys; from common.storage.ledger import Ledger; Ledger(sys.argv[1], ()).close()"
MIB = 1 << 20


class Spent(NamedTuple):
    """What a command took: seconds from its start to its end, and the most memory it had, in MiB."""

    seconds: float
    peak: float
    cpu: float = 0.0  # seconds of the processor, which other work on the machine does not change much


def spent(words: Sequence[object]) -> Spent:
    """Runs a Python command to its end."""
    begun = time.monotonic()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, *map(str, words)],
        {**environment(), "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, words
    return Spent(time.monotonic() - begun, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def write_questions(path: Path, first: int, last: int) -> None:
    """Adds questions to a JSONL file."""
    with open(path, "a", encoding="utf-8") as file:
        for number in range(first, last):
            text = f"question {number}? {'It has some words to think about. ' * 8}"
            file.write(json.dumps(conversation(text, str(number))) + "\n")


def row(folder: Path, server: SimulatedServer, entries: int) -> str:
    """The table's line for a job of so many entries."""
    source, output = folder / "in.jsonl", folder / "out.jsonl"
    write_questions(source, 0, entries)
    words = [ROOT / "sampling.py", "--input_file", source, "--output_file", output, "--model_name", "m", "--quiet"]
    words += ["--port", server.port, "--concurrent_requests", 64, "--answers_per_question", 1]
    server.reset()
    whole = spent(words)
    rate = server.stats()["rate"]
    again = spent(words)
    write_questions(source, entries, entries + 1)
    server.reset()
    begun = time.monotonic()
    spent(words)
    first = server.stats()["first"] - begun
    reading = spent(["-c", READ, source])
    size = output.stat().st_size
    scanned = spent(["-c", SCAN, output])
    cells = [
        f"{entries:,}",
        f"{rate:,.0f}/s",
        f"{whole.peak:.0f} MiB",
        f"{again.seconds:.1f} s",
        f"{again.peak:.0f} MiB",
    ]
    cells += [f"{first:.1f} s", f"{reading.seconds:.1f} s", f"{first - reading.seconds:.1f} s"]
    cells += [f"{size / MIB:,.0f} MiB in {scanned.seconds:.2f} s"]
    for path in folder.iterdir():
        path.unlink()
    return f"| {' | '.join(cells)} |"


def turns_of(number: int) -> List[Dict[str, str]]:
    """The turns of a short entry."""
    return [{"from": "human", "value": f"question {number}? It has few words."}, {"from": "gpt", "value": str(number)}]


def write_finished(source: Path, output: Path, first: int, last: int) -> None:
    """Adds short entries to an input, and their records to an output, as a run would."""
    usage = {"prompt_tokens": 20, "total_tokens": 33, "completion_tokens": 13}
    with open(source, "ab") as entries, open(output, "ab") as records:
        for number in range(first, last):
            turns = turns_of(number)
            entries.write(json.dumps({"conversations": turns}).encode() + b"\n")
            answer = Answer(f"Answer {number:09} {'x' * 20}", "stop", usage=usage)
            entry = Entry(entry_id_of(turns, []), turns[:1], turns[1], [], origin=Origin(number + 1))
            records.write(to_line(make_record(entry, [answer], None)))


def generated_row(folder: Path, server: SimulatedServer, entries: int) -> str:
    """The line for a job of so many finished short entries and one more, whose records were not made by a run."""
    source, output, real = folder / "in.jsonl", folder / "out.jsonl", 1000
    words = [ROOT / "sampling.py", "--input_file", source, "--output_file", output, "--model_name", "m", "--quiet"]
    words += ["--port", server.port, "--answers_per_question", 1]
    write_finished(source, folder / "made.jsonl", 0, real)
    spent(words)  # makes the files and the settings
    write_finished(source, output, real, entries)
    write_finished(source, folder / "made.jsonl", entries, entries + 1)
    sizes = [path.stat().st_size / MIB for path in (source, output)]
    scanned, reading = spent(["-c", SCAN, output]), spent(["-c", READ, source])
    server.reset()
    begun = time.monotonic()
    resumed = spent(words)
    first = server.stats()["first"] - begun
    assert server.stats()["requests"] == 1
    cells = [f"{entries:,}", *(f"{size:,.0f} MiB" for size in sizes), f"{first:.1f} s", f"{resumed.cpu:.1f} s"]
    cells += [f"{resumed.peak:,.0f} MiB", f"{scanned.cpu:.1f} s", f"{reading.cpu:.1f} s"]
    for path in folder.iterdir():
        path.unlink()
    return f"| {' | '.join(cells)} |"


def write_lines(path: Path, lines: int, a_key: int, length: int) -> None:
    """Ledger lines as they are written, ``a_key`` of them an entry, each with an answer of some length."""
    with open(path, "wb") as file:
        for number in range(lines):
            entry_id = hashlib.md5(b"%d" % (number // a_key)).hexdigest().encode()
            line = b'{"made_by":"0123456789ab","index":%d,"answer":"%b","finish_reason":"stop","entry_id":"%b"}\n'
            file.write(line % (number % a_key, b"x" * length, entry_id))


def ledger_lines(folder: Path, lines: int, length: int) -> List[str]:
    """What a large file costs: scanned for its ids, and opened as a cache of 8 answers an entry."""
    path = folder / "cache.jsonl"
    write_lines(path, lines, 8, length)
    size, scanned, opened = path.stat().st_size, spent(["-c", SCAN, path]), spent(["-c", OPEN, path])
    path.unlink()
    what = f"{lines:,} lines, {size / 1e9:.2f} GB"
    return [
        f"{what}: scanned in {scanned.seconds:.2f} s ({size / 1e9 / scanned.seconds:.2f} GB/s), {scanned.peak:.0f} MiB",
        f"{what}: opened as a cache in {opened.seconds:.2f} s, {opened.peak:.0f} MiB",
    ]


def main() -> None:
    """Prints the table and the lines about large files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--cache_answers", type=int, default=8_000_000)
    parser.add_argument("--generated", type=int, nargs="*", default=[], help="finished short entries, made by no run")
    args = parser.parse_args()
    if args.generated:
        print("| entries | input | output | first request | CPU | peak | scan alone: CPU | parsing alone: CPU |")
        print("|---|---|---|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as name, SimulatedServer("--pad", 20) as server:
            for entries in args.generated:
                print(generated_row(Path(name), server, entries), flush=True)
        return
    print(
        "| entries | rate | peak | finished, again | peak | one more: first request | of that reading the input "
        "| the rest | output scanned |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, SimulatedServer() as server:
        for entries in args.entries:
            print(row(Path(name), server, entries), flush=True)
        for lines, length in ((1_000_000, 1900), (args.cache_answers, 200)):
            print("\n".join(ledger_lines(Path(name), lines, length)), flush=True)


if __name__ == "__main__":
    main()
