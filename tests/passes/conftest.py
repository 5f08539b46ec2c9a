"""Passes check themselves in their tests: what one changes of the numbers is its fault, whatever is tested."""

from __future__ import annotations

import pytest

CHEAP = ("test_affine", "test_directions", "test_movements", "test_recognize")  # graphs of few nodes


@pytest.fixture(autouse=True)
def checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that is cheap, the results of a graph before and after every pass are compared."""
    if request.path.stem in CHEAP:
        monkeypatch.setenv("TENUN_VERIFY", "numbers")
