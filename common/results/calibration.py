"""What a scorer's scores are worth: its calibration, as a file that is bound to the scorer's settings.

``score.py --calibrate`` writes it. ``--calibration FILE`` reads it, and takes from it the lowest ``accept_score``
(``--accept_precision``) and ``min_margin`` (``--pair_precision``) that are certified, see certify.py.

Example: ``read_calibration("out.jsonl.calibration.json").threshold("--accept_precision", 0.95).value``
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence

from ..errors import UsageError
from .certify import Certificate, Shortfall, Trial, certify, independent, interval
from .figures import BASELINES, Figure, Labelled, LabelledPair, figure_rows
from .selection import TIE

STARTS = (b'{"calibration":',)  # of the file
FORMAT = 1
FLAGS = {  # by flag: the trials that it needs, their name, the flag whose value it gives
    "--accept_precision": ("answers", "labelled answers", "--accept_score"),
    "--pair_precision": ("pairs", "labelled pairs", "--min_margin"),
}


@dataclass(frozen=True)
class Calibration:
    """The labelled scores of one scorer. ``unscored`` of the ``labelled`` answers have no score."""

    scorer: Mapping[str, Any]  # its settings
    settings_id: str  # their fingerprint
    labelled: int
    unscored: int
    answers: Sequence[Trial]  # score, right
    pairs: Sequence[Trial]  # margin, whether the better answer has the higher score
    figures: Sequence[Figure]

    def threshold(self, flag: str, asked: float) -> Certificate:
        """The lowest threshold that is certified to have the share of right ones that a flag of ``FLAGS`` asks for.

        UsageError if there is none; it says how many more labels it takes, if labels can help.
        """
        kind, name, gives = FLAGS[flag]
        trials = self.answers if kind == "answers" else self.pairs
        found = certify(trials, asked)
        if isinstance(found, Certificate):
            return found
        raise UsageError(f"{flag} {asked:g}: {_why_not(found, len(trials), name, gives)}")

    def check_scorer(self, settings_id: str, scorer: str, path: str) -> None:
        """UsageError if the scorer of a run is not the one that was calibrated."""
        if settings_id != self.settings_id:
            raise UsageError(
                f"--calibration {path} is another scorer's ({self.scorer.get('scorer')}, settings "
                f"{self.settings_id}), not this run's ({scorer}, settings {settings_id}): its scores mean something "
                "else. Run score.py --calibrate with this run's scorer flags"
            )

    def accepted(self, accept_score: float) -> tuple[int, int, tuple[float, float]]:
        """How many labelled answers score at least ``accept_score``, how many of them are wrong, and the 95 % interval
        of the share of wrong ones."""
        reached = [trial for trial in self.answers if trial.value >= accept_score]
        return len(reached), *wrong_share(reached)


def wrong_share(trials: Sequence[Trial]) -> tuple[int, tuple[float, float]]:
    """How many trials are wrong, and the 95 % interval of their share.

    >>> wrong_share([Trial(1, True, number) for number in range(100)])[0]
    0
    """
    wrong, of = sum(not trial.right for trial in trials), independent(trials) if trials else 0.0
    return wrong, interval(wrong / max(1, len(trials)) * of, of)


def _why_not(found: Shortfall, count: int, name: str, gives: str) -> str:
    if found.value is None:
        return f"{count:,} {name} are too few to be sure of it. It takes at least {found.more:,} more"
    at = f"{gives} {found.value:.6g}"
    if found.more is None:
        return (
            f"no {gives} has it: the best is {found.share:.3f}, at {at}, of {count:,} {name}. More labels would not "
            "help; ask for less, or use a better scorer"
        )
    return (
        f"{count:,} {name} are too few to be sure of it. It takes about {found.more:,} more, if {found.share:.3f} of "
        f"those at {at} stay right"
    )


def calibrate(
    scorer: Mapping[str, Any],
    settings_id: str,
    labelled: int,
    unscored: int,
    answers: Sequence[Labelled],
    pairs: Sequence[LabelledPair],
) -> Calibration:
    """The calibration of a scorer: ``unscored`` of ``labelled`` answers have no score.

    ``answers`` and ``pairs`` are those that have one.
    """
    return Calibration(
        scorer,
        settings_id,
        labelled,
        unscored,
        [Trial(one.score, one.right, one.group) for one in answers],
        [Trial(abs(pair.score), pair.score > 0, pair.group) for pair in pairs if abs(pair.score) > TIE],
        figure_rows(answers, pairs),
    )


def table(calibration: Calibration) -> list[tuple[str, ...]]:
    """The figures as rows of texts, the first one the head. The report shows them too.

    >>> table(Calibration({}, "", 0, 0, [], [], [Figure("kappa", 9, 0.5, 0, 0.1, 0.2)]))[1]
    ('kappa', '9', '0.500', '0.000', '0.100', '0.200')
    """
    head = ("figure", "of", "scorer", *BASELINES)
    return [head, *((row.name, f"{row.of:,}", *(f"{value:.3f}" for value in row[2:])) for row in calibration.figures)]


def about(calibration: Calibration) -> str:
    """One sentence: whose calibration it is, and on what."""
    name = calibration.scorer.get("scorer")
    share = calibration.unscored / max(1, calibration.labelled)
    return (
        f"calibration of {name} (settings {calibration.settings_id}) on {calibration.labelled:,} labelled answers: "
        f"{calibration.unscored:,} unscored ({share:.1%}); scored: {len(calibration.answers):,} right or wrong ones, "
        f"{len(calibration.pairs):,} pairs whose scores differ"
    )


def table_text(calibration: Calibration) -> str:
    """The calibration as a person reads it in a terminal."""
    rows = table(calibration)
    wide = max(len(row[0]) for row in rows)
    lines = [f"  {row[0]:<{wide}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
    return "\n".join([about(calibration), *lines])


def calibration_bytes(calibration: Calibration) -> Iterator[bytes]:
    """The file's content."""
    values = {
        "calibration": FORMAT,
        "scorer": calibration.scorer,
        "settings_id": calibration.settings_id,
        "labelled": calibration.labelled,
        "unscored": calibration.unscored,
        "figures": [row._asdict() for row in calibration.figures],
        "answers": [[trial.value, int(trial.right), trial.group] for trial in calibration.answers],
        "pairs": [[trial.value, int(trial.right), trial.group] for trial in calibration.pairs],
    }
    yield json.dumps(values).encode() + b"\n"


def read_calibration(path: str) -> Calibration:
    """The calibration in a file. UsageError if it cannot be read, or is not one."""
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        if values["calibration"] != FORMAT:
            raise UsageError(f"--calibration {path} is of another version: run score.py --calibrate again")
        answers, pairs = (
            [Trial(float(value), bool(right), int(group)) for value, right, group in values[kind]]
            for kind in ("answers", "pairs")
        )
        figures = [Figure(**row) for row in values["figures"]]
        counts = int(values["labelled"]), int(values["unscored"])
        return Calibration(dict(values["scorer"]), str(values["settings_id"]), *counts, answers, pairs, figures)
    except OSError as error:
        raise UsageError(f"--calibration: cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--calibration {path} was not written by score.py --calibrate") from error
