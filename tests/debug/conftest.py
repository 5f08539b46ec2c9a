"""A Chromium without a window, for what only a browser can tell; where there is none, its tests are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser of playwright's; TENUN_BROWSER=1 (CI) makes a missing one an error."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    missing = None if program else f"no Chromium is installed (looked for {', '.join(NAMES)})"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed"
    if missing is not None:
        if os.environ.get("TENUN_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()
