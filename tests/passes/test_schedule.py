# ruff: noqa: E501 - the texts of graphs are wide
"""Schedules: the pass on text, random graphs with their gradients, and training, which gives the same bits."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tenun
from tenun.backends.numpy.evaluate import evaluate
from tenun.backends.numpy.plan import Plan
from tenun.backends.numpy.program import Program, specialize
from tenun.backends.numpy.storage import lives
from tenun.ir import Builder, Graph, Tensor, Var, parse
from tenun.ir.states import States
from tenun.ir.types import f32
from tenun.passes.autodiff.engine import gradients
from tenun.passes.manager import PIPELINES, Context, optimize

L = tenun.layers
Array = np.ndarray[Any, Any]


def scheduled(graph: Graph, resident: Any = ()) -> Graph:
    context = Context(evaluate, lives=partial(lives, resident=dict(resident)))
    return optimize(graph, ("schedule",), context, verify_each=True)


def order(graph: Graph) -> list[str]:
    return [re.match(r"%(\w+)", line.strip())[1] for line in str(graph).splitlines() if line.startswith("  %")]  # type: ignore[index]


def needed(graph: Graph) -> int:
    return Plan(graph, Program).memory.bound


# ---- on text ---------------------------------------------------------------------------------------------------

# all of %a, %b, %c are alive before the first is summed
WIDE = """
graph "g" (%x: f32[16]) -> (%r: f32[]) {
  %a: f32[64, 16] = expand(%x) {shape = (64, 16)}
  %a1: f32[64, 16] = cumsum(%a) {axis = 1}
  %b1: f32[64, 16] = cumsum(%a) {axis = 0}
  %c1: f32[64, 16] = cumsum(%b1) {axis = 1}
  %s: f32[] = reduce_sum(%a1) {axes = (0, 1)}
  %t: f32[] = reduce_sum(%c1) {axes = (0, 1)}
  %r: f32[] = add(%s, %t)
}
"""


def test_what_frees_memory_comes_first() -> None:
    graph = parse(WIDE)
    after = scheduled(graph)
    assert order(after) == ["a", "a1", "s", "b1", "c1", "t", "r"]
    assert needed(after) < needed(graph)
    x = np.random.default_rng(0).normal(size=16).astype("f")
    np.testing.assert_array_equal(Program(after)(x)[0], Program(graph)(x)[0])


KEPT = {
    # name: (a replacement in the text)
    "a chain": ("%b1: f32[64, 16] = cumsum(%a)", "%b1: f32[64, 16] = cumsum(%a1)"),
    "outputs live to the end": ("-> (%r: f32[])", "-> (%r: f32[], %a1: f32[64, 16])"),
}


@pytest.mark.parametrize("name", KEPT)
def test_orders_that_save_nothing_are_not_taken(name: str) -> None:
    graph = parse(WIDE.replace(*KEPT[name]))
    assert needed(scheduled(graph)) <= needed(graph)


def test_without_lifetimes_nothing_is_done() -> None:
    graph = parse(WIDE)
    assert optimize(graph, ("schedule",), Context(evaluate)) == graph


def test_a_state_is_read_before_it_is_changed() -> None:
    """A state is changed where it lives, so its update stays behind the last node that reads the old value."""
    b = Builder(Graph("g"))
    states = States(b)
    x = b.input("x", Tensor(f32, (64, 16)))
    w = states.read("w", np.full((64, 16), 0.5, np.float32))
    g = b.cumsum(x, axis=1)
    big = b.cumsum(b.mul(w, x), axis=0)
    total = b.reduce_sum(big, axes=(0, 1))
    states.write("w", b.sub(w, g))
    graph = states.finish([total], ["total"])
    start = np.full((64, 16), 0.5, np.float32)
    after = scheduled(graph, {"w": start})
    runs = []
    for g_ in (graph, after):
        array = start.copy()
        plan = Plan(g_, Program, {"w": array})
        assert not plan._moves
        runs.append([*(plan.run([np.ones((64, 16), np.float32)])[0] for _ in range(3)), array])
    for want, got in zip(*runs):
        np.testing.assert_array_equal(got, want)


# ---- random graphs with their gradients ------------------------------------------------------------------------

MOVES = {
    "tanh": lambda b, x, w: b.tanh(x),
    "dense": lambda b, x, w: b.matmul(x, w),
    "softmax": lambda b, x, w: b.softmax(x, axis=1),
    "turn": lambda b, x, w: b.transpose(x, perm=(1, 0)),
    "split": lambda b, x, w: b.concat(b.slice(x, starts=(6,), ends=(12,), axes=(1,)), b.slice(x, starts=(0,), ends=(6,), axes=(1,)), axis=1),
    "wide": lambda b, x, w: b.reduce_sum(b.reshape(b.concat(x, x, axis=1), shape=(12, 2, 12)), axes=(1,)),
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(MOVES)), min_size=3, max_size=12), seed=st.integers(0, 99))
def test_random_graphs_keep_their_bits(names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    b = Builder(Graph("g"))
    weights = [b.input(f"w{i}", Tensor(f32, (12, 12))) for i in range(3)]
    values: list[Var] = [b.input("x", Tensor(f32, (12, 12)))]
    for name in names:
        source = values[int(rng.integers(max(0, len(values) - 3), len(values)))]
        values.append(MOVES[name](b, source, weights[int(rng.integers(3))]))
    loss = b.reduce_sum(b.tanh(b.add(values[-1], values[-2])))
    found = gradients(b, [loss], [*weights, values[0]])
    graph = b.outputs(loss, *(b.reduce_sum(b.mul(g, g)) for g in found if g is not None))
    arrays = [rng.normal(size=(12, 12)).astype(np.float32) for _ in range(4)]
    special = specialize(graph, arrays, Context(evaluate))
    after = scheduled(special)
    assert needed(after) <= needed(special)
    for want, got in zip(Program(special)(*arrays), Program(after)(*arrays)):
        np.testing.assert_array_equal(got, want)


# ---- training --------------------------------------------------------------------------------------------------


def trained() -> tuple[Plan, list[Array]]:
    """The plan of a training step of a deep MLP, and losses and states after three of them."""
    tenun.set_random_seed(7)
    layers = [L.Dense(128, "relu") for _ in range(8)]
    model = tenun.Sequential([tenun.Input((128,)), *layers, L.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 128)).astype(np.float32), rng.integers(0, 10, 16)
    losses = [np.array(model.train_on_batch(x, y)) for _ in range(3)]
    targets = model.by_output(y)
    plan = model.runner(True, targets, {}).plan({**model.named(x), **{f"target/{k}": v for k, v in targets.items()}})
    return plan, [*losses, *(v for k, v in model.training_state().items() if k != "shuffle_seed")]


def test_gradients_go_as_soon_as_their_parameter_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, got = trained()
    monkeypatch.setitem(PIPELINES, "specialize", tuple(p for p in PIPELINES["specialize"] if p != "schedule"))
    before, want = trained()
    assert plan.memory.bound < 0.5 * before.memory.bound
    assert not plan._moves
    for a, b in zip(want, got):
        np.testing.assert_array_equal(a, b)
