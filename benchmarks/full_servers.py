"""Keeping servers full: how long each script takes, over the least that its servers need for the same requests.

A generator and a judge are simulated, with so many slots and log-normal latencies. ``greedy`` is the time of the busier
one if each slot took the next request the moment it is free, ``bound`` its work over its slots. Wall times hold the
start of the process. For comparison: a bare loop, whose judge takes answers from a queue; and one that has as many
entries in progress as fill the slots, and waits for all answers of an entry before it asks for their scores.

Example: ``python -m benchmarks.full_servers --entries 800 --cases balanced --rounds 3``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import aiohttp
import uvloop

from benchmarks.simulated import SimulatedServer
from tests.helpers import ROOT, conversation, environment, questions, write_input


class Case(NamedTuple):
    """The medians of the two servers' times, in units of --median (0: the case has no such server), and the scorer."""

    generator: float
    judge: float
    scorer: str = "judge"


CASES = {
    "generator alone": Case(1.0, 0.0, ""),
    "judge alone": Case(0.0, 1.0),
    "generator-bound": Case(1.0, 0.5),
    "judge-bound": Case(0.5, 1.0),
    "balanced": Case(1.0, 1.0),
    "reward alone": Case(0.0, 1.0, "reward"),
    "reward, balanced": Case(1.0, 1.0, "reward"),
    "majority": Case(1.0, 0.0, "majority"),
    "compare alone": Case(0.0, 1.0, "compare"),
    "compare, judge-bound": Case(1.0, 1.0, "compare"),
}
TEXTS = {"judge": "Score: 7", "compare": "Best: A"}  # what the second server says
Server = Optional[SimulatedServer]


class Servers(NamedTuple):
    """The two roles' servers; None where a case has no such role."""

    generator: Server
    judge: Server

    def there(self) -> List[SimulatedServer]:
        return [server for server in self if server is not None]


class Measured(NamedTuple):
    """One way's seconds, and what the servers say of it."""

    wall: float
    greedy: float
    bound: float
    in_flight: Dict[str, float]  # by role: busy slots, the mean from the first request to the last reply
    requests: int  # to the busier server


def measure(servers: Servers, way: Callable[[], None]) -> Measured:
    """Runs a way against servers that have forgotten all before."""
    for server in servers.there():
        server.reset()
    begun = time.monotonic()
    way()
    wall = time.monotonic() - begun
    stats = {role: server.stats() for role, server in zip(Servers._fields, servers) if server is not None}
    busier = max(stats.values(), key=lambda one: float(one["greedy"]))
    in_flight = {role: one["work"] / one["seconds"] for role, one in stats.items()}
    return Measured(wall, busier["greedy"], busier["bound"], in_flight, busier["requests"])


def script(folder: Path, servers: Servers, scorer: str, args: argparse.Namespace) -> List[str]:
    """The command of the script that a case is for, but for its output."""
    generator, judge = servers
    if generator is None:
        words: List[object] = ["score.py", "--input_file", sampled(folder, args)]
    else:
        name = "reject.py" if scorer else "sampling.py"
        model = "--generator_" if scorer else "--"
        words = [name, "--input_file", questions(folder / "in.json", args.entries)]
        words += ["--answers_per_question", args.answers, f"{model}port", generator.port]
        words += [f"{model}model" if scorer else "--model_name", "m"]
    if scorer:
        words += ["--scorer", scorer]
    if judge is not None:
        port, model = ("--api_port", "--model_name") if generator is None else ("--scorer_port", "--scorer_model")
        words += [port, judge.port, model, "j"]
    return list(map(str, [*words, "--concurrency", args.slots]))


def run(words: Sequence[str]) -> None:
    """Runs a script to its end, with a fresh output."""
    with tempfile.TemporaryDirectory() as folder:
        more = ["--output_file", str(Path(folder) / "out.jsonl"), "--quiet"]
        subprocess.run([sys.executable, str(ROOT / words[0]), *words[1:], *more], check=True, env=environment())


def sampled(folder: Path, args: argparse.Namespace) -> Path:
    """Records as sampling.py writes them."""
    records = []
    for number in range(args.entries):
        turns = conversation(f"question {number}?", str(number))["conversations"]
        texts = [f"Answer {number}.{index} {'x' * 200}" for index in range(args.answers)]
        records.append({"original_question": f"question {number}?", "original_answers": turns})
        records[-1]["generated_answers"] = texts
    return write_input(folder / "sampled.jsonl", records)


