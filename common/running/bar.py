"""The bar that shows the progress of a run on a terminal.

Example: ``task = asyncio.ensure_future(show_bar(Progress(counts, traffic, expected, per_entry=4)))``
"""

from __future__ import annotations

import asyncio
import contextlib

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from .progress import Progress

EVERY = 0.5  # seconds between two looks at the counts


async def show_bar(progress: Progress) -> None:
    """Shows the progress until it is cancelled. Messages of the log go above the bar."""
    with logging_redirect_tqdm(), _Bar(unit=" answers", dynamic_ncols=True) as bar:
        try:
            while True:
                with contextlib.suppress(OSError):
                    _draw(bar, progress)
                await asyncio.sleep(EVERY)
        finally:
            with contextlib.suppress(OSError):  # the terminal is gone
                _draw(bar, progress)


class _Bar(tqdm):  # type: ignore[type-arg]
    """The only bar of a terminal. tqdm itself hides a bar if the terminal claims to have no rows, or one or two."""

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:  # type: ignore[override]
        self.sp(str(self) if msg is None else msg)
        return True


def _draw(bar: tqdm, progress: Progress) -> None:  # type: ignore[type-arg]
    look = progress.look()
    bar.n, bar.total = look.answers, look.total
    columns = bar.format_dict["ncols"] or 0
    bar.bar_format = progress.bar_format(columns if columns > 0 else 80)
    bar.refresh()
