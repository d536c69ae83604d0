"""Injects every fault a server, a disk or a kill can make into real runs, and prints what each did as a table.

Example: ``python -m tests.chaos --rounds 3``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from common.errors import ToolkitError
from common.input.conversations import entry_from_conversation
from common.records import PendingEntry
from common.running.generators import Generators
from common.running.job import Job, Pipeline
from common.running.run import run
from common.running.sampler import Sampler
from common.scoring import judge
from common.servers.client import ChatClient
from tests.helpers import ROOT, command, conversation, environment, read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ANSWERS, CONCURRENCY, RETRIES = 4, 4, 12
SHARE = 1 / 3  # of all replies are spoilt
HUGE = b'{"choices": [{"message": {"content": "%s"}}]}' % (b"x" * (120 << 20))
UNCLEAN = ("Traceback", "Error:", "never retrieved", "was destroyed", "Unclosed")  # in no run's stderr
LIMITED = (  # runs a script with no file allowed to grow past so many bytes
    "import resource, runpy, sys; size = int(sys.argv[1]); sys.argv = sys.argv[2:]; sys.dont_write_bytecode = True; "
    f"sys.path.insert(0, {str(ROOT)!r}); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)); "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)

Spoilt = Optional[Tuple[Reply, List[str]]]  # what is sent, and which of the texts can be used; None: not applicable


class Fault(NamedTuple):
    """A way to spoil the reply that would have carried ``texts``; at most ``most`` times a server."""

    name: str
    spoil: Callable[[List[str], random.Random], Spoilt]
    flags: Tuple[object, ...] = ()
    most: int = sys.maxsize


@dataclass
class Row:
    """One line of the table. ``trouble`` is what else should not have been."""

    fault: str
    injected: int = 0
    lost: int = 0
    duplicated: int = 0
    invented: int = 0
    paid_twice: int = 0
    runs: int = 0
    trouble: List[str] = field(default_factory=list)

    def counts(self) -> Tuple[int, int, int, int]:
        return self.lost, self.duplicated, self.invented, self.paid_twice

    def add(self, other: Row) -> None:
        self.injected += other.injected
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.invented += other.invented
        self.paid_twice += other.paid_twice
        self.runs = max(self.runs, other.runs)
        self.trouble += other.trouble


# --- the faults of one reply ------------------------------------------------------------------------------------------


def data_of(texts: Sequence[str]) -> Dict[str, Any]:
    body = completion(*texts).body
    assert isinstance(body, dict)
    return body


def status(code: int, **headers: str) -> Callable[[List[str], random.Random], Spoilt]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda texts, chance: (Reply({"error": {"message": "busy"}}, code, dict(named)), [])


def unusable(reply: Callable[[List[str]], Reply]) -> Callable[[List[str], random.Random], Spoilt]:
    return lambda texts, chance: (reply(texts), [])


def retry_after(texts: List[str], chance: random.Random) -> Spoilt:
    return Reply("slow down", 429, {"Retry-After": chance.choice("001")}), []


def cut_body(texts: List[str], chance: random.Random) -> Spoilt:
    whole = json.dumps(data_of(texts))
    return Reply(whole, cut_after=chance.randrange(len(whole))), []


def cut_json(texts: List[str], chance: random.Random) -> Spoilt:
    whole = json.dumps(data_of(texts))
    return Reply(whole[: chance.randrange(1, len(whole))]), []


def fewer(texts: List[str], chance: random.Random) -> Spoilt:
    return (completion(texts[0]), texts[:1]) if len(texts) > 1 else None


def shuffled(texts: List[str], chance: random.Random) -> Spoilt:
    body = data_of(texts)
    chance.shuffle(body["choices"])
    return (Reply(body), texts) if len(texts) > 1 else None


def same_index(texts: List[str], chance: random.Random) -> Spoilt:
    body = data_of(texts)
    for choice in body["choices"]:
        choice["index"] = 0
    return (Reply(body), texts) if len(texts) > 1 else None


def surrogate(texts: List[str], chance: random.Random) -> Spoilt:
    marked = [chance.choice(["\ud83d ", "\ude00 ", "\udcff\x00\u2028 "]) + text for text in texts]
    return completion(*marked), marked


def odd_usage(texts: List[str], chance: random.Random) -> Spoilt:
    number = chance.choice(["NaN", "-Infinity", "1e999", "-1", "0.5"])
    whole = json.dumps(data_of(texts)).replace('"completion_tokens": 7', f'"completion_tokens": {number}')
    return Reply(whole), texts


WRONG = (None, 7, -1.5, True, "x", [], {}, ["x"], [None], {"x": {}})
NEEDED_FIELDS = [("choices",), ("choices", 0), ("choices", 0, "message"), ("choices", 0, "message", "content")]
OTHER_FIELDS = [
    *(
        ("object",),
        ("usage",),
        ("usage", "completion_tokens"),
        ("choices", 0, "index"),
        ("choices", 0, "finish_reason"),
    ),
    *(("choices", 0, "message", "role"), ("choices", 0, "message", "reasoning_content")),
]


def wrong_type(texts: List[str], chance: random.Random) -> Spoilt:
    body: Any = data_of(texts[:1])
    needed = chance.random() < 0.5
    *path, last = chance.choice(NEEDED_FIELDS if needed else OTHER_FIELDS)
    value = chance.choice(WRONG)
    if last in ("content", "finish_reason") and isinstance(value, str):  # a text is the right type there
        value = 7
    place = body
    for step in path:
        place = place[step]
    place[last] = value
    return Reply(body), [] if needed else texts[:1]


BY_FOUR = ("--samples_per_request", 4)
EMPTY = unusable(lambda texts: completion(*[None] * len(texts)))
FAULTS = [
    Fault("429 with Retry-After", retry_after),
    Fault("429 without Retry-After", status(429)),
    Fault("500", status(500, Retry_After="0")),
    Fault("502", status(502, Retry_After="0")),
    Fault("503", status(503, Retry_After="0")),
    Fault("reset before the reply", unusable(lambda texts: Reply(drop=True))),
    Fault("reset in mid-body", cut_body),
    Fault("no reply within --request_timeout", unusable(lambda _: Reply(delay=60)), ("--request_timeout", 3), most=4),
    Fault("truncated JSON", cut_json),
    Fault("HTML with 200", unusable(lambda _: Reply("<html><body>Welcome to nginx!</body></html>"))),
    Fault("empty choices", unusable(lambda _: Reply({"choices": []}))),
    Fault("null content", EMPTY),
    Fault("n ignored", fewer, BY_FOUR),
    Fault("choices out of order", shuffled, BY_FOUR),
    Fault("duplicated indexes", same_index, BY_FOUR),
    Fault("wrong types in every field", wrong_type),
    Fault("a reply of 120 MB", unusable(lambda _: Reply(HUGE)), most=1),
    Fault(
        "invalid UTF-8",
        unusable(
            lambda texts: Reply(json.dumps(data_of(texts)).encode().replace(b'"content": "', b'"content": "\xff\xc3'))
        ),
    ),
    Fault("lone surrogates in the text", surrogate),
    Fault("NaN and Infinity in usage", odd_usage),
]
QUICK = [fault for fault in FAULTS if fault.name in ("500", "503", "lone surrogates in the text", "n ignored")]


# --- the servers ------------------------------------------------------------------------------------------------------


class Role:
    """One server that spoils a share of its replies and remembers what it gave."""

    def __init__(self, faults: Sequence[Fault], seed: str, delay: float) -> None:
        self.given: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.server = ScriptedServer(self.reply)
        self._spoilt: Counter[str] = Counter()  # how often a request was
        self._faults = faults
        self._chance = random.Random(seed)
        self._delay = delay
        self.refusal: Callable[[Request], Optional[Reply]] = lambda request: None  # of requests that it does not answer

    def texts(self, request: Request) -> List[str]:
        raise NotImplementedError

    def remember(self, request: Request, texts: List[str]) -> None:
        raise NotImplementedError

    def reply(self, request: Request) -> Reply:
        refused = self.refusal(request)
        if refused is not None:
            self.injected["refusal"] += 1
            return refused
        texts = self.texts(request)
        open_faults = [fault for fault in self._faults if self.injected[fault.name] < fault.most]
        spoilt: Spoilt = None
        said = json.dumps(request.body["messages"])
        # each wait is twice the last, and those of a long talk with the judge add up
        enough = self._spoilt[said] >= 3 or len(request.body["messages"]) > 5
        if request.body.get("max_tokens") == 2 * judge.MAX_TOKENS["text"]:  # after an empty reply; two are final
            open_faults = [fault for fault in open_faults if fault.spoil not in (EMPTY, wrong_type)]
        if open_faults and not enough and self._chance.random() < SHARE:
            fault = self._chance.choice(open_faults)
            spoilt = fault.spoil(texts, self._chance)
            self.injected[fault.name] += spoilt is not None
            self._spoilt[said] += spoilt is not None
        reply, usable = spoilt or (completion(*texts), texts)
        self.remember(request, usable)
        reply.delay = reply.delay or self._delay * (1 + request.number % 3)
        return reply


def name_of(question: str) -> str:
    """Which question it is: what follows the question mark only makes it long."""
    return question.split("?")[0] + "?"


class Generator(Role):
    """Answers each question with texts that it gives once only, and that begin with the question."""

    def texts(self, request: Request) -> List[str]:
        question = name_of(request.question)
        return [f"{question}\nanswer \u2116 {request.number}.{n}\u2028\x85." for n in range(request.body.get("n") or 1)]

    def remember(self, request: Request, texts: List[str]) -> None:
        self.given.update(texts)


def verdict(answer: str) -> Optional[int]:
    """The judge's one and only score of an answer; of every twelfth it says nothing."""
    number = int(hashlib.md5(answer.encode("utf-8", "surrogatepass")).hexdigest(), 16) % 12
    return None if number == 11 else number


