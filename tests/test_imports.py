"""Imports inside the package go one way: from the command line down to the errors."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Tuple

from tests.helpers import ROOT, environment

PACKAGE = ROOT / "common"
LEVELS = [  # a folder, or a module beside the folders, may import from its own folder and from lower levels
    {"errors", "fast_json", "flag_types", "patterns", "streams", "__init__"},
    {"records", "images", "extras", "thinking", "steps"},
    {"input", "servers", "storage"},
    {"scoring", "results"},
    {"running"},
    {"cli"},
    {"start"},
    {"__main__"},
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}


def imports(path: Path) -> Iterator[Tuple[str, str]]:
    """(from, to) for each import of the package itself: folders, or modules beside them."""
    inside = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = inside[: len(inside) - node.level]
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            for name in names:
                target = base[0] if base else name
                yield inside[0], target if target in LEVEL else "__init__"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(module.split(".")[0] == "common" for module in modules), f"{path}: write a relative import"


def test_every_module_has_its_level_and_no_import_goes_up_or_sideways() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for source, target in imports(path):
            if source != target and not (LEVEL[target] < LEVEL[source] or LEVEL[source] == LEVEL[target] < 2):
                wrong.append(f"{path.relative_to(ROOT)} imports {target}")
    assert wrong == []


def test_the_flags_of_a_command_need_no_server_and_no_bar() -> None:
    slow = {"aiohttp", "jinja2", "plotly", "tenacity", "tqdm", "uvloop", "common.running.run"}
    code = f"import sys, common.cli.commands; print({slow} & sys.modules.keys())"
    words = [sys.executable, "-c", code]
    assert subprocess.check_output(words, cwd=ROOT, env=environment(), text=True) == "set()\n"
