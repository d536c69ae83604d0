"""``--scorer majority``: the share of equal final answers, what the record says, weights, and when sampling stops."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest

from common.scoring.same_answer import Said, read_answer, say_the_same
from common.scoring.votes import Ballot, Reading, parties, sureness, votes_missing
from tests.forked import forked
from tests.helpers import conversation, done, read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion
from tests.toy_rewards import ToyRewards

FOUR = [r"So it is $\boxed{4}$.", "2 + 2 = 4\n#### 4", "The answer is 4."]
FIVE = [r"\boxed{5}", "The answer is 5."]
WAIT = r"\boxed{4}. Wait, that is wrong."


def score(folder: Path, *flags: object, answers: Sequence[str] = (*FOUR, *FIVE)) -> subprocess.CompletedProcess[str]:
    """Scores one record, unless its file is there, by the majority."""
    record = {
        "original_question": "What is 2+2?",
        "original_answers": [{"from": "human", "value": "What is 2+2?"}],
        "generated_answers": list(answers),
    }
    if not (folder / "in.jsonl").exists():
        write_input(folder / "in.jsonl", [record])
    words = ["--input_file", folder / "in.jsonl", "--output_file", folder / "out.jsonl", "--scorer", "majority"]
    return forked("score", [*words, *flags], folder)


def reject(
    server: ScriptedServer, folder: Path, *flags: object, entries: int = 1, kill_at: int = 0
) -> subprocess.CompletedProcess[str]:
    if not (folder / "in.json").exists():
        write_input(folder / "in.json", [conversation(f"What is {n}+2?") for n in range(entries)])
    words = ["--input_file", folder / "in.json", "--output_file", folder / "out.jsonl", "--generator_model", "g"]
    return forked("reject", [*words, "--generator_port", server.port, "--scorer", "majority", *flags], folder, kill_at)


def only_record(folder: Path) -> Dict[str, Any]:
    (record,) = read_lines(folder / "out.jsonl")
    return dict(record)


# Classes


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        ("How many?", r"\boxed{4}", "So there are 4 of them."),
        ("How much?", "It is $1,450,000.", r"\boxed{1.45 \text{ million}}"),
        ("What is it?", r"\boxed{\frac{1}{2}}", "The answer is 0.5."),
        ("What is it?", r"\boxed{\{1, 2\}}", r"\boxed{2, 1}"),
        ("Which is a gas? A) iron B) helium", r"\boxed{B}", "The answer is helium."),
        ("Which is a gas? A) iron B) helium", "The answer is (B).", "Answer: B) helium"),
        ("What is the capital of France?", "Paris", "The capital of France is Paris."),
        ("Is 7 a prime?", "Yes, it is.", r"\boxed{\text{yes}}"),
        ("When does it end?", r"\boxed{4:30 \text{ p.m.}}", "The answer is 16:30."),
    ],
)
def test_equal_final_answers_are_in_one_class_in_each_order(question: str, one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        ballot = Ballot(question)
        ballot.add(first)
        ballot.add(second)
        assert ballot.sizes() == [2]


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        ("How many?", r"\boxed{4}", r"\boxed{-4}"),
        ("How many?", r"\boxed{4}", "There are 5 of them, not 4."),
        ("What is it?", r"\boxed{(1, 2)}", r"\boxed{(2, 1)}"),
        ("Which is a gas? A) iron B) helium", r"\boxed{A}", r"\boxed{B}"),
        ("Is 7 a prime?", "Yes.", "No."),
        ("What is it?", r"\boxed{x+1}", r"\boxed{x-1}"),
    ],
)
def test_others_are_not(question: str, one: str, other: str) -> None:
    ours, theirs = read_answer(question, one), read_answer(question, other)
    together = isinstance(ours, Said) and isinstance(theirs, Said) and say_the_same(question, ours, theirs)
    assert not together


@pytest.mark.parametrize(
    "answer",
    ["", "<think>It is 4", WAIT, "Perhaps 4, perhaps 5.", "I bought 3 apples and then 4 pears.", "!?", r"\boxed{}"],
)
def test_an_answer_that_cannot_be_told_has_a_reason(answer: str) -> None:
    assert isinstance(read_answer("How many?", answer), str)


def test_classes_do_not_depend_on_the_order_of_the_answers() -> None:
    texts = [r"\boxed{0.5}", r"\boxed{\frac12}", r"\boxed{2}", r"\boxed{x}", r"\boxed{0.5}", "The answer is 1/2."]
    seen = set()
    for turn in range(len(texts)):
        turned = texts[turn:] + texts[:turn]
        found = parties("What?", [read_answer("What?", text) for text in turned], Reading())
        seen.add(tuple((party.name, tuple(sorted(turned[place] for place in party.members))) for party in found))
    assert len(seen) == 1


def test_classes_have_names_of_their_own() -> None:
    texts = [r"\boxed{4 \text{ cm}}", r"\boxed{4 \text{ kg}}", r"\boxed{4 \text{ s}}"]
    found = parties("What?", [read_answer("What?", text) for text in texts], Reading())
    assert len({party.name for party in found}) == len(found)


def test_sureness_is_the_area_of_the_beta_distribution_above_one_half() -> None:
    def area(first: int, second: int, steps: int = 20_000) -> float:
        heights = [(x**first) * ((1 - x) ** second) for x in ((step + 0.5) / steps for step in range(steps))]
        return sum(heights[steps // 2 :]) / sum(heights)

    for first, second in ((1, 0), (4, 0), (5, 2), (3, 3), (12, 9)):
        assert sureness(first, second) == pytest.approx(area(first, second), abs=1e-6)
    assert [votes_missing(0, 0, sure) for sure in (0.85, 0.9, 0.95, 0.99)] == [2, 3, 4, 6]


# Scores and records


def test_a_score_is_the_share_of_the_class_and_no_request_is_sent(tmp_path: Path) -> None:
    done(score(tmp_path, answers=[*FOUR, *FIVE]))
    record = only_record(tmp_path)
    assert record["generated_scores"] == [6, 6, 6, 4, 4]
    assert record["generated_details"][0]["vote"] == {"answer": "4", "share": 0.6, "votes": 3, "of": 5}
    assert (record["majority_answer"], record["majority_share"]) == ("4", 0.6)
    keys = list(record)
    assert keys[keys.index("generated_details") + 1 :][:2] == ["majority_answer", "majority_share"]
    assert keys[-1] == "entry_id"


def test_an_answer_that_cannot_be_told_is_unscored_and_counts_among_all(tmp_path: Path) -> None:
    done(score(tmp_path, "--score_min", 1, "--score_max", 2, answers=[*FOUR, WAIT]))
    record = only_record(tmp_path)
    assert record["generated_scores"] == [1.75, 1.75, 1.75, None]
    assert record["generated_details"][3] == {"unscored": "the answer has second thoughts"}
    assert record["majority_share"] == 0.75


@pytest.mark.parametrize(
    ("answers", "expected"),
    [([FOUR[0], FIVE[0]], (None, 0.5)), ([WAIT, "Perhaps 4, perhaps 5."], (None, None)), ([FOUR[0]], (None, None))],
)
def test_a_tie_and_a_single_answer_have_no_majority(tmp_path: Path, answers: List[str], expected: object) -> None:
    done(score(tmp_path, answers=answers))
    record = only_record(tmp_path)
    assert (record["majority_answer"], record["majority_share"]) == expected
    if len(answers) == 1:
        assert record["generated_details"][0]["unscored"] == "it is the only answer: there is no majority of one"


def test_the_same_command_again_changes_nothing(tmp_path: Path) -> None:
    done(score(tmp_path))
    before = (tmp_path / "out.jsonl").read_bytes()
    done(score(tmp_path))
    assert (tmp_path / "out.jsonl").read_bytes() == before


@pytest.mark.parametrize(("least", "chosen"), [("0.6", 1), ("0.61", 0)])
def test_majority_min_says_which_share_is_accepted(tmp_path: Path, least: str, chosen: int) -> None:
    selected = tmp_path / "selected.jsonl"
    done(score(tmp_path, "--majority_min", least, "--selected_file", selected))
    assert len(read_lines(selected)) == chosen


def test_pairs_are_of_the_majority_and_of_the_others(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    done(score(tmp_path, "--majority_min", 0.5, "--select", "dpo", "--selected_file", pairs))
    (pair,) = read_lines(pairs)
    text = json.dumps(pair)
    assert any(json.dumps(answer)[1:-1] in text for answer in FOUR)
    assert any(json.dumps(answer)[1:-1] in text for answer in FIVE)


# Early stopping


def test_sampling_stops_once_the_leader_is_sure_and_sends_no_more_than_that_takes(tmp_path: Path) -> None:
    with ScriptedServer(lambda request: completion(rf"{request.number}: \boxed{{4}}")) as server:
        flags = ("--stop_sure", 0.9, "--answers_per_question", 8)
        done(reject(server, tmp_path, *flags, entries=12))
        records = read_lines(tmp_path / "out.jsonl")
        assert {len(record["generated_answers"]) for record in records} == {3}
        assert {record["stopped_by"] for record in records} == {"stop_sure"}
        assert len(server.chats) == 12 * 3
        done(reject(server, tmp_path, *flags))
        done(reject(server, tmp_path, *flags[:2], "--answers_per_question", 16))
        assert len(server.chats) == 12 * 3, "a larger N samples nothing for entries that are sure"
        done(reject(server, tmp_path, "--stop_sure", 0.95, "--answers_per_question", 16))
        assert len(server.chats) == 12 * 4, "a larger P samples what it takes"


def test_sampling_goes_on_while_the_answers_differ(tmp_path: Path) -> None:
    with ScriptedServer(lambda request: completion(rf"\boxed{{{request.number % 2}}}")) as server:
        done(reject(server, tmp_path, "--stop_sure", 0.9, "--answers_per_question", 6))
        record = only_record(tmp_path)
    assert len(record["generated_answers"]) == 6
    assert "stopped_by" not in record


def test_a_cut_answer_has_no_vote(tmp_path: Path) -> None:
    def reply(request: Request) -> Reply:
        return completion(r"\boxed{4}", finish="length" if request.number < 2 else "stop")

    with ScriptedServer(reply) as server:
        done(reject(server, tmp_path, "--stop_sure", 0.85, "--answers_per_question", 8, "--concurrency", 1))
        record = only_record(tmp_path)
    assert record["generated_scores"] == [None, None, 10, 10]


# More answers, and the ledger


def test_more_answers_are_scored_with_those_there_also_if_their_texts_are_the_same(tmp_path: Path) -> None:
    texts = [FOUR[0], FIVE[0], FIVE[0], FIVE[0]]
    with ScriptedServer(lambda request: completion(texts[request.number])) as server:
        one = ("--concurrency", 1)
        done(reject(server, tmp_path, "--answers_per_question", 2, *one))
        assert only_record(tmp_path)["generated_scores"] == [5, 5]
        done(reject(server, tmp_path, "--answers_per_question", 4, *one))
        assert len(server.chats) == 4
    record = only_record(tmp_path)
    assert record["generated_scores"] == [2.5, 7.5, 7.5, 7.5]
    assert (record["majority_answer"], record["majority_share"]) == ("5", 0.75)


def judging(request: Request) -> Reply:
    """Of two answers, one is 4 and one is 5; a judge likes 5 better. Each text is another one."""
    if request.body["model"] == "j":
        return completion("Score: 9" if "{5}" in request.question else "Score: 1")
    return completion(rf"{request.number}: \boxed{{{4 + next(ODD_AND_EVEN)}}}")


ODD_AND_EVEN = itertools.cycle((0, 1))


def test_another_scorer_weights_the_votes_and_is_asked_about_each_answer_once(tmp_path: Path) -> None:
    with ScriptedServer(judging) as server:
        judge = ("--vote_weight", "judge", "--scorer_model", "j", "--scorer_port", server.port)
        done(reject(server, tmp_path, *judge, "--answers_per_question", 4, "--concurrency", 1))
        record = only_record(tmp_path)
        by_answer = dict(zip(record["generated_answers"], record["generated_scores"]))
        assert sorted(by_answer.values()) == [1, 1, 9, 9]
        vote = record["generated_details"][0]["vote"]
        assert vote["weight"] == vote["score"] / 10
        assert (record["majority_answer"], record["majority_share"]) == ("5", 0.9)
        assert record["generated_details"][0]["judge_usage"]["requests"] == 1
        asked = sum(chat.body["model"] == "j" for chat in server.chats)
        assert asked == 4
        assert not (tmp_path / "out.jsonl.ledger").exists()
        done(reject(server, tmp_path, *judge, "--answers_per_question", 6, "--concurrency", 1))
        assert sum(chat.body["model"] == "j" for chat in server.chats) == 6, "the output has the other weights"
        done(reject(server, tmp_path, *judge[2:], "--scorer", "judge", "--answers_per_question", 6))
        assert len(server.chats) == 12, "the weights are a judge's scores"


def test_the_ledger_has_the_weights_if_the_output_is_lost(tmp_path: Path) -> None:
    with ScriptedServer(judging) as server:
        judge = ("--vote_weight", "judge", "--scorer_model", "j", "--scorer_port", server.port)
        flags = (*judge, "--answers_per_question", 4, "--cache_file", tmp_path / "cache.jsonl")
        done(reject(server, tmp_path, *flags))
        before = read_lines(tmp_path / "out.jsonl")
        (tmp_path / "out.jsonl").unlink()
        done(reject(server, tmp_path, *flags))
        assert read_lines(tmp_path / "out.jsonl") == before
        assert len(server.chats) == 8


def test_a_vote_without_a_weight_does_not_count_and_is_weighed_again_with_retry_unscored(tmp_path: Path) -> None:
    replies = {"4": "no score", "5": "Score: 8"}

    def judge_by_answer(request: Request) -> Reply:
        return completion(replies["4" if "{4}" in str(request.body["messages"][0]) else "5"])

    with ScriptedServer(judge_by_answer) as server:
        judge = ("--vote_weight", "judge", "--model_name", "j", "--api_port", server.port)
        answers = [r"\boxed{4}", r"\boxed{5}"]
        done(score(tmp_path, *judge, answers=answers))
        record = only_record(tmp_path)
        assert record["generated_scores"] == [None, 10]
        detail = record["generated_details"][0]
        assert detail["unscored"] == "no vote for this answer has a weight"
        assert (detail["vote"]["score"], "unscored" in detail["vote"]) == (None, True)
        before = len(server.chats)
        replies["4"] = "Score: 8"
        done(score(tmp_path, *judge, "--retry_unscored", answers=answers))
        assert len(server.chats) == before + 1
    assert only_record(tmp_path)["generated_scores"] == [5, 5]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--scorer", "match", "--vote_weight", "judge"],
            "--vote_weight has no effect with --scorer match: only majority has it",
        ),
        (
            ["--scorer", "match", "--majority_min", "0.5"],
            "--majority_min has no effect with --scorer match: only majority has it",
        ),
        (
            ["--scorer", "match", "--stop_sure", "0.9"],
            "--stop_sure has no effect with --scorer match: only majority has it",
        ),
        (["--majority_min", "0.5", "--accept_score", "5"], "--majority_min and --accept_score exclude each other"),
        (["--vote_weight", "majority"], "it must be a scorer that scores each answer by itself"),
        (
            ["--vote_weight", "match", "--stop_sure", "0.9"],
            "--stop_sure counts votes, so it cannot be used with --vote_weight",
        ),
        (
            ["--accept_score", "5", "--stop_after", "1", "--stop_sure", "0.9"],
            "--stop_sure and --stop_after exclude each other",
        ),
        (["--accept_score", "5", "--stop_after", "1"], "scores an entry's answers together"),
        (["--stop_sure", "1"], "must be a number, 0.5 to 0.999999"),
        (["--scorer", "majority", "match"], "a scorer that scores an entry's answers together stands alone"),
    ],
)
def test_flags_that_cannot_go_together_are_refused_in_one_line(tmp_path: Path, flags: List[str], message: str) -> None:
    with ScriptedServer(lambda request: completion("4")) as server:
        run = reject(server, tmp_path, *flags)
        assert (run.returncode, len(server.chats)) == (2, 0)
    assert message in run.stderr


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    words: Sequence[object] = ["--scorer_model", "j", "--vote_weight", "judge", "--answers_per_question", 3]
    for kill_at in range(4, 16, 3):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        with ScriptedServer(judging) as server:
            run = reject(server, folder, *words, "--scorer_port", server.port, kill_at=kill_at)
            assert run.returncode in (0, -9)
            done(reject(server, folder, *words, "--scorer_port", server.port))
            assert len(server.chats) <= 6 + 6, "at most what was in flight is repeated"
        assert None not in only_record(folder)["generated_scores"]


def test_a_dry_run_shows_the_request_for_a_weight_and_sends_nothing(tmp_path: Path) -> None:
    with ScriptedServer(judging) as server:
        weighted = ("--vote_weight", "judge", "--scorer_model", "j", "--scorer_port", server.port)
        run = reject(server, tmp_path, *weighted, "--answers_per_question", 3, "--dry_run")
        assert (run.returncode, len(server.chats)) == (0, 0), run
    assert "3 by majority" in run.stdout
    assert "scorer: the first request" in run.stdout


def test_the_settings_of_a_run_can_be_given_to_another(tmp_path: Path) -> None:
    with ScriptedServer(judging) as server:
        flags = ("--vote_weight", "judge", "--scorer_model", "j", "--scorer_port", server.port, "--majority_min", 0.5)
        done(reject(server, tmp_path, *flags, "--judge_samples", 2, "--answers_per_question", 2))
        settings = tmp_path / "out.jsonl.settings.json"
        more = ("--config", settings, "--scorer_port", server.port, "--answers_per_question", 2, "--limit", 1)
        before = len(server.chats)
        done(reject(server, tmp_path, *more))
        assert len(server.chats) == before, "the settings are the same, so nothing is asked again"


def test_an_estimate_counts_each_weight_once(tmp_path: Path) -> None:
    with ScriptedServer(judging) as server:
        flags = ("--vote_weight", "judge", "--scorer_model", "j", "--scorer_port", server.port, "--estimate", 1)
        run = reject(server, tmp_path, *flags, "--answers_per_question", 4)
    assert run.returncode == 0, run
    scorer = run.stdout[run.stdout.index("\n  scorer ", run.stdout.index("the whole job")) :]
    assert "requests: 4 (4 to 4)" in scorer
    assert "completion tokens: 28 (28 to 28)" in scorer


def test_the_report_shows_a_run_with_a_majority(tmp_path: Path) -> None:
    done(score(tmp_path, "--report_file", tmp_path / "report.html"))
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_reward_model_weights_by_its_logistic_function_also_below_the_range(tmp_path: Path) -> None:
    with ScriptedServer(judging, posts=ToyRewards("vllm").reply) as server:
        weights = ("--vote_weight", "reward", "--reward_port", server.port, "--reward_model", "rm")
        flags = (*weights, "--answers_per_question", 6, "--cache_file", tmp_path / "cache.jsonl")
        done(reject(server, tmp_path, *flags))
        record, asked = only_record(tmp_path), len(server.chats) + len(server.posted)
        (tmp_path / "out.jsonl").unlink()
        done(reject(server, tmp_path, *flags))
        assert len(server.chats) + len(server.posted) == asked, "the ledger has the rewards, also those below 0"
        assert only_record(tmp_path) == record
        done(reject(server, tmp_path, *flags, "--score_max", 100))
        assert len(server.chats) + len(server.posted) == asked, "another range needs no other rewards"
    votes = [detail["vote"] for detail in record["generated_details"]]
    assert min(vote["score"] for vote in votes) < 0
    weight_of = {vote["score"]: 1 / (1 + math.exp(-vote["score"])) for vote in votes}
    five = sum(weight_of[vote["score"]] for vote in votes if vote["answer"] == "5")
    shares = {"5": five / sum(weight_of.values()), "4": 1 - five / sum(weight_of.values())}
    assert [vote["share"] for vote in votes] == pytest.approx([shares[vote["answer"]] for vote in votes], abs=1e-5)


@pytest.mark.parametrize("vote", [7, "x", {"votes": "x"}, {"answer": 4, "share": 1, "votes": 1}, {"score": "x"}])
def test_a_vote_that_was_changed_by_hand_is_counted_again(tmp_path: Path, vote: object) -> None:
    with ScriptedServer(lambda request: completion(rf"{request.number}: \boxed{{4}}")) as server:
        flags = ("--answers_per_question", 2)
        done(reject(server, tmp_path, *flags))
        record = only_record(tmp_path)
        record["generated_details"][0]["vote"] = vote
        (tmp_path / "out.jsonl").write_text(json.dumps(record) + "\n")
        done(reject(server, tmp_path, *flags, "--stop_sure", 0.85))
        assert len(server.chats) == 2
    assert only_record(tmp_path)["generated_scores"] == [10, 10]
    assert only_record(tmp_path)["generated_details"][0]["vote"]["answer"] == "4"
