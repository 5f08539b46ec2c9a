# ruff: noqa: E501 - the texts of graphs are wide
"""Recomputation: the pass on text, and training with limits, which gives the same bits in less memory."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tenun
from tenun.backends.base import Options
from tenun.backends.numpy.evaluate import evaluate
from tenun.backends.numpy.plan import Plan
from tenun.backends.numpy.program import Program, specialize
from tenun.backends.numpy.storage import lives
from tenun.errors import RunError
from tenun.ir import Builder, Graph, Tensor, Var, parse, verify
from tenun.ir.states import States
from tenun.ir.types import f32
from tenun.passes.autodiff.engine import gradients
from tenun.passes.manager import Context, optimize
from tenun.passes.recompute import Budget, Recomputation

L = tenun.layers
Array = np.ndarray[Any, Any]


def recomputed(graph: Graph, limit: int, resident: Any = ()) -> tuple[Graph, Recomputation]:
    """A copy of the graph after the pass, and its report."""
    budget = Budget(limit, partial(lives, resident=dict(resident)))
    after = optimize(graph, ("recompute",), Context(evaluate, budget=budget), verify_each=True)
    assert budget.report is not None
    return after, budget.report


def nodes(graph: Graph) -> list[str]:
    """What is computed, in order, with the names of the results."""
    found = [line.strip().partition("  //")[0] for line in str(graph).splitlines() if line.startswith("  %")]
    return [re.sub(r": f32\[[^]]*\]|: bool\[[^]]*\]", "", line) for line in found]


def same_bits(graph: Graph, after: Graph, *inputs: Array) -> None:
    for want, got in zip(Program(graph)(*inputs), Program(after)(*inputs)):
        np.testing.assert_array_equal(got, want)


# ---- on text ---------------------------------------------------------------------------------------------------

# %h is alive while %w, four times as big, is made and read, and is read again then
BEFORE = """
graph "g" (%x: f32[8, 16], %y: f32[8, 64]) -> (%r: f32[8, 16]) {
  %h: f32[8, 16] = tanh(%x)
  %s: f32[8, 1] = reduce_sum(%h) {axes = (1,), keepdims = true}
  %w: f32[8, 64] = mul(%y, %s)
  %v: f32[8, 64] = cumsum(%w) {axis = 1}
  %t: f32[8, 1] = reduce_sum(%v) {axes = (1,), keepdims = true}
  %a: f32[8, 16] = mul(%h, %t)
  %r: f32[8, 16] = mul(%a, %x)
}
"""


def test_a_value_is_computed_again_before_its_late_reader() -> None:
    graph = parse(BEFORE)
    after, report = recomputed(graph, 5000)
    assert nodes(after) == [
        "%h = tanh(%x)",
        "%s = reduce_sum(%h) {axes = (1,), keepdims = true}",
        "%w = mul(%y, %s)",
        "%v = cumsum(%w) {axis = 1}",
        "%t = reduce_sum(%v) {axes = (1,), keepdims = true}",
        "%h_1 = tanh(%x)",
        "%a = mul(%h_1, %t)",
        "%r = mul(%a, %x)",
    ]
    assert report.before == 2 * 2048 + 2 * 512 and report.after == report.before - 512 and report.nodes == 1
    assert report.flops_after - report.flops_before == 8 * 16
    assert "arena 5,120 -> 4,608 bytes (limit 5,000): 1 nodes computed again, 128 operations more" in str(report)
    rng = np.random.default_rng(0)
    same_bits(graph, after, rng.normal(size=(8, 16)).astype("f"), rng.normal(size=(8, 64)).astype("f"))


def test_what_fits_stays() -> None:
    graph = parse(BEFORE)
    after, report = recomputed(graph, 5120)
    assert after == graph and report.fits and report.nodes == 0 and report.flops_after == report.flops_before


def test_without_a_budget_nothing_is_done() -> None:
    graph = parse(BEFORE)
    assert optimize(graph, ("recompute",), Context(evaluate)) == graph


CASES = {
    # name: (a replacement in the text, that is: why %h cannot be had again)
    "random numbers are drawn once": ("tanh(%x)", "random_uniform() {shape = (8, 16), seed = 1}"),
    "outputs stay": ("-> (%r: f32[8, 16])", "-> (%r: f32[8, 16], %h: f32[8, 16])"),
}


@pytest.mark.parametrize("name", CASES)
def test_left_alone(name: str) -> None:
    graph = parse(BEFORE.replace(*CASES[name]))
    after, report = recomputed(graph, 100)
    assert after == graph and not report.fits and report.after == report.before


def test_what_only_late_readers_read_is_computed_later_and_once() -> None:
    text = BEFORE.replace("reduce_sum(%h)", "reduce_sum(%x)")
    after, report = recomputed(parse(text), 5000)
    assert [line.split()[0] for line in nodes(after)] == ["%s", "%w", "%v", "%t", "%h", "%a", "%r"]
    assert report.after < report.before and report.nodes == 0 and report.flops_after == report.flops_before


def test_small_operands_are_kept_big_ones_made_again() -> None:
    """%k is a vector, kept; %h is as big as what is wanted, so made again with it."""
    text = (
        BEFORE.replace("  %s:", "  %k: f32[16] = reduce_sum(%h) {axes = (0,)}\n  %d: f32[8, 16] = mul(%h, %k)\n  %s:")
        .replace("reduce_sum(%h) {axes = (1,)", "reduce_sum(%d) {axes = (1,)")
        .replace("mul(%h, %t)", "mul(%d, %t)")
    )
    after, report = recomputed(parse(text), 5000)
    assert nodes(after)[7:10] == ["%h_1 = tanh(%x)", "%d_1 = mul(%h_1, %k)", "%a = mul(%d_1, %t)"]
    assert report.fits


def test_a_state_is_not_read_after_its_change() -> None:
    """tanh(w) could be had again by the old w only, which is overwritten by then."""
    b = Builder(Graph("g"))
    states = States(b)
    x, y = b.input("x", Tensor(f32, (8, 16))), b.input("y", Tensor(f32, (8, 64)))
    w = states.read("w", np.full((8, 16), 0.5, np.float32))
    h = b.tanh(w)
    states.write("w", b.add(w, b.mul(h, x)))
    t = b.reduce_sum(b.cumsum(b.mul(y, b.reduce_sum(h, axes=(1,), keepdims=True)), axis=1), axes=(1,), keepdims=True)
    graph = states.finish([b.mul(b.mul(h, t), x)], ["r"])
    after, report = recomputed(graph, 100, {"w": np.full((8, 16), 0.5, np.float32)})
    assert nodes(after) == nodes(graph) and report.after == report.before
    arrays = [np.random.default_rng(0).normal(size=s).astype("f") for s in ((8, 16), (8, 64))]
    runs = []
    for limit in (None, report.before):
        w_array = np.full((8, 16), 0.5, np.float32)
        program = Program(graph, Options(memory_limit=limit), {"w": w_array})
        runs.append([*(program(*arrays)[0] for _ in range(3)), w_array])
    for want, got in zip(*runs):
        np.testing.assert_array_equal(got, want)


# ---- random graphs with their gradients ------------------------------------------------------------------------

MOVES = {
    "tanh": lambda b, x, w: b.tanh(x),
    "exp": lambda b, x, w: b.exp(b.mul(x, 0.1)),
    "relu": lambda b, x, w: b.relu(x),
    "dense": lambda b, x, w: b.matmul(x, w),
    "norm": lambda b, x, w: b.div(x, b.add(b.reduce_sum(b.square(x), axes=(1,), keepdims=True), 1.0)),
    "softmax": lambda b, x, w: b.softmax(x, axis=1),
    "turn": lambda b, x, w: b.transpose(b.reshape(x, shape=(12, 12)), perm=(1, 0)),
    "flat": lambda b, x, w: b.reshape(x, shape=(12, 12)),
    "split": lambda b, x, w: b.add(b.slice(x, starts=(0,), ends=(6,), axes=(1,)), b.slice(x, starts=(6,), ends=(12,), axes=(1,))),
    "double": lambda b, x, w: b.concat(x, x, axis=1),
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(MOVES)), min_size=3, max_size=12),
    seed=st.integers(0, 99),
    part=st.floats(0.1, 0.95),
)
def test_random_graphs_keep_their_bits(names: list[str], seed: int, part: float) -> None:
    rng = np.random.default_rng(seed)
    b = Builder(Graph("g"))
    w = b.input("w", Tensor(f32, (12, 12)))
    values: list[Var] = [b.input("x", Tensor(f32, (12, 12)))]
    for name in names:
        source = values[int(rng.integers(max(0, len(values) - 3), len(values)))]
        if source.shape != (12, 12) and name in ("dense", "turn", "flat", "split", "norm", "double"):
            continue
        values.append(MOVES[name](b, source, w))
    loss = b.reduce_sum(b.tanh(values[-1]))
    graph = b.outputs(loss, *gradients(b, [loss], [w, values[0]]))
    arrays = [rng.normal(size=(12, 12)).astype(np.float32) for _ in range(2)]
    special = specialize(graph, arrays, Context(evaluate))
    before = Plan(special, Program).memory.total
    after, report = recomputed(special, int(before * part))
    assert report.before == before and Plan(after, Program).memory.total == report.after <= before
    same_bits(special, after, *arrays)


# ---- training --------------------------------------------------------------------------------------------------


def deep_mlp() -> Any:
    return tenun.Sequential([tenun.Input((32,)), *[L.Dense(32, "relu") for _ in range(10)], L.Dense(10, "softmax")])


def deep_cnn() -> Any:
    x = inputs = tenun.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same")(x)
    for _ in range(3):
        y = x
        for _ in range(2):
            y = L.Conv2D(8, 3, padding="same")(L.Activation("relu")(L.BatchNormalization()(y)))
        x = L.Add()([x, y])
    return tenun.Model(inputs, L.Dense(10, "softmax")(L.GlobalAveragePooling2D()(x)))


def dropping() -> Any:
    return tenun.Sequential([
        tenun.Input((8, 8, 3)), L.Conv2D(8, 3, activation="gelu"), L.Dropout(0.3), L.LayerNormalization(), L.MaxPooling2D(),
        L.Flatten(), L.Dense(64, "silu"), L.Dropout(0.5), L.Dense(10, "softmax"),
    ])  # fmt: skip


def recurrent() -> Any:
    return tenun.Sequential([
        tenun.Input((6, 12)), L.Bidirectional(L.LSTM(8, return_sequences=True)), L.GRU(8, return_sequences=True),
        L.SimpleRNN(8), L.Dense(10, "softmax"),
    ])  # fmt: skip


def attending() -> Any:
    x = inputs = tenun.Input((6, 16))
    for _ in range(2):
        scores = L.Softmax()(L.Dot(2)([L.Dense(16)(x), L.Dense(16)(x)]))
        x = L.LayerNormalization()(L.Add()([x, L.Dot((2, 1))([scores, L.Dense(16)(x)])]))
        x = L.Add()([x, L.Dense(16)(L.Dense(32, "gelu")(x))])
    return tenun.Model(inputs, L.Dense(10, "softmax")(L.GlobalAveragePooling1D()(x)))


def trained(make: Any, batch: int, limit: int | None) -> tuple[Any, list[Array]]:
    """The plan of a training step, and losses and all states after three of them."""
    tenun.set_random_seed(7)
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], memory_limit=limit)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *model.input_shape[1:])).astype(np.float32)
    y = rng.integers(0, 10, batch)
    losses = [np.array(model.train_on_batch(x, y)) for _ in range(3)]
    targets = model.by_output(y)
    runner = model.runner(True, targets, {})
    plan = runner.plan({**model.named(x), **{f"target/{k}": v for k, v in targets.items()}})
    state = model.training_state()
    return plan, [*losses, *(v for k, v in state.items() if k != "shuffle_seed")]


# model, batch, part of the arena that is left
TRAININGS = [(deep_mlp, 256, 0.6), (deep_cnn, 16, 0.6), (deep_cnn, 16, 0.5), (dropping, 16, 0.9), (recurrent, 32, 0.95), (attending, 16, 0.7)]  # fmt: skip


@pytest.mark.parametrize(("make", "batch", "part"), TRAININGS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_training_in_less_memory_gives_the_same_bits(make: Any, batch: int, part: float) -> None:
    plan, want = trained(make, batch, None)
    assert plan.recomputation is None
    limit = int(part * plan.memory.total)
    smaller, got = trained(make, batch, limit)
    verify(smaller.graph)
    report = smaller.recomputation
    assert report.before == plan.memory.total and report.after == smaller.memory.total <= limit
    assert report.flops_after < 1.5 * report.flops_before
    for a, b in zip(want, got):
        np.testing.assert_array_equal(a, b)


def test_a_limit_that_cannot_be_met_says_how_far_it_comes() -> None:
    with pytest.raises(RunError, match="memory limit of 1,000 bytes cannot be met for inputs .*f32.256, 32.") as caught:
        trained(deep_mlp, 256, 1000)
    enough = int(re.search(r"set the limit to (\d+)", str(caught.value))[1])  # type: ignore[index]
    plan, got = trained(deep_mlp, 256, enough)
    whole, want = trained(deep_mlp, 256, None)
    assert plan.memory.total <= enough < 0.6 * whole.memory.total
    assert all(np.array_equal(a, b) for a, b in zip(want, got))
