"""Thoughts are not part of what a text says."""

from __future__ import annotations

import pytest

from common.thinking import split_thoughts, without_thoughts


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
        ("[THINK]a[/THINK]b", "b"),
        ("[THINK] so", None),
        ("\u25c1think\u25b7a\u25c1/think\u25b7b", "b"),
        ("<seed:think>a</seed:think>b", "b"),
        ("<seed:think>a", None),
        ("<|begin_of_thought|>a<|end_of_thought|>b", "b"),
        ("<|START_THINKING|>a<|END_THINKING|>b", "b"),
        ("<|think|>a<|/think|>b", "b"),
        ("<antThinking>a</antThinking>b", "b"),
        ("<deep-think>a</deep-think>b", "b"),
        ("<thinking effort=3>a</thinking>b", "b"),
        ("<unused94>thought a<unused95>b", "b"),
        ("&lt;think&gt;a&lt;/think&gt;b", "b"),
        ("a<scratchpad>b</scratchpad>c", "ac"),
        ("< think >a</ think >b", "b"),
        ("<CoT>a</CoT>b", "b"),
        ("{think}a{/think}b", "b"),
        ("<|startofthought|>a<|endofthought|>b", "b"),
        ("<\uff5cbegin\u2581of\u2581thinking\uff5c>a<\uff5cend\u2581of\u2581thinking\uff5c>b", "b"),
        ("\u3010\u601d\u8003\u3011a\u3010/\u601d\u8003\u3011b", "b"),
        ("<think/>b", "b"),
        ('<details type="reasoning" done="true">a</details>b', "b"),
        ('<details type="reasoning">a', None),
        ("```thinking\na\n```b", "b"),
        ("<|channel>thought a<channel|>b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|channel|>final <|constrain|>json<|message|>b", "b"),
        ("assistantanalysisWe need a.assistantfinalb", "b"),
        ("<rationale>a", None),
        ("a</analysis>b", "ab"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "b"),
        ("<|channel|>final<|message|>a<|end|><|start|>assistant<|channel|>final json<|message|>b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b", None),
        ("<|channel|>analysis", None),
        ("analysisWe need a.assistantfinalb", "b"),
        ("analysisWe need a.", None),
        ("analysis of the case", "analysis of the case"),
        ("[Reasoning] a", "[Reasoning] a"),
        ("see [thinking](page)", "see [thinking](page)"),
        ("48 + 24 = <<48+24=72>>72", "48 + 24 = <<48+24=72>>72"),
    ],
)
def test_thoughts_are_not_part_of_a_reply_whatever_their_tags(text: str, reply: object) -> None:
    assert without_thoughts(text) == reply


@pytest.mark.parametrize(
    ("text", "thoughts", "answer"),
    [
        ("It is 4.", "", "It is 4."),
        ("I think it is 4. ", "", "I think it is 4. "),
        ("<think>\na\n</think>\n\nb", "a", "b"),
        ("<think></think>b", "", "b"),
        ("a</think>b", "a", "b"),
        ("<think>a <think> b</think>c", "a <think> b", "c"),
        ("<think>a</think>b<think>c</think>d", "a\n\nc", "bd"),
        ("<think>a</think>b<think>c", "ac", None),
        ("<think>a", "a", None),
        ("<think>```\na</think>b", "```\na", "b"),
        ("<seed:think>a</seed:think>b", "a", "b"),
        ("\u25c1think\u25b7a\u25c1/think\u25b7b", "a", "b"),
        ("```thinking\na\n```\nb", "a", "b"),
        ("<|channel>thought\na<channel|>b", "a", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "a", "b"),
        ("<|channel|>analysis<|message|>a", "a", None),
        ("analysisWe add.assistantfinalb", "We add.", "b"),
        ("analysisWe add.", "We add.", None),
        ("<reasoning>a</reasoning><answer>b</answer>", "", "<reasoning>a</reasoning><answer>b</answer>"),
        ("Use `<think>` and `</think>`.", "", "Use `<think>` and `</think>`."),
        ("See:\n```html\n<think>a</think>\n```\nDone.", "", "See:\n```html\n<think>a</think>\n```\nDone."),
        ("<think>a</think>```jsx\n<ThinkingDots />\n```", "a", "```jsx\n<ThinkingDots />\n```"),
    ],
)
def test_thoughts_and_answer_are_told_apart(text: str, thoughts: str, answer: str | None) -> None:
    assert split_thoughts(text) == (thoughts, answer)
