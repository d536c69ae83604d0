"""Every error the toolkit raises on purpose.

    ToolkitError              said to the user in one line
    ├─ UsageError             flags, input file or output refused before anything was sent (exit 2)
    ├─ Postponed              a request stands in a batch file, and its reply comes later: the entry waits
    ├─ RunStopped             the run cannot go on; the same command resumes it (exit 1)
    │  ├─ BrokenInput         the input file turned out to be damaged further on
    │  ├─ ServerGone          the server stopped answering
    │  ├─ BudgetSpent         --token_budget or --time_budget is used up
    │  │  └─ TargetReached    --target_accepted is reached
    │  ├─ Interrupted         Ctrl-C or SIGTERM (exit 130)
    │  └─ ServerRefused       wrong key, model or URL: every request would fail alike
    └─ EntryFailed            this entry goes to the errors file, the others go on
       ├─ BadEntry            the entry itself is unusable
       └─ RequestFailed       a request for it failed for good
          └─ Retryable        ... unless one of its next tries succeeds
             └─ ServerBusy    ... the server asks for a pause, which is not a try
    Unreachable               no connection could be made, nothing was sent (client.py waits or stops the run)

Example: ``raise BadEntry("turn 2 has the unknown role 'robot'")``
"""

from __future__ import annotations

import difflib
from typing import Dict, Iterable, Optional

LONGEST_MESSAGE = 1000  # characters: others' paths and texts stand in messages


def printable(text: str) -> str:
    """A text as one line: space for a line break, an escape such as \\x1b for what a terminal would obey or not show.

    >>> print(printable("a file\\nnamed \\x1b[2J"))
    a file named \\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


def plural(number: int, singular: str, plural_form: str = "") -> str:
    """A number with its noun.

    >>> plural(1, "answer"), plural(1200, "answer")
    ('1 answer', '1,200 answers')
    """
    return f"{number:,} {singular if number == 1 else plural_form or singular + 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the known one that it resembles; nothing if none does.

    >>> did_you_mean("--temprature", ["--temperature", "--top_p"]), did_you_mean("--input", ["--input_file"])
    ('; did you mean --temperature?', '; did you mean --input_file?')
    """
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> Optional[str]:
    """The known name that an unknown one resembles. Of two that resemble it alike, the first one."""
    plain: Dict[str, str] = {}
    for one in known:
        plain.setdefault(_plain(one), one)
    wanted = _plain(name)
    near = [one for one in plain if len(wanted) > 2 and one.startswith(wanted)]
    near += [one for one in plain if one.endswith(f"_{wanted}")]
    near += difflib.get_close_matches(wanted, plain, 1)
    near += [one for one in plain if wanted.endswith(f"_{one}")]
    return plain[near[0]] if near else None


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()


class ToolkitError(Exception):
    """Base of all; ``str(error)`` is one printable line that says what is wrong and what to do."""

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        return printable(text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "...")


class UsageError(ToolkitError):
    """The command line, the input file or the output was refused before anything was sent."""

    exit_code = 2


class RunStopped(ToolkitError):
    """The whole run ends here, resumable; no further entry is tried."""


class BrokenInput(RunStopped):
    """The input file is damaged past its start; what stands before the damage is done and kept."""


class ServerGone(RunStopped):
    """The server stopped answering and did not come back."""


class BudgetSpent(RunStopped):
    """The run has spent its tokens or its time: what is in flight is finished, and nothing more is sampled."""


class TargetReached(BudgetSpent):
    """The run has as many accepted rows as it was asked for."""


class Interrupted(RunStopped):
    """Ctrl-C or SIGTERM."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted; run the same command again to go on")


class ServerRefused(RunStopped):
    """The server refuses every request of this run: the key, the credit, the model or the fields are wrong."""


class Postponed(ToolkitError):
    """A request has no reply yet: it stands in a batch file, or is to stand in the next."""


class EntryFailed(ToolkitError):
    """One entry failed. ``stage`` is where (input, sample, score), ``status`` the HTTP status if any."""

    stage = "input"
    status: Optional[int] = None


class BadEntry(EntryFailed):
    """The entry itself is unusable: wrong types, no question, an image that is none."""


class RequestFailed(EntryFailed):
    """A request failed. ``retry_after`` is the server's own wish in seconds, if it named one."""

    stage = "request"

    def __init__(self, message: str, status: Optional[int] = None, retry_after: Optional[float] = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Retryable(RequestFailed):
    """A failure that may pass: time-outs, dropped connections, overload, replies that are no completion."""


class ServerBusy(Retryable):
    """The server refuses requests for now: it has its limit of this minute or of this day."""


class Unreachable(Exception):
    """No connection could be made: nothing was sent. ``advice`` is for a server that was never reached."""

    def __init__(self, message: str, advice: str = "is the server running there?") -> None:
        super().__init__(message)
        self.advice = advice
