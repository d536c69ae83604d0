"""The line of an entry through all scripts, and the selection in the order of the input."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers import read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

NUMBERS = "1.0 1e5 12345678901234567890123 0.12345678901234567891"


def slow_at_first(request: Request) -> Reply:
    number = int(request.question.split()[1])
    return completion(f"It is {number}.", delay=0.3 if number == 0 else 0.0)


def test_the_line_and_the_own_keys_go_through_sampling_scoring_and_selection(tmp_path: Path) -> None:
    text = "\n".join(
        f'{{"question":"question {n} ?","answer":"{n}","id":"{n}","w":[{",".join(NUMBERS.split())}]}}' for n in range(6)
    )
    (tmp_path / "in.jsonl").write_text(text + "\n")
    sampled, scored, selected = (tmp_path / name for name in ("sampled.jsonl", "scored.jsonl", "selected.jsonl"))
    with ScriptedServer(slow_at_first) as server:
        flags = ("--model_name", "m", "--port", server.port, "--answers_per_question", 1, "--quiet")
        for _ in range(2):
            run = run_script("sampling.py", "--input_file", tmp_path / "in.jsonl", "--output_file", sampled, *flags)
            assert (run.returncode, len(server.chats)) == (0, 6), run.stderr
    assert [record["line"] for record in read_lines(sampled)][-1] == 1  # the slow one
    flags = ("--selected_file", selected, "--selected_keys", "id,w,line,model,score")
    for order, wanted in (("input", sorted), ("output", list)):
        run = run_script(
            *("score.py", "--input_file", sampled, "--output_file", scored, "--scorer", "match", "--quiet"),
            *(*flags, "--selected_order", order),
        )
        assert run.returncode == 0, run.stderr
        lines = [record["line"] for record in read_lines(scored)]
        rows = read_lines(selected)
        assert [row["line"] for row in rows] == wanted(lines)
        assert [row["id"] for row in rows] == [str(row["line"] - 1) for row in rows]
        assert {(row["model"], row["score"]) for row in rows} == {("m", 10.0)}
    own = f'"w":[{",".join(NUMBERS.split())}]'
    for path in (sampled, scored, selected):
        assert all(own in line for line in path.read_text().splitlines()), path


def test_a_record_without_a_line_is_still_read_and_gets_its_own(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "4"}]
    old = {"original_question": "q", "original_answers": turns, "generated_answers": ["It is 4."], "entry_id": "a" * 32}
    source = write_input(tmp_path / "old.jsonl", [old])
    flags = ("--scorer", "match", "--output_file", tmp_path / "out.jsonl")
    run = run_script("score.py", "--input_file", source, *flags)
    assert run.returncode == 0, run.stderr
    (record,) = read_lines(tmp_path / "out.jsonl")
    assert (record["line"], record["entry_id"], list(record)[-1]) == (1, "a" * 32, "entry_id")


def test_in_a_folder_a_record_names_its_file(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / "in" / name).mkdir(parents=True)
        rows = [{"question": f"question {n} ?{name}", "answer": str(n)} for n in range(2)]
        write_input(tmp_path / "in" / name / "x.jsonl", rows)
    with ScriptedServer(slow_at_first) as server:
        run = run_script(
            *("reject.py", "--input_file", tmp_path / "in", "--output_file", tmp_path / "out.jsonl", "--quiet"),
            *("--generator_model", "m", "--generator_port", server.port, "--answers_per_question", 1),
            *("--scorer", "match", "--selected_file", tmp_path / "selected.json", "--selected_keys", "file,line"),
        )
    assert run.returncode == 0, run.stderr
    rows = [(row["file"], row["line"]) for row in json.loads((tmp_path / "selected.json").read_text())]
    assert rows == [("a/x.jsonl", 1), ("a/x.jsonl", 2), ("b/x.jsonl", 1), ("b/x.jsonl", 2)]
