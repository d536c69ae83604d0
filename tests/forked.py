"""Runs a script's command in a forked process that has its modules already: a run takes a tenth of the time.

The process can be killed with kill -9 at its n-th opening, renaming or removing of a file in a folder.

Example: ``run = forked("sample", ["--input_file", ...], folder, kill_at=3); assert run.returncode == -9``
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import common.cli.build  # a forked process has all that a run imports
import common.running.run
import common.running.selected_card
import common.servers.connection
import common.servers.discovery  # noqa: F401
from common.cli.commands import COMMANDS, run_command

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.forked"])


def forked(name: str, words: Sequence[object], folder: Path, kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, or to the ``kill_at``-th step with a file in ``folder``."""
    with tempfile.TemporaryDirectory() as pipes:
        said = [Path(pipes, stream) for stream in ("stdout", "stderr")]
        flags = [str(word) for word in words]
        process = CONTEXT.Process(target=_child, args=(name, flags, str(folder), kill_at, list(map(str, said))))
        process.start()
        process.join()
        texts = [path.read_text() for path in said]
        return subprocess.CompletedProcess(flags, process.exitcode or 0, *texts)


def _child(name: str, words: List[str], folder: str, kill_at: int, streams: List[str]) -> None:
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    steps = 0

    def hook(event: str, args: Tuple[Any, ...]) -> None:
        nonlocal steps
        if event in ("open", "os.rename", "os.remove") and str(args[0]).startswith(folder):
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    if kill_at:
        sys.addaudithook(hook)
    code = run_command(name, COMMANDS[name].script, words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
