"""Sends a selected file and its card to the Hugging Face Hub: a dataset, private if it is new, in one commit.

Example: ``push("me/my-data", "out/train.json")`` sends ``train.json``, and ``train.json.md`` as ``README.md``.
"""

from __future__ import annotations

import os
from typing import Any

from ..errors import RunStopped, UsageError
from ..extras import require
from ..results.card import CARD

FLAG = "--push_to_hub"


def check_hub(name: str) -> None:
    """UsageError if the package is missing, the name cannot be that of a dataset, or there is no token."""
    hub = require("huggingface_hub", FLAG, "hub")
    utils = require("huggingface_hub.utils", FLAG, "hub")
    try:
        utils.validate_repo_id(name)
    except ValueError as error:
        raise UsageError(f"{FLAG} {name}: {error}") from error
    if hub.get_token() is None:
        raise UsageError(f"{FLAG} needs a token that may write: set HF_TOKEN, or run: hf auth login")


def push(name: str, selected_file: str) -> str:
    """Sends the file and its card; returns the dataset's address. RunStopped if the Hub does not take them."""
    hub = require("huggingface_hub", FLAG, "hub")
    transport = require("httpx" if int(hub.__version__.split(".")[0]) else "requests", FLAG, "hub")
    failures = (OSError, ValueError, transport.HTTPError if hasattr(transport, "HTTPError") else OSError)
    try:
        api = hub.HfApi()
        dataset = api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        api.create_commit(
            dataset.repo_id,
            operations=_operations(hub, selected_file),
            commit_message="Add selected answers",
            repo_type="dataset",
        )
    except failures as error:
        raise RunStopped(
            f"{FLAG} {name}: {error}; {selected_file} is written, so the same command sends it again"
        ) from error
    return str(dataset)


def _operations(hub: Any, selected_file: str) -> list[Any]:
    files = {os.path.basename(selected_file): selected_file, "README.md": selected_file + CARD}
    return [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
