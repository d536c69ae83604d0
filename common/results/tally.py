"""What a report counts: one pass over an output, in memory that does not grow with it.

Counts, seeded samples of what is drawn or estimated from, and the first 100,000 candidates packed for the table.

Example: ``totals = tally("out.jsonl", Selection(), score_range=(0, 10), image_root="data", stay_inside=False)``
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..errors import BadEntry, RunStopped, printable
from ..images import load_images
from ..records import ROLES, Record
from .estimators import (
    Estimate,
    Reservoir,
    curve_steps,
    expected_best,
    gain_interval,
    mean_interval,
    pass_at_k,
    spearman,
)
from .selection import Pick, Selection, accepted, choose, selectable

MOST_CANDIDATES = 100_000  # in the table
MOST_TEXT = 64 << 20  # bytes of JSON in the table, before packing
MOST_IMAGES = 20 << 20  # characters of data URLs
LONGEST_TEXT = 20_000  # characters of one text in the table
CHUNK = 256 << 10  # bytes of JSON that the page unpacks at once
CURVE_ENTRIES = 10_000  # sampled for the best-of-k curves
DOTS = 2_000  # sampled for the scatter
PAIRS = 20_000  # sampled for the rank correlation
MOST_KINDS = 1_000  # different reasons that are told apart
MOST_SHOWN = 12  # reasons in a list
EXACT = 40  # different scores that get a bar each
BINS = 20
OCTAVE = 4  # bins of length for each doubling
STATUSES = ("selected", "accepted", "other")
SELECTED, ACCEPTED, CUT, UNSCORED, REJECTED = 1, 2, 4, 8, 16  # bits of a candidate's flags in the table
NOT_NEEDED = "not needed"  # how candidates.py begins the reason where enough answers were accepted before


class Candidate(NamedTuple):
    """One answer of a record, read with tolerance: a score that is no finite number is None."""

    text: str
    score: Optional[float]
    detail: Dict[str, Any]

    @property
    def cut(self) -> bool:
        return self.detail.get("finish_reason") == "length"


class Seen(NamedTuple):
    """A record with what the selection makes of it."""

    record: Record
    candidates: List[Candidate]
    accepted: Set[int]
    picks: List[Pick]
    selected: Set[int]
    rejected: Set[int]

    def status(self, index: int) -> int:
        """Its place in STATUSES."""
        return 0 if index in self.selected else 1 if index in self.accepted else 2


class Drawn(NamedTuple):
    """The scores of an entry's answers in the order drawn, which are accepted, and what stopped the drawing."""

    scores: List[float]
    hits: List[bool]
    stopped_by: Optional[str]


