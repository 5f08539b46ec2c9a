"""Every rule against central differences in float64; first order, and second for ops that are smooth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tenun
from tenun.errors import GraphError, UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype, symbol, verify
from tenun.ir.attributes import Activation
from tenun.ir.dims import UNKNOWN
from tenun.ir.graph import State
from tenun.ir.op import OPS, lookup
from tenun.ir.ops.reduce import REDUCTIONS
from tenun.passes.autodiff.engine import gradients
from tenun.passes.autodiff.rules import NOT_DIFFERENTIABLE, RULES

lookup("add")
F64 = dtype("f64")
# ops whose rules stand in the tests beside this one
ELSEWHERE = {
    "conv", "conv_transpose", "conv_weight_grad", "max_pool", "max_pool_indices", "max_pool_record", "max_pool_grad",
    "max_pool_pick",
    "avg_pool", "avg_pool_grad", "resize", "resize_grad", "lstm", "gru", "rnn", "lstm_grad", "gru_grad", "rnn_grad",
    "lstm_record", "gru_record", "rnn_record",
    "cholesky", "eigh", "svd", "qr", "solve", "triangular_solve",
    "if", "loop", "scan", "chain", "grid_sample", "roi_align", "col2im", "sequence_construct", "sequence_at",
    "sequence_insert", "sequence_erase", "sequence_add", "concat_from_sequence", "split_to_sequence",
    "straight_through", "round_gradient",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """An op, operands (a shape: floats to differentiate for; an array: a constant; None: left out) and attributes.

    `low`, `high`: the range of the floats; `order`: how often the op is differentiated.
    """

    op: str
    operands: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    low: float = 0.5
    high: float = 2.0
    order: int = 2

    def __str__(self) -> str:
        shapes = " ".join("_" if o is None else str(getattr(o, "shape", o)).replace(" ", "") for o in self.operands)
        return f"{self.op}-{shapes}-{','.join(f'{k}={v}' for k, v in self.attrs.items())}"


def unary(names: str, low: float = -2.0, high: float = 2.0, order: int = 2, **attrs: Any) -> list[Case]:
    return [Case(name, ((3, 4),), attrs, low, high, order) for name in names.split()]


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


S, M = (2, 3, 4), (3, 4)
PLACES = ints([0, 2, 0], [1, -1, 2])  # into an axis of 3 or 4, one of them twice
APART = ints([0, 2, 1], [1, 0, -1])
BITS = np.array([[True, False, True, True], [False, False, True, True], [True, True, False, True]])
MODES = ("constant", "reflect", "edge", "symmetric", "wrap")
AXES = ({}, {"axes": (1,)}, {"axes": (0, -1), "keepdims": True})

CASES = [
    *unary("neg abs square exp expm1 sin cos atan sinh cosh asinh erf sigmoid tanh softplus softsign gelu silu mish "
           "log_sigmoid tanh_shrink squareplus affine scaled_tanh relu celu sign"),
    *unary("sqrt rsqrt reciprocal log log1p", 0.5), *unary("tan asin acos atanh", -0.9, 0.9), *unary("acosh", 1.2, 3),
    *unary("gelu", approximate=True), *unary("silu", beta=1.5), *unary("scaled_tanh", alpha=1.7, beta=0.6),
    *unary("affine", alpha=-2, beta=1), *unary("squareplus", b=2.0), *unary("celu", alpha=0.7),
    *unary("leaky_relu elu selu hard_sigmoid hard_silu thresholded_relu soft_shrink hard_shrink shrink sparse_plus "
           "sparse_sigmoid"),
    *unary("leaky_relu", negative_slope=-0.3), *unary("elu", alpha=0.6), *unary("shrink", bias=0.3, lambd=0.7),
    *unary("hard_sigmoid", alpha=0.3, beta=0.4), *unary("cast", to=F64), *unary("identity"),
    *(Case("clip", (M,), a, -2) for a in ({"low": -1, "high": 0.5}, {"high": 0.5}, {"low": 0})),
    *(Case(n, (M, (4,))) for n in ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "atan2", "mod", "fmod")),
    *(Case(n, ((3, 1), (2, 1, 4)), low=-2) for n in ("add", "mul", "maximum", "atan2")),
    Case("pow", (M, ints(0, 1, 2, 3)), low=-2), Case("pow", (M, np.float64(3)), low=-2),
    Case("where", (BITS, M, (4,))), Case("where", (BITS[:, :1], (4,), ())),
    # shape
    Case("reshape", (S,), {"shape": (4, -1)}), Case("transpose", (S,), {"perm": (2, 0, 1)}),
    Case("squeeze", ((3, 1, 2),)), Case("squeeze", ((3, 1, 1),), {"axes": (-1,)}),
    Case("unsqueeze", (M,), {"axes": (0, -1)}), Case("expand", ((3, 1),), {"shape": (2, 1, 4)}),
    Case("concat", (M, (3, 2), M), {"axis": -1}), Case("split", ((3, 6),), {"axis": 1, "sizes": (1, 2, 3)}),
    *(Case("slice", (S,), a) for a in (
        {"starts": (1,), "ends": (9,), "axes": (-1,)}, {"starts": (0,), "ends": (3,), "axes": (2,), "steps": (2,)},
        {"starts": (-1, 0), "ends": (-(2**40), 2), "axes": (2, 1), "steps": (-2, 1)}, {"starts": (1,), "ends": (1,)})),
    Case("unslice", ((3, 2),), {"shape": (3, 4), "starts": (3,), "ends": (0,), "axes": (1,), "steps": (-2,)}),
    *(Case("pad", (M,), {"pads": ((1, 2), (2, 0)), "mode": mode}) for mode in MODES),
    *(Case("pad", (S,), {"pads": ((0, 0), (-1, 2), (3, -1)), "mode": mode}) for mode in ("constant", "wrap", "edge")),
    Case("pad", (M, ()), {"pads": ((1, 2), (-2, 1))}), Case("pad", ((2,),), {"pads": ((5, 4),), "mode": "symmetric"}),
    Case("tile", (M,), {"repeats": (2, 3)}), Case("repeat", (S,), {"repeats": 3, "axis": -2}),
    Case("reverse_sequence", ((2, 4, 3), ints(3, 1))), Case("fill", ((),), {"shape": (2, 3)}),
    Case("fill", ((1,),), {"shape": (2, 3)}), Case("range", ((), np.float64(7), ()), low=0.9, high=1.1),
    # reductions
    *(Case(name, (S,), a) for name in REDUCTIONS if name not in NOT_DIFFERENTIABLE for a in AXES),
    Case("sum_like", (S, np.zeros((3, 1)))), Case("sum_like", (S, np.zeros(()))),
    *(Case(n, (S,), {"axis": 1, "exclusive": e, "reverse": r}) for n in ("cumsum", "cumprod") for e in (0, 1)
      for r in (0, 1)),
    # by index
    Case("gather", (M, PLACES)), Case("gather", (S, PLACES), {"axis": -2}),
    Case("gather", (M, ints(1)[0]), {"axis": 1}), Case("scatter_rows", ((4, 2, 3), PLACES), {"size": 5, "axis": 1}),
    Case("gather_elements", (M, PLACES), {"axis": 1}), Case("gather_elements", (M, PLACES)),
    Case("gather_nd", (S, ints([0, 1], [1, 2], [0, 1]))), Case("gather_nd", (S, PLACES[..., None]), {"batch_dims": 1}),
    Case("top_k", (M,), {"k": 2}), Case("top_k", (M,), {"k": 2, "axis": 0, "largest": False}),
    Case("compress", (M, ints(1, 0, 1) > 0), {"axis": 0}), Case("compress", (M, BITS.reshape(-1))),
    Case("unique", ((5,),)), Case("unique", (M,), {"axis": 0}),
    Case("trilu", (S,), {"k": -1}), Case("trilu", (S,), {"k": 1, "upper": False}),
    Case("one_hot", (PLACES, (), ()), {"depth": 3, "axis": 1}), Case("one_hot", (PLACES, (1,), (1,)), {"depth": 5}),
    *(Case("scatter_elements", (M, APART, (2, 3)), {"axis": 1, "reduction": r}) for r in ("none", "add", "mul", "max")),
    *(Case("scatter_elements", (M, PLACES, (2, 3)), {"reduction": r}) for r in ("add", "mul", "min")),
    *(Case("scatter_nd", (M, ints([2], [0], [2]), (3, 4)), {"reduction": r}) for r in ("add", "mul", "max", "min")),
    Case("scatter_nd", (M, ints([2, 1], [0, 3]), (2,))),
    Case("scatter_nd", (S, PLACES[..., None], (2, 3, 4)), {"reduction": "add", "batch_dims": 1}),
    # products
    *(Case("matmul", operands) for operands in (
        (M, (4, 2)), ((4,), (4,)), ((4,), (4, 2)), (M, (4,)), (S, (4,)), ((3,), (2, 3, 4)), (S, (4, 5)), (M, (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)), (M, (4, 2), (2,)), (S, (4, 2), (3, 1), (2, 3, 2)), (S, (4, 2), None, (2, 3, 2)))),
    *(Case("einsum", operands, {"equation": e}) for e, *operands in (
        ("ij,jk->ik", M, (4, 2)), ("bij,bjk->bik", S, (2, 4, 2)), ("ij->ji", M), ("ij->j", M), ("ii->i", (3, 3)),
        ("iij->j", (3, 3, 2)), ("ij,ij->", M, M), ("i,j,k->kij", (2,), (3,), (4,)), ("...ij,...j->...i", S, (1, 4)),
        ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("ij,k->i", M, (2,)), ("i...,j...", M, (2, 4)),
        ("iji,jj->i", (3, 2, 3), (2, 2)))),
    Case("det", ((3, 3),)), Case("det", ((2, 4, 4),)), Case("det", ((1, 1),)),
    Case("inverse", ((2, 3, 3),), low=2, high=9),
    # signals: real and complex, longer and shorter than the axis, whole and half spectra
    *(Case("dft", ((2, n, c),), {"axis": 1, "inverse": i, "onesided": o, "length": m}) for n in (5, 6) for c in (1, 2)
      for i in (False, True) for o in (False, True) for m in (None, 4, 9, 11)),
    Case("dft", ((4, 3, 2),), {"axis": 0}),
    # quantised: one scale, one a place, one a block
    Case("dequantize", (np.int8([[1, -3, 4], [2, 5, -6]]), ()), {"to": F64}),
    Case("dequantize", (np.uint8([[1, 3, 4], [2, 5, 9]]), (3,), np.uint8([1, 2, 3])), {"to": F64}),
    Case("dequantize", (np.int8([[1, 3, 4], [2, 5, 9]]), (2,)), {"to": F64, "axis": 0}),
    Case("dequantize", (np.arange(10, dtype=np.int8).reshape(2, 5), (2, 3), np.arange(6, dtype=np.int8).reshape(2, 3)),
         {"to": F64, "axis": -1, "block_size": 2}),
    # normalisation
    Case("batch_norm", (S, (4,), (4,), (4,), (4,)), {"epsilon": 1e-3}),
    Case("batch_norm", (S, None, None, (3,), (3,)), {"epsilon": 1e-3, "axis": 1}),
    Case("layer_norm", (S, (4,), (4,)), {"axes": (-1,), "epsilon": 1e-2}),
    Case("layer_norm", (S, None, (3, 4)), {"axes": (1, 2), "epsilon": 1e-2}),
    Case("rms_norm", (S, (4,)), {"axes": (-1,), "epsilon": 1e-2}), Case("rms_norm", (S,), {"axes": (1,), "epsilon": 1}),
    Case("group_norm", (S, (4,), (4,)), {"groups": 2, "epsilon": 1e-2}),
    Case("group_norm", ((2, 4, 3), (4,)), {"groups": 4, "axis": 1, "epsilon": 1e-2}),
    *(Case(n, (S,), {"axis": a}, -2) for n in ("softmax", "log_softmax") for a in (-1, 1)),
    Case("sparsemax", (S,), {"axis": 1}, -0.7), Case("lp_norm", (S,), {"p": 1}, -2),
    Case("lp_norm", (S,), {"axis": 1}, -2), Case("lp_norm", (M,), {"epsilon": 1.2}, -0.7, 1.0),
    *(Case("attention", (S, (2, 5, 4), (5, 3), None, *bias), {"scale": 0.5, **a}, -2) for bias in ((), ((3, 1),))
      for a in ({}, {"causal": True}, {"soft_cap": 1.5})),
    Case("attention", ((1, 3, 4), (2, 5, 4), (2, 5, 4), np.arange(15).reshape(3, 5) % 4 > 0), {"scale": 0.5}, -2),
    *(Case("lrn", ((2, 6),), {"size": n, "alpha": 0.3, "beta": 0.75, "bias": 1.2}) for n in (1, 2, 5)),
    Case("lrn", (S,), {"size": 3, "alpha": 0.3, "beta": 0.5, "bias": 1.0, "axis": 1}),
]  # fmt: skip


def built(case: Case, order: int, dims: Any = tuple) -> Graph:
    """The floats -> the sum of weighted results (order 2: of a function of the gradients), and its gradients.

    `dims` changes the shapes of the floats as the graph sees them.
    """
    b = Builder(Graph("g"))
    operands, floats = [], []
    for operand in case.operands:
        if isinstance(operand, tuple):
            floats.append(b.input(f"x{len(floats)}", Tensor(F64, dims(operand))))
        operands.append(floats[-1] if isinstance(operand, tuple) else operand)
    node = b.node(lookup(case.op), [b.constant(o) if isinstance(o, np.generic | np.ndarray) else o for o in operands],
                  case.attrs)  # fmt: skip
    total = _total(b, [v for v in node.outputs if v.tensor.dtype.is_float])
    if order == 2:
        total = _total(b, gradients(b, [total], floats))
    names = [f"d{i}" for i in range(len(floats))]
    return b.outputs(total, *gradients(b, [total], floats), names=["total", *names])


def _total(b: Builder, values: list[Any]) -> Any:
    """The sum of all elements, each with another weight and bent a little, so that no gradient is alike or constant."""
    total = b.constant(np.float64(0))
    for v in values:
        flat = b.reshape(v, shape=(-1,))
        weights = b.cos(b.cumsum(b.fill(b.constant(np.float64(1)), shape=b.shape(flat)), axis=0))
        total = b.add(total, b.reduce_sum(b.mul(weights, b.add(flat, b.mul(b.sin(flat), 0.3)))))
    return total


def check(case: Case, graph: Graph, pipeline: Any = ()) -> None:
    verify(graph)
    f = tenun.compile(graph, pipeline=pipeline, threads=1)
    rng = np.random.default_rng(0)
    shapes = [o for o in case.operands if isinstance(o, tuple)]
    xs = [rng.uniform(case.low, case.high, s) for s in shapes]
    directions = [rng.standard_normal(s) for s in shapes]
    _, *found = f(*xs)
    assert [g.shape for g in found] == shapes
    h = 1e-6
    above, below = (f(*(x + t * u for x, u in zip(xs, directions)))[0] for t in (h, -h))
    got = sum((g * u).sum() for g, u in zip(found, directions))
    np.testing.assert_allclose(got, (above - below) / (2 * h), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule(case: Case, order: int) -> None:
    if order <= case.order:
        check(case, built(case, order))


# Where the first operand's first axis may be the batch (the rank of a squeeze of all 1s would not be known).
SYMBOLIC = [
    c for c in CASES if isinstance(c.operands[0], tuple) and len(c.operands[0]) > 1 and (c.op != "squeeze" or c.attrs)
]


@pytest.mark.parametrize("size", [symbol("N"), UNKNOWN], ids=["N", "unknown"])
@pytest.mark.parametrize("case", SYMBOLIC, ids=str)
def test_no_rule_needs_more_shape_than_its_op(case: Case, size: Any) -> None:
    """The first axes symbolic or not known at all; what comes out of the passes computes the same."""

    def dims(shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (size, *shape[1:]) if len(shape) == len(case.operands[0]) and shape[0] == case.operands[0][0] else shape

    check(case, built(case, 1, dims), "inference")


def test_every_op_has_a_row() -> None:
    """A rule, or a reason why no gradient flows."""
    assert set(OPS) == set(RULES) | set(NOT_DIFFERENTIABLE)
    assert not set(RULES) & set(NOT_DIFFERENTIABLE)


def test_every_rule_has_a_case() -> None:
    assert set(RULES) - {c.op for c in CASES} <= ELSEWHERE


# ---- broadcasting --------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=3), st.data())
def test_broadcasting_is_undone(shapes: Any, data: Any) -> None:
    """where(x > 0, x y, z) for shapes that broadcast, with axes that are known, symbolic or unknown."""
    count = sum(map(len, shapes.input_shapes))
    sizes = iter(data.draw(st.lists(st.sampled_from(["number", "symbol", "unknown"]), min_size=count, max_size=count)))
    b = Builder(Graph("g"))

    def dim(n: int) -> Any:
        kind = next(sizes)
        return n if kind == "number" else UNKNOWN if kind == "unknown" else symbol(f"N{n}")

    x, y, z = (b.input(name, Tensor(F64, tuple(map(dim, s)))) for name, s in zip("xyz", shapes.input_shapes))
    total = b.reduce_sum(b.where(b.greater(x, 0), b.mul(x, y), z))
    graph = b.outputs(total, *gradients(b, [total], [x, y, z]), names=["total", "dx", "dy", "dz"])
    rng = np.random.default_rng(0)
    given = [rng.uniform(-1, 1, s) for s in shapes.input_shapes]
    got = tenun.compile(graph, pipeline=[], threads=1)(*given)
    x, y, z = np.broadcast_arrays(*given)
    expected = [np.where(x > 0, y, 0), np.where(x > 0, x, 0), np.where(x > 0, 0, 1.0)]
    for g, e, shape in zip(got[1:], expected, shapes.input_shapes):
        axes = tuple(i for i in range(e.ndim) if i < e.ndim - len(shape) or shape[i - e.ndim + len(shape)] == 1)
        np.testing.assert_allclose(g, e.sum(axes).reshape(shape), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_products_of_all_ranks(data: Any) -> None:
    """matmul of vectors, matrices and stacks that broadcast."""
    m, k, n = (data.draw(st.integers(1, 3)) for _ in range(3))
    lead = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3)).input_shapes
    x = data.draw(st.sampled_from([(k,), (*lead[0], m, k)]))
    y = data.draw(st.sampled_from([(k,), (*lead[1], k, n)]))
    case = Case("matmul", (x, y))
    check(case, built(case, 1))


place = st.integers(-6, 6) | st.sampled_from([2**40, -(2**40)])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 4), st.lists(st.tuples(place, place, st.sampled_from([-3, -2, -1, 1, 2, 3])), min_size=1, max_size=2)
)
def test_slices(size: int, slices: Any) -> None:
    """Any start, end and step: also those that pick nothing."""
    starts, ends, steps = zip(*slices)
    attrs = {"starts": starts, "ends": ends, "steps": steps, "axes": (2, 0)[: len(slices)]}
    case = Case("slice", ((3, 2, size),), attrs)
    check(case, built(case, 1))


# ---- zeros, edges, run-time attributes -----------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [(), (1,), (1, 3), (0, 1, 2)])
def test_products_with_zeros(zeros: tuple[int, ...]) -> None:
    """reduce_prod, cumprod and scatter mul are exact where factors are 0: all are polynomials in each factor."""
    x = np.array([0.5, 2.0, -1.5, 3.0])
    x[list(zeros)] = 0
    b = Builder(Graph("g"))
    v = b.input("x", Tensor(F64, (4,)))
    sums = [
        b.reduce_prod(v),
        *(b.reduce_sum(b.mul(b.cumprod(v, axis=0, exclusive=e, reverse=r), np.arange(1.0, 5))) for e in (0, 1)
          for r in (0, 1)),
        b.reduce_sum(b.scatter_elements(b.constant(np.ones(2)), ints(0, 1, 0, 0), v, reduction="mul")),
    ]  # fmt: skip
    firsts = [gradients(b, [s], [v])[0] for s in sums]
    f = tenun.compile(b.outputs(*sums, *firsts), pipeline=[])
    results = f(x)
    for i in range(4):
        u = np.eye(4)[i]
        slopes = [(a - c) / 2 for a, c in zip(f(x + u)[: len(sums)], f(x - u)[: len(sums)])]
        np.testing.assert_allclose([g[i] for g in results[len(sums) :]], slopes, atol=1e-12)


def test_attributes_known_at_run_time() -> None:
    """Of slice, tile, clip and reshape; a rule that needs the number says so."""
    b = Builder(Graph("g"))
    x, k = b.input("x", Tensor(F64, (2, 3))), b.input("k", Tensor(dtype("i64"), (1,)))
    low = b.input("low", Tensor(F64, ()))
    y = b.slice(b.square(x), starts=k, ends=b.constant(ints(3)), axes=(1,))
    y = b.tile(y, repeats=b.concat(b.constant(ints(1)), k, axis=0))
    total = b.reduce_sum(b.clip(b.reshape(y, shape=b.concat(k, b.constant(ints(-1)), axis=0)), low=low))
    f = tenun.compile(b.outputs(*gradients(b, [total], [x])))
    x_, k_ = np.array([[1.0, 2, 3], [4, 0.5, 6]]), ints(1)
    np.testing.assert_allclose(f(x_, k_, np.array(0.5)), [[0, 4, 6], [0, 0, 12]])
    with pytest.raises(UnsupportedError, match="attribute low"):
        gradients(b, [total], [low])
    with pytest.raises(UnsupportedError, match="gather.*attribute axis"):
        gradients(b, [b.gather(x, b.constant(ints(0)), axis=b.reshape(k, shape=()))], [x])


def test_fused_activation_is_undone() -> None:
    """Also one with attributes, and one without a gradient."""
    b = Builder(Graph("g"))
    x, y = b.input("x", Tensor(F64, (3, 4))), b.input("y", Tensor(F64, (4, 2)))
    bias = b.constant(np.array([0.3, -0.4]))
    for activation in ("tanh", "relu", "gelu", Activation("leaky_relu", (("negative_slope", 0.3),)), "sign"):
        fused = b.matmul(x, y, bias, activation=activation)
        plain = b.matmul(x, y, bias)
        split = b.activation(plain, fused.producer.attrs["activation"])
        pairs = [gradients(b, [v], [x, y, bias]) for v in (fused, split)]
        f = tenun.compile(b.outputs(*pairs[0], *pairs[1]), pipeline=[])
        rng = np.random.default_rng(0)
        results = f(rng.standard_normal((3, 4)), rng.standard_normal((4, 2)))
        for a, c in zip(results[:3], results[3:]):
            np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("name", ["floor", "sign", "round", "hardmax", "stop_gradient"])
def test_no_gradient_flows(name: str) -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(F64, (3,)))
    total = b.add(getattr(b, name)(x), x)
    np.testing.assert_array_equal(tenun.compile(b.outputs(*gradients(b, [total], [x])))(np.arange(3.0)), np.ones(3))


def test_gradients_other_than_the_derivative() -> None:
    """Straight through: that of another value in its place.  Rounded: as floats of 8 bits have it, saturated."""
    b = Builder(Graph("g"))
    x, scale = b.input("x", Tensor(F64, (4,))), b.constant(np.array(0.5))
    through = b.straight_through(b.round(x), b.square(x))
    cut = b.mul(b.round_gradient(x, scale, to="f8e5m2"), np.array([1.3, 1e9, -1e-9, 0.0]))
    f = tenun.compile(b.outputs(through, *gradients(b, [through], [x]), *gradients(b, [cut], [x])))
    y, dx, rounded = f(np.array([0.4, 1.6, -2.0, 3.0]))
    np.testing.assert_array_equal(y, [0, 2, -2, 3])
    np.testing.assert_allclose(dx, [0.8, 3.2, -4, 6])
    np.testing.assert_array_equal(rounded, [1.25, 57344 * 0.5, 0, 0])


def test_integers_stop_the_gradient() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(F64, (3,)))
    y = b.mul(b.cast(b.cast(x, to="i64"), to="f64"), x)
    np.testing.assert_array_equal(tenun.compile(b.outputs(*gradients(b, [y], [x])))(np.array([1.5, 2, 3])), [1, 2, 3])


def test_a_value_used_several_times() -> None:
    """(x + x) (x (y + x)): 2 x² y + 2 x³."""
    b = Builder(Graph("g"))
    x, y = b.input("x", Tensor(F64, (3,))), b.input("y", Tensor(F64, ()))
    total = b.mul(b.add(x, x), b.mul(x, b.add(y, x)))
    dx, dy = tenun.compile(b.outputs(*gradients(b, [total], [x, y])))(np.arange(3.0), np.array(5.0))
    np.testing.assert_allclose(dx, 20 * np.arange(3.0) + 6 * np.arange(3.0) ** 2)
    np.testing.assert_allclose(dy, 10)


def test_missing_rule_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RULES, "tanh")
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(F64, (3,)))
    with b.at("block/squash"):
        y = b.tanh(x)
    with pytest.raises(UnsupportedError, match="tanh has no gradient") as caught:
        gradients(b, [y], [x])
    assert caught.value.node == "block/squash" and "passes/autodiff/rules/elementwise.py" in str(caught.value)


@pytest.mark.parametrize("call, why", [
    (lambda b, x: b.floor(x), "constant between its steps"), (lambda b, x: b.argmax(x, axis=0), "an integer"),
    (lambda b, x: b.cast(b.cast(x, to="i32"), to="f64"), "no float"), (lambda b, x: b.stop_gradient(x), "its meaning"),
])  # fmt: skip
def test_what_no_gradient_comes_to_is_refused_by_name(call: Any, why: str) -> None:
    """Where a weight is asked for by name, and all ways from it to the outputs end."""
    b = Builder(Graph("g"))
    x, w, unused = b.input("x", Tensor(F64, (3,))), b.constant(np.ones(3), "w"), b.input("u", Tensor(F64, ()))
    with b.at("block/steps"):
        y = b.cast(call(b, b.mul(x, w)), to="f64")
    graph = b.outputs(b.mul(b.sin(x), y))
    with pytest.raises(UnsupportedError, match=f"no gradient comes to 'w': .*block/steps.*not differentiable.*{why}"):
        tenun.grad(graph, wrt=["x", "w"])
    assert tenun.grad(graph, wrt=["x", unused.name]).output_names == ["d_x", "d_u"]


# ---- tenun.grad ----------------------------------------------------------------------------------------------


def small() -> Graph:
    b = Builder(Graph("g"))
    x, i = b.input("x", Tensor(F64, (symbol("N"), 2))), b.input("i", Tensor(dtype("i64"), (symbol("N"),)))
    h = b.mul(x, b.constant(np.array([2.0, 3.0]), "w"))
    h.name = "h"
    return b.outputs(b.square(h), b.neg(i), names=["y", "n"])


def test_grad_of_inputs_weights_and_values() -> None:
    x, i, w = np.array([[1.0, 2], [3, 4]]), ints(1, 2), np.array([2.0, 3.0])
    original = small()
    text = str(original)
    d = tenun.grad(original, wrt=["x", "w", "h"])
    verify(d)
    assert str(original) == text
    assert d.output_names == ["d_x", "d_w", "d_h"] and [v.name for v in d.inputs] == ["x", "i"]
    dx, dw, dh = tenun.compile(d)(x, i)
    np.testing.assert_allclose(dh, 2 * x * w)
    np.testing.assert_allclose(dx, 2 * x * w**2)
    np.testing.assert_allclose(dw, (2 * x * x * w).sum(0))
    np.testing.assert_array_equal(tenun.compile(tenun.grad(original))(x, i), dx)
    again = tenun.compile(tenun.grad(tenun.grad(original)))(x, i)
    np.testing.assert_allclose(again, np.broadcast_to(2 * w**2, x.shape))


def test_grad_keeps_states() -> None:
    """A graph with a state: it goes on from run to run, and its output is none of those that are differentiated."""
    b = Builder(Graph("g"))
    x, s = b.input("x", Tensor(F64, (2,))), b.input("s", Tensor(F64, (2,)))
    graph = b.outputs(b.mul(x, s), b.add(s, 1), names=["y", "next"])
    graph.state = [State(s, 1, b.constant(np.ones(2), "first"))]
    d = tenun.compile(tenun.grad(graph))
    assert d.output_names == ["d_x"] and [v.name for v in d.inputs] == ["x"]
    np.testing.assert_array_equal([d(np.ones(2)), d(np.ones(2))], [[1, 1], [2, 2]])


def test_grad_says_what_there_is() -> None:
    with pytest.raises(GraphError, match="no value called 'v'") as caught:
        tenun.grad(small(), wrt=["v"])
    assert "'x'" in str(caught.value) and "'w'" in str(caught.value)
    with pytest.raises(GraphError, match="no output called 'z'.*\n.*'y'"):
        tenun.grad(small(), outputs=["z"])
    with pytest.raises(GraphError, match="no float"):
        tenun.grad(small(), wrt=["i"])
    with pytest.raises(GraphError, match="no float"):
        tenun.grad(small(), outputs=["n"])
