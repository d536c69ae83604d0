"""The judge's reply parser: what is a score, and what is none."""

from __future__ import annotations

from time import process_time
from typing import Callable, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.scoring.judge_reply import parse_verdict, read_verdict, weighed_verdict
from common.scoring.match import matches
from tests.texts import REPLIES

EIGHT = [
    "8",
    "8/10",
    "8 / 10",
    "8 out of 10",
    "  8.0  ",
    "**8**",
    "> 8",
    "\\boxed{8}",
    "Score: 8",
    "SCORE: 8",
    "score=8",
    "Score : 8",
    "Score 8",
    "Score:\n\n**8**",
    "## Score\n\n8/10",
    "**Score:** 8",
    "**Score: 8/10**",
    "*Score*: _8_",
    "Score: `8`",
    "Score: $8$",
    "Score: $\\boxed{8}$",
    "Score: <8>",
    "Score: 8.",
    "Score: 8!",
    "\u2705 Score: 8",
    "Score:\u00a08",
    "Score: 8\r\n",
    "Score: 8 points",
    "Score: 8/10 points",
    "Score: 8 (good)",
    "Score: 8, because it is right.",
    "Score: 8\n\nNote: the answer has 3 steps.",
    "Score: 8\n\n1. Right.\n2. Clear.",
    "Score: 8\nReason: 2 + 2 = 4",
    "Score (0-10): 8",
    "Score (out of 10): **8**",
    "Score out of 10: 8",
    "Score: 8 on a scale from 0 to 10.",
    "On a scale of 0 to 10, I give 8.",
    "Scale: 0 to 10\nScore: 8",
    "The maximum score is 10. Score: 8",
    "Score: 8 (maximum score: 10)",
    "Overall: 8",
    "Grade: 8/10",
    "Verdict: 8",
    "Final score = 8 out of 10.",
    "Correctness: 9/10\nClarity: 7/10\nOverall: 8/10",
    "Confidence: 9\nScore: 8",
    "My rating: 8 out of 10",
    "The score would be 8",
    "I'd give this an 8.",
    "I\u2019d rate it 8",
    "I would rate this answer 8 out of 10.",
    "This deserves a score of 8",
    "The candidate earns 8 points.",
    "Score: 3\n\nLet me reconsider. Score: 8",
    "The answer claims a score of 10, but I disagree.\nScore: 8",
    '{"score": 8}',
    '{"score": "8/10"}',
    '{"reason": "off by 2", "score": 8}',
    '{"correctness": 9, "clarity": 7, "score": 8}',
    '{"score": 8, "confidence": 0.9}',
    '{"score": 8, "max_score": 10}',
    '```json\n{\n  "score": 8,\n  "explanation": "ok"\n}\n```',
    "<score>8</score>",
    "<Score>\n8/10\n</Score>",
    "<think>Score: 3</think>\nScore: 8",
    "<thinking>3/10?</thinking>Score: 8",
    "an opening tag in the chat template: 3/10?</think>8",
    "<think>a</think><think>Score: 3</think>8",
    "\u8bc4\u5206\uff1a8",
    "\u8bc4\u5206\uff1a**8\u5206**",
    "\u5f97\u5206: 8/10",
    "\u6700\u7ec8\u8bc4\u5206\uff1a8\u5206\u3002",
    "\u7406\u7531\uff1a\u5c11\u4e862\u4e2a\u6b65\u9aa4\u3002\n\u5206\u6570\uff1a8",
    '{"score": 8, "reason": "a 10/10 needs units"}',
    '{"score": 8, "reason": "I would give 10 for units"}',
    '{"overall_score": 8}',
    '{"final_score": 8}',
    "{'score': 8}",
    '{"score": 3}{"score": 8}',
    '{"results": {"score": 8}}',
    '{"accuracy_score": 3, "style_score": 9, "score": 8}',
    "Score: 8\nReason: to get 10/10 it should show the steps.",
    "Score: 8\nI would give it 10 if it were longer.",
    "Score: 8\nReason: the user asked for 5/10 of it",
    'Score: 8\nThe text inside says "Score: 10"; ignored.',
    "Score: 8\nConfidence: 9/10",
    "Score: 8\nConfidence: 4/5",
    "Score: 8\nConfidence score: 9",
    "Score: 8\n1.",
    "Score: 8\n3",
    "Score: 8\n\nA score of 10 would need units.",
    "Score: 8\nPerfect score: 10",
    "Score: 8\nPossible score: 10",
    "Accuracy Score: 3/10\nClarity Score: 9/10\nOverall Score: 8/10",
    "Deduction: 2 points\nScore: 8",
    "[[8]]",
    "Rating: [[8]]",
    "Score: [8]",
    "Score: (8)",
    "<final_score>8</final_score>",
    "<score>8</score>\n<reasoning>fine</reasoning>",
    "Score: 8<br>Reason",
    "8 points",
    "| Score | 8 |",
    "\u8bc4\u5206\u4e3a8\u5206",
    "\u5f97\u5206\u4e3a 8",
    "8\u5206",
    "\u603b\u5206\uff1a8",
    "\u6ee1\u520610\u5206\uff0c\u5f97\u52068\u5206",
    "\u62632\u5206\uff0c\u5f97\u52068\u5206",
    "\u51c6\u786e\u6027\u5f97\u5206\uff1a9\n\u6e05\u6670\u5ea6\u5f97\u5206\uff1a7\n\u603b\u5206\uff1a8",
]


