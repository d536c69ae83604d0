"""How often the answers to a job's questions are accepted, learnt from a few answers to each of some questions.

The rates of the questions are a mixture over a fixed grid of rates, with the shares that make the counts likely (the
maximum likelihood mixture of Laird 1978). No shape is assumed, so questions that are hopeless, easy and between may
stand side by side: a beta distribution, as pass@k forecasts usually fit it, has no room for the hopeless ones. Only a
few steps of expectation maximisation are made from equal shares: the first steps find the shape, and the later ones
follow chance.

The likelihood does not depend on why an entry stopped, so the counts of ``--stop_after`` are no less good.

Half of the questions are hopeless, as far as 8 answers tell. The 9th is accepted in 3 of 1,000 of them:

>>> shares = fit([(8, 0)] * 50 + [(8, 8)] * 50)
>>> round(sum(share * rate for share, rate in zip(posterior(shares, 8, 0), RATES)), 3)
0.003
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Iterable, Sequence

STEPS = 20  # of expectation maximisation, at least, and
ENTRIES_PER_STEP = 4  # as many more as the counts can bear
RATES = (0.0, *(1 / (1 + math.exp(-place / 2)) for place in range(-11, 12)), 1.0)  # evenly spaced in the log odds
Shares = Sequence[float]  # one per rate


def fit(counts: Iterable[tuple[int, int]]) -> list[float]:
    """The share of each of ``RATES``, from (answers, accepted answers) of each question.

    >>> [round(share, 3) for share in fit([])] == [0.04] * len(RATES)
    True
    """
    groups = Counter(counts)
    likelihoods = [(times, _likelihood(*count)) for count, times in groups.items()]
    shares = [1 / len(RATES)] * len(RATES)
    entries = sum(groups.values())
    for _ in range(max(STEPS, entries // ENTRIES_PER_STEP) if groups else 0):
        added = [0.0] * len(RATES)
        for times, likelihood in likelihoods:
            for place, share in enumerate(_scaled(shares, likelihood)):
                added[place] += times * share
        whole = math.fsum(added)
        shares = [share / whole for share in added]
    return shares


def posterior(shares: Shares, answers: int, accepted: int) -> list[float]:
    """How likely each of ``RATES`` is for a question with ``accepted`` of ``answers``."""
    return _scaled(shares, _likelihood(answers, accepted))


def _likelihood(answers: int, accepted: int) -> list[float]:
    """Of each rate, up to a factor, so that many answers do not make all of them 0."""
    top = accepted / answers if answers else 0.0
    best = _log(top, accepted) + _log(1 - top, answers - accepted)
    return [math.exp(_log(rate, accepted) + _log(1 - rate, answers - accepted) - best) for rate in RATES]


def _log(rate: float, times: int) -> float:
    if not times:
        return 0.0
    return times * math.log(rate) if rate else -math.inf


def _scaled(shares: Shares, likelihood: Sequence[float]) -> list[float]:
    products = [share * likely for share, likely in zip(shares, likelihood)]
    whole = math.fsum(products)
    if not whole:  # each likelihood is too small for a float
        return list(shares)
    return [product / whole for product in products]
