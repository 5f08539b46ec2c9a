"""The choice of algorithms: what is chosen for which sizes, notes in the dump, gradients, `exact`, `tune`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import tenun
from tenun.backends.base import Options
from tenun.backends.numpy import tuning
from tenun.backends.numpy.evaluate import evaluate
from tenun.backends.numpy.program import Program
from tenun.ir import Builder, Graph, Tensor, symbol
from tenun.ir.types import f32, f64
from tenun.passes.algorithms import Prices
from tenun.passes.autodiff.engine import gradients
from tenun.passes.manager import Context, PassManager


def network(n: int, size: int, channels: int, filters: int, kernel: int = 3, dtype=f32, **windows) -> Graph:
    b = Builder(Graph("g"))
    how = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", **windows}
    w = np.random.default_rng(0).normal(size=(kernel, kernel, channels // how.get("groups", 1), filters))
    x = b.input("x", Tensor(dtype, (n, size, size, channels)))
    with b.at("layer"):
        y = b.conv(x, b.constant(w.astype(dtype.numpy) * 0.1, "w"), **how)
    return b.outputs(y)


def chosen(graph: Graph, **options) -> Graph:
    return PassManager(("algorithms", "fold"), Context(evaluate, **options)).run(graph.copy())


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def test_text_before_and_after() -> None:
    (before,) = network(8, 16, 64, 64).nodes
    (after,) = chosen(network(8, 16, 64, 64)).nodes
    assert before.op.name == "conv" and not before.note
    (line,) = [line for line in str(chosen(network(8, 16, 64, 64))).splitlines() if "= winograd_conv" in line]
    assert (
        'winograd_conv(%x, @w_1) {kernel = (3, 3), tile = (4, 4), padding = "same"}  // layer  // estimated: ' in line
    )
    assert after.note.startswith("estimated: winograd 4×4 ") and "direct" in after.note


@pytest.mark.parametrize(
    ("graph", "op"),
    [
        (network(64, 32, 64, 64), "winograd_conv"),
        (network(1, 16, 128, 128), "winograd_conv"),
        *((network(16, 16, 64, 64, kernel=k), "winograd_conv") for k in (2, 4, 5, 6, 7)),
        (network(8, 32, 3, 64), "conv"),  # too few channels
        *((network(64, 32, 3, 64, kernel=k), "conv") for k in range(2, 8)),
        (network(8, 32, 64, 64, kernel=1), "conv"),
        (network(8, 32, 64, 64, kernel=9), "conv"),
        (network(8, 32, 64, 64, strides=(2, 2)), "conv"),
        (network(8, 32, 64, 64, dilations=(2, 2)), "conv"),
        (network(8, 32, 64, 64, groups=2), "conv"),
        (network(8, 32, 64, 64, dtype=f64), "conv"),
        (network(0, 32, 64, 64), "conv"),
    ],
)
def test_choice(graph: Graph, op: str) -> None:
    assert ops(chosen(graph)) == [op]
    assert ops(chosen(graph, exact=True)) == ["conv"]


def test_a_backend_has_its_own_prices_for_constant_weights() -> None:
    free = Prices(copy=math.inf, element=1e-12, least_channels=16)
    narrow = network(1, 6, 16, 16)
    assert ops(chosen(narrow)) == ["conv"]
    assert ops(chosen(narrow, prices=free)) == ["winograd_conv"]
    assert ops(chosen(network(64, 32, 8, 64), prices=free)) == ["conv"]
    b = Builder(Graph("g"))
    x, w = (b.input(name, Tensor(f32, shape)) for name, shape in (("x", (1, 6, 6, 16)), ("w", (3, 3, 16, 16))))
    y = b.conv(x, w, strides=(1, 1), dilations=(1, 1), padding="same")
    assert ops(chosen(b.outputs(y), prices=free)) == ["conv"]


def test_results_and_exact() -> None:
    x = np.random.default_rng(1).normal(size=(8, 16, 16, 64)).astype(np.float32)
    graph = network(8, 16, 64, 64)
    (fast,), (exact,) = Program(graph)(x), Program(graph, Options(exact=True))(x)
    assert not np.array_equal(fast, exact)
    np.testing.assert_allclose(fast, exact, atol=2e-5 * exact.std())
    assert ops(Program(graph).plan([x]).graph) == ["winograd_conv"]
    assert ops(Program(graph, Options(exact=True)).plan([x]).graph) == ["conv"]


def with_gradients(x: tuple[int, ...], w: tuple[int, ...], padding: str, dtype=f32) -> Graph:
    """A convolution, and the gradients of a weighted sum of its results."""
    b, ones = Builder(Graph("g")), (1,) * (len(x) - 2)
    given, weights = b.input("x", Tensor(dtype, x)), b.input("w", Tensor(dtype, w))
    y = b.conv(given, weights, strides=ones, dilations=ones, padding=padding)
    g = b.input("g", y.type)
    return b.outputs(y, *gradients(b, [b.reduce_sum(b.mul(y, g))], [given, weights]))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("size", "kernel"),
    [*(((15, 19), (k, k)) for k in range(2, 8)), ((15, 17), (5, 3)), ((15, 17), (2, 6)), ((99,), (4,)), ((98,), (5,))],
)
def test_gradients_use_it_too(size: tuple[int, ...], kernel: tuple[int, ...], padding: str) -> None:
    """Against the sums of products in float64, for which nothing is chosen; padding of even kernels is lopsided."""
    x, w = (16, *size, 32), (*kernel, 32, 48)
    graph, exact = (with_gradients(x, w, padding, dtype) for dtype in (f32, f64))
    made = set(ops(chosen(graph)))
    assert {"winograd_conv", "winograd_weights", "winograd_weight_grad"} <= made
    assert not made & {"conv", "conv_transpose", "conv_weight_grad"}
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=v.tensor.static).astype(np.float32) for v in graph.inputs]
    for got, want in zip(Program(graph)(*arrays), Program(exact)(*(a.astype(np.float64) for a in arrays))):
        np.testing.assert_allclose(got, want, atol=(3e-5 if max(kernel) <= 3 else 1.5e-4) * want.std(), rtol=0)


def test_weights_are_transformed_once_for_all_shapes() -> None:
    b = Builder(Graph("g"))
    w = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    x = b.input("x", Tensor(f32, (symbol("N"), 16, 16, 64)))
    program = Program(b.outputs(b.conv(x, b.constant(w, "w"), strides=(1, 1), dilations=(1, 1), padding="same")))
    plans = [program.plan([np.zeros((n, 16, 16, 64), np.float32)]) for n in (4, 8)]
    first, second = ({c.data.ctypes.data for c in plan.graph.constants if c.data.ndim == 3} for plan in plans)
    assert first and first == second


def test_notes_survive_text_and_copies() -> None:
    graph = chosen(network(8, 16, 64, 64))
    (node,) = graph.nodes
    for again in (graph.copy(), graph.copy().copy()):
        (copied,) = again.nodes
        assert copied.note == node.note and copied.source == "layer"


def test_notes_are_read_back() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (2,)))
    sources = ("", "a/b", "odd  // name", '"quoted"')
    for source in sources:
        with b.at(source):
            x = b.relu(b.neg(x))
    graph = b.outputs(x)
    for node, note in zip(graph.nodes, ["", "measured: 1 ms", "estimated: a, b"] * 3):
        node.note = note
    again = tenun.parse(str(graph))
    assert [(n.source, n.note) for n in again.nodes] == [(n.source, n.note) for n in graph.nodes]
    assert str(again) == str(graph)


# ---- measuring -------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TENUN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tuning.json"


def test_tuning_measures_once_and_remembers(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = network(2, 8, 16, 16), np.ones((2, 8, 8, 16), np.float32)
    plan = Program(graph, Options(tune=True)).plan([x])
    (node,) = plan.graph.nodes
    assert node.note.startswith("measured: ")
    found = json.loads(cache.read_text())
    assert len(found) == 3 and all(seconds > 0 for seconds in found.values())
    assert all("conv(f32[2, 8, 8, 16]" in key and np.__version__ in key for key in found)

    tuning.TIMES._found.clear()  # as in another process

    def measured_again(*_: object) -> float:
        raise AssertionError("it was measured again")

    monkeypatch.setattr(tuning, "_time", measured_again)
    again = Program(graph, Options(tune=True)).plan([x])
    assert [n.note for n in again.graph.nodes] == [node.note]


def test_what_was_measured_decides(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = network(2, 8, 16, 16), np.ones((2, 8, 8, 16), np.float32)
    monkeypatch.setattr(tuning, "_time", lambda node, emit, *_: 1.0 if emit is None else 2.0)
    assert ops(Program(graph, Options(tune=True)).plan([x]).graph) == ["conv"]
    cache.unlink()
    tuning.TIMES._found.clear()
    monkeypatch.setattr(tuning, "_time", lambda node, emit, *_: 2.0 if emit is None else 1.0)
    assert ops(Program(graph, Options(tune=True)).plan([x]).graph) == ["winograd_conv"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}', "no json"])
def test_a_broken_cache_is_measured_again(cache: Path, content: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    tuning.TIMES._found.clear()
    Program(network(2, 8, 16, 16), Options(tune=True)).plan([np.ones((2, 8, 8, 16), np.float32)])
    assert len(json.loads(cache.read_text())) == 3


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TENUN_CACHE", str(tmp_path / "file" / "below"))
    x = np.ones((2, 8, 8, 16), np.float32)
    assert Program(network(2, 8, 16, 16), Options(tune=True))(x)[0].shape == x.shape
