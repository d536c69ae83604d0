"""Accepted entries when a budget ends a run: depth first, breadth first, and with ``Acceptance`` (a budget known).

The simulation drives the order of work of the scripts itself (``common/running/breadth.py``), without servers: the
population of ``benchmarks.acceptance``, made anew in each repetition. The budget is half of what ``--stop_after 1``
takes. ``--script`` does it once through ``reject.py`` and a scripted server. ``--local`` does it with generated tasks
and the answers of the embedded model, which are sampled once, and then replayed by a scripted server.

Example: ``python -m benchmarks.breadth --times 200``
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import subprocess
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from benchmarks.acceptance import Question, generator, population
from benchmarks.scorers import questions
from common.input.conversations import entry_from_conversation
from common.records import Entry, PendingEntry
from common.running.breadth import Breadth
from common.running.posterior import Acceptance, Seen
from tests.helpers import command, conversation, environment, read_lines, write_input
from tests.memory_spool import MemorySpool
from tests.scripted_server import Reply, Request, ScriptedServer, completion

Tries = List[Tuple[bool, int]]  # each answer of an entry: whether it is accepted, and its tokens
WAYS = ("depth first", "breadth first", "guided")
SPREAD = 0.8  # of the logarithm of the entries' mean tokens, where they differ


class Outcome(NamedTuple):
    """What a budget brought: accepted answers, and what was spent of it."""

    accepted: int
    spent: float


@dataclass
class Purse:
    """Counts answers, or tokens."""

    budget: float
    counts_tokens: bool
    spent: float = 0.0

    @property
    def is_empty(self) -> bool:
        return self.spent >= self.budget

    def pay(self, tokens: int) -> None:
        self.spent += tokens if self.counts_tokens else 1


def sample(asked: Sequence[Question], answers: int, spread: float, chance: random.Random) -> List[Tries]:
    """The answers of each question. ``spread`` lets the mean number of tokens differ by question."""
    means = [200 * chance.lognormvariate(0.0, spread) if spread else 200.0 for _ in asked]
    return [
        [
            (chance.random() < question.rate, max(1, round(mean * chance.lognormvariate(0.0, 0.6))))
            for _ in range(answers)
        ]
        for question, mean in zip(asked, means)
    ]


def needed(tries: Tries, give_up_after: Optional[int]) -> int:
    """How many answers --stop_after 1 takes."""
    first = next((place for place, (is_accepted, _) in enumerate(tries, 1) if is_accepted), len(tries))
    return first if give_up_after is None else min(first, give_up_after)


def depth_first(entries: Sequence[Tries], give_up_after: Optional[int], purse: Purse) -> Outcome:
    """One entry after the other."""
    accepted = 0
    for tries in entries:
        for is_accepted, tokens in tries[: needed(tries, give_up_after)]:
            if purse.is_empty:
                return Outcome(accepted, purse.spent)
            purse.pay(tokens)
            accepted += is_accepted
    return Outcome(accepted, purse.spent)


async def breadth_first(
    entries: Sequence[Tries], give_up_after: Optional[int], purse: Purse, acceptance: Optional[Acceptance]
) -> Outcome:
    """As the scripts do it, one request at a time."""
    order = Breadth(MemorySpool(), 1, lambda pending: None, acceptance)
    seen = [Seen()] * len(entries)
    accepted = 0
    async for visit in order.visits(pending_entries(len(entries))):
        number = visit.number
        tries, before = entries[number], seen[number]
        if purse.is_empty:
            break
        is_accepted, tokens = tries[before.answers]
        purse.pay(tokens)
        accepted += is_accepted
        after = seen[number] = Seen(before.answers + 1, before.accepted + is_accepted, before.tokens + tokens)
        order.learn(before, after)
        if is_accepted or after.answers >= needed(tries, give_up_after):
            order.end(visit)
        else:
            order.back(visit, after)
    return Outcome(accepted, purse.spent)


def pending_entries(count: int) -> Iterable[PendingEntry]:
    for number in range(count):
        yield PendingEntry(Entry(str(number), [], None, []), None)


def play(entries: Sequence[Tries], give_up_after: Optional[int], counts_tokens: bool, share: float) -> List[Outcome]:
    """What a share of all that --stop_after 1 takes brings, in each of the WAYS; then what all of it brings."""
    every = depth_first(entries, give_up_after, Purse(math.inf, counts_tokens))
    half = share * every.spent
    found = [depth_first(entries, give_up_after, Purse(half, counts_tokens))]
    for acceptance in (None, Acceptance()):
        purse = Purse(half, counts_tokens)
        found.append(asyncio.run(breadth_first(entries, give_up_after, purse, acceptance)))
    return [*found, every]


def simulate(args: argparse.Namespace) -> None:
    """Prints a line for each kind of budget: the mean of the accepted entries over all repetitions."""
    print("| half of the | tokens differ by | gives up | " + " | ".join([*WAYS, "all of it"]) + " |")
    print("|---|---|---|" + "---|" * (len(WAYS) + 1))
    for counts_tokens, spread in ((False, 0.0), (True, 0.0), (True, SPREAD)):
        for give_up_after in (None, 8):
            sums = [0.0] * (len(WAYS) + 1)
            for seed in range(args.times):
                chance = random.Random(args.seed * args.times + seed)
                entries = sample(population(args.entries, chance), args.answers, spread, chance)
                found = play(entries, give_up_after, counts_tokens, 0.5)
                sums = [total + one.accepted for total, one in zip(sums, found)]
            means = " | ".join(f"{total / args.times:.0f}" for total in sums)
            kind, by = "tokens" if counts_tokens else "answers", "answer and entry" if spread else "answer"
            print(f"| {kind} | {by} | {give_up_after or 'never'} | {means} |", flush=True)


# Through the script


def accepted_in(folder: Path) -> Tuple[int, int]:
    """The entries with an accepted answer in an output, and the tokens of all answers that were paid for."""
    accepted = sum(10.0 in record["generated_scores"] for record in read_lines(folder / "out.jsonl"))
    paid = [line.get("usage") or {} for line in read_lines(folder / "cache.jsonl") if "answer" in line]
    return accepted, sum(usage.get("completion_tokens", 0) for usage in paid)


def reject(folder: Path, items: Sequence[Dict[str, Any]], *flags: object) -> Tuple[int, int]:
    """One run of reject.py: accepted entries and tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    source = write_input(folder / "in.jsonl", items)
    named = ["--input_file", source, "--output_file", folder / "out.jsonl", "--cache_file", folder / "cache.jsonl"]
    words = command("reject.py", *named, "--scorer", "match", "--accept_score", 10, "--seed", 1, *flags)
    run = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    if run.returncode not in (0, 1) or "error:" in run.stderr:
        raise SystemExit(run.stderr)
    return accepted_in(folder)