class Judge(Role):
    """Scores an answer by its text alone."""

    def answer(self, request: Request) -> str:
        prompt = request.body["messages"][0]["content"]
        found = re.search(r"<(answer-\w+)>\n(.*)\n</\1>", prompt, re.S)
        assert found, prompt
        return found[2]

    def texts(self, request: Request) -> List[str]:
        value = verdict(self.answer(request))
        return ["I would rather not say." if value is None else f"So it is.\nScore: {value}"]

    def remember(self, request: Request, texts: List[str]) -> None:
        if texts:
            self.given[self.answer(request)] += 1


class UnwillingJudge(Judge):
    """Refuses the first answer of each entry for good that it is shown."""

    def __init__(self, delay: float) -> None:
        super().__init__([], "", delay)
        self.refused: Dict[str, str] = {}  # by question

    def reply(self, request: Request) -> Reply:
        answer = self.answer(request)
        if self.refused.setdefault(name_of(answer), answer) != answer:
            return super().reply(request)
        self.injected["refusal"] += 1
        self.given[answer] += 1
        return Reply({"error": {"message": "too long"}}, 400, delay=self._delay)


class World:
    """A folder, two servers, the commands that use them, and the account of what came of it."""

    def __init__(
        self, folder: Path, entries: int, faults: Sequence[Fault] = (), seed: int = 0, delay: float = 0.0
    ) -> None:
        self.folder = folder
        self.names = [f"question {number}?" for number in range(entries)]
        kinds = [fault.name for fault in faults]
        self.generator = Generator(faults, f"generator {seed} {kinds}", delay)
        self.judge = Judge(faults, f"judge {seed} {kinds}", delay)
        self.output = folder / "out.jsonl"
        self.cache = folder / "cache.jsonl"
        self.per_request = 1
        self.retries = RETRIES
        self.forgiven = 0  # replies of each server that may have been in flight when a run or a server was stopped
        self.lengthen()

    def lengthen(self, question: str = "", reference: str = "right") -> None:
        """Writes the input, with so long questions and references."""
        items = [conversation(name + question, reference) for name in self.names]
        write_input(self.folder / "in.json", items)

    def __enter__(self) -> World:
        self.generator.server.start()
        self.judge.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.generator.server.stop()
        self.judge.server.stop()

    def _flags(self, *flags: object, **named: object) -> List[object]:
        given = [word for name, value in named.items() for word in (f"--{name}", value)]
        if "--samples_per_request" in flags:
            self.per_request = 4
        return [*given, "--max_retries", self.retries, "--concurrent_requests", CONCURRENCY, *flags]

    def reject(self, *flags: object) -> List[str]:
        words = self._flags(
            *flags,
            **{"input_file": self.folder / "in.json", "output_file": self.output, "cache_file": self.cache},
            **{"generator_model": "g", "generator_port": self.generator.server.port},
            **{"scorer_model": "j", "scorer_port": self.judge.server.port, "answers_per_question": ANSWERS},
        )
        return command("reject.py", *["--concurrency" if word == "--concurrent_requests" else word for word in words])

    def sampling(self, *flags: object) -> List[str]:
        words = self._flags(
            *flags,
            **{"input_file": self.folder / "in.json", "output_file": self.folder / "sampled.jsonl"},
            **{"model_name": "g", "port": self.generator.server.port, "answers_per_question": ANSWERS},
        )
        return command("sampling.py", *words)

    def score(self, *flags: object) -> List[str]:
        words = self._flags(
            *flags,
            **{"input_file": self.folder / "sampled.jsonl", "output_file": self.output},
            **{"model_name": "j", "api_port": self.judge.server.port},
        )
        return command("score.py", *["--concurrency" if word == "--concurrent_requests" else word for word in words])

    def asked(self) -> int:
        return len(self.generator.server.chats) + len(self.judge.server.chats)

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        )

    def once(self, words: Sequence[str], row: Row, *expected: int) -> Tuple[int, str]:
        """Runs a command to its end; gives its exit code and stderr."""
        return self.end(self.start(words), row, *expected)

    def end(self, process: subprocess.Popen[str], row: Row, *expected: int) -> Tuple[int, str]:
        """Waits for the end of a run."""
        _, said = process.communicate(timeout=300)
        row.runs += 1
        if process.returncode not in expected or any(word in said for word in UNCLEAN):
            row.trouble.append(f"a run ended with {process.returncode}: {said[-600:]!r}")
        return process.returncode, said

    def until_done(self, row: Row, words: Sequence[str], most: int = 5) -> None:
        """Runs a command, and again as long as it ends with 1, up to ``most`` times in all."""
        for left in reversed(range(most)):
            if self.once(words, row, *((0, 1) if left else (0,)))[0] != 1:
                return

    def account(self, row: Row) -> Row:
        """Fills in what was injected and what came of it."""
        row.injected += sum(self.generator.injected.values()) + sum(self.judge.injected.values())
        records = read_lines(self.output)
        names = Counter(name_of(record["original_question"]) for record in records)
        whole = {name_of(record["original_question"]) for record in records if self._is_whole(record)}
        row.lost += len(set(self.names) - whole)
        row.duplicated += sum(times - 1 for times in names.values())
        row.invented += len(set(names) - set(self.names)) + self._invented(records)
        needed = ANSWERS * len(self.names)
        allowed = self.forgiven * self.per_request
        row.paid_twice += max(0, sum(self.generator.given.values()) - needed - allowed)
        row.paid_twice += max(0, sum(map(self._verdicts_again, self.judge.given)) - self.forgiven)
        if self.output.with_name("out.jsonl.errors.jsonl").exists():
            row.trouble.append("an errors file is left")
        return row

    @staticmethod
    def _is_whole(record: Dict[str, Any]) -> bool:
        answers, scores, details = (record[f"generated_{what}"] for what in ("answers", "scores", "details"))
        return len(answers) == len(scores) == len(details) == ANSWERS

    def _verdict(self, answer: str) -> Optional[int]:
        refused = self.judge.refused.values() if isinstance(self.judge, UnwillingJudge) else ()
        return None if answer in refused else verdict(answer)

    def _invented(self, records: Sequence[Dict[str, Any]]) -> int:
        """Answers that this question never got, or that are used twice; scores that the judge did not give."""
        wrong = len([text for text in self.judge.given if text not in self.generator.given])
        used: Counter[str] = Counter()
        for record in records:
            name = name_of(record["original_question"])
            for text, score in zip(record["generated_answers"], record["generated_scores"]):
                used[text] += 1
                wrong += text not in self.generator.given or f"{name}\n" not in text or used[text] > 1
                wrong += score != self._verdict(text) or text not in self.judge.given
        return wrong

    def _verdicts_again(self, answer: str) -> int:
        """How many replies an answer's verdict took too many.

        That there is no score is known only after as many nudges as retries; a run that stops before begins them anew.
        """
        if self._verdict(answer) is None and verdict(answer) is not None:
            return self.judge.given[answer] - 1
        if verdict(answer) is None:
            return 0 if self.forgiven else self.judge.given[answer] - self.retries - 1
        return self.judge.given[answer] - 1


