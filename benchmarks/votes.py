"""What the majority is worth on labelled answers: precision, accuracy, and samples with ``--stop_sure``.

The data (eight labelled answers per question, with a reward model's scores) is not part of this project. The benchmark
ends with one line if its file is missing. ``--stop_sure`` is measured with reject.py: a server on this machine gives
each question's answers in their order.

Example: ``python -m benchmarks.votes --data data``
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from common.input.conversations import entry_from_conversation
from common.records import Entry, Score
from common.scoring.majority import Majority
from common.scoring.shapes import AnswerScorer
from tests.helpers import ROOT, conversation, environment, read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

FILE = "math_8x100.jsonl.gz"
LEAST = 0.75
MISSING = float("-inf")
Row = Dict[str, Any]
Scores = List[List[Optional[float]]]


class Known(AnswerScorer):
    """A reward model's scores that are known already."""

    name = "reward"
    has_range = False

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        raise NotImplementedError


def rows_of(path: Path) -> List[Row]:
    """The questions, each with its answers, their labels and their rewards."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rewards_of(row: Row) -> List[float]:
    return [value[0] if isinstance(value, list) else value for value in row["reward"]]


def votes(rows: Sequence[Row], weighted: bool = False) -> List[List[Score]]:
    """What ``--scorer majority`` says of each answer, with the range from 0 to 1."""

    async def score_all() -> List[List[Score]]:
        scorer = Majority(0, 1, weigher=Known({}) if weighted else None)
        found = []
        for row in rows:
            entry = entry_from_conversation(conversation(row["question"]))
            parts = [Score(value) for value in rewards_of(row)]
            found.append(await scorer.score_with_parts(entry, [], row["answers"], parts))
        return found

    return asyncio.run(score_all())


def lengths(rows: Sequence[Row], sign: int) -> Scores:
    return [[float(sign * len(answer)) for answer in row["answers"]] for row in rows]


def values(scores: List[List[Score]]) -> Scores:
    return [[score.value for score in own] for own in scores]


def leads(scores: List[List[Score]]) -> Scores:
    """1 for the answers of the largest class (of several, of the first one), 0 for the others."""
    found = []
    for own in scores:
        names = [score.vote["answer"] if score.vote else None for score in own]
        found.append([float(name == names[best_of([score.value for score in own])]) for name in names])
    return found


def best_of(scores: Sequence[Optional[float]]) -> int:
    """The place of the answer that ``--select best`` takes: the first of the highest score."""
    return max(range(len(scores)), key=lambda place: MISSING if (score := scores[place]) is None else score)


def accuracy(labels: Sequence[Sequence[bool]], scores: Scores) -> float:
    """The share of questions whose ``best_of`` is right."""
    return sum(own[best_of(found)] for own, found in zip(labels, scores)) / len(labels)


def by_chance(labels: Sequence[Sequence[bool]]) -> float:
    """The share of questions whose answer is right if it is picked at random."""
    return sum(sum(own) / len(own) for own in labels) / len(labels)


def precision(rows: Sequence[Row], scores: Scores, least: float) -> Tuple[float, int, int]:
    """The share of right answers among those that score at least this; their number, and that of their questions."""
    accepted = [
        [label for label, value in zip(row["correct"], own) if value is not None and value >= least]
        for row, own in zip(rows, scores)
    ]
    right = list(itertools.chain(*accepted))
    return sum(right) / len(right), len(right), sum(map(bool, accepted))


def threshold(scores: Scores, count: int) -> float:
    """The score that about this many answers reach."""
    return sorted((value for own in scores for value in own if value is not None), reverse=True)[count - 1]


def show_precision(rows: Sequence[Row], scored: List[List[Score]]) -> None:
    """A line for each way to accept answers. The controls accept as many answers as the strictest one."""
    share = values(scored)
    _, count, _ = precision(rows, share, LEAST)
    short, long = lengths(rows, -1), lengths(rows, 1)
    reward: Scores = [list(rewards_of(row)) for row in rows]
    ways: List[Tuple[str, Scores, float]] = [
        ("all (and random: any number of them)", lengths(rows, 0), 0),
        ("majority", leads(scored), 1),
        (f"`--majority_min {LEAST}`", share, LEAST),
        ("shortest, as many", short, threshold(short, count)),
        ("longest, as many", long, threshold(long, count)),
        ("highest reward, as many", reward, threshold(reward, count)),
    ]
    print("| accepted | precision | answers | questions |\n|---|---|---|---|")
    for name, scores, least in ways:
        print("| {} | {:.3f} | {} | {} |".format(name, *precision(rows, scores, least)))


def show_accuracy(rows: Sequence[Row], scored: List[List[Score]]) -> None:
    """A line for each way to pick one answer per question."""
    truths = [row["correct"] for row in rows]
    reward: Scores = [list(rewards_of(row)) for row in rows]
    ways = [
        ("shortest", lengths(rows, -1)),
        ("longest", lengths(rows, 1)),
        ("majority", values(scored)),
        ("highest reward", reward),
        ("majority, weighted by the reward", values(votes(rows, weighted=True))),
    ]
    print("\n| picked answer | accuracy |\n|---|---|")
    print(f"| random | {by_chance(truths):.3f} |")
    for name, scores in ways:
        print(f"| {name} | {accuracy(truths, scores):.3f} |")


def sample(rows: Sequence[Row], folder: Path, flags: Sequence[object]) -> List[Row]:
    """The records of reject.py, whose generator gives each question's answers in their order."""
    answers: Dict[str, Iterator[str]] = {row["question"]: iter(row["answers"]) for row in rows}

    def reply(request: Request) -> Reply:
        return completion(next(answers[request.question]))

    source, output = folder / "in.jsonl", folder / "-".join(["out", *map(str, flags)])
    write_input(source, [conversation(row["question"]) for row in rows])
    words: List[object] = ["--input_file", source, "--output_file", output, "--scorer", "majority", "--quiet"]
    with ScriptedServer(reply) as server:
        words += ["--generator_port", server.port, "--generator_model", "replay", "--answers_per_question", 8, *flags]
        command = [sys.executable, str(ROOT / "reject.py"), *map(str, words)]
        subprocess.run(command, check=True, env=environment())
    return read_lines(output)


