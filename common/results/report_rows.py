"""The rows of the report's table: the first 100,000 candidates, as columns to filter by and as packed chunks to show.

Example: ``table = CandidateTable("data", False); table.add(view, history); table.close()``
"""

from __future__ import annotations

import json
from typing import Any, Callable

from ..errors import BadEntry
from ..images import load_images
from ..records import ROLES, id_key
from .curves import SampleHistory
from .markup import Markup
from .page import packed
from .record_view import Candidate, RecordView, dict_or_empty, finite_or_none, list_or_empty, tokens_in, turns_of

MOST_CANDIDATES = 100_000
MOST_TEXT = 64 << 20  # bytes of JSON without HTML, before packing
MOST_IMAGES = 20 << 20  # characters of data URLs
LONGEST_TEXT = 20_000  # characters of one text
CHUNK = 256 << 10  # bytes of JSON that the page unpacks at once
DRAWN = ("text", "reasoning", "judge_reply")  # the texts of an answer that may hold Markdown
SELECTED, ACCEPTED, CUT, UNSCORED, REJECTED = 1, 2, 4, 8, 16  # bits of a candidate's flags, as in report.js


class CandidateTable:
    """The table's data; images below ``image_root`` are embedded (None: no images).

    ``read_answer`` tells the final answer that rules read in a text (None: it is not shown).
    With ``stay_inside`` images outside of that folder are not. ``is_full`` says that an entry was left out because of
    MOST_CANDIDATES or MOST_TEXT, ``images_left_out`` counts images that are missing or past MOST_IMAGES.
    """

    def __init__(
        self, image_root: str | None, stay_inside: bool, read_answer: Callable[[str], str | None] | None = None
    ) -> None:
        self.scores: list[float | None] = []
        self.lengths: list[int] = []
        self.flags: list[int] = []
        self.first_candidates: list[int] = []  # the first candidate of each entry
        self.ids: list[str] = []  # of the entries: the last digits, for links
        self.passed: list[int] = []  # of each entry: its accepted answers, repeated ones too
        self.judged: list[int] = []  # of each entry: the answers that were to be scored
        self.first_entries: list[int] = []  # the first entry of each chunk
        self.chunks: list[str] = []
        self.is_full = False
        self.images_left_out = 0
        self._read_answer = read_answer
        self._markup = Markup()
        self._image_root = image_root
        self._stay_inside = stay_inside
        self._open_chunk: list[str] = []
        self._open_size = 0
        self._size = 0
        self._image_size = 0

    def add(self, view: RecordView, history: SampleHistory) -> None:
        """Adds an entry with its candidates. Once an entry does not fit, no further one is added."""
        if self.is_full or not view.candidates:
            return
        if len(self.scores) + len(view.candidates) > MOST_CANDIDATES or self._size > MOST_TEXT:
            self.is_full = True
            return
        if not self._open_chunk:
            self.first_entries.append(len(self.first_candidates))
        self.first_candidates.append(len(self.scores))
        self.ids.append(short_id(view.record.get("entry_id")))
        self.passed.append(sum(history.accepted))
        self.judged.append(len(history.accepted))
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
            self._size += self._open_size - self._markup.characters
            self._open_chunk, self._open_size, self._markup.characters = [], 0, 0

    def columns(self) -> dict[str, list[Any]]:
        """What the page filters and sorts by."""
        return {
            "scores": self.scores,
            "lengths": self.lengths,
            "flags": self.flags,
            "first": self.first_candidates,
            "ids": self.ids,
            "passed": self.passed,
            "judged": self.judged,
            "begins": self.first_entries,
        }

    def _entry(self, view: RecordView) -> dict[str, Any]:
        """What the page shows of an entry: turns, reference, images, answers."""
        turns = turns_of(view.record)
        has_reference = ROLES.get(turns[-1]["from"]) == "assistant"
        asked = turns[:-1] if has_reference else turns
        read = self._read_answer if has_reference else None
        reference = clipped(turns[-1]["value"]) if has_reference else None
        return {
            "id": str(view.record.get("entry_id", ""))[:64],
            "stopped": str(view.record.get("stopped_by") or ""),
            "turns": [shown_turn(turn, self._markup) for turn in asked],
            "reference": reference,
            **html_of({"reference": reference}, self._markup),
            **({"read": clipped(read(turns[-1]["value"]) or "")} if read is not None else {}),
            "kept": [pick.rejected for pick in view.picks if pick.chosen is None],
            "images": [self._image(path) for path in list_or_empty(view.record.get("images"))],
            "answers": [shown_answer(candidate, self._markup, read) for candidate in view.candidates],
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


def short_id(entry_id: object) -> str:
    """The end of an entry's id, by which links name it; of another tool's id, the end of its md5.

    >>> short_id("6c0feded64816c6ba0c937f0327e5b12")
    '37f0327e5b12'
    """
    return f"{id_key(str(entry_id)):032x}"[-12:]


def shown_turn(turn: dict[str, str], markup: Markup) -> list[str]:
    """What the page shows of a turn: its role, its text, and the HTML of that if it is more than the text."""
    text = clipped(turn["value"])
    html = markup.drawn(text)
    return [ROLES.get(turn["from"], turn["from"]), text, *([] if html is None else [html])]


def html_of(texts: dict[str, Any], markup: Markup) -> dict[str, dict[str, str]]:
    """The HTML of named texts, for those whose HTML is more than the text.

    >>> html_of({"text": "4", "judge_reply": None}, Markup())
    {}
    """
    pages = {name: markup.drawn(text) for name, text in texts.items() if text is not None}
    found = {name: page for name, page in pages.items() if page is not None}
    return {"html": found} if found else {}


def shown_answer(
    candidate: Candidate, markup: Markup, read: Callable[[str], str | None] | None = None
) -> dict[str, Any]:
    """What the page shows of an answer: its text, the final answer that ``read`` finds, the details that exist."""
    detail = candidate.detail
    shown: dict[str, Any] = {"text": clipped(candidate.text)}
    final = read(candidate.text) if read is not None else None
    if final is not None:
        shown["read"] = final[:200]
    for name in ("finish_reason", "reasoning", "judge_reply", "unscored", "scorer"):
        if detail.get(name) is not None:
            shown[name] = clipped(detail[name])
    shown.update(html_of({name: shown.get(name) for name in DRAWN}, markup))
    spread = finite_or_none(detail.get("spread"))
    if spread is not None:
        shown["spread"] = spread
    samples = [sample for sample in list_or_empty(detail.get("judge_samples"))[:64] if isinstance(sample, dict)]
    if samples:
        shown["samples"] = [_sample(sample, markup) for sample in samples]
    probabilities = _probabilities(detail.get("probabilities"))
    if probabilities is not None:
        shown["probabilities"] = probabilities
    tokens = tokens_in(detail.get("usage"), "completion_tokens")
    if tokens:
        shown["tokens"] = tokens
    return shown


def _sample(sample: dict[str, Any], markup: Markup) -> list[Any]:
    """A judge's sample: its score, its reply, and the HTML of that if it is more than the reply."""
    reply = clipped(sample.get("reply") or "")
    html = markup.drawn(reply)
    return [finite_or_none(sample.get("score")), reply, *([] if html is None else [html])]


def _probabilities(value: object) -> list[list[Any]] | None:
    """At most 64 pairs of a score and its probability; None if there are no probabilities."""
    probabilities = dict_or_empty(value)
    pairs = [[str(score)[:20], finite_or_none(chance)] for score, chance in probabilities.items()]
    return [pair for pair in pairs if pair[1] is not None][:64] if pairs else None


def clipped(value: object) -> str:
    """A text, or another value as JSON, cut to LONGEST_TEXT."""
    text = value if isinstance(value, str) else json.dumps(value)
    left_out = len(text) - LONGEST_TEXT
    return text if left_out <= 0 else f"{text[:LONGEST_TEXT]}\n[{left_out:,} more characters in the output file]"
