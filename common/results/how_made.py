"""How an output was made: the settings beside it, its date, and the tokens that it took.

Example: ``how_made({"generator model": "m"}, "out.jsonl", totals)[0].rows``
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple

from ..storage.rewrite import settings_file
from ..storage.run_files import MIX

if TYPE_CHECKING:
    from .tally import Totals

MOST_MODELS = 8
LONGEST = 400  # characters of a value
TITLES = {"max_tokens": "largest max tokens"}  # of the runs: what a smaller limit did not cut is not sampled again


class Facts(NamedTuple):
    """Names and values under one title."""

    title: str
    rows: list[tuple[str, str]]


def how_made(settings: dict[str, Any], output_file: str, totals: Totals) -> list[Facts]:
    """What is known of the making of an output, without titles that have nothing to tell."""
    facts = [
        Facts("Output", list(_output(settings, output_file, totals))),
        Facts("Generator", [*setting_rows(settings, "generator "), *_sampling(settings), *_answers(totals)]),
        Facts("Scorer", [*setting_rows(settings, "scorer "), *_judging(totals)]),
    ]
    return [one for one in facts if one.rows]


def _output(settings: dict[str, Any], output_file: str, totals: Totals) -> Iterator[tuple[str, str]]:
    yield "file", output_file
    begun, written = _time_of(settings_file(output_file)), os.stat(output_file).st_mtime
    if begun is not None and begun <= written:  # else the files were copied
        yield "begun", time_text(begun)
    yield "last written", time_text(written)
    yield "questions", f"{totals.entries['output']:,}"
    yield "answers", f"{totals.answers['answered']:,}"
    if not settings:
        yield "settings", f"unknown: there is no {os.path.basename(output_file)}.settings.json that can be read"


def _time_of(path: str) -> float | None:
    """When a file was last changed; None if there is none."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def time_text(seconds: float) -> str:
    """A time to the minute.

    >>> time_text(0)
    '1970-01-01 00:00 UTC'
    """
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"


def setting_rows(settings: Mapping[str, Any], start: str) -> Iterator[tuple[str, str]]:
    """The settings of a role, without those that are not set; of several generators, a row for each."""
    for name, value in settings.items():
        if not name.startswith(start) or value in (None, {}, [], ""):
            continue
        if name == MIX and isinstance(value, list):
            yield from (generator_row(one) for one in value if isinstance(one, dict))
        else:
            yield name[len(start) :].replace("_", " "), value_text(value)


def generator_row(settings: Mapping[str, Any]) -> tuple[str, str]:
    """The name and the settings of one of several generators.

    >>> generator_row({"name": "cold", "weight": 1, "model": "a", "top_p": None, "temperature": 0.2})
    ('cold', 'weight 1, model a, temperature 0.2')
    """
    own = {name: value for name, value in settings.items() if name != "name" and value not in (None, {}, [], "")}
    return str(settings.get("name")), ", ".join(
        f"{name.replace('_', ' ')} {value_text(value)}" for name, value in own.items()
    )


def _sampling(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("answers_per_question", "max_tokens", "stop_after", "give_up_after", "accept_score"):
        if settings.get(name) is not None:
            yield TITLES.get(name, name.replace("_", " ")), value_text(settings[name])


def _answers(totals: Totals) -> Iterator[tuple[str, str]]:
    for model, answers in totals.models.most_common(MOST_MODELS):
        yield f"answers of {model[:LONGEST]}", f"{answers:,}"
    yield from _tokens(totals.tokens["prompts"], totals.tokens["answered"])


def _judging(totals: Totals) -> Iterator[tuple[str, str]]:
    yield from _tokens(totals.tokens["judge prompt_tokens"], totals.tokens["judge completion_tokens"])


def _tokens(prompts: int, completions: int) -> Iterator[tuple[str, str]]:
    if prompts or completions:
        yield "prompt tokens", f"{prompts:,}"
        yield "completion tokens", f"{completions:,}"


def value_text(value: object) -> str:
    """A setting as a person reads it.

    >>> value_text("model"), value_text(10.0), value_text(["a", 1])
    ('model', '10', '["a", 1]')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:LONGEST]
