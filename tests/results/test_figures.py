"""AUC, precision, recall, kappa and pair accuracy against brute force, and beside their controls."""

from __future__ import annotations

import random
from itertools import product
from statistics import mean
from typing import Dict, List

import pytest

from common.results.figures import Figure, Labelled, LabelledPair, auc, figure_rows, kappa, right_among

WAY = {"score": lambda one: one.score, "length": lambda one: one.length}


def answers(seed: int, count: int = 60) -> List[Labelled]:
    chance = random.Random(seed)
    return [
        Labelled(chance.randrange(5), chance.random() < 0.6, chance.randrange(9), chance.choice([0.25, 0.75]), n // 6)
        for n in range(count)
    ]


def brute_auc(some: List[Labelled]) -> float:
    good, bad = ([one.score for one in some if one.right is side] for side in (True, False))
    return mean(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(good, bad))


def by_name(rows: List[Figure]) -> Dict[str, Figure]:
    return {row.name: row for row in rows}


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_pairs_in_order_within_and_across_questions(seed: int) -> None:
    some = answers(seed)
    rows = by_name(figure_rows(some, []))
    groups = [[one for one in some if one.group == group] for group in range(10)]
    mixed = [group for group in groups if len({one.right for one in group}) == 2]
    assert rows["AUC across questions"].scorer == pytest.approx(brute_auc(some), abs=1e-4)
    assert rows["AUC within questions"].scorer == pytest.approx(mean(map(brute_auc, mixed)), abs=1e-4)
    assert auc(some, WAY["score"]) == pytest.approx(brute_auc(some))


def test_precision_and_recall_are_of_the_accepted_and_each_control_accepts_as_many() -> None:
    some = answers(1)
    rows = by_name(figure_rows(some, []))
    accepted = [one for one in some if one.score >= 3]
    right = sum(one.right for one in some)
    precision, recall = (rows[f"{name} at a score of at least 3"] for name in ("precision", "recall"))
    assert precision.of == recall.of == len(accepted)
    assert precision.scorer == pytest.approx(mean(one.right for one in accepted), abs=1e-4)
    assert recall.scorer == pytest.approx(sum(one.right for one in accepted) / right, abs=1e-4)
    assert precision.random == pytest.approx(right / len(some), abs=1e-4)
    assert precision.length == pytest.approx(right_among(some, WAY["length"], len(accepted)) / len(accepted), abs=1e-4)


def test_kappa_is_cohens() -> None:
    # 20 accepted and right, 5 accepted and wrong, 10 not accepted but right, 15 neither: the textbook example
    assert kappa(20, 25, 30, 50) == pytest.approx(0.4)


def test_pairs_count_by_margin_and_a_tie_is_a_half() -> None:
    pairs = [LabelledPair(3, 10, 0, 0), LabelledPair(1, -5, 0, 1), LabelledPair(-1, 7, 0, 2), LabelledPair(0, 2, 0, 3)]
    rows = by_name(figure_rows([], pairs))
    assert rows["pair accuracy, ties as a half"][1:] == (4, 0.625, 0.5, 0.75, 0.5)
    assert rows["pair accuracy at a margin of at least 1"][1:] == (3, 0.6667, 0.5, 0.6667, 0.5)
    assert rows["pair kappa at a margin of at least 3"].scorer == 1.0


def test_labels_that_are_all_alike_give_no_figures_of_answers() -> None:
    assert figure_rows([Labelled(1, True, 3, 1, 0), Labelled(2, True, 3, 1, 1)], []) == []
