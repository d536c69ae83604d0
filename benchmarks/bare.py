"""The measure for everything else: a loop of aiohttp on uvloop that posts the same requests and keeps nothing.

Example: ``python -m benchmarks.bare --port 8000 --requests 20000 --in_flight 64`` prints the requests a second
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import time
from itertools import islice
from pathlib import Path
from typing import Iterator, List

import aiohttp
import uvloop


def bodies(args: argparse.Namespace) -> Iterator[bytes]:
    """The requests' bodies: each question of the input file ``answers`` times, or so many short ones."""
    content: object = "question 0?"
    if args.image:
        url = "data:image/png;base64," + base64.b64encode(Path(args.image).read_bytes()).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "question 0?"}]
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "temperature": 0.8}
    data = json.dumps(body).encode()
    while True:
        yield data


async def post_all(args: argparse.Namespace) -> float:
    """Posts all, so many in flight; the requests a second."""
    left = islice(bodies(args), args.requests)
    url = f"http://127.0.0.1:{args.port}/v1/chat/completions"
    headers = {"Content-Type": "application/json"}

    async def worker(session: aiohttp.ClientSession) -> None:
        for body in left:
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()

    connector = aiohttp.TCPConnector(limit=args.in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:
        begun = time.monotonic()
        workers: List[asyncio.Future[None]] = [asyncio.ensure_future(worker(session)) for _ in range(args.in_flight)]
        await asyncio.gather(*workers)
        return args.requests / (time.monotonic() - begun)


def main() -> None:
    """Prints the requests a second."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--in_flight", type=int, default=64)
    parser.add_argument("--image", help="a PNG that each request shows")
    args = parser.parse_args()
    uvloop.install()
    print(f"{asyncio.run(post_all(args)):.0f}")


if __name__ == "__main__":
    main()
