"""How often the rules are right on labelled answers: false accepts, right answers that are not accepted, and time.

The labelled data is not part of this project; a set whose file is missing is skipped. Generated references, each
written in many forms, need no file.

Example: ``python -m benchmarks.rules --data data --pairs pairs.jsonl``
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from common.scoring.math_equal import check_math, load_rule
from common.scoring.same_answer import decide
from tests.scoring.identity import FORMS, references

Rule = Callable[[str, str, str], Optional[bool]]


class Case(NamedTuple):
    """An answer with its label."""

    question: str
    reference: str
    answer: str
    is_right: bool


def match(question: str, reference: str, answer: str) -> Optional[bool]:
    """The verdict of ``--scorer match``."""
    return decide(question, reference, answer).value


def math(question: str, reference: str, answer: str) -> Optional[bool]:
    """The verdict of ``--scorer math``."""
    return check_math(question, reference, answer).value


def match_math(question: str, reference: str, answer: str) -> Optional[bool]:
    """The verdict of ``--scorer match math``."""
    decision = decide(question, reference, answer)
    if decision.value is not None and not decision.unsure:
        return decision.value
    verdict = math(question, reference, answer)
    return decision.value if verdict is None else verdict


RULES: Dict[str, Rule] = {"match": match, "math": math, "match math": match_math}


def lines(path: Path) -> Iterator[Dict[str, Any]]:
    """The objects of a file of JSON lines, plain or gzip."""
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8")
    with opened as file:
        yield from map(json.loads, file)


def gsm8k(path: Path, reference: str = "") -> Iterator[Case]:
    """Solutions of GSM8K; ``reference`` "####" marks the reference's last line so."""
    for item in lines(path):
        known = item["reference"].replace("\nA: ", f"\n{reference or 'A:'} ")
        yield Case(item["question"], known, item["answer"], item["correct"])


def math_500(path: Path, reference: str) -> Iterator[Case]:
    """Answers to questions of MATH, eight per question; ``reference`` is the key of the reference."""
    for item in lines(path):
        for answer, correct in zip(item["answers"], item["correct"]):
            yield Case(item["question"], item[reference], answer, correct)


def labelled_pairs(path: Path) -> Iterator[Case]:
    """References with right and wrong answers as models write them."""
    for item in lines(path):
        for key in ("right", "wrong"):
            for answer in item[key]:
                yield Case(item["question"], item["reference"], answer, key == "right")


def tagged(cases: Iterator[Case]) -> Iterator[Case]:
    """The same answers, whose last line is in an answer tag."""
    for case in cases:
        *before, last = case.answer.rstrip().split("\n")
        tag = f"<answer>{last.replace('A: ', '')}</answer>"
        yield case._replace(answer="\n".join([*before, tag]))


def measure(name: str, cases: List[Case]) -> None:
    """Prints a line per rule, and every false accept of the last rule."""
    right = sum(case.is_right for case in cases)
    for rule_name, rule in RULES.items():
        counts: Counter[Tuple[bool, Optional[bool]]] = Counter()
        seconds: List[float] = []
        false_accepts: List[Case] = []
        for case in cases:
            start = time.perf_counter()
            verdict = rule(case.question, case.reference, case.answer)
            seconds.append(time.perf_counter() - start)
            counts[case.is_right, verdict] += 1
            if verdict and not case.is_right:
                false_accepts.append(case)
        print(
            f"| {name} | {rule_name} | {counts[True, True]:,} of {right:,} | {counts[True, False]} "
            f"| {counts[True, None]} | {counts[False, True]} | {counts[False, None]} of {len(cases) - right:,} "
            f"| {statistics.median(seconds) * 1000:.3f} ms |"
        )
        for case in false_accepts if rule_name == "match math" else []:
            print(f"  - false accept: {case.reference[-60:]!r} <- {case.answer[-80:]!r}")


def measure_generated(count: int) -> None:
    """Prints how many generated right answers are accepted, and neighbours refused, per form."""
    accepted: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for item in references(1, count):
        for form, write in FORMS.items():
            accepted[form] += match_math("", item.reference, write(item.same)) is True
            is_accepted = match_math("", item.reference, write(item.other)) is True
            wrong[form] += is_accepted
            if is_accepted:
                print(f"  - false accept: {item.kind}: {item.reference!r} <- {write(item.other)!r}")
    print("\n| form | right answers accepted | neighbours accepted |\n|---|---|---|")
    for form in FORMS:
        print(f"| {form} | {accepted[form]} of {count} | {wrong[form]} |")


def measure_changes(count: int) -> None:
    """Changes a byte of right answers at random, and prints the longest time of a rule; no change may raise."""
    chance = random.Random(1)
    slowest = 0.0
    for item in references(2, count):
        answer = bytearray(chance.choice(list(FORMS.values()))(item.same).encode())
        answer[chance.randrange(len(answer))] = chance.randrange(256)
        start = time.perf_counter()
        decide("", item.reference, answer.decode(errors="replace"))
        slowest = max(slowest, time.perf_counter() - start)
    print(f"\n{count} random byte changes: no exception, at most {slowest * 1000:.1f} ms")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of gsm8k_solutions.jsonl.gz and math_8x100.jsonl.gz")
    parser.add_argument("--pairs", type=Path, help="a file of pairs (default: cases/pairs.jsonl beside the folder)")
    parser.add_argument("--generated", type=int, default=1000, help="generated references")
    args = parser.parse_args()
    folder: Path = args.data or Path("data")
    pairs: Path = args.pairs or folder.parent / "cases" / "pairs.jsonl"
    load_rule()
    solutions, answers = folder / "gsm8k_solutions.jsonl.gz", folder / "math_8x100.jsonl.gz"
    sets: List[Tuple[str, Path, Callable[[], Iterator[Case]]]] = [
        ("GSM8K", solutions, lambda: gsm8k(solutions)),
        ("GSM8K, reference `#### 18`", solutions, lambda: gsm8k(solutions, "####")),
        ("GSM8K, answers in a tag", solutions, lambda: tagged(gsm8k(solutions))),
        ("MATH", answers, lambda: math_500(answers, "reference")),
        ("MATH, reference = solution", answers, lambda: math_500(answers, "solution")),
        ("pairs", pairs, lambda: labelled_pairs(pairs)),
    ]
    print("| set | rule | accepted | wrong | undecided | false accepts | undecided wrong ones | median time |")
    print("|---|---|---|---|---|---|---|---|")
    for name, path, cases in sets:
        if path.exists():
            measure(name, list(cases()))
        else:
            print(f"{name} is skipped: {path} is missing")
    measure_generated(args.generated)
    measure_changes(500)


if __name__ == "__main__":
    main()
