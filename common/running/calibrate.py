"""The calibration of a finished run over labelled answers: its scores from the output, the labels from the input.

The labels are read from the input again, so a label that was corrected counts, and no score is paid for twice.

Example: ``calibration = calibrate_output(job, files.records("out.jsonl"))``
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from typing import Iterable, Iterator, NamedTuple, Sequence

from ..errors import BadEntry, RunStopped
from ..input.joined import open_input
from ..input.labelled import LABELS, PREFERRED
from ..records import Record, entry_id_of
from ..results.calibration import Calibration, calibrate, calibration_bytes
from ..results.figures import Labelled, LabelledPair
from ..results.record_view import Candidate, candidates_of
from ..results.selection import normalised
from ..scoring.final_answer import find_final_answer
from ..storage.append_file import write_whole
from ..storage.result_files import ResultFiles
from ..thinking import without_thoughts
from .job import Job
from .results import Written

MOST_PAIRS = 100  # of one question's right and wrong answers; more say little more


class _Labels(NamedTuple):
    """The labels of an entry's answers, and its question. ``is_pair`` says that they only compare two answers."""

    question: str
    right: Sequence[bool | None]
    is_pair: bool


class _Found(NamedTuple):
    """A labelled answer of a question: the entry that it stands in, its label, and how it was scored."""

    entry: str
    right: bool
    is_pair: bool
    candidate: Candidate


def write_calibration(job: Job, records: Iterable[Record], files: ResultFiles, written: Written) -> None:
    """Writes the calibration of the job's scorer, if that is what the run is for. RunStopped if it cannot be written.

    The report of the run shows it too.
    """
    target = job.results.calibration_file
    if target is None:
        return
    written.calibration = job.results.calibration = calibrate_output(job, records)
    with files.replacing("--calibrate", target):
        try:
            write_whole(target, calibration_bytes(written.calibration))
        except OSError as error:
            raise RunStopped(f"cannot write {target}: {error.strerror}") from error
    written.rows.append(("figures", target))


def calibrate_output(job: Job, records: Iterable[Record]) -> Calibration:
    """The calibration of the job's scorer by the records that have its scores."""
    scorer = job.pipeline.scorer
    assert scorer is not None
    answers: list[Labelled] = []
    pairs: list[LabelledPair] = []
    labelled = unscored = 0
    for group, (texts, found) in enumerate(_questions(labels_of(job), records)):
        votes = Votes(texts)
        labelled += len(found)
        scored = [one for one in found if one.candidate.score is not None]
        unscored += len(found) - len(scored)
        made = [(one, _labelled(one, votes, group)) for one in scored]
        answers += [value for one, value in made if not one.is_pair]
        pairs += _pairs(made)
    return calibrate(scorer.settings, scorer.settings_id, labelled, unscored, answers, pairs)


def labels_of(job: Job) -> dict[str, _Labels]:
    """The labels of the input, by entry."""
    found: dict[str, _Labels] = {}
    with contextlib.closing(open_input(job.input_files)) as source:
        for line, item in source:
            try:
                if isinstance(item, BadEntry):
                    continue
                entry = job.read(item, line).entry
            except BadEntry:
                continue
            extra = entry.extra or {}
            question = entry_id_of(entry.turns, entry.images)
            right = extra.get(PREFERRED) if PREFERRED in extra else extra.get(LABELS, [])
            found[entry.entry_id] = _Labels(question, right or [], PREFERRED in extra)
    return found


def _questions(labels: dict[str, _Labels], records: Iterable[Record]) -> Iterator[tuple[list[str], list[_Found]]]:
    """For each question: the texts of all its answers, and those that have a label, each text once per label."""
    groups: dict[str, tuple[list[str], dict[object, _Found]]] = {}
    for record in records:
        entry = str(record.get("entry_id"))
        known = labels.get(entry)
        candidates = candidates_of(record)
        if known is None or len(known.right) != len(candidates):
            continue
        texts, found = groups.setdefault(known.question, ([], {}))
        for candidate, right in zip(candidates, known.right):
            texts.append(candidate.text)
            if right is not None:
                key = (entry if known.is_pair else "", normalised(candidate.text), right)
                found.setdefault(key, _Found(entry, right, known.is_pair, candidate))
    return ((texts, list(found.values())) for texts, found in groups.values())


class Votes:
    """The share of a question's answers that have the same final answer as one of them.

    >>> Votes(["It is 5.", "So 4 it is. The answer is 4.", "The answer is 4"]).share("The answer is 4")
    0.6666666666666666
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._counts = Counter(_final(text) for text in texts)
        self._of = len(texts)

    def share(self, text: str) -> float:
        """The share of the answers that agree with this one."""
        return self._counts[_final(text)] / self._of


def _final(text: str) -> str:
    """The final answer as text."""
    final = find_final_answer(without_thoughts(text) or text)
    return normalised(text if final is None else final.text.rstrip("."))


def _labelled(one: _Found, votes: Votes, group: int) -> Labelled:
    text = one.candidate.text
    return Labelled(one.candidate.score or 0.0, one.right, len(text), votes.share(text), group)


def _pairs(made: Sequence[tuple[_Found, Labelled]]) -> Iterator[LabelledPair]:
    """The pairs of a question: of a right and a wrong answer, or of two answers that were compared."""
    good, bad = ([pair for pair in made if pair[0].right is side] for side in (True, False))
    both = [
        LabelledPair(best.score - other.score, best.length - other.length, best.vote - other.vote, best.group)
        for first, best in good
        for second, other in bad
        if first.is_pair == second.is_pair and (not first.is_pair or first.entry == second.entry)
    ]
    yield from both if len(both) <= MOST_PAIRS else random.Random(len(both)).sample(both, MOST_PAIRS)