def compare(folder: Path, items: Sequence[Dict[str, Any]], flags: Sequence[object], answers: int) -> None:
    """Prints what fixed N, --stop_after 1 and half of its tokens bring."""
    most = ["--answers_per_question", answers]
    enough = [*most, "--stop_after", 1]
    ways: Dict[str, List[object]] = {f"fixed N = {answers}": most, "--stop_after 1": enough}
    whole = 0
    print("| flags | accepted entries | tokens | accepted entries per 1,000 tokens |\n|---|---|---|---|")
    for name, more in ways.items():
        accepted, tokens = reject(folder / name.replace(" ", "_"), items, *flags, *more)
        whole = tokens
        show(name, accepted, tokens)
    half = [*enough, "--token_budget", whole // 2]
    for name, more in (("half of these tokens", half), ("the same with --breadth", [*half, "--breadth"])):
        show(name, *reject(folder / name.replace(" ", "_"), items, *flags, *more))


def embedded_answers(folder: Path, items: Sequence[Dict[str, Any]], answers: int) -> Dict[str, List[Reply]]:
    """The answers of the embedded model to each question, sampled once; the same folder again resumes."""
    terse = ["--system_prompt", "Answer with one short sentence.", "--max_tokens", 48, "--concurrency", 8]
    reject(folder, items, "--local", *terse, "--answers_per_question", answers, "--breadth")
    questions_of = {entry_from_conversation(item).entry_id: item["conversations"][0]["value"] for item in items}
    found: Dict[str, List[Reply]] = {}
    for line in sorted(read_lines(folder / "cache.jsonl"), key=lambda line: int(line["index"])):
        if "answer" in line:
            tokens = line["usage"]["completion_tokens"]
            reply = completion(line["answer"], finish=line["finish_reason"], tokens=tokens, delay=tokens / 2000)
            found.setdefault(questions_of[line["entry_id"]], []).append(reply)
    return found


def replay(replies: Dict[str, List[Reply]]) -> ScriptedServer:
    """Gives each question its answers in their order. A question that was asked before by another run begins anew."""
    asked: Dict[Tuple[str, Any], int] = {}
    counts: Dict[str, int] = {}

    def script(request: Request) -> Reply:
        seed = (request.question, request.body["seed"])
        place = asked.setdefault(seed, counts.get(request.question, 0))
        counts[request.question] = max(counts.get(request.question, 0), place + 1)
        return replies[request.question][place]

    return ScriptedServer(script)


def show(name: str, accepted: int, tokens: int) -> None:
    print(f"| {name} | {accepted} | {tokens:,} | {1000 * accepted / tokens:.2f} |", flush=True)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=400)
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=64, help="requests in flight, of --script and --local")
    parser.add_argument("--script", action="store_true", help="once through reject.py and a scripted server")
    parser.add_argument("--local", action="store_true", help="the same with answers of the embedded model, replayed")
    parser.add_argument("--folder", type=Path, help="where the runs' files go, so that the command resumes")
    args = parser.parse_args()
    if not (args.script or args.local):
        simulate(args)
        return
    with tempfile.TemporaryDirectory() if args.folder is None else nullcontext(args.folder) as folder:
        if args.local:
            items = [conversation(text, str(answer)) for text, answer in questions(args.entries, args.seed)]
            with replay(embedded_answers(Path(folder), items, args.answers)) as server:
                names = ["--generator_model", "m", "--generator_port", server.port, "--concurrency", args.concurrency]
                compare(Path(folder), items, names, args.answers)
            return
        asked = population(args.entries, random.Random(args.seed))
        items = [conversation(question.text, "42") for question in asked]
        with generator(asked, []) as server:
            names = ["--generator_model", "m", "--generator_port", server.port, "--concurrency", args.concurrency]
            compare(Path(folder), items, names, args.answers)


if __name__ == "__main__":
    main()
