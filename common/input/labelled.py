"""Labelled answers as entries, for ``--calibrate``: which answers are right, or which of two is better.

Read are records with ``labels`` (true, false, or null for an answer that nobody labelled), rows with a list of answers
or with one, and pairs. The labels stand under ``labels`` or ``preferred`` in the entry's ``extra``. The answers and
their labels are not part of the question, and a pair has no reference.

Example: ``labelled_work({"prompt": "2+2?", "chosen": "4", "rejected": "5"}).entry.extra["preferred"] == [True, False]``
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..errors import BadEntry
from ..records import Answer, PendingEntry, fingerprint
from .columns import BY_NAME, QUESTIONS, Columns
from .conversations import as_row, entry_from_conversation, work_from_record

LABELS, PREFERRED = "labels", "preferred"  # keys of ``extra``: whether each answer is right, or the better of two
LISTS = ("answers", "responses", "completions", "generated_answers", "samples")
ONES = ("completion", "response", "generated_answer", "model_answer", "answer", "output")
RIGHT = (LABELS, "label", "correct", "is_correct", "correctness", "kto_tag")
PAIRS = (
    ("chosen", "rejected"),
    ("output_1", "output_2"),
    ("response1", "response2"),
    ("response_1", "response_2"),
    ("answer_a", "answer_b"),
    ("response_a", "response_b"),
    ("a", "b"),
)
VERDICTS = ("label", "winner", "preference", "preferred", "better")
FIRST, SECOND, TIE = ("1", "a", "response_a", "model_a"), ("2", "b", "response_b", "model_b"), ("0", "tie")
SHAPES = (
    '"labels" with true or false for each of "generated_answers" (or "correct" for "answer"), or pairs: "chosen" and '
    '"rejected", or "a" and "b" with "label" 1 or 2'
)
Labels = List[Optional[bool]]


def labelled_work(item: object, line: Optional[int] = None) -> PendingEntry:
    """The entry of a labelled item, with its answers, and its labels in ``extra``. BadEntry if it has none.

    Each entry has an id of its own, by its question and its answers. A pair without a better answer has no answers.
    """
    item = as_row(item)
    if not isinstance(item, dict):
        raise BadEntry(f"a labelled entry must be an object, not {type(item).__name__}")
    if "generated_answers" in item and "original_answers" in item:
        return _record(item, line)
    pair = next((keys for keys in PAIRS if all(item.get(key) is not None for key in keys)), None)
    if pair is not None:
        return _pair(item, pair, line)
    return _row(item, line)


def _record(item: Dict[str, Any], line: Optional[int]) -> PendingEntry:
    """A record of sampling.py with ``labels`` beside its answers, or in its ``extra``."""
    pending = work_from_record(item, line)
    extra = pending.entry.extra or {}
    labels = _labels(item.get(LABELS, extra.get(LABELS)), len(pending.answers or []))
    pending.entry.extra = {**extra, LABELS: labels}
    return pending


def _row(item: Dict[str, Any], line: Optional[int]) -> PendingEntry:
    """A row with a list of answers, or with one answer."""
    right = next((key for key in RIGHT if item.get(key) is not None), None)
    if right is None:
        raise BadEntry(f"no labels in this entry: it needs {SHAPES}")
    several = isinstance(item[right], list)
    key = next(
        (key for key in (LISTS if several else ONES) if isinstance(item.get(key), list if several else str)), None
    )
    if key is None:
        raise BadEntry(f'"{right}" is here, but no key of its answers: {", ".join(LISTS if several else ONES)}')
    texts = item[key] if several else [item[key]]
    labels = _labels(item[right] if several else [item[right]], len(texts), right)
    return _work(item, (key, right), texts, LABELS, labels, line)


def _pair(item: Dict[str, Any], keys: Tuple[str, str], line: Optional[int]) -> PendingEntry:
    """Two answers, of which the first is better, or one that a label or most annotators name."""
    if keys[0] == "chosen":
        rest = {key: value for key, value in item.items() if key not in keys}
        both = [entry_from_conversation({**rest, "chosen": item[key]}, line) for key in keys]
        texts = [entry.reference or "" for entry in both]
        if both[0].turns != both[1].turns:
            raise BadEntry('"chosen" and "rejected" are answers to two questions that differ')
        entry = both[0]
        entry.reference_turn = None
        return _pending(entry, texts, PREFERRED, [True, False])
    named = [key for key in item if key in VERDICTS or key.startswith("annotator")]
    better = _better([item[key] for key in named])
    texts = [item[key] for key in keys] if better is not None else []
    labels: Labels = [] if better is None else [better == 0, better == 1]
    return _work(item, (*keys, *named), texts, PREFERRED, labels, line)


def _better(verdicts: Sequence[object]) -> Optional[int]:
    """0 or 1, as most verdicts say; None if they say that neither is better."""
    counts = Counter(_side(verdict) for verdict in verdicts if verdict is not None)
    if not counts:
        raise BadEntry(f"nothing says which of the two answers is better: {', '.join(VERDICTS)} or annotator1")
    (side, most), *others = counts.most_common()
    return None if side is None or any(number == most for _, number in others) else side


def _side(verdict: object) -> Optional[int]:
    word = str(verdict).strip().lower()
    if isinstance(verdict, bool) or word not in (*FIRST, *SECOND, *TIE):
        raise BadEntry(f"the better of two answers must be 1, 2 or 0 for a tie (or a, b, tie), not {verdict!r}")
    return 0 if word in FIRST else 1 if word in SECOND else None


def _work(
    item: Dict[str, Any], used: Sequence[str], texts: Sequence[Any], kind: str, labels: Labels, line: Optional[int]
) -> PendingEntry:
    """The entry of what a row has beside its answers and their labels."""
    if not all(isinstance(text, str) for text in texts):
        raise BadEntry("an answer must be a text")
    rest = {key: value for key, value in item.items() if key not in used}
    if "input" in rest and not any(rest.get(key) is not None for key in (*QUESTIONS, "messages", "conversations")):
        rest["question"] = rest.pop("input")
    columns = Columns(reference="reference") if isinstance(rest.get("reference"), str) else BY_NAME
    entry = entry_from_conversation(rest, line, columns)
    if kind == PREFERRED and "reference" not in rest:
        entry.reference_turn = None
    return _pending(entry, texts, kind, labels)


def _pending(entry: Any, texts: Sequence[str], kind: str, labels: Labels) -> PendingEntry:
    entry.entry_id = fingerprint([entry.entry_id, list(texts)], 32)
    entry.extra = {**(entry.extra or {}), kind: labels}
    return PendingEntry(entry, [Answer(text) for text in texts])


def _labels(value: object, count: int, key: str = LABELS) -> Labels:
    """The labels of ``count`` answers; 1 and 0 are true and false. BadEntry if they are something else."""
    if not isinstance(value, list):
        raise BadEntry(f"no labels in this entry: it needs {SHAPES}")
    if len(value) != count:
        raise BadEntry(f'"{key}" has {len(value)} labels for {count} answers')
    words = [str(int(one) if isinstance(one, float) and one in (0, 1) else one).lower() for one in value]
    wrong = [one for one, word in zip(value, words) if word not in ("true", "false", "1", "0", "none")]
    if wrong:
        raise BadEntry(f'"{key}" must hold true or false for each answer (null: not labelled), not {wrong[0]!r}')
    return [None if word == "none" else word in ("true", "1") for word in words]
