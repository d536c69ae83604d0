"""Thoughts of a reply that are not part of it: thinking blocks, reasoning in tags, and the channels of harmony.

A tag is recognised by its structure: a name in brackets of any kind, and a word for thinking in the name.

>>> without_thoughts("<think>Is it 5?</think>It is 4.")
'It is 4.'
>>> without_thoughts("<|channel|>analysis<|message|>5?<|end|><|start|>assistant<|channel|>final<|message|>It is 4.")
'It is 4.'
>>> split_thoughts("<think>Is it 5?</think>It is 4.")
Parts(thoughts='Is it 5?', answer='It is 4.')
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple, Tuple

from .patterns import regex

_TAG = regex(  # <think>, [/THINK], <seed:think>, <|begin_of_thought|>, and other brackets
    r"([<\[{\u25c1\uff1c\u300a\u3010]|&lt;)\s?([|\uff5c/]{0,2}\s?[\w:.\u2581-]{2,40}[|\uff5c/]?)"
    r"(\s[^<>\[\]{}\n]{0,80})?\s?(?:[>\]}\u25b7\uff1e\u300b\u3011](?!\()|&gt;)"
)
_THOUGHT = {"thought", "thoughts", "\u601d\u8003"}  # and each word with "think" or "ofthought" in it
_REASONING = set(
    "reason reasoning rationale reflect reflection scratchpad scratch analysis analyze deliberation monologue "
    "cot".split()
)
_PARTS = regex(r"[a-z]+|[0-9]+|[\u4e00-\u9fff]+", re.I)
_CAMEL = regex(r"(?<=[a-z])(?=[A-Z][a-z])")  # antThinking
_HARMONY = regex(  # <|channel|>final json<|message|>; <|channel|>final <|constrain|>json<|message|>
    r"<\|channel\|>\s*(\w*)[^<]{0,80}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>"
)
_HARMONY_END = regex(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_ANALYSIS = regex(r"\s*(?:assistant)?analysis(?=[A-Z])")  # harmony without its special tokens: analysisWe need ...
_BARE_FINAL = "assistantfinal"
_BLOCKS = [  # other blocks of thoughts: how one begins, and how it ends
    (regex(r"<details\s[^<>]{0,80}type=.?reasoning[^<>]{0,80}>", re.I), "</details>"),
    (regex(r"^```(?:thinking|think|thoughts?|reasoning)[ \t]*$", re.I | re.M), "\n```"),
    (regex(r"<\|channel>thought"), "<channel|>"),
    (regex(r"<\|inner_prefix\|>"), "<|inner_suffix|>"),
]


_HINTS = ("think", "thought", "\u601d\u8003", "unused9", "channel", "analysis", "inner_prefix", "reasoning")

_Tag = Tuple[int, int, str]  # start, end, and thinking or reasoning, with "/" before it if the tag closes


def without_thoughts(text: str) -> str | None:
    """The text after its last thinking block, without reasoning in tags; None if thinking or reasoning never ends.

    >>> without_thoughts("<reasoning>2 + 2</reasoning>4")
    '4'
    >>> without_thoughts("<think>It is 4") is None
    True
    """
    said = _final_channel(text)
    for opening, closing in _BLOCKS:
        said = None if said is None else _without_blocks(said, opening, closing)
    if said is None:
        return None
    tags = _tags(said)
    begin = _end_of_thinking(tags)
    tags = [tag for tag in tags if tag[0] >= begin]
    if any(kind == "thinking" for _, _, kind in tags):
        return None
    kept, place, inside = [], begin, False
    for start, end, kind in tags:
        if not inside:
            kept.append(said[place:start])
        place, inside = end, kind == "reasoning"
    return None if inside else "".join([*kept, said[place:]])


class Parts(NamedTuple):
    """A reply's thoughts, empty if it has none, and its answer: None if the thoughts never end."""

    thoughts: str
    answer: str | None


@functools.lru_cache(maxsize=32)  # a selection asks several times about the answers of one entry
def split_thoughts(text: str) -> Parts:
    """The thoughts and the answer of a reply, each without the marks of the thoughts; without thoughts, the text as is.

    More careful than ``without_thoughts``, since its parts become training data: tags of reasoning that a prompt may
    have asked for (<reasoning>, <scratchpad>) stay in the answer, and so do tags in the answer's code.

    >>> split_thoughts("It is 5? No.</think>It is 4.")
    Parts(thoughts='It is 5? No.', answer='It is 4.')
    >>> split_thoughts("<think>It is"), split_thoughts("Use `<think>` here.")
    (Parts(thoughts='It is', answer=None), Parts(thoughts='', answer='Use `<think>` here.'))
    """
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return Parts("", text)
    parts = _split_channels(text) or _split_block(text) or _split_tags(text)
    if parts.answer is None:
        return Parts(parts.thoughts.strip(), None)
    return Parts(parts.thoughts.strip(), text if parts.answer == text else parts.answer.strip())


