"""The summary that a run ends with: its rows, its warnings, and what to do next."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from common.errors import BadEntry, RequestFailed
from common.records import CUT, Answer, Score
from common.results.export import Selected
from common.results.selection import Selection
from common.running.counts import Counts
from common.running.summary import Ending, next_steps, server_rows, summary, warnings
from common.scoring.same_answer import FREE_TEXT, NO_REFERENCE
from common.servers.client import Traffic
from common.servers.slots import Server
from tests.helpers import conversation, questions, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion


def text_of(
    counts: Counts,
    traffic: Optional[Dict[str, Traffic]] = None,
    seconds: float = 10.0,
    files: Sequence[Tuple[str, str]] = (),
) -> str:
    return summary("reject.py", counts, traffic or {}, seconds, files)


def rows(text: str, name: str) -> List[str]:
    """What the summary's rows of that name say."""
    pairs = [line.split(None, 1) for line in text.splitlines()[1:]]
    return [said for found, said in pairs if found == name]


def row(text: str, name: str) -> Optional[str]:
    """What the summary's row of that name says; None if there is no such row."""
    return next(iter(rows(text, name)), None)


def test_a_mean_of_zero_is_shown() -> None:
    counts = Counts()
    counts.add_scores([Score(0.0)])
    assert row(text_of(counts), "scores") == "mean 0.00, 1 scored, 0 unscored"


def test_a_run_with_nothing_but_unscored_says_so() -> None:
    assert row(text_of(Counts(unscored=3)), "scores") == "0 scored, 3 unscored"


def test_the_accepted_answers_are_counted_if_something_says_which_they_are() -> None:
    counts = Counts(accept_score=8)
    counts.add_answers([Answer("a"), Answer("b")])
    counts.add_scores([Score(9.0), Score(1.0)])
    assert row(text_of(counts), "scores") == "mean 5.00, 2 scored, 0 unscored, 1 accepted (50%)"


@pytest.mark.parametrize(
    ("counts", "about"),
    [
        (Counts(answers=4), ""),
        (Counts(there=4), ""),  # answers that come with the input, or that another scorer scored before
        (Counts(answers=4, skipped=1), "; only of this run's entries"),
        (Counts(answers=4, there=2), "; only of this run's entries, with their earlier answers"),
    ],
)
def test_the_scores_of_a_run_that_goes_on_are_not_taken_for_those_of_the_output(counts: Counts, about: str) -> None:
    counts.add_scores([Score(1.0)])
    assert row(text_of(counts), "scores") == f"mean 1.00, 1 scored, 0 unscored{about}"


def test_entries_are_told_apart_by_what_became_of_them() -> None:
    said = row(text_of(Counts(done=1200, skipped=30, failed=10)), "entries")
    assert said == "1,200 done, 30 skipped (already done), 10 failed in 10.0 s (120.0/s)"


def test_entries_that_were_written_unfinished_or_not_begun_are_told_from_those_that_wait() -> None:
    said = summary("reject.py", Counts(done=1, postponed=9, unfinished=7), {}, 10.0, [], not_begun=20)
    assert "0 failed, 7 written, unfinished, 2 postponed, about 20 not begun in 10.0 s" in said
    assert "7 written, unfinished in" in summary("reject.py", Counts(unfinished=7), {}, 10.0, [])


def test_duplicates_are_named_only_if_there_are_any() -> None:
    assert "duplicates" not in text_of(Counts(done=1))
    assert "2 duplicates left out" in text_of(Counts(done=1, duplicates=2))


def test_answers_from_the_ledger_are_not_counted_as_sampled() -> None:
    assert row(text_of(Counts(answers=40, recalled=5)), "answers") == "40 sampled, 5 from the ledger (4.0/s)"
    assert row(text_of(Counts(recalled=5)), "answers") == "0 sampled, 5 from the ledger (0.0/s)"
    assert row(text_of(Counts(answers=40)), "answers") == "40 sampled (4.0/s)"


