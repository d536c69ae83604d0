"""The error tree: exit codes, stages, printable lines."""

from __future__ import annotations

from typing import List, Type

import pytest

from common import errors
from common.errors import (
    BadEntry,
    BrokenInput,
    EntryFailed,
    RequestFailed,
    Retryable,
    RunStopped,
    ServerGone,
    ServerRefused,
    ToolkitError,
    Unreachable,
    UsageError,
)

ALL: List[Type[Exception]] = [
    cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)
]


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError, 2), (RunStopped, 1), (BrokenInput, 1), (ServerGone, 1), (ServerRefused, 1), (EntryFailed, 1)],
)
def test_only_what_was_refused_before_sending_exits_with_two(error: Type[ToolkitError], code: int) -> None:
    assert error("why").exit_code == code


@pytest.mark.parametrize("error", [BrokenInput, ServerGone, ServerRefused])
def test_what_ends_the_run_is_never_taken_for_one_failed_entry(error: Type[RunStopped]) -> None:
    assert issubclass(error, RunStopped)
    assert not issubclass(error, (EntryFailed, UsageError))


@pytest.mark.parametrize(("error", "stage"), [(BadEntry, "input"), (RequestFailed, "request"), (Retryable, "request")])
def test_a_failed_entry_says_at_which_stage(error: Type[EntryFailed], stage: str) -> None:
    failure = error("why")
    assert (failure.stage, failure.status) == (stage, None)


def test_a_stage_set_on_one_failure_is_not_the_next_ones() -> None:
    RequestFailed("first").stage = "score"
    assert RequestFailed("second").stage == "request"


def test_a_failed_request_carries_status_and_the_servers_wish() -> None:
    failure = Retryable("429 slow down", 429, 7.5)
    assert (str(failure), failure.status, failure.retry_after) == ("429 slow down", 429, 7.5)


def test_a_server_that_cannot_be_reached_is_no_failed_request() -> None:
    assert not issubclass(Unreachable, ToolkitError)


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    path: List[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip(" \u2502\u251c\u2514\u2500").split(" ")[0]
        if not line.startswith("    ") or not name[:1].isupper():
            continue
        depth = (line.index(name) - 4 + 2) // 3
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else None
    parents = {cls.__name__: cls.__bases__[0].__name__ for cls in ALL if issubclass(cls, ToolkitError)}
    assert {name: parent for name, parent in drawn.items() if parent} == {
        name: parent for name, parent in parents.items() if parent != "Exception"
    }
    assert set(drawn) | {"Unreachable"} == {cls.__name__ for cls in ALL}