class Kinds:
    """Messages counted by kind, each kind with the first of its messages; past MOST_KINDS, all others are one kind."""

    def __init__(self) -> None:
        self._counts: Counter[Tuple[str, str]] = Counter()
        self._examples: Dict[Tuple[str, str], str] = {}

    def add(self, tag: str, text: str) -> None:
        """Counts a message under a tag (its stage, its status), which keeps equal messages apart."""
        key = (tag, _kind(text))
        if key not in self._counts and len(self._counts) >= MOST_KINDS:
            key, text = ("", ""), "other reasons"
        self._counts[key] += 1
        self._examples.setdefault(key, printable(text[:300]) or "no reason given")

    def total(self) -> int:
        """How many messages were counted."""
        return sum(self._counts.values())

    def top(self) -> List[Tuple[int, str, str]]:
        """(count, tag, example) of the MOST_SHOWN most frequent; equals by name, so that the page stays the same."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_SHOWN]
        return [(count, key[0], self._examples[key]) for key, count in ordered]


def _kind(text: str) -> str:
    """A message without what makes each one different: addresses, ids, numbers."""
    text = re.sub(r"https?://\S+", "URL", text[:1000])
    text = re.sub(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b", "ID", text)
    return re.sub(r"\d+(?:\.\d+)?", "N", " ".join(text.split()))[:160]


@dataclass
class Table:
    """The candidates that the page shows: columns to filter and sort by, and packed chunks of entries."""

    scores: List[Optional[float]] = field(default_factory=list)
    lengths: List[int] = field(default_factory=list)
    flags: List[int] = field(default_factory=list)
    first: List[int] = field(default_factory=list)  # each entry's first candidate
    begins: List[int] = field(default_factory=list)  # each chunk's first entry
    chunks: List[bytes] = field(default_factory=list)
    open_chunk: List[str] = field(default_factory=list)
    open_size: int = 0
    size: int = 0
    images: int = 0
    images_left_out: int = 0
    full: bool = False


@dataclass
class Totals:
    """What one pass over the records counts; its size does not grow with their number."""

    low: float
    high: float
    entries: Counter[str] = field(default_factory=Counter)  # by the furthest steps they reach
    answers: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    exact: Counter[Tuple[float, int]] = field(default_factory=Counter)  # (score, status), given up when too many
    binned: Counter[Tuple[int, int]] = field(default_factory=Counter)
    unscored: Kinds = field(default_factory=Kinds)
    stopped: Kinds = field(default_factory=Kinds)
    trend: Dict[int, List[float]] = field(default_factory=dict)  # length bin: count, sum of scores
    ratios: Counter[int] = field(default_factory=Counter)  # quarter octaves: chosen longer than the other
    longer: Counter[str] = field(default_factory=Counter)
    within: List[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # count, sum, squares of rank correlations
    spread: List[float] = field(default_factory=lambda: [0.0, 0.0])  # count, sum
    dots: Reservoir[Tuple[int, float, int]] = field(default_factory=lambda: Reservoir(PAIRS))
    drawn: Reservoir[Drawn] = field(default_factory=lambda: Reservoir(CURVE_ENTRIES))
    table: Table = field(default_factory=Table)
    torn: bool = False


def tally(
    output_file: str,
    selection: Selection,
    score_range: Tuple[float, float],
    image_root: Optional[str],
    stay_inside: bool,
) -> Totals:
    """All that a report says of an output's records; arguments as in ``write_report``.

    Raises RunStopped for a line that is no record, unless it is the last and still being written.
    """
    totals = Totals(low=float(score_range[0]), high=float(score_range[1]))
    threshold = totals.high if selection.accept_score is None else selection.accept_score
    for record in _records(output_file, totals):
        seen = _seen(record, selection)
        _count_steps(totals, seen)
        _count_tokens(totals, seen)
        _count_scores(totals, seen)
        _count_lengths(totals, seen)
        totals.drawn.add(_drawn(seen, threshold, totals.low))
        _add_rows(totals.table, seen, image_root, stay_inside)
    _close_chunk(totals.table)
    return totals


# Reading


def _records(path: str, totals: Totals) -> Iterator[Record]:
    """The records of an output; one that is still being written has no newline, and ends the reading."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                record = _parsed(line)
                if record is not None and isinstance(record.get("generated_answers"), list):
                    yield record
                elif not line.endswith(b"\n"):
                    totals.torn = True
                elif line.strip():
                    raise RunStopped(f"{path}: line {number} is no record; remove it and write the report again")
    except OSError as error:
        raise RunStopped(f"cannot read {path}: {error.strerror}") from error


def _parsed(line: bytes) -> Optional[Dict[str, Any]]:
    """The object on a line, if there is one."""
    try:
        value = json.loads(line) if line.strip() else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _number(value: object) -> Optional[float]:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _list(value: object) -> List[Any]:
    return value if isinstance(value, list) else []


def _candidates(record: Record) -> List[Candidate]:
    """The answers of a record, with a score and details where there are some."""
    texts, scores, details = (
        _list(record.get(key)) for key in ("generated_answers", "generated_scores", "generated_details")
    )
    found = []
    for place, text in enumerate(texts):
        detail = details[place] if place < len(details) and isinstance(details[place], dict) else {}
        score = _number(scores[place]) if place < len(scores) else None
        found.append(Candidate(text if isinstance(text, str) else "", score, detail))
    return found


def _seen(record: Record, selection: Selection) -> Seen:
    picks = choose(record, selection)
    return Seen(
        record,
        _candidates(record),
        set(accepted(record, selection.accept_score)),
        picks,
        {pick.chosen for pick in picks if pick.chosen is not None},
        {pick.rejected for pick in picks if pick.rejected is not None},
    )


def _asked(record: Record) -> Dict[str, str]:
    return {"from": "human", "value": str(record.get("original_question") or "")}


def _turns(record: Record) -> List[Dict[str, str]]:
    """The conversation of a record; plain strings are references, as other tools write them."""
    turns = _list(record.get("original_answers"))
    if turns and all(isinstance(turn, dict) for turn in turns):
        said = [{"from": str(turn.get("from")), "value": str(turn.get("value"))} for turn in turns]
        asked_first = len(said) > 1 or ROLES.get(said[0]["from"]) != "assistant"
        return said if asked_first else [_asked(record), *said]
    return [_asked(record), *({"from": "gpt", "value": str(turn)} for turn in turns[-1:])]


# Counting


