"""The files of selected answers: what their readers document, whole or not at all, and never held in memory.

The columns are checked against "Dataset formats and types" of TRL's documentation (huggingface.co/docs/trl,
dataset_formats: Language modeling, Preference, Vision datasets) and "Sharegpt Format" of LLaMA-Factory's
data/README.md (Supervised Fine-Tuning Dataset, Preference Dataset, Multimodal Image Dataset).
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RunStopped, UsageError
from common.input.conversations import entry_from_conversation
from common.input.files import InputFile
from common.records import Answer, Record, Score, make_record
from common.results.export import MARKS, UNREADABLE, Extras, Selected, check_selection, write_selected
from common.results.formats import FORMATS
from common.results.selection import Selection
from common.servers.messages import chat_messages
from common.storage.append_file import read_records
from common.storage.sorted_lines import RUN_BYTES
from tests.helpers import conversation

ENDINGS = ("json", "jsonl", "parquet")
BEST, DPO = Selection(), Selection("dpo")
# each export: a name, how it selects, its format, its columns
EXPORTS = [
    ("sharegpt", BEST, "sharegpt", ["conversations"]),
    ("ranking", DPO, "sharegpt", ["conversations", "chosen", "rejected"]),
    ("messages", BEST, "messages", ["messages"]),
    ("preference", DPO, "preference", ["prompt", "chosen", "rejected"]),
]
Rows = List[Dict[str, Any]]


def record(item: dict[str, Any], scores: list[float | None], texts: list[str] | None = None) -> Record:
    """A record as the scripts write it, with answers "answer 0", "answer 1", ..."""
    answers = [Answer(text, "stop") for text in texts or [f"answer {index}" for index in range(len(scores))]]
    return make_record(entry_from_conversation(item), answers, [Score(score) for score in scores])


def plain(name: object = 0, **more: Any) -> Record:
    return record(conversation(f"question {name}?", "reference", **more), [2.0, 9.0])


def told(turns: list[Any], images: list[str] | None = None) -> dict[str, Any]:
    """An input item of (role, text) turns."""
    item: dict[str, Any] = {"conversations": [{"from": role, "value": text} for role, text in turns]}
    return {**item, "images": images} if images else item


def loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file as HuggingFace datasets reads it, without the network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    kind = "parquet" if path.suffix == ".parquet" else "json"
    cache = str(path.parent / "cache")
    return datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=cache)


def written(path: Path, records: Any, selection: Selection = BEST, selected_format: str = "sharegpt") -> Rows:
    """The rows of what ``write_selected`` writes, read without any of its own code."""
    write_selected(records, str(path), selection, selected_format)
    return rows_of(path)


def rows_of(path: Path) -> Rows:
    """The rows of a training file."""
    if path.suffix == ".parquet":
        return list(parquet.read_table(str(path)).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return list(json.loads(path.read_bytes()))


def test_the_answer_takes_the_place_of_the_reference(tmp_path: Path) -> None:
    assert written(tmp_path / "x.jsonl", [plain()]) == [conversation("question 0?", "answer 1")]


def test_without_a_reference_the_answer_is_added(tmp_path: Path) -> None:
    kept = record(conversation("2+2?"), [1.0])
    assert written(tmp_path / "x.jsonl", [kept]) == [conversation("2+2?", "answer 0")]


def test_speakers_have_the_names_that_trainers_know_and_turns_nothing_else(tmp_path: Path) -> None:
    asked = told([("system", "s"), ("user", "2+2?"), ("assistant", "4"), ("human", "and 3+3?")])
    asked["conversations"][1]["weight"] = 0.5
    kept = record(asked, [5.0, 1.0])
    turns = written(tmp_path / "x.jsonl", [kept])[0]["conversations"]
    assert [turn["from"] for turn in turns] == ["system", "human", "gpt", "human", "gpt"]
    assert all(set(turn) == {"from", "value"} for turn in turns)
    assert written(tmp_path / "x.jsonl", [kept], DPO)[0]["rejected"] == {"from": "gpt", "value": "answer 1"}


HISTORY = [("system", "Be brief."), ("human", "<image>What is it?"), ("gpt", "A cat."), ("human", "Its colour?")]


@pytest.mark.parametrize("ending", ENDINGS)
def test_system_turn_history_and_images_are_kept_in_each_form(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    kept = [record(told([*HISTORY, ("gpt", "Black.")], ["a/cat.png"]), [5.0, 9.0])]
    images = {"images": ["a/cat.png"]}
    turns = told(HISTORY)["conversations"]
    good, bad = ({"from": "gpt", "value": f"answer {n}"} for n in (1, 0))
    assert written(path, kept) == [{"conversations": [*turns, good], **images}]
    assert written(path, kept, DPO) == [{"conversations": turns, "chosen": good, "rejected": bad, **images}]

    def said(role: str, text: str, image: bool = False) -> dict[str, Any]:
        none = {"text": None} if ending == "parquet" else {}
        return {"role": role, "content": [{"type": "image", **none}] * image + [{"type": "text", "text": text}]}

    asked = [
        said("system", "Be brief."),
        said("user", "What is it?", image=True),
        said("assistant", "A cat."),
        said("user", "Its colour?"),
    ]
    best, worst = said("assistant", "answer 1"), said("assistant", "answer 0")
    assert written(path, kept, BEST, "messages") == [{"messages": [*asked, best], **images}]
    assert written(path, kept, DPO, "preference") == [
        {"prompt": asked, "chosen": [best], "rejected": [worst], **images}
    ]


def test_the_reference_is_the_chosen_side(tmp_path: Path) -> None:
    how = Selection("dpo", reference_as_chosen=True)
    assert written(tmp_path / "x.jsonl", [plain()], how, "preference") == [
        {
            "prompt": [{"role": "user", "content": "question 0?"}],
            "chosen": [{"role": "assistant", "content": "reference"}],
            "rejected": [{"role": "assistant", "content": "answer 0"}],
        }
    ]


def test_each_pick_is_a_row(tmp_path: Path) -> None:
    records = [record(conversation(f"question {n}?"), [9.0, 1.0, 8.0]) for n in range(2)]
    rows = written(tmp_path / "x.jsonl", records, Selection("threshold", accept_score=8))
    assert [row["conversations"][-1]["value"] for row in rows] == ["answer 0", "answer 2"] * 2


def test_records_of_other_tools_with_references_as_plain_strings_are_written(tmp_path: Path) -> None:
    kept: Record = {"original_question": "2+2?", "original_answers": ["4"]}
    kept.update(generated_answers=["four", "five"], generated_scores=[9, 1])
    assert written(tmp_path / "x.jsonl", [kept]) == [conversation("2+2?", "four")]


def test_an_image_without_a_mark_gets_one_where_it_was_shown(tmp_path: Path) -> None:
    """LLaMA-Factory wants as many marks as images; unmarked ones come first in the question (README)."""
    turns = [("human", "<image>first"), ("gpt", "ok"), ("human", "the <image> last")]
    rows = written(tmp_path / "x.jsonl", [record(told(turns, ["1", "2", "3", "4"]), [9.0])])
    assert [turn["value"] for turn in rows[0]["conversations"]] == [
        "<image>first",
        "ok",
        "<image><image>the <image> last",
        "answer 0",
    ]
    assert rows[0]["images"] == ["1", "3", "4", "2"]


pieces = st.lists(st.sampled_from(["<image>", "text", "\n", " ", "more\n"]), max_size=5).map("".join)


unmarked = pieces.map(lambda text: text.replace("<image>", "image"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.just("human"), pieces, unmarked), max_size=2), pieces, st.integers(0, 3))
def test_the_parts_of_a_message_are_what_the_generator_was_shown(history: Any, question: str, spare: int) -> None:
    turns = [turn for role, asked, said in history for turn in ((role, asked), ("gpt", said))] + [("human", question)]
    marks = sum(text.count("<image>") for role, text in turns if role == "human")
    images = [f"{n}.png" for n in range(marks + spare)] or ["unseen.png"]
    item = told(turns, images)
    shown: list[Any] = []
    for message in chat_messages(entry_from_conversation(item), images, None):
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        shown += [part["image_url"]["url"] if part["type"] == "image_url" else part["text"] for part in parts]
    row = as_messages(record(item, [9.0]))
    waiting = iter(row["images"])
    parts = [part for message in row["messages"] for part in message["content"]]
    assert [next(waiting) if part["type"] == "image" else part["text"] for part in parts] == [*shown, "answer 0"]
    assert list(waiting) == []


def as_messages(kept: Record) -> dict[str, Any]:
    """The one row of a record as messages."""
    with tempfile.TemporaryDirectory() as folder:
        return written(Path(folder) / "x.jsonl", [kept], BEST, "messages")[0]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("name", "how", "form", "columns"), EXPORTS, ids=[export[0] for export in EXPORTS])
def test_a_file_without_images_has_no_such_column(
    tmp_path: Path, ending: str, name: str, how: Selection, form: str, columns: list[str]
) -> None:
    rows = written(tmp_path / f"x.{ending}", [plain(1), plain()], how, form)
    assert [list(row) for row in rows] == [columns] * 2


@pytest.mark.parametrize("text", ["use <image> here", "<video>", "an <audio> tag"])
@pytest.mark.parametrize(("name", "how", "form", "columns"), EXPORTS, ids=[export[0] for export in EXPORTS])
def test_a_text_that_trainers_would_take_for_a_medium_is_left_out_and_counted(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    text: str,
    name: str,
    how: Selection,
    form: str,
    columns: list[str],
) -> None:
    pictured = record(told([("human", "<image>q")], ["a.png"]), [2.0, 9.0])
    answers = [record(told([("human", "q")]), [2.0, 9.0], ["fine", text]) for _ in range(2)]
    history = record(told([("human", "q"), ("gpt", text), ("human", "r")]), [2.0, 9.0])
    records = [plain(), *answers, history, pictured]
    with caplog.at_level(logging.WARNING):
        selected = write_selected(records, str(tmp_path / "x.jsonl"), how, form)
    assert selected == Selected(5, 2, 2, without_rows=((MARKS, 3),))
    assert "left out 3 rows" in caplog.text


TEXT = "string"
TURNS = [{"from": TEXT, "value": TEXT}]
PARTS = [{"type": TEXT, "text": TEXT}]


def type_names(feature: Any) -> Any:
    """The types of a feature of datasets, the same for its old and new ways of spelling a list."""
    if isinstance(feature, dict):
        return {key: type_names(one) for key, one in feature.items()}
    if isinstance(feature, list):
        return [type_names(feature[0])]
    return [type_names(feature.feature)] if hasattr(feature, "feature") else getattr(feature, "dtype", "json")


def documented(name: str, images: bool) -> dict[str, Any]:
    """The columns that TRL and LLaMA-Factory document, with their types."""
    messages = [{"role": TEXT, "content": PARTS if images else TEXT}]
    columns: dict[str, Any] = {
        "sharegpt": {"conversations": TURNS},
        "ranking": {"conversations": TURNS, "chosen": TURNS[0], "rejected": TURNS[0]},
        "messages": {"messages": messages},
        "preference": {"prompt": messages, "chosen": messages, "rejected": messages},
    }[name]
    return {**columns, "images": [TEXT]} if images else columns


def mixed() -> list[Record]:
    """Entries with and without images, with and without a system turn, and one with extra keys in a turn."""
    extra = conversation("extra?", "old")
    extra["conversations"][0].update(weight=0.5, tags=["a"])
    return [
        plain(),
        record(told([("system", "Be brief."), ("human", "hello")]), [1.0, 2.0]),
        record(told([("human", "<image>what?\n")], ["a.png"]), [1.0, 2.0]),
        record(told([("user", "and these?"), ("assistant", "two")], ["b.png", "c.png"]), [1.0, 2.0]),
        record(extra, [1.0, 2.0]),
    ]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("name", "how", "form", "columns"), EXPORTS, ids=[export[0] for export in EXPORTS])
def test_datasets_loads_each_export_with_the_documented_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, name: str, how: Selection, form: str, columns: Any
) -> None:
    path = tmp_path / f"x.{ending}"
    rows = written(path, [plain(n) for n in range(3)], how, form)
    dataset = loaded(path, monkeypatch)
    assert type_names(dict(dataset.features)) == documented(name, images=False)
    assert list(dataset) == rows


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("name", "how", "form", "columns"), EXPORTS, ids=[export[0] for export in EXPORTS])
def test_datasets_loads_entries_with_images_beside_entries_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, name: str, how: Selection, form: str, columns: Any
) -> None:
    path = tmp_path / f"x.{ending}"
    rows = written(path, mixed(), how, form)
    dataset = loaded(path, monkeypatch)
    assert list(dataset["images"]) == [[], [], ["a.png"], ["b.png", "c.png"], []]
    assert [without_nulls(row) for row in dataset] == [without_nulls(row) for row in rows]
    if ending == "parquet":
        assert type_names(dict(dataset.features)) == documented(name, images=True)


def without_nulls(value: Any) -> Any:
    """The value without the nulls that Arrow puts where an object has no such key."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def late(records: list[Record]) -> Iterator[Record]:
    """The records after more than datasets reads before it settles a file's columns (10 MB)."""
    long = "x" * 60_000
    for n in range(200):
        yield record(conversation(f"{n} {long}"), [2.0, 1.0])
    yield from records


