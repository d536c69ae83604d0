"""A real server: tokens a second through sampling.py over those of a plain load generator, on the embedded model.

Both ask for the same answers of exactly ``--max_tokens`` tokens, in turn, at several numbers in flight; then several
choices in one request (``--samples_per_request``) against one. Needs requirements/local.txt and its model.

Example: ``python -m benchmarks.real --in_flight 1 4 16 --rounds 2``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import aiohttp

from common.servers.local import LocalServer
from tests.helpers import ROOT, environment, read_lines

QUESTIONS = ROOT / "data" / "input.json"
EXACT = {"ignore_eos": True, "cache_prompt": True}


def bodies(args: argparse.Namespace) -> Iterator[bytes]:
    """The requests that sampling.py makes of the first questions."""
    for item in json.loads(QUESTIONS.read_bytes())[: args.entries]:
        turns = [turn for turn in item["conversations"] if turn["from"] != "gpt"]
        roles = {"human": "user", "system": "system"}
        messages = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in turns]
        body = {"model": "m", "messages": messages, "temperature": 0.8, "max_tokens": args.max_tokens, **EXACT}
        for _ in range(args.answers):
            yield json.dumps(body).encode()


async def load(url: str, in_flight: int, args: argparse.Namespace) -> int:
    """Posts all, so many in flight; the completion tokens that came."""
    left, tokens = bodies(args), 0

    async def worker(session: aiohttp.ClientSession) -> None:
        nonlocal tokens
        for body in left:
            async with session.post(f"{url}/chat/completions", data=body) as response:
                tokens += (await response.json())["usage"]["completion_tokens"]

    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(worker(session) for _ in range(in_flight)))
    return tokens


def script(url: str, in_flight: object, args: argparse.Namespace, per_request: int = 1) -> int:
    """The same through sampling.py; its tokens (llama.cpp counts those of one choice where it gives several)."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.jsonl"
        words = ["--input_file", QUESTIONS, "--output_file", output, "--model_name", "m", "--base_url", url, "--quiet"]
        words += ["--concurrent_requests", in_flight, "--answers_per_question", args.answers, "--limit", args.entries]
        words += ["--max_tokens", args.max_tokens, "--samples_per_request", per_request]
        words += ["--extra_body", json.dumps(EXACT)]
        subprocess.run([sys.executable, "sampling.py", *map(str, words)], check=True, cwd=ROOT, env=environment())
        return sum(len(record["generated_answers"]) for record in read_lines(output)) * args.max_tokens


def measure(ways: Dict[str, Callable[[], int]], rounds: int) -> Dict[str, float]:
    """Tokens a second of each way, the median over rounds that alternate between them."""
    found: Dict[str, List[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            begun = time.monotonic()
            tokens = work()
            found[way].append(tokens / (time.monotonic() - begun))
    return {way: statistics.median(rates) for way, rates in found.items()}


def main() -> None:
    """Prints a line for each number in flight, and one for each number of choices a request."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=8)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--max_tokens", type=int, default=48)
    parser.add_argument("--in_flight", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    server = LocalServer(None, max(*args.in_flight, args.answers))
    url = server.start()
    try:
        print("| in flight | load generator | sampling.py | ratio |\n|---|---|---|---|", flush=True)
        for in_flight in args.in_flight:
            one = measure(
                {
                    "load": lambda n=in_flight: asyncio.run(load(url, n, args)),
                    "script": lambda n=in_flight: script(url, n, args),
                },
                args.rounds,
            )
            ratio = one["script"] / one["load"]
            print(
                f"| {in_flight} | {one['load']:.1f} tokens/s | {one['script']:.1f} tokens/s | {ratio:.3f} |", flush=True
            )
        most = max(args.in_flight)
        ways = {str(k): lambda k=k: script(url, max(1, most // k), args, k) for k in (1, args.answers)}
        for per_request, rate in measure(ways, args.rounds).items():
            print(f"--samples_per_request {per_request}, {most} answers in flight: {rate:.1f} tokens/s", flush=True)
        found = measure({"auto": lambda: script(url, "auto", args)}, args.rounds)["auto"]
        print(f"--concurrent_requests auto: {found:.1f} tokens/s", flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
