"""Asks a real server what matters to this toolkit, through the scripts, and keeps its replies for the tests.

Each check runs sampling.py or score.py as a command. The requests pass through a loopback server that forwards and
records them: ``tests/recorded/NAME.json`` holds them with what the user saw. Without ``--base_url`` it only prints the
tables of what was recorded. A key that the server wants is read from OPENAI_API_KEY.

Example: ``python -m benchmarks.compatibility --base_url http://127.0.0.1:8001/v1 --model_name smollm2 --name vllm \\
    --server "vLLM 0.32.0 (CPU)"``
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import struct
import tempfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Sequence
from urllib.parse import urlsplit

from common.servers.replies import error_message, is_retryable
from tests.helpers import ROOT, conversation, read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, Script, ScriptedServer

RECORDED = ROOT / "tests" / "recorded"
HEADERS = ("Content-Type", "Retry-After")
SHOWN = 300  # characters of a text in a recorded request: no test reads more
SAMPLE = "--answers_per_question 1 --max_tokens 8"
SCORE = "--scorer judge --score_max 9"

Exchange = Dict[str, Any]
Seen = Dict[str, Any]


def png(side: int = 32) -> bytes:
    """A grey picture."""
    rows = (b"\0" + b"\x80" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@dataclass
class Check:
    """One thing to ask: a row of the table, and the command that asks it. ``runs`` times, each with its own output."""

    row: str
    flags: str = SAMPLE
    script: str = "sampling.py"
    question: str = "Say hi."
    images: List[str] = field(default_factory=list)
    model: str = ""  # another name than the server's
    key: str = ""  # another key than the server's
    runs: int = 1
    prompt: str = ""  # the judge's, where ours is too much for a small model


BRIEF = "Question: {question}\nAnswer: {answer}\nReply in JSON: one word of reasoning, then a score from 0 to 9."
BROKEN = "data:image/png;base64," + base64.b64encode(b"\x89PNG no more than that").decode()
LOCAL = '{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/hostname"}}]}]}'
CHECKS = {
    "n": Check("`--samples_per_request 4`", "--answers_per_question 4 --samples_per_request 4 --max_tokens 12"),
    "seed": Check("`--seed 1`, twice", "--answers_per_question 2 --seed 1 --max_tokens 12", runs=2),
    "logprob": Check("`--judge_mode logprob`", f"{SCORE} --judge_mode logprob --judge_max_tokens 2", "score.py"),
    "two_digits": Check(
        "the same, scores of two digits", "--judge_mode logprob --judge_max_tokens 2 --score_max 10", "score.py"
    ),
    "json": Check("`--judge_mode json`", f"{SCORE} --judge_mode json --judge_max_tokens 200", "score.py", prompt=BRIEF),
    "image": Check("an image", images=["grey.png"]),
    "broken_image": Check("a broken image", images=[BROKEN]),
    "lost_image": Check("an image's URL that leads nowhere", images=["http://127.0.0.1:9/cat.png"]),
    "local_image": Check("an image's `file:` URL, by `--extra_body`", f"{SAMPLE} --extra_body {LOCAL}"),
    "long": Check("a prompt of 3,000 words", question="Count the words: " + "word " * 3000),
    "max_tokens": Check("`--max_tokens 5000`", "--answers_per_question 1 --max_tokens 5000"),
    "bad_field": Check("`--extra_body` with a wrong type", f'{SAMPLE} --extra_body {{"top_p":"high"}}'),
    "model": Check("an unknown model", model="nope"),
    "key": Check("a wrong key", key="wrong"),
}


def run_check(check: Check, script: Script, model: str, key: str = "", question: str = "") -> Seen:
    """Runs a check's command against ``script``; the exit code, the line a user sees, and what the records hold."""
    seen: Seen = {"exit_code": 0, "line": ""}
    with tempfile.TemporaryDirectory() as name, ScriptedServer(script) as server:
        folder = Path(name)
        (folder / "grey.png").write_bytes(png())
        (folder / "judge.txt").write_text(check.prompt)
        for number in range(check.runs):
            output = folder / f"{number}.jsonl"
            flags: List[object] = ["--input_file", write_input(folder / "input.json", [entry(check, question)])]
            flags += ["--output_file", output, "--base_url", f"http://127.0.0.1:{server.port}/v1"]
            flags += ["--model_name", check.model or model, "--max_retries", 0, *check.flags.split(" ")]
            flags += ["--concurrent_requests" if check.script == "sampling.py" else "--concurrency", 1]
            flags += ["--judge_prompt", folder / "judge.txt"] if check.prompt else []
            run = run_script(check.script, *flags, OPENAI_API_KEY=check.key or key)
            seen["exit_code"] = run.returncode
            failed = read_lines(Path(f"{output}.errors.jsonl"))
            line = failed[0]["error"] if failed else run.stderr.strip().split("\n")[-1]
            seen["line"] = line.replace(f"127.0.0.1:{server.port}", "127.0.0.1:8000")
            for record in read_lines(output):
                for kind in ("answers", "scores"):
                    seen.setdefault(kind, []).extend(record.get(f"generated_{kind}") or [])
                seen["unscored"] = record["generated_details"][0].get("unscored", "")
    return {name: value for name, value in seen.items() if value not in ("", [])}


