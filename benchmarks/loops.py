"""Loops that are stopped: what a stream costs the client, what stopping saves, and that nothing else is stopped.

- **false**: answers, programs, documents and tables that are streamed to the rule, and how many of them it would stop.
- **cost**: CPU of sampling.py per token that comes in a packet of its own, against replies in one piece.
- **saved**: a population in which 2 of 100 answers loop up to the limit of 32,768 tokens. The server makes a token per
  step and slot, as a real one does, and no more once a connection is closed. Its tokens and steps are counted.
- **local**: the embedded model at temperature 0, with and without the flag (not measured by default: minutes).

Example: ``python -m benchmarks.loops --data ../shared/data``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List

import uvloop

from benchmarks.clean import rows_of, tables
from benchmarks.growth import spent
from benchmarks.simulated import HEAD, Connection, SimulatedServer
from common.servers.loops import GrowingText
from tests.helpers import ROOT, conversation, questions, read_lines, write_input

FOLDERS = ("common", "docs", "tests", "benchmarks")
LIMIT = 32_768  # tokens
SHARE = 0.02  # of the answers loop
MEAN = 6000  # tokens of the others: then the loops take a tenth of all tokens
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
WORDS = ["the", "sum", "of", "two", "even", "numbers", "is", "even", "since", "each", "half", "is", "whole"]


WAYS = ("Write a long story about {}.", "List a hundred facts about {}.", "Explain {} in great detail.")
SUBJECTS = ("a lighthouse", "the sea", "bread", "prime numbers", "an old train", "bees", "the moon", "chess")


# The server


def words_of(seed: bytes, tokens: int, loops: bool) -> Iterator[str]:
    """The tokens of an answer: words at random, or at first, and then 25 of them again and again."""
    rng = random.Random(seed)
    unit = [f"{rng.choice(WORDS)} " for _ in range(25)]
    for number in range(tokens):
        yield unit[number % 25] if loops and number > 500 else f"{rng.choice(WORDS)} "


def chunk(delta: Dict[str, str], finish: str = "") -> bytes:
    """An event as vLLM sends it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish or None}
    head = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1, "model": "simulated"}
    return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"


def in_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Answer:
    """An answer being made: ``step`` makes some of its tokens; ``is_over`` once it has all, or nobody listens."""

    def __init__(self, transport: asyncio.Transport, tokens: int, loops: bool, streams: bool) -> None:
        self._transport = transport
        self._words = words_of(b"%d" % tokens, tokens, loops)
        self._said: List[str] = []
        self._finish = "length" if loops else "stop"
        self._streams = streams
        self.is_over = False
        self.tokens = 0
        if streams:
            transport.write(STREAM_HEAD + in_chunk(chunk({"role": "assistant", "content": ""})))

    def step(self, burst: int) -> int:
        """Makes the next tokens; returns how many."""
        if self._transport.is_closing():
            self.is_over = True
            return 0
        new = [word for _, word in zip(range(burst), self._words)]
        self.tokens += len(new)
        if self._streams and new:
            self._transport.write(in_chunk(b"".join(chunk({"content": word}) for word in new)))
        self._said += [] if self._streams else new
        if len(new) < burst:
            self.end()
        return len(new)

    def end(self) -> None:
        self.is_over = True
        usage = {"prompt_tokens": 20, "completion_tokens": self.tokens, "total_tokens": 20 + self.tokens}
        if self._streams:
            last = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
            self._transport.write(in_chunk(chunk({}, self._finish) + last + DONE) + b"0\r\n\r\n")
            return
        message = {"role": "assistant", "content": "".join(self._said)}
        choice = {"index": 0, "message": message, "finish_reason": self._finish}
        data = json.dumps({"choices": [choice], "usage": usage}).encode()
        self._transport.write(HEAD % len(data) + data)