def show_sampling(rows: Sequence[Row], sures: Sequence[float]) -> None:
    """A line for each value of --stop_sure, and one without."""
    print("\n| `--stop_sure` | samples per question | majority accuracy | random pick of these |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for sure in (None, *sures):
            records = sample(rows, Path(folder), [] if sure is None else ["--stop_sure", sure])
            labels = labels_of(rows, records)
            count = sum(map(len, labels)) / len(labels)
            scores = [record["generated_scores"] for record in records]
            print(f"| {sure or 'none'} | {count:.2f} | {accuracy(labels, scores):.3f} | {by_chance(labels):.3f} |")


def labels_of(rows: Sequence[Row], records: Sequence[Row]) -> List[List[bool]]:
    """The labels of each record's answers."""
    known: Dict[str, Dict[str, bool]] = defaultdict(dict)
    for row in rows:
        known[row["question"]].update(zip(row["answers"], row["correct"]))
    return [[known[record["original_question"]][text] for text in record["generated_answers"]] for record in records]


def main() -> None:
    """Prints three tables: precision of accepted answers, accuracy of picked ones, and early stopping."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help=f"the folder of {FILE}")
    parser.add_argument("--sure", type=float, nargs="*", default=[0.85, 0.9, 0.95], help="values of --stop_sure")
    args = parser.parse_args()
    if not (args.data / FILE).exists():
        print(f"skipped: {args.data / FILE} is not there")
        return
    rows = rows_of(args.data / FILE)
    scored = votes(rows)
    show_precision(rows, scored)
    show_accuracy(rows, scored)
    show_sampling(rows, args.sure)


if __name__ == "__main__":
    main()
