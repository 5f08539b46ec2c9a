"""Constraints against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype
from tenun.training import constraints
from tenun.training.constraints import CONSTRAINTS

from .tables import gaps, round_trip

CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("MaxNorm", {}, (5, 4)),
    ("MaxNorm", {"max_value": 0.7, "axis": 1}, (5, 4)),
    ("MaxNorm", {"max_value": 1, "axis": [0, 1, 2]}, (3, 2, 2, 4)),
    ("MinMaxNorm", {}, (5, 4)),
    ("MinMaxNorm", {"min_value": 1.5, "max_value": 2.0, "rate": 0.3, "axis": 1}, (5, 4)),
    ("NonNeg", {}, (5, 4)),
    ("UnitNorm", {}, (5,)),
    ("UnitNorm", {"axis": [0, 1]}, (3, 2, 4)),
    ("UnitNorm", {"axis": None}, (3, 2)),
]


def test_every_constraint_of_keras(keras: Any) -> None:
    assert gaps(keras, CONSTRAINTS, "constraints", "Constraint") == {}
    assert set(CONSTRAINTS.classes) == {name for name, *_ in CASES}


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize(("cls", "config", "shape"), CASES)
def test_projection(keras: Any, cls: str, config: dict[str, Any], shape: tuple[int, ...], name: str) -> None:
    value = np.random.default_rng(0).normal(size=shape).astype(name)
    value[..., -1] = 0  # a norm of 0 along the first axis
    want = np.asarray(getattr(keras.constraints, cls)(**config)(keras.ops.convert_to_tensor(value)))
    b = Builder(Graph("constraint"))
    projected = CONSTRAINTS.classes[cls](**config)(b, b.input("w", Tensor(dtype(name), shape)))
    b.graph.set_outputs([projected], ["projected"])
    got = tenun.compile(b.graph)(value)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-6 if name == "float32" else 1e-12, atol=1e-7)


@pytest.mark.parametrize(("cls", "config", "shape"), CASES)
def test_serialized(keras: Any, cls: str, config: dict[str, Any], shape: tuple[int, ...]) -> None:
    round_trip(keras, CONSTRAINTS, "constraints", CONSTRAINTS.classes[cls](**config))


def test_get() -> None:
    own: Any = lambda b, w: b.clip(w, low=-1.0, high=1.0)  # noqa: E731
    assert constraints.get(own) is own and constraints.get(None) is None
    assert constraints.get("max_norm").max_value == 2
    assert isinstance(constraints.get(constraints.NonNeg), constraints.NonNeg)
    with pytest.raises(UnsupportedError, match="'flat'"):
        CONSTRAINTS.get("flat")
    with pytest.raises(UnsupportedError, match="MaxNorm: norm not supported"):
        CONSTRAINTS.get({"class_name": "MaxNorm", "config": {"norm": 1}})
