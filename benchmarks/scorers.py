"""What each scorer is worth on the embedded model: the accuracy of the answer it picks, and its AUC against the truth.

Generated questions with known answers are sampled once; each scorer then scores the same answers. The truth of an
answer is told apart from all scorers: it is whole, and its last number is the known one.

Example: ``python -m benchmarks.scorers --questions 155 --answers 4 --folder out/scorers``
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from tests.helpers import ROOT, conversation, environment, read_lines, write_input

PROMPT = """\
Question: {question}
Correct answer: {reference}
Student's answer: {answer}

How good is the student's answer, from 0 (wrong) to 10 (correct)? """  # short: a CPU reads it 600 times
JUDGES = {
    "text": "Reply with one line in exactly this form:\nScore: <number>",
    "json": 'Reply with JSON: {"reasoning": "<five words>", "score": <number>}',
    "logprob": "Reply with one line in exactly this form:\nScore: <whole number>",
}
LONGEST = {"text": 16, "json": 64, "logprob": 8}  # tokens of a judge's reply


def question(chance: random.Random) -> Tuple[str, int]:
    """An arithmetic or logic question and its answer."""
    a, b = chance.randint(2, 20), chance.randint(2, 9)
    kinds = [
        (f"What is {a} + {b}?", a + b),
        (f"What is {a + b} - {b}?", a),
        (f"What is {b} times {chance.choice((2, 3, 5, 10))}?", 0),
        (f"Tom has {a} apples and gets {b} more. How many apples does he have?", a + b),
        (f"Which number is larger, {a} or {a + b}?", a + b),
        (f"What number comes next: {b}, {b + 2}, {b + 4}, {b + 6}?", b + 8),
        (f"All cats have 4 legs. How many legs do {b} cats have?", 4 * b),
    ]
    text, answer = chance.choice(kinds)
    times = re.match(r"What is (\d+) times (\d+)", text)
    return text, int(times[1]) * int(times[2]) if times else answer


def questions(count: int, seed: int) -> List[Tuple[str, int]]:
    """So many different questions, but for comparisons: the last number of "9 is larger than 12" does not tell."""
    chance, found = random.Random(seed), {}
    while len(found) < count:
        text, answer = question(chance)
        if "larger" not in text:
            found[text] = answer
    return list(found.items())


def truths_of(record: Dict[str, Any]) -> List[bool]:
    """Which answers of a record are whole and end in the known number."""
    known = float(record["original_answers"][-1]["value"])
    true = []
    for answer, detail in zip(record["generated_answers"], record["generated_details"]):
        numbers = re.findall(r"-?\d+(?:\.\d+)?", answer.replace(",", ""))
        true.append(detail["finish_reason"] != "length" and bool(numbers) and float(numbers[-1]) == known)
    return true


def spent_on(records: Sequence[Dict[str, Any]]) -> Tuple[int, int]:
    """Requests and completion tokens of all scores; equal answers of an entry are judged once."""
    requests = tokens = 0
    for record in records:
        for detail in dict(zip(record["generated_answers"], record["generated_details"])).values():
            requests += detail.get("judge_usage", {}).get("requests", 0)
            tokens += detail.get("judge_usage", {}).get("completion_tokens", 0)
    return requests, tokens


def accuracy(truths: Sequence[Sequence[bool]], scores: Sequence[Sequence[Optional[float]]]) -> float:
    """The share of questions whose highest-scored answer is true; among equals, and with no score, by chance."""
    total = 0.0
    for true, scored in zip(truths, scores):
        there = [value for value in scored if value is not None]
        best = [t for t, value in zip(true, scored) if value == max(there)] if there else list(true)
        total += sum(best) / len(best)
    return total / len(truths)


def area(truths: Sequence[bool], scores: Sequence[Optional[float]]) -> Optional[float]:
    """The chance that a true answer scores above a false one, ties half (Mann-Whitney); None without both kinds."""
    good = [value for true, value in zip(truths, scores) if true and value is not None]
    bad = [value for true, value in zip(truths, scores) if not true and value is not None]
    if not good or not bad:
        return None
    above = sum((one > other) + (one == other) / 2 for one in good for other in bad)
    return above / (len(good) * len(bad))


def run(script: str, *flags: object) -> None:
    """Runs a script."""
    subprocess.run([sys.executable, str(ROOT / script), *map(str, flags)], check=True, env=environment())


def main() -> None:
    """Samples once, scores with each scorer, prints a table. The same folder again resumes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--questions", type=int, default=155)
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("out/scorers"))
    parser.add_argument("--judges", nargs="*", choices=JUDGES, default=list(JUDGES))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    asked = questions(args.questions, args.seed)
    source = write_input(args.folder / "in.jsonl", [conversation(text, str(answer)) for text, answer in asked])
    sampled = args.folder / "sampled.jsonl"
    drawing = ["--local", "--seed", args.seed, "--answers_per_question", args.answers, "--max_tokens", 48]
    terse = ["--system_prompt", "Answer with one short sentence.", "--concurrent_requests", 8]
    run("sampling.py", "--input_file", source, "--output_file", sampled, *drawing, *terse)
    scorers: Dict[str, List[object]] = {"match": ["--scorer", "match"], "math": ["--scorer", "math"]}
    for mode in args.judges:
        prompt = args.folder / f"{mode}.txt"
        prompt.write_text(PROMPT + JUDGES[mode])
        asking = ["--judge_mode", mode, "--judge_prompt", prompt, "--judge_max_tokens", LONGEST[mode]]
        scorers[f"judge {mode}"] = ["--local", "--max_retries", 0, "--concurrency", 8, *asking]
    results = {}
    for name, flags in scorers.items():
        output = args.folder / f"{name.replace(' ', '_')}.jsonl"
        run("score.py", "--quiet", "--input_file", sampled, "--output_file", output, *flags)
        results[name] = read_lines(output)
    show(results)


def show(results: Dict[str, List[Dict[str, Any]]]) -> None:
    """A line for a random pick and one for each scorer."""
    print("| pick | accuracy | AUC | unscored | requests | tokens |\n|---|---|---|---|---|---|")
    for place, (name, records) in enumerate(results.items()):
        truths = [truths_of(record) for record in records]
        scores: List[List[Optional[float]]] = [record["generated_scores"] for record in records]
        requests, tokens = spent_on(records)
        if place == 0:
            share = sum(sum(true) / len(true) for true in truths) / len(truths)
            print(f"| random | {share:.1%} | 0.5 | | | |")
            print(f"| any of the answers right | {sum(map(any, truths)) / len(truths):.1%} | | | | |")
        flat = [value for scored in scores for value in scored]
        auc = area([true for each in truths for true in each], flat)
        missing = sum(value is None for value in flat) / len(flat)
        print(
            f"| best by {name} | {accuracy(truths, scores):.1%} | {'none' if auc is None else f'{auc:.3f}'} "
            f"| {missing:.1%} | {requests:,} | {tokens:,} |"
        )


if __name__ == "__main__":
    main()
