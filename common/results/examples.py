"""From a record to what its rows are made of: turns, images, answers, thoughts, and what is odd about them.

>>> entry = Entry("id", [{"from": "user", "value": "2+2?"}], None, [])
>>> answer = {"generated_answers": ["<think>2 and 2</think>4"]}
>>> example_of(answer, entry, Pick(0), {}, RowOptions("think", system_prompt="Be brief.")).answers
['<think>\\n2 and 2\\n</think>\\n\\n4']
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Sequence

from ..patterns import regex
from ..records import MARK, ROLES, Entry, Record, Turn
from .formats import MEDIA, Example, RowForm
from .reasoning import FIELD, Said, in_text, said
from .row_sources import Facts, questions, stepped
from .selection import Pick

SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}  # the names that trainers know by default
MEDIUM_MARK = regex(MEDIA)


class RowOptions(NamedTuple):
    """How rows show the thoughts of the answers, and the system prompt that the run gave to entries without one."""

    reasoning: str = "auto"  # one of REASONING
    field: str = FIELD  # the key of the thoughts in a message
    system_prompt: str | None = None  # None: it is not in the rows


def example_of(
    record: Record, entry: Entry, pick: Pick, facts: Facts, options: RowOptions, values: Sequence[Any] = ()
) -> Example:
    """What the row of a pick is made of. ``options.reasoning`` is ``think``, ``field`` or ``drop``."""
    marked, images = mark_all_images(entry)
    turns = [{"from": SPEAKERS[ROLES[turn["from"]]], "value": turn["value"]} for turn in marked]
    if options.system_prompt and not any(turn["from"] == "system" for turn in turns):
        turns.insert(0, {"from": "system", "value": options.system_prompt})
    parts = _sides(record, entry, pick)
    answers = [in_text(part) if options.reasoning == "think" else part.answer for part in parts]
    thoughts = [part.thoughts for part in parts] if options.reasoning == "field" else []
    return Example(turns, images, answers, values, thoughts, facts)


def _sides(record: Record, entry: Entry, pick: Pick) -> list[Said]:
    """The parts of a pick's answers: of the chosen one and, of a pair, of the rejected one."""
    sides = [said(entry.reference or "")] if pick.chosen is None else [_said(record, pick.chosen)]
    return sides if pick.rejected is None else [*sides, _said(record, pick.rejected)]


def _said(record: Record, index: int) -> Said:
    details = record.get("generated_details") or []
    return said(record["generated_answers"][index], details[index].get("reasoning") if index < len(details) else None)


def mark_all_images(entry: Entry) -> tuple[list[Turn], list[str]]:
    """Turns with a mark for each image, and the images in the order of their marks, as ``chat_messages`` shows them."""
    turns, images = entry.turns, entry.images
    marks = [turn["value"].count(MARK) if ROLES[turn["from"]] == "user" else 0 for turn in turns]
    unmarked = images[sum(marks) :]
    if not unmarked:
        return turns, images
    in_history = sum(marks[:-1])
    question = {**turns[-1], "value": MARK * len(unmarked) + turns[-1]["value"]}
    return [*turns[:-1], question], images[:in_history] + unmarked + images[in_history : sum(marks)]


def is_marked(example: Example, pattern: str) -> bool:
    """Whether the texts of a row hold a reader's mark of a medium that the row does not have."""
    texts = [turn["value"] for turn in example.turns] + answer_texts(example)
    find = MEDIUM_MARK if pattern == MEDIA else re.compile(pattern)
    return sum(len(find.findall(text)) for text in texts) != len(example.images)


def answer_texts(example: Example) -> list[str]:
    """The texts of a row that are not the prompt's; none if the row is only a question."""
    if "info" in example.facts:
        return []
    return [*example.answers, *example.thoughts, *example.facts.get("steps", [])]


def has_odd_turns(turns: Sequence[Turn]) -> bool:
    """Whether the turns behind a first system turn do not alternate between human and gpt, from human to human.

    >>> has_odd_turns([{"from": "human"}, {"from": "human"}])
    True
    """
    said_by = [turn["from"] for turn in turns]
    begin = said_by[:1] == ["system"]
    return said_by[begin:] != ["human" if place % 2 == 0 else "gpt" for place in range(len(said_by) - begin)]


def why_unfit(example: Example, form: RowForm) -> str | None:
    """Why a form cannot hold a row; None if it can."""
    if form.source is stepped and (example.images or sum(turn["from"] != "system" for turn in example.turns) > 1):
        return "stepwise rows are one text, without images and history"
    if form.source is not questions and not all(text.strip() for text in example.answers):
        return "the answer is empty without its thoughts"
    return None
