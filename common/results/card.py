"""The card of a selected file: how it was made, in Markdown for people and for the Hub, and as data to make it again.

The same output and the same flags give the same card: it holds no date.

>>> recipe = {"output": "out.jsonl", "format": "sharegpt"}
>>> recipe_in(card_text("train.json", [Facts("Counts", [("rows", "2")])], "select ...", recipe, "mit")) == recipe
True
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Iterable, Iterator, Mapping, Sequence

from ..errors import UsageError
from ..patterns import regex
from .how_made import Facts, setting_rows, value_text

CARD = ".md"  # after the name of the selected file
STARTS = (b"---\n",)  # of a card
BLOCK = regex("^```json\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
KNOWN_LICENCE = regex("[a-z0-9][a-z0-9.-]*")  # the form of the Hub's names of licences


def card_text(name: str, facts: Sequence[Facts], command: str, recipe: Mapping[str, Any], licence: str | None) -> str:
    """The card of the file ``name``: Markdown after the Hub's metadata. ``recipe`` is what --verify needs."""
    parts = [
        "\n".join(_metadata(name, licence)),
        f"# {name}\n\nMade by rejection sampling: answers were sampled, scored and selected.",
        *(f"## {one.title}\n\n{_table(one.rows)}" for one in facts if one.rows),
        f"## Command\n\n```bash\n{command}\n```",
        f"## To make it again\n\n`rejection-sampling select --verify {name}` makes the file again from the output, and "
        f"compares each byte. It reads these values:\n\n```json\n{json.dumps(recipe, indent=1)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def recipe_in(card: str) -> dict[str, Any]:
    """The data of a card. ValueError if it has none."""
    blocks = BLOCK.findall(card)
    value = json.loads(blocks[-1]) if blocks else None
    if not isinstance(value, dict):
        raise ValueError("it holds no values to make the file again")
    return value


def read_recipe(selected_file: str) -> dict[str, Any]:
    """The data of the card beside a selected file. UsageError if there is none that can be read."""
    path = selected_file + CARD
    try:
        with open(path, encoding="utf-8") as file:
            return recipe_in(file.read())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--verify needs the card {path}, which is written with the file: {reason}") from error


def setting_facts(settings: Mapping[str, Any], servers: Mapping[str, Sequence[str]]) -> Iterator[Facts]:
    """What the settings of an output say of its generator and its scorer, and the servers of both."""
    common = [(name, value) for name, value in settings.items() if name.isidentifier() and _is_plain(value)]
    for role in ("generator", "scorer"):
        rows = list(setting_rows(settings, f"{role} "))
        rows += [("server", ", ".join(servers[role]))] if servers.get(role) else []
        yield Facts(role.capitalize(), rows)
    yield Facts("Run", [(name.replace("_", " "), value_text(value)) for name, value in common])


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _metadata(name: str, licence: str | None) -> Iterator[str]:
    """The dataset card metadata that the Hub documents (huggingface.co/docs/hub/datasets-cards), as YAML."""
    yield "---"
    if licence is not None:
        known = KNOWN_LICENCE.fullmatch(licence)
        yield f"license: {licence}" if known else f"license: other\nlicense_name: {json.dumps(licence)}"
    yield "tags:\n- rejection-sampling"
    yield f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {json.dumps(name)}"
    yield "---"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = ["| what | value |", "|---|---|"]
    return "\n".join(lines + [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows])


def _cell(text: str) -> str:
    """A text in a cell of a table: on one line, and nothing in it is mark-up."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", one_line)


def relative(path: str, card_folder: str) -> str:
    """A path as the card holds it: it stays true if both are moved together."""
    try:
        return os.path.relpath(os.path.realpath(path), os.path.realpath(card_folder))
    except ValueError:  # another drive
        return os.path.realpath(path)
