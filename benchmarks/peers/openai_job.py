"""The openai SDK as people write it: AsyncOpenAI, a semaphore, gather; answers in memory until the end."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Dict

import peer_io
from openai import AsyncOpenAI


async def draw_all(args: argparse.Namespace, client: AsyncOpenAI) -> None:
    """All answers, so many requests in flight."""
    slots = asyncio.Semaphore(args.in_flight)

    async def draw(question: str) -> Dict[str, Any]:
        async with slots:
            reply = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": question}], temperature=0.8
            )
        return {"question": question, "answer": reply.choices[0].message.content}

    peer_io.write(args, await asyncio.gather(*map(draw, peer_io.asked(args))))


if __name__ == "__main__":
    flags = peer_io.arguments()
    asyncio.run(draw_all(flags, AsyncOpenAI(base_url=peer_io.url(flags.port), api_key="none", max_retries=0)))