def test_the_requests_of_both_roles_are_summed_and_their_tokens_told_apart() -> None:
    traffic = {
        "generator": Traffic(requests=1000, retries=2, prompt_tokens=300, tokens=5000),
        "scorer": Traffic(requests=500, retries=1, prompt_tokens=9000, tokens=70),
    }
    text = text_of(Counts(), traffic)
    assert row(text, "requests") == "1,500 sent, 3 retries"
    assert rows(text, "tokens") == [
        "generator: 300 prompt, 5,000 completion (500/s)",
        "scorer: 9,000 prompt, 70 completion (7/s)",
    ]


@pytest.mark.parametrize("name", ["answers", "requests", "tokens", "scores", "failed", "unscored", "next", "warning"])
def test_what_a_run_did_not_do_has_no_row(name: str) -> None:
    assert row(text_of(Counts(done=3)), name) is None


def test_requests_that_were_dropped_and_entries_that_wait_are_named_only_if_there_are_any() -> None:
    said = text_of(Counts(done=1, postponed=3), {"generator": Traffic(requests=9, cancelled=2)})
    assert row(said, "entries") == "1 done, 0 skipped (already done), 0 failed, 3 postponed in 10.0 s (0.1/s)"
    assert row(said, "requests") == "9 sent, 0 retries, 2 dropped"
    assert "postponed" not in text_of(Counts(done=1), {"generator": Traffic(requests=1)})


def test_the_files_come_as_they_were_named_and_what_to_do_comes_last() -> None:
    files = [("output", "a b/out.jsonl"), ("next", "run it"), ("warning", "look"), ("errors", "out.errors")]
    lines = text_of(Counts(done=1), files=files).splitlines()
    assert lines[0] == "reject.py"
    assert [line.split(None, 1)[0] for line in lines[-4:]] == ["output", "errors", "warning", "next"]
    assert [line.split(None, 1)[1] for line in lines[-4:]] == ["a b/out.jsonl", "out.errors", "look", "run it"]


def test_a_server_has_a_share_only_among_several_and_the_concurrency_that_was_found() -> None:
    one, other = Server("http://a/v1", 37, peak=36, requests=3), Server("http://b/v1", 5, requests=1)
    said = "http://a/v1: 3 requests, 0 errors, 0.00 s each, up to 36 in flight (auto found 37)"
    assert server_rows([one], found=True) == [("server", said)]
    assert server_rows([one, other], found=False)[0][1].startswith("http://a/v1: 3 requests (75%), 0 errors")
    assert server_rows([one], found=False) == []


def test_a_run_that_took_no_time_has_a_summary() -> None:
    assert "0 done" in text_of(Counts(), {"generator": Traffic()}, seconds=0.0)


def test_failures_have_a_row_per_reason() -> None:
    counts = Counts()
    for number in range(3):
        counts.add_failure(RequestFailed(f"http://a/v1: 400 {number} tokens are too many", 400))
    counts.add_failure(BadEntry("no question"))
    assert rows(text_of(counts), "failed") == [
        "3 (request 400): http://a/v1: 400 0 tokens are too many",
        "1 (input): no question",
    ]


def test_unscored_answers_have_a_row_per_reason_whatever_differs_from_answer_to_answer() -> None:
    counts = Counts()
    for reason in ["the units differ: kg, m", "the units differ: s, h", f"{CUT}length", *[FREE_TEXT] * 3]:
        counts.add_scores([Score(None, unscored=reason)])
    assert rows(text_of(counts), "unscored") == [
        f"3 because {FREE_TEXT}",
        "2 because the units differ: ...",
        "1 because it is cut by length",
    ]


def test_of_many_reasons_the_rest_is_one_row() -> None:
    counts = Counts()
    for letter in "abcdefgh":
        counts.add_scores([Score(None, unscored=letter)])
    assert rows(text_of(counts), "unscored")[-1] == "3 for other reasons"


# What to do next


