"""Gradients through if, scan and loop, against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import UnsupportedError
from tenun.ir import Builder, Graph, Tensor, Var, dtype, symbol, verify
from tenun.ir.ops.control import control_node, trace
from tenun.ir.types import Type, boolean, i64
from tenun.passes.autodiff.engine import gradients
from tenun.passes.autodiff.rules import RULES

F64 = dtype("f64")
Body = Callable[..., Any]
RNG = np.random.default_rng(5)
X, S, W, K = RNG.normal(size=(5, 3)), RNG.normal(size=(3,)), RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=(3,))


def f64(*shape: Any) -> Tensor:
    return Tensor(F64, shape)


def check(build: Body, *arrays: Any, types: list[Type] | None = None, fixed: int = 0, again: bool = False) -> list[Any]:
    """The gradients of random sums of the results of build(b, *inputs), by differences in random directions.

    The last `fixed` inputs are not differentiated with respect to; `again`: the gradients of the gradients.
    """
    b = Builder(Graph("g"))
    inputs = [b.input(f"x{i}", t) for i, t in enumerate(types or [Tensor(dtype(a), a.shape) for a in arrays])]
    count = len(arrays) - fixed
    total = reduce(b.add, [b.reduce_sum(b.mul(b.sin(y), i + 0.5)) for i, y in enumerate(build(b, *inputs))])
    if again:
        first = gradients(b, [total], inputs[:count])
        total = reduce(b.add, [b.reduce_sum(b.sin(g)) for g in first])
    graph = b.outputs(total, *gradients(b, [total], inputs[:count]))
    verify(graph)
    f = tenun.compile(graph)
    found = f(*arrays)[1:]
    rng = np.random.default_rng(1)
    for i, gradient in enumerate(found):
        assert gradient.shape == arrays[i].shape
        u, h = rng.normal(size=arrays[i].shape), 1e-5
        up, down = (f(*(a + s * u if i == j else a for j, a in enumerate(arrays)))[0] for s in (h, -h))
        np.testing.assert_allclose((gradient * u).sum(), (up - down) / (2 * h), rtol=1e-6, atol=1e-7, err_msg=str(i))
    return [np.asarray(g) for g in found]


# ---- if ------------------------------------------------------------------------------------------------------


def branches(b: Builder, condition: Var, *args: Var) -> Any:
    """then: x * w, tanh(x); orelse: x + w, x (which passes through)."""
    named = [(f"x{i}", v.type) for i, v in enumerate(args)]
    graphs = {
        "then": trace("then", lambda b, x, w: [b.mul(x, w), b.tanh(x)], named),
        "orelse": trace("orelse", lambda b, x, w: [b.square(b.add(x, w)), x], named),
    }
    return control_node(b, "if", [condition, *args], {}, graphs).outputs


@pytest.mark.parametrize("again", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("holds", [False, True])
def test_if(holds: bool, again: bool) -> None:
    def build(b: Builder, x: Var, w: Var, condition: Var) -> Any:
        return branches(b, condition, b.sin(x), w)

    check(build, S, K, np.array(holds), fixed=1, again=again)


@pytest.mark.parametrize("holds", [False, True])
def test_if_of_one_result_and_symbols(holds: bool) -> None:
    """A result that nobody reads; branches that use one operand each; shapes known at run time."""
    types: list[Type] = [f64(symbol("N"), 3), f64(symbol("N"), 3), Tensor(boolean, ())]

    def build(b: Builder, x: Var, w: Var, condition: Var) -> Any:
        return branches(b, condition, x, w)[1:]

    found = check(build, X, X + 1, np.array(holds), types=types, fixed=1)
    np.testing.assert_array_equal(found[1], np.zeros_like(X))


@pytest.mark.parametrize("holds", [False, True])
def test_branches_of_different_shapes(holds: bool) -> None:
    def build(b: Builder, x: Var, condition: Var) -> Any:
        graphs = {
            "then": trace("then", lambda b, x: [b.reduce_sum(x, axes=(0,), keepdims=True)], [("x", x.type)]),
            "orelse": trace("orelse", lambda b, x: [b.square(x)], [("x", x.type)]),
        }
        return control_node(b, "if", [condition, x], {}, graphs).outputs

    check(build, X, np.array(holds), fixed=1)


# ---- scan ----------------------------------------------------------------------------------------------------


def scan(
    b: Builder, body: Body, state: list[Var], scanned: list[Var], captured: list[Var], *,
    axes: Any = None, reverse: Any = None, out_axes: Any = (), out_reverse: Any = None,
) -> Any:  # fmt: skip
    """A scan whose body is a function of the builder and all values."""
    axes = axes or [0] * len(scanned)
    slices = [f64(*(d for i, d in enumerate(v.shape) if i != a % len(v.shape))) for v, a in zip(scanned, axes)]
    types = [*(v.type for v in state), *slices, *(v.type for v in captured)]
    graph = trace("body", lambda b, *xs: list(body(b, *xs)), [(f"x{i}", t) for i, t in enumerate(types)])
    attrs = {
        "carried": len(state), "scanned": len(scanned), "input_axes": axes,
        "input_reverse": reverse or [0] * len(scanned), "output_axes": out_axes,
        "output_reverse": out_reverse or [0] * len(out_axes),
    }  # fmt: skip
    return control_node(b, "scan", [*state, *scanned, *captured], attrs, {"body": graph}).outputs


def cell(b: Builder, h: Var, x: Var, w: Var) -> Any:
    """h' = tanh(h + x) @ w, and two results."""
    row = b.unsqueeze(b.tanh(b.add(h, x)), axes=(0,))
    new = b.squeeze(b.matmul(row, w), axes=(0,))
    return new, b.mul(new, x), b.square(h)


