"""Questions of test sets, and where a text repeats a part of one of them (decontamination).

A text repeats a test question if both hold the same ``size`` words in a row, whatever their case and punctuation
(Brown et al. 2020, arXiv 2005.14165, appendix C; 8 words: Tülu 3, arXiv 2411.15124). A test question with fewer words
is repeated by a text that has exactly its words.

>>> tests = TestQuestions(8)
>>> tests.add("How many days are in a leap year?", "tests.jsonl")
>>> tests.found_in("Tell me: how many DAYS are in a leap year, please?")
Match(ngram='how many days are in a leap year', file='tests.jsonl')
"""

from __future__ import annotations

import contextlib
import logging
from typing import Iterable, NamedTuple, Sequence

from ...errors import BadEntry, BrokenInput, UsageError, plural
from ...input.conversations import entry_from_conversation
from ...input.files import InputFile
from ...records import ROLES, Entry, Turn
from .words import ngrams, words

log = logging.getLogger(__name__)


class Match(NamedTuple):
    """The words that a text shares with a test question, and the test question's file."""

    ngram: str
    file: str


class TestQuestions:
    """The n-grams of test questions. Memory holds them: about 200 bytes per word of the test sets."""

    __test__ = False  # for pytest, which takes the name for a test's

    def __init__(self, size: int) -> None:
        self._size = size
        self._files: dict[str, str] = {}  # by n-gram
        self._short: dict[str, str] = {}  # by the words of a whole question
        self.questions = 0

    def add(self, text: str, file: str) -> None:
        """Takes a question; of a file, for the messages."""
        found = words(text)
        self.questions += 1
        for ngram in ngrams(found, self._size):
            self._files.setdefault(ngram, file)
        if 0 < len(found) < self._size:
            self._short.setdefault(" ".join(found), file)

    def found_in(self, text: str) -> Match | None:
        """The first part of a test question that a text repeats; None if there is none."""
        found = words(text)
        if len(found) < self._size:
            whole = " ".join(found)
            return Match(whole, self._short[whole]) if whole in self._short else None
        for ngram in ngrams(found, self._size):
            if ngram in self._files:
                return Match(ngram, self._files[ngram])
        return None


def read_tests(paths: Sequence[str], size: int, tell: bool = False) -> tuple[TestQuestions, TestQuestions]:
    """The questions of test files, which are read as an input is, and apart from them the references.

    With ``tell``, items that cannot be read are counted in a warning. UsageError if a file cannot be read, is damaged,
    or holds no question.
    """
    questions, references = TestQuestions(size), TestQuestions(size)
    for path in paths:
        before, unread = questions.questions, []
        try:
            with contextlib.closing(InputFile(path)) as items:
                unread = [failure for item in items if (failure := _add(item.value, path, questions, references))]
        except (UsageError, BrokenInput) as error:
            raise UsageError(f"--decontaminate: {error}") from error
        if questions.questions == before:
            reason = str(unread[0]).partition("; name the key")[0] if unread else "it is empty"
            raise UsageError(f"--decontaminate {path}: no question can be read: {reason}")
        if unread and tell:
            first = unread[0]
            number = plural(len(unread), "unreadable entry", "unreadable entries")
            log.warning("--decontaminate %s: left out %s: %s", path, number, first)
    return questions, references


def _add(value: object, path: str, questions: TestQuestions, references: TestQuestions) -> BadEntry | None:
    """Takes the question and the reference of an item; returns why it cannot be read, if it cannot."""
    try:
        entry = _entry_of(value)
    except BadEntry as error:
        return error
    for text in human_texts(entry.turns):
        questions.add(text, path)
    references.add(entry.reference or "", path)
    return None


def human_texts(turns: Iterable[Turn]) -> list[str]:
    """The texts of the human turns."""
    return [str(turn["value"]) for turn in turns if ROLES[turn["from"]] == "user"]


def _entry_of(value: object) -> Entry:
    if isinstance(value, BadEntry):
        raise value
    return entry_from_conversation(value)