# --- the scenarios ----------------------------------------------------------------------------------------------------


class Size(NamedTuple):
    """How much a scenario does."""

    entries: int
    kills: int
    every: int  # of the bytes of a line one in so many is cut at


SHORT, LONG = Size(4, 3, 23), Size(12, 10, 1)
Scenario = Callable[[Path, Size, int], Row]


def one_fault(fault: Fault) -> Scenario:
    def scenario(folder: Path, size: Size, seed: int) -> Row:
        row = Row(fault.name)
        entries = size.entries * (4 if fault.flags == BY_FOUR else 1)
        with World(folder, entries, [fault], seed) as world:
            world.until_done(row, world.reject(*fault.flags))
        return world.account(row)

    return scenario


class Window:
    """A limit of requests per time, as hosts have one per minute, which says when it opens or does not."""

    def __init__(self, requests: int, seconds: float, hint: Callable[[float], Reply]) -> None:
        self._requests = requests
        self._seconds = seconds
        self._hint = hint
        self._begun = 0.0
        self._used = 0

    def __call__(self, request: Request) -> Optional[Reply]:
        now = time.monotonic()
        if not self._begun:  # others used up the first window
            self._begun, self._used = now, self._requests
        if now - self._begun >= self._seconds:
            self._begun, self._used = now, 0
        self._used += 1
        return None if self._used <= self._requests else self._hint(self._begun + self._seconds - now)


