"""The start of every command. It imports only the standard library, so a missing package is one line.

Example: ``sys.exit(start("sample"))`` runs sampling.py; ``start()`` runs ``rejection-sampling COMMAND``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

PACKAGE = Path(__file__).resolve().parent
PROG = "rejection-sampling"


def start(command: Optional[str] = None) -> int:
    """Runs a command with this process's arguments and returns its exit code."""
    prog = os.path.basename(sys.argv[0]) if command else PROG
    try:
        from .cli.commands import main, run_command
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(PACKAGE.name):
            raise
        print(f"{prog}: error: the package {error.name} is missing: {_install_command()}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: error: interrupted before the run began", file=sys.stderr)
        return 130
    return run_command(command, prog, sys.argv[1:]) if command else main(prog, sys.argv[1:])


def _install_command() -> str:
    """Installs what the toolkit needs: from the file of a clone, or with the installed package."""
    requirements = PACKAGE.parent / "requirements.txt"
    return f"pip install -r {requirements}" if requirements.exists() else f"pip install --force-reinstall {PROG}"
