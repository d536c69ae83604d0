"""The selected file's list, card, check and way to the Hub, by the commands as a user calls them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.helpers import ROOT, environment, questions, read_lines, run_script
from tests.hub_server import hub_server
from tests.scripted_server import ScriptedServer, completion

LOOP = "I think so. " * 40


def output(folder: Path, count: int = 4) -> Path:
    """A scored output whose entries have a loop, a right and a wrong answer each."""
    lines = []
    for number in range(count):
        turns = [{"from": "human", "value": f"How many pears are {number} pears and 4 pears?"}]
        record = {
            "original_question": turns[0]["value"],
            "original_answers": turns,
            "generated_answers": [LOOP, f"There are {number + 4} of them.", "I do not know."],
            "generated_scores": [9, 8, 1],
            "generated_details": [{"finish_reason": "stop"}] * 3,
            "line": number + 1,
            "entry_id": f"{number:032x}",
        }
        lines.append(json.dumps(record) + "\n")
    path = folder / "out.jsonl"
    path.write_text("".join(lines))
    settings = {"generator model": "small|model", "scorer scorer": "judge", "scorer model": "j", "written": {}}
    Path(f"{path}.settings.json").write_text(json.dumps(settings))
    return path


def select(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m common select ...``."""
    command = [sys.executable, "-W", "error", "-m", "common", "select", *map(str, words)]
    env = environment(HF_HUB_DISABLE_TELEMETRY="1", **env)
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=ROOT, check=False)


def card_rows(path: Path) -> Dict[str, str]:
    """The names and values in a card's tables."""
    text = Path(f"{path}.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE))


def test_the_card_says_how_the_file_was_made(tmp_path: Path) -> None:
    path, train = output(tmp_path), tmp_path / "train.json"
    flags = ["--selected_file", train, "--max_repetition", 0.5, "--accept_score", 8, "--licence", "cc-by-4.0"]
    ran = select(path, *flags)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"removed  4 by --max_repetition: {train}.removed.jsonl" in ran.stdout
    assert [line["index"] for line in read_lines(Path(f"{train}.removed.jsonl"))] == [0] * 4
    rows = card_rows(train)
    assert (rows["model"], rows["scorer"], rows["accept score"]) == ("j", "judge", "8")
    counts = ["entries read", "answers read", "answers accepted", "removed by --max_repetition", "rows written"]
    assert [rows[name] for name in counts] == ["4", "12", "8", "4", "4"]
    card = Path(f"{train}.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert "small\\|model" in card
    assert f"python -m common select {path} --selected_file {train}" in card
    assert select(path, *flags).returncode == 0
    assert Path(f"{train}.md").read_text(encoding="utf-8") == card


def test_a_card_shows_no_key(tmp_path: Path) -> None:
    path = output(tmp_path)
    licence = "see http://me:pass@h/a?key=1 or my-secret-key"
    assert select(path, "--licence", licence, OPENAI_API_KEY="my-secret-key").returncode == 0
    card = (tmp_path / "out_selected.json.md").read_text()
    command = re.findall("```bash\n(.*)\n```", card)[0]
    assert "http://h/a" in command
    assert not any(word in command for word in ("pass@", "key=1", "my-secret"))


def test_verify_needs_nothing_but_the_file(tmp_path: Path) -> None:
    path, file = output(tmp_path), tmp_path / "train.jsonl"
    assert select(path, "--selected_file", file, "--max_repetition", 0.5).returncode == 0
    ran = select("--verify", file)
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        0,
        f"verified  {file}: each byte is the same (4 rows)\n",
        "",
    )
    file.write_bytes(file.read_bytes().replace(b"are 6 of", b"are 7 of"))
    ran = select("--verify", file)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert f"{file} is not what {path} gives: row 3 is the first that differs" in ran.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--ngram", 5], "--ngram has no effect without --decontaminate"),
        (["--decontaminate_answers"], "--decontaminate_answers has no effect without --decontaminate"),
        (["--distinct"], "--distinct has no effect without --select top_k"),
        (["--decontaminate", "none.jsonl"], "--decontaminate: cannot read none.jsonl: No such file or directory"),
        (["--push_to_hub", "a/b/c"], "--push_to_hub a/b/c: "),
        (["--verify", "train.json", "--licence", "mit"], "--licence has no effect with --verify"),
    ],
)
def test_flags_without_effect_and_missing_files_are_refused(flags: List[Any], said: str, tmp_path: Path) -> None:
    ran = select(output(tmp_path), *flags)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert said in ran.stderr


def test_a_users_own_card_is_not_replaced(tmp_path: Path) -> None:
    path = output(tmp_path)
    own = tmp_path / "out_selected.json.md"
    own.write_text("my notes\n")
    ran = select(path)
    assert (ran.returncode, own.read_text()) == (2, "my notes\n")
    assert f"{own} exists" in ran.stderr


def test_the_file_and_its_card_go_to_the_hub_only_if_asked(tmp_path: Path) -> None:
    path = output(tmp_path)
    with hub_server() as hub:
        server = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret_token", "HF_HOME": str(tmp_path / "hf")}
        assert select(path, **server).returncode == 0
        assert hub.requests == []
        ran = select(path, "--push_to_hub", "me/data", "--licence", "mit", **server)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert f"sent  {hub.url}/datasets/me/data" in ran.stdout
    (made,) = hub.made
    assert (made["name"], made["organization"], made["type"]) == ("data", "me", "dataset")
    assert made.get("private") or made["visibility"] == "private"
    assert hub.files == {
        "out_selected.json": (tmp_path / "out_selected.json").read_bytes(),
        "README.md": (tmp_path / "out_selected.json.md").read_bytes(),
    }
    assert set(hub.keys) == {"Bearer hf_secret_token"}


def test_a_hub_that_refuses_is_one_line_and_the_file_stays(tmp_path: Path) -> None:
    path = output(tmp_path)
    with hub_server(status=403) as hub:
        server = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret_token", "HF_HOME": str(tmp_path / "hf")}
        ran = select(path, "--push_to_hub", "me/data", **server)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "--push_to_hub me/data: " in ran.stderr
    assert (tmp_path / "out_selected.json").exists()


def test_a_missing_token_is_said_before_anything_is_written(tmp_path: Path) -> None:
    path = output(tmp_path)
    ran = select(path, "--push_to_hub", "me/data", HF_HOME=str(tmp_path / "hf"))
    assert (ran.returncode, (tmp_path / "out_selected.json").exists()) == (2, False)
    assert "--push_to_hub needs a token" in ran.stderr


def test_a_run_writes_the_card_with_its_servers(tmp_path: Path) -> None:
    source, file = questions(tmp_path / "in.json", 2), tmp_path / "train.jsonl"
    flags = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--scorer", "match"]
    flags += ["--generator_model", "m", "--accept_score", 0, "--selected_file", file]
    with ScriptedServer(lambda request: completion("It is 4.")) as server:
        url = f"{server.url}?key=my-secret"
        ran = run_script("reject.py", *flags, "--generator_base_url", url)
        assert (ran.returncode, ran.stderr) == (0, "")
    assert f"card      {file}.md" in ran.stdout
    rows = card_rows(file)
    assert (rows["model"], rows["server"], rows["rows written"]) == ("m", server.url, "2")
    card = Path(f"{file}.md").read_text()
    assert "my-secret" not in card
    ran = run_script("reject.py", *flags, "--generator_base_url", url)
    assert (ran.returncode, Path(f"{file}.md").read_text()) == (0, card)
    assert select("--verify", file).returncode == 0
