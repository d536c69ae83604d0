"""The input files of a folder, by the endings of their names; every other file is named in a warning.

Files that a run wrote are not input: its settings, its errors, and the training files that it selected. Neither are the
descriptions of a dataset (``dataset_info.json``).

Example: ``input_files("data", (".json", ".jsonl"))  # ["data/a.json", "data/b.jsonl"]``
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any, Iterator, NoReturn, Sequence

from ..errors import UsageError

log = logging.getLogger(__name__)

DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # of a dataset
LISTS = (".settings.json", ".results.json")  # beside an output; they list the files that were written from it
BESIDE_OUTPUT = (*LISTS, ".calibration.json", ".errors.jsonl")
MOST_NAMED = 5  # files in the warning


def input_files(folder: str, endings: Sequence[str]) -> list[str]:
    """The input files in a folder and in the folders below, sorted by name. Hidden files and folders are left out.

    UsageError if there are none, or if a folder cannot be read.
    """
    found = list(_all_files(folder))
    written = {path for file in found if file.endswith(LISTS) for path in _written(file)}
    known = set(found)
    files = [path for path in found if path.lower().endswith(tuple(endings)) and not _is_other(path, known, written)]
    others = [os.path.relpath(path, folder) for path in sorted(known.difference(files))]
    if not files:
        arrow = any(name.endswith(".arrow") for name in others)
        hint = "; it was written by save_to_disk: write its dataset with to_parquet instead" if arrow else ""
        raise UsageError(f"the folder {folder} holds no {', '.join(endings)} file{hint or _found_instead(others)}")
    if others:
        log.warning("input: left out of the folder %s, since they cannot be input: %s", folder, _named(others))
    return files


def _all_files(folder: str) -> Iterator[str]:
    """The paths of all files that are not hidden, sorted."""
    found: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(parent, name) for name in names if not name.startswith(".")]
    return iter(sorted(found))


def _is_other(path: str, known: set[str], written: set[str]) -> bool:
    """Whether a file describes a dataset, or was written by a run whose files lie beside it."""
    if os.path.basename(path) in DESCRIPTIONS or os.path.realpath(path) in written:
        return True
    outputs = [path[: -len(ending)] for ending in BESIDE_OUTPUT if path.endswith(ending)]
    return any(output in known or f"{output}.settings.json" in known for output in outputs)


def _written(list_file: str) -> Iterator[str]:
    """The files that a settings file, or a list of the commands that only read, names as written from its output."""
    try:
        with open(list_file, encoding="utf-8") as file:
            values: Any = json.load(file)
    except (OSError, ValueError, RecursionError):
        return
    written = values.get("written") if isinstance(values, dict) else None
    for path in written if isinstance(written, dict) else ():
        yield os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(list_file)), path))


def _named(names: Sequence[str]) -> str:
    """The first of these names, and the number of the others."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _found_instead(names: Sequence[str]) -> str:
    return f" that can be input, only {_named(names)}" if names else ""


def _refuse(error: OSError) -> NoReturn:
    raise UsageError(f"cannot read {error.filename}: {error.strerror}") from error