def _count_steps(totals: Totals, seen: Seen) -> None:
    """How far the entry and its answers came: drawn, scored, accepted, selected."""
    scored = sum(candidate.score is not None for candidate in seen.candidates)
    reached = {
        "answered": len(seen.candidates),
        "scored": scored,
        "accepted": len(seen.accepted),
        "selected": len(seen.selected),
    }
    totals.entries["output"] += 1
    for step, count in reached.items():
        totals.answers[step] += count
        totals.entries[step] += bool(seen.picks) if step == "selected" else bool(count)
    totals.rows += len(seen.picks)
    totals.answers["cut"] += sum(candidate.cut for candidate in seen.candidates)
    stopped_by = seen.record.get("stopped_by")
    if isinstance(stopped_by, str):
        totals.stopped.add("", stopped_by)


def _whole(value: object) -> int:
    """A count of tokens as a server may write it; 0 for what is none."""
    number = _number(value)
    return int(number) if number is not None and number > 0 else 0


def _part(detail: Dict[str, Any], name: str) -> Dict[str, Any]:
    found = detail.get(name)
    return found if isinstance(found, dict) else {}


def _count_tokens(totals: Totals, seen: Seen) -> None:
    """Tokens spent; a request's are split by length over the answers it brought, which are those without any."""
    brought: List[List[int]] = []
    judged_texts: Set[str] = set()
    for place, candidate in enumerate(seen.candidates):
        if "usage" in candidate.detail or not brought:
            brought.append([])
        brought[-1].append(place)
        if candidate.text in judged_texts:  # equal answers share one score, and what it took
            continue
        judged_texts.add(candidate.text)
        judged = _part(candidate.detail, "judge_usage")
        totals.tokens["judge"] += _whole(judged.get("prompt_tokens")) + _whole(judged.get("completion_tokens"))
    for places in brought:
        spent = _whole(_part(seen.candidates[places[0]].detail, "usage").get("completion_tokens"))
        totals.tokens["answered"] += spent
        totals.tokens["shared"] += len(places) > 1 and spent > 0
        whole = sum(len(seen.candidates[place].text) for place in places)
        for place in places:
            share = spent * len(seen.candidates[place].text) // whole if whole else spent // len(places)
            totals.tokens["accepted"] += share if place in seen.accepted else 0
            totals.tokens["selected"] += share if place in seen.selected else 0


def _bin(totals: Totals, score: float) -> int:
    """Which of the bins a score falls in; scores outside the range fall in the outermost."""
    width = (totals.high - totals.low) / BINS or 1.0
    return int(min(max((score - totals.low) / width, 0), BINS - 1))


def _count_scores(totals: Totals, seen: Seen) -> None:
    """Histogram, reasons for no score, ties within the entry, the judge's own spread."""
    values = set()
    for index, candidate in enumerate(seen.candidates):
        if candidate.score is None:
            if isinstance(seen.record.get("generated_scores"), list) and not _not_needed(candidate):
                totals.unscored.add("", str(candidate.detail.get("unscored") or ""))
            continue
        values.add(candidate.score)
        status = seen.status(index)
        totals.binned[_bin(totals, candidate.score), status] += 1
        if len(totals.exact) <= EXACT * len(STATUSES):
            totals.exact[candidate.score, status] += 1
        totals.answers["outside"] += not totals.low <= candidate.score <= totals.high
        spread = _number(candidate.detail.get("spread"))
        if spread is not None:
            totals.spread[0] += 1
            totals.spread[1] += spread
    scored = sum(candidate.score is not None for candidate in seen.candidates)
    totals.entries["comparable"] += scored > 1
    totals.entries["tied"] += scored > 1 and len(values) == 1


def _count_lengths(totals: Totals, seen: Seen) -> None:
    """Score against length over all and within the entry, and the lengths of the chosen against the others."""
    scored = [(len(one.text), one.score) for one in seen.candidates if one.score is not None]
    for index, candidate in enumerate(seen.candidates):
        if candidate.score is not None and candidate.text:
            totals.dots.add((len(candidate.text), candidate.score, seen.status(index)))
            cell = totals.trend.setdefault(int(math.log2(len(candidate.text)) * OCTAVE), [0.0, 0.0])
            cell[0] += 1
            cell[1] += candidate.score
    if len(scored) > 2:
        rho = spearman([score for _, score in scored], [length for length, _ in scored])
        if not math.isnan(rho):
            totals.within = [sum(pair) for pair in zip(totals.within, (1, rho, rho * rho))]
    for chosen, other in _length_pairs(seen):
        if chosen and other:
            totals.ratios[min(max(round(math.log2(chosen / other) * OCTAVE), -3 * OCTAVE), 3 * OCTAVE)] += 1
            totals.longer["pairs"] += 1
            totals.longer["longer"] += chosen > other
            totals.longer["shorter"] += chosen < other