def entry(check: Check, question: str = "") -> Dict[str, Any]:
    """The input: a conversation, or for score.py a record with an answer to score."""
    if check.script == "sampling.py":
        return conversation(question or check.question, images=check.images)
    turns = conversation(question or "What is 2 + 2?", "4")["conversations"]
    return {"original_question": turns[0]["value"], "original_answers": turns, "generated_answers": ["2 + 2 is 4."]}


def forward(origin: str, kept: List[Exchange]) -> Script:
    """Hands each request on to the server at ``origin`` and appends it with its reply to ``kept``."""

    def script(request: Request) -> Reply:
        words = {name: request.headers[name] for name in ("Content-Type", "Authorization") if name in request.headers}
        asked = urllib.request.Request(f"{origin}{request.path}", json.dumps(request.body).encode(), words)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(asked, timeout=300) as answer:
                status, headers, data = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, headers, data = error.code, error.headers, error.read()
        data = re.sub(rb"/[^\s\"]*/site-packages/", b"site-packages/", data)  # whose machine it was matters to nobody
        heads = {name: headers[name] for name in HEADERS if name in headers}
        sent = {"path": request.path, **short(request.body)}
        kept.append({"sent": sent, "status": status, "headers": heads, "body": parsed(data.decode())})
        return Reply(data, status, heads)

    return script


def replay(exchanges: Sequence[Exchange]) -> Script:
    """A script that answers with the recorded replies, one after another."""
    left = iter(exchanges)

    def script(_: Request) -> Reply:
        return reply_of(next(left))

    return script


def reply_of(exchange: Exchange) -> Reply:
    """A recorded reply as the server sent it."""
    return Reply(exchange["body"], exchange["status"], exchange["headers"])


