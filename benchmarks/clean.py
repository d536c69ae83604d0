"""Cleaning at selection: what is found of what was planted, and what a million records cost.

- Test questions among others (from the GSM8K file of ``--data``, if it is there), and what else is removed.
- Near copies by similarity: a copy has some words replaced; how many pairs are found, and how many wrongly.
- Loops of period 1 to 400, and the answers, tables and code that hold none.
- Selection of ``--records`` records in each way, each in a process of its own: seconds and peak memory.

Example: ``nice python -m benchmarks.clean --data ../data --records 1000000``
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import random
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

from benchmarks.growth import spent
from common.results.cleaning.near_copies import NearCopies, Row
from common.results.cleaning.repetition import longest_loop
from common.results.cleaning.test_questions import TestQuestions
from common.results.cleaning.words import shingles, similarity
from tests.helpers import ROOT

NGRAM, NEAR, REPETITION = 8, 0.8, 0.5
WAYS = {
    "best": [],
    "best --near_duplicates 0.8": ["--near_duplicates", "0.8"],
    "best --decontaminate": ["--decontaminate", "{tests}"],
    "best --max_repetition 0.5": ["--max_repetition", "0.5"],
    "top_k 4 --distinct": ["--select", "top_k", "--top_k", "4", "--accept_score", "5", "--distinct"],
    "top_k 4": ["--select", "top_k", "--top_k", "4"],
    "threshold": ["--select", "threshold", "--accept_score", "5"],
    "random": ["--select", "random"],
    "dpo": ["--select", "dpo"],
}
VOCABULARY = [
    f"{start}{middle}{end}" for start in "bdfgklmnprst" for middle in "aeiou" for end in ("n", "r", "st", "l")
]


def rows_of(folder: Path, name: str) -> Iterator[Dict[str, Any]]:
    """The rows of a file of labelled data; none if it is not there."""
    path = folder / f"{name}.jsonl.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)


def sentence(rng: random.Random, length: int) -> List[str]:
    return [rng.choice(VOCABULARY) for _ in range(length)]


def decontamination(folder: Path) -> None:
    """Plants 200 test questions among 10,000, half of them inside a longer text and in other case."""
    rng = random.Random(0)
    questions = sorted({row["question"] for row in rows_of(folder, "gsm8k_solutions")})
    if len(questions) < 400:
        print("decontamination: skipped, there is no gsm8k_solutions.jsonl.gz in --data")
        return
    rng.shuffle(questions)
    tests, others = questions[:200], questions[200:]
    others += [" ".join(sentence(rng, rng.randint(12, 80))) for _ in range(10_000 - 200 - len(others))]
    index = TestQuestions(NGRAM)
    for question in tests:
        index.add(question, "tests")
    planted = [f"Please answer this. {q.upper()} Thank you." if n % 2 else q for n, q in enumerate(tests)]
    found = sum(index.found_in(question) is not None for question in planted)
    shared = [match for match in map(index.found_in, others) if match is not None]
    print(f"test questions: {found} of {len(planted)} planted found; {len(shared)} of {len(others):,} others removed:")
    for match in shared:
        print(f"  shares {match.ngram!r}")


def near_copies(pairs: int = 20_000) -> None:
    """Texts of 60 words with a copy of each that has some words replaced: found, by the pair's similarity."""
    rng = random.Random(0)
    lines = []
    for _ in range(pairs):
        text = sentence(rng, 60)
        copy = list(text)
        for place in rng.sample(range(60), rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8))):
            copy[place] = "other"
        lines += [" ".join(text), " ".join(copy)]
    with NearCopies(NEAR, lambda line: Row(line.decode(), [])) as copies:
        for line in lines:
            copies.add(line.encode() + b"\n")
        found = list(copies.found())
    bands: Dict[int, List[int]] = collections.defaultdict(lambda: [0, 0])
    for place in range(0, len(lines), 2):
        alike = similarity(shingles(lines[place]), shingles(lines[place + 1]))
        band = bands[min(19, int(alike * 20 + 1e-9))]
        band[0] += 1
        band[1] += found[place + 1].of is not None
    wrong = sum(found[place].of is not None for place in range(0, len(lines), 2))
    print(f"near copies at {NEAR:g} among {len(lines):,} texts: {wrong} of {pairs:,} first texts removed")
    for band, (count, hits) in sorted(bands.items()):
        print(
            f"  similarity {band / 20:.2f} to {band / 20 + 0.05:.2f}: {hits:,} of {count:,} found ({hits / count:.1%})"
        )


