"""Enters the sandbox and the limits in which an answer's code runs, and then runs code_child.py. It is a script.

It needs only the standard library, and little of it, because it starts once per answer. See code_sandbox.py.

Example: ``python -I code_confine.py none code_child.py /tmp/empty`` waits for requests under the limits only.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any, List, Optional

MEMORY = 2 << 30  # bytes of address space per process, and of memory of all processes of an answer
PROCESSES = 64  # processes and threads of an answer
FILE_BYTES = 16 << 20  # of a file, and so of an answer's output
FOLDER_BYTES = 64 << 20  # of all files
SHOWN = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives", "/etc/ld.so.cache")
DEVICES = ("null", "zero", "full", "random", "urandom")
PRELOADED = (  # by root, where there is no sandbox
    "array bisect cmath collections copy ctypes dataclasses datetime decimal fractions functools hashlib heapq "
    "itertools json math operator random re resource signal statistics string threading types typing"
).split()
OWN_USERS = 1 << 20  # root gives each answer a user of its own: this number plus a process id

NEW_MOUNTS, NEW_HOST, NEW_IPC, NEW_USERS, NEW_PIDS, NEW_NETWORK = 1 << 17, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30
READ_ONLY, NO_SETUID, NO_DEVICES, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 32, 4096, 1 << 14, 1 << 18
KEPT_FLAGS = NO_SETUID | NO_DEVICES | 8 | 1024 | 2048  # of a mount: a user namespace may not clear them
DETACH = 2
PARENT_DEATH, NO_DUMP, NO_NEW_RIGHTS = 1, 4, 38  # of prctl


def shown_paths() -> List[str]:
    """The folders and files that code in a sandbox sees: the system's programs, and this Python."""
    own = {sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    found = [path for path in SHOWN if os.path.exists(path) and not os.path.islink(path)]
    for path in sorted(own):
        if not any(path == one or path.startswith(one + "/") for one in found):
            found.append(path)
    return found


def libc() -> Any:
    """The system's C library."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def protect() -> None:
    """Keeps other processes of the same user from reading this one's memory, where the system can do so."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        libc().prctl(NO_DUMP, 0, 0, 0, 0)


def enter(root: str) -> None:
    """Goes on in a process that sees no other process, no network, and only ``shown_paths``; ``root`` is empty.

    The caller's process waits for the end of that one, and exits. OSError if the system does not allow it.
    """
    library, uid, gid = libc(), os.getuid(), os.getgid()
    flags = NEW_MOUNTS | NEW_HOST | NEW_IPC | NEW_PIDS | NEW_NETWORK | (NEW_USERS if uid else 0)
    _checked(library.unshare(flags), "unshare")
    if uid:
        _map_user(uid, gid)
    _build_root(library, root)
    _fork_and_wait(library)  # the first process of the new namespace: its end ends all others
    with contextlib.suppress(OSError):  # a container may not allow it; Python does not need it
        _mount(library, "proc", root + "/proc", "proc", NO_SETUID | NO_DEVICES | 8)
    os.chdir(root)
    _checked(library.pivot_root(b".", b"."), "pivot_root")
    _checked(library.umount2(b".", DETACH), "umount2")
    os.chdir("/answer")
    _fork_and_wait(library)
    _give_up_rights(library)


def _map_user(uid: int, gid: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _mount(library: Any, source: str, target: str, kind: Optional[str], flags: int, data: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _checked(library.mount(*words, _long(flags), os.fsencode(data)), f"mount {source}")


def _long(number: int) -> Any:
    import ctypes

    return ctypes.c_ulong(number)


def _build_root(library: Any, root: str) -> None:
    """Makes a file system in memory with the shown paths, and an empty folder ``/answer``."""
    _mount(library, "none", "/", None, RECURSIVE | PRIVATE)
    _mount(library, "tmpfs", root, "tmpfs", NO_SETUID | NO_DEVICES, f"size={FOLDER_BYTES},mode=755")
    for path in [*shown_paths(), *(f"/dev/{name}" for name in DEVICES)]:
        _show(library, path, root + path)
    for path in filter(os.path.islink, SHOWN):
        os.symlink(os.readlink(path), root + path)
    for name in ("answer", "tmp", "proc"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
        os.chmod(f"{root}/{name}", 0o777)


def _show(library: Any, path: str, target: str) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "w").close()
    _mount(library, path, target, None, BIND | RECURSIVE)
    if not path.startswith("/dev/"):
        kept = os.statvfs(target).f_flag & KEPT_FLAGS
        _mount(library, path, target, None, BIND | REMOUNT | READ_ONLY | NO_SETUID | kept)


def _fork_and_wait(library: Any) -> None:
    """Goes on in a child; this process waits for it, and for what the child leaves behind, and exits as it did."""
    child = os.fork()
    if child == 0:
        library.prctl(PARENT_DEATH, 9, 0, 0, 0)
        return
    for number in range(3):
        os.close(number)
    ended, status = os.wait()
    while ended != child:
        ended, status = os.wait()
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def _give_up_rights(library: Any) -> None:
    import ctypes

    become_nobody()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _checked(library.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def become_nobody() -> None:
    """Root becomes a user of its own, whose processes the system counts; any other user stays."""
    if os.getuid() == 0:
        own = OWN_USERS + int(os.environ["ANSWER_USER"])
        os.setgroups([])
        os.setgid(own)
        os.setuid(own)


def limit(processes: int) -> None:
    """Sets the limits of this process, and of those that it starts."""
    import resource

    limits = [("AS", MEMORY), ("FSIZE", FILE_BYTES), ("CORE", 0), ("NOFILE", 256), ("NPROC", processes)]
    for name, most in limits:
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


def running_tasks() -> int:
    """The processes and threads of this user: the system counts them against the limit."""
    count, uid = 0, os.getuid()
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


def main(kind: str, child: str, folder: str) -> None:
    """Enters the sandbox, and runs the script ``child`` there."""
    with open(child, encoding="utf-8") as file:
        code = compile(file.read(), "code_child.py", "exec")
    others = running_tasks() if os.getuid() and kind != "bubblewrap" else 0
    if kind == "unshare":
        enter(folder)
    elif os.getuid() == 0:
        for name in PRELOADED:  # the user of its own may not see where Python is
            importlib.import_module(name)
        os.chown(folder, OWN_USERS + int(os.environ["ANSWER_USER"]), -1)
        become_nobody()
    limit(others + PROCESSES)
    with contextlib.suppress(ImportError, OSError, AttributeError):
        libc().prctl(NO_NEW_RIGHTS, 1, 0, 0, 0)
    os.environ.clear()
    sys.argv[:] = ["answer"]
    exec(code, {"__name__": "__main__", "__builtins__": __builtins__})


if __name__ == "__main__":
    main(*sys.argv[1:])
