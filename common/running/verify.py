"""Makes a selected file again from its output, by the values in its card, and compares each byte.

Example: ``verify("out/train.json", None)`` returns how many rows are the same, or raises RunStopped for the first that
is not.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import tempfile
from typing import Any, Iterator, Sequence

from ..errors import RunStopped, UsageError
from ..extras import require
from ..results.card import read_recipe
from ..results.cleaning.cleaner import Cleaner, Cleaning
from ..results.examples import RowOptions
from ..results.export import Extras, write_selected
from ..results.record_view import OutputReader
from ..results.selection import Selection
from ..storage.result_files import digest_of

PIECE = 1 << 20


def verify(selected_file: str, output_file: str | None) -> int:
    """The number of rows of a file, all of whose bytes are those that its output gives.

    ``output_file`` is the output if it is not where the card says. RunStopped if a byte differs, and the first row that
    does; UsageError if the card, the output or a file of test questions is missing, or is another one now.
    """
    if not os.path.isfile(selected_file):
        raise UsageError(f"--verify: there is no file {selected_file}")
    recipe = read_recipe(selected_file)
    folder = os.path.dirname(os.path.abspath(selected_file))
    try:
        output = output_file or os.path.join(folder, recipe["output"])
        cleaning = _cleaning(recipe["cleaning"], folder)
        selection = Selection(**recipe["selection"])
        rows, most = RowOptions(**recipe["rows"]), recipe.get("most_rows")  # older cards have no limit
        extras = Extras(recipe["keys"], recipe["order"], recipe["model"], rows, most)
        form, lowest = recipe["format"], recipe["lowest_score"]
    except (KeyError, TypeError) as error:
        raise UsageError(f"--verify: the card of {selected_file} lacks values: {error}") from error
    if not os.path.isfile(output):
        raise UsageError(f"--verify: the output {output} is missing; name it: select OUTPUT --verify {selected_file}")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        again = os.path.join(place, os.path.basename(selected_file))
        with _silent(write_selected.__module__), Cleaner(cleaning, again) as cleaner:
            records = OutputReader(output).records()
            made = write_selected(records, again, selection, form, extras, lowest, cleaner)
        if not _same(selected_file, again):
            raise RunStopped(f"{selected_file} is not what {output} gives: {_difference(selected_file, again)}")
    return made.rows


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """No warnings from a logger: the run that wrote the file gave them."""
    logger = logging.getLogger(name)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def cleaning_values(cleaning: Cleaning, relative: Any) -> dict[str, Any]:
    """The cleaning as a card holds it, with the digests of the files of test questions."""
    tests = [[relative(path), None if os.path.isdir(path) else digest_of(path)] for path in cleaning.decontaminate]
    return {**vars(cleaning), "decontaminate": tests}


def _cleaning(values: dict[str, Any], folder: str) -> Cleaning:
    """The cleaning of a card. UsageError if a file of test questions is missing, or holds something else now."""
    tests = []
    for name, digest in values["decontaminate"]:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            raise UsageError(f"--verify: the file of test questions {path} is missing")
        if digest is not None and digest_of(path) != digest:
            raise UsageError(f"--verify: {path} is not the file of test questions that was used")
        tests.append(path)
    return Cleaning(**{**values, "decontaminate": tests})


def _same(one: str, other: str) -> bool:
    """Whether two files have the same bytes."""
    with open(one, "rb") as first, open(other, "rb") as second:
        while True:
            piece = first.read(PIECE)
            if piece != second.read(PIECE):
                return False
            if not piece:
                return True


def _difference(path: str, again: str) -> str:
    """The first row that is not the same in the two files."""
    nothing = object()
    try:
        for number, (row, other) in enumerate(itertools.zip_longest(_rows(path), _rows(again), fillvalue=nothing), 1):
            if row is nothing:
                return f"it ends before row {number}"
            if other is nothing:
                return f"it goes on with row {number}, which the output does not give"
            if row != other:
                return f"row {number} is the first that differs"
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        return f"it cannot be read ({error})"
    return "its rows are the same, but not its bytes: another version of pyarrow may have written it"


def _rows(path: str) -> Iterator[Any]:
    """The rows of a selected file."""
    if path.endswith(".parquet"):
        for batch in require("pyarrow.parquet", path, "parquet").ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    skipped: Sequence[bytes] = () if path.endswith(".jsonl") else (b"[\n", b"]\n")
    with open(path, "rb") as file:
        yield from (line.lstrip(b",") for line in file if line not in skipped)
