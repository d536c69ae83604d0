"""Messages by kind: what differs from answer to answer does not make another reason."""

from __future__ import annotations

import random
from typing import List, Sequence

import pytest

from common.results.reasons import MOST_REASONS, ReasonCounts


def counted(messages: Sequence[str], tails: int = 4) -> List[int]:
    """How many messages each kind has, the most frequent first."""
    reasons = ReasonCounts(tails)
    for message in messages:
        reasons.add("", message)
    assert reasons.total() == len(messages)
    return [reason.messages for reason in reasons.top()]


@pytest.mark.parametrize(
    "messages",
    [
        ["http://a:1/v1: 400 maximum context is 2048", "http://b/v1: 400 maximum context is 4096"],
        ["f raised ValueError: could not convert string to float: 'a'", "f raised ValueError: could not convert string "
         "to float: 'it\\'s b'"],
        ["f raised KeyError: 'a b' (check.py line 3)", 'f raised KeyError: "it\'s" (check.py line 3)'],
        ["cannot read image cat.png: No such file", "cannot read image data/dog 2.png: No such file".replace(" 2", "")],
        ["the rule gave 12.5, which is not from 0 to 10", "the rule gave 1,200, which is not from 0 to 10"],
        ["request 0123abcd4567 was lost", "request fedc98761234 was lost"],
    ],
)  # fmt: skip
def test_addresses_numbers_texts_and_names_of_files_make_no_other_kind(messages: List[str]) -> None:
    assert counted(messages) == [2]


def test_the_part_after_a_colon_makes_no_other_kind_if_it_differs() -> None:
    details = ["kg, m", "s, h", "km, mile", "lb, kg", "a, b", "c, d"]
    for order in range(5):
        messages = [f"the units differ: {one}" for one in details] + ["no reference"]
        random.Random(order).shuffle(messages)
        assert counted(messages) == counted(messages, tails=1) == [6, 1]


def test_a_few_different_parts_after_a_colon_stay_apart() -> None:
    messages = ["cannot read it: No such file", "cannot read it: Permission denied", "cannot read it: No such file"]
    assert counted(messages) == [2, 1]
    assert counted(messages, tails=1) == [3]


def test_the_parts_that_are_shown_are_those_that_the_messages_share() -> None:
    reasons = ReasonCounts(tails=1)
    for text in ("the judge: it said: yes", "the judge: it said: no", "the judge: it said: no: at all"):
        reasons.add("score", text)
    assert reasons.top() == [(3, "score", "the judge: it said: ...")]


def test_other_messages_and_other_tags_stay_apart() -> None:
    reasons = ReasonCounts()
    for tag, text in [("sample", "a"), ("score", "a"), ("sample", "b"), ("sample", "")]:
        reasons.add(tag, text)
    assert [(reason.messages, reason.example) for reason in reasons.top()] == [
        (1, "no reason given"),
        (1, "a"),
        (1, "b"),
        (1, "a"),
    ]


def test_countless_kinds_take_bounded_memory() -> None:
    reasons = ReasonCounts()
    words = ["".join(random.Random(seed).choices("ghijklmnopqrstuvwxyz", k=9)) for seed in range(3 * MOST_REASONS)]
    for word in words:
        reasons.add("", f"{word} {word}: {word}")
    assert reasons.total() == len(words)
    assert len(reasons._counts) <= MOST_REASONS + 1
    assert len(reasons._tails) <= MOST_REASONS
