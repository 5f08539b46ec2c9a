# ruff: noqa: E501 - a table of graphs is wide
"""Where values live: parts, views, in place, scratch; on random graphs and on what kernels say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenun.backends.numpy import arena
from tenun.backends.numpy.evaluate import evaluate, flat_steps, kernel_attributes
from tenun.backends.numpy.plan import Plan
from tenun.backends.numpy.program import Program, specialize
from tenun.backends.numpy.registry import KERNELS, same_place
from tenun.debug.memory import memory_of
from tenun.errors import TenunError
from tenun.ir import Builder, Graph, Tensor, Var, parse
from tenun.ir.attributes import LINEAR, Activation
from tenun.ir.op import OPS
from tenun.ir.types import f32, type_of
from tenun.passes.manager import Context

Array = np.ndarray[Any, Any]
ONES = {"strides": (1, 1), "dilations": (1, 1)}


def unplanned(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """The outputs, node by node on fresh arrays."""
    values: dict[Var, Any] = {**dict(zip(graph.inputs, inputs)), **{v: v.data for v in graph.constants}}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            results = evaluate(node.op, [v and values[v] for v in node.inputs], node.attrs, node.dynamic)
            values.update(zip(node.outputs, results))
    return [values[v] for v in graph.outputs]


def spans_of(array: Array) -> tuple[int, int]:
    return np.lib.array_utils.byte_bounds(array)


def planned(graph: Graph) -> tuple[Plan, list[tuple[int, Array]]]:
    """A plan, and the scratch of its steps with their numbers."""
    taken: list[tuple[int, Array]] = []

    class Recording(arena.Arena):
        def scratch(self, shape: Any, dtype: Any = np.float32) -> Array:
            array = super().scratch(shape, dtype)
            taken.append((self._step, array))
            return array

        def __init__(self, *args: Any) -> None:
            taken.clear()
            super().__init__(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenun.backends.numpy.plan.Arena", Recording)
        return Plan(graph, Program), taken


def assert_apart(graph: Graph) -> Plan:
    """No two buffers that are alive together overlap, nor does the scratch of a step what is alive then."""
    plan, taken = planned(graph)
    roots = [(plan.offsets[r], plan.offsets[r] + r.var.tensor.nbytes, r.first, r.last) for r in plan.roots]
    for i, (start, end, first, last) in enumerate(roots):
        for other, other_end, other_first, other_last in roots[:i]:
            together = first <= other_last and other_first <= last
            assert not (together and start < other_end and other < end)
    base = plan.arena.block.ctypes.data
    for step, array in taken:
        low, high = spans_of(array)
        alive = [(base + s, base + e) for s, e, first, last in roots if first <= step <= last]
        others = [spans_of(a) for at, a in taken if at == step and a is not array]
        assert not any(low < e and s < high for s, e in [*alive, *others] if s < e and low < high)
    for var, root in plan.storage.root_of.items():
        low, high = spans_of(plan.arrays[var])
        start = base + plan.offsets[root]
        assert var.tensor.nbytes == 0 or start <= low <= high <= start + root.var.tensor.nbytes
    return plan


# ---- parts -----------------------------------------------------------------------------------------------------


def weights(rng: np.random.Generator, *shape: int) -> Array:
    return (rng.standard_normal(shape) * 0.3).astype(np.float32)


def dense_block(layers: int) -> Graph:
    """Each convolution reads all that was made before, joined."""
    rng, b = np.random.default_rng(0), Builder(Graph("dense"))
    y = b.input("x", Tensor(f32, (1, 8, 8, 32)))
    for _ in range(layers):
        channels = y.shape[-1]
        made = b.relu(b.batch_norm(y, *(np.abs(weights(rng, channels)) for _ in range(4)), epsilon=1e-3))
        y = b.concat(y, b.conv(made, weights(rng, 3, 3, channels, 32), padding="same", **ONES), axis=3)
    return b.outputs(b.reduce_mean(y, axes=(1, 2)))


def special(graph: Graph, seed: int = 0) -> tuple[Graph, list[Array]]:
    """The graph specialised for its own types, and inputs."""
    rng = np.random.default_rng(seed)
    inputs = [rng.standard_normal(v.tensor.static).astype(np.float32) for v in graph.inputs]
    return specialize(graph, inputs, Context(evaluate, exact=True)), inputs


def test_a_dense_block_is_one_buffer() -> None:
    graph, inputs = special(dense_block(5))
    plan = assert_apart(graph)
    joined = [node for node in graph.nodes if node.op.name == "concat"]
    assert len(plan.storage.part_of) == 2 * len(joined)
    assert {plan.storage.root_of[node.output] for node in joined} == {plan.storage.root_of[joined[-1].output]}
    assert not [step for step, node in zip(plan.steps, plan.origin) if node.op.name == "concat"]
    watched: list[Any] = []
    plan.run(inputs, watched.append)
    assert watched == [node for node in graph.nodes if node.outputs[0] not in plan.storage.view_of]
    for got, want in zip(plan.run(inputs), unplanned(graph, inputs)):
        np.testing.assert_array_equal(got, want)


PADDED = """
graph "g" (%x: f32[1, 6, 6, 16]) -> (%m: f32[1, 4, 4, 16]) {
  %r: f32[1, 6, 6, 16] = relu(%x)
  %p: f32[1, 8, 8, 16] = pad(%r) {pads = ((0, 0), (1, 1), (1, 1), (0, 0)), mode = "MODE"}
  %m: f32[1, 4, 4, 16] = max_pool(%p) {window = (2, 2), strides = (2, 2), dilations = (1, 1)}
}
"""


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "symmetric", "wrap"])
def test_the_middle_of_a_pad_is_made_in_it(mode: str) -> None:
    graph, inputs = special(parse(PADDED.replace("MODE", mode)))
    plan = assert_apart(graph)
    assert [v.name for v in plan.storage.part_of] == ["r"]
    for got, want in zip(plan.run(inputs), unplanned(graph, inputs)):
        np.testing.assert_array_equal(got, want)


LEFT = {
    # name: text of the node between the input and the concat, why it stays where it is
    "a view is where its operand is": "%r: f32[4, 32] = reshape(%x) {shape = (4, 32)}",
    "a kernel that wants rows side by side": "%r: f32[4, 32] = softmax(%x) {axis = 1}",
}


@pytest.mark.parametrize("name", LEFT)
def test_some_values_are_copied(name: str) -> None:
    text = f"""
    graph "g" (%x: f32[4, 32], %y: f32[4, 32]) -> (%c: f32[4, 64]) {{
      {LEFT[name]}
      %n: f32[4, 32] = neg(%y)
      %c: f32[4, 64] = concat(%r, %n) {{axis = 1}}
    }}
    """
    graph, inputs = special(parse(text))
    plan = assert_apart(graph)
    assert [v.name for v in plan.storage.part_of] == ["n"]
    np.testing.assert_array_equal(plan.run(inputs)[0], unplanned(graph, inputs)[0])


def test_along_the_first_axis_every_kernel_can() -> None:
    graph, inputs = special(
        parse("""
    graph "g" (%x: f32[4, 32], %y: f32[4, 32]) -> (%c: f32[8, 32]) {
      %r: f32[4, 32] = softmax(%x) {axis = 1}
      %n: f32[4, 32] = neg(%y)
      %c: f32[8, 32] = concat(%r, %n) {axis = 0}
    }
    """)
    )
    plan = assert_apart(graph)
    assert {v.name for v in plan.storage.part_of} == {"r", "n"}
    np.testing.assert_array_equal(plan.run(inputs)[0], unplanned(graph, inputs)[0])


def test_a_value_that_is_joined_twice_is_made_in_one_place_and_copied_to_the_other() -> None:
    graph, inputs = special(
        parse("""
    graph "g" (%x: f32[4, 32]) -> (%c: f32[4, 64], %d: f32[4, 96]) {
      %n: f32[4, 32] = neg(%x)
      %c: f32[4, 64] = concat(%n, %n) {axis = 1}
      %d: f32[4, 96] = concat(%n, %c) {axis = 1}
    }
    """)
    )
    plan = assert_apart(graph)
    for got, want in zip(plan.run(inputs), unplanned(graph, inputs)):
        np.testing.assert_array_equal(got, want)


def test_a_skip_that_would_take_more_memory_is_copied() -> None:
    """Joined to something large at the end, the large buffer would be alive all the time."""
    graph, inputs = special(
        parse("""
    graph "g" (%x: f32[4, 32]) -> (%s: f32[]) {
      %n: f32[4, 32] = neg(%x)
      %w: f32[4, 4, 4, 32] = expand(%n) {shape = (4, 4, 4, 32)}
      %a: f32[4, 4, 4, 32] = cumsum(%w) {axis = 0}
      %b: f32[4, 4, 4, 32] = cumsum(%a) {axis = 1}
      %t: f32[4, 32] = reduce_sum(%b) {axes = (0, 1)}
      %u: f32[4, 512] = concat(%t, %t, %t, %t, %t, %t, %t, %t, %t, %t, %t, %t, %t, %t, %t, %t) {axis = 1}
      %c: f32[4, 544] = concat(%n, %u) {axis = 1}
      %s: f32[] = reduce_sum(%c) {axes = (0, 1)}
    }
    """)
    )
    plan = assert_apart(graph)
    assert "n" not in {v.name for v in plan.storage.part_of}
    np.testing.assert_array_equal(plan.run(inputs)[0], unplanned(graph, inputs)[0])


def test_a_residual_is_written_over() -> None:
    rng, b = np.random.default_rng(0), Builder(Graph("residual"))
    x = b.input("x", Tensor(f32, (2, 8, 8, 16)))
    y = b.relu(x)
    for _ in range(3):
        z = b.conv(y, weights(rng, 3, 3, 16, 16), padding="same", **ONES)
        y = b.conv(z, weights(rng, 1, 1, 16, 16), None, y, activation=Activation("relu", ()), **ONES)
    graph, inputs = special(b.outputs(y))
    plan = assert_apart(graph)
    assert plan.storage.in_place >= 3
    np.testing.assert_array_equal(plan.run(inputs)[0], unplanned(graph, inputs)[0])


# ---- random graphs ---------------------------------------------------------------------------------------------

MOVES = {
    "neg": lambda b, x, y, rng: b.neg(x),
    "gelu": lambda b, x, y, rng: b.gelu(x),
    "add": lambda b, x, y, rng: b.add(x, y),
    "norm": lambda b, x, y, rng: b.batch_norm(x, *(np.abs(weights(rng, x.shape[-1])) for _ in range(4)), epsilon=1e-3),
    "softmax": lambda b, x, y, rng: b.softmax(x, axis=3),
    "conv": lambda b, x, y, rng: b.conv(x, weights(rng, 3, 3, x.shape[-1], 32), padding="same", **ONES),
    "residual": lambda b, x, y, rng: b.conv(x, weights(rng, 1, 1, x.shape[-1], y.shape[-1]), None, y, **ONES),
    "concat": lambda b, x, y, rng: b.concat(x, y, axis=3),
    "stack": lambda b, x, y, rng: b.reduce_max(b.concat(b.unsqueeze(x, axes=(0,)), b.unsqueeze(b.neg(x), axes=(0,)), axis=0), axes=(0,)),
    "crop": lambda b, x, y, rng: b.slice(x, starts=(0,), ends=(32,), axes=(3,)),
    "split": lambda b, x, y, rng: b.add(*b.split(b.concat(x, x, axis=3), axis=3, sizes=(x.shape[3], x.shape[3]))),
    "pad": lambda b, x, y, rng: b.max_pool(b.pad(x, pads=((0, 0), (1, 1), (1, 1), (0, 0))), window=(3, 3), **ONES),
    "turn": lambda b, x, y, rng: b.transpose(x, perm=(0, 2, 1, 3)),
}  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(MOVES)), min_size=2, max_size=14), seed=st.integers(0, 999))
def test_random_graphs(names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    b = Builder(Graph("g"))
    values = [b.input("x", Tensor(f32, (2, 5, 5, 32)))]
    for name in names:
        x, y = (values[int(rng.integers(max(0, len(values) - 3), len(values)))] for _ in range(2))
        if (x.shape != y.shape and name == "add") or x.shape[-1] + y.shape[-1] > 256:
            continue
        values.append(MOVES[name](b, x, y, rng))
    graph, inputs = special(b.outputs(*dict.fromkeys([values[-1], values[len(values) // 2]])), seed)
    plan = assert_apart(graph)
    memory = memory_of(plan)
    assert memory.bound <= memory.arena and memory.peak_bound <= memory.peak
    for _ in range(2):  # nothing that a run leaves behind disturbs the next one
        for got, want in zip(plan.run(inputs), unplanned(graph, inputs)):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


# ---- what kernels say of themselves ----------------------------------------------------------------------------


def conv_case(rng: np.random.Generator) -> tuple[list[Array | None], dict[str, Any]]:
    attrs = {**ONES, "padding": ((1, 1), (1, 1)), "groups": 1, "activation": Activation("relu", ())}
    return [weights(rng, 2, 9, 9, 32), weights(rng, 3, 3, 32, 48), weights(rng, 48), weights(rng, 2, 9, 9, 48)], attrs


def depthwise_case(rng: np.random.Generator) -> tuple[list[Array | None], dict[str, Any]]:
    attrs = {**ONES, "padding": ((1, 1), (1, 1)), "groups": 32, "activation": LINEAR}
    return [weights(rng, 2, 9, 9, 32), weights(rng, 3, 3, 1, 32), None, None], attrs


def pointwise_case(rng: np.random.Generator) -> tuple[list[Array | None], dict[str, Any]]:
    attrs = {**ONES, "padding": ((0, 0), (0, 0)), "groups": 1, "activation": LINEAR}
    return [weights(rng, 2, 9, 9, 32), weights(rng, 1, 1, 32, 48), weights(rng, 48), weights(rng, 2, 9, 9, 48)], attrs


def transpose_case(rng: np.random.Generator) -> tuple[list[Array | None], dict[str, Any]]:
    attrs = {"strides": (2, 2), "dilations": (1, 1), "padding": ((0, 0), (0, 0)), "output_padding": (0, 0), "groups": 1}
    return [weights(rng, 2, 5, 5, 32), weights(rng, 3, 3, 32, 16), weights(rng, 16)], {**attrs, "activation": LINEAR}


def pool_case(rng: np.random.Generator) -> tuple[list[Array | None], dict[str, Any]]:
    return [weights(rng, 2, 9, 9, 32)], {"window": (2, 2), **ONES, "padding": ((0, 1), (0, 1)), "ceil_mode": False}


def norm_case(rng: np.random.Generator) -> tuple[list[Array | None], dict[str, Any]]:
    return [weights(rng, 2, 9, 9, 32), *(np.abs(weights(rng, 32)) for _ in range(4))], {"axis": -1, "epsilon": 1e-3}


def winograd_case(rng: np.random.Generator) -> tuple[list[Array | None], dict[str, Any]]:
    attrs = {"kernel": (3, 3), "tile": (2, 2), "padding": ((1, 1), (1, 1)), "activation": Activation("relu", ())}
    return [weights(rng, 2, 9, 9, 32), weights(rng, 16, 32, 48), weights(rng, 48), weights(rng, 2, 9, 9, 48)], attrs


CASES: dict[str, Callable[[np.random.Generator], tuple[list[Array | None], dict[str, Any]]]] = {
    "conv": conv_case,
    "conv depthwise": depthwise_case,
    "conv pointwise": pointwise_case,
    "conv_transpose": transpose_case,
    "winograd_conv": winograd_case,
    "max_pool": pool_case,
    "avg_pool": lambda rng: (pool_case(rng)[0], {**pool_case(rng)[1], "count_include_pad": False}),
    "batch_norm": norm_case,
    "concat": lambda rng: ([weights(rng, 2, 9, 32), weights(rng, 2, 9, 16)], {"axis": 2}),
    "pad": lambda rng: ([weights(rng, 2, 9, 32), None], {"pads": ((0, 0), (1, 2), (0, 3)), "mode": "constant"}),
}


def case_of(name: str) -> tuple[Any, list[Array | None], dict[str, Any]]:
    op = OPS[name.split()[0]]
    arrays, attrs = CASES[name](np.random.default_rng(0))
    given = {a: attrs.get(a, declared.default) for a, declared in op.attributes.items()}
    return op, arrays, given


def strided(array: Array) -> Array:
    """The same elements as part of a larger array, whose other elements are NaN."""
    large = np.full([*array.shape[:-1], array.shape[-1] + 24], np.nan, array.dtype)
    part = large[..., 8 : 8 + array.shape[-1]]
    part[...] = array
    return part


def run(op: Any, arrays: Sequence[Array | None], attrs: dict[str, Any], out: Array) -> None:
    concrete = kernel_attributes(op, attrs, [None if a is None else type_of(a) for a in arrays])
    with np.errstate(all="ignore"):
        for step in flat_steps(KERNELS[op.name].call(*arrays, **concrete, out=out, scratch=np.empty)):
            step()


def test_every_kernel_that_says_so_has_a_case() -> None:
    elementwise = {name for name, op in OPS.items() if op.has("elementwise")}
    assert {n for n, row in KERNELS.items() if row.strided or row.over or row.parts} - elementwise <= {
        name.split()[0] for name in CASES
    }


@pytest.mark.parametrize("name", CASES)
def test_operands_and_result_may_be_parts(name: str) -> None:
    op, arrays, attrs = case_of(name)
    (want,) = evaluate(op, arrays, attrs)
    out = strided(np.zeros_like(want))
    first, *rest = arrays
    assert first is not None
    run(op, [strided(first), *rest], attrs, out)
    np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-6)
    assert out.base is not None
    around = np.delete(out.base, np.s_[8 : 8 + want.shape[-1]], axis=-1)
    assert np.isnan(around).all()


@pytest.mark.parametrize("name", [n for n in CASES if KERNELS[n.split()[0]].over])
def test_the_result_may_be_written_over_these_operands(name: str) -> None:
    op, arrays, attrs = case_of(name)
    for number, declared in enumerate(op.inputs):
        if declared.name not in KERNELS[op.name].over or arrays[number] is None:
            continue
        (want,) = evaluate(op, arrays, attrs)
        copies = [None if a is None else a.copy() for a in arrays]
        held = copies[number]
        assert held is not None
        run(op, copies, attrs, held)
        np.testing.assert_allclose(held, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in CASES if KERNELS[n.split()[0]].parts])
def test_parts_that_are_there_are_left_alone(name: str) -> None:
    op, arrays, attrs = case_of(name)
    (want,) = evaluate(op, arrays, attrs)
    out = np.empty_like(want)
    parts_of = KERNELS[name].parts
    assert parts_of is not None
    parts = parts_of(out, [None if a is None else a.shape for a in arrays], **attrs)
    inside = []
    for array, part in zip(arrays, parts):
        if array is not None and part is not None:
            part[...] = array
            array = part
        inside.append(array)
    run(op, inside, attrs, out)
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("name", sorted(n for n, row in KERNELS.items() if row.strided and OPS[n].has("elementwise")))
def test_elementwise_results_may_be_parts(name: str) -> None:
    op = OPS[name]
    attrs = {k: {"low": 0.3, "high": 0.6}.get(k, a.default) for k, a in op.attributes.items()}
    tried = 0
    for kind, high in ((np.float32, 0.9), (np.bool_, 1.5), (np.int32, 9.0)):
        generator = np.random.default_rng(0)
        arrays = [generator.uniform(0.1, high, (3, 4, 16)).astype(kind)[..., :8] for _ in range(op.slots)]
        try:
            (want,) = evaluate(op, arrays, attrs)
        except (TenunError, TypeError):  # not of this dtype
            continue
        large = np.zeros((3, 4, 20), want.dtype)
        run(op, arrays, attrs, large[..., 3:11])
        np.testing.assert_array_equal(large[..., 3:11], want)
        assert not large[..., :3].any() and not large[..., 11:].any()
        tried += 1
    assert tried


def test_same_place() -> None:
    a = np.zeros((4, 4))
    assert same_place(a, a[:]) and not same_place(a, a[1:]) and not same_place(a, a.T) and not same_place(a, a.copy())