class Maker:
    """What the server does: each answer in progress gets ``burst`` tokens per step of ``seconds``."""

    def __init__(self, burst: int, seconds: float, tokens: int, share: float) -> None:
        self._burst, self._seconds = burst, seconds
        self._mean, self._share = tokens, share
        self._active: List[Answer] = []
        self.reset()

    def reset(self) -> None:
        self._rng = random.Random(0)
        self._requests = self._tokens = self._steps = 0

    def chat(self, body: bytes, transport: asyncio.Transport) -> None:
        """Takes a request."""
        self._requests += 1
        loops = self._share > 0 and self._requests % round(1 / self._share) == 0
        tokens = LIMIT if loops else max(1, round(self._rng.gammavariate(4, self._mean / 4)))
        self._active.append(Answer(transport, tokens, loops, b'"stream":true' in body))

    async def work(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            self._steps += bool(self._active)
            self._tokens += sum(answer.step(self._burst) for answer in self._active)
            self._active = [answer for answer in self._active if not answer.is_over]

    def stats(self) -> Dict[str, Any]:
        return {"requests": self._requests, "tokens": self._tokens, "steps": self._steps}


class Server(SimulatedServer):
    """The server in a process of its own."""

    def __init__(self, *flags: object) -> None:
        super().__init__()
        self._command = [sys.executable, "-m", "benchmarks.loops", "--serve", *map(str, flags)]


async def serve(maker: Maker) -> None:
    """Prints its port and serves until it is killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(maker), "127.0.0.1", 0)  # type: ignore[arg-type]
    print(server.sockets[0].getsockname()[1], flush=True)
    await maker.work()


# The measurements


def false_stops(folder: Path) -> None:
    """How many texts that do not loop the rule would stop."""
    groups: Dict[str, List[str]] = {
        "answers of math_8x100": [text for row in rows_of(folder, "math_8x100") for text in row["answers"]],
        "texts of gsm8k_solutions": [
            row[key] for row in rows_of(folder, "gsm8k_solutions") for key in ("question", "answer")
        ],
        "programs and tests of humaneval": [
            row[key] for row in rows_of(folder, "humaneval") for key in ("canonical_solution", "test", "prompt")
        ],
        "files of this project": [
            path.read_text("utf-8") for top in FOLDERS for path in sorted(ROOT.glob(f"{top}/**/*.[pm][yd]"))
        ],
        "modules of Python": [
            path.read_text("utf-8", "replace") for path in sorted(Path(json.__file__).parent.parent.glob("*.py"))
        ],
        "tables": list(tables(random.Random(0))),
    }
    for name, texts in groups.items():
        print(f"false: {sum(map(stops, texts))} of {len(texts):,} {name} ({sum(map(len, texts)):,} characters)")


def stops(text: str) -> bool:
    """Whether a text that comes in tokens of four characters would be stopped."""
    growing = GrowingText()
    return any(growing.add(text[start : start + 4]) for start in range(0, len(text), 4))


def sample(folder: Path, port: int, entries: int, in_flight: int, *flags: object) -> float:
    """CPU seconds of a run of sampling.py with one answer per entry."""
    output = folder / "out.jsonl"
    output.unlink(missing_ok=True)
    words = ["--input_file", questions(folder / "in.json", entries), "--output_file", output, "--model_name", "m"]
    words += ["--port", port, "--quiet", "--concurrent_requests", in_flight, "--answers_per_question", 1]
    return spent([str(ROOT / "sampling.py"), *words, *flags]).cpu


def cost(folder: Path, rounds: int) -> None:
    """CPU per token that is streamed, each in a packet of its own; the start of the process is taken off."""
    entries, tokens = 64, 1500
    found: Dict[str, List[float]] = {"whole": [], "streamed": []}
    with Server("--burst", 1, "--seconds", 0.02, "--tokens", tokens) as server:
        for _ in range(rounds):
            for way, flags in (("whole", ()), ("streamed", ("--stop_loops",))):
                server.reset()
                start = sample(folder, server.port, 1, 64, *flags)
                alone = server.stats()["tokens"]
                took = sample(folder, server.port, entries, 64, *flags)
                found[way].append((took - start) / (server.stats()["tokens"] - 2 * alone) * 1e6)
    for way, each in found.items():
        print(f"cost: {way}: {statistics.median(each):.1f} us of CPU per token ({min(each):.1f} to {max(each):.1f})")


def saved(folder: Path) -> None:
    """Tokens and steps of the server for 100 answers of which two loop, and the client's CPU."""
    for name, flags in (("without", ()), ("with --stop_loops", ("--stop_loops",))):
        with Server("--burst", 16, "--seconds", 0.004, "--tokens", MEAN, "--share", SHARE) as server:
            cpu = sample(folder, server.port, 100, 16, "--max_tokens", LIMIT, *flags)
            made = server.stats()
        ends = [record["generated_details"][0]["finish_reason"] for record in read_lines(folder / "out.jsonl")]
        print(
            f"saved: {name}: {made['tokens']:,} tokens, {made['steps'] * 16:,} tokens one after another, "
            f"{cpu:.1f} s of CPU; {ends.count('length')} cut by length, {ends.count('repetition')} stopped"
        )


def local(folder: Path, count: int) -> None:
    """Tokens of the embedded model for long answers at temperature 0, up to 1,900 tokens each."""
    asked = [way.format(subject) for subject in SUBJECTS for way in WAYS][:count]
    source = write_input(folder / "long.json", [conversation(text) for text in asked])
    output = folder / "local.jsonl"
    for name, flags in (("without", ()), ("with --stop_loops", ("--stop_loops",))):
        output.unlink(missing_ok=True)
        words = ["--input_file", source, "--output_file", output, "--local", "--quiet", "--answers_per_question", 1]
        words += ["--temperature", 0, "--max_tokens", 1900, "--concurrent_requests", 4, "--request_timeout", 6000]
        took = spent([str(ROOT / "sampling.py"), *words, *flags])
        details = [record["generated_details"][0] for record in read_lines(output)]
        tokens = [detail["usage"]["completion_tokens"] for detail in details]
        ends = [detail["finish_reason"] for detail in details]
        print(
            f"local: {name}: {len(details)} answers, {sum(tokens):,} tokens, {took.seconds:.0f} s; "
            f"{ends.count('length')} cut by length, {ends.count('repetition')} stopped",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of labelled data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["false", "cost", "saved"], help="the measurements")
    parser.add_argument("--questions", type=int, default=4, help="questions for the embedded model")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--burst", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.01, help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=400, help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        uvloop.install()
        asyncio.run(serve(Maker(args.burst, args.seconds, args.tokens, args.share)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "false" in args.only:
            false_stops(args.data)
        if "cost" in args.only:
            cost(folder, args.rounds)
        if "saved" in args.only:
            saved(folder)
        if "local" in args.only:
            local(folder, args.questions)


if __name__ == "__main__":
    main()
