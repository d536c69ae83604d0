"""The table of formats: what export.py and the command line rely on holds for each of them, and for each to come."""

from __future__ import annotations

from typing import Any

import pyarrow
import pytest

from common.errors import UsageError
from common.results.formats import FORMATS, Example, Look, RowForm, arrow_columns, formats_help, row_form

FORMS = [
    pytest.param(name, form, pairs, id=f"{name}-{'pairs' if pairs else 'answers'}")
    for name, each in FORMATS.items()
    for form, pairs in ((each.answers, False), (each.pairs, True))
    if form is not None
]


def example(pairs: bool, images: bool) -> Example:
    turns = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "<image>" * images + "What is it?"}]
    facts = {"label": True, "steps": ["A cat."], "labels": [True], "ground_truth": "A cat.", "pass_rate": 0.5}
    facts.update(data_source="me", info={"index": 1, "entry_id": "a", "accepted": 1, "of": 2, "extra": "{}"})
    return Example(turns, ["cat.png"] * images, ["A cat.", "A dog."] if pairs else ["A cat."], facts=facts)


@pytest.mark.parametrize("look", [Look(), Look(with_images=True), Look(field="thinking")])
@pytest.mark.parametrize(("name", "form", "pairs"), FORMS)
def test_rows_have_the_columns_of_their_format_and_hold_the_question_and_the_answers(
    name: str, form: RowForm, pairs: bool, look: Look
) -> None:
    schema = pyarrow.schema(arrow_columns(pyarrow, form, look, {}))
    row = form.row(example(pairs, look.with_images), look)
    assert list(row) == list(form.columns)
    stored = pyarrow.Table.from_pylist([row], schema=schema).select(list(row)).to_pylist()[0]
    assert stripped(stored) == stripped(row)
    for text in ("What is it?", "A cat.", *(["A dog."] if pairs and name != "kto" else [])):
        assert text in str(row)


def stripped(value: Any) -> Any:
    """The value without the nulls that Arrow puts where an object has no such key."""
    if isinstance(value, dict):
        return {key: stripped(part) for key, part in value.items() if part is not None}
    return [stripped(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "form", "pairs"), FORMS)
def test_a_form_is_found_by_name_and_kind(name: str, form: RowForm, pairs: bool) -> None:
    assert row_form(name, pairs) is form


def test_a_format_that_cannot_hold_the_selection_is_refused_with_those_that_can() -> None:
    with pytest.raises(UsageError, match=r"--selected_format messages .*--select dpo.*sharegpt or preference"):
        row_form("messages", pairs=True)
    with pytest.raises(UsageError, match=r"--selected_format preference holds pairs; add --select dpo"):
        row_form("preference", pairs=False)


def test_each_format_has_a_line_of_help_and_some_rows() -> None:
    for name, each in FORMATS.items():
        assert each.help
        assert "\n" not in each.help
        assert f"{name}: {each.help}" in formats_help()
        assert each.answers is not None or each.pairs is not None
