"""The code scorer: right code passes, wrong code and cheats do not, and what cannot be tested is undecided."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from common.errors import UsageError
from common.records import Entry, Score
from common.scoring import code_sandbox
from common.scoring.code import Code
from common.scoring.code_answer import code_of
from common.scoring.code_sandbox import works
from tests.helpers import conversation, read_lines, run_script, write_input
from tests.scoring.cheats import CHEATS, QUICK

HEAD = 'import math\n\ndef twice(x):\n    return 2 * x\n\ndef area(r: float) -> float:\n    """Of a circle."""\n'
CHECK = "def check(candidate):\n    assert candidate(0) == 0\n    assert abs(candidate(2) - twice(6.2831853)) < 1e-6\n"
AREA: Dict[str, Any] = {"prompt": HEAD, "entry_point": "area", "test": CHECK}
SECRET: Dict[str, Any] = {
    "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate(2) == 7654321\n    assert abs(candidate(3) - 1.5) < 1e-6\n"
    "    assert candidate(4) == [1]\n    assert len(candidate(5)) == 3 and all(candidate(5))\n",
}
PAIRS = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}


def fenced(code: str, language: str = "python") -> str:
    return f"Here it is:\n```{language}\n{code}\n```\nDone."


def scores(
    row: Dict[str, Any], key: str, answers: Sequence[str], question: str = "?", sandbox: str = "auto", limit: float = 20
) -> List[Score]:
    return rows_scores([(row, answer) for answer in answers], key, question, sandbox, limit)


def rows_scores(
    rows: Sequence[Tuple[Dict[str, Any], str]], key: str, question: str = "?", sandbox: str = "auto", limit: float = 20
) -> List[Score]:
    """The scores of answers, each to its own row."""
    turns = [{"from": "human", "value": question}]

    async def run() -> List[Score]:
        entries = [(Entry("id", turns, None, [], extra=row), answer) for row, answer in rows]
        return list(await asyncio.gather(*(scorer.score(entry, [], answer) for entry, answer in entries)))

    with contextlib.closing(Code(0, 10, key, sandbox, limit, processes=min(2, len(rows)))) as scorer:
        return asyncio.run(run())


def values(row: Dict[str, Any], key: str, *answers: str, **more: Any) -> List[Optional[float]]:
    return [score.value for score in scores(row, key, answers, **more)]


RIGHT = "    return math.pi * r * r"


def test_code_passes_as_a_whole_function_and_as_the_body_of_the_prompt() -> None:
    whole = fenced(f"import math\ndef area(r):\n{RIGHT}")
    body, without_indentation = fenced(RIGHT), fenced(RIGHT.strip())
    imports_of_the_prompt = fenced(f"def area(r):\n{RIGHT}")
    answers = [whole, body, without_indentation, imports_of_the_prompt, RIGHT, f"<think>```\nx\n```</think>{whole}"]
    assert values(AREA, "test", *answers) == [10.0] * 6
    row = {name: AREA[name] for name in ("entry_point", "test")}
    questions = [HEAD, f"Complete this function:\n```python\n{HEAD}```"]
    assert [values(row, "test", body, question=question) for question in questions] == [[10], [10]]


def test_wrong_code_has_its_first_failure_and_the_number_of_passed_tests() -> None:
    wrong, broken, absent = scores(
        AREA, "test", [fenced("def area(r): return r"), fenced("def area(r) return"), fenced("x = 1\ndef b(): pass")]
    )
    assert (wrong.value, broken.value, absent.value) == (0, 0, 0)
    assert wrong.tests is not None
    assert (wrong.tests["passed"], wrong.tests["of"]) == (1, 2)
    assert "the last call gave 2" in wrong.tests["first_failure"]
    assert broken.tests is not None
    assert "SyntaxError" in broken.tests["first_failure"]


def test_a_helper_of_the_prompt_that_the_tests_use_is_the_prompt_s() -> None:
    assert values(AREA, "test", fenced("def twice(x): return x\ndef area(r): return r * 3.14159265")) == [0.0]
    assert values(AREA, "test", fenced("def twice(x): return 0\ndef area(r): return 0")) == [0.0]


def test_the_last_block_counts_unless_only_another_defines_the_function() -> None:
    right, wrong = "def f(x): return x", "def f(x): return 0"
    row = {"test_list": ["assert f(3) == 3"]}
    assert values(row, "test_list", fenced(wrong) + "\n" + fenced(right), fenced(right) + "\n" + fenced(wrong)) == [
        10,
        0,
    ]
    row = {"test": "def check(c):\n    assert c(3) == 3", "entry_point": "f"}
    assert values(row, "test", fenced(right) + "\n" + fenced("print(f(3))") + "\n" + fenced("3", "text")) == [10]


MBPP = {
    "test_setup_code": "import math",
    "test_list": [
        "assert total([P(1), P(2)]) == 3",
        "items = [3, 1]\nsort(items)\nassert items == [1, 3]",
        "assert math.pi > area(1)",
    ],
}
MBPP_RIGHT = "class P:\n    def __init__(self, n): self.n = n\ndef total(ps): return sum(p.n for p in ps)\n"
MBPP_RIGHT += "def sort(x): x.sort()\ndef area(r): return 3\n"


def test_a_list_of_asserts_may_use_classes_and_lists_in_place() -> None:
    right, wrong = scores(MBPP, "test_list", [fenced(MBPP_RIGHT), fenced(MBPP_RIGHT.replace("x.sort()", "sorted(x)"))])
    assert (right.value, right.tests) == (10, {"passed": 3, "of": 3})
    assert (wrong.value, wrong.tests and wrong.tests["passed"]) == (0, 2)


@pytest.mark.parametrize("form", ["object", "json", "list", "nested"])
def test_programs_are_run_with_each_input(form: str) -> None:
    pairs: Any = PAIRS
    if form == "json":
        pairs = json.dumps(PAIRS)
    if form == "list":
        pairs = [{"input": one, "output": other} for one, other in zip(PAIRS["inputs"], PAIRS["outputs"])]
    row, key = ({"a": {"b": pairs}}, "a.b") if form == "nested" else ({"tests": pairs}, "tests")
    right = fenced(
        "import sys\na, b = map(int, input().split())\nif __name__ == '__main__':\n    print(a + b)\n    sys.exit(0)"
    )
    answers = [
        right,
        fenced("print(3)"),
        fenced("print(7 // 0)"),
        fenced("print(sum(map(int, input().split())), end=' ')"),
    ]
    assert values(row, key, *answers) == [10, 0, 0, 10]


def test_functions_and_methods_are_called_with_each_input() -> None:
    row = {"io": {"fn_name": "add", "inputs": [[1, [2]], [3, [4]]], "outputs": [[3], 7]}}
    lines = {"io": [{"input": "1\n[2]", "output": "3"}], "metadata": '{"func_name": "add"}'}
    method = fenced("class Solution:\n    def add(self, a: int, b: List[int]) -> int:\n        return a + sum(b)")
    for tests in (row, lines):
        assert values(
            tests, "io", fenced("def add(a, b): return a + b[0]"), method, fenced("def add(a, b): return 3.5")
        ) == [
            10,
            10,
            0,
        ]


def test_tests_may_be_functions_and_may_expect_exceptions() -> None:
    test = "from solution import root\nimport math\ndef test_a():\n    assert root(4) == 2\n"
    test += "def test_b():\n    try:\n        root(-1)\n    except ValueError:\n        return\n    assert False\n"
    right = "class Bad(ValueError): pass\ndef root(x):\n    if x < 0: raise Bad('no')\n    return x ** 0.5"
    wrong = "def root(x): return abs(x) ** 0.5"
    assert values({"t": test}, "t", fenced(right), fenced(wrong)) == [10, 0]


UNDECIDED: List[Tuple[Dict[str, Any], str, str]] = [
    ({}, fenced("x = 1"), "the row has no tests under test"),
    ({"test": ""}, fenced("x = 1"), "the row has no tests under test"),
    ({"test": 7}, fenced("x = 1"), "the tests under test cannot be read"),
    ({"test": {"inputs": ["1"], "outputs": []}}, fenced("x = 1"), "there are 1 inputs and 0 outputs"),
    ({"test": "assert f("}, fenced("def f(): pass"), "the row's tests are not Python"),
    ({"test": "x = 1"}, fenced("x = 1"), "the row's tests assert nothing"),
    (
        {"test": "import no_such_module\nassert f()"},
        fenced("def f(): return 1"),
        "cannot run here: No module named 'no_s",
    ),
    (
        {"test": "assert f()", "test_setup_code": "1 / 0"},
        fenced("def f(): return 1"),
        "before the row's tests fails: Zero",
    ),
    ({"test": "def check(c): assert c()"}, fenced("def f(): pass"), "does not say which function"),
    (
        {"test": "assert f(lambda: 1)"},
        fenced("def f(g): return 1"),
        "gives the answer a function|give the answer a function",
    ),
    (
        {"test": "assert f(1) == f(1)"},
        fenced("class C: pass\ndef f(x): return C()"),
        "two objects of the answer's own classes",
    ),
    ({"test": "assert f()"}, "I cannot say.", "the answer has no code"),
    ({"test": "assert f()"}, "<think>def f(): return 1", "the answer has only thoughts"),
    ({"test": "assert f()"}, fenced("int f() {}", "cpp"), "the answer's code is cpp, and the tests need Python"),
]


def test_what_cannot_be_tested_is_undecided() -> None:
    found = rows_scores([(row, answer) for row, answer, _ in UNDECIDED], "test")
    for (_, _, why), score in zip(UNDECIDED, found):
        assert score.value is None
        assert re.search(why, score.unscored or ""), score.unscored


def test_an_object_of_the_answer_can_be_used_but_equals_no_value() -> None:
    code = "class P:\n    def __init__(self, n): self.n = n\n    def __str__(self): return f'P{self.n}'\n"
    code += "    def up(self):\n        self.n += 1\n        return self\n    def __eq__(self, other): return True\n"
    code += "def many():\n    yield from range(3)\n"
    test = "p = P(1)\nassert p.up().n == 2 and str(p) == 'P2'\nassert list(many()) == [0, 1, 2]\n"
    assert values({"t": test}, "t", fenced(code)) == [10]
    assert values({"t": test + "assert P(1) == 1"}, "t", fenced(code)) == [0]
    assert values({"t": test + "assert isinstance(p, P)"}, "t", fenced(code)) == [None]


def test_tests_that_end_their_process_do_not_pass() -> None:
    assert values({"t": "import os\nassert f()\nos._exit(0)"}, "t", fenced("def f(): return 1")) == [0]


@pytest.mark.parametrize("sandbox", ["auto", "none"])
def test_no_cheat_passes(sandbox: str) -> None:
    codes = [CHEATS[name].replace("NAME", "f") for name in QUICK]
    found = scores(SECRET, "test", [fenced(code) for code in codes], sandbox=sandbox)
    assert dict(zip(QUICK, [score.value for score in found])) == dict.fromkeys(QUICK, 0)


def test_what_takes_too_long_ends_at_the_time_limit() -> None:
    (found,) = scores(SECRET, "test", [fenced(CHEATS["ignores SIGALRM"].replace("NAME", "f"))], limit=1)
    assert (found.value, found.tests) == (0, {"passed": 0, "of": 4, "first_failure": "it took longer than 1 s"})


@pytest.mark.skipif(sys.platform != "linux", reason="needs the limits of Linux")
def test_the_number_of_processes_is_limited() -> None:
    code = "import os, time\ndef f():\n    for n in range(200):\n        try: pid = os.fork()\n"
    code += "        except OSError: return n\n        if pid == 0: time.sleep(60)\n"
    assert values({"t": "assert 10 < f() < 100"}, "t", fenced(code)) == [10]


@pytest.mark.skipif(bool(works("unshare")), reason="needs namespaces")
def test_in_a_sandbox_the_code_sees_no_files_no_network_and_no_environment(tmp_path: Path) -> None:
    (tmp_path / "secret_tests").write_text("7654321")
    code = f"import os, socket\ndef files(): return os.path.exists({str(tmp_path / 'secret_tests')!r})\n"
    code += (
        "def net():\n    try: socket.create_connection(('1.1.1.1', 53), 1)\n    except OSError as e: return e.errno\n"
    )
    code += "def env(): return dict(os.environ), os.listdir('.'), os.getuid() != 0\n"
    code += "def write():\n    try: open(os.__file__, 'a')\n    except OSError: return True\n"
    test = "import errno\nassert not files()\nassert net() == errno.ENETUNREACH\n"
    test += "assert env() == ({}, [], True)\nassert write()"
    (score,) = scores({"t": test}, "t", [fenced(code)], sandbox="unshare")
    assert score.tests == {"passed": 4, "of": 4} if os.getuid() == 0 else score.tests is not None


def test_the_folder_of_an_answer_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert values({"t": "assert f()"}, "t", fenced("open('x', 'w').close()\ndef f(): return 1"), sandbox="none") == [10]
    assert not list(tmp_path.glob("answer-*"))


def test_a_sandbox_that_does_not_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code_sandbox.works.cache_clear()
    try:
        with pytest.raises(UsageError, match="--sandbox bubblewrap does not work here: there is no command bwrap"):
            Code(0, 10, "test", "bubblewrap")
    finally:
        code_sandbox.works.cache_clear()


def test_the_script_keeps_the_tests_results_and_says_that_there_is_no_sandbox(tmp_path: Path) -> None:
    record = {
        "original_question": "Twice x?",
        "original_answers": conversation("Twice x?")["conversations"],
        "extra": {"tests": ["assert f(2) == 4", "assert f(3) == 6"]},
        "generated_answers": [fenced("def f(x): return 2 * x"), fenced("def f(x): return x * x")],
    }
    source, output = write_input(tmp_path / "in.jsonl", [record]), tmp_path / "out.jsonl"
    flags = ("--input_file", source, "--output_file", output, "--scorer", "code")
    refused = run_script("score.py", *flags)
    assert refused.returncode == 2
    assert "--scorer code needs --code_tests KEY, the key of the row's tests" in refused.stderr
    run = run_script("score.py", *flags, "--code_tests", "tests", "--sandbox", "none")
    assert run.returncode == 0, run.stderr
    assert "sandbox   none: the answers' code could read this user's files" in run.stdout
    (line,) = read_lines(output)
    assert line["generated_scores"] == [10, 0]
    assert line["generated_details"][0]["tests"] == {"passed": 2, "of": 2}
    assert line["generated_details"][1]["tests"]["passed"] == 1


def test_the_block_of_an_unfinished_fence_and_of_an_indented_one_is_read() -> None:
    assert code_of("```py\nx = 1\n", None).code == "x = 1\n"
    assert code_of("1. So:\n   ```python\n   x = 1\n   ```", None).code == "x = 1\n"
    assert code_of("~~~~\n```\nx\n```\n~~~~", None).code == "```\nx\n```\n"