async def ask(session: aiohttp.ClientSession, server: Server, text: str) -> str:
    """What a server says to a text; the text itself where there is no server."""
    if server is None:
        return text
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    async with session.post(f"http://127.0.0.1:{server.port}/v1/chat/completions", data=body) as response:
        reply = json.loads(await response.read())
        return str(reply["choices"][0]["message"]["content"])


async def bare(session: aiohttp.ClientSession, servers: Servers, args: argparse.Namespace) -> None:
    """As many workers as slots for each role."""
    left = (entry for entry in range(args.entries) for _ in range(args.answers))
    answers: asyncio.Queue[str] = asyncio.Queue()

    async def draw() -> None:
        for entry in left:
            answers.put_nowait(await ask(session, servers.generator, f"question {entry}?"))

    async def score() -> None:
        while True:
            await ask(session, servers.judge, await answers.get())
            answers.task_done()

    scoring = [asyncio.ensure_future(score()) for _ in range(args.slots)]
    await asyncio.gather(*(draw() for _ in range(args.slots)))
    await answers.join()
    for task in scoring:
        task.cancel()


async def by_entry(session: aiohttp.ClientSession, servers: Servers, args: argparse.Namespace) -> None:
    """As many entries at once as fill the slots: all answers of each, then all their scores."""
    left = iter(range(args.entries))

    async def worker() -> None:
        for entry in left:
            asked = [f"question {entry}?"] * args.answers
            for server in servers:
                asked = list(await asyncio.gather(*(ask(session, server, text) for text in asked)))

    await asyncio.gather(*(worker() for _ in range(max(1, args.slots // args.answers))))


LOOPS = {"bare loop": bare, "by entry": by_entry}


def loop(name: str, servers: Servers, args: argparse.Namespace) -> None:
    """Runs a loop for comparison to its end, in this process."""

    async def play() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            await LOOPS[name](session, servers, args)

    asyncio.run(play())


def rows_of(case: str, args: argparse.Namespace) -> Iterator[str]:
    """The table's lines of one case."""
    generator, judge, scorer = CASES[case]
    medians = [args.median * part for part in (generator, judge)]
    flags = ["--slots", args.slots, "--sigma", args.sigma]
    texts = ("Answer {n} {pad}", TEXTS.get(scorer, ""))
    with tempfile.TemporaryDirectory() as name:
        one, two = (SimulatedServer(*flags, "--median", m, "--text", text) for m, text in zip(medians, texts))
        with one, two:
            servers = Servers(one if medians[0] else None, two if medians[1] else None)
            command = script(Path(name), servers, scorer, args)
            ways = {"script": partial(run, command), **{way: partial(loop, way, servers, args) for way in LOOPS}}
            for way in args.ways if scorer in ("", "judge") else ["script"]:
                rounds = [measure(servers, ways[way]) for _ in range(args.rounds)]
                yield row(case, command[0] if way == "script" else way, rounds)


def row(case: str, way: str, rounds: Sequence[Measured]) -> str:
    """A line of the table: the round with the median ratio."""
    middle = sorted(rounds, key=lambda one: one.wall / one.greedy)[len(rounds) // 2]
    busy = ", ".join(f"{role} {mean:.1f}" for role, mean in middle.in_flight.items())
    return (
        f"| {case} | {way} | {middle.wall:.1f} s | {middle.greedy:.1f} s | {middle.bound:.1f} s "
        f"| {middle.wall / middle.greedy:.3f} | {middle.wall / middle.bound:.3f} | {busy} | {middle.requests} |"
    )


def main() -> None:
    """Prints a line for each case and way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=800)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--slots", type=int, default=64, help="of each server, and requests in flight to it")
    parser.add_argument("--median", type=float, default=0.2, help="seconds a request takes at the busier server")
    parser.add_argument("--sigma", type=float, default=0.8, help="of the log-normal time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--ways", nargs="+", choices=["script", *LOOPS], default=["script", *LOOPS])
    args = parser.parse_args()
    uvloop.install()
    print("| case | way | wall | greedy | bound | wall / greedy | wall / bound | in flight | requests |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in args.cases:
        for line in rows_of(case, args):
            print(line, flush=True)


if __name__ == "__main__":
    main()
