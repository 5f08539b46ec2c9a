"""The coverage page says what is so."""

from __future__ import annotations

import pytest

pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from .coverage import PAGE, aliases, exported, line, page
from .table import APART, TABLE, class_of


def lines() -> dict[str, str]:
    """The lines of the tables by the name of the class."""
    rows = [text for text in PAGE.read_text().splitlines() if text.startswith("| ") and "| layer |" not in text]
    return {text.split("|")[1].split(",")[0].strip(): text for text in rows}


def test_all_classes_are_on_the_page() -> None:
    named = {name for first in lines() for name in (first, *aliases(first))}
    assert named | set(APART) >= set(exported())
    assert set(lines()) == {class_of(row) for row in TABLE} & set(exported())


@pytest.mark.parametrize("name", ["Dense", "Conv2D", "LSTM", "Concatenate"])
def test_some_lines_are_current(name: str, tmp_path: object) -> None:
    assert str(line(name, tmp_path)) == lines()[name]  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_page_is_current() -> None:
    assert page() == PAGE.read_text()
