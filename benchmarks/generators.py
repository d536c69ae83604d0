"""Accepted answers per 1,000 tokens: one generator against two of different quality and cost, which share the answers.

The population is that of acceptance.py. The cheap model takes fewer tokens, is right less often, and sometimes solves
what the strong one never does. Tokens are counted at the server.

Example: ``python -m benchmarks.generators --entries 300 --answers 8``
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from benchmarks.acceptance import Question, population
from tests.helpers import ROOT, conversation, environment, read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

MEDIAN = {"strong": 400, "cheap": 120}  # tokens per answer
WEAKER = 0.7  # of the strong model's rate
SOLVES_HOPELESS = 0.25  # the share of the strong model's hopeless questions that the cheap one sometimes solves


Step = Tuple[Any, ...]  # one run: its generators by their weights, then its flags


class Outcome(NamedTuple):
    """What one way of sampling took and brought."""

    answers: int
    tokens: int
    accepted: int
    entries: int  # with an accepted answer


def rates_of(questions: List[Question], chance: random.Random) -> Dict[str, Dict[str, float]]:
    """By model and question: how often an answer is right."""
    cheap = {}
    for question in questions:
        solves = question.rate == 0 and chance.random() < SOLVES_HOPELESS
        cheap[question.text] = chance.uniform(0.1, 0.5) if solves else WEAKER * question.rate
    return {"strong": {question.text: question.rate for question in questions}, "cheap": cheap}


def server_of(rates: Dict[str, Dict[str, float]], spent: List[int]) -> ScriptedServer:
    """Both models at one address."""

    def script(request: Request) -> Reply:
        model = request.body["model"]
        chance = random.Random(f"{model} {request.question} {request.body['seed']}")
        tokens = round(chance.lognormvariate(math.log(MEDIAN[model]), 0.6))
        spent.append(tokens)
        text = "It is 42." if chance.random() < rates[model][request.question] else "It is 99999."
        return completion(f"Take {tokens}, {chance.random()}. {text}", tokens=tokens)

    return ScriptedServer(script)


def play(questions: List[Question], rates: Dict[str, Dict[str, float]], steps: Sequence[Step]) -> Outcome:
    """Runs of reject.py with these generators, one after the other into one output."""
    spent: List[int] = []
    with tempfile.TemporaryDirectory() as folder, server_of(rates, spent) as server:
        source = write_input(Path(folder) / "in.jsonl", [conversation(question.text, "42") for question in questions])
        output, generators = Path(folder) / "out.jsonl", Path(folder) / "generators.json"
        names = ["--input_file", source, "--output_file", output, "--generators", generators, "--scorer", "match"]
        more = ["--generator_port", server.port, "--concurrency", 64, "--seed", 1, "--accept_score", 10, "--quiet"]
        for mix, *flags in steps:
            generators.write_text(json.dumps([{"model": model, "weight": weight} for model, weight in mix.items()]))
            command = [sys.executable, str(ROOT / "reject.py"), *map(str, [*names, *more, "--allow_mixed", *flags])]
            subprocess.run(command, check=True, env=environment())
        accepted = [record["generated_scores"].count(10.0) for record in read_lines(output)]
    return Outcome(len(spent), sum(spent), sum(accepted), sum(map(bool, accepted)))


def ways(answers: int) -> Iterator[Tuple[str, List[Step]]]:
    """The ways of sampling, each with its name."""
    mixes: List[Dict[str, int]] = [{"strong": 1}, {"cheap": 1}, {"strong": 1, "cheap": 1}, {"strong": 1, "cheap": 3}]
    for stop in ([], ["--stop_after", 1]):
        for mix in mixes:
            name = ", ".join(f"{model} {weight}" if len(mix) > 1 else model for model, weight in mix.items())
            shown = f"`{' '.join(map(str, stop))}`" if stop else ""
            yield f"{name} | {shown}", [(mix, "--answers_per_question", answers, *stop)]
    half = ("--answers_per_question", answers // 2, "--stop_after", 1)
    whole = ("--answers_per_question", answers, "--stop_after", 1)
    yield "cheap, then strong where that fails | `--stop_after 1`", [({"cheap": 1}, *half), ({"strong": 1}, *whole)]


def main() -> None:
    """Prints a row per way of sampling, as a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=300)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    questions = population(args.entries, chance)
    rates = rates_of(questions, chance)
    print("| generators | early stopping | answers | tokens | accepted | per 1,000 tokens | questions with one |")
    print("|---|---|---|---|---|---|---|")
    for name, steps in ways(args.answers):
        found = play(questions, rates, steps)
        each = 1000 * found.accepted / found.tokens
        row = (name, f"{found.answers:,}", f"{found.tokens:,}", f"{found.accepted:,}", f"{each:.2f}", found.entries)
        print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
