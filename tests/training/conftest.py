"""Real Keras as the oracle."""

from __future__ import annotations

import os
from typing import Any

import pytest


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras, quiet and on one thread; the tests are skipped without it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    found = pytest.importorskip("keras")
    pytest.importorskip("tensorflow").get_logger().setLevel("ERROR")
    return found