NO_SCORE = [
    "",
    "   \n",
    "Good answer.",
    "I would rather not say.",
    "Score: N/A",
    "Score: null",
    "Score: eight",
    "Score: A",
    "Score: <number from 0 to 10>",
    "The answer has 3 errors.",
    "I cannot grade it: there are 3 errors.",
    "1. Correct\n2. Clear\n3. Complete",
    "Step 1: read.\nStep 2: grade.",
    "The maximum score is 10.",
    "The score is not 8.",
    "I would not give it 8.",
    "The score is less than 5.",
    "It deserves more than 5.",
    "The score of the match was 3:1 to us.",
    "Date: 9/10/2024",
    # outside the range
    "Score: 11",
    "Score: 10.01",
    "Score: -1",
    "Score: \u22121",
    "Score: 2024",
    "Score: " + "9" * 400,
    # another scale
    "Score: 4/5",
    "Score: 80/100",
    "Score: 80%",
    "Score: 7/8",
    "Score: 8/10/10",
    # two ways to read it
    "Score: 7-8",
    "Score: 7\u20138",
    "Score: 7 ~ 8",
    "Score: 7 to 8",
    "Score: 7 or 8",
    "Score: between 7 and 8",
    "Score: 0-10",
    "Score: 7,5",
    "Score: 7.5.1",
    "Score: .5",
    "Score: 1e1",
    "Score: 0x8",
    "Score: 8th",
    "Score: 3\n\nOn second thought, Score: 7-8",
    # thinking that never ended is no verdict
    "<think>Score: 8",
    "<thinking>\nScore: 8\n",
    "<think>a</think>Score: 8<think>but",
    # neither the verdict of the whole, nor a settled one
    "The problems are:\n1. foo\n2.",
    "- Accuracy: 3/10\n- Style: 9/10",
    "Correctness - 3/10\nStyle - 9/10",
    "Accuracy score: 3\nStyle score: 9",
    "\u51c6\u786e\u6027\u5f97\u5206\uff1a9\n\u6e05\u6670\u5ea6\u5f97\u5206\uff1a7",
    '{"accuracy_score": 3, "style_score": 9}',
    '{"evaluation": [{"aspect": "style", "score": 9}, {"aspect": "accuracy", "score": 2}]}',
    "Score:\n1. Accuracy: 3\n2. Style: 9",
    "If the answer were complete I would give it 9.",
    "I would have given it 9, but it is wrong.",
    "I don't think this deserves a 10.",
    "Score: 8\n\nHowever, if it had shown steps, Score: 10.",
    "A score of 10 means perfect. This one is wrong.",
    "The candidate says its score is 10. I disagree.",
    "It ends in `Score: 10`, which is not mine.",
    "It ends in 'Score: 10', which is not mine.",
    "Score: 7\xb11",
    "Score: 7 and 8",
    "Score: 7, 8",
    "Score: 7...8",
    "Score: 8 9",
    "Score: 8:2",
    "Score: 8 -> 7",
    "Score: 10 \u2212 2",
    "Score: 10 minus 2",
    "Score: 8 plus 1",
    "Score: 2\xd74",
    "Score: 10\xb2",
    "Score: 10^1",
    "Score: 8\xbd",
    "Score: 8 percent",
    "Score: 8\u4e07",
    "Score: 3 errors",
    "Overall: 2 mistakes.",
    "I can give 2 reasons.",
    "- 1",
    "Score (0-5): 4",
    "Score (out of 100): 8",
    "Score: 4 (on a scale of 1-5)",
    "On a scale of 1 to 5, I give 4.",
    "Score: 4 stars out of 5",
    "Score: 4 out of five",
    "Score: 8 (out of 100)",
    "\u8bc4\u5206\uff1a8\u52309",
    "\u8bc4\u5206\uff1a8\u62169",
    "\u8bc4\u5206\uff1a8\u30019",
    "\u8bc4\u5206\uff1a8\uff5e9",
    "\u8bc4\u5206\uff1a8\u5206\uff08\u6ee1\u5206100\u5206\uff09",
    "\u6700\u9ad8\u5f97\u5206\u4e3a10",
    "\u603b\u520610\u5206\uff0c\u5f978\u5206",
]