def without_hint(left: float) -> Reply:
    return Reply("<html>Too Many Requests</html>", 429)


def with_hint(left: float) -> Reply:
    return Reply({"error": {"message": f"Rate limit reached. Please try again in {left:.2f}s."}}, 429)


def limited_windows(kind: str, hint: Callable[[float], Reply]) -> Scenario:
    def scenario(folder: Path, size: Size, seed: int) -> Row:
        row = Row(f"20 requests per second at most, {kind}")
        with World(folder, 3 * size.entries, seed=seed) as world:
            world.retries = 0
            world.generator.refusal, world.judge.refusal = Window(20, 1, hint), Window(20, 1, hint)
            world.once(world.reject(), row, 0)
        return world.account(row)

    return scenario


WITHHELD = completion(None, finish="content_filter")
FORBIDDEN = Reply({"error": {"message": "this prompt was flagged"}}, 403)


def one_prompt(fault: str, reply: Reply, reason: str, *places: int) -> Scenario:
    """The prompts at these places are refused in two runs, and answered in the last."""

    def scenario(folder: Path, size: Size, seed: int) -> Row:
        entries = 1000 if size is LONG else 30
        row = Row(f"{fault} among {entries:,}")
        with World(folder, entries, seed=seed) as world:
            world.retries = 1
            bad = [world.names[place] for place in places]
            world.generator.refusal = lambda request: reply if name_of(request.question) in bad else None
            for _ in range(2):
                _, said = world.once(world.reject(), row, 1)
                failed = read_lines(world.output.with_name("out.jsonl.errors.jsonl"))
                names = [line["original_question"] for line in failed if reason in line["error"]]
                if said or sorted(names) != sorted(bad):
                    row.trouble.append(f"not the refused entries alone failed: {said!r} {failed!r}")
            world.generator.refusal = lambda request: None
            world.once(world.reject(), row, 0)
        return world.account(row)

    return scenario


