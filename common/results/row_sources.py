"""What the rows of a format are made of: the picks of a selection, or other answers of a record, with what they say.

Each function takes a record and a selection. It yields (pick, facts): the answers of a row, and what else the row says.
A text in place of the facts is the reason why the row is left out.

>>> record = {"generated_answers": ["4", "5"], "generated_scores": [10, 0]}
>>> list(labelled(record, Selection(accept_score=10)))
[(Pick(chosen=0, rejected=None), {'label': True}), (Pick(chosen=1, rejected=None), {'label': False})]
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, Tuple, Union

from ..errors import BadEntry
from ..input.columns import as_text
from ..records import Record
from ..steps import steps_of
from .pass_rate import PassRate, pass_rate_of
from .selection import Pick, Selection, choose, entry_of, in_pass_rate, refused

Facts = Dict[str, Any]
Source = Callable[[Record, Selection], Iterator[Tuple[Pick, Union[Facts, str]]]]

RIGHT_STEP = 0.5  # the lowest score, a probability, of a step that is right


def picks(record: Record, selection: Selection) -> Iterator[tuple[Pick, Facts | str]]:
    """The picks as they are."""
    for pick in choose(record, selection):
        yield pick, {}


def labelled(record: Record, selection: Selection) -> Iterator[tuple[Pick, Facts | str]]:
    """Good and bad answers, each with its label: both sides of each pair, or the accepted answers and the others."""
    found = choose(record, selection)
    good = [Pick(pick.chosen) for pick in found]
    bad = [Pick(pick.rejected) for pick in found] if selection.makes_pairs else map(Pick, refused(record, selection))
    for label, sides in ((True, good), (False, bad)):
        for pick in dict.fromkeys(sides):
            yield pick, {"label": label}


def stepped(record: Record, selection: Selection) -> Iterator[tuple[Pick, Facts | str]]:
    """The picks with their steps and whether each is right, from the scores of a process reward model."""
    details = record.get("generated_details") or []
    for pick in choose(record, selection):
        index = pick.chosen or 0
        scores = details[index].get("step_scores") if index < len(details) else None
        yield pick, _steps(record["generated_answers"][index], scores)


def _steps(text: str, scores: object) -> Facts | str:
    if not isinstance(scores, list) or not scores:
        return "it has no scores of its steps (--scorer reward with --reward_steps gives them)"
    if not all(isinstance(score, (int, float)) and 0 <= score <= 1 for score in scores):
        return "the scores of its steps are not from 0 to 1"
    steps = steps_of(text)
    if len(steps) < len(scores):
        return "it has fewer steps than scores"
    return {"steps": steps[: len(scores)], "labels": [score >= RIGHT_STEP for score in scores]}


def questions(record: Record, selection: Selection) -> Iterator[tuple[Pick, Facts | str]]:
    """The entry itself, once, with its reference, its pass rate and its own keys, if its pass rate is chosen."""
    if not isinstance(record, dict) or not in_pass_rate(record, selection):
        return
    try:
        reference = entry_of(record).reference
    except BadEntry:
        reference = None
    accept, extra = selection.passes, record.get("extra") or {}
    rate = PassRate(0, 0) if accept is None else pass_rate_of(record, accept)
    source, line = extra.get("data_source"), record.get("line")
    yield (
        Pick(None),
        {
            "data_source": source if isinstance(source, str) else None,
            "ground_truth": reference,
            "pass_rate": rate.share,
            "info": {
                "index": line if isinstance(line, int) else 0,
                "entry_id": str(record.get("entry_id") or ""),
                "accepted": rate.accepted,
                "of": rate.of,
                "extra": as_text(extra),
            },
        },
    )
