"""Cells of CSV and TSV files: texts that may hold a list or an object as JSON.

A cell stays the text that it is (so it is kept unchanged) until a reader of columns needs what it holds.

>>> opened(Cell('["a.png"]')), opened(Cell("[not JSON]")), opened('["a text of a JSON file"]')
(['a.png'], '[not JSON]', '["a text of a JSON file"]')
"""

from __future__ import annotations

import json


class Cell(str):
    """The text of a cell."""


def opened(value: object) -> object:
    """The list or object that a cell holds as JSON; any other value as it is."""
    if not isinstance(value, Cell) or value[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
