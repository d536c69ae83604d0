"""What a whole job takes, from the figures of a few of its entries. Pure numbers: no files, no servers.

An entry's figures are a dict such as ``{"generator requests": 4, "generator completion_tokens": 320}``.

Five of a job's 100 entries took 4 requests each:

>>> sample = Sample(100, [{"generator requests": 4}] * 5)
>>> sample.total({"generator requests": 1})
Estimate(mean=400.0, low=400.0, high=400.0)
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Mapping, Sequence

from .estimators import PSEUDO, Z95, Estimate, mean_interval

T95 = (math.inf, 12.706, 4.303, 3.182, 2.776)  # 0.975 quantiles of Student's t with 0 (no interval) to 4 degrees
TOKENS = ("prompt_tokens", "completion_tokens")
LEAST_FITTED = 5  # entries to which a slope is fitted
SPENT = ("requests", *TOKENS)
Figures = Dict[str, float]  # of one entry, by name; a name that is missing is 0


def places(count: int, size: int, seed: int = 0) -> Iterator[int]:
    """Ascending places (from 0) of ``size`` of ``count`` items: one at random in each of ``size`` equal parts.

    Stratified sampling with one unit per stratum (Cochran 1977, section 5A.5). It is as even as a fixed step, and a
    period in the input does not bias it. The same arguments give the same places.

    >>> list(places(1000, 4)), list(places(3, 9))
    ([182, 348, 724, 910], [0, 1, 2])
    """
    size = min(size, count)
    chance = random.Random(f"{seed} {count} {size}")
    for part in range(size):
        begin, end = part * count // size, (part + 1) * count // size
        yield begin + int(chance.random() * (end - begin))


def figures_of_line(line: Mapping[str, Any], counts_requests: bool = True) -> Figures:
    """What a ledger line was paid with: an answer by its ``usage``, a score by its ``judge_usage``.

    >>> figures_of_line({"answer": "4", "usage": {"prompt_tokens": 9, "completion_tokens": 2}})
    {'generator requests': 1, 'generator prompt_tokens': 9, 'generator completion_tokens': 2}
    """
    if "verdict" in line:
        return {}  # the score that it is a part of says what it took
    if "answer" in line:
        return _spent("generator", {"requests": 1, **line["usage"]} if line.get("usage") else {}, counts_requests)
    return _spent("scorer", line.get("judge_usage") or {}, counts_requests)


def figures_of_record(record: Mapping[str, Any]) -> Figures:
    """What a record's answers and scores were paid with. Equal answers share one score.

    >>> details = [{"judge_usage": {"requests": 1}}] * 2
    >>> figures_of_record({"generated_answers": ["4", "4"], "generated_details": details})
    {'scorer requests': 1}
    """
    found: Counter[str] = Counter()
    judged = set()
    for text, detail in zip(record["generated_answers"], record.get("generated_details") or ()):
        found.update(figures_of_line({"answer": text, **detail}))
        if text not in judged:
            judged.add(text)
            found.update(figures_of_line({"judge_usage": detail.get("judge_usage")}))
    return dict(found)


def _spent(role: str, usage: Mapping[str, Any], counts_requests: bool) -> Figures:
    names = SPENT if counts_requests else TOKENS
    return {f"{role} {name}": usage[name] for name in names if isinstance(usage.get(name), (int, float))}


@dataclass
class Sample:
    """The figures of some entries of a job that has ``entries`` of them.

    ``mean_size`` is the mean of the figure "size" over all entries of the job, if it is known.
    """

    entries: int
    figures: Sequence[Mapping[str, float]]
    mean_size: float | None = None

    def total(self, weights: Mapping[str, float]) -> Estimate:
        """The sum over the whole job of the figures, each times its weight, with a 95 % interval.

        The cost, for example, has the prices as weights. Prompt tokens are corrected for sizes that the sample has too
        many or too few of. See ``total_interval`` and ``at_mean_size``.
        """
        prompts = {name: weight for name, weight in weights.items() if name.endswith(TOKENS[0])}
        values = self._sums({name: weight for name, weight in weights.items() if name not in prompts})
        spent = math.fsum(self._sums(weights))
        if not prompts or self.mean_size is None or len(self.figures) < LEAST_FITTED:
            return total_interval(self._sums(weights), self.entries)
        sized = at_mean_size(self._sums(prompts), [one.get("size", 0) for one in self.figures], self.mean_size)
        found = total_interval([value + more for value, more in zip(values, sized)], self.entries, fitted=1)
        return found._replace(low=max(found.low, spent))

    def _sums(self, weights: Mapping[str, float]) -> list[float]:
        return [math.fsum(one.get(name, 0) * weight for name, weight in weights.items()) for one in self.figures]

    def ratio(self, part: str, whole: str) -> Estimate | None:
        """The sum of a figure as a share of the sum of another, such as accepted of scored answers; None without any.

        See ``share_interval``.
        """
        pairs = [(one.get(part, 0.0), one.get(whole, 0.0)) for one in self.figures]
        return self._of_finite(share_interval(pairs)) if any(of for _, of in pairs) else None

    def share(self, name: str) -> Estimate:
        """The share of the entries that have something of a figure; see ``mean_interval``."""
        return self._of_finite(mean_interval([float(one.get(name, 0) > 0) for one in self.figures], 0, 1))

    def bounded_total(self, name: str, most: float) -> Estimate:
        """The sum over the whole job of a figure that is from 0 to ``most`` for each entry; see ``mean_interval``.

        Its interval is not empty if all entries of the sample are alike, unless they are all that there are.
        """
        found = self._of_finite(mean_interval([one.get(name, 0.0) for one in self.figures], 0, most))
        return Estimate(*(self.entries * end for end in found))

    def _of_finite(self, estimate: Estimate) -> Estimate:
        """The interval with the correction for a finite population: with every entry, nothing is uncertain.

        (Cochran 1977, section 2.6.)
        """
        point, low, high = estimate
        part = math.sqrt(max(0.0, 1 - len(self.figures) / self.entries))
        return Estimate(point, point - part * (point - low), point + part * (high - point))


def t95(degrees: int) -> float:
    """The 0.975 quantile of Student's t distribution (Abramowitz and Stegun 1964, 26.7.5); infinite for 0 degrees.

    >>> round(t95(19), 3), round(t95(999), 3)
    (2.093, 1.962)
    """
    if degrees < len(T95):
        return T95[degrees]
    z = Z95
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + math.fsum(term / degrees**power for power, term in enumerate(terms, 1))


def at_mean_size(values: Sequence[float], sizes: Sequence[float], mean_size: float) -> list[float]:
    """The values, each moved along the line of least squares from its own size to ``mean_size``.

    Their mean is the regression estimator, and their spread is that of its residuals (Cochran 1977, section 7.3).

    >>> at_mean_size([10, 20, 30], [1, 2, 3], 5)
    [50.0, 50.0, 50.0]
    """
    middle, mean = math.fsum(sizes) / len(sizes), math.fsum(values) / len(values)
    spread = math.fsum((size - middle) ** 2 for size in sizes)
    common = math.fsum((size - middle) * (value - mean) for size, value in zip(sizes, values))
    slope = common / spread if spread else 0.0
    return [value + slope * (mean_size - size) for size, value in zip(sizes, values)]


def total_interval(values: Sequence[float], entries: int, fitted: int = 0) -> Estimate:
    """The sum over ``entries`` entries, from the ``values`` of a sample of them, and its 95 % interval.

    Student's t interval of a mean, with the correction for a finite population: with every entry in the sample, nothing
    is uncertain (Cochran 1977, sections 2.6 to 2.8). ``fitted`` is the number of slopes that were fitted to the values.
    It is never below what the sample itself took. A single value has
    no upper end (infinity). Raises ValueError without values.

    >>> total_interval([1, 2, 3], 3), [round(end) for end in total_interval([1, 2, 3], 300)]
    (Estimate(mean=6.0, low=6.0, high=6.0), [600, 6, 1342])
    """
    if not values:
        raise ValueError("no values")
    count, spent = len(values), math.fsum(values)
    mean = spent / count
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, count - 1 - fitted)
    error = math.sqrt(variance / count * max(0.0, 1 - count / entries))
    if count == 1 < entries:
        error = 1.0
    reach = t95(count - 1 - fitted) * error if error else 0.0
    return Estimate(entries * mean, max(spent, entries * (mean - reach)), entries * (mean + reach))


def share_interval(pairs: Sequence[tuple[float, float]]) -> Estimate:
    """The sum of the first numbers as a share of the sum of the second (more than 0), and its 95 % interval.

    Ratio estimator with the entry as the unit, since an entry's answers are alike (Cochran 1977, section 6.4). As in
    ``mean_interval``, two entries with nothing and two with everything are added, so that it is not empty at 0 or 1.

    >>> [round(end, 2) for end in share_interval([(4, 4), (2, 4), (3, 4), (1, 4)])]
    [0.62, 0.26, 0.87]
    """
    point = math.fsum(part for part, _ in pairs) / math.fsum(of for _, of in pairs)
    usual = math.fsum(of for _, of in pairs) / len(pairs)
    more = [*pairs, *[(0.0, usual)] * PSEUDO, *[(usual, usual)] * PSEUDO]
    whole = math.fsum(of for _, of in more)
    middle = math.fsum(part for part, _ in more) / whole
    squares = math.fsum((part - middle * of) ** 2 for part, of in more)
    reach = Z95 * math.sqrt(squares * len(more) / (len(more) - 1)) / whole
    return Estimate(point, max(0.0, min(point, middle - reach)), min(1.0, max(point, middle + reach)))