MIXED = ("--request_timeout", 5)


def all_mixed(folder: Path, size: Size, seed: int) -> Row:
    row = Row("all of these mixed, reject.py")
    with World(folder, 2 * size.entries, FAULTS, seed) as world:
        world.until_done(row, world.reject(*MIXED, *BY_FOUR))
    return world.account(row)


def all_mixed_in_two_steps(folder: Path, size: Size, seed: int) -> Row:
    row = Row("all of these mixed, sampling.py then score.py")
    with World(folder, 2 * size.entries, FAULTS, seed) as world:
        world.until_done(row, world.sampling(*MIXED, *BY_FOUR))
        world.until_done(row, world.score(*MIXED))
    return world.account(row)


def kill(world: World, row: Row, words: Sequence[str], name: signal.Signals, times: int, chance: random.Random) -> None:
    """Starts a command so many times and kills it at a random point of its work; then lets it end."""
    for _ in range(times):
        target = world.asked() + chance.randrange(1, 2 * ANSWERS * len(world.names) // times)
        process = world.start(words)
        while world.asked() < target and process.poll() is None:
            time.sleep(0.001)
        if process.poll() is None:
            row.injected += 1
            world.forgiven += CONCURRENCY
            process.send_signal(name)
        world.end(process, row, 0, -name, 130)
    world.until_done(row, words)


def killed(name: signal.Signals, script: str, faults: Sequence[Fault] = ()) -> Scenario:
    def scenario(folder: Path, size: Size, seed: int) -> Row:
        row = Row(f"{name.name}, {script}" + (", amid other faults" if faults else ""))
        with World(folder, 4 * size.entries, faults, seed, delay=0.01) as world:
            todo: Tuple[object, ...] = BY_FOUR if faults else ()
            steps = [world.reject(*todo)] if script == "reject.py" else [world.sampling(*todo), world.score()]
            for words in steps:
                kill(world, row, words, name, size.kills, random.Random(seed))
        return world.account(row)

    return scenario


def unwilling_judge(folder: Path, size: Size, seed: int) -> Row:
    """Also over kills: what the judge refused is not asked again, and the entry's other scores stand."""
    row = Row("a judge that refuses one answer per entry")
    with World(folder, 2 * size.entries, seed=seed, delay=0.01) as world:
        world.judge.server.stop()
        world.judge = UnwillingJudge(0.01)
        world.judge.server.start()
        kill(world, row, world.reject(), signal.SIGKILL, 1, random.Random(seed))
        again = world.asked()
        world.output.unlink()
        world.once(world.reject(), row, 0)
        row.paid_twice += world.asked() - again
        unscored = [record["generated_scores"].count(None) for record in read_lines(world.output)]
        if min(unscored) < 1:
            row.trouble.append(f"unscored answers per entry: {unscored}")
    return world.account(row)


def restarted(which: str) -> Scenario:
    def scenario(folder: Path, size: Size, seed: int) -> Row:
        row = Row(f"the {which}'s server stopped and started again")
        with World(folder, 4 * size.entries, seed=seed, delay=0.02) as world:
            role: Role = world.generator if which == "generator" else world.judge
            process = world.start(world.reject())
            while len(role.server.chats) < ANSWERS * size.entries and process.poll() is None:
                time.sleep(0.001)
            role.server.stop()
            row.injected += 1
            world.forgiven += CONCURRENCY
            time.sleep(0.3)
            role.server.start()
            world.end(process, row, 0)
        return world.account(row)

    return scenario


REFUSED = Reply({"error": {"message": "too long"}}, 400)


def full_disk(what: str, kind: str) -> Scenario:
    """``what`` (ledger, output, errors file) meets a limit on file sizes, or lies on a small file system."""

    def scenario(folder: Path, size: Size, seed: int) -> Row:
        row = Row(f"{'disk full' if kind == 'tmpfs' else 'file size limit'} while writing the {what}")
        small = folder / "small"
        small.mkdir()
        room = {"ledger": 8 << 10}.get(what, 32 << 10)
        with World(folder, 12, seed=seed) as world:
            padding = 6000 * "x"
            world.lengthen(padding if what == "errors file" else "", padding if what == "output" else "right")
            if what == "errors file":
                world.generator.server.script = lambda request: REFUSED
            if kind == "tmpfs":
                mount(small, room)
                if what == "ledger":
                    world.cache = small / "cache.jsonl"
                else:
                    world.output = small / "out.jsonl"
            try:
                words = world.reject()
                limited = words if kind == "tmpfs" else [sys.executable, "-c", LIMITED, str(room), *words[3:]]
                _, said = world.once(limited, row, 1)
                row.injected += 1
                world.forgiven += 2 * CONCURRENCY  # in flight, and what came in before the run could be stopped
                file = {"ledger": world.cache, "output": world.output}.get(what, f"{world.output}.errors.jsonl")
                if said.count("\n") != 1 or f"cannot write {file}: " not in said:
                    row.trouble.append(f"not one clear line: {said!r}")
                for path in (world.cache, world.output):
                    check_whole(path, row)
                world.generator.server.script = world.generator.reply
                if kind == "tmpfs":
                    subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
                world.once(words, row, 0)
                check_whole(world.cache, row)
                return world.account(row)
            finally:
                if kind == "tmpfs":
                    subprocess.run(["umount", "-l", small], check=True)

    return scenario


def check_whole(path: Path, row: Row) -> None:
    data = path.read_bytes() if path.exists() else b""
    try:
        good = not data or (data.endswith(b"\n") and all("entry_id" in json.loads(line) for line in data.splitlines()))
    except ValueError:
        good = False
    if not good:
        row.trouble.append(f"{path.name} is torn: {data[-200:]!r}")


def mount(folder: Path, size: int) -> None:
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def can_mount() -> bool:
    """Whether this user may mount a small file system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            mount(Path(folder), 1 << 14)
        except (OSError, subprocess.CalledProcessError):
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def output_removed(folder: Path, size: Size, seed: int) -> Row:
    row = Row("the output removed while it is written")
    with World(folder, 4 * size.entries, seed=seed, delay=0.02) as world:
        process = world.start(world.reject())
        while not (world.output.exists() and world.output.stat().st_size) and process.poll() is None:
            time.sleep(0.001)
        world.output.unlink()
        row.injected += 1
        world.forgiven += CONCURRENCY
        _, said = world.end(process, row, 1)
        if said.count("\n") != 1 or f"{world.output} was removed" not in said:
            row.trouble.append(f"not one clear line: {said!r}")
        world.once(world.reject(), row, 0)
    return world.account(row)


def job(world: World) -> Job:
    """What reject.py does, in this process."""
    clients = [
        ChatClient([role.server.url], name, CONCURRENCY, max_retries=RETRIES)
        for role, name in ((world.generator, "g"), (world.judge, "j"))
    ]
    return Job(
        script="reject.py",
        input_file=str(world.folder / "in.json"),
        output_file=str(world.output),
        ledger_file=str(world.cache),
        keep_ledger=True,
        read=lambda item, line: PendingEntry(entry_from_conversation(item, line), None),
        pipeline=Pipeline(clients, Generators([Sampler(clients[0], ANSWERS)]), judge.Judge(clients[1], 0, 10)),
        quiet=True,
    )


def tails(data: bytes, every: int, chance: random.Random) -> Iterator[bytes]:
    """A file as a crash may leave it: cut at bytes of its last line, with and without NUL bytes behind."""
    begin = data.rstrip(b"\n").rfind(b"\n") + 1
    last = len(data) - begin
    cuts = [cut for cut in range(last + 1) if cut % every == 0 or cut > last - 3]
    for cut in cuts:
        yield data[: begin + cut]
        if cut % 5 == 0 or cut == last:
            yield data[: begin + cut] + bytes(chance.choice([1, 48, 4096]))


def cut_file(what: str) -> Scenario:
    """In this process: what a crash leaves of a file, then a run that must ask for one line's worth at most."""

    def scenario(folder: Path, size: Size, seed: int) -> Row:
        row = Row(f"the {what} cut in its last line, or with NUL bytes behind")
        with World(folder, 2, seed=seed) as world:
            resume(world, row)
            output, ledger = world.output.read_bytes(), world.cache.read_bytes()
            last = RETRIES + 1 if json.loads(ledger.splitlines()[-1])["score"] is None else 1  # requests for its line
            asked = world.asked()
            for tail in tails(output if what == "output" else ledger, size.every, random.Random(seed)):
                world.output.write_bytes(tail if what == "output" else b"")
                world.cache.write_bytes(ledger if what == "output" else tail)
                given = Counter(world.generator.given), Counter(world.judge.given)
                resume(world, row)
                if row.trouble:
                    return row
                row.injected += 1
                kept = what == "output" or tail == ledger[:-1] or tail.startswith(ledger)
                again = world.asked() - asked
                row.paid_twice += max(0, again - (0 if kept else last))
                world.forgiven = sys.maxsize  # counted above
                row.add(world.account(Row("")))
                world.generator.given, world.judge.given = given
                asked = world.asked()
        return row

    return scenario


def resume(world: World, row: Row) -> None:
    try:
        end = f"exit code {run(job(world))}"
    except ToolkitError as error:
        end = str(error)
    row.runs = 1
    if end != "exit code 0":
        row.trouble.append(end)


IN_POOL: Dict[str, Scenario] = {
    **{fault.name: one_fault(fault) for fault in FAULTS},
    "mixed": all_mixed,
    "mixed in two steps": all_mixed_in_two_steps,
    "SIGKILL reject": killed(signal.SIGKILL, "reject.py"),
    "SIGKILL reject amid faults": killed(signal.SIGKILL, "reject.py", QUICK),
    "SIGKILL sampling and score": killed(signal.SIGKILL, "sampling.py then score.py"),
    "SIGTERM reject": killed(signal.SIGTERM, "reject.py"),
    "generator restarted": restarted("generator"),
    "judge restarted": restarted("judge"),
    "unwilling judge": unwilling_judge,
    **{f"limit {what}": full_disk(what, "limit") for what in ("ledger", "output", "errors file")},
    **{f"tmpfs {what}": full_disk(what, "tmpfs") for what in ("ledger", "output", "errors file")},
    "output removed": output_removed,
    "window with hints": limited_windows("said in the body", with_hint),
    "window without hints": limited_windows("which is not said", without_hint),
    "one prompt withheld": one_prompt("one prompt withheld", WITHHELD, "finish_reason: content_filter", 17),
    "403 for a prompt": one_prompt("403 for the first prompt and for the last", FORBIDDEN, "403 this prompt", 0, -1),
}
IN_PROCESS: Dict[str, Scenario] = {
    f"{what} cut": cut_file(what) for what in ("output", "ledger")
}  # signals: main thread


def perform(scenario: Scenario, size: Size, seed: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return scenario(Path(folder), size, seed)


HEAD = "fault|times injected|entries lost|duplicated|invented|answers paid for twice|runs needed".split("|")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="how often each fault's runs are made")
    rounds = range(1, parser.parse_args().rounds + 1)
    there = {name: scenario for name, scenario in IN_POOL.items() if can_mount() or not name.startswith("tmpfs")}
    rows: List[Row] = []
    logging.disable(logging.WARNING)  # each torn line that is cut is told
    # not beside the pool: a process that starts holds this process's file locks for a moment
    own = [[perform(scenario, LONG, seed) for seed in rounds] for scenario in IN_PROCESS.values()]
    with ThreadPoolExecutor(8) as pool:
        futures = [[pool.submit(perform, scenario, LONG, seed) for seed in rounds] for scenario in there.values()]
        for results in [[future.result() for future in some] for some in futures] + own:
            for other in results[1:]:
                results[0].add(other)
            rows.append(results[0])
    print("| " + " | ".join(HEAD) + " |")
    print("|---" + "|--:" * (len(HEAD) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, (row.fault, row.injected, *row.counts(), row.runs))) + " |")
    trouble = [f"{row.fault}: {text}" for row in rows for text in row.trouble]
    for text in trouble:
        print(text, file=sys.stderr)
    return 1 if trouble or any(any(row.counts()) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
