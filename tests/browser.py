"""A real Chromium for tests, headless, driven over its own debugging socket.

Example: ``async with browser(tmp_path) as page: await page.open(path); assert await page.run("document.title")``

``python -m tests.browser`` installs one where it is missing (Debian or Ubuntu, as root).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, AsyncIterator

import aiohttp
import pytest

NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
PACKAGE = "chromium-headless-shell"
MISSING = f"the report's tests need a Chromium: apt-get install -y {PACKAGE}, or name one in $CHROMIUM"
PATIENCE = 60  # seconds until a browser that does not reply counts as broken
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def find_browser() -> str | None:
    """The path of a Chromium: $CHROMIUM, or the first of NAMES on the PATH; None if there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab. ``events`` holds all that the browser reported of it, as {"method", "params"}, oldest first.

    ``group`` is the process group of the browser.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, group: int) -> None:
        self.group = group
        self.events: list[dict[str, Any]] = []
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._listening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                self._waiting.pop(event["id"]).set_result(event)
            else:
                self.events.append(event)

    async def send(self, method: str, **params: Any) -> Any:
        """The result of a command of the DevTools protocol; RuntimeError if the browser refuses it."""
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        reply = await asyncio.wait_for(self._waiting[number], PATIENCE)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    async def run(self, code: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise; RuntimeError if it throws."""
        reply = await self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            raise RuntimeError(f"{code}: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    async def until(self, code: str) -> None:
        """Waits until a JavaScript expression is true, which it looks at every 20 ms."""
        look = f"const look = () => ({code}) ? done() : setTimeout(look, 20); look()"
        await self.run(f"new Promise((done) => {{ {look} }})")

    async def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Gives the page a width and height in CSS pixels, and a light or dark color scheme."""
        mobile = width < 600
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def open(self, url: str, ready: str = "document.documentElement.dataset.ready === 'yes'") -> None:
        """Opens a page and waits until ``ready`` is true in it."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && ({ready})")

    async def screenshot(self) -> bytes:
        """The whole page as a PNG."""
        return base64.b64decode((await self.send("Page.captureScreenshot", captureBeyondViewport=True))["data"])

    def requests(self) -> list[str]:
        """The addresses that the page requested."""
        return [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[dict[str, Any]]:
        """The messages in the console: exceptions, refusals by the page's policy, warnings, logs."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event["method"] in kinds]

    async def close(self) -> None:
        """Stops listening."""
        await self._socket.close()
        await self._listening


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """A tab of a new browser, with its profile in ``folder``. Without a Chromium the test is skipped, and says why.

    The browser and all its processes are gone when the block ends.
    """
    path = find_browser()
    if path is None:
        pytest.skip(MISSING)
    process = _start(path, folder / "profile")
    try:
        async with aiohttp.ClientSession() as session:
            port = await asyncio.wait_for(_port(process, folder / "profile" / "DevToolsActivePort"), PATIENCE)
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                tabs = await response.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket, process.pid)
                yield page
                await page.close()
    finally:
        await _end(process)


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the whole group: Debian's command is a shell script, which would die alone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        while True:
            os.killpg(process.pid, 0)
            await asyncio.sleep(0.01)


def _start(path: str, profile: Path) -> subprocess.Popen[bytes]:
    command = [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=nowhere, stderr=nowhere, start_new_session=True)


async def _port(process: subprocess.Popen[bytes], file: Path) -> int:
    """The port that the browser writes to ``file`` once it listens."""
    while not _first_line(file):
        assert process.poll() is None, f"the browser ended with exit code {process.returncode}"
        await asyncio.sleep(0.02)
    return int(_first_line(file))


def _first_line(file: Path) -> str:
    """The first line of a file, once it is whole."""
    return file.read_text().partition("\n")[0] if file.exists() and "\n" in file.read_text() else ""


def install() -> int:
    """Installs a Chromium where there is none; the exit code."""
    if find_browser():
        return 0
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(MISSING, file=sys.stderr)
        return 1
    subprocess.run(["apt-get", "update", "-qq"], check=False)
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", PACKAGE]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(install())
