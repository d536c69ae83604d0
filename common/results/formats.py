"""The formats of a training file: a table of names, and for each the columns and the function that makes a row.

To add a format, write a row function, add a line to FORMATS and a test. ``--selected_format`` takes its choices and its
help from FORMATS, ``export.py`` writes each format as JSON, JSONL and Parquet, and adds the column ``images`` to a file
whose entries have images.

Columns are plain data: a string is the name of an Arrow type (or CONTENT), a list holds the type of its elements, a
dict the types of its keys.

>>> example = Example([{"from": "human", "value": "2+2?"}], [], ["4"])
>>> row_form("messages", pairs=False).row(example, False)
{'messages': [{'role': 'user', 'content': '2+2?'}, {'role': 'assistant', 'content': '4'}]}
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Sequence

from ..errors import UsageError
from ..records import MARK, ROLES, Turn

Row = Dict[str, Any]

TEXT = "string"
CONTENT = "content"  # of a message: a text, or a list of PART in a file with images
PART = {"type": TEXT, "text": TEXT}
TURN = {"from": TEXT, "value": TEXT}
MESSAGE = {"role": TEXT, "content": CONTENT}


class Example(NamedTuple):
    """What a row is made of: one selected answer, or one pair."""

    turns: list[Turn]  # the conversation up to the question, from human, gpt and system; a mark for each image
    images: list[str]  # in the order of their marks
    answers: list[str]  # the selected answer; of a pair, the chosen and the rejected one
    values: Sequence[Any] = ()  # of the columns of --selected_keys
    name: Sequence[Any] = ()  # what --near_duplicates knows the row by


class RowForm(NamedTuple):
    """How one kind of row looks: ``row(example, with_images)`` makes it, ``columns`` are its types.

    ``with_images`` says whether any entry of the file has images.
    """

    row: Callable[[Example, bool], Row]
    columns: Row


class Format(NamedTuple):
    """A format: one line of help, and the forms of its rows; None where it cannot hold such rows."""

    help: str
    answers: RowForm | None = None
    pairs: RowForm | None = None


def row_form(name: str, pairs: bool) -> RowForm:
    """The form of the rows of a format's file. UsageError if the format cannot hold pairs, or holds only pairs."""
    form = FORMATS[name].pairs if pairs else FORMATS[name].answers
    if form is not None:
        return form
    if not pairs:
        raise UsageError(f"--selected_format {name} holds pairs; add --select dpo")
    able = " or ".join(other for other, form in FORMATS.items() if form.pairs is not None)
    raise UsageError(f"--selected_format {name} does not hold pairs; for --select dpo use {able}")


def formats_help() -> str:
    """What each format is, for ``--help``."""
    return "; ".join(f"{name}: {form.help}" for name, form in FORMATS.items())


def arrow_columns(arrow: Any, form: RowForm, with_images: bool, more: Mapping[str, str]) -> Row:
    """The name and Arrow type of each column of a file; ``arrow`` is the module pyarrow, ``more`` the last columns."""
    columns = {**form.columns, **({"images": [TEXT]} if with_images else {}), **more}
    return {name: _arrow_type(arrow, column, with_images) for name, column in columns.items()}


def _arrow_type(arrow: Any, column: Any, with_images: bool) -> Any:
    """The Arrow type of a column, or of a part of one."""
    if isinstance(column, dict):
        return arrow.struct({key: _arrow_type(arrow, part, with_images) for key, part in column.items()})
    if isinstance(column, list):
        return arrow.list_(_arrow_type(arrow, column[0], with_images))
    if column == CONTENT:
        return _arrow_type(arrow, [PART] if with_images else TEXT, with_images)
    return arrow.type_for_alias(column)


# sharegpt, the form of the input: LLaMA-Factory's "Sharegpt Format" (its data/README.md), which ms-swift reads too


def sharegpt_row(example: Example, with_images: bool) -> Row:
    """A conversation that ends with the answer."""
    return {"conversations": [*example.turns, *map(_gpt_turn, example.answers)]}


def sharegpt_pair_row(example: Example, with_images: bool) -> Row:
    """LLaMA-Factory's ranking form: a conversation that ends with the question, and the two answers beside it."""
    chosen, rejected = map(_gpt_turn, example.answers)
    return {"conversations": example.turns, "chosen": chosen, "rejected": rejected}


def _gpt_turn(text: str) -> Turn:
    return {"from": "gpt", "value": text}


# messages and preference: "Dataset formats and types" of TRL's documentation (Language modeling, Preference, Vision)


def messages_row(example: Example, with_images: bool) -> Row:
    """TRL's conversational language modelling form."""
    return {"messages": prompt_messages(example, with_images) + answer_messages(example, with_images)}


def preference_row(example: Example, with_images: bool) -> Row:
    """TRL's conversational preference form with an explicit prompt."""
    chosen, rejected = answer_messages(example, with_images)
    return {"prompt": prompt_messages(example, with_images), "chosen": [chosen], "rejected": [rejected]}


def prompt_messages(example: Example, in_parts: bool) -> list[Row]:
    """The turns as messages; ``in_parts`` as for ``message``."""
    images_left = len(example.images)
    messages = []
    for turn in example.turns:
        role, text = ROLES[turn["from"]], turn["value"]
        images = min(text.count(MARK), images_left) if role == "user" else 0
        messages.append(message(role, text, in_parts, images))
        images_left -= images
    return messages


def answer_messages(example: Example, in_parts: bool) -> list[Row]:
    """Each answer as a message of the assistant."""
    return [message("assistant", text, in_parts) for text in example.answers]


def message(role: str, text: str, in_parts: bool, images: int = 0) -> Row:
    """One message. Its content is the text, or a list of parts, in which the first ``images`` marks are images.

    >>> message("user", "<image>What is it?", in_parts=True, images=1)["content"]
    [{'type': 'image'}, {'type': 'text', 'text': 'What is it?'}]
    """
    if not in_parts:
        return {"role": role, "content": text}
    if not images:
        return {"role": role, "content": [{"type": "text", "text": text}]}
    parts: list[Row] = []
    for place, piece in enumerate(text.split(MARK, images)):
        if place:
            parts.append({"type": "image"})
        if piece.strip():
            parts.append({"type": "text", "text": piece.strip("\n")})  # as the generator was shown it
    return {"role": role, "content": parts}


FORMATS: dict[str, Format] = {
    "sharegpt": Format(
        "conversations of from and value, for LLaMA-Factory and ms-swift",
        answers=RowForm(sharegpt_row, {"conversations": [TURN]}),
        pairs=RowForm(sharegpt_pair_row, {"conversations": [TURN], "chosen": TURN, "rejected": TURN}),
    ),
    "messages": Format(
        "messages of role and content, for TRL",
        answers=RowForm(messages_row, {"messages": [MESSAGE]}),
    ),
    "preference": Format(
        "pairs as prompt, chosen and rejected messages, for TRL",
        pairs=RowForm(preference_row, {"prompt": [MESSAGE], "chosen": [MESSAGE], "rejected": [MESSAGE]}),
    ),
}
