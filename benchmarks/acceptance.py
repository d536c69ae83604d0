"""Tokens spent for the same accepted answers: a fixed number of draws against drawing until enough are accepted.

A loopback generator answers a population of easy, mixed and hopeless questions; ``match`` scores. Each way gets the
same questions, and tokens are counted at the server, those of dropped requests in full.

Example: ``python -m benchmarks.acceptance --entries 400 --answers 16``
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple

from benchmarks.in_flight import mean_until_last
from tests.helpers import ROOT, conversation, environment, read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

SHARES = {"easy": 0.4, "mixed": 0.4, "hopeless": 0.2}


class Question(NamedTuple):
    """A question's text, its kind, and how often an answer to it is right."""

    text: str
    kind: str
    rate: float


class Outcome(NamedTuple):
    """What one way of drawing took and brought."""

    requests: int
    tokens: int
    accepted: int
    in_flight: float


def population(count: int, chance: random.Random) -> List[Question]:
    """Questions: easy ones right in 0.8 to 1 of the answers, mixed in 0.05 to 0.6, hopeless ones never."""
    bounds = {"easy": (0.8, 1.0), "mixed": (0.05, 0.6), "hopeless": (0.0, 0.0)}
    kinds = chance.choices(list(SHARES), list(SHARES.values()), k=count)
    return [Question(f"question {n} ({kind})?", kind, chance.uniform(*bounds[kind])) for n, kind in enumerate(kinds)]


def generator(questions: List[Question], spent: List[int]) -> ScriptedServer:
    """Answers right as often as the question's rate, in a time and with tokens that are heavy-tailed."""
    rates = {question.text: question.rate for question in questions}

    def script(request: Request) -> Reply:
        chance = random.Random(f"{request.question} {request.body['seed']}")
        tokens = round(chance.lognormvariate(math.log(200), 0.6))
        spent.append(tokens)
        text = "It is 42." if chance.random() < rates[request.question] else f"It is {chance.randrange(43, 9999)}."
        # a wording of its own each time: equal answers count once
        return completion(f"Take {tokens}, {chance.random()}. {text}", tokens=tokens, delay=tokens / 2000)

    return ScriptedServer(script)


def play(questions: List[Question], enough: int, *flags: object) -> Outcome:
    """One run of reject.py with more flags; accepted answers count up to ``enough`` an entry."""
    spent: List[int] = []
    with tempfile.TemporaryDirectory() as folder, generator(questions, spent) as server:
        source = write_input(Path(folder) / "in.jsonl", [conversation(question.text, "42") for question in questions])
        output = Path(folder) / "out.jsonl"
        names = ["--input_file", source, "--output_file", output, "--generator_model", "m", "--scorer", "match"]
        more = ["--generator_port", server.port, "--concurrency", 64, "--seed", 1, "--accept_score", 10, "--quiet"]
        command = [sys.executable, str(ROOT / "reject.py"), *map(str, [*names, *more, *flags])]
        subprocess.run(command, check=True, env=environment())
        accepted = sum(min(enough, record["generated_scores"].count(10.0)) for record in read_lines(output))
        return Outcome(len(spent), sum(spent), accepted, mean_until_last(server.timeline))


def main() -> None:
    """Prints a line for each way and number of accepted answers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=400)
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    questions = population(args.entries, random.Random(args.seed))
    print("questions: " + ", ".join(f"{sum(q.kind == kind for q in questions)} {kind}" for kind in SHARES))
    for enough in (1, 4):
        ways: Dict[str, List[object]] = {
            f"fixed N = {args.answers}": [],
            f"--stop_after {enough}": ["--stop_after", enough],
            f"--stop_after {enough} --give_up_after 8": ["--stop_after", enough, "--give_up_after", 8],
        }
        fixed = None
        for name, flags in ways.items():
            found = play(questions, enough, "--answers_per_question", args.answers, *flags)
            fixed = fixed or found
            saved = 1 - (found.tokens / found.accepted) / (fixed.tokens / fixed.accepted)
            print(
                f"{name}: {found.requests:,} requests, {found.tokens:,} tokens, {found.accepted:,} accepted "
                f"(up to {enough} a question), "
                f"{found.in_flight:.1f} in flight; {saved:.1%} of the tokens for each accepted one saved"
            )


if __name__ == "__main__":
    main()
