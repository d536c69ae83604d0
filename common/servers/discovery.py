"""The name of the model that servers have: each says it at ``/v1/models``.

>>> model_names(b'{"object": "list", "data": [{"id": "Qwen/Qwen2.5-7B-Instruct"}]}')
['Qwen/Qwen2.5-7B-Instruct']
"""

from __future__ import annotations

import asyncio
from typing import Any, Sequence

from ..errors import Retryable, ServerGone, ToolkitError, Unreachable, UsageError, printable
from ..fast_json import loads, small_int
from .redaction import KeyRemover
from .replies import ODD, failure, is_retryable
from .urls import endpoint, has_version, with_version

LONGEST_PAUSE = 16  # seconds before a server that is still loading is asked again


async def find_model(urls: Sequence[str], api_key: str | None, flag: str, max_retries: int = 0) -> str:
    """The name of the one model that all these servers have; a server that cannot be asked does not count.

    UsageError, which names the ``flag``, if they name several models or none. ServerGone if no server can be asked, and
    ServerRefused if the key is wrong.
    """
    asked = await asyncio.gather(*(_models_of(url, api_key, max_retries) for url in urls))
    names = list(dict.fromkeys(name for one in asked if isinstance(one, list) for name in one))
    if len(names) == 1:
        return names[0]
    if names:
        where = urls[0] if len(urls) == 1 else f"{urls[0]} and the other servers"
        listed = KeyRemover(api_key)(", ".join(map(printable, names)))
        raise UsageError(f"{flag} is required: name one of the {len(names)} models of {where}: {listed}")
    for one in asked:
        if isinstance(one, ToolkitError):
            raise one
    raise UsageError(f"{flag} is required: {endpoint(urls[0], 'models')} does not list a model")


def model_names(data: bytes) -> list[str]:
    """The names in a list of models as servers write it; none if it is something else."""
    try:
        value: Any = loads(data, small_int)
    except (ValueError, RecursionError):
        return []
    if isinstance(value, dict):
        value = value.get("data") or value.get("models")
    items = value if isinstance(value, list) else []
    names = [item.get("id") or item.get("name") if isinstance(item, dict) else item for item in items]
    return [name for name in names if isinstance(name, str) and name.strip()]


async def owners_of(urls: Sequence[str]) -> dict[str, set[str]]:
    """By base URL: who owns the models of a server, as it says itself; nobody if it cannot be asked."""
    found = await asyncio.gather(*map(_owners, urls))
    return dict(zip(urls, found))


async def _owners(url: str) -> set[str]:
    from .connection import Connection

    connection = Connection(url, None)
    try:
        reply = await connection.get("models")
        items: Any = loads(reply.body, small_int)["data"]
        return {str(item["owned_by"]) for item in items}
    except (Unreachable, Retryable, asyncio.TimeoutError, *ODD):
        return set()
    finally:
        await connection.close()


async def _models_of(url: str, api_key: str | None, max_retries: int) -> list[str] | ToolkitError:
    """The models of one server, or the reason why it cannot be asked."""
    try:
        names = await _listed(url, api_key, max_retries)
        if names or has_version(url):
            return names
        return await _listed(with_version(url), api_key, max_retries)
    except ToolkitError as error:
        return error


async def _listed(url: str, api_key: str | None, max_retries: int) -> list[str]:
    """The models that are listed below a base URL. ToolkitError if the server is away, or refuses the key."""
    from .connection import Connection  # it brings aiohttp, which not every run needs

    connection = Connection(url, api_key)
    try:
        for tries in range(max_retries + 1):
            reply = await connection.get("models")
            if tries == max_retries or not is_retryable(reply.status):
                break
            await asyncio.sleep(min(LONGEST_PAUSE, 2**tries))
    except Unreachable as error:
        raise ServerGone(f"{error}; {error.advice}") from error
    except (Retryable, asyncio.TimeoutError) as error:
        raise ServerGone(str(error) or f"{url} does not answer; is the server well?") from error
    finally:
        await connection.close()
    if reply.status == 200:
        return model_names(reply.body)
    refusal = failure(url, reply.status, reply.headers, reply.body, KeyRemover(api_key))
    if isinstance(refusal, Retryable):
        raise ServerGone(f"{refusal}; run the same command again once the server is well")
    if reply.status in (401, 402, 403):
        raise refusal
    return []
