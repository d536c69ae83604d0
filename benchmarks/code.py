"""Whether ``--scorer code`` is right: right answers pass, changed ones and cheats do not, and the time per answer.

The data is not part of this project. The cheats need no file. A changed answer (a mutant) may do the same as the right
one; the tests then pass, and the table counts it.

Example: ``python -m benchmarks.code --humaneval humaneval.jsonl.gz``
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from benchmarks.rules import lines
from common.records import Entry, Score
from common.scoring.code import Code
from common.scoring.code_sandbox import KINDS
from tests.scoring.cheats import CHEATS, NEEDS_SANDBOX

COMPARED = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
CALCULATED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
CHEATED = {
    "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate(2) == 7654321\n    assert abs(candidate(3) - 1.5) < 1e-6\n"
    "    assert candidate(4) == [1]\n    assert len(candidate(5)) == 3 and all(candidate(5))\n",
}


class Timed(NamedTuple):
    """A score, and the seconds that it took."""

    score: Score
    seconds: float


def changes(tree: ast.AST) -> Iterator[Tuple[ast.AST, str, Any]]:
    """(node, its field, another value of it): each is one small change of a program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
            yield node, "ops", [COMPARED[type(node.ops[0])](), *node.ops[1:]]
        elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in CALCULATED:
            yield node, "op", CALCULATED[type(node.op)]()
        elif isinstance(node, ast.BoolOp):
            yield node, "op", ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        elif isinstance(node, ast.Constant) and not isinstance(node.value, (str, bytes)) and node.value is not None:
            yield node, "value", not node.value if isinstance(node.value, bool) else node.value + 1
            yield node, "value", 7
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node, "value", node.value + "x"
        elif isinstance(node, ast.Return) and node.value is not None:
            yield node, "value", ast.Constant(None)
            yield node, "value", ast.List([node.value], ast.Load())
            yield node, "value", ast.UnaryOp(ast.Not(), node.value)
        elif isinstance(node, ast.Call) and node.args:
            yield node, "args", node.args[:-1]
        elif isinstance(node, ast.Subscript):
            yield node, "slice", ast.Constant(0)
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield node, "test", ast.UnaryOp(ast.Not(), node.test)


def mutants(prompt: str, solution: str, count: int, seed: str) -> List[str]:
    """Changed answers, each with one change in the function's body; no two are the same."""
    tree = ast.parse(prompt + solution)
    first = len(prompt.rstrip().split("\n"))
    found = [change for change in changes(tree) if getattr(change[0], "lineno", 0) > first]
    random.Random(seed).shuffle(found)
    codes: Dict[str, None] = {}
    for node, name, value in found:
        before = getattr(node, name)
        setattr(node, name, value)
        codes[ast.unparse(ast.fix_missing_locations(tree))] = None
        setattr(node, name, before)
        if len(codes) == count:
            break
    return list(codes)


async def score_all(scorer: Code, jobs: Sequence[Tuple[Dict[str, Any], str]]) -> List[Timed]:
    """The scores of answers to their rows, a few at a time."""
    turns = asyncio.Semaphore(2)

    async def one(row: Dict[str, Any], code: str) -> Timed:
        async with turns:
            begun = time.perf_counter()
            entry = Entry("id", [{"from": "human", "value": "Complete the function."}], None, [], extra=row)
            return Timed(await scorer.score(entry, [], f"```python\n{code}\n```"), time.perf_counter() - begun)

    return list(await asyncio.gather(*(one(row, code) for row, code in jobs)))


def show(name: str, found: Sequence[Timed], names: Sequence[str], expected: float) -> None:
    """Prints one line of the table, and each answer whose score is not the expected one."""
    passed = sum(one.score.value == 1 for one in found)
    undecided = sum(one.score.value is None for one in found)
    seconds = [one.seconds for one in found]
    print(
        f"| {name} | {len(found)} | {passed} | {len(found) - passed - undecided} | {undecided} "
        f"| {statistics.median(seconds):.2f} s | {max(seconds):.2f} s |",
        flush=True,
    )
    for one, what in zip(found, names):
        if one.score.value != expected:
            print(f"  - {what}: {one.score.value} {one.score.unscored or one.score.tests}", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--humaneval", type=Path, help="HumanEval.jsonl.gz; without it, only the cheats run")
    parser.add_argument("--mutants", type=int, default=5, help="changed answers per problem")
    parser.add_argument("--seconds", type=float, default=5, help="time limit per answer")
    parser.add_argument("--sandbox", choices=("auto", *KINDS), default="auto")
    args = parser.parse_args()
    rows = list(lines(args.humaneval)) if args.humaneval else []
    with contextlib.closing(Code(0, 1, "test", args.sandbox, args.seconds, processes=2)) as scorer:
        print(f"sandbox: {scorer.sandbox}\n\n| answers | number | passed | failed | undecided | median | longest |")
        print("|---|---|---|---|---|---|---|")
        asyncio.run(measure(scorer, rows, args.mutants))


async def measure(scorer: Code, rows: Sequence[Dict[str, Any]], count: int) -> None:
    """Prints the lines of the table."""
    if rows:
        right = [(row, row["prompt"] + row["canonical_solution"]) for row in rows]
        show("right", await score_all(scorer, right), [row["task_id"] for row in rows], 1)
        bodies = [(row, row["canonical_solution"]) for row in rows]
        show("right, only the body", await score_all(scorer, bodies), [row["task_id"] for row in rows], 1)
    open_to = NEEDS_SANDBOX if scorer.sandbox == "none" else ()
    names = [name for name in CHEATS if name not in open_to]
    cheats = [(CHEATED, CHEATS[name].replace("NAME", "f")) for name in names]
    show("cheats", await score_all(scorer, cheats), names, 0)
    changed = [
        (row, code) for row in rows for code in mutants(row["prompt"], row["canonical_solution"], count, row["task_id"])
    ]
    if changed:
        found = await score_all(scorer, changed)
        show("mutants", found, [row["task_id"] for row, _ in changed], 0)
        others = [passes_alone(row, code) for row, code in changed]
        verdicts = [one.score.value == 1 for one in found]
        differ = [row["task_id"] for (row, _), one, other in zip(changed, verdicts, others) if one != other]
        print(f"\nthe tests in the answer's own process say otherwise of {len(differ)} mutants: {' '.join(differ)}")


def passes_alone(row: Dict[str, Any], code: str) -> bool:
    """The control: whether the tests pass in one process with the answer, as HumanEval's own harness runs them."""
    program = f"{code}\n{row['test']}\ncheck({row['entry_point']})\nprint('passed the last test')"
    try:
        run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return False
    return run.stdout.endswith(b"passed the last test\n")


if __name__ == "__main__":
    main()
