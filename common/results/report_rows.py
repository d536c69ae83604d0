"""The rows of the report's table: the first 100,000 candidates, as columns to filter by and as packed chunks to show.

Example: ``table = CandidateTable(image_root="data", stay_inside=False); table.add(view); table.close()``
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from ..errors import BadEntry
from ..images import load_images
from ..records import ROLES
from .record_view import Candidate, RecordView, dict_or_empty, finite_or_none, list_or_empty, tokens_in, turns_of

MOST_CANDIDATES = 100_000
MOST_TEXT = 64 << 20  # bytes of JSON, before packing
MOST_IMAGES = 20 << 20  # characters of data URLs
LONGEST_TEXT = 20_000  # characters of one text
CHUNK = 256 << 10  # bytes of JSON that the page unpacks at once
SELECTED, ACCEPTED, CUT, UNSCORED, REJECTED = 1, 2, 4, 8, 16  # bits of a candidate's flags, as in report.js


class CandidateTable:
    """The table's data; images below ``image_root`` are embedded (None: no images).

    With ``stay_inside`` images outside of that folder are not. ``is_full`` says that an entry was left out because of
    MOST_CANDIDATES or MOST_TEXT, ``images_left_out`` counts images that are missing or past MOST_IMAGES.
    """

    def __init__(self, image_root: str | None, stay_inside: bool) -> None:
        self.scores: list[float | None] = []
        self.lengths: list[int] = []
        self.flags: list[int] = []
        self.first_candidates: list[int] = []  # the first candidate of each entry
        self.first_entries: list[int] = []  # the first entry of each chunk
        self.chunks: list[str] = []
        self.is_full = False
        self.images_left_out = 0
        self._image_root = image_root
        self._stay_inside = stay_inside
        self._open_chunk: list[str] = []
        self._open_size = 0
        self._size = 0
        self._image_size = 0

    def add(self, view: RecordView) -> None:
        """Adds an entry with its candidates. Once an entry does not fit, no further one is added."""
        if self.is_full or not view.candidates:
            return
        if len(self.scores) + len(view.candidates) > MOST_CANDIDATES or self._size > MOST_TEXT:
            self.is_full = True
            return
        if not self._open_chunk:
            self.first_entries.append(len(self.first_candidates))
        self.first_candidates.append(len(self.scores))
        for index, candidate in enumerate(view.candidates):
            self.scores.append(candidate.score)
            self.lengths.append(len(candidate.text))
            self.flags.append(_flags(view, index))
        text = json.dumps(self._entry(view), separators=(",", ":"))
        self._open_chunk.append(text)
        self._open_size += len(text)
        if self._open_size > CHUNK:
            self.close()

    def close(self) -> None:
        """Packs the entries of the last chunk."""
        if self._open_chunk:
            self.chunks.append(packed("[" + ",".join(self._open_chunk) + "]"))
            self._size += self._open_size
            self._open_chunk, self._open_size = [], 0

    def columns(self) -> dict[str, list[Any]]:
        """What the page filters and sorts by."""
        return {
            "scores": self.scores,
            "lengths": self.lengths,
            "flags": self.flags,
            "first": self.first_candidates,
            "begins": self.first_entries,
        }

    def _entry(self, view: RecordView) -> dict[str, Any]:
        """What the page shows of an entry: turns, reference, images, answers."""
        turns = turns_of(view.record)
        has_reference = ROLES.get(turns[-1]["from"]) == "assistant"
        asked = turns[:-1] if has_reference else turns
        return {
            "id": str(view.record.get("entry_id", ""))[:64],
            "stopped": str(view.record.get("stopped_by") or ""),
            "turns": [[ROLES.get(turn["from"], turn["from"]), _clipped(turn["value"])] for turn in asked],
            "reference": _clipped(turns[-1]["value"]) if has_reference else None,
            "kept": [pick.rejected for pick in view.picks if pick.chosen is None],
            "images": [self._image(path) for path in list_or_empty(view.record.get("images"))],
            "answers": [_answer(candidate) for candidate in view.candidates],
        }

    def _image(self, path: object) -> list[str]:
        """[its name, its data URL or ""]; nothing is fetched from the network."""
        name = str(path)
        label = "image in the output" if name.startswith("data:") else name[:500]
        if self._image_root is None or name.startswith(("http://", "https://")):
            return [label, ""]
        most_bytes = max(0, (MOST_IMAGES - self._image_size) * 3 // 4)
        try:
            url = load_images([name], self._image_root, self._stay_inside, most_bytes)[0]
        except BadEntry:
            url = ""
        if not url.startswith("data:image/") or self._image_size + len(url) > MOST_IMAGES:
            self.images_left_out += 1
            return [label, ""]
        self._image_size += len(url)
        return [label, url]


def packed(text: str) -> str:
    """A text compressed for DecompressionStream("deflate"), in base64, which holds no markup."""
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 6)).decode()


def _flags(view: RecordView, index: int) -> int:
    """The bits of a candidate."""
    candidate = view.candidates[index]
    return (
        (SELECTED if index in view.selected else 0)
        | (ACCEPTED if index in view.accepted else 0)
        | (CUT if candidate.is_cut else 0)
        | (UNSCORED if candidate.score is None else 0)
        | (REJECTED if index in view.rejected else 0)
    )


def _answer(candidate: Candidate) -> dict[str, Any]:
    """What the page shows of an answer: its text, and those of its details that exist."""
    detail = candidate.detail
    shown: dict[str, Any] = {"text": _clipped(candidate.text)}
    for name in ("finish_reason", "reasoning", "judge_reply", "unscored", "scorer"):
        if detail.get(name) is not None:
            shown[name] = _clipped(detail[name])
    spread = finite_or_none(detail.get("spread"))
    if spread is not None:
        shown["spread"] = spread
    samples = [sample for sample in list_or_empty(detail.get("judge_samples"))[:64] if isinstance(sample, dict)]
    if samples:
        shown["samples"] = [
            [finite_or_none(sample.get("score")), _clipped(sample.get("reply") or "")] for sample in samples
        ]
    probabilities = _probabilities(detail.get("probabilities"))
    if probabilities is not None:
        shown["probabilities"] = probabilities
    tokens = tokens_in(detail.get("usage"), "completion_tokens")
    if tokens:
        shown["tokens"] = tokens
    return shown


def _probabilities(value: object) -> list[list[Any]] | None:
    """At most 64 pairs of a score and its probability; None if there are no probabilities."""
    probabilities = dict_or_empty(value)
    pairs = [[str(score)[:20], finite_or_none(chance)] for score, chance in probabilities.items()]
    return [pair for pair in pairs if pair[1] is not None][:64] if pairs else None


def _clipped(value: object) -> str:
    """A text, or another value as JSON, cut to LONGEST_TEXT."""
    text = value if isinstance(value, str) else json.dumps(value)
    left_out = len(text) - LONGEST_TEXT
    return text if left_out <= 0 else f"{text[:LONGEST_TEXT]}\n[{left_out:,} more characters in the output file]"
