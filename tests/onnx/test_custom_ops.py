"""`custom_ops`: functions of the caller's in the place of operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tenun
from tenun.tests.onnx.models import model, node, tensor, value

DOMAIN = "my.domain"
KEY = (DOMAIN, "Mixed")
X, Y = (np.random.default_rng(i).standard_normal((3, 4)).astype(np.float32) for i in (0, 1))


def mixed(inputs: str = "x y", outputs: str = "z", **attrs: Any) -> onnx.ModelProto:
    """z = exp(Mixed(x, y))."""
    first, *others = outputs.split()
    nodes = [node("Mixed", inputs, f"m {' '.join(others)}", domain=DOMAIN, **attrs), node("Exp", "m", first)]
    given = [value("x", ["N", 4]), value("y", ["N", 4])]
    return model(nodes, given, outputs.split(), [tensor("w", np.ones(4), np.float32)], domains={DOMAIN: 1})


def of_builder(b: Any, x: Any, y: Any, *, alpha: float = 1.0) -> Any:
    return b.add(b.mul(x, alpha), b.tanh(y))


def of_values(x: Any, y: Any, alpha: float = 1.0) -> Any:
    return x * alpha + y.tanh()


WANT = np.exp(X * 0.5 + np.tanh(Y))


@pytest.mark.parametrize("function", [of_builder, of_values])
def test_functions_of_both_kinds(function: Any, tmp_path: Path) -> None:
    graph = tenun.load(mixed(alpha=0.5), custom_ops={KEY: function})
    np.testing.assert_allclose(tenun.compile(graph)(X, Y), WANT, 1e-5)
    assert any(n.source.startswith("Mixed") for n in graph.nodes)
    again = tenun.parse(str(graph), graph.weights)
    np.testing.assert_allclose(tenun.compile(again)(X, Y), WANT, 1e-5)
    for suffix in (".tenun", ".onnx"):
        tenun.save(graph, tmp_path / f"m{suffix}")
        np.testing.assert_allclose(tenun.compile(tmp_path / f"m{suffix}")(X, Y), WANT, 1e-5)
    slope = tenun.compile(tenun.grad(graph, wrt=["x"]))(X, Y)
    np.testing.assert_allclose(slope, 0.5 * WANT, 1e-5)


def test_compile_takes_them_and_paths(tmp_path: Path) -> None:
    onnx.save(mixed(alpha=0.5), tmp_path / "m.onnx")
    got = tenun.compile(tmp_path / "m.onnx", custom_ops={KEY: of_values})(X, Y)
    np.testing.assert_allclose(got, WANT, 1e-5)


def test_several_outputs_and_inputs_left_out() -> None:
    def both(x: Any, left_out: Any, w: Any) -> Any:
        assert left_out is None
        return x * w, x.sum(axis=1)

    graph = tenun.load(mixed("x _ w", "z s"), custom_ops={KEY: both})
    z, s = tenun.compile(graph)(X, Y)
    np.testing.assert_allclose(z, np.exp(X), 1e-5)
    np.testing.assert_allclose(s, X.sum(1), 1e-5)


def test_a_known_operator_can_be_replaced() -> None:
    proto = model([node("Relu", "x", "y")], [value("x", [3, 4])], ["y"])
    for domain in ("", "ai.onnx"):
        got = tenun.compile(proto, custom_ops={(domain, "Relu"): lambda x: x + 1})(X)
        np.testing.assert_allclose(got, X + 1, 1e-6)


def test_inside_functions_and_subgraphs() -> None:
    body = onnx.helper.make_graph(
        [node("Mixed", "x x", "m", domain=DOMAIN)], "body", [], [value("m", ["N", 4])]
    )  # fmt: skip
    proto = model(
        [node("If", "c", "z", then_branch=body, else_branch=body)],
        [value("x", ["N", 4]), value("c", [], onnx.TensorProto.BOOL)], ["z"], domains={DOMAIN: 1},
    )  # fmt: skip
    graph = tenun.load(proto, custom_ops={KEY: of_values})
    np.testing.assert_allclose(tenun.compile(graph)(X, np.array(True)), X + np.tanh(X), 1e-5)


def fails(x: Any, y: Any) -> Any:
    return x.no_such_method()


REFUSED = {
    "unknown": (None, r"my\.domain\.Mixed .*\n?.*"),
    "key": ({"Mixed": of_values}, "custom_ops has an entry 'Mixed'"),
    "value": ({KEY: 3}, "int"),
    "fails": ({KEY: fails}, "function for Mixed fails on tenun.Values: AttributeError"),
    "attribute": ({KEY: lambda x, y: x}, "unexpected keyword argument 'alpha'"),
    "result": ({KEY: lambda b, x, y, alpha: "text"}, "returns str"),
    "too few results": ({KEY: lambda b, x, y, alpha: []}, "output number 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_told(name: str) -> None:
    functions, text = REFUSED[name]
    proto = mixed() if name == "fails" else mixed(alpha=1.0)
    with pytest.raises(tenun.UnsupportedError, match=text) as caught:
        tenun.load(proto, custom_ops=functions)
    if functions is None or name in ("key", "value", "fails", "result"):
        assert "custom_ops={" in str(caught.value)


def test_other_formats_have_none(tmp_path: Path) -> None:
    tenun.save(tenun.load(mixed(), custom_ops={KEY: of_values}), tmp_path / "m.tenun")
    with pytest.raises(tenun.UnsupportedError, match="custom_ops"):
        tenun.load(tmp_path / "m.tenun", custom_ops={KEY: of_values})
