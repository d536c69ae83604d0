"""--calibrate, --calibration, --accept_precision and --pair_precision, as commands against a judge of known quality."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.helpers import read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

QUESTIONS = 120


def labelled(count: int = QUESTIONS) -> List[Dict[str, Any]]:
    """Records of two answers, of which "good" is right, and so is every tenth "odd"."""
    return [
        {
            "original_answers": [{"from": "human", "value": f"question {n}?"}],
            "generated_answers": [f"good answer {n}", f"odd answer {n}"],
            "labels": [True, n % 10 == 0],
        }
        for n in range(count)
    ]


def judge(request: Request) -> Reply:
    """9 for a good answer, 4 for an odd one."""
    return completion("Score: 9" if "good answer" in json.dumps(request.body) else "Score: 4")


def score(server: ScriptedServer, *flags: object) -> Any:
    return run_script("score.py", "--model_name", "judge", "--port", server.port, *flags)


def calibrated(server: ScriptedServer, folder: Path, items: List[Any], *flags: object) -> Path:
    """Calibrates on items; returns the calibration's file."""
    source = write_input(folder / "labelled.jsonl", items)
    done = score(server, "--calibrate", source, "--output_file", folder / "cal.jsonl", *flags)
    assert done.returncode == 0, done.stderr
    return folder / "cal.jsonl.calibration.json"


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The calibration of the judge on 120 records."""
    with ScriptedServer(judge) as server:
        return calibrated(server, tmp_path_factory.mktemp("calibration"), labelled())


def test_a_calibration_costs_each_score_once_and_reads_corrected_labels(tmp_path: Path) -> None:
    items = labelled(20)
    with ScriptedServer(judge) as server:
        path = calibrated(server, tmp_path, items)
        first = json.loads(path.read_text())
        assert len(server.chats) == 40
        assert not any("labels" in json.dumps(chat.body) for chat in server.chats)
        items[3]["labels"] = [False, False]
        second = json.loads(calibrated(server, tmp_path, items).read_text())
        assert len(server.chats) == 40
    assert [sum(right for _, right, _ in one["answers"]) for one in (first, second)] == [22, 21]
    assert first["settings_id"] == second["settings_id"]
    assert len(read_lines(tmp_path / "cal.jsonl")) == 20


def test_the_table_shows_each_figure_beside_random_length_and_majority(tmp_path: Path) -> None:
    with ScriptedServer(judge) as server:
        source = write_input(tmp_path / "labelled.jsonl", labelled())
        out = tmp_path / "cal.jsonl"
        flags = ("--report_file", tmp_path / "r.html", "--quiet")
        done = score(server, "--calibrate", source, "--output_file", out, *flags)
    rows = {line[:46].strip(): line[46:].split() for line in done.stdout.splitlines()[1:]}
    assert rows["figure"] == ["of", "scorer", "random", "length", "majority"]
    assert rows["precision at a score of at least 9"][:3] == ["120", "1.000", "0.550"]
    assert rows["AUC within questions"][1:3] == ["1.000", "0.500"]
    page = (tmp_path / "r.html").read_text()
    assert "Calibration of the scorer" in page
    assert "pair accuracy, ties as a half" in page


def test_a_precision_chooses_the_accept_score_of_the_run(tmp_path: Path, calibration: Path) -> None:
    source = write_input(
        tmp_path / "in.jsonl", [{k: v for k, v in one.items() if k != "labels"} for one in labelled(5)]
    )
    with ScriptedServer(judge) as server:
        flags = ["--input_file", source, "--calibration", calibration, "--selected_file", tmp_path / "best.jsonl"]
        done = score(server, *flags, "--output_file", tmp_path / "a.jsonl", "--accept_precision", 0.95)
        assert done.returncode == 0, done.stderr
        assert "--accept_precision 0.95: --accept_score 9, where 120 of 120 labelled ones are right" in done.stderr
        assert "5 accepted (50%)" in done.stdout
        pairs = [*flags, "--output_file", tmp_path / "b.jsonl", "--select", "dpo", "--pair_precision", 0.8]
        done = score(server, *pairs)
    assert "--pair_precision 0.8: --min_margin 5, where 108 of 108 labelled ones are right" in done.stderr
    assert len(read_lines(tmp_path / "best.jsonl")) == 5


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--accept_precision", 0.99], r"240 labelled answers are too few .* takes about \d+ more"),
        (["--accept_precision", 0.9, "--score_max", 20], "is another scorer's"),
        (["--accept_precision", 0.9, "--accept_score", 5], "--accept_precision and --accept_score exclude each other"),
        (["--accept_precision", 0.9, "--calibration", "nowhere.json"], "cannot read nowhere.json"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused_before_anything_is_sent(
    tmp_path: Path, calibration: Path, flags: List[object], why: str
) -> None:
    source = write_input(tmp_path / "in.jsonl", labelled(2))
    with ScriptedServer(judge) as server:
        words = ["--input_file", source, "--calibration", calibration, "--output_file", tmp_path / "a.jsonl", *flags]
        done = score(server, *words)
        assert (done.returncode, server.chats) == (2, [])
    assert re.search(why, done.stderr)
    assert not (tmp_path / "a.jsonl").exists()


def test_pairs_calibrate_the_margin_but_not_the_score(tmp_path: Path) -> None:
    pairs = [{"prompt": f"q {n}?", "chosen": f"good answer {n}", "rejected": f"odd answer {n}"} for n in range(40)]
    with ScriptedServer(judge) as server:
        found = json.loads(calibrated(server, tmp_path, pairs).read_text())
        assert (len(server.chats), len(found["pairs"]), found["answers"]) == (80, 40, [])
        done = score(
            *(server, "--input_file", tmp_path / "cal.jsonl", "--output_file", tmp_path / "a.jsonl"),
            *("--calibration", tmp_path / "cal.jsonl.calibration.json", "--accept_precision", 0.9),
        )
    assert "--accept_precision 0.9: 0 labelled answers are too few" in done.stderr


def test_an_unscored_answer_is_counted_and_is_in_no_figure(tmp_path: Path) -> None:
    def silent(request: Request) -> Reply:
        return judge(request) if "good" in json.dumps(request.body) else completion("I cannot say.")

    with ScriptedServer(silent) as server:
        path = calibrated(server, tmp_path, labelled(6), "--max_retries", 0)
    found = json.loads(path.read_text())
    assert (found["labelled"], found["unscored"], len(found["answers"])) == (12, 6, 6)


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.jsonl", [{"question": "2+2?", "answer": "4"}])
    done = run_script("score.py", "--calibrate", source, "--output_file", tmp_path / "out.jsonl", "--scorer", "match")
    assert done.returncode == 2
    assert "no labels in this entry" in done.stderr


def test_rules_that_contradict_each_other_are_listed_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text("def f(question, reference, answer):\n    return answer != 'The answer is 4.'\n")
    turns = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
    item = {"original_answers": turns, "generated_answers": ["The answer is 4.", "It is 5.", "So it is 4."]}
    source, out = write_input(tmp_path / "in.jsonl", [item]), tmp_path / "out.jsonl"
    rule = f"python:{tmp_path / 'rule.py'}:f"
    flags = ("--input_file", source, "--output_file", out, "--report_file", tmp_path / "r.html")
    done = run_script("score.py", *flags, "--scorer", "match", rule)
    assert done.returncode == 0, done.stderr
    (record,) = read_lines(out)
    assert record["generated_scores"] == [10, 0, 10]
    verdicts = [detail.get("verdicts") for detail in record["generated_details"]]
    assert verdicts == [{"match": 10, rule: 0}, {"match": 0, rule: 10}, None]
    page = (tmp_path / "r.html").read_text()
    assert "Contradictions" in page
    assert "2 are right by one and wrong by the other" in page