def loops(folder: Path) -> None:
    """Loops at the start, in the middle and at the end of a text; and texts without any."""
    rng = random.Random(0)
    signs = "abcdefghijklmnopqrstuvwxyz    .,"
    missed = 0
    for period in range(1, 401):
        unit = "".join(rng.choice(signs) for _ in range(period))
        text = "".join(rng.choice(signs) for _ in range(1200))
        for place in (0, 600, 1200):
            looped = text[:place] + unit * max(3, -(-1600 // period)) + text[place:]
            missed += longest_loop(looped, REPETITION) is None
    print(f"loops of period 1 to 400 at three places: {1200 - missed:,} of 1,200 found at {REPETITION:g}")
    groups: Dict[str, List[str]] = {
        "answers of math_8x100": [text for row in rows_of(folder, "math_8x100") for text in row["answers"]],
        "programs and tests of humaneval": [
            row[key] for row in rows_of(folder, "humaneval") for key in ("canonical_solution", "test", "prompt")
        ],
        "modules of this project": [path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("common/**/*.py"))],
        "tables": list(tables(rng)),
    }
    for share in (0.2, 0.3, REPETITION):
        counts = (
            f"{sum(longest_loop(text, share) is not None for text in texts)} of {len(texts):,} {name}"
            for name, texts in groups.items()
        )
        print(f"  loops found at {share:g}: {'; '.join(counts)}")


def tables(rng: random.Random) -> Iterator[str]:
    """Markdown tables of numbers, padded to several widths."""
    for rows in range(1, 30):
        for columns in range(2, 9):
            for width in (3, 10, 20, 40):
                cells = [[str(rng.randint(0, 10**5)).ljust(width) for _ in range(columns)] for _ in range(rows + 1)]
                lines = ["| " + " | ".join(row) + " |" for row in cells]
                yield "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for _ in range(columns)) + "|", *lines[1:]])


def write_output(path: Path, records: int) -> None:
    """An output of four scored answers per entry; one answer in 100 loops, one question in 50 is a near copy."""
    rng = random.Random(0)
    question: Sequence[str] = ()
    with open(path, "w", encoding="utf-8") as file:
        for number in range(records):
            if number % 50 or not question:
                question = sentence(rng, 30)
            base = sentence(rng, 60)
            answers = [" ".join([*base[:30], *sentence(rng, 20), *base[30:]]) for _ in range(4)]
            if number % 100 == 0:
                answers[0] += " again and" * 200
            turns = [{"from": "human", "value": f"{' '.join(question)}?"}, {"from": "gpt", "value": "4"}]
            record = {
                "original_question": turns[0]["value"],
                "original_answers": turns,
                "generated_answers": answers,
                "generated_scores": [rng.randint(0, 10) for _ in answers],
                "generated_details": [{"finish_reason": "stop"}] * 4,
                "line": number + 1,
                "entry_id": f"{number:032x}",
            }
            file.write(json.dumps(record) + "\n")
    Path(f"{path}.settings.json").write_text(json.dumps({"written": {}}))


def cost(records: int, folder: Path) -> None:
    """Selects all records in each way."""
    output, tests = folder / "out.jsonl", folder / "tests.jsonl"
    write_output(output, records)
    rng = random.Random(1)
    questions = [{"question": " ".join(sentence(rng, 40))} for _ in range(5000)]
    tests.write_text("".join(json.dumps(one) + "\n" for one in questions))
    print(f"{records:,} records of 4 answers ({output.stat().st_size / (1 << 20):,.0f} MiB):")
    for name, flags in WAYS.items():
        words = [flag.format(tests=tests) for flag in flags]
        took = spent(["-m", "common", "select", output, "--quiet", "--selected_file", folder / "train.jsonl", *words])
        print(f"  {name}: {took.cpu:.0f} s of CPU, {took.seconds:.0f} s, {took.peak:.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of labelled data")
    parser.add_argument("--records", type=int, default=200_000)
    args = parser.parse_args()
    decontamination(args.data)
    near_copies()
    loops(args.data)
    with tempfile.TemporaryDirectory() as folder:
        cost(args.records, Path(folder))


if __name__ == "__main__":
    main()
