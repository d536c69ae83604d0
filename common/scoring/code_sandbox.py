"""Where an answer's code runs: under limits, in an empty folder, and if the system allows it in a sandbox.

Two sandboxes are known: ``unshare`` (the namespaces of Linux, which the toolkit enters by itself), and ``bubblewrap``
(its command ``bwrap``). In both, the code sees the system's programs and Python, read-only, and nothing else: no files
of the user, no other process, no network. ``none`` has only the limits. code_confine.py enters the sandbox.

Example: ``command("unshare", "/tmp/empty")`` is the command that starts code_child.py in the sandbox.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from typing import List, Tuple

from .code_confine import SHOWN, shown_paths

KINDS = ("unshare", "bubblewrap", "none")
HERE = os.path.dirname(os.path.abspath(__file__))
PROBE_LIMIT = 20  # seconds that a sandbox may take to start when it is tried


def command(kind: str, folder: str) -> List[str]:
    """The command that runs code_child.py in a sandbox; ``folder`` is empty."""
    script = [sys.executable, "-I", os.path.join(HERE, "code_confine.py"), kind, os.path.join(HERE, "code_child.py")]
    if kind != "bubblewrap":
        return [*script, folder]
    shown = [word for path in shown_paths() for word in ("--ro-bind", path, path)]
    shown += [word for name in script[2:5:2] for word in ("--ro-bind", name, name)]
    links = [word for path in SHOWN if os.path.islink(path) for word in ("--symlink", os.readlink(path), path)]
    inside = ["--tmpfs", "/", "--proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--dir", "/answer"]
    user = ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    ends = ["--unshare-all", *user, "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    return ["bwrap", *ends, *inside, *shown, *links, "--chdir", "/answer", "--", *script, "/answer"]


@functools.lru_cache(maxsize=None)
def works(kind: str) -> str:
    """Tries a sandbox once: "" if code runs in it, else why it does not."""
    if kind == "bubblewrap" and shutil.which("bwrap") is None:
        return "there is no command bwrap"
    if kind == "bubblewrap" and os.getuid() == 0:
        return "the system does not limit the number of root's processes in it"
    if kind == "unshare" and sys.platform != "linux":
        return "only Linux has namespaces"
    with tempfile.TemporaryDirectory() as folder:
        try:
            tried = subprocess.run(
                command(kind, folder),
                input=b"",
                capture_output=True,
                cwd=folder,
                env=environment(),
                timeout=PROBE_LIMIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if tried.stdout == b"{}\n" and tried.returncode == 0:
        return ""
    said = tried.stderr.decode(errors="replace").strip().split("\n")[-1]
    return said or f"exit code {tried.returncode}"


def find_sandbox(wish: str) -> Tuple[str, str]:
    """(the sandbox that is used, why no other is) for ``--sandbox``'s value: ``auto`` takes the first that works."""
    if wish != "auto":
        return wish, works(wish)
    problems = []
    for kind in KINDS[:-1]:
        problem = works(kind)
        if not problem:
            return kind, ""
        problems.append(f"{kind}: {problem}")
    return "none", "; ".join(problems)


def environment() -> dict[str, str]:
    """The environment of a sandbox's first process; the answer's code gets none of it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "ANSWER_USER": str(os.getpid())}