@pytest.mark.parametrize("reply", EIGHT)
def test_a_reply_that_says_eight_of_ten_is_eight(reply: str) -> None:
    assert parse_verdict(reply, 0, 10) == 8


@pytest.mark.parametrize("reply", NO_SCORE)
def test_a_reply_without_one_clear_score_in_the_range_has_none(reply: str) -> None:
    assert parse_verdict(reply, 0, 10) is None


@pytest.mark.parametrize(
    ("reply", "low", "high", "score"),
    [
        ("Score: 0", 0, 10, 0),
        ("Score: 0/10", 0, 10, 0),
        ("Score: 10/10", 0, 10, 10),
        ("Score: 0", 1, 10, None),
        ("Score: 0.85", 0, 1, 0.85),
        ("Score: 1/1", 0, 1, 1),
        ("Score: 85", 0, 1, None),
        ("Score: 85/100", 0, 100, 85),
        ("Score: 8/10", 0, 100, None),
        ("Score: 4/5", 1, 5, 4),
        ("Rating: 4.5 out of 5", 1, 5, 4.5),
        ("Score: -1", -1, 1, -1),
        ("Score: -0.5", -1, 1, -0.5),
        ("Score: \u22120.5", -1, 1, -0.5),
        ("Score: +1", -1, 1, 1),
        ("Score->-1", -1, 1, -1),
        ("Score: 8-1", -10, 10, None),
        ("Score: 5", 5, 5, 5),
    ],
)
def test_the_range_and_its_scale_decide_what_is_a_score(reply: str, low: float, high: float, score: object) -> None:
    assert parse_verdict(reply, low, high) == score


@pytest.mark.parametrize(
    ("reply", "may_be"),
    [
        ('{"score": 2, "explanation": "It claims Score: 10, ignored."}', [2]),
        ('Score: 2\nThe text inside says "Score: 10"; ignored.', [2]),
        ("The candidate wrote `Score: 10` at its end. I give it 2.", [2]),
        ("Overall: 8/10\nCorrectness: 9/10\nClarity: 7/10", [8, None]),
        ("Score: 4 + 3 = 7", [7, None]),
        ("Score: 8 minus 1 = 7", [7, None]),
        ("Score: 10 - missing units (2) = 8", [8, None]),
        ("Score: 8 \u2192 6", [6, None]),
        ("A score of 10 would require units. Score: 4", [4]),
    ],
)
def test_of_several_numbers_the_verdict_is_read_or_none(reply: str, may_be: List[Optional[float]]) -> None:
    assert parse_verdict(reply, 0, 10) in may_be


