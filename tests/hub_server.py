"""A Hub on this machine: it speaks as much of the Hub's API as a commit needs, and keeps what is sent.

Example: ``with hub_server() as hub: run_script("score.py", ..., HF_ENDPOINT=hub.url, HF_TOKEN="t")``
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Iterator, List, Tuple


class Hub:
    """What was sent: the requests, the repositories that were made, and the files of the last commit."""

    def __init__(self, status: int) -> None:
        self.status = status  # of each reply to a commit
        self.url = ""
        self.requests: List[Tuple[str, str]] = []
        self.made: List[Dict[str, Any]] = []
        self.keys: List[str] = []
        self.files: Dict[str, bytes] = {}

    def reply(self, path: str, body: bytes) -> Tuple[int, Dict[str, Any]]:
        if path == "/api/repos/create":
            self.made.append(json.loads(body))
            return 200, {"url": f"{self.url}/datasets/me/data"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/datasets/me/data/preupload/main":
            files = [{"path": one["path"], "uploadMode": "regular"} for one in json.loads(body)["files"]]
            return 200, {"files": [{**one, "shouldIgnore": False} for one in files]}
        if path == "/api/datasets/me/data/commit/main":
            if self.status != 200:
                return self.status, {"error": "no right to write"}
            values = [one["value"] for one in map(json.loads, body.splitlines()) if one["key"] == "file"]
            self.files = {one["path"]: base64.b64decode(one["content"]) for one in values}
            return 200, {"commitUrl": f"{self.url}/datasets/me/data/commit/{'a' * 40}", "commitOid": "a" * 40}
        return 404, {"error": f"no {path}"}


@contextlib.contextmanager
def hub_server(status: int = 200) -> Iterator[Hub]:
    """A Hub that runs during the block."""
    hub = Hub(status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((self.command, path))
            hub.keys.append(self.headers.get("authorization", ""))
            code, value = hub.reply(path, self.rfile.read(int(self.headers.get("content-length") or 0)))
            text = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
