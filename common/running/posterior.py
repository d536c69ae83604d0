"""How likely the next answer of an entry is accepted, and what it costs: learnt from the answers of a run.

Each entry has a rate of its own, and the rates of all entries are Beta-distributed. So after ``answers`` answers of
which ``accepted`` are accepted, the next one is accepted with the probability (a + accepted) / (a + b + answers), the
posterior mean. The prior (a, b) is the one under which the run's own outcomes are likeliest (empirical Bayes). This
stays true where entries were stopped because of their answers, since the likelihood does not depend on when one stops.

>>> acceptance = Acceptance()
>>> for _ in range(50): acceptance.learn(Seen(), Seen(1, 1, 100)); acceptance.learn(Seen(), Seen(4, 0, 400))
>>> [round(acceptance.chance(Seen(answers)), 2) for answers in (0, 1, 4)]
[0.49, 0.02, 0.01]
"""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

REFIT = 1.1  # the prior is fitted again when the outcomes have grown by this factor
SMALLEST, LARGEST = math.log(0.05), math.log(200.0)  # of a + b: almost all rates are 0 or 1, or all are the same
FEW_PAIRS, MOST_USUAL = 20, 100.0  # answers of which the length of the one before is known; usual ones that count
STEPS = 24  # of the search for the prior, which halves its step whenever no neighbour is likelier


class Seen(NamedTuple):
    """What an entry has: its answers, how many different ones are accepted, and the tokens of all of them."""

    answers: int = 0
    accepted: int = 0
    tokens: int = 0


class Acceptance:
    """The outcomes of a run. Memory holds two counts for each pair of (answers, accepted) that an entry had."""

    def __init__(self) -> None:
        self._hits: Counter[tuple[int, int]] = Counter({(0, 0): 1})  # one of each, so that no rate is 0 or 1 for sure
        self._misses: Counter[tuple[int, int]] = Counter({(0, 0): 1})
        self._lengths = Lengths()
        self._answers = 0
        self._refit_at = 4.0  # answers
        self._place = (0.0, 0.0)  # the log odds of the mean rate, the logarithm of a + b

    @property
    def prior(self) -> tuple[float, float]:
        """The parameters a and b of the Beta distribution of the entries' rates."""
        return _parameters(self._place)

    def learn(self, before: Seen, after: Seen) -> None:
        """Counts the answers that an entry got."""
        (answers, accepted, _), more = before, after.answers - before.answers
        hits = min(more, max(0, after.accepted - accepted))
        for place in range(more):  # in any order: the likelihood of all of them is the same
            is_hit = place < hits
            (self._hits if is_hit else self._misses)[answers + place, accepted + min(place, hits)] += 1
        self._answers += more
        self._lengths.learn(before, after)
        if self._answers >= self._refit_at:
            self._fit()
            self._refit_at = self._answers * REFIT

    def chance(self, seen: Seen) -> float:
        """The probability that the entry's next answer is accepted."""
        a, b = self.prior
        return (a + seen.accepted) / (a + b + seen.answers)

    def value(self, seen: Seen) -> float:
        """Accepted answers per token, of the entry's next answer."""
        return self.chance(seen) / self._lengths.expected(seen)

    def _fit(self) -> None:
        """Climbs from the prior so far to a likelier one."""
        step, best = 1.0, self._log_likelihood(self._place)
        for _ in range(STEPS):
            odds, size = self._place
            near = [(odds + step, size), (odds - step, size), (odds, size + step), (odds, size - step)]
            likelihood, place = max((self._log_likelihood(one), one) for one in near if SMALLEST <= one[1] <= LARGEST)
            if likelihood > best:
                best, self._place = likelihood, place
            else:
                step /= 2

    def _log_likelihood(self, place: tuple[float, float]) -> float:
        """Of the outcomes so far, each given those of its entry before it (Polya's urn)."""
        a, b = _parameters(place)
        hits = (count * math.log((a + won) / (a + b + of)) for (of, won), count in self._hits.items())
        misses = (count * math.log((b + of - won) / (a + b + of)) for (of, won), count in self._misses.items())
        return math.fsum(hits) + math.fsum(misses)


class Lengths:
    """How many tokens an entry's next answer takes: the mean of its own answers and of some usual ones.

    Their number is the variance within entries over the variance between them (Buehlmann's credibility). The variance
    between them is the covariance of an entry's next answer with those before it.
    """

    def __init__(self) -> None:
        self._answers = self._pairs = 0
        self._sum = self._squares = 0.0  # of the answers
        self._before = self._next = self._products = 0.0  # sums over the pairs

    def learn(self, before: Seen, after: Seen) -> None:
        """Counts the answers that an entry got, each with the mean of their tokens."""
        more = after.answers - before.answers
        if more <= 0:
            return
        length = max(0, after.tokens - before.tokens) / more
        self._answers += more
        self._sum += more * length
        self._squares += more * length * length
        if before.answers:
            mean = before.tokens / before.answers
            self._pairs += 1
            self._before, self._next = self._before + mean, self._next + length
            self._products += mean * length

    def expected(self, seen: Seen) -> float:
        """The tokens of an entry's next answer, at least 1."""
        usual, weight = self._sum / max(1, self._answers), self._usual_ones()
        return max(1.0, (seen.tokens + weight * usual) / (seen.answers + weight))

    def _usual_ones(self) -> float:
        """How many usual answers count beside an entry's own ones."""
        if self._pairs < FEW_PAIRS:
            return FEW_PAIRS / 2
        mean = self._sum / self._answers
        all_of_it = self._squares / self._answers - mean * mean
        between = self._products / self._pairs - self._before * self._next / self._pairs**2
        return min(MOST_USUAL, max(0.1, (all_of_it - between) / between)) if between > 0 else MOST_USUAL


def _parameters(place: tuple[float, float]) -> tuple[float, float]:
    odds, size = place
    mean, total = 1 / (1 + math.exp(-max(-9.0, min(9.0, odds)))), math.exp(size)
    return mean * total, (1 - mean) * total