@pytest.mark.parametrize("again", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("out_reverse", [(0, 0), (0, 1)])
@pytest.mark.parametrize("axis, out_axes", [(0, (0, 0)), (1, (1, 0)), (-1, (-1, -2))])
def test_scan(reverse: int, out_reverse: Any, axis: int, out_axes: Any, again: bool) -> None:
    def build(b: Builder, h: Var, x: Var, w: Var) -> Any:
        how = {"reverse": [reverse], "out_reverse": out_reverse, "out_axes": out_axes, "axes": [axis]}
        return scan(b, cell, [h], [x], [w], **how)

    check(build, S, X if axis == 0 else X.T, W, again=again)


@pytest.mark.parametrize("used", [[0], [1], [2]])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_scan_of_single_results_and_no_steps(used: list[int], steps: int) -> None:
    def build(b: Builder, h: Var, x: Var, w: Var) -> Any:
        found = scan(b, cell, [b.sin(h)], [x], [w], out_axes=(0, 0))
        return [found[i] for i in used]

    types: list[Type] = [f64(3), f64(symbol("T"), 3), f64(3, 3)]
    check(build, S, X[:steps], W, types=types)


def test_scan_without_state_over_two_tensors() -> None:
    """A map: nothing is carried; one tensor forwards, one backwards."""

    def build(b: Builder, x: Var, y: Var, w: Var) -> Any:
        return scan(b, lambda b, x, y, w: [b.mul(b.mul(x, y), w)], [], [x, y], [w], reverse=[0, 1], out_axes=(0,))

    check(build, X, X + 1, K)


def test_scan_carrying_integers() -> None:
    """A counter has no gradient, but the values that the iterations compute depend on it."""

    def body(b: Builder, h: Var, n: Var, x: Var) -> Any:
        return b.mul(h, b.add(x, b.cast(n, to=F64))), b.add(n, 1), b.mul(h, x)

    def build(b: Builder, h: Var, x: Var) -> Any:
        h, _, y = scan(b, body, [h, b.constant(np.array(1))], [x], [], out_axes=(0,))
        return h, y

    check(build, S, X)


# ---- loop ----------------------------------------------------------------------------------------------------


def loop(b: Builder, body: Body, trip: Any, state: list[Var], captured: list[Var], condition: Any = None) -> Any:
    """A loop whose body is a function of the builder, the number of the iteration, the condition and all values."""
    types = [Tensor(i64, ()), Tensor(boolean, ()), *(v.type for v in (*state, *captured))]
    graph = trace("body", lambda b, *xs: list(body(b, *xs)), [(f"x{i}", t) for i, t in enumerate(types)])
    return control_node(
        b, "loop", [trip, condition, *state, *captured], {"carried": len(state)}, {"body": graph}
    ).outputs


def power(b: Builder, i: Var, going: Var, h: Var, w: Var) -> Any:
    """h' = sin(h w + i), and a result."""
    new = b.sin(b.add(b.mul(h, w), b.cast(i, to=F64)))
    return going, new, b.mul(new, w)


@pytest.mark.parametrize("again", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_loop_of_given_length(steps: int, again: bool) -> None:
    def build(b: Builder, h: Var, w: Var, trip: Var) -> Any:
        return loop(b, power, trip, [h], [w])

    check(build, S, K, np.array(steps), fixed=1, again=again)


def test_loop_while_a_condition_holds() -> None:
    """The length depends on the values."""

    def body(b: Builder, i: Var, going: Var, h: Var, w: Var) -> Any:
        new = b.mul(h, w)
        return b.less(b.reduce_sum(new), 30.0), new, b.sin(new)

    def build(b: Builder, h: Var, w: Var) -> Any:
        return loop(b, body, None, [h], [w])

    found = check(build, np.abs(S) + 1, np.abs(K) + 1.5)
    assert all(a.any() for a in found)


def test_loop_that_carries_nothing_and_one_that_does_not_run() -> None:
    def body(b: Builder, i: Var, going: Var, w: Var) -> Any:
        return going, b.mul(w, b.add(b.cast(i, to=F64), 1.0))

    def build(b: Builder, w: Var, start: Var) -> Any:
        return loop(b, body, b.constant(np.array(3)), [], [w], start)

    for start in (False, True):
        (found,) = check(build, K, np.array(start), fixed=1)
        assert found.any() == start


def test_if_in_a_loop_in_a_scan() -> None:
    def step(b: Builder, i: Var, going: Var, h: Var, w: Var) -> Any:
        even = b.equal(b.mod(i, 2), 0)
        product, squashed = branches(b, even, h, w)
        return going, b.tanh(b.add(product, squashed))

    def body(b: Builder, h: Var, x: Var, w: Var) -> Any:
        (inner,) = loop(b, step, b.constant(np.array(3)), [b.add(h, x)], [w])
        return inner, b.mul(inner, h)

    def build(b: Builder, h: Var, x: Var, w: Var) -> Any:
        return scan(b, body, [h], [x], [w], out_axes=(0,))

    check(build, S, X, K)


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be differentiated inside a body is named; so are values that are no tensors."""
    b = Builder(Graph("g"))
    h = b.input("h", f64(3))

    def body(b: Builder, i: Var, going: Var, h: Var) -> Any:
        return going, b.tanh(h)

    with b.at("the_loop"):
        y = loop(b, body, None, [], [h])
    monkeypatch.delitem(RULES, "tanh")
    with pytest.raises(UnsupportedError, match="tanh") as caught:
        gradients(b, [b.reduce_sum(y[0])], [h])
    assert "the_loop" in str(caught.value)
    with b.at("the_list"):
        (z,) = loop(b, lambda b, i, going, s, h: [going, b.sequence_insert(s, h)], None, [b.sequence_construct(h)], [h])
    with pytest.raises(UnsupportedError, match="loop with a seq<.* has no gradient") as caught:
        gradients(b, [b.concat_from_sequence(z, axis=0)], [h])
    assert "the_list" in str(caught.value)


@pytest.mark.parametrize("holds", [False, True])
def test_lists_in_branches(holds: bool) -> None:
    """A list goes into a branch, and comes out of it."""

    def build(b: Builder, x: Var, w: Var, condition: Var) -> Any:
        s = b.sequence_construct(b.sin(x), w)
        graphs = {
            "then": trace("then", lambda b, s, w: [b.sequence_insert(s, b.square(w))], [("s", s.type), ("w", w.type)]),
            "orelse": trace("orelse", lambda b, s, w: [s], [("s", s.type), ("w", w.type)]),
        }
        (found,) = control_node(b, "if", [condition, s, w], {}, graphs).outputs
        return [b.concat_from_sequence(found, axis=0)]

    check(build, S, K, np.array(holds), fixed=1)
