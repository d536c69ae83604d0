"""The quantiles of scores that have no range."""

from __future__ import annotations

from common.results.quantiles import SAMPLE, ScoreSample


def sample_of(scores: list[float]) -> ScoreSample:
    sample = ScoreSample()
    for score in scores:
        sample.add(score)
    return sample


def test_quantiles_lie_between_the_scores() -> None:
    sample = sample_of([4.0, 1.0, 3.0, 2.0, 0.0])
    assert [sample.quantile(share) for share in (0, 0.25, 0.5, 0.6, 1)] == [0, 1, 2, 2.4, 4]


def test_one_score_is_every_quantile() -> None:
    assert (
        sample_of([-3.5]).text() == "5 / 25 / 50 / 75 / 95 % of the scores are below -3.5 / -3.5 / -3.5 / -3.5 / -3.5"
    )


def test_many_scores_take_no_more_memory_and_their_ends_are_exact() -> None:
    sample = sample_of([float(number) for number in range(2 * SAMPLE)])
    assert (sample.low, sample.high) == (0, 2 * SAMPLE - 1)
    assert abs(sample.quantile(0.5) - SAMPLE) < 0.02 * SAMPLE


def test_without_scores_it_is_empty() -> None:
    assert ScoreSample().is_empty
