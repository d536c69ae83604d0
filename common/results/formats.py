"""The formats of a training file: a table of names, and for each the columns and the function that makes a row.

To add a format, write a row function, add a line to FORMATS and a test. ``--selected_format`` takes its choices and its
help from FORMATS, ``export.py`` writes each format as JSON, JSONL and Parquet, and adds the column ``images`` to a file
whose entries have images.

Columns are plain data: a string is the name of an Arrow type (or CONTENT), a list holds the type of its elements, a
dict the types of its keys.

>>> example = Example([{"from": "human", "value": "2+2?"}], [], ["4"])
>>> row_form("messages", pairs=False).row(example, Look())
{'messages': [{'role': 'user', 'content': '2+2?'}, {'role': 'assistant', 'content': '4'}]}
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Sequence

from ..errors import UsageError
from ..records import MARK, ROLES, Turn
from .reasoning import said
from .row_sources import Facts, Source, labelled, picks, questions, stepped

Row = Dict[str, Any]

TEXT = "string"
CONTENT = "content"  # of a message: a text, or a list of PART in a file with images
PART = {"type": TEXT, "text": TEXT}
TURN = {"from": TEXT, "value": TEXT}
MESSAGE = {"role": TEXT, "content": CONTENT}
TEXT_MESSAGE = {"role": TEXT, "content": TEXT}
KTO = {"prompt": [MESSAGE], "completion": [MESSAGE], "label": "bool"}
INFO = {"index": "int64", "entry_id": TEXT, "accepted": "int64", "of": "int64", "extra": TEXT}
PROMPTS = {
    "data_source": TEXT,
    "prompt": [TEXT_MESSAGE],
    "solution": TEXT,
    "reward_model": {"style": TEXT, "ground_truth": TEXT},
    "pass_rate": "double",
    "extra_info": INFO,
}


NO_FACTS: Facts = {}


class Example(NamedTuple):
    """What a row is made of: one selected answer, or one pair."""

    turns: list[Turn]  # the conversation up to the question, from human, gpt and system; a mark for each image
    images: list[str]  # in the order of their marks
    answers: list[str]  # the selected answer; of a pair, the chosen and the rejected one
    values: Sequence[Any] = ()  # of the columns of --selected_keys
    thoughts: Sequence[str] = ()  # of each answer, where they go into a field
    facts: Facts = NO_FACTS  # what else the row says, from the form's source
    name: Sequence[Any] = ()  # what --near_duplicates knows the row by


class Look(NamedTuple):
    """What all rows of a file share."""

    with_images: bool = False  # whether any entry of the file has images
    field: str | None = None  # the key of the thoughts in the assistant's messages, if any answer has thoughts there


class RowForm(NamedTuple):
    """How one kind of row looks: ``row(example, look)`` makes it, ``columns`` are its types.

    ``source`` says what the rows of a record are made of.
    """

    row: Callable[[Example, Look], Row]
    columns: Row
    source: Source = picks


class Format(NamedTuple):
    """A format: one line of help, and the forms of its rows; None where it cannot hold such rows."""

    help: str
    answers: RowForm | None = None
    pairs: RowForm | None = None
    thoughts: str = "field"  # where the thoughts go: field, or think (into the text), which has no field
    reader_marks: str = ""  # a pattern of what its readers take for media wherever it stands in a text
    odd_turns: str = "some chat templates (Gemma, Mistral) refuse such rows"  # what its readers do with odd turn orders


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


def arrow_columns(arrow: Any, form: RowForm, look: Look, more: Mapping[str, str]) -> Row:
    """The name and Arrow type of each column of a file; ``arrow`` is the module pyarrow, ``more`` the last columns."""
    columns = {**form.columns, **({"images": [TEXT]} if look.with_images else {}), **more}
    return {name: _arrow_type(arrow, column, look) for name, column in columns.items()}


def _arrow_type(arrow: Any, column: Any, look: Look) -> Any:
    """The Arrow type of a column, or of a part of one."""
    if isinstance(column, dict):
        more = {look.field: TEXT} if look.field and column == MESSAGE else {}
        return arrow.struct({key: _arrow_type(arrow, part, look) for key, part in {**column, **more}.items()})
    if isinstance(column, list):
        return arrow.list_(_arrow_type(arrow, column[0], look))
    if column == CONTENT:
        return _arrow_type(arrow, [PART] if look.with_images else TEXT, look)
    return arrow.type_for_alias(column)


# sharegpt, the form of the input: LLaMA-Factory's "Sharegpt Format" (its data/README.md), which ms-swift reads too


def sharegpt_row(example: Example, look: Look) -> Row:
    """A conversation that ends with the answer."""
    return {"conversations": [*example.turns, *map(_gpt_turn, example.answers)]}


def sharegpt_pair_row(example: Example, look: Look) -> Row:
    """LLaMA-Factory's ranking form: a conversation that ends with the question, and the two answers beside it."""
    chosen, rejected = map(_gpt_turn, example.answers)
    return {"conversations": example.turns, "chosen": chosen, "rejected": rejected}


def _gpt_turn(text: str) -> Turn:
    return {"from": "gpt", "value": text}


# messages, preference, completion, kto: "Dataset formats and types" of TRL's documentation (Language modeling,
# Preference, Prompt-completion, Unpaired preference, Vision)


def messages_row(example: Example, look: Look) -> Row:
    """TRL's conversational language modelling form."""
    return {"messages": prompt_messages(example, look) + answer_messages(example, look)}


