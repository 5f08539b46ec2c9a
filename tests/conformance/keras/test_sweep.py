"""Every layer of keras.layers in configurations made from its signature, against Keras; see `table` and `checks`.

Quick: the first configuration of each class.  Slow: all of them, pairwise.
"""

from __future__ import annotations

import inspect
from itertools import combinations

import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from tenun.layers import LAYERS  # noqa: E402

from .make import arguments, candidates, cases  # noqa: E402
from .pairwise import covering  # noqa: E402
from .sweep import Tallies, known, sweep, tally  # noqa: E402
from .table import APART, TABLE, class_of  # noqa: E402

ROWS = [name for name in TABLE if known(name)]


def exported() -> dict[str, str]:
    """The classes that keras.layers exports: the name of the class by each name that it has there."""
    return {name: value.__name__ for name, value in vars(keras.layers).items() if inspect.isclass(value)}


def settle(found: Tallies) -> None:
    """Fail where anything is wrong, naming it; also where Keras has refused everything."""
    for check, tallied in found.items():
        print(f"{check}: {tallied}")
    wrong = [f"{check}: {case}\n    {why}" for check, t in found.items() for case, why in t.wrong]
    assert not wrong, "\n".join(wrong)
    assert found["read"].equal and found["written"].equal


@pytest.mark.parametrize("row", ROWS)
def test_first_configuration(row: str) -> None:
    """The first one that Keras takes."""
    for case in cases(row):
        found = tally([case])
        if not found["read"].refused:
            break
    settle(found)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_pairs(row: str) -> None:
    settle(sweep(row))


def test_every_class_has_a_row() -> None:
    """A class of a new Keras shows up here, by name."""
    rows = {class_of(row) for row in TABLE}
    missing = {name for name, cls in exported().items() if not rows & {name, cls} and name not in APART}
    assert not missing, f"no row of the table for {sorted(missing)}"
    assert not {name for name in APART if name in rows}


def test_every_class_is_known() -> None:
    """tenun has every layer that keras.layers exports, but for those that APART gives a reason for."""
    assert not {name for name in exported() if name not in LAYERS and name not in APART}


@pytest.mark.parametrize("row", [name for name in TABLE if hasattr(keras.layers, class_of(name))])
def test_every_argument_has_values(row: str) -> None:
    for name in arguments(row):
        assert len(candidates(row, name)) > 0


def test_pairs_are_covered() -> None:
    """All pairs that are allowed, in far fewer rows than the product has."""
    factors = {"a": (1, 2, 3), "b": "xyz", "c": (True, False), "d": (0, 1), "e": (4, 5, 6, 7)}

    def allowed(row: dict[str, object]) -> bool:
        return not (row.get("a") == 1 and row.get("c") is False)

    rows = covering(factors, allowed)
    for x, y in combinations(factors, 2):
        wanted = {(i, j) for i in factors[x] for j in factors[y] if allowed({x: i, y: j})}
        assert {(row[x], row[y]) for row in rows} == wanted
    assert 12 <= len(rows) <= 20
    assert all(map(allowed, rows))
    assert covering({"a": (1, 2)}) == [{"a": 1}, {"a": 2}]
