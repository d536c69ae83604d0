"""The distribution over scores in token probabilities, held against the enumeration of all replies."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Dict, List, Sequence, Tuple

import pytest

from common.scoring.judge_logprobs import (
    NEGLIGIBLE,
    Step,
    continues,
    from_the_score,
    mean_and_spread,
    score_masses,
    steps_of,
)
from tests.toy_judge import ToyModel


def read(model: ToyModel, values: Sequence[int], length: int = 8) -> Tuple[Dict[int, float], List[str]]:
    """The masses read from a model's reply, and the digits that had to be asked for."""
    asked: List[str] = []

    async def ask(digits: str) -> List[Step]:
        asked.append(digits)
        return steps_of(model.reply(digits, 1))

    return asyncio.run(score_masses(steps_of(model.reply("", length)), values, ask)), asked


def mean(masses: Dict[int, float]) -> float:
    found = mean_and_spread(masses)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_scores_of_two_tokens_are_what_going_through_all_replies_gives(seed: int, whole: bool) -> None:
    model, values = ToyModel(seed, whole), range(11)
    masses, _ = read(model, values)
    true = model.true_masses(values)
    assert mean(masses) == pytest.approx(mean(true), abs=2 * NEGLIGIBLE * 10 / sum(true.values()))


@pytest.mark.parametrize("seed", range(20))
def test_scores_of_three_tokens_too(seed: int) -> None:
    model, values = ToyModel(seed, largest=100), range(101)
    masses, asked = read(model, values)
    true = model.true_masses(values)
    assert mean(masses) == pytest.approx(mean(true), abs=20 * NEGLIGIBLE * 100 / sum(true.values()))
    assert len(asked) == len(set(asked))


def test_the_likeliest_way_is_read_from_the_reply_and_only_the_others_are_asked_for() -> None:
    """A reply that begins with 1 says itself what follows it; one that begins with 7 does not."""
    for seed in range(40):
        reply = ToyModel(seed).reply("", 2)
        asked = read(ToyModel(seed), range(11))[1]
        assert asked == [] if reply[0]["token"] == "1" else asked in ([], ["1"])


def test_a_place_that_cannot_matter_is_not_asked_for() -> None:
    async def ask(_: str) -> List[Step]:
        raise AssertionError("asked")

    tops = {"8": 0.999, "1": 0.001}
    masses = asyncio.run(score_masses([Step("8", tops)], range(11), ask))
    assert masses == {8: 0.999, 1: 0.001}


def test_where_ten_is_a_token_nothing_is_asked_for_a_one() -> None:
    async def ask(_: str) -> List[Step]:
        raise AssertionError("asked")

    masses = asyncio.run(score_masses([Step("10", {"10": 0.6, "1": 0.3, "no": 0.1})], range(11), ask))
    assert masses == {10: 0.6, 1: 0.3}


def test_a_number_outside_the_range_is_no_score() -> None:
    async def ask(_: str) -> List[Step]:
        raise AssertionError("asked")

    assert asyncio.run(score_masses([Step("7", {"7": 0.5, "3": 0.5})], range(1, 6), ask)) == {3: 0.5}


def test_negative_scores_are_told_from_positive_ones() -> None:
    async def ask(digits: str) -> List[Step]:
        assert digits == "-"
        return [Step("1", {"1": 1.0})]

    steps = [Step("1", {"1": 0.5, "-": 0.25, "-1": 0.0, "0": 0.25})]
    masses = asyncio.run(score_masses(steps[:1], range(-1, 2), ask))
    assert masses[1] == 0.5
    assert masses[0] == 0.25


@pytest.mark.parametrize(
    ("tokens", "before", "first"),
    [
        (["8"], "", "8"),
        (["Score", ":", " ", "8", "\n"], "Score: ", "8"),
        (["Score", ":", " 10"], "Score: ", "10"),
        (["**", "Score", ":**", " 7"], "**Score:** ", "7"),
        (["<think>", "it is 3", "</think>", "\n", "9"], "<think>it is 3</think>\n", "9"),
        (["\n", "\n", "4"], "\n\n", "4"),
        (["-2"], "", "-2"),
    ],
)
def test_the_place_where_the_score_begins_is_found(tokens: List[str], before: str, first: str) -> None:
    said, steps = from_the_score([Step(token, {token: 1.0}) for token in tokens])
    assert (said, steps[0].token) == (before, first)
    assert steps[0].tops == {first: 1.0}


@pytest.mark.parametrize("tokens", [["The", " answer", " 8"], ["I", " rate", " 8"], [], ["Score", ":"], ["three"]])
def test_a_reply_that_begins_with_something_else_has_no_steps(tokens: List[str]) -> None:
    assert from_the_score([Step(token, {token: 1.0}) for token in tokens])[1] == []


def test_a_token_with_a_space_counts_with_the_one_without() -> None:
    steps = from_the_score([Step(" 8", {" 8": 0.5, "8": 0.25, " 9": 0.25})])[1]
    assert steps[0].tops == {"8": 0.75, "9": 0.25}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "text",
        {},
        [1],
        [{"token": "8"}],
        [{"token": "8", "top_logprobs": None}],
        [{"token": "8", "top_logprobs": [{}]}],
    ],
)
def test_logprobs_of_another_shape_are_refused(content: Any) -> None:
    with pytest.raises(ValueError, match="logprobs"):
        steps_of(content)


def test_mean_and_spread_are_the_distribution_s() -> None:
    assert mean_and_spread({0: 0.1, 10: 0.1}) == (5.0, 5.0)
    found = mean_and_spread({3: 0.2})
    assert found is not None
    assert math.isclose(found[0], 3.0)
    assert math.isclose(found[1], 0.0)
    assert mean_and_spread({}) is None


def test_what_leads_to_no_score_or_begins_anew_is_no_continuing() -> None:
    first = Step("0", {"0": 0.7, "1": 0.25, "7": 0.05})
    for tops, goes_on in (
        ({"0": 0.6, "\n": 0.4}, True),
        ({"0": 0.99}, True),  # a judge that says 0 or 10
        ({"\n": 1.0}, True),
        ({"8": 0.9, "0": 0.1}, False),
        ({"0": 0.7, "1": 0.24, "7": 0.05}, False),  # the first reply again
    ):
        assert continues("1", [Step("x", tops)], first, range(11)) is goes_on, tops
    assert not continues("1", [], first, range(11))
    # 55 is a score: a second 5 says nothing
    assert continues("5", [Step("5", {"5": 0.5, "0": 0.5})], Step("5", {"5": 0.6}), range(101))


@pytest.mark.parametrize(
    "reply", ["Score (0-10): 8", "Score: 0 to 10: 7", "Score /10: 7", "Score: 85", "85%", "Score: 100%", "Score: 9-10"]
)
def test_a_range_another_scale_and_a_longer_number_are_no_score(reply: str) -> None:
    async def ask(_: str) -> List[Step]:
        raise AssertionError("asked")

    steps = from_the_score([Step(character, {character: 1.0}) for character in reply])[1]
    assert sum(asyncio.run(score_masses(steps, range(11), ask)).values()) < 0.5


def test_a_token_that_cannot_come_counts_for_nothing() -> None:
    """SGLang's -inf is null in JSON."""
    tops = [{"token": "8", "logprob": 0.0}, {"token": "9", "logprob": None}]
    assert steps_of([{"token": "8", "top_logprobs": tops}]) == [Step("8", {"8": 1.0, "9": 0.0})]