def _length_pairs(seen: Seen) -> Iterator[Tuple[int, float]]:
    """Characters of each pair's chosen and rejected; without pairs of a selected answer and the others' median."""
    lengths = [len(candidate.text) for candidate in seen.candidates]
    for pick in seen.picks:
        if pick.rejected is not None:
            turns = _turns(seen.record)
            yield len(turns[-1]["value"]) if pick.chosen is None else lengths[pick.chosen], lengths[pick.rejected]
        elif pick.chosen is not None:
            others = sorted(length for place, length in enumerate(lengths) if place not in seen.selected)
            if others:
                yield lengths[pick.chosen], (others[(len(others) - 1) // 2] + others[len(others) // 2]) / 2


def _not_needed(candidate: Candidate) -> bool:
    return str(candidate.detail.get("unscored")).startswith(NOT_NEEDED)


def _drawn(seen: Seen, threshold: float, low: float) -> Drawn:
    """What the best-of-k curves need; duplicates count here, since a draw is a draw.

    So does an answer without a score: it is never chosen, as if it had the lowest.
    """
    judged = [one for one in seen.candidates if not _not_needed(one)]
    hits = [
        one.score is not None
        and one.score >= threshold
        and selectable(one.text, one.detail.get("finish_reason"), one.score)
        for one in judged
    ]
    stopped_by = seen.record.get("stopped_by")
    if any(map(_not_needed, seen.candidates)):
        stopped_by = "stop_after"  # all were drawn, but not all judged
    scores = [low if one.score is None else one.score for one in judged]
    return Drawn(scores, hits, stopped_by if isinstance(stopped_by, str) else None)


def failures_in(errors_file: Optional[str]) -> Kinds:
    """The failed entries by stage, status and kind of message."""
    found = Kinds()
    if errors_file is None or not os.path.exists(errors_file):
        return found
    with open(errors_file, "rb") as file:
        for line in file:
            failure = _parsed(line)
            if failure is not None:
                told = (str(failure[key])[:20] for key in ("stage", "status") if failure.get(key) is not None)
                found.add(" ".join(told), str(failure.get("error") or ""))
    return found


# Best of k


class Curves(NamedTuple):
    """Best-of-k: for each k of ``steps`` the share of entries with an accepted answer and the mean best score.

    ``running`` says that entries were stopped early, so that the answers count in the order drawn.
    """

    steps: List[int]
    passed: List[Estimate]
    best: List[Estimate]
    last_pass: Optional[Estimate]
    last_best: Optional[Estimate]
    entries: int
    running: bool


def curves_of(drawn: Sequence[Drawn], low: float, high: float) -> Optional[Curves]:
    """The curves over one and the same population at every k, so that no step is a change of population.

    Population: the entries with at least N answers, N the most that half of the entries have. Once entries were
    stopped by what they had drawn, subsets of theirs are biased (a stopping rule looked at them): then the answers
    count in the order drawn, and a stopped entry keeps what it had.
    """
    there = [one for one in drawn if one.scores]
    full = sorted((len(one.scores) for one in there if one.stopped_by is None), reverse=True)
    running = len(full) < len(there)
    if not there:
        return None
    most = full[(len(full) - 1) // 2] if full else max(len(one.scores) for one in there)
    kept = [one for one in there if one.stopped_by is not None or len(one.scores) >= most]
    steps = curve_steps(most)
    rows = [_running(one, steps) if running else _subsets(one, steps) for one in kept]
    passed = [[row[0][at] for row in rows] for at in range(len(steps))]
    best = [[row[1][at] for row in rows] for at in range(len(steps))]
    return Curves(
        steps,
        [mean_interval(values, 0, 1) for values in passed],
        [mean_interval(values, low, high) for values in best],
        gain_interval(passed[-2], passed[-1]) if most > 1 else None,
        gain_interval(best[-2], best[-1]) if most > 1 else None,
        len(kept),
        running,
    )


def _subsets(one: Drawn, steps: Sequence[int]) -> Tuple[List[float], List[float]]:
    """What k of an entry's answers would have given on average over all subsets: (pass@k, expected best)."""
    ascending, count, hits = sorted(one.scores), len(one.scores), sum(one.hits)
    return [pass_at_k(count, hits, k) for k in steps], [expected_best(ascending, k) for k in steps]


def _running(one: Drawn, steps: Sequence[int]) -> Tuple[List[float], List[float]]:
    """What the first k of an entry's answers did give."""
    return [float(any(one.hits[:k])) for k in steps], [max(one.scores[:k]) for k in steps]


# The table's data


def _add_rows(table: Table, seen: Seen, image_root: Optional[str], stay_inside: bool) -> None:
    """Adds an entry with its candidates, unless the table is full; then it stays closed, so that it holds the first."""
    if table.full or not seen.candidates:
        return
    if len(table.scores) + len(seen.candidates) > MOST_CANDIDATES or table.size > MOST_TEXT:
        table.full = True
        return
    if not table.open_chunk:
        table.begins.append(len(table.first))
    table.first.append(len(table.scores))
    for index, candidate in enumerate(seen.candidates):
        table.scores.append(candidate.score)
        table.lengths.append(len(candidate.text))
        table.flags.append(
            (SELECTED if index in seen.selected else 0)
            | (ACCEPTED if index in seen.accepted else 0)
            | (CUT if candidate.cut else 0)
            | (UNSCORED if candidate.score is None else 0)
            | (REJECTED if index in seen.rejected else 0)
        )
    text = json.dumps(_entry(table, seen, image_root, stay_inside), separators=(",", ":"))
    table.open_chunk.append(text)
    table.open_size += len(text)
    if table.open_size > CHUNK:
        _close_chunk(table)


def _close_chunk(table: Table) -> None:
    if table.open_chunk:
        table.chunks.append(packed("[" + ",".join(table.open_chunk) + "]"))
        table.size += table.open_size
        table.open_chunk, table.open_size = [], 0


def packed(text: str) -> bytes:
    """A text for DecompressionStream("deflate"), in letters that mean nothing to HTML."""
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 6))


def _clipped(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    left_out = len(text) - LONGEST_TEXT
    return text if left_out <= 0 else f"{text[:LONGEST_TEXT]}\n[{left_out:,} more characters in the output file]"


def _entry(table: Table, seen: Seen, image_root: Optional[str], stay_inside: bool) -> Dict[str, Any]:
    """What the page shows of an entry: turns, reference, images, candidates."""
    turns = _turns(seen.record)
    answered = ROLES.get(turns[-1]["from"]) == "assistant"
    return {
        "id": str(seen.record.get("entry_id", ""))[:64],
        "stopped": str(seen.record.get("stopped_by") or ""),
        "turns": [
            [ROLES.get(turn["from"], turn["from"]), _clipped(turn["value"])]
            for turn in (turns[:-1] if answered else turns)
        ],
        "reference": _clipped(turns[-1]["value"]) if answered else None,
        "kept": [pick.rejected for pick in seen.picks if pick.chosen is None],
        "images": [_image(table, path, image_root, stay_inside) for path in _list(seen.record.get("images"))],
        "answers": [_answer(candidate) for candidate in seen.candidates],
    }


def _answer(candidate: Candidate) -> Dict[str, Any]:
    """What the page shows of an answer, of what exists."""
    detail = candidate.detail
    shown: Dict[str, Any] = {"text": _clipped(candidate.text)}
    for name in ("finish_reason", "reasoning", "judge_reply", "unscored", "scorer"):
        if detail.get(name) is not None:
            shown[name] = _clipped(detail[name])
    if _number(detail.get("spread")) is not None:
        shown["spread"] = _number(detail["spread"])
    samples = [one for one in _list(detail.get("judge_samples"))[:64] if isinstance(one, dict)]
    if samples:
        shown["samples"] = [[_number(one.get("score")), _clipped(one.get("reply") or "")] for one in samples]
    chances = [[str(name)[:20], _number(chance)] for name, chance in _part(detail, "probabilities").items()]
    if chances:
        shown["probabilities"] = [pair for pair in chances if pair[1] is not None][:64]
    tokens = _whole(_part(detail, "usage").get("completion_tokens"))
    if tokens:
        shown["tokens"] = tokens
    return shown


def _image(table: Table, path: object, root: Optional[str], stay_inside: bool) -> List[str]:
    """[what it is called, its data URL or ""]; nothing is fetched, and no more than MOST_IMAGES embedded."""
    name = str(path)
    inline = name.startswith("data:")
    label = "image in the output" if inline else name[:500]
    if root is None or name.startswith(("http://", "https://")):
        return [label, ""]
    try:
        url = load_images([name], root, stay_inside, max(0, (MOST_IMAGES - table.images) * 3 // 4))[0]
    except BadEntry:
        table.images_left_out += 1
        return [label, ""]
    if not url.startswith("data:image/") or table.images + len(url) > MOST_IMAGES:
        table.images_left_out += 1
        return [label, ""]
    table.images += len(url)
    return [label, url]
