"""The openai SDK as people write it: AsyncOpenAI, a semaphore, gather; answers in memory until the end."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Dict

import peer_io
from openai import AsyncOpenAI


async def draw_all(args: argparse.Namespace) -> None:
    """All answers, so many requests in flight."""
    slots = asyncio.Semaphore(args.in_flight)
    client = AsyncOpenAI(base_url=peer_io.url(args.port), api_key="none", max_retries=0)

    async def draw(question: str) -> Dict[str, Any]:
        async with slots:
            reply = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": question}], temperature=0.8
            )
        return {"question": question, "answer": reply.choices[0].message.content}

    peer_io.write(args, await asyncio.gather(*map(draw, peer_io.asked(args))))


if __name__ == "__main__":
    asyncio.run(draw_all(peer_io.arguments()))