def preference_row(example: Example, look: Look) -> Row:
    """TRL's conversational preference form with an explicit prompt."""
    chosen, rejected = answer_messages(example, look)
    return {"prompt": prompt_messages(example, look), "chosen": [chosen], "rejected": [rejected]}


def completion_row(example: Example, look: Look) -> Row:
    """TRL's conversational prompt-completion form: only the completion is trained."""
    return {"prompt": prompt_messages(example, look), "completion": answer_messages(example, look)}


def kto_row(example: Example, look: Look) -> Row:
    """TRL's conversational unpaired preference form."""
    return {**completion_row(example, look), "label": example.facts["label"]}


def prompt_messages(example: Example, look: Look) -> list[Row]:
    """The turns as messages, whose thoughts go where those of the answers go."""
    images_left = len(example.images)
    messages = []
    for turn in example.turns:
        role, text = ROLES[turn["from"]], turn["value"]
        if role == "assistant":
            thoughts, text = said(text) if look.field else ("", text)
            messages.append(assistant_message(text, thoughts, look))
            continue
        images = min(text.count(MARK), images_left) if role == "user" else 0
        messages.append(message(role, text, look.with_images, images))
        images_left -= images
    return messages


def answer_messages(example: Example, look: Look) -> list[Row]:
    """Each answer as a message of the assistant."""
    thoughts = example.thoughts or [""] * len(example.answers)
    return [assistant_message(text, before, look) for text, before in zip(example.answers, thoughts)]


def assistant_message(text: str, thoughts: str, look: Look) -> Row:
    """A message of the assistant. In a file with thoughts each one has their field: chat templates read no null."""
    return {**message("assistant", text, look.with_images), **({look.field: thoughts} if look.field else {})}


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


# swift: "Custom Dataset" of ms-swift's documentation: messages with a mark for each image


def swift_row(example: Example, look: Look) -> Row:
    """ms-swift's standard form."""
    return {"messages": text_messages([*example.turns, _gpt_turn(example.answers[0])])}


def swift_pair_row(example: Example, look: Look) -> Row:
    """ms-swift's form of preferences."""
    return {**swift_row(example, look), "rejected_response": example.answers[1]}


def text_messages(turns: Sequence[Turn]) -> list[Row]:
    """Turns as messages, whose contents are texts with marks."""
    return [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in turns]


# stepwise: "Stepwise supervision" of TRL's documentation, which is a form of plain texts


def stepwise_row(example: Example, look: Look) -> Row:
    """The texts before the answer as one text, the steps of the answer, and whether each is right."""
    prompt = "\n\n".join(turn["value"] for turn in example.turns)
    return {"prompt": prompt, "completions": example.facts["steps"], "labels": example.facts["labels"]}


# prompts: the columns of verl ("Prepare Data for Post-Training" of its documentation), of which TRL's GRPO trainer
# reads ``prompt``; its reward functions get the others, and its accuracy_reward reads ``solution``


def prompts_row(example: Example, look: Look) -> Row:
    """A question to train on with RL."""
    facts = example.facts
    return {
        "data_source": facts["data_source"],
        "prompt": text_messages(example.turns),
        "solution": facts["ground_truth"],
        "reward_model": {"style": "rule", "ground_truth": facts["ground_truth"]},
        "pass_rate": facts["pass_rate"],
        "extra_info": facts["info"],
    }


MEDIA = "<(?:image|video|audio)>"
SWIFT_MARKS = MEDIA + "|<img>.+?</img>"  # ms-swift looks for a path in the latter

FORMATS: dict[str, Format] = {
    "sharegpt": Format(
        "conversations of from and value, for LLaMA-Factory and ms-swift",
        answers=RowForm(sharegpt_row, {"conversations": [TURN]}),
        pairs=RowForm(sharegpt_pair_row, {"conversations": [TURN], "chosen": TURN, "rejected": TURN}),
        thoughts="think",
        reader_marks=SWIFT_MARKS,
        odd_turns="LLaMA-Factory leaves such rows out",
    ),
    "messages": Format(
        "messages of role and content, for TRL and axolotl",
        answers=RowForm(messages_row, {"messages": [MESSAGE]}),
    ),
    "preference": Format(
        "pairs as prompt, chosen and rejected messages, for TRL",
        pairs=RowForm(preference_row, {"prompt": [MESSAGE], "chosen": [MESSAGE], "rejected": [MESSAGE]}),
    ),
    "completion": Format(
        "prompt and completion messages, of which TRL trains only the completion",
        answers=RowForm(completion_row, {"prompt": [MESSAGE], "completion": [MESSAGE]}),
    ),
    "kto": Format(
        "good and bad answers as prompt, completion and label, for TRL's KTO",
        answers=RowForm(kto_row, KTO, labelled),
        pairs=RowForm(kto_row, KTO, labelled),
    ),
    "swift": Format(
        "messages with <image> marks, for pairs also rejected_response, for ms-swift",
        answers=RowForm(swift_row, {"messages": [TEXT_MESSAGE]}),
        pairs=RowForm(swift_pair_row, {"messages": [TEXT_MESSAGE], "rejected_response": TEXT}),
        thoughts="think",
        reader_marks=SWIFT_MARKS,
    ),
    "stepwise": Format(
        "prompt, completions (the steps) and labels, from a process reward model, for TRL",
        answers=RowForm(stepwise_row, {"prompt": TEXT, "completions": [TEXT], "labels": ["bool"]}, stepped),
        thoughts="think",
    ),
    "prompts": Format(
        "one question per entry with its reference and pass rate, for RL with TRL and verl",
        answers=RowForm(prompts_row, PROMPTS, questions),
        thoughts="think",
        reader_marks=MEDIA,
    ),
}
