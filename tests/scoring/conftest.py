"""What the tests of rules share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scoring.user_rules import RULES


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A user's file of rules, with a file beside it that it imports."""
    (tmp_path / "neighbour.py").write_text("SEVEN = 7\n")
    (tmp_path / "check.py").write_text(RULES)
    return tmp_path / "check.py"
