"""litellm: acompletion, a semaphore, gather; answers in memory until the end.

The prices that it fetches at import are read from its own copy, and its debug lines are off.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any, Dict

import peer_io

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # read at import

import litellm


async def draw_all(args: argparse.Namespace) -> None:
    """All answers, so many requests in flight."""
    slots = asyncio.Semaphore(args.in_flight)

    async def draw(question: str) -> Dict[str, Any]:
        async with slots:
            reply = await litellm.acompletion(
                model="openai/m",
                api_base=peer_io.url(args.port),
                api_key="none",
                messages=[{"role": "user", "content": question}],
                temperature=0.8,
                max_retries=0,
            )
        return {"question": question, "answer": reply.choices[0].message.content}

    peer_io.write(args, await asyncio.gather(*map(draw, peer_io.asked(args))))


if __name__ == "__main__":
    litellm.suppress_debug_info = True
    asyncio.run(draw_all(peer_io.arguments()))
