"""Thoughts are not part of what a text says."""

from __future__ import annotations

import pytest

from common.scoring.thinking import without_thoughts


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("plain", "plain"),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<THINK>a</THINK>b", "b"),
        ("<reasoning>a</reasoning>b", "b"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>a", None),
        ("<think>a</think>b<think>c", None),
        ("", ""),
    ],
)
def test_the_reply_follows_the_last_thought(text: str, reply: object) -> None:
    assert without_thoughts(text) == reply
