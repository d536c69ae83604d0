"""Packages that only some runs need: imported where they are, and named with their install command where they are not.

Example: ``need("pyarrow.parquet", "data/input.parquet", "parquet").ParquetFile("data/input.parquet")``
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from .errors import UsageError


def need(module: str, what: str, requirements: str) -> Any:
    """A module of an optional package; UsageError says that ``what`` needs it and how to install it."""
    package = module.split(".")[0]
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{what} needs {package}: pip install -r requirements/{requirements}.txt")
    return importlib.import_module(module)