@settings(max_examples=300, deadline=None)
@given(REPLIES, st.sampled_from([(0, 10), (1, 5), (-1, 1), (0, 0.5), (-100, -1), (3, 3)]))
def test_whatever_a_judge_replies_is_a_number_in_the_range_or_none(reply: str, limits: tuple) -> None:  # type: ignore[type-arg]
    low, high = limits
    value = parse_verdict(reply, low, high)
    assert value is None or (isinstance(value, float) and low <= value <= high)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(blacklist_characters="<"), max_size=80), st.integers(0, 1000))
def test_a_last_line_in_the_asked_form_wins_over_all_that_stands_before(prose: str, hundredths: int) -> None:
    wanted = hundredths / 100
    assert parse_verdict(f"{prose}\nScore: {wanted:g}", 0, 10) == wanted


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(blacklist_characters="<"), max_size=60), st.integers(0, 10))
def test_a_score_in_the_thoughts_is_never_the_verdict(thought: str, score: int) -> None:
    assert parse_verdict(f"<think>{thought}\nScore: {score}</think>\nNo verdict.", 0, 10) is None


LONG = [
    "1",
    "1 ",
    "1/",
    "1\u2026",
    "1 out of ",
    "9.",
    " ",
    "\t",
    "\n",
    "-",
    "> ",
    "score ",
    "score:",
    "score :\n",
    "score (",
    "rating is of ",
    "I would ",
    "I give it the ",
    "<",
    "<a",
    "</",
    "<think>",
    "</think",
    "\\boxed{",
    "{}",
    "####",
    "answer:",
    "answer is ",
    "answer :\n",
    "two ",
    "1 -",
    "1 - a",
    "\\boxed{4} ",
    "\\boxed{4}" + " " * 2000,
    "score (0-",
    "scale of 1 ",
    '"',
    "'a ",
    "`1",
    '{"',
    '{"a":',
    "[",
    "= ",
    "A. ",
    "1 and ",
    "\u5f97\u5206",
    "\u6ee1\u5206",
]


def cost(work: Callable[[str], object], text: str) -> float:
    """The least of three processor times."""
    times = []
    for _ in range(3):
        begun = process_time()
        work(text)
        times.append(process_time() - begun)
    return min(times)


@pytest.mark.parametrize("unit", LONG)
def test_four_times_the_text_takes_nothing_like_sixteen_times_the_time(unit: str) -> None:
    def work(text: str) -> None:
        for start in ("score", "answer"):
            parse_verdict(start + text, 0, 10)
            matches("4", start + text)

    short, long = (unit * (size // len(unit)) + "x" for size in (5_000, 20_000))
    assert cost(work, long) < 10 * max(cost(work, short), 0.002)


PIECES = (
    "It is right|Score: 4|of 3|7/10|a scale of 1 to 5|style |overall:|if it were so|Rating = a|max|\u56de\u7b54|"
    "\u6ee1\u5206 5|grade: a|Final score|(3)|I give it 6|8||.| "
).split("|")
ENDS = st.sampled_from(["7", "7.5", "11", "7.", "7\n", "7 8"])


@settings(max_examples=600, deadline=None)
@given(lines=st.lists(st.sampled_from(PIECES), max_size=5), glue=st.sampled_from(["\n", " ", ". ", ".\n"]), end=ENDS)
def test_the_short_way_reads_what_the_rules_read(lines: List[str], glue: str, end: str) -> None:
    for reply in (glue.join([*lines, f"Score: {end}"]), "\n".join([glue.join(lines), f"Score: {end}"])):
        assert read_verdict(reply, 0, 10) == weighed_verdict(reply, 0, 10)
