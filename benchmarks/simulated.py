"""A simulated OpenAI-compatible server, far faster than any client: raw HTTP/1.1 on uvloop, with decoding slots.

Each request takes one of ``slots`` for a log-normal time that is drawn from a hash of its messages (and of how often
these came), so that every client is given the same work. ``GET /stats`` tells what came and how long it had to take;
``POST /reset`` forgets it.

Example: ``with SimulatedServer("--slots", 64, "--median", 0.1, "--sigma", 0.8) as server: ...; server.stats()``
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import math
import random
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from array import array
from collections import Counter, deque
from pathlib import Path
from typing import Any, Deque, Dict, List, Optional, Tuple, cast

import uvloop

from tests.scripted_server import Request
from tests.toy_rewards import ToyRewards

ROOT = Path(__file__).resolve().parent.parent
LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
CHOICES = re.compile(rb'"n": ?(\d+)')
EDGE = 400  # bytes at a body's two ends that its parameters are looked for in
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
NOT_FOUND = HEAD.replace(b"200 OK", b"404 Not Found")
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
REWARDS = ToyRewards("vllm")
NUMBER = b"000000000"  # where a choice's number goes


def reply_of(text: str, choices: int) -> bytes:
    """A chat completion as vLLM sends it, with its head; ``NUMBER`` stands in each text's ``{n}``."""
    made = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "reasoning_content": None,
                "content": text.replace("{n}", NUMBER.decode()),
                "tool_calls": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
        for index in range(choices)
    ]
    tokens = choices * max(1, len(text) // 4)
    body = {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "simulated",
        "choices": made,
        "usage": {"prompt_tokens": 20, "total_tokens": 20 + tokens, "completion_tokens": tokens},
        "prompt_logprobs": None,
    }
    data = json.dumps(body).encode()
    return HEAD % len(data) + data


class Load:
    """What has come since the last reset, and the slots it is served from."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.slots: int = args.slots or sys.maxsize
        self.median: float = args.median
        self.sigma: float = args.sigma
        self.tells: bool = args.metrics
        self.most_at_once: int = args.refuse_over or sys.maxsize
        self.text: str = args.text.replace("{pad}", "x" * args.pad)
        self._replies: Dict[int, List[bytes]] = {}
        self._era = 0  # what was begun before a reset frees no slot after it
        self.reset()

    def reset(self) -> None:
        self.came = array("d")  # when each request came
        self.took = array("d")  # how long each one decodes
        self.ended = 0.0
        self.by_second: Counter[int] = Counter()  # replies, by the second after the first request
        self.choices = 0
        self.bytes = 0
        self.most = 0
        self.refused = 0
        self._era += 1
        self._times: Counter[bytes] = Counter()
        self._free = self.slots
        self._waiting: Deque[Tuple[float, asyncio.Transport, bytes]] = deque()

    def reply(self, wanted: int) -> bytes:
        """The next reply with so many choices, each with a number of its own."""
        if wanted not in self._replies:
            self._replies[wanted] = reply_of(self.text, wanted).split(NUMBER)
        pieces = self._replies[wanted]
        self.choices += wanted
        if len(pieces) == 2:
            return b"%b%09d%b" % (pieces[0], self.choices, pieces[1])
        return b"".join(b"%b%09d" % (piece, self.choices + at) for at, piece in enumerate(pieces[:-1])) + pieces[-1]

    def chat(self, body: bytes, transport: asyncio.Transport) -> None:
        """Serves a chat request."""
        found = CHOICES.search(body, max(0, len(body) - EDGE)) or CHOICES.search(body, 0, EDGE)
        self.take(body, transport, self.reply(int(found[1]) if found else 1))

    def classify(self, body: bytes, transport: asyncio.Transport) -> None:
        """Serves a request to vLLM's reward API; the toy rewards need it to prefer the good answers of the check."""
        reply = REWARDS.reply(Request(0, json.loads(body), {}, "/classify"))
        data = json.dumps(reply.body).encode()
        self.take(body, transport, HEAD % len(data) + data)

    def take(self, body: bytes, transport: asyncio.Transport, reply: bytes) -> None:
        """Sends a reply at once, or when a slot has decoded it."""
        self.came.append(time.monotonic())
        self.bytes += len(body)
        if not self.median:
            transport.write(reply)
            self.ended = time.monotonic()
            return
        seconds = self.draw(body)
        self.took.append(seconds)
        if self.slots - self._free + len(self._waiting) >= self.most_at_once:
            self.took.pop()
            self.refused += 1
            transport.write(REFUSED)
            return
        self._waiting.append((seconds, transport, reply))
        self.most = max(self.most, self.slots - self._free + len(self._waiting))
        self.serve()

    def draw(self, body: bytes) -> float:
        """The time that a request decodes: the same for the same messages, and another when they come again."""
        asked = json.loads(body)
        said = json.dumps(asked["messages"] if "messages" in asked else asked["input"]).encode()
        self._times[said] += 1
        chance = random.Random(said + b"%d" % self._times[said])
        return chance.lognormvariate(math.log(self.median), self.sigma)

    def serve(self) -> None:
        """Gives free slots to those who wait."""
        loop = asyncio.get_running_loop()
        while self._free > 0 and self._waiting:
            self._free -= 1
            seconds, transport, reply = self._waiting.popleft()
            loop.call_later(seconds, self.finish, self._era, transport, reply)

    def finish(self, era: int, transport: asyncio.Transport, reply: bytes) -> None:
        """Sends a reply; its slot is free."""
        if era != self._era:
            return
        if not transport.is_closing():
            transport.write(reply)
        self.ended = time.monotonic()
        self.by_second[int(self.ended - self.came[0])] += 1
        self._free += 1
        self.serve()

    def resize(self, slots: int) -> None:
        """So many slots from now on; what decodes already goes on."""
        self._free += slots - self.slots
        self.slots = slots
        self.serve()

    def metrics(self) -> str:
        """What vLLM says of itself at /metrics, as far as a client that fills its slots wants to know it."""
        gauges = {"running": self.slots - self._free, "waiting": len(self._waiting)}
        return "".join(f'vllm:num_requests_{name}{{engine="0"}} {value:.1f}\n' for name, value in gauges.items())

    def stats(self) -> Dict[str, Any]:
        """What came, and how long it had to take: ``greedy`` if every slot took the next request the moment it is free,
        ``bound`` (work over slots, or the longest) for a client that knows all times before. ``rate`` is requests a
        second from the first tenth to the last."""
        count = len(self.came)
        first, last = self.came[count // 10] if count else 0.0, self.came[count * 9 // 10] if count else 0.0
        slots = min(self.slots, max(1, count))
        return {
            "requests": count,
            "first": self.came[0] if count else 0.0,
            "choices": self.choices,
            "bytes": self.bytes,
            "seconds": self.ended - self.came[0] if count else 0.0,
            "rate": (count * 9 // 10 - count // 10) / (last - first) if last > first else 0.0,
            "most": self.most,
            "refused": self.refused,
            "by_second": [self.by_second[second] for second in range(max(self.by_second, default=-1) + 1)],
            "work": sum(self.took),
            "greedy": greedy(self.took, slots),
            "bound": max(sum(self.took) / slots, max(self.took, default=0.0)),
            "median": statistics.median(self.took) if self.took else 0.0,
        }


def greedy(times: array[float], slots: int) -> float:
    """The makespan of list scheduling (Graham 1966): each next request starts in the first slot that is free."""
    free = [0.0] * slots
    for seconds in times:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


class Connection(asyncio.Protocol):
    """One client connection: requests with a Content-Length, one after another."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._pieces: List[bytes] = []
        self._size = 0
        self._needed = 0  # bytes of the request that is being read, once its head is there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        while self._size and self._size >= self._needed:
            whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            head = whole.find(b"\r\n\r\n") + 4
            if head < 4:
                self._pieces = [whole]
                return
            length = LENGTH.search(whole, 0, head)
            self._needed = head + (int(length[1]) if length else 0)
            if self._size < self._needed:
                self._pieces = [whole]
                return
            rest = whole[self._needed :]
            self._answer(whole, head)
            self._pieces, self._size, self._needed = ([rest] if rest else []), len(rest), 0

    def _answer(self, whole: bytes, head: int) -> None:
        if whole.startswith(b"POST /v1/chat/completions"):
            self._load.chat(whole[head : self._needed], self._transport)
        elif whole.startswith(b"POST /classify"):
            self._load.classify(whole[head : self._needed], self._transport)
        elif whole.startswith(b"POST /tokenize"):
            self._transport.write(NOT_FOUND % 0)
        elif whole.startswith(b"POST /reset"):
            self._load.reset()
            self._json({})
        elif whole.startswith(b"GET /stats"):
            self._json(self._load.stats())
        elif whole.startswith(b"GET /times"):
            self._json({"times": list(zip(self._load.came, self._load.took))})
        elif whole.startswith(b"POST /slots/"):
            self._load.resize(int(whole[len(b"POST /slots/") : whole.index(b" HTTP")]))
            self._json({})
        elif whole.startswith(b"GET /metrics"):
            text = self._load.metrics().encode()
            self._transport.write((HEAD if self._load.tells else NOT_FOUND) % len(text) + text)
        else:
            self._json({"object": "list", "data": [{"id": "simulated", "object": "model"}]})

    def _json(self, value: Dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self._transport.write(HEAD % len(data) + data)


class SimulatedServer:
    """The server in a process of its own, on a free port of loopback."""

    def __init__(self, *flags: object) -> None:
        self._command = [sys.executable, "-m", "benchmarks.simulated", *map(str, flags)]
        self.port = 0
        self._child: Optional[subprocess.Popen[str]] = None

    def __enter__(self) -> SimulatedServer:
        self._child = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._child.stdout is not None
        self.port = int(self._child.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def stats(self) -> Dict[str, Any]:
        """What came since the last reset (see ``Load.stats``)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats") as response:
            found: Dict[str, Any] = json.load(response)
            return found

    def times(self) -> List[Tuple[float, float]]:
        """(when it came, how long it decodes) of each request since the last reset."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/times") as response:
            return [(came, took) for came, took in json.load(response)["times"]]

    def resize(self, slots: int) -> None:
        """So many slots from now on."""
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}/slots/{slots}", b"")).close()

    def reset(self) -> None:
        """Forgets what came."""
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}/reset", b"")).close()


def main() -> None:
    """Prints its port and serves until it is killed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1 (default: a free one)")
    parser.add_argument("--slots", type=int, default=0, help="requests decoded at once (default: any number)")
    parser.add_argument("--median", type=float, default=0.0, help="seconds a request decodes (default: none)")
    parser.add_argument("--sigma", type=float, default=0.0, help="sigma of the log-normal time")
    parser.add_argument(
        "--metrics", action="store_true", help="tell at /metrics what runs and what waits, as vLLM does"
    )
    parser.add_argument("--refuse_over", type=int, default=0, help="refuse what comes (429) while so many are there")
    parser.add_argument("--text", default="Answer {n} {pad}", help="what each choice says; {n} its number, {pad} x's")
    parser.add_argument("--pad", type=int, default=200, help="how many x's")
    args = parser.parse_args()

    async def serve() -> None:
        load = Load(args)
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(load), "127.0.0.1", args.port, backlog=4096
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    uvloop.install()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