def _split_channels(text: str) -> Parts | None:
    """The analysis and the final channel of harmony; None if the text has no channels."""
    channels = [*_HARMONY.finditer(text)]
    if channels:
        said = [(one[1], _HARMONY_END.split(text[one.end() :], 1)[0]) for one in channels]
        thoughts = "\n\n".join(words.strip() for name, words in said if name == "analysis")
        return Parts(thoughts, next((words for name, words in reversed(said) if name == "final"), None))
    bare = _BARE_ANALYSIS.match(text)
    if bare is None:
        return None
    thoughts, end, answer = text[bare.end() :].rpartition(_BARE_FINAL)
    return Parts(thoughts, answer) if end else Parts(answer, None)


def _split_block(text: str) -> Parts | None:
    """The other blocks of thoughts that a text begins with, and the rest; None if it begins with none."""
    thoughts, rest, found = "", text, True
    while found:
        found = False
        for opening, closing in _BLOCKS:
            block = opening.match(rest.lstrip())
            if block is not None:
                inside, end, after = rest.lstrip()[block.end() :].partition(closing)
                thoughts, found = f"{thoughts}\n\n{inside.strip()}", True
                if not end:
                    return Parts(thoughts, None)
                rest = after
    return None if rest is text else Parts(thoughts, rest)


def _split_tags(text: str) -> Parts:
    """What is inside and outside of thinking tags. A closing tag whose opening tag is missing closes all before it.

    A tag in code counts only where it closes a block.
    """
    thoughts: list[str] = []
    answer: list[str] = []
    place, inside, seen, fences = 0, False, 0, 0
    for start, end, kind in _tags(text):
        fences, seen = fences + text.count("```", seen, start), start
        in_code = text[start - 1 : start] == "`" or fences % 2 == 1
        if not kind.endswith("thinking") or (inside and kind == "thinking") or (in_code and not inside):
            continue
        part = text[place:start]
        if kind == "thinking":
            answer.append(part)
        else:
            thoughts, answer = [*thoughts, *([] if inside else answer), part], answer if inside else []
        place, inside, fences = end, kind == "thinking", 0
    if inside:
        return Parts("".join([*thoughts, text[place:]]), None)
    return Parts("\n\n".join(filter(None, map(str.strip, thoughts))), "".join([*answer, text[place:]]))


def _without_blocks(text: str, opening: re.Pattern[str], closing: str) -> str | None:
    """The text without the blocks that begin and end so; None if one of them never ends."""
    kept, place = [], 0
    block = opening.search(text)
    while block is not None:
        end = text.find(closing, block.end())
        if end < 0:
            return None
        kept.append(text[place : block.start()])
        place = end + len(closing)
        block = opening.search(text, place)
    return "".join([*kept, text[place:]])


def end_of_thinking(text: str) -> int:
    """The place after the last tag that closes a thinking block; 0 if there is none. Its opening tag may be missing.

    >>> end_of_thinking("hm</think>4")
    10
    """
    return _end_of_thinking(_tags(text))


def _end_of_thinking(tags: list[_Tag]) -> int:
    return next((end for _, end, kind in reversed(tags) if kind == "/thinking"), 0)


def _tags(text: str) -> list[_Tag]:
    """The tags of thoughts in a text."""
    tags: list[_Tag] = []
    for match in _TAG.finditer(text):
        bracket, name, attributes = match.groups()
        kind = _kind_of(bracket, name)
        if kind and not (attributes and bracket == "["):
            tags.append((match.start(), match.end(), kind))
    return tags


@functools.lru_cache(maxsize=4096)
def _kind_of(bracket: str, name: str) -> str:
    """The kind of a tag, with "/" before it if the tag closes; "" for a tag that is not about thoughts."""
    words = [word.lower() for word in _PARTS.findall(_CAMEL.sub(" ", name))]
    if not words:
        return ""
    closes = "/" if "/" in name[:3] or words[0].startswith("end") or words[-1] == "end" else ""
    if words[:1] == ["unused"]:  # <unused94>thought ... <unused95>
        return {"94": "thinking", "95": "/thinking"}.get(words[-1], "")
    if any("think" in word or "ofthought" in word or word in _THOUGHT for word in words):
        return ("/" if name.endswith("/") else closes) + "thinking"  # <think/> is a block without thoughts
    is_reasoning = bracket not in "[{" and not _REASONING.isdisjoint(words)  # [Reasoning] is a heading
    return closes + "reasoning" if is_reasoning else ""


def _final_channel(text: str) -> str | None:
    """What harmony's final channel says, or the text if it has no channels; None if the final channel never comes."""
    channels = list(_HARMONY.finditer(text))
    if channels:
        final = [channel for channel in channels if channel[1] == "final"]
        return _HARMONY_END.split(text[final[-1].end() :], 1)[0] if final else None
    if "<|channel|>" in text:
        return None
    if _BARE_ANALYSIS.match(text):
        return text.rpartition(_BARE_FINAL)[2] if _BARE_FINAL in text else None
    return text
