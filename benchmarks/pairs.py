"""How often each kind of judge prefers the better answer of a labelled pair, beside the longer answer and chance.

The pairs are public (LLMBar, PandaLM). The scorers take turns, and the table is of the pairs that all of them finished,
so a second call with the same folder goes on and has more pairs. A pair that a scorer does not decide (equal
scores, or none) counts as half.

Example: ``python -m benchmarks.pairs --data ../data --minutes 10 --folder out/pairs``
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from common.results.estimators import mean_interval
from tests.helpers import ROOT, environment, read_lines

PROMPT = """\
Question: {question}
Answer: {answer}

How good is this answer to the question, from 0 (bad) to 10 (correct, complete and clear)? """
JUDGES = {
    "text": "Reply with one line in exactly this form:\nScore: <number>",
    "json": 'Reply with JSON: {"reasoning": "<five words>", "score": <number>}',
    "logprob": "Reply with one line in exactly this form:\nScore: <whole number>",
}
FIRST = 8  # pairs of each scorer's first turn; then twice as many, and so on
LONGEST = {"text": 16, "json": 64, "logprob": 8, "compare": 32, "compare_json": 96}  # tokens of a reply


class Pair(NamedTuple):
    """A question with two answers; ``better`` is the index of the one that people prefer."""

    question: str
    answers: Tuple[str, str]
    better: int


def llmbar(row: Dict[str, Any]) -> Optional[Pair]:
    return Pair(row["input"], (row["output_1"], row["output_2"]), row["label"] - 1)


def pandalm(row: Dict[str, Any]) -> Optional[Pair]:
    """The pair, if at least two of three people prefer the same answer."""
    (label, votes), *_ = Counter(row[f"annotator{number}"] for number in (1, 2, 3)).most_common()
    question = f"{row['instruction']}\n\n{row['input']}".strip()
    return Pair(question, (str(row["response1"]), str(row["response2"])), label - 1) if label and votes > 1 else None


SETS: Dict[str, Callable[[Dict[str, Any]], Optional[Pair]]] = {"llmbar_pairs": llmbar, "pandalm_pairs": pandalm}


def pairs_of(path: Path, read: Callable[[Dict[str, Any]], Optional[Pair]], longest: int) -> Iterator[Pair]:
    """The pairs of a file in random order, one per question, without those that are long for a CPU or equal."""
    seen = set()
    rows = [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]
    random.Random(1).shuffle(rows)
    for pair in filter(None, map(read, rows)):
        texts = [text.strip() for text in pair.answers]
        if pair.question in seen:
            continue
        seen.add(pair.question)
        if all(texts) and texts[0] != texts[1] and len("".join([pair.question, *texts])) <= longest:
            yield pair


def record_of(pair: Pair) -> Dict[str, Any]:
    """The pair as a record of sampling.py."""
    turns = [{"from": "human", "value": pair.question}]
    return {"original_question": pair.question, "original_answers": turns, "generated_answers": list(pair.answers)}


def score(source: Path, output: Path, seconds: float, flags: Sequence[object]) -> None:
    """Runs score.py, and interrupts it after that time: it keeps what it has."""
    words = ["--input_file", source, "--output_file", output, "--local", "--max_retries", 0, "--concurrency", 4]
    command = [sys.executable, str(ROOT / "score.py"), "--quiet", *map(str, [*words, *flags])]
    if seconds <= 0:
        return
    run = subprocess.Popen(command, env=environment())
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGINT)
        run.wait()


def flags_of(folder: Path) -> Dict[str, List[object]]:
    """The flags of each scorer."""
    flags: Dict[str, List[object]] = {}
    for mode, ending in JUDGES.items():
        prompt = folder / f"{mode}.txt"
        prompt.write_text(PROMPT + ending)
        flags[mode] = ["--judge_mode", mode, "--judge_prompt", prompt, "--judge_max_tokens", LONGEST[mode]]
    for name, mode in (("compare", "text"), ("compare_json", "json")):
        flags[name] = ["--scorer", "compare", "--judge_mode", mode, "--judge_max_tokens", LONGEST[name]]
    return flags


Scores = Dict[str, List[Optional[float]]]  # by question and answers


def scores_of(output: Path) -> Scores:
    return {
        json.dumps([r["original_question"], *r["generated_answers"]]): r["generated_scores"] for r in read_lines(output)
    }


def verdict(scores: Sequence[Optional[float]], better: int) -> Optional[bool]:
    """Whether the better answer has the higher score; None if the scores do not tell."""
    good, bad = scores[better], scores[1 - better]
    return None if good is None or bad is None or good == bad else good > bad


def row(name: str, verdicts: Sequence[Optional[bool]]) -> str:
    """A line of the table."""
    decided = [float(one) for one in verdicts if one is not None]
    share = "{:.2f} ({:.2f} to {:.2f})".format(*mean_interval(decided, 0, 1)) if decided else ""
    accuracy = (sum(decided) + verdicts.count(None) / 2) / len(verdicts)
    return f"| {name} | {accuracy:.2f} | {len(decided) / len(verdicts):.0%} | {share} |"


def table(name: str, pairs: Sequence[Pair], results: Dict[str, Scores]) -> None:
    """Prints the table of one set, of the pairs that all scorers finished."""
    keys = {pair: json.dumps([pair.question, *pair.answers]) for pair in pairs}
    done = [pair for pair in pairs if all(keys[pair] in scores for scores in results.values())]
    print(f"\n{name}: {len(done)} pairs\n")
    if not done:
        return
    print("| scorer | accuracy | decided | right where decided (95 %) |\n|---|---|---|---|")
    print("| random | 0.50 | | |")
    lengths = [[float(len(text)) for text in pair.answers] for pair in done]
    print(row("the longer answer", [verdict(one, pair.better) for one, pair in zip(lengths, done)]))
    for scorer, scores in results.items():
        print(row(scorer, [verdict(scores[keys[pair]], pair.better) for pair in done]))


def main() -> None:
    """Scores the pairs of each set with each scorer, and prints a table per set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of llmbar_pairs.jsonl.gz and others")
    parser.add_argument("--minutes", type=float, default=10, help="of all scorers and sets together")
    parser.add_argument("--longest", type=int, default=700, help="characters of a question with both answers")
    parser.add_argument("--folder", type=Path, default=Path("out/pairs"))
    args = parser.parse_args()
    names = [name for name in SETS if (args.data / f"{name}.jsonl.gz").exists()]
    if not names:
        sys.exit(f"{args.data} has none of {', '.join(f'{name}.jsonl.gz' for name in SETS)}")
    pairs = {name: prepared(args, name) for name in names}
    end = time.monotonic() + 60 * args.minutes
    count = FIRST
    while time.monotonic() < end and count < 2 * max(map(len, pairs.values())):
        for name in names:
            folder = args.folder / name
            for scorer, flags in flags_of(folder).items():
                left = max(0.0, end - time.monotonic())
                score(folder / "pairs.jsonl", folder / f"{scorer}.jsonl", left, ["--limit", count, *flags])
        count *= 2
    for name in names:
        table(name, pairs[name], {one: scores_of(args.folder / name / f"{one}.jsonl") for one in LONGEST})


def prepared(args: argparse.Namespace, name: str) -> List[Pair]:
    """The pairs of a set, which are also written as the input of score.py."""
    pairs = list(pairs_of(args.data / f"{name}.jsonl.gz", SETS[name], args.longest))
    source = args.folder / name / "pairs.jsonl"
    source.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record_of(pair)) + "\n" for pair in pairs)
    if not source.exists() or source.read_text() != text:
        source.write_text(text)
    return pairs


if __name__ == "__main__":
    main()
