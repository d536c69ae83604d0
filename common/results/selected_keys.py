"""The keys of ``--selected_keys``: further columns of a training file, from a record and from its entry's own keys.

A key is looked for in three places: what a record says of an answer (``score``), of its entry (``entry_id``), and the
entry's own keys (``extra``), where a dotted path leads to a part. ``extra.score`` names an own key that is also one of
ours. In a file of pairs, a key of an answer is two columns: ``score_chosen`` and ``score_rejected``. ``margin`` is
their difference.

>>> record = {"extra": {"id": 7}, "generated_scores": [9.0], "generated_details": [{}], "entry_id": "a"}
>>> values_of(record, Pick(0), ["id", "score", "entry_id"], "a-model")
[7, 9.0, 'a']
"""

from __future__ import annotations

from typing import Any, Sequence

from ..errors import BadEntry, UsageError
from ..input.columns import as_text, lookup
from ..records import MAKER, SCORE_DETAILS, Record
from .formats import TEXT, RowForm
from .selection import Pick, entry_of

OF_ANSWER = ("score", "index", "finish_reason", *MAKER, "reasoning", "usage", "max_tokens", *SCORE_DETAILS)
OF_RECORD = ("entry_id", "file", "line", "stopped_by", "majority_answer", "majority_share")
MARGIN = "margin"  # of the scores of a pair
ARROW = {"int": "int64", "float": "double", "bool": "bool"}  # of a column whose values are of one kind; else text


def parse_keys(text: str) -> list[str]:
    """A flag's type: keys with commas between them, each once.

    >>> parse_keys("id, score,id")
    ['id', 'score']
    """
    return list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def check_keys(keys: Sequence[str], form: RowForm, pairs: bool) -> None:
    """UsageError if a key is of pairs and there are none, or would be the name of a column that the format has."""
    if MARGIN in keys and not pairs:
        raise UsageError(
            "--selected_keys margin is the difference of a pair's scores, and the rows hold no pairs; the entry's own "
            "key is extra.margin"
        )
    taken = [name for name in columns_of(keys, pairs) if name in form.columns or name == "images"]
    if taken:
        raise UsageError(
            f"--selected_keys {taken[0]}: the format has a column of that name; the entry's own key is extra.{taken[0]}"
        )


def columns_of(keys: Sequence[str], pairs: bool) -> list[str]:
    """The names of the columns of the keys."""
    sides = ("_chosen", "_rejected") if pairs else ("",)
    return [name for key in keys for name in ([key + side for side in sides] if key in OF_ANSWER else [key])]


def values_of(
    record: Record, pick: Pick, keys: Sequence[str], model: str | None, reference_score: float | None = None
) -> list[Any]:
    """The values of the columns for a pick: None if there is none.

    ``model`` made the answers that name none. ``reference_score`` is the score of a reference in a margin.
    """
    values: list[Any] = []
    for key in keys:
        if key == MARGIN:
            values.append(_margin(record, pick, reference_score))
        elif key in OF_ANSWER:
            values.append(_of_answer(record, pick.chosen, key, model))
            values += [] if pick.rejected is None else [_of_answer(record, pick.rejected, key, model)]
        else:
            values.append(record.get(key) if key in OF_RECORD else _own(record, key))
    return values


def _margin(record: Record, pick: Pick, reference_score: float | None) -> float | None:
    """The score of the chosen answer minus that of the rejected one."""
    chosen = reference_score if pick.chosen is None else record["generated_scores"][pick.chosen]
    rejected = None if pick.rejected is None else record["generated_scores"][pick.rejected]
    return None if chosen is None or rejected is None else float(chosen - rejected)


def _of_answer(record: Record, index: int | None, key: str, model: str | None) -> Any:
    """What a record says of an answer; None for the reference, which no model made."""
    if index is None:
        return None
    if key == "score":
        return record["generated_scores"][index]
    details = record.get("generated_details") or []
    default = {"model": model, "index": index}.get(key)
    return details[index].get(key, default) if index < len(details) else default


def _own(record: Record, key: str) -> Any:
    """The value of one of the entry's own keys; ``question`` and ``reference`` are those that were read."""
    extra = record.get("extra") or {}
    found = lookup(extra, key)
    if found is None and key.startswith("extra."):
        return lookup(extra, key[len("extra.") :])
    if found is not None or key not in ("question", "reference"):
        return found
    try:
        entry = entry_of(record)
    except BadEntry:
        return None
    return entry.question if key == "question" else entry.reference


def kind_of(value: object) -> str | None:
    """The kind of a value in a column: bool, int, float, str, json (a list or object); None for null."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) < 1 << 63 else "str"
    return "float" if isinstance(value, float) else "str" if isinstance(value, str) else "json"


def column_kind(kinds: set[str]) -> str:
    """The kind of a column: that of its values, or text if these are of several. Whole numbers fit among others."""
    if kinds == {"int", "float"}:
        return "float"
    return next(iter(kinds)) if len(kinds) == 1 else "str"


def in_column(value: Any, kind: str, for_parquet: bool) -> Any:
    """A value as its column holds it: in Parquet, a list or an object is its JSON."""
    if value is None or (kind == "json" and not for_parquet):
        return value
    if kind == "float":
        return value if isinstance(value, float) else float(value)
    return as_text(value) if kind in ("str", "json") else value


def arrow_type(kind: str) -> str:
    """The name of the Arrow type of a column."""
    return ARROW.get(kind, TEXT)
