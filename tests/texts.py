"""Texts as models write them, for properties: any text, or a mixture of what a judge's reply is made of."""

from __future__ import annotations

from hypothesis import strategies as st

PIECES = [
    "Score",
    "score: ",
    "rating",
    "I give it ",
    "I'd rate ",
    "deserves a ",
    " out of ",
    "/",
    "/10",
    "-",
    "\u2212",
    "+",
    ".",
    ",",
    "%",
    "8",
    "10",
    "99999999999",
    "0.5",
    "1e9",
    "inf",
    "nan",
    " ",
    "\n",
    "\t> ",
    "**",
    "<score>",
    "</score>",
    "<think>",
    "</think>",
    '{"score": ',
    "}",
    "\\boxed{",
    "(",
    ")",
    "\u8bc4\u5206\uff1a",
    "5\u5206",
    "\u0663",
    "\uff18",
    "\u00b2",
    "\x00",
    "\ud800",
]

REPLIES = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
