"""Input where data lives: gzip, zstd, Parquet and folders give the items that plain JSON gives, in little memory."""

from __future__ import annotations

import datetime
import gzip
import json
import random
import shutil
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry, BrokenInput, UsageError
from common.images import data_url
from common.input.conversations import entry_from_conversation
from common.input.files import InputFile, Item, Place
from tests.helpers import conversation, read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
TURNS = arrow.list_(arrow.struct({"from": arrow.string(), "value": arrow.string()}))
COLUMNS = {"conversations": TURNS, "images": arrow.list_(arrow.string())}


def lines(items: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def write_parquet(path: Path, items: Sequence[Any], columns: Dict[str, Any] = COLUMNS, **how: Any) -> Path:
    parquet.write_table(arrow.Table.from_pylist(list(items), schema=arrow.schema(columns)), str(path), **how)
    return path


def write_folder(path: Path, items: Sequence[Any]) -> Path:
    """As a dataset lies on the hub, in three files of three kinds."""
    (path / "data").mkdir(parents=True)
    third = len(items) // 3
    write_parquet(path / "data" / "train-00000-of-00003.parquet", items[:third])
    (path / "data" / "train-00001-of-00003.jsonl.zst").write_bytes(zstd(lines(items[third : 2 * third]) or b"[]"))
    (path / "data" / "train-00002-of-00003.jsonl").write_bytes(lines(items[2 * third :]))
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


WRITERS: Dict[str, Callable[..., Path]] = {
    "lines.gz": lambda path, items: write_bytes(path, gzip.compress(lines(items))),
    "list.gz": lambda path, items: write_bytes(path, gzip.compress(json.dumps(list(items), indent=1).encode())),
    "lines.zst": lambda path, items: write_bytes(path, zstd(lines(items))),
    "list.zst": lambda path, items: write_bytes(path, zstd(json.dumps(list(items)).encode())),
    "parquet": write_parquet,
    "folder": write_folder,
}


def read(path: Path) -> List[Item]:
    source = InputFile(str(path))
    try:
        return list(source)
    finally:
        source.close()


def read_until_broken(path: Path) -> Tuple[List[Any], str]:
    """The values before an input turns out to be damaged, and what is said of it."""
    values: List[Any] = []
    source = None
    try:
        source = InputFile(str(path))
        values.extend(item.value for item in source)
    except (UsageError, BrokenInput) as error:
        return values, str(error)
    finally:
        if source is not None:
            source.close()
    return values, ""


def numbered(count: int, length: int = 1) -> List[Any]:
    """So many conversations, none like another and none that compresses away."""
    draw = random.Random(count)
    return [conversation(f"{n} {draw.getrandbits(32 * length):x}?", str(n)) for n in range(count)]


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


# Compressed


def test_lines_of_a_compressed_file_are_numbered_as_those_it_holds(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf\n" + lines(numbered(2)) + b"\noops\n" + lines(numbered(1))
    for packed in (gzip.compress(text), zstd(text)):
        source = read(write_bytes(tmp_path / "input.json", packed))
        assert [item.line for item in source] == [2, 3, 5, 6]
        assert "line 5: broken JSON" in str(source[2].value)


@pytest.mark.parametrize("edge", [0, 1, 1023, 1024, 1025])
@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_members_one_after_another_are_one_file(tmp_path: Path, pack: Callable[[bytes], bytes], edge: int) -> None:
    """Wherever a member ends within the piece that is unpacked at once."""
    items = numbered(40, 10)
    first = pack(lines(items[:20]) + b" " * 5)
    for blanks in range(edge):
        if len(first) % 1024 == edge % 1024:
            break
        first = pack(lines(items[:20]) + random.Random(blanks).choice([b" ", b"\n"]) * blanks)
    assert [item.value for item in read(write_bytes(tmp_path / "x", first + pack(lines(items[20:]))))] == items


def test_padding_of_gzip_and_frames_to_skip_of_zstd_are_passed_over(tmp_path: Path) -> None:
    items = numbered(5)
    skip = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"size"  # as pzstd puts before each frame
    padded = gzip.compress(lines(items[:3])) + bytes(3000) + gzip.compress(lines(items[3:])) + bytes(512)
    for packed in (padded, skip + zstd(lines(items[:3])) + skip + zstd(lines(items[3:]))):
        assert [item.value for item in read(write_bytes(tmp_path / "x", packed))] == items


def test_a_file_cut_off_at_any_byte_is_never_taken_for_whole(tmp_path: Path) -> None:
    items = numbered(3)
    whole = {"x.gz": gzip.compress(lines(items)), "x.zst": zstd(lines(items))}
    whole["x.parquet"] = write_parquet(tmp_path / "whole", items).read_bytes()
    for name, data in whole.items():
        for length in range(4, len(data), 1 + len(data) // 200):
            values, said = read_until_broken(write_bytes(tmp_path / name, data[:length]))
            assert said.startswith(f"{tmp_path / name}: "), (name, length, said)
            assert "\n" not in said
            assert values == items[: len(values)]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-8] + bytes(4) + data[-4:], "damaged gzip: "),
        (lambda data: data + b"rest", "damaged gzip: "),
        (lambda data: data[:20] + bytes(20) + data[40:], "damaged gzip: "),
        (lambda data: data[:-1], "damaged gzip: it breaks off"),
        (lambda data: gzip.compress(data), "line 1: neither a JSON list nor JSON lines: "),
        (lambda data: gzip.compress(b""), "it is empty"),
        (lambda data: b"\x28\xb5\x2f\xfd" + data, "damaged zstd: "),
    ],
    ids=["checksum", "rest", "zeros", "cut", "twice", "empty", "no zstd"],
)
def test_what_is_wrong_with_a_compressed_file_is_one_line(
    tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    path = write_bytes(tmp_path / "x.jsonl.gz", damage(gzip.compress(lines(numbered(3, 40)))))
    _, said = read_until_broken(path)
    assert said.startswith(f"{path}: ")
    assert says in said


@pytest.mark.parametrize("name", ["lines.gz", "lines.zst", "parquet"])
def test_what_stands_before_the_damage_is_given(tmp_path: Path, name: str) -> None:
    items = numbered(1200, 100)
    how = {"row_group_size": 200} if name == "parquet" else {}
    data = bytearray(WRITERS[name](tmp_path / name, items, **how).read_bytes())
    if name == "parquet":  # in its last row group
        at = bytes(data).rindex(items[1100]["conversations"][0]["value"].encode()[:40])
        data[at - 4 : at] = b"\xff" * 4
    else:
        del data[len(data) * 2 // 3 :]
    values, said = read_until_broken(write_bytes(tmp_path / name, bytes(data)))
    assert 500 < len(values) < 1200
    assert values == items[: len(values)]
    assert said.startswith(f"{tmp_path / name}: damaged ")


# Parquet


def test_rows_are_numbered_from_1_and_only_what_entries_have_is_read(tmp_path: Path) -> None:
    items = [{**item, "embedding": b"\xff", "label": 7} for item in numbered(3)]
    columns = {"embedding": arrow.binary(), **COLUMNS, "label": arrow.int64()}
    found = read(write_parquet(tmp_path / "x", items, columns))
    assert found == [Item(number, item) for number, item in enumerate(numbered(3), 1)]


def test_batches_leave_no_row_out_whatever_the_row_groups(tmp_path: Path) -> None:
    items = numbered(700)
    for size in (1, 100, 256, 699, 700):
        path = write_parquet(tmp_path / "x", items, row_group_size=size)
        assert read(path) == [Item(number, item) for number, item in enumerate(items, 1)]


def test_what_is_null_in_a_row_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    weighted = arrow.list_(arrow.struct({"from": arrow.string(), "value": arrow.string(), "weight": arrow.float64()}))
    columns = {"conversations": weighted, "images": arrow.list_(arrow.string())}
    items = [
        {"conversations": [{"from": "human", "value": "q", "weight": 0.5}, {"from": "gpt", "value": ""}]},
        {"conversations": [{"from": "human", "value": "q"}], "images": []},
    ]
    assert [item.value for item in read(write_parquet(tmp_path / "x", items, columns))] == items


def test_images_of_huggingface_are_their_bytes_or_their_path(tmp_path: Path) -> None:
    images = arrow.list_(arrow.struct({"bytes": arrow.binary(), "path": arrow.string()}))
    rows = [
        conversation("a", images=[{"bytes": PNG, "path": "a.png"}, {"bytes": None, "path": "b.png"}]),
        conversation("b", images=[{"bytes": b"text", "path": "c.png"}]),
        conversation("c", images=[{"bytes": None, "path": None}]),
    ]
    both, text, none = read(write_parquet(tmp_path / "x", rows, {"conversations": TURNS, "images": images}))
    assert entry_from_conversation(both.value).images == [data_url(PNG), "b.png"]
    assert isinstance(text.value, BadEntry)
    with pytest.raises(BadEntry, match="images"):
        entry_from_conversation(none.value)


def test_a_row_that_is_no_utf8_costs_no_other(tmp_path: Path) -> None:
    texts = arrow.array([b"a", b"\xff", b"c"]).view(arrow.string())
    columns = {"conversations": arrow.array([conversation("q")["conversations"]] * 3, TURNS), "entry_id": texts}
    parquet.write_table(arrow.table(columns), str(tmp_path / "x"))
    found = read(tmp_path / "x")
    assert [item.value["entry_id"] for item in (found[0], found[2])] == ["a", "c"]
    assert "row 2: " in str(found[1].value)


def test_values_that_json_cannot_hold_are_text(tmp_path: Path) -> None:
    turn = arrow.list_(arrow.struct({"from": arrow.string(), "value": arrow.string(), "at": arrow.date32()}))
    row = {"conversations": [{"from": "human", "value": "q", "at": datetime.date(2024, 5, 1)}]}
    (found,) = read(write_parquet(tmp_path / "x", [row], {"conversations": turn}))
    assert found.value["conversations"][0]["at"] == "2024-05-01"


def test_a_table_without_conversations_is_refused_with_the_columns_it_has(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [{"text": "q"}], {"text": arrow.string(), "label": arrow.int64()})
    with pytest.raises(UsageError, match="text, label") as caught:
        InputFile(str(path))
    assert str(path) in str(caught.value)


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


# How far it is


def test_parquet_says_how_many_items_there_are_before_one_is_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", numbered(7))
    write_parquet(tmp_path / "b.parquet", numbered(500))
    for path, count in ((tmp_path / "a.parquet", 7), (tmp_path, 507)):
        source = InputFile(str(path))
        assert (source.expected_items(), source.position) == (count, 0)
        source.close()


@pytest.mark.parametrize("name", WRITERS)
def test_the_estimate_is_near_on_the_way_and_exact_at_the_end(tmp_path: Path, name: str) -> None:
    source = InputFile(str(WRITERS[name](tmp_path / name, numbered(600, 400))))
    for count, _ in enumerate(source, 1):
        assert 0 <= source.position <= source.size
        if count == 300:
            assert 450 <= (source.expected_items() or 0) <= 750
    assert (source.parsed, source.expected_items(), source.position) == (600, 600, source.size)
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


# What has to be installed


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
    assert [record.pop("generated_scores") for record in scored] == [[10.0, 0.0]] * 2
    told = ("finish_reason", "reasoning")
    for record in scored:
        record["generated_details"] = [{k: d[k] for k in told if k in d} for d in record["generated_details"]]
    assert scored == records


def test_a_compressed_file_that_breaks_off_further_on_ends_the_run_after_what_stands_before(tmp_path: Path) -> None:
    items = numbered(400, 100)
    packed = gzip.compress(lines(items))
    source = write_bytes(tmp_path / "input.jsonl.gz", packed[: len(packed) // 2])
    with ScriptedServer(answer) as server:
        run = sample(server, source, tmp_path / "out.jsonl")
    said = f"sampling.py: error: {source}: damaged gzip: it breaks off\n"
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