def parsed(text: str) -> Any:
    """JSON as what it holds, any other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def short(value: Any) -> Any:
    """A request with its long texts cut: no test reads them."""
    if isinstance(value, dict):
        return {name: short(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [short(inner) for inner in value]
    return value[:SHOWN] + "..." if isinstance(value, str) and len(value) > SHOWN else value


def cell(name: str, checks: Dict[str, Any]) -> str:
    """What a check came to, in a few words."""
    seen, exchanges = checks[name]["seen"], checks[name]["exchanges"]
    answers, line, last = seen.get("answers", []), seen.get("line", ""), exchanges[-1]
    status = last["status"]
    if "judge by --judge_mode" in line:
        return "no: the run stops and says so"
    if re.match(r"(sampling|score)\.py: error", line):
        return f"{status}: the run stops"
    if line:
        again = is_retryable(status, error_message(json.dumps(last["body"]).encode()))
        return f"{status}: {'tried again, then ' if again else ''}the entry fails"
    if name == "n":
        requests = "1 request" if len(exchanges) == 1 else f"{len(exchanges)} requests"
        alike = ", all alike" if len(set(answers)) == 1 else ""
        counted = exchanges[0]["body"]["usage"]["completion_tokens"]
        cut = all(choice["finish_reason"] == "length" for choice in exchanges[0]["body"]["choices"])
        alone = ", the tokens of one counted" if len(exchanges) == 1 and cut and counted == 12 else ""
        return f"{len(answers)} answers in {requests}{alike}{alone}"
    if name == "seed":
        alike = ", all alike" if len(set(answers)) == 1 else ""
        return ("the same answers" if answers[:2] == answers[2:] else "other answers") + alike
    if CHECKS[name].script == "score.py":
        return "a score" if seen["scores"] != [None] else f"no score: {seen['unscored']}"
    text_alone = checks["n"]["exchanges"][0]["body"]["usage"]["prompt_tokens"]
    ignored = CHECKS[name].images and last["body"]["usage"]["prompt_tokens"] == text_alone
    return "answered, the image ignored" if ignored else "answered"


def recordings() -> Dict[str, Any]:
    """What was recorded, by the name of its file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDED.glob("*.json"))}


def table(found: Dict[str, Any]) -> str:
    """The cells in Markdown, a column a server."""
    heads = [one["server"] for one in found.values()]
    rows = [["", *heads]]
    for name, check in CHECKS.items():
        cells = [cell(name, one["checks"]) if name in one["checks"] else "" for one in found.values()]
        rows.append([check.row, *cells])
    said = [" ".join(f"| {text} |" for text in row).replace("| |", "|").replace("  ", " ") for row in rows]
    return "\n".join([said[0], "|---" * len(rows[0]) + "|", *said[1:]])


def lines(found: Dict[str, Any]) -> str:
    """The very lines that a user saw, in Markdown, a table a server."""
    parts = []
    for one in found.values():
        parts.append(f"## {one['server']}\n\n{one['started']}\n\n| asked for | exit | the line |\n|---|---|---|")
        for name, recorded in one["checks"].items():
            seen = recorded["seen"]
            said = seen.get("line", "").replace("|", "\\|").replace("`", "'")
            if said:
                parts[-1] += f"\n| {CHECKS[name].row} | {seen['exit_code']} | `{said}` |"
    return "\n\n".join(parts)


def record(args: argparse.Namespace) -> None:
    """Asks the server and writes the file; checks that are not asked again stay as they were."""
    path = RECORDED / f"{args.name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"checks": {}}
    found = {"server": args.server, "started": args.started, "checks": found["checks"]}
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(args.base_url))
    for name in args.checks:
        kept: List[Exchange] = []
        seen = run_check(CHECKS[name], forward(origin, kept), args.model_name, os.environ.get("OPENAI_API_KEY", ""))
        found["checks"][name] = {"seen": seen, "exchanges": kept}
        print(f"| {CHECKS[name].row} | {cell(name, found['checks'])} |", flush=True)
    found["checks"] = {name: found["checks"][name] for name in CHECKS if name in found["checks"]}
    text = json.dumps(found, indent=1, ensure_ascii=False).replace(urlsplit(args.base_url).netloc, "127.0.0.1:8000")
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Records where a server is named, else prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--base_url", help="ends in /v1")
    parser.add_argument("--model_name", default="model")
    parser.add_argument("--name", default="server", help="of the file in tests/recorded/")
    parser.add_argument("--server", default="a server", help="name and version, the table's column")
    parser.add_argument("--started", default="", help="how it was started, in Markdown")
    parser.add_argument("--checks", nargs="+", choices=list(CHECKS), default=list(CHECKS))
    args = parser.parse_args()
    if args.base_url:
        record(args)
    else:
        print(f"{table(recordings())}\n\n{lines(recordings())}")


if __name__ == "__main__":
    main()