@pytest.mark.parametrize(("form", "how"), [("sharegpt", BEST), ("preference", DPO)])
def test_datasets_loads_a_column_that_shows_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, how: Selection
) -> None:
    path = tmp_path / "x.jsonl"
    selected = write_selected(late(mixed()), str(path), how, form)
    dataset = loaded(path, monkeypatch)
    assert len(dataset) == selected.rows == 205
    assert sorted(map(len, dataset["images"])) == [0] * 203 + [1, 2]


def test_rows_are_in_the_order_of_the_records(tmp_path: Path) -> None:
    for ending in ENDINGS:
        rows = written(tmp_path / f"x.{ending}", mixed())
        assert [len(row["images"]) for row in rows] == [0, 0, 1, 2, 0]


@pytest.mark.parametrize("name", ["best.json", "best.jsonl", "best", "best.txt"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_is_written_can_be_read_again_as_an_input(tmp_path: Path, name: str, count: int) -> None:
    path = tmp_path / name
    records = [plain(f"{n}\n\u2028\u4f60\u597d") for n in range(count)]
    wanted = [conversation(f"question {n}\n\u2028\u4f60\u597d?", "answer 1") for n in range(count)]
    assert written(path, records) == wanted
    if path.stat().st_size:  # an empty JSONL file is no input
        source = InputFile(str(path))
        read = [entry_from_conversation(item) for _, item in source]
        source.close()
        assert [entry.reference for entry in read] == ["answer 1"] * count


@pytest.mark.parametrize("ending", ENDINGS)
def test_records_looked_at_records_chosen_and_rows_are_counted(tmp_path: Path, ending: str) -> None:
    cut = {**plain(), "generated_details": [{"finish_reason": "length"}] * 2}
    records = [plain(), record(conversation("q"), [None]), record(conversation("q"), [3.0, 8.0, 9.0]), cut]
    how = Selection("threshold", accept_score=5)
    assert write_selected(records, str(tmp_path / f"x.{ending}"), how, "messages") == Selected(4, 2, 3)
    assert len(written(tmp_path / f"x.{ending}", records, how, "messages")) == 3


def test_records_that_give_nothing_leave_no_comma_in_the_list(tmp_path: Path) -> None:
    nothing = record(conversation("q"), [None])
    assert len(written(tmp_path / "x.json", [nothing, plain(), nothing, plain(), nothing])) == 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_record_without_a_readable_conversation_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    broken: list[Any] = [{**plain(), "original_answers": wrong} for wrong in (None, 7, [{"from": "robot"}])]
    broken += [{**plain(), "images": "a.png"}, {}, [], None]
    with caplog.at_level(logging.WARNING):
        selected = write_selected([*broken, plain()], str(tmp_path / f"x.{ending}"), BEST, "messages")
    assert selected == Selected(8, 1, 1, without_rows=((UNREADABLE, 4),))
    assert "4 records" in caplog.text


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_records_are_left_as_they_were(tmp_path: Path, ending: str) -> None:
    records = mixed()
    before = copy.deepcopy(records)
    for _, how, form, _ in EXPORTS:
        written(tmp_path / f"x.{ending}", records, how, form)
    assert records == before


def test_a_lone_surrogate_in_an_answer_does_not_break_the_json(tmp_path: Path) -> None:
    rows = written(tmp_path / "x.json", [record(conversation("q"), [9.0], ["\ud83d half"]), plain()])
    assert rows[0]["conversations"][-1]["value"] == "\ud83d half"


def test_a_lone_surrogate_is_replaced_in_parquet_and_a_pair_of_them_is_one_character(tmp_path: Path) -> None:
    text = "\ud83d half \udc00, \U0001f600 \ud83d\ude00 \u4f60"
    for _, how, form, _ in EXPORTS:
        kept = record(conversation(f"q {text}", "old"), [9.0, 1.0], [text, "other"])
        rows = written(tmp_path / "x.parquet", [kept, plain()], how, form)
        assert json.dumps(rows, ensure_ascii=False).count("\ufffd half \ufffd, \U0001f600 \U0001f600 \u4f60") == 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_former_selection_is_replaced_and_nothing_else_is_left(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_text("of an earlier run, and much longer than what follows\n" * 99)
    assert len(written(path, [plain()])) == 1
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_selection_that_breaks_off_leaves_the_former_one_whole(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_text("[]\n")

    def damaged() -> Iterator[Record]:
        yield plain()
        raise OSError(5, "Input/output error")

    with pytest.raises(RunStopped):
        write_selected(damaged(), str(path), BEST, "sharegpt")
    assert path.read_text() == "[]\n"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"folder.{ending}").mkdir()
    for path in (tmp_path / "no such folder" / f"x.{ending}", tmp_path / f"folder.{ending}"):
        with pytest.raises(RunStopped, match=f"(no such folder|folder).*{ending}"):
            write_selected([plain()], str(path), BEST, "sharegpt")
    assert [file.name for file in tmp_path.iterdir()] == [f"folder.{ending}"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_selection_without_rows_is_a_file_without_rows(tmp_path: Path, ending: str) -> None:
    assert written(tmp_path / f"x.{ending}", [], DPO, "preference") == []


@pytest.mark.parametrize(
    ("ending", "length", "few", "many"), [("jsonl", 50, 1000, 20_000), ("parquet", 9_000, 800, 4000)]
)
def test_memory_does_not_grow_with_the_records(tmp_path: Path, ending: str, length: int, few: int, many: int) -> None:
    kept = record(conversation("q" * length), [9.0], ["a"])

    def peak(count: int) -> int:
        tracemalloc.start()
        write_selected(itertools.repeat(kept, count), str(tmp_path / f"x.{ending}"), BEST, "messages")
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return largest

    peak(1)
    assert peak(many) < 1.5 * peak(few) + 2 * RUN_BYTES


def test_an_output_file_is_a_source_of_records(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(plain(n)) + "\n" for n in range(3)))
    rows = written(tmp_path / "x.parquet", read_records(str(tmp_path / "out.jsonl")))
    assert [row["conversations"][0]["value"] for row in rows] == [f"question {n}?" for n in range(3)]


@pytest.mark.parametrize(
    ("how", "form", "words"),
    [
        (Selection("threshold"), "sharegpt", ["--select threshold", "--accept_score"]),
        (Selection("best"), "preference", ["--selected_format preference", "--select dpo"]),
        (Selection("dpo"), "messages", ["--selected_format messages", "--select dpo", "preference"]),
        (Selection("best", min_margin=1), "sharegpt", ["--min_margin", "--select dpo"]),
        (Selection("top_k", length_match=True), "sharegpt", ["--length_match", "--select dpo"]),
        (Selection("random", pairs_per_entry=2), "sharegpt", ["--pairs_per_entry", "--select dpo"]),
        (Selection("best", reference_as_chosen=True), "messages", ["--reference_as_chosen", "--select dpo"]),
        (Selection("best", top_k=2), "sharegpt", ["--top_k", "--select best"]),
        (Selection("dpo", top_k=2), "sharegpt", ["--top_k", "--select dpo"]),
        (Selection("threshold", top_k=2, accept_score=1), "sharegpt", ["--top_k", "--select threshold"]),
        (Selection("worst"), "sharegpt", ["--select"]),
        (Selection(), "no_such_format", ["--selected_format"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_that_names_the_flags(
    how: Selection, form: str, words: list[str]
) -> None:
    with pytest.raises(UsageError) as refused:
        check_selection(how, form, "x.json")
    assert "\n" not in str(refused.value)
    assert [word for word in words if word not in str(refused.value)] == []


def test_what_can_be_is_not_refused() -> None:
    for ending in ENDINGS:
        for form in ("sharegpt", "messages"):
            for select in ("best", "top_k", "random", "threshold"):
                check_selection(Selection(select, accept_score=0.0), form, f"x.{ending}")
        for form in ("sharegpt", "preference"):
            check_selection(Selection("dpo", 1, 5.0, 2.0, True, 3, True), form, f"x.{ending}")
    check_selection(Selection("top_k", top_k=4), "messages", "x.json")
    check_selection(Selection("random", top_k=4), "messages", "x.json")
    assert list(FORMATS)[:3] == ["sharegpt", "messages", "preference"]


def test_parquet_without_pyarrow_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    path = str(tmp_path / "x.parquet")
    for attempt in (check_selection, lambda how, form, path: write_selected([plain()], path, how, form)):
        with pytest.raises(UsageError, match=r"pip install .pyarrow"):
            attempt(BEST, "sharegpt", path)
    check_selection(BEST, "sharegpt", "x.jsonl")
    assert list(tmp_path.iterdir()) == []


def placed(number: int, line: int | None, file: str | None = None, **extra: Any) -> Record:
    """A record of the entry at a line of the input, with its own keys."""
    own = plain(number, **extra)
    entry_id = own.pop("entry_id")
    return {**own, **({"file": file} if file else {}), **({} if line is None else {"line": line}), "entry_id": entry_id}


def asked(rows: Rows) -> list[str]:
    return [row["conversations"][0]["value"][len("question ") : -1] for row in rows]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("order", "wanted"), [("input", ["3", "4", "2", "0", "1"]), ("output", list("01234"))])
def test_rows_are_in_the_order_of_the_input(tmp_path: Path, ending: str, order: str, wanted: list[str]) -> None:
    records = [placed(0, 10, "b"), placed(1, 2, "c"), placed(2, 9, "b"), placed(3, None), placed(4, 10, "a")]
    path = tmp_path / f"x.{ending}"
    write_selected(records, str(path), BEST, "sharegpt", Extras(order=order))
    assert asked(rows_of(path)) == wanted


OWN = {"id": 7, "meta": {"level": [1, 2.50]}, "source": "s"}


@pytest.mark.parametrize(("name", "how", "form", "columns"), EXPORTS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_named_keys_are_columns_of_every_format(
    tmp_path: Path, ending: str, name: str, how: Selection, form: str, columns: list[str]
) -> None:
    path = tmp_path / f"x.{ending}"
    keys = ["id", "meta.level.0", "meta", "score", "entry_id", "model", "line", "reference"]
    write_selected([placed(0, 5, **OWN), placed(1, 6, source="t")], str(path), how, form, Extras(keys, "input", "m"))
    first, second = rows_of(path)
    scores = {"score_chosen": 9.0, "score_rejected": 2.0} if how.makes_pairs else {"score": 9.0}
    models = {"model_chosen": "m", "model_rejected": "m"} if how.makes_pairs else {"model": "m"}
    meta = '{"level":[1,2.5]}' if ending == "parquet" else {"level": [1, 2.5]}
    entry_id = placed(0, 5, **OWN)["entry_id"]
    more = {"id": 7, "meta.level.0": 1, "meta": meta, **scores, "entry_id": entry_id, **models, "line": 5}
    assert {key: first[key] for key in first if key not in columns} == {**more, "reference": "reference"}
    assert (second["id"], second["meta"], list(second)) == (None, None, list(first))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_column_has_one_type_in_all_rows(tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"x.{ending}"
    records = [placed(n, n, one=one, two=two) for n, (one, two) in enumerate([(1, "a"), (2.5, [1]), (True and 3, 4)])]
    write_selected(records, str(path), BEST, "sharegpt", Extras(["one", "two", "three"]))
    assert [(row["one"], row["two"]) for row in rows_of(path)] == [(1.0, "a"), (2.5, "[1]"), (3.0, "4")]
    assert caplog.messages == [
        "--selected_keys: no selected row has three",
        "--selected_keys: two is written as text, since its values are of several types",
    ]


def test_a_key_that_the_format_has_is_refused_and_the_own_key_has_another_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"extra\.rejected"):
        check_selection(DPO, "preference", "x.json", ["rejected"])
    with pytest.raises(UsageError, match="--selected_file"):
        check_selection(BEST, "sharegpt", None, ["id"])
    write_selected(
        [plain(0, score="own")], str(tmp_path / "x.json"), BEST, "sharegpt", Extras(["extra.score", "score"])
    )
    (row,) = rows_of(tmp_path / "x.json")
    assert (row["extra.score"], row["score"]) == ("own", 9.0)
