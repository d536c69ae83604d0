"""One HTML file that needs no network: its template, style, code, data and libraries.

The page's own policy lets only its own scripts run (by their SHA-256), and loads nothing. The texts of models reach it
as packed data. It shows them as text nodes, or as the HTML that markup.py made of them.

Example: ``write_page("report.html", "report", {"name": "out.jsonl"}, [("charts", {})])``
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import zlib
from typing import Any, Iterable, Iterator, NamedTuple, Sequence, Tuple

from ..errors import RunStopped
from ..extras import require
from ..storage.append_file import write_whole
from .markup import katex, missing_packages

HERE = os.path.dirname(os.path.abspath(__file__))
Data = Tuple[str, Any]  # a name, and a value for JSON; a text is packed before, by ``packed``


def require_packages() -> None:
    """Raises UsageError, with the command that installs it, if a package of the report is missing."""
    for package in ("plotly", "jinja2"):
        require(package, "--report_file", "report")


def write_page(path: str, kind: str, values: dict[str, Any], data: Iterable[Data]) -> None:
    """Writes a page of a kind ("report": its template is report.html, its code report.js) whole or not at all.

    ``values`` are the template's, ``data`` is what its code unpacks, by name.
    Raises UsageError without the packages, RunStopped if it cannot be written.
    """
    require_packages()
    try:
        write_whole(path, _pieces(kind, values, data))
    except OSError as error:
        raise RunStopped(f"cannot write {path}: {error.strerror}") from error


def packed(text: str) -> str:
    """A text compressed for DecompressionStream("deflate"), in base64, which holds no markup."""
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 6)).decode()


def _pieces(kind: str, values: dict[str, Any], data: Iterable[Data]) -> Iterator[bytes]:
    """The page in pieces."""
    jinja2 = require("jinja2", "--report_file", "report")
    plotly = require("plotly.offline", "--report_file", "report").get_plotlyjs()
    libraries = [_library(code) for code in (katex(), plotly) if code is not None]  # for formulas, for charts
    code = _file("page.js") + _file(f"{kind}.js")
    loader = jinja2.FunctionLoader(_file)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pieces: Iterable[str] = environment.get_template(f"{kind}.html").generate(
        **values,
        style=_file("report.css"),
        code=code,
        hashes=[_hash(code), *(library.hash for library in libraries)],
        packed_data=_packed_data(data, libraries),
        missing=missing_packages(),
    )
    for piece in pieces:
        yield piece.encode("utf-8", "replace")


class Library(NamedTuple):
    """A script of others: its hash for the page's policy, and its packed text."""

    hash: str
    packed: str


@functools.lru_cache(maxsize=2)
def _library(code: str) -> Library:
    return Library(_hash(code), packed(code))


def _file(name: str) -> str:
    """The text of a file beside this one."""
    with open(os.path.join(HERE, name), encoding="utf-8", newline="\n") as file:
        return file.read()


def _hash(code: str) -> str:
    """The SHA-256 (base64) by which the page's policy knows a script; no other script may run."""
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def _packed_data(data: Iterable[Data], libraries: Sequence[Library]) -> Iterator[tuple[str, str]]:
    """What page.js unpacks, by name: the data, and the libraries that draw texts and charts."""
    for name, value in data:
        yield name, value if isinstance(value, str) else packed(as_json(value))
    for library in libraries:
        yield "library", library.packed


def as_json(value: object) -> str:
    """Compact JSON. ValueError for a number that is not finite."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
