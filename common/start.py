"""The start of every command. It imports only the standard library, so a missing package is one line.

Example: ``sys.exit(start("sample"))`` runs sampling.py; ``start()`` runs ``rejection-sampling COMMAND``.
"""

from __future__ import annotations

import gc
import os
import sys

from .errors import printable
from .streams import end_at_once, flush_all, open_all, say

PACKAGE = os.path.dirname(os.path.abspath(__file__))
PROG = "rejection-sampling"


def start(command: str | None = None) -> int:
    """Runs a command with this process's arguments and returns its exit code."""
    prog = printable(os.path.basename(sys.argv[0])) if command else PROG
    end_at_once(prog)
    gc.set_threshold(100_000, 20, 100)  # by default, imports take a twentieth longer, and a run a tenth
    open_all()
    try:
        return _run(command, prog)
    finally:
        flush_all()


def _run(command: str | None, prog: str) -> int:
    try:
        from .cli.commands import main, run_command

        return run_command(command, prog, sys.argv[1:]) if command else main(prog, sys.argv[1:])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(os.path.basename(PACKAGE)):
            raise
        say(f"{prog}: error: the package {error.name} is missing: {_install_command()}", sys.stderr)
        return 2


def _install_command() -> str:
    """Installs what the toolkit needs: from the file of a clone, or with the installed package."""
    requirements = os.path.join(os.path.dirname(PACKAGE), "requirements.txt")
    return f"pip install -r {requirements}" if os.path.exists(requirements) else f"pip install --force-reinstall {PROG}"
