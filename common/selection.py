"""Which candidates are kept: pure functions over records, no requests.

Example: ``chosen = [turns for record in read_records(path) for turns in [best(record, accept_score=8)] if turns]``
"""

from __future__ import annotations

import math
from typing import Any, Dict, Iterable, Iterator, NamedTuple, Optional

from common.errors import RunStopped
from common.jsonl import to_line, write_whole
from common.records import ROLES, Record


class Selected(NamedTuple):
    """How many records were looked at, and how many gave a conversation."""

    records: int
    chosen: int


def best_index(record: Record, accept_score: Optional[float] = None) -> Optional[int]:
    """The index of the highest score of at least ``accept_score``, the first of equals; None if there is none.

    Unscored answers and answers cut by their length are never chosen.
    """
    scores = record.get("generated_scores") or []
    details = record.get("generated_details") or [{}] * len(scores)
    able = [
        index
        for index, (score, detail) in enumerate(zip(scores, details))
        if isinstance(score, (int, float))
        and math.isfinite(score)
        and detail.get("finish_reason") != "length"
        and (accept_score is None or score >= accept_score)
    ]
    return max(able, key=lambda index: (scores[index], -index)) if able else None


def as_conversation(record: Record, index: int) -> Dict[str, Any]:
    """The record as an input entry whose final turn is its answer ``index``: ready to train on."""
    turns = list(record["original_answers"])
    speaker = "assistant" if any(turn["from"] in ("user", "assistant") for turn in turns) else "gpt"
    if ROLES[turns[-1]["from"]] == "assistant":
        turns.pop()
    turns.append({"from": speaker, "value": record["generated_answers"][index]})
    entry: Dict[str, Any] = {"conversations": turns}
    if record.get("images"):
        entry["images"] = record["images"]
    return entry


def write_best(records: Iterable[Record], path: str, accept_score: Optional[float] = None) -> Selected:
    """Writes each record's best candidate to ``path``: JSONL if it ends so, else a JSON list.

    The file appears whole or not at all. Raises RunStopped if it cannot be written.
    """
    seen = chosen = 0
    before, between, after = (b"", b"", b"") if path.endswith(".jsonl") else (b"[\n", b",", b"]\n")

    def pieces() -> Iterator[bytes]:
        nonlocal seen, chosen
        yield before
        for record in records:
            seen += 1
            index = best_index(record, accept_score)
            if index is not None:
                yield between if chosen else b""
                yield to_line(as_conversation(record, index))
                chosen += 1
        yield after

    try:
        write_whole(path, pieces())
    except OSError as error:
        raise RunStopped(f"cannot write {path}: {error.strerror}") from error
    return Selected(seen, chosen)