def ending(**more: Any) -> Ending:
    """The end of a run of reject.py that went well."""
    values: Dict[str, Any] = {
        "script": "reject.py",
        "output_file": "out.jsonl",
        "errors_file": "out.jsonl.errors.jsonl",
        "samples": True,
        "scorer": "match",
        "selection": Selection(accept_score=10),
        "lowest_score": 0.0,
        "selected_file": "best.json",
        "selected": Selected(4, 4, 4),
        "is_over": True,
        **more,
    }
    return Ending(**values)


def test_a_run_that_went_well_says_where_the_training_data_is() -> None:
    assert next_steps(Counts(done=4), ending()) == ["train on best.json"]
    assert warnings(Counts(done=4), ending()) == []


def test_a_run_without_a_selection_says_how_to_get_one() -> None:
    (step,) = next_steps(Counts(done=4), ending(selected_file=None, selected=None))
    assert step.startswith("add --selected_file FILE")


def test_sampled_answers_are_to_be_scored() -> None:
    (step,) = next_steps(Counts(done=4), ending(script="sampling.py", scorer=None, selected_file=None, selected=None))
    assert step == "score the answers: python score.py --input_file out.jsonl --output_file FILE ..."


@pytest.mark.parametrize(
    ("counts", "more"),
    [(Counts(done=4), {"is_over": False}), (Counts(done=4, postponed=1), {})],
)
def test_a_run_that_stopped_goes_on_with_the_same_command(counts: Counts, more: Dict[str, Any]) -> None:
    assert next_steps(counts, ending(**more))[0] == "run the same command again to go on"


def test_failures_that_may_pass_are_done_again_and_others_are_to_be_corrected() -> None:
    (again, _) = next_steps(Counts(done=1, failed=2, hopeless=1), ending())
    assert again == "run the same command again: it requests only what is missing"
    (correct, _) = next_steps(Counts(done=1, failed=2, hopeless=2), ending())
    assert correct.startswith("correct the entries that out.jsonl.errors.jsonl names")


@pytest.mark.parametrize(("cut", "advised"), [(0, False), (4, False), (5, True), (100, True)])
def test_a_larger_limit_is_advised_if_many_answers_are_cut(cut: int, advised: bool) -> None:
    counts = Counts()
    counts.add_answers([Answer("a", "length")] * cut + [Answer("b", "stop")] * (100 - cut))
    said = [step for step in next_steps(counts, ending()) if "--max_tokens" in step]
    assert bool(said) is advised


@pytest.mark.parametrize(
    ("reason", "flag"),
    [
        (NO_REFERENCE, "--reference_key"),
        (FREE_TEXT, "--scorer match judge"),
        ("the judge's reply has no score from 0 to 10", "--retry_unscored"),
    ],
)
def test_a_reason_that_has_a_remedy_names_it(reason: str, flag: str) -> None:
    counts = Counts()
    counts.add_scores([Score(None, unscored=reason)])
    assert any(flag in step for step in next_steps(counts, ending()))


def test_a_scorer_that_decided_nothing_is_a_warning() -> None:
    counts = Counts()
    counts.add_scores([Score(None, unscored=NO_REFERENCE)] * 3)
    assert warnings(counts, ending(selected=None)) == [
        "--scorer match decided nothing: none of 3 answers has a score"
    ]  # fmt: skip
    counts.add_scores([Score(0.0)])
    assert warnings(counts, ending(selected=None)) == []


def test_answers_that_are_only_cut_are_not_the_scorers_fault() -> None:
    counts = Counts()
    counts.add_scores([Score(None, unscored=f"{CUT}length")] * 3)
    assert warnings(counts, ending(selected=None)) == []


def test_a_selected_answer_with_the_lowest_score_is_a_warning() -> None:
    (warning,) = warnings(Counts(), ending(selected=Selected(4, 4, 4, lowest=3)))
    assert warning.startswith("the lowest score, 0, is that of 3 of 4 selected answers: --accept_score S")


