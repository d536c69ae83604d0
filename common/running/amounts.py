"""Numbers of an estimate as a person reads them: amounts, intervals, times.

>>> number_with(Estimate(4000, 3900, 4100)), duration(1500)
('4,000 (3,900 to 4,100)', '25.0 min')
"""

from __future__ import annotations

import math
from typing import Callable

from ..results.estimators import Estimate

UNITS = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"))
MOST_REACH = 2.0  # as a share of a figure: a larger one says less than the upper end
SURE = 0.005  # of a figure: a smaller uncertainty is not shown as a share


def money(amount: float) -> str:
    """An amount with two digits behind the point, or with two that are not zero.

    >>> money(1234.5), money(0.00123)
    ('1,234.50', '0.0012')
    """
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.2g}"


def number_with(estimate: Estimate) -> str:
    """A number and its interval.

    >>> number_with(Estimate(4000, 3900, 4100))
    '4,000 (3,900 to 4,100)'
    """
    point, low, high = (f"{end:,.0f}" if math.isfinite(end) else "unknown" for end in estimate)
    return f"{point} ({low} to {high})"


def percent_with(estimate: Estimate) -> str:
    """A share and its interval.

    >>> percent_with(Estimate(0.25, 0.1, 0.5))
    '25 % (10 to 50)'
    """
    point, low, high = (f"{100 * end:.0f}" for end in estimate)
    return f"{point} % ({low} to {high})"


def duration(seconds: float) -> str:
    """A time in the unit that a person would use.

    >>> duration(41), duration(1500), duration(9e4), duration(math.inf)
    ('41 s', '25.0 min', '25.0 h', 'unknown')
    """
    if not math.isfinite(seconds):
        return "unknown"
    for size, unit in UNITS:
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def with_reach(estimate: Estimate, text: Callable[[float], str]) -> str:
    """A figure and how far its interval reaches, as a share of it.

    >>> with_reach(Estimate(200, 150, 260), "{:.0f}".format)
    '200 ±30%'
    >>> with_reach(Estimate(12, 0, 157), "{:.0f}".format)
    '12 (up to 157)'
    """
    mean, low, high = estimate
    if not math.isfinite(high):
        return f"{text(mean)} ±?"
    reach = max(mean - low, high - mean) / mean if mean else 0.0
    if reach > MOST_REACH:
        return f"{text(mean)} (up to {text(high)})"
    return f"{text(mean)} ±{reach:.0%}" if reach > SURE else text(mean)
