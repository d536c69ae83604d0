"""Optional packages: imported where a run uses them, and named with their install command where they are missing.

Example: ``require("pyarrow.parquet", "data/input.parquet", "parquet").ParquetFile("data/input.parquet")``
"""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import sys
from typing import Any

from .errors import UsageError

EXTRAS = {  # the same as requirements/NAME.txt and the extras of the package; a test compares them
    "clean": ("rensa>=0.5,<0.6",),
    "config": ("pyyaml>=5.3,<7", 'tomli>=1.1,<3; python_version < "3.11"'),
    "hub": ("huggingface_hub>=0.30,<3",),
    "local": ("xllamacpp==2026.10.11549",),
    "math": ("math-verify[antlr4_13_2]==0.9.0",),
    "parquet": ("pyarrow>=14.0.1,<30",),
    "ray": ("ray>=2.60,<3",),
    "report": ("plotly>=5.24,<8", "jinja2>=3.1,<4", "cmarkgfm>=2024.11.20,<2027", "pygments>=2.15,<3"),
    "zstd": ("zstandard>=0.22,<1",),
}
# the oldest Python that an extra's packages need
NEWER_PYTHON = {"clean": (3, 9), "local": (3, 10), "math": (3, 10), "ray": (3, 10)}


def install_command(extra: str) -> str:
    """The command that installs an extra, from any folder; with a hint where this Python is too old for it."""
    oldest = NEWER_PYTHON.get(extra, (3, 8))
    hint = "" if sys.version_info >= oldest else f" (needs Python {oldest[0]}.{oldest[1]} or newer)"
    return f"pip install {' '.join(map(shlex.quote, EXTRAS[extra]))}{hint}"


def check_installed(module: str, user: str, extra: str) -> None:
    """UsageError if an optional package is missing: ``user`` (a flag or a file) needs it, and how to install it."""
    package = module.split(".")[0]
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{user} needs the package {package}: {install_command(extra)}")


def require(module: str, user: str, extra: str) -> Any:
    """The module of an optional package; UsageError as ``check_installed`` raises it."""
    check_installed(module, user, extra)
    try:
        return importlib.import_module(module)
    except ImportError as error:  # it is installed, but broken
        raise UsageError(f"{user} cannot import {module} ({error}): {install_command(extra)}") from error
