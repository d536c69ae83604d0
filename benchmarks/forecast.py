"""The table of ``--estimate`` against the finished job: one pilot, then each setting of its table as a run of its own.

A loopback server generates and judges: the population of acceptance.py, answers of heavy-tailed lengths, scores from 0
to 10. Answers depend on the question and the seed alone, so the pilot's are a part of each whole job, as they are when
a user goes on.

Example: ``python -m benchmarks.forecast --entries 400 --pilot 60``
"""

from __future__ import annotations

import argparse
import math
import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from benchmarks.acceptance import Question, population
from tests.helpers import ROOT, conversation, environment, read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

FIGURES = ("rows", "answers", "generator's tokens", "scorer's tokens")
FLAGS = {"N": "--answers_per_question"}
CELL = re.compile(r"([\d,]+)(?: ±(\d+)%)?")


class Forecast(NamedTuple):
    """A row of the table: the setting as it says it, and each figure with its reach."""

    setting: str
    figures: Dict[str, Tuple[float, float]]

    def flags(self, threshold: str) -> List[str]:
        """The flags of the setting; ``threshold`` is that of the pilot."""
        words = [part.split() for part in self.setting.lstrip("*~ ").split(", ")]
        found = {FLAGS.get(name, f"--{name}"): value for name, value in words}
        return [word for pair in {"--accept_score": threshold, **found}.items() for word in pair]


def server_of(questions: List[Question]) -> ScriptedServer:
    """Generates answers that name their quality, and judges them by it."""
    rates = {question.text: question.rate for question in questions}

    def script(request: Request) -> Reply:
        if request.body["model"] == "j":
            score = int(re.findall(r"quality (\d+)", request.question)[-1])
            return completion(f"It is fine.\nScore: {score}", tokens=8 + score % 3)
        chance = random.Random(f"{request.question} {request.body['seed']}")
        tokens = round(chance.lognormvariate(math.log(200), 0.6))
        is_right = chance.random() < rates[request.question]
        score = chance.randint(8, 10) if is_right else min(7, int(chance.expovariate(0.4)))
        text = f"Take {tokens}, {chance.random()}. It has the quality {score}."
        return completion(text, tokens=tokens, delay=tokens / 20_000)

    return ScriptedServer(script)


def command(folder: Path, port: int, source: Path, *flags: object) -> List[str]:
    """The command of reject.py in a folder of its own."""
    words = ["--input_file", source, "--output_file", folder / "out.jsonl", "--generator_model", "g"]
    words += ["--scorer_model", "j", "--generator_port", port, "--concurrency", 16, "--seed", 1, *flags]
    return [sys.executable, str(ROOT / "reject.py"), *map(str, words)]


def forecasts(text: str) -> List[Forecast]:
    """The rows of the table in what ``--estimate`` prints."""
    head, *lines = text[text.index("  settings ") :].splitlines()
    names = [name for name in re.split(r"\s{2,}", head.strip()) if name]
    found = []
    for line in lines:
        setting, *cells = re.split(r"\s{2,}", line.strip())
        numbers = {name: CELL.fullmatch(cell) for name, cell in zip(names[1:], cells) if name in FIGURES}
        figures = {
            name: (float(cell[1].replace(",", "")), float(cell[2] or 0) / 100) for name, cell in numbers.items() if cell
        }
        found.append(Forecast(setting, figures))
    return found


def whole(questions: List[Question], source: Path, threshold: str, flags: List[str]) -> Dict[str, float]:
    """What a whole job really takes and brings."""
    with tempfile.TemporaryDirectory() as folder, server_of(questions) as server:
        subprocess.run(command(Path(folder), server.port, source, *flags, "--quiet"), check=True, env=environment())
        accept = float(flags[flags.index("--accept_score") + 1])
        records = read_lines(Path(folder) / "out.jsonl")
        rows = sum(any((score or 0) >= accept for score in record["generated_scores"]) for record in records)
        sent = {model: [one for one in server.chats if one.body["model"] == model] for model in "gj"}
        tokens = {model: sum(tokens_of(server, one) for one in of) for model, of in sent.items()}
    return dict(zip(FIGURES, (rows, len(sent["g"]), tokens["g"], tokens["j"])))


def tokens_of(server: ScriptedServer, request: Request) -> int:
    """The prompt and the completion of a request, which the script makes again."""
    body = server.script(request).body
    assert isinstance(body, dict)
    return int(body["usage"]["total_tokens"])


def main() -> None:
    """Prints the forecast, the truth and the error of each setting, as a table of Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=400)
    parser.add_argument("--pilot", type=int, default=60)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accept_score", default="8")
    parser.add_argument("flags", nargs="*", help="further flags of the pilot, such as -- --stop_after 2")
    args = parser.parse_args()
    questions = population(args.entries, random.Random(args.seed))
    with tempfile.TemporaryDirectory() as folder:
        items = [conversation(question.text, "42") for question in questions]
        source = write_input(Path(folder) / "in.jsonl", items)
        own = ["--answers_per_question", args.answers, "--accept_score", args.accept_score, *args.flags]
        with server_of(questions) as server:
            pilot = command(Path(folder), server.port, source, *own, "--estimate", args.pilot)
            said = subprocess.run(pilot, check=True, env=environment(), text=True, capture_output=True).stdout
        print("| setting | " + " | ".join(f"{name} | actual | error" for name in FIGURES) + " |")
        print("|---" * (1 + 3 * len(FIGURES)) + "|")
        errors: Dict[str, List[float]] = {name: [] for name in FIGURES}
        held = 0
        for row in forecasts(said):
            truth = whole(questions, source, args.accept_score, row.flags(args.accept_score))
            cells = []
            for name in FIGURES:
                figure, reach = row.figures[name]
                error = figure / truth[name] - 1
                errors[name].append(abs(error))
                held += abs(figure - truth[name]) <= max(reach * figure, 1)
                cells.append(f"{figure:,.0f} ±{reach:.0%} | {truth[name]:,.0f} | {error:+.1%}")
            print(f"| {row.setting} | " + " | ".join(cells) + " |", flush=True)
    means = ", ".join(f"{name} {statistics.mean(one):.1%}" for name, one in errors.items())
    print(f"\nmean error: {means}; {held} of {sum(map(len, errors.values()))} are inside their intervals")


if __name__ == "__main__":
    main()
