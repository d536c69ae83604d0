"""Any input file or folder as a stream: every format gives the same items, and bad input is refused.

The tests of one format alone are in the file of that format.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tracemalloc
from pathlib import Path
from typing import Any, List, Sequence

import pyarrow as arrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BrokenInput, UsageError
from common.images import data_url
from common.input.conversations import entry_from_conversation
from common.input.files import READERS, InputFile, Item, Place
from tests.helpers import conversation, read_lines, run_script, write_input
from tests.input.inputs import (
    PNG,
    TURNS,
    WRITERS,
    lines,
    numbered,
    read,
    read_until_broken,
    write_bytes,
    write_folder,
    write_parquet,
)
from tests.scripted_server import Reply, Request, ScriptedServer, completion

BOM = b"\xef\xbb\xbf"


TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)


ENTRIES = st.builds(
    lambda question, reference, images: conversation(question, reference, **images),
    TEXT,
    st.none() | TEXT,
    st.just({}) | st.lists(TEXT.filter(bool), max_size=2).map(lambda images: {"images": images}),
)


@settings(max_examples=25, deadline=None)
@given(items=st.lists(ENTRIES, min_size=3, max_size=6))
def test_the_same_items_come_out_of_every_format(tmp_path_factory: pytest.TempPathFactory, items: List[Any]) -> None:
    folder = tmp_path_factory.mktemp("input")
    for name, write in WRITERS.items():
        assert [item.value for item in read(write(folder / name, items))] == items, name


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_is_searched_for_the_endings_of_every_reader(tmp_path: Path, reader: Any) -> None:
    for ending in reader.endings:
        write_bytes(tmp_path / f"data{ending}", b"")
        with pytest.raises(UsageError, match=f"data{ending}"):
            InputFile(str(tmp_path))
        (tmp_path / f"data{ending}").unlink()


def test_only_the_last_reader_accepts_a_file_of_an_unknown_format() -> None:
    assert [reader.accepts("data.bin", b"\0\1\2\3") for reader in READERS] == [False] * (len(READERS) - 1) + [True]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        BOM,
        b" \n\n",
        b"question,answer\n2+2?,4\n",
        b'"text"',
        b"null",
        '[{"n": 0}]'.encode("utf-16"),
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
    ],
    ids=["empty", "BOM alone", "blank", "CSV", "string", "null", "UTF-16", "zip", "gzip cut off"],
)
def test_a_file_of_another_kind_is_refused_when_it_is_opened(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "input.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        InputFile(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.json", ".", "missing/input.json"])
def test_an_input_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        InputFile(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


# Folders


def test_a_folder_is_its_files_in_the_order_of_their_names_hidden_ones_left_out(tmp_path: Path) -> None:
    items = numbered(9)
    (tmp_path / "data").mkdir()
    (tmp_path / ".cache").mkdir()
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", items[3:6])
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", items[:3])
    write_bytes(tmp_path / "more.jsonl", lines(items[6:]))
    for name in (".cache/old.jsonl", "dataset_infos.json", "README.md", ".hidden.jsonl", "data/x.parquet.lock"):
        write_bytes(tmp_path / name, b"not to be read")
    assert read(tmp_path) == [Item(number, item) for number, item in enumerate(items, 1)]


def test_the_json_files_of_a_folder_are_read_and_every_other_file_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = numbered(4)
    write_bytes(tmp_path / "a.json", json.dumps(items[:2]).encode())
    write_bytes(tmp_path / "b.JSON.gz", gzip.compress(json.dumps(items[2:3]).encode()))
    write_bytes(tmp_path / "c.jsonl", lines(items[3:]))
    others = ["out.jsonl.settings.json", "out.jsonl.errors.jsonl", "out.jsonl.results.json", "notes.txt", "best.json"]
    for name in others:
        write_bytes(tmp_path / name, b'{"written": {"best.json": {"flag": "--selected_file"}}}')
    assert [item.value for item in read(tmp_path)] == items
    assert len(caplog.messages) == 1
    assert all(name in caplog.text for name in others)


def test_an_item_of_a_folder_has_its_file_and_its_line_there(tmp_path: Path) -> None:
    parts = [tmp_path / "a.jsonl", tmp_path / "b.parquet", tmp_path / "c.parquet", tmp_path / "d.jsonl"]
    write_bytes(parts[0], b"\n\n" + lines(numbered(2)) + b"\n\n")
    write_parquet(parts[1], [])
    write_parquet(parts[2], numbered(3))
    write_bytes(parts[3], b"\n" + lines(numbered(1)))
    source = InputFile(str(tmp_path))
    places = [source.place(item.line) for item in source]
    source.close()
    a, _, c, d = map(str, parts)
    rows = [Place(c, "row", number) for number in (1, 2, 3)]
    assert places == [Place(a, "line", 3), Place(a, "line", 4), *rows, Place(d, "line", 2)]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "holds no .parquet"),
        (["notes.txt", "dataset_info.json"], "holds no .parquet"),
        (["data-00000-of-00001.arrow", "state.json"], "to_parquet"),
        (["good.jsonl", "zzz.jsonl"], "zzz.jsonl: line 1: "),
    ],
    ids=["empty", "other files", "save_to_disk", "a file that is none"],
)
def test_a_folder_that_cannot_be_read_whole_is_refused_when_it_is_opened(
    tmp_path: Path, names: List[str], says: str
) -> None:
    for name in names:
        write_bytes(tmp_path / name, lines(numbered(1)) if name == "good.jsonl" else b"garbage")
    with pytest.raises(UsageError, match=says) as caught:
        InputFile(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_a_file_of_a_folder_that_is_gone_when_its_turn_comes_ends_the_run_there(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write_bytes(tmp_path / name, lines(numbered(2)))
    source, found = InputFile(str(tmp_path)), []
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(BrokenInput, match=r"b\.jsonl"):
        found.extend(source)
    source.close()
    assert len(found) == 2


def test_one_file_of_a_folder_is_open_at_a_time(tmp_path: Path) -> None:
    for number in range(30):
        write_bytes(tmp_path / f"{number:02}.jsonl", lines(numbered(1)))
    source, opened = InputFile(str(tmp_path)), []
    for _ in source:
        opened.append(sum(link.resolve().parent == tmp_path.resolve() for link in Path("/proc/self/fd").iterdir()))
    source.close()
    assert opened == [1] * 30


# The number of items


def test_parquet_says_how_many_items_there_are_before_one_is_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", numbered(7))
    write_parquet(tmp_path / "b.parquet", numbered(500))
    for path, count in ((tmp_path / "a.parquet", 7), (tmp_path, 507)):
        source = InputFile(str(path))
        assert source.expected_items() == count
        source.close()


@pytest.mark.parametrize("name", WRITERS)
def test_the_estimate_is_near_on_the_way_and_exact_at_the_end(tmp_path: Path, name: str) -> None:
    source = InputFile(str(WRITERS[name](tmp_path / name, numbered(600, 400))))
    for count, _ in enumerate(source, 1):
        if count == 300:
            assert 450 <= (source.expected_items() or 0) <= 750
    assert source.expected_items() == 600
    source.close()


# Memory


@pytest.mark.parametrize("name", ["lines.gz", "lines.zst", "parquet", "folder"])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, name: str) -> None:
    items = [conversation(f"{n} " + "question " * 300, "answer " * 300) for n in range(4000)]
    text = sum(len(turn["value"]) for item in items for turn in item["conversations"])
    source, count, held = InputFile(str(WRITERS[name](tmp_path / name, items))), 0, 0
    del items
    before = arrow.total_allocated_bytes()
    tracemalloc.start()
    try:
        for _ in source:
            count += 1
            held = max(held, arrow.total_allocated_bytes() - before)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        source.close()
    assert count == 4000
    assert peak < text / 5
    assert held < text / 3


# Packages that are not installed


@pytest.mark.parametrize(
    ("package", "name", "command"),
    [
        ("zstandard", "lines.zst", r"pip install .zstandard\S+$"),
        ("pyarrow", "parquet", r"pip install .pyarrow\S+$"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str, command: str
) -> None:
    path = WRITERS[name](tmp_path / name, numbered(3))
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(UsageError, match=command) as caught:
        InputFile(str(path))
    assert str(path) in str(caught.value)


# The scripts, as commands


def answer(request: Request) -> Reply:
    return completion(f"re: {request.question}")


def sample(server: ScriptedServer, source: Path, output: Path) -> Any:
    flags = ("--model_name", "m", "--port", server.port, "--answers_per_question", 1)
    return run_script("sampling.py", "--input_file", source, "--output_file", output, *flags)


def as_messages(path: Path, items: Sequence[Any]) -> Path:
    roles = {"human": "user", "gpt": "assistant"}
    return write_input(
        path.with_suffix(".jsonl"),
        [{"messages": [{"role": roles[t["from"]], "content": t["value"]} for t in i["conversations"]]} for i in items],
    )


COMMANDS = {**{name: WRITERS[name] for name in ("lines.gz", "lines.zst", "parquet", "folder")}, "messages": as_messages}


def test_a_run_goes_on_from_any_format_with_the_same_entries(tmp_path: Path) -> None:
    """One output: each format in its turn has all that was done before, under the same ids, and one entry more."""
    items, output = numbered(3 + len(COMMANDS)), tmp_path / "out.jsonl"
    with ScriptedServer(answer) as server:
        assert sample(server, write_input(tmp_path / "input.json", items[:3]), output).returncode == 0
        for count, (name, write) in enumerate(COMMANDS.items(), 4):
            run = sample(server, write(tmp_path / name, items[:count]), output)
            assert (run.returncode, run.stderr, len(server.chats)) == (0, "", count), name
    records = sorted(read_lines(output), key=lambda record: int(record["original_answers"][1]["value"]))
    assert [record["original_answers"] for record in records] == [item["conversations"] for item in items]
    assert all(record["generated_answers"] == [f"re: {record['original_question']}"] for record in records)


RECORD_COLUMNS = {
    "original_question": arrow.string(),
    "original_answers": TURNS,
    "generated_answers": arrow.list_(arrow.string()),
    "generated_details": arrow.list_(arrow.struct({"finish_reason": arrow.string(), "reasoning": arrow.string()})),
    "entry_id": arrow.string(),
}


@pytest.mark.parametrize("name", ["lines.gz", "lines.zst", "parquet"])
def test_records_are_scored_from_any_format(tmp_path: Path, name: str) -> None:
    records = [
        {
            "original_question": question,
            "original_answers": conversation(question, "4")["conversations"],
            "generated_answers": ["It is 4.", "It is 5."],
            "generated_details": [{"finish_reason": "stop"}, {"finish_reason": "length", "reasoning": "hm"}],
            "entry_id": question,
        }
        for question in ("2+2?", "3+1?")
    ]
    how = {"columns": RECORD_COLUMNS} if name == "parquet" else {}
    source = WRITERS[name](tmp_path / name, records, **how)
    flags = ("--input_file", source, "--output_file", tmp_path / "scored.jsonl", "--scorer", "match")
    run = run_script("score.py", *flags)
    assert (run.returncode, run.stderr) == (0, "")
    scored = sorted(read_lines(tmp_path / "scored.jsonl"), key=lambda record: str(record["original_question"]))
    assert [record.pop("generated_scores") for record in scored] == [[10.0, None]] * 2  # the other one is cut
    told = ("finish_reason", "reasoning")
    for record in scored:
        record["generated_details"] = [{k: d[k] for k in told if k in d} for d in record["generated_details"]]
        assert record.pop("line") > 0
        assert record.pop("pass_rate")["accepted"] == 1
    assert scored == records


def test_a_compressed_file_that_breaks_off_further_on_ends_the_run_after_what_stands_before(tmp_path: Path) -> None:
    items = numbered(400, 100)
    packed = gzip.compress(lines(items))
    source = write_bytes(tmp_path / "input.jsonl.gz", packed[: len(packed) // 2])
    with ScriptedServer(answer) as server:
        run = sample(server, source, tmp_path / "out.jsonl")
    said = f"sampling.py: error: {source}: damaged gzip: the end of the file is missing\n"
    assert (run.returncode, run.stderr) == (1, said)
    done = {record["original_question"] for record in read_lines(tmp_path / "out.jsonl")}
    assert 150 < len(done) < 250
    assert done == {item["conversations"][0]["value"] for item in items[: len(done)]}


def test_a_bad_entry_of_a_folder_is_reported_with_its_file_and_row(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    write_bytes(folder / "a.jsonl", lines(numbered(3)))
    write_parquet(folder / "b.parquet", [*numbered(2), {"conversations": [{"from": "robot", "value": "q"}]}])
    with ScriptedServer(answer) as server:
        run = sample(server, folder, tmp_path / "out.jsonl")
    (failure,) = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    assert (run.returncode, failure["file"], failure["line"]) == (1, str(folder / "b.parquet"), 3)
    assert f"(the first: {folder / 'b.parquet'}: row 3: turn 1 has the unknown role 'robot'" in run.stdout


def test_images_beside_the_files_of_a_folder_are_relative_to_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    write_bytes(folder / "a.png", PNG)
    write_parquet(folder / "data" / "a.parquet", [conversation("q", images=["a.png"])])
    with ScriptedServer(answer) as server:
        assert sample(server, folder, tmp_path / "out.jsonl").returncode == 0
        assert data_url(PNG) in json.dumps(server.chats[0].body)


@pytest.mark.parametrize("name", ["out.jsonl", "below/out.jsonl"])
def test_an_output_in_the_folder_that_is_read_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "dataset", numbered(3))
    with ScriptedServer(answer) as server:
        run = sample(server, folder, folder / name)
        assert server.chats == []
    assert run.returncode == 2
    assert f"--output_file {folder / name} lies in the folder --input_file {folder}" in run.stderr
    shutil.rmtree(str(folder))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:35dc41\nsize 446564\n"


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.jsonl.gz", "x.parquet"])
def test_a_git_lfs_pointer_is_refused_and_the_remedy_named(tmp_path: Path, name: str) -> None:
    path = write_bytes(tmp_path / name, POINTER)
    for source in (path, tmp_path):
        with pytest.raises(UsageError, match=f"{name} is a git-lfs pointer.*git lfs pull"):
            InputFile(str(source)) if name != "x.json" or source == path else InputFile(str(path))


MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SPOKEN = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
@pytest.mark.parametrize("indent", [0, 1, "\t"])
@pytest.mark.parametrize("item", [{"messages": MESSAGES}, {"conversations": SPOKEN}, MESSAGES, SPOKEN])
def test_a_file_of_one_pretty_printed_value_is_one_entry(tmp_path: Path, name: str, indent: Any, item: Any) -> None:
    path = write_bytes(tmp_path / name, b"\xef\xbb\xbf\n" + json.dumps(item, indent=indent).encode() + b"\n")
    ((line, value),) = read(path)
    assert line == 2
    assert entry_from_conversation(value).conversation == SPOKEN


@pytest.mark.parametrize("turns", [MESSAGES, SPOKEN])
@pytest.mark.parametrize("count", [1, 3])
def test_lists_of_turns_are_conversations_on_lines_and_in_a_list(tmp_path: Path, turns: Any, count: int) -> None:
    on_lines = write_bytes(tmp_path / "x.jsonl", lines([turns] * count))
    in_list = write_bytes(tmp_path / "x.json", json.dumps([turns] * count).encode())
    assert [item.value for item in read(on_lines)] == [turns] * count == [item.value for item in read(in_list)]
    assert [item.line for item in read(on_lines)] == list(range(1, count + 1))
    assert entry_from_conversation(turns).conversation == SPOKEN


def test_a_list_of_a_long_turn_is_a_conversation_too(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "long " * 100_000}]
    assert [item.value for item in read(write_bytes(tmp_path / "x.jsonl", lines([turns, MESSAGES])))] == [
        turns,
        MESSAGES,
    ]


def test_a_list_of_entries_stays_a_list(tmp_path: Path) -> None:
    items = [{"role": "teacher", "content": "c", "messages": MESSAGES}, {"question": "q", "from": "f", "value": "v"}]
    assert [item.value for item in read(write_bytes(tmp_path / "x.json", json.dumps(items).encode()))] == items


def test_a_broken_first_line_is_still_named(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "x.jsonl", b'{"a": 1\n{"b": 2}\n')
    values, error = read_until_broken(path)
    assert (values, "line 1: broken JSON" in error) == ([], True)


def test_an_error_names_the_place_of_a_broken_line_once(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_bytes(folder / "a.jsonl", lines([conversation("1+1?")]) + b"broken\n")
    with ScriptedServer(lambda request: completion("2")) as server:
        flags = ["--input_file", folder, "--output_file", tmp_path / "o.jsonl", "--port", server.port]
        run = run_script("sampling.py", *flags, "--model_name", "m", "--answers_per_question", 1)
    assert run.returncode == 1
    row = next(text for text in run.stdout.splitlines() if "(the first:" in text)
    assert (row.count("a.jsonl"), row.count("line 2")) == (1, 1)
