"""The flags of the selected file beside those that choose answers: what is kept out, the card, the Hub, --verify.

Example: ``add_cleaning(parser)``, later ``make_cleaning(args)``
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any

from ..flag_types import float_between, int_between, path
from ..results.cleaning.cleaner import Cleaning, check_cleaning

ABSENT: dict[str, Any] = {  # the values of the flags that not every command has
    "decontaminate": [],
    "ngram": 8,
    "decontaminate_answers": False,
    "near_duplicates": None,
    "max_repetition": None,
    "distinct": False,
    "licence": None,
    "push_to_hub": None,
    "verify": None,
}
SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.I)  # in the names of variables whose values are not shown
SHORTEST = 8  # characters of such a value
OF_FILE = ("decontaminate", "near_duplicates", "max_repetition", "licence", "push_to_hub")  # need --selected_file


def add_cleaning(parser: argparse.ArgumentParser) -> None:
    """What is kept out of the selected file, and where the file goes."""
    add = parser.add_argument_group("clean data").add_argument
    add(
        "--decontaminate",
        type=path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files of test questions: an entry whose question repeats N words in a row of one is removed",
    )
    add("--ngram", type=int_between(1), default=8, metavar="N", help="the words in a row of --decontaminate")
    add(
        "--decontaminate_answers",
        action="store_true",
        help="remove answers that repeat a test question or its reference too",
    )
    add(
        "--near_duplicates",
        type=float_between(0.3, 1),
        metavar="J",
        help="remove near copies: answers of an entry, and whole rows, that share at least J of their runs of 3 words "
        "with an earlier one (0.8 is usual)",
    )
    add(
        "--max_repetition",
        type=float_between(0, 1),
        metavar="SHARE",
        help="remove answers of which a loop, text that repeats itself exactly, covers more than SHARE (0.5 is usual)",
    )
    add = parser.add_argument_group("card and Hub").add_argument
    add("--licence", metavar="NAME", help="the licence that the card names, such as mit or cc-by-4.0")
    add(
        "--push_to_hub",
        metavar="NAME",
        help="send the selected file and its card to this dataset on the Hugging Face Hub; a new one is private",
    )


def make_cleaning(args: argparse.Namespace) -> Cleaning:
    """What the flags keep out. UsageError if a package or a file is missing, or the Hub could not be used."""
    cleaning = Cleaning(
        args.decontaminate, args.ngram, args.decontaminate_answers, args.near_duplicates, args.max_repetition
    )
    check_cleaning(cleaning)
    if args.push_to_hub is not None:
        from ..running.hub import check_hub

        check_hub(args.push_to_hub)
    return cleaning


def command_line() -> list[str]:
    """The words of this command as a user writes them, without keys: a card shows them to others.

    A URL ends before its query, and the value of a variable that is named as a key or a token is left out.
    """
    name = os.path.basename(sys.argv[0])
    start = (
        ["python", "-m", "common"] if name == "__main__.py" else ["python", name] if name.endswith(".py") else [name]
    )
    secrets = [text for variable, text in os.environ.items() if SECRET.search(variable) and len(text) >= SHORTEST]
    return [*start, *(_without(secrets, word) for word in sys.argv[1:])]


def _without(secrets: list[str], word: str) -> str:
    for secret in secrets:
        word = word.replace(secret, "***")
    return re.sub(r"(https?://)(?:[^/\s@]*@)?([^\s?]*)\?\S*", r"\1\2", word)