def test_an_empty_selection_is_a_warning_and_nothing_to_train_on() -> None:
    end = ending(selected=Selected(4, 0, 0))
    assert warnings(Counts(), end) == ["no answer is selected: none scores at least 10 (--accept_score)"]
    assert next_steps(Counts(), end) == []


# Whole runs


def rejected(folder: Path, server: ScriptedServer, *flags: object) -> str:
    """The summary of a run of reject.py over folder/in.json."""
    words: List[object] = ["--input_file", folder / "in.json", "--output_file", folder / "out.jsonl"]
    words += ["--generator_port", server.port, "--generator_model", "m", "--selected_file", folder / "best.jsonl"]
    return run_script("reject.py", *words, *flags).stdout


def wrong(request: Request) -> Reply:
    return completion("It is 77." if "1?" in request.question else "It is 0.")


def test_a_rule_selects_only_right_answers_by_default(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    with ScriptedServer(wrong) as server:
        said = rejected(tmp_path, server, "--scorer", "match")
        assert "selected  1 from 1 of the 2 entries" in said
        assert "4 accepted (50%)" in said
        assert rows(said, "warning") == []


def test_early_stopping_by_a_rule_needs_no_score_to_accept(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    with ScriptedServer(wrong) as server:
        rejected(tmp_path, server, "--scorer", "match", "--stop_after", 1, "--concurrency", 1)
        assert len(server.chats) < 8


@pytest.mark.parametrize("flags", [("--accept_score", 0), ("--select", "random")])
def test_wrong_answers_are_selected_if_the_flags_say_so_and_the_summary_warns(
    tmp_path: Path, flags: Tuple[object, ...]
) -> None:
    questions(tmp_path / "in.json", 2)
    with ScriptedServer(wrong) as server:
        (warning,) = rows(rejected(tmp_path, server, "--scorer", "match", *flags), "warning")
    assert warning.startswith("the lowest score, 0, is that of 1 of 2 selected answers")


def test_a_function_that_finds_all_answers_wrong_is_warned_of(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    (tmp_path / "check.py").write_text("def f(question, reference, answer):\n    return False\n")
    with ScriptedServer(wrong) as server:
        (warning,) = rows(rejected(tmp_path, server, "--scorer", f"python:{tmp_path / 'check.py'}:f"), "warning")
    assert warning.startswith("the lowest score, 0, is that of 2 of 2 selected answers")


def test_a_rule_without_references_is_warned_of(tmp_path: Path) -> None:
    write_input(tmp_path / "in.json", [conversation("a?"), conversation("b?"), conversation("c?", "4")])
    with ScriptedServer(wrong) as server:
        said = rejected(tmp_path, server, "--scorer", "match", "--limit", 2)
    assert "--scorer match decided nothing: none of 8 answers has a score" in rows(said, "warning")
    assert rows(said, "unscored") == [f"8 because {NO_REFERENCE}"]
    assert any("--scorer match judge" in step for step in rows(said, "next"))


def test_the_tokens_of_both_roles_are_shown(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    script = lambda request: completion("Score: 7") if "answer" in request.question else completion(f"{request.number}")
    with ScriptedServer(script) as server:
        said = rejected(tmp_path, server, "--scorer", "judge")
    tokens = [re.sub(r" \(.*", "", text) for text in rows(said, "tokens")]
    assert tokens == ["generator: 40 prompt, 56 completion", "scorer: 40 prompt, 56 completion"]


def test_duplicates_whose_other_keys_differ_are_counted(tmp_path: Path) -> None:
    items = [conversation("a?", "4", **own) for own in ({"id": 1, "w": 2}, {"w": 2, "id": 1}, {"id": 2}, {})]
    write_input(tmp_path / "in.json", [*items, conversation("b?", "4"), conversation("b?", "4")])
    with ScriptedServer(wrong) as server:
        (entries,) = rows(rejected(tmp_path, server, "--scorer", "match"), "entries")
    assert "4 duplicates left out (2 differ in their other keys)" in entries
