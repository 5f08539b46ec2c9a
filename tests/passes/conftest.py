"""Passes check themselves in their tests: what one breaks, or changes of the numbers, is its fault."""

from __future__ import annotations

import pytest

CHEAP = ("test_affine", "test_directions", "test_movements", "test_recognize")  # graphs of few nodes


@pytest.fixture(autouse=True)
def checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is verified after every pass; where that is cheap, its results before and after are compared too."""
    monkeypatch.setenv("TENUN_VERIFY", "numbers" if request.path.stem in CHEAP else "structure")
