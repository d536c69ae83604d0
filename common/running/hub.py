"""Sends a selected file and its card to the Hugging Face Hub: a dataset, private if it is new, in one commit.

Example: ``push("me/my-data", "out/train.json")`` sends ``train.json``, and ``train.json.md`` as ``README.md``.
"""

from __future__ import annotations

import logging
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
    """Sends the file and its card; returns the dataset's address. RunStopped if the Hub does not take them.

    The package's own error has its transport's as a base: of requests, httpx or httpx2, by its version.
    """
    hub = require("huggingface_hub", FLAG, "hub")
    require("huggingface_hub.utils", FLAG, "hub").disable_progress_bars()
    transport = require("huggingface_hub.errors", FLAG, "hub").HfHubHTTPError.__bases__
    for error in transport:
        logging.getLogger(error.__module__.partition(".")[0]).setLevel(logging.WARNING)  # not a line per request
    failures = (OSError, ValueError, RuntimeError, *transport)  # RuntimeError: hf_xet, which sends large files
    try:
        api = hub.HfApi()
        dataset = api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        operations = _operations(hub, selected_file)
        api.create_commit(
            dataset.repo_id, operations=operations, commit_message="Add selected answers", repo_type="dataset"
        )
    except failures as error:
        reason = " ".join(str(error).split())
        raise RunStopped(
            f"{FLAG} {name}: {reason}; {selected_file} is written, and the same command sends it again"
        ) from error
    return str(dataset)


def _operations(hub: Any, selected_file: str) -> list[Any]:
    files = {os.path.basename(selected_file): selected_file, "README.md": selected_file + CARD}
    return [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
