"""The openai SDK as in ``openai_job.py``, on the aiohttp client that its README offers for more concurrency."""

from __future__ import annotations

import argparse
import asyncio

import peer_io
from openai import AsyncOpenAI, DefaultAioHttpClient
from openai_job import draw_all


async def run(args: argparse.Namespace) -> None:
    """All answers, through aiohttp."""
    async with AsyncOpenAI(
        base_url=peer_io.url(args.port), api_key="none", max_retries=0, http_client=DefaultAioHttpClient()
    ) as client:
        await draw_all(args, client)


if __name__ == "__main__":
    asyncio.run(run(peer_io.arguments()))
