"""A stub of OpenAI's Batch API on the loopback: ``/v1/files`` and ``/v1/batches``.

Example:
    with BatchServer(lambda request: completion("4")) as server:
        run_script("sampling.py", "--batch_submit", "--port", server.port, ...)
    assert len(server.batches) == 1
"""

from __future__ import annotations

import json
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Optional

from tests.scripted_server import Reply, Request, Script

Line = Dict[str, Any]


def answered(requests: List[Line], script: Script, first: int = 0) -> List[Line]:
    """The line of replies to each line of requests."""
    lines = []
    for number, line in enumerate(requests):
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        reply = script(Request(first + number, line["body"], {}))
        response = {"status_code": reply.status, "request_id": f"r{number}", "body": reply.body}
        lines.append({"id": f"b{number}", "custom_id": line["custom_id"], "response": response, "error": None})
    return lines


class BatchServer:
    """Answers each batch by ``script`` as soon as it is created, in an order of its own.

    ``hook`` is called before each reply with the method, the path and the number of such calls so far, and may return
    another reply, or None to drop the connection after the work was done.
    """

    def __init__(self, script: Script, hook: Optional[Callable[[str, str, int], Any]] = None) -> None:
        self.script = script
        self.hook = hook or (lambda *_: True)
        self.files: Dict[str, bytes] = {}
        self.batches: List[Dict[str, Any]] = []
        self.requests: List[Line] = []  # of all batches
        self.calls: List[str] = []
        self.keys: List[Optional[str]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> BatchServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def work(self, method: str, path: str, body: bytes) -> Reply:
        """What a call does."""
        if (method, path) == ("POST", "/v1/files"):
            content = re.search(rb'name="file".*?\r\n\r\n(.*?)\r\n--', body, re.S)
            assert content is not None
            assert b'name="purpose"\r\n\r\nbatch\r\n' in body
            return Reply({"id": self._store(content.group(1)), "object": "file"})
        if (method, path) == ("POST", "/v1/batches"):
            return Reply(self._create(json.loads(body)))
        if path == "/v1/batches":
            return Reply({"object": "list", "data": self.batches[::-1], "has_more": False})
        if path.startswith("/v1/batches/"):
            return Reply(next(batch for batch in self.batches if batch["id"] == path.split("/")[-1]))
        found = re.fullmatch("/v1/files/(.*)/content", path)
        return Reply(self.files[found.group(1)]) if found else Reply({"error": "Not Found"}, 404)

    def _store(self, content: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return name

    def _create(self, wanted: Dict[str, Any]) -> Dict[str, Any]:
        assert (wanted["endpoint"], wanted["completion_window"]) == ("/v1/chat/completions", "24h")
        lines = [json.loads(line) for line in self.files[wanted["input_file_id"]].splitlines()]
        replies = answered(lines, self.script, len(self.requests))
        self.requests += lines
        random.Random(1).shuffle(replies)
        good = [line for line in replies if line["response"]["status_code"] == 200]
        batch = {"id": f"batch-{len(self.batches)}", "status": "completed", **wanted}
        for kind, kept in (("output", good), ("error", [line for line in replies if line not in good])):
            text = "".join(json.dumps(line) + "\n" for line in kept).encode()
            batch[f"{kind}_file_id"] = self._store(text) if kept else None
        self.batches.append(batch)
        return batch

    def _handler(self) -> type:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_GET

        return Handler

    def _serve(self, http: BaseHTTPRequestHandler) -> None:
        path = http.path.partition("?")[0]
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0))
        if http.headers.get("Transfer-Encoding") == "chunked":
            body = _unchunked(http)
        with self._lock:
            self.calls.append(f"{http.command} {path}")
            self.keys.append(http.headers.get("Authorization"))
            reply = self.work(http.command, path, body)
            number = self.calls.count(self.calls[-1])
        other = self.hook(http.command, path, number)
        if other is None:
            http.close_connection = True
            return
        reply = reply if other is True else other
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        http.send_response(reply.status)
        http.send_header("Content-Length", str(len(data)))
        http.end_headers()
        http.wfile.write(data)


def _unchunked(http: BaseHTTPRequestHandler) -> bytes:
    pieces = []
    while True:
        size = int(http.rfile.readline(), 16)
        pieces.append(http.rfile.read(size))
        http.rfile.readline()
        if not size:
            return b"".join(pieces)
