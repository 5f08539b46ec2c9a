"""What exporters leave open: ranks that depend on data, shapes with two unknown sizes, branches for other shapes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import tenun
from tenun.tests.onnx.models import BOOL, FLOAT, INT64, check, model, node, run, tensor, value

X = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)


def squeezed_or_not() -> tuple[list, list]:
    """A value (N, 3, 8) whose rank no one knows: Squeeze in the one branch, nothing in the other."""
    branches = {
        "then_branch": helper.make_graph([node("Squeeze", "x one", "a")], "then", [], [value("a", None)]),
        "else_branch": helper.make_graph([node("Identity", "x", "b")], "else", [], [value("b", None)]),
    }
    return [node("If", "c", "y", **branches)], [tensor("one", [3], np.int64)]


@pytest.mark.parametrize("squeezes", [False, True])
def test_a_convolution_of_unknown_rank(squeezes: bool) -> None:
    nodes, fixed = squeezed_or_not()
    weights = np.random.default_rng(1).standard_normal((4, 3, 3)).astype(np.float32)
    proto = model(
        [*nodes, node("Conv", "y w", "z")], [value("x", None), value("c", [], BOOL)], ["z"],
        [*fixed, tensor("w", weights)],
    )  # fmt: skip
    check(proto, X[..., None] if squeezes else X, np.array(squeezes), atol=1e-5)


def test_a_convolution_of_another_rank_is_an_error() -> None:
    proto = model([node("Conv", "x w", "z")], [value("x", None)], ["z"], [tensor("w", np.ones((4, 3, 3)), np.float32)])
    with pytest.raises(tenun.TenunError):
        run(proto, X[0])


def test_a_reshape_that_copies_an_unknown_size_beside_minus_one() -> None:
    proto = model(
        [node("Compress", "x c", "k", axis=0), node("Reshape", "k s", "y")],
        [value("x", ["N", 3, 8]), value("c", ["N"], BOOL)], ["y"], [tensor("s", [0, -1], np.int64)],
    )  # fmt: skip
    check(proto, X, np.array([True, False]))


@pytest.mark.broken_graphs
def test_a_branch_for_other_shapes() -> None:
    """A model of two sizes of input: the branch of the other size does not fit, and does not run."""
    branches = {
        f"{name}_branch": helper.make_graph([node("Reshape", f"x {name}_s", name)], name, [], [value(name, None)])
        for name in ("then", "else")
    }
    proto = model(
        [node("Equal", "size sixteen", "c"), node("If", "c", "y", **branches)],
        [value("x", ["N", "T"], FLOAT), value("size", [], INT64)], ["y"],
        [tensor("then_s", [4, 4], np.int64), tensor("else_s", [3, 3], np.int64), tensor("sixteen", 16, np.int64)],
    )  # fmt: skip
    executable = tenun.compile(proto)
    for n in (16, 9):
        x = np.arange(n, dtype=np.float32)[None]
        np.testing.assert_array_equal(executable(x, np.array(n)), x.reshape(int(n**0.5), -1))
    with pytest.raises(tenun.TenunError):
        executable(x, np.array(16))
