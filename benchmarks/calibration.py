"""What a calibration promises against what it gives: a simulated judge of known quality, calibrated on half of a set.

Each split is a new set of labelled answers. One half calibrates (``certify``), the other half tells what was got. The
controls are scores at random, the answer's length, and the plain way: the lowest threshold whose share of right answers
on the calibrating half is the one asked for. ``truth`` is the share over a population of 400,000 answers.

Example: ``python -m benchmarks.calibration --splits 200``
"""

from __future__ import annotations

import argparse
import bisect
import math
import random
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from common.results.certify import Certificate, Trial, certify, levels

ASKED = (0.80, 0.90, 0.95, 0.99)
POPULATION = 400_000
Way = Callable[[Sequence[Trial], float], Optional[float]]


class Sample(NamedTuple):
    """A labelled answer: its question, whether it is right, and its score by each scorer."""

    group: int
    right: bool
    scores: Dict[str, float]


class Outcome(NamedTuple):
    """A split: what the held-out half and the population give above the threshold; None where it was refused."""

    got: Optional[float]
    truth: float
    kept: float


def answers(questions: int, each: int, chance: random.Random) -> List[Sample]:
    """Answers right in 60 %, more or less often by question; the judge's whole scores have an AUC of about 0.95.

    Of several answers to one question, the judge's errors are alike. Right answers are a little shorter.
    """
    made = []
    for group in range(questions):
        rate = chance.betavariate(1.5, 1.0)
        bias = chance.gauss(0, 0.6 if each > 1 else 0)
        for _ in range(each):
            right = chance.random() < rate
            latent = (1.8 if right else -1.0) + bias + chance.gauss(0, 1.1)
            score = min(10, max(0, round(5 + 2.2 * latent)))
            length = chance.lognormvariate(6 - 0.15 * right, 0.5)
            made.append(Sample(group, right, {"judge": score, "length": -length, "random": chance.random()}))
    return made


def trials(samples: Sequence[Sample], scorer: str) -> List[Trial]:
    return [Trial(one.scores[scorer], one.right, one.group) for one in samples]


def certified(known: Sequence[Trial], asked: float) -> Optional[float]:
    """The threshold of a calibration; None if it is refused."""
    found = certify(known, asked)
    return found.value if isinstance(found, Certificate) else None


def plain(known: Sequence[Trial], asked: float) -> Optional[float]:
    """The lowest threshold whose share on the labels is the one asked for, without any bound."""
    best = None
    for level in levels(known):
        labels = [trial.right for trial in known if trial.value >= level]
        best = level if sum(labels) >= asked * len(labels) else best
    return best


class Truth:
    """The share of right answers above any threshold, over the population."""

    def __init__(self, population: Sequence[Trial]) -> None:
        ordered = sorted(population)
        self._values = [trial.value for trial in ordered]
        self._right = [0]
        for trial in reversed(ordered):
            self._right.append(self._right[-1] + trial.right)

    def above(self, threshold: float) -> float:
        count = len(self._values) - bisect.bisect_left(self._values, threshold)
        return self._right[count] / count if count else math.nan


def split(samples: Sequence[Sample], scorer: str, way: Way, asked: float, truth: Truth) -> Outcome:
    """Calibrates on the first half of the questions, and looks at the other."""
    known, held = (trials(part, scorer) for part in (samples[: len(samples) // 2], samples[len(samples) // 2 :]))
    threshold = way(known, asked)
    if threshold is None:
        return Outcome(None, math.nan, 0.0)
    labels = [trial.right for trial in held if trial.value >= threshold]
    if not labels:
        return Outcome(None, math.nan, 0.0)
    return Outcome(sum(labels) / len(labels), truth.above(threshold), len(labels) / len(held))


def row(name: str, asked: float, outcomes: Sequence[Outcome]) -> str:
    """One line of the table."""
    done = [one for one in outcomes if one.got is not None]
    refused = 1 - len(done) / len(outcomes)
    if not done:
        return f"| {name} | {asked:.2f} | - | - | - | - | {refused:.0%} |"
    got = sum(one.got or 0.0 for one in done) / len(done)
    below = sum((one.got or 0.0) < asked for one in done) / len(outcomes)
    wrong = sum(one.truth < asked for one in done) / len(outcomes)
    kept = sum(one.kept for one in done) / len(done)
    return f"| {name} | {asked:.2f} | {got:.3f} | {below:.1%} | {wrong:.1%} | {kept:.0%} | {refused:.0%} |"


def main() -> None:
    """Prints a table for one answer per question, and one for eight."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--answers", type=int, default=8000, help="labelled answers of a set; half of them calibrate")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ways = {"judge": ("judge", certified), "judge, plain": ("judge", plain)}
    ways.update({"length": ("length", certified), "random": ("random", certified)})
    for each in (1, 8):
        chance = random.Random(f"{args.seed} {each}")
        population = answers(POPULATION // each, each, chance)
        truths = {scorer: Truth(trials(population, scorer)) for scorer in ("judge", "length", "random")}
        sets = [answers(args.answers // each, each, chance) for _ in range(args.splits)]
        print(f"\n{each} per question, {args.answers // 2:,} labels calibrate, {args.splits} splits\n")
        print("| scorer | asked | got (held out) | got below asked | truth below asked | kept | refused |")
        print("|---|---|---|---|---|---|---|")
        for name, (scorer, way) in ways.items():
            for asked in ASKED:
                outcomes = [split(one, scorer, way, asked, truths[scorer]) for one in sets]
                print(row(name, asked, outcomes), flush=True)


if __name__ == "__main__":
    main()
