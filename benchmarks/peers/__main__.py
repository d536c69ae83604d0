"""The same jobs through other tools of the field, each in an environment of its own, beside ours in one run.

``instant``: a server that answers at once. ``full``: a server with slots and log-normal latency, wall time over its
greedy schedule. ``judged``: the same with a judge behind it, for tools that can do both in one program. ``start``: one
question. Wall times hold the start of the process. Rounds alternate between the tools; medians are printed.

Example: ``python -m benchmarks.peers --rounds 3``; ``--rounds 0`` only makes the environments, in ``.venv-peers``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence

from benchmarks.simulated import SimulatedServer
from tests.helpers import ROOT, environment, questions, read_lines

HERE = Path(__file__).resolve().parent
OURS = "ours"
TOOLS = ["openai", "openai_aiohttp", "litellm", "curator", "distilabel"]
PIPELINES = [OURS, "curator", "distilabel"]  # those that draw and judge in one program


class Size(NamedTuple):
    """How much a job asks for."""

    entries: int
    answers: int


JOBS = {"start": Size(1, 1), "instant": Size(1000, 10), "full": Size(400, 8), "judged": Size(200, 8)}


class Measured(NamedTuple):
    """One command: ``greedy`` is the busier server's, ``memory`` the largest process's in MB."""

    wall: float
    greedy: float
    answers: int
    cpu: float
    memory: float


def python_of(tool: str) -> Path:
    """The interpreter of a tool's environment, which is made if it is not there."""
    folder = ROOT / ".venv-peers" / tool
    python = folder / "bin" / "python"
    wanted = (HERE / f"{tool}.txt").read_text()
    made = folder / "made.txt"
    if not made.exists() or made.read_text() != wanted:
        print(f"making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "-r", HERE / f"{tool}.txt"]
        subprocess.run(list(map(str, install)), check=True)
        made.write_text(wanted)
    return python


def ours(source: Path, output: Path, size: Size, ports: Sequence[int], in_flight: int) -> List[object]:
    """The script for a job: sampling.py, or reject.py where there is a judge."""
    asked = ["--input_file", source, "--output_file", output, "--answers_per_question", size.answers, "--quiet"]
    if len(ports) == 1:
        more = ["--model_name", "m", "--port", ports[0], "--concurrent_requests", in_flight]
        return [sys.executable, ROOT / "sampling.py", *asked, *more]
    roles = ["--generator_model", "m", "--generator_port", ports[0], "--scorer_model", "j", "--scorer_port", ports[1]]
    return [sys.executable, ROOT / "reject.py", *asked, *roles, "--concurrency", in_flight]


def theirs(tool: str, source: Path, output: Path, size: Size, ports: Sequence[int], in_flight: int) -> List[object]:
    """A tool's script for a job."""
    asked = ["--input", source, "--output", output, "--answers", size.answers, "--in_flight", in_flight]
    judge = ["--judge_port", ports[1]] if len(ports) > 1 else []
    return [python_of(tool), HERE / f"{tool}_job.py", *asked, "--port", ports[0], *judge]


def count(output: Path, judged: bool) -> int:
    """The answers in an output, ours or theirs; the scored ones where there is a judge."""
    found = 0
    for line in read_lines(output):
        if "generated_answers" in line:
            kept = line["generated_scores"] if judged else line["generated_answers"]
        else:
            kept = [line["score" if judged else "answer"]]
        found += sum(one is not None for one in kept)
    return found


def measure(words: Sequence[object], servers: Sequence[SimulatedServer], output: Path, limit: float) -> Measured:
    """Runs a command to its end, against servers that have forgotten all before."""
    for server in servers:
        server.reset()
    with tempfile.TemporaryFile() as log:
        begun = time.monotonic()
        stopped = ["timeout", f"{limit:.0f}", *map(str, words)]
        process = subprocess.Popen(stopped, env=environment(), cwd=output.parent, stdout=log, stderr=log)
        _, process.returncode, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
        if process.returncode:
            log.seek(0)
            print(f"{words[1]} failed:\n{log.read()[-2000:].decode(errors='replace')}", file=sys.stderr)
    greedy = max(server.stats()["greedy"] for server in servers)
    answers = count(output, len(servers) > 1)
    return Measured(wall, greedy, answers, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def run_job(job: str, servers: Sequence[SimulatedServer], folder: Path, args: argparse.Namespace) -> Iterator[str]:
    """One round of a job: what each tool measured, as JSON lines for the log, and kept in ``args.found``."""
    size = JOBS[job]
    source = questions(folder / f"{job}.json", size.entries)
    ports = [server.port for server in servers]
    for tool in [OURS, *args.tools]:
        if job == "judged" and tool not in PIPELINES:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            output = Path(fresh) / "out.jsonl"
            asked = (source, output, size, ports, args.in_flight)
            words = ours(*asked) if tool == OURS else theirs(tool, *asked)
            measured = measure(words, servers, output, args.limit)
        args.found.setdefault((tool, job), []).append(measured)
        yield json.dumps({"tool": tool, "job": job, **measured._asdict()})


def middle(found: Optional[List[Measured]]) -> Optional[Measured]:
    """The medians of a tool's rounds, each figure on its own; of the answers the fewest."""
    if not found:
        return None
    fewest = min(one.answers for one in found)
    return Measured(*map(statistics.median, zip(*found)))._replace(answers=fewest)


def came_out(one: Measured, size: Size) -> str:
    """The answers in the output, of those asked for."""
    return f"{one.answers:,} of {size.entries * size.answers:,}"


def over_greedy(one: Optional[Measured], size: Size) -> str:
    """Two cells: the wall time over the greedy schedule, and the answers that came out."""
    if one is None:
        return " | "
    if not one.greedy:
        return "failed | 0"
    return f"{one.wall / one.greedy:.2f} | {came_out(one, size)}"


def table(found: Dict[object, List[Measured]], tools: Sequence[str]) -> Iterator[str]:
    """A line for each tool."""
    yield (
        "| tool | start | instant | to ours | came out | CPU a 1,000 | peak memory "
        "| full: wall / greedy | came out | judged: wall / greedy | came out |"
    )
    yield "|---" * 11 + "|"
    base = middle(found[OURS, "instant"])
    assert base is not None
    for tool in [OURS, *tools]:
        start, instant = middle(found[tool, "start"]), middle(found[tool, "instant"])
        assert start is not None
        assert instant is not None
        rate, ratio = instant.answers / instant.wall, instant.answers / instant.wall / (base.answers / base.wall)
        cost = f"{1000 * instant.cpu / instant.answers:.2f} s" if instant.answers else ""
        full = over_greedy(middle(found[tool, "full"]), JOBS["full"])
        judged = over_greedy(middle(found.get((tool, "judged"))), JOBS["judged"])
        kept = came_out(instant, JOBS["instant"])
        yield (
            f"| {tool} | {start.wall:.1f} s | {rate:,.0f}/s | {ratio:.2f} | {kept} | {cost} "
            f"| {instant.memory:,.0f} MB | {full} | {judged} |"
        )


def main() -> None:
    """Prints the measurements as they come to stderr, and the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in_flight", type=int, default=64, help="also the slots of each server")
    parser.add_argument("--median", type=float, default=0.2, help="seconds a request takes at a full server")
    parser.add_argument("--sigma", type=float, default=0.8, help="of the log-normal time")
    parser.add_argument("--limit", type=float, default=180, help="seconds that one command may take")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    args = parser.parse_args()
    args.found = {}
    for tool in args.tools:
        python_of(tool)
    slow = ["--slots", args.in_flight, "--median", args.median, "--sigma", args.sigma]
    text = "Answer {n} {pad}"
    with tempfile.TemporaryDirectory() as name, SimulatedServer("--text", text) as instant, SimulatedServer(
        *slow, "--text", text
    ) as full, SimulatedServer(*slow, "--text", "Score: 7") as judge:
        servers = {"start": [instant], "instant": [instant], "full": [full], "judged": [full, judge]}
        for _ in range(args.rounds):
            for job in JOBS:
                for line in run_job(job, servers[job], Path(name), args):
                    print(line, file=sys.stderr, flush=True)
    if args.rounds:
        print("\n".join(table(args.found, args.tools)))


if __name__ == "__main__":
    main()
