"""Random graphs: every pass keeps the outputs, verifies, and survives the text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenun.backends.base import Options
from tenun.backends.numpy.evaluate import evaluate
from tenun.backends.numpy.shards import ShardedProgram
from tenun.executable import Executable
from tenun.ir import Builder, Graph, Tensor, Var, parse, symbol, verify
from tenun.ir.types import f32
from tenun.passes.batch import batch_symbol
from tenun.passes.manager import PIPELINES, Context, optimize

N = symbol("N")
PASSES = sorted({name for names in PIPELINES.values() for name in names})


def weight(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return (rng.standard_normal(shape) * 0.5).astype(np.float32)


def moves(b: Builder, x: Var, rng: np.random.Generator) -> dict[str, Any]:
    """What may happen to a value (N, ...): thunks by name."""
    shape, rank = x.shape, len(x.shape)
    last = shape[-1]
    found: dict[str, Any] = {
        "relu": lambda: b.relu(x),
        "neg": lambda: b.neg(x),
        "tanh": lambda: b.tanh(x),
        "leaky_relu": lambda: b.leaky_relu(x, negative_slope=0.3),
        "add_row": lambda: b.add(x, weight(rng, last)),
        "mul_one": lambda: b.mul(x, 1.0),
        "mul_scalar": lambda: b.mul(2.5, x),
        "square": lambda: b.mul(x, x),
        "softmax": lambda: b.softmax(x, axis=int(rng.integers(1, rank))),
        "norm": lambda: b.batch_norm(
            x, weight(rng, last), weight(rng, last), weight(rng, last), abs(weight(rng, last)) + 0.5, epsilon=1e-3
        ),
        "unsqueeze": lambda: b.unsqueeze(x, axes=(int(rng.integers(1, rank + 1)),)),
        "mean": lambda: b.reduce_mean(x, axes=(int(rng.integers(1, rank)),), keepdims=True),
        "slice": lambda: b.slice(x, starts=(0,), ends=(1 + int(rng.integers(last)),), axes=(rank - 1,)),
        "dense": lambda: b.matmul(x, weight(rng, last, 4)),
        "double": lambda: b.concat(x, b.neg(x), axis=int(rng.integers(1, rank))),
        "div_row": lambda: b.div(x, abs(weight(rng, last)) + 0.5),
        "sub_scalar": lambda: b.sub(x, 0.75),
        "at_least": lambda: b.maximum(x, -0.5),
        "power": lambda: b.pow(x, float(rng.integers(0, 5))),
        "there_and_back": lambda: b.concat(*b.split(x, axis=rank - 1, sizes=(1, last - 1)), axis=rank - 1),
        "row": lambda: b.gather(x, np.array(int(rng.integers(-last, last))), axis=rank - 1),
        "halves": lambda: b.reshape(x, shape=(*shape[:-1], last // 2, 2)) if last % 2 == 0 else b.exp(b.neg(b.abs(x))),
        "means": lambda: b.reduce_mean(b.reduce_mean(x, axes=(rank - 1,), keepdims=True), axes=(1,), keepdims=True),
        "flatten": lambda: b.reshape(x, shape=(N, -1)),
        "permute": lambda: b.transpose(x, perm=(0, *(int(p) + 1 for p in rng.permutation(rank - 1)))),
    }
    if rank == 4:
        attrs = {"strides": (1, 1), "dilations": (1, 1)}
        pool = {"window": (2, 2), "strides": (2, 2), "padding": "same", "dilations": (1, 1)}
        around = ((0, 0), (1, 1), (0, 1), (0, 0))
        found["pad"] = lambda: b.pad(x, pads=around)
        found["mean_pool"] = lambda: b.avg_pool(x, **pool)
        found["max_pool"] = lambda: b.max_pool(x, **pool)
        found["depthwise"] = lambda: b.conv(x, weight(rng, 2, 2, 1, last), groups=last, padding="same", **attrs)
        found["up"] = lambda: b.conv_transpose(x, weight(rng, 2, 2, last, 3), output_padding=(0, 0), **attrs)
        found["conv_same"] = lambda: b.conv(x, weight(rng, 3, 3, last, 4), padding="same", **attrs)
        found["conv_first"] = lambda: b.transpose(
            b.conv(b.transpose(x, perm=(0, 2, 3, 1)), weight(rng, 1, 1, shape[1], 3), **attrs), perm=(0, 3, 1, 2)
        )
    return found


def random_graph(names: list[str], seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    b = Builder(Graph("random"))
    x = b.input("x", Tensor(f32, (N, 4, 6, 3)))
    values = [x]
    for i, name in enumerate(names):
        source = values[int(rng.integers(max(0, len(values) - 2), len(values)))]
        options = moves(b, source, rng)
        if name not in options or len(source.shape) < 2:
            continue
        with b.at(f"layer{i}"):
            made = options[name]()
        if len(made.shape) > 5 or np.prod(made.shape[1:]) > 2000:
            continue
        twin = next((v for v in reversed(values[:-1]) if v.type == made.type and v is not x), None)
        values.append(b.add(made, twin) if twin is not None and rng.random() < 0.5 else made)
    return b.outputs(*dict.fromkeys([values[-1], values[len(values) // 2]]))


EXAMPLE = moves(Builder(Graph()), Var("x", Tensor(f32, (N, 4, 6, 3))), np.random.default_rng())
NAMES = st.lists(st.sampled_from(sorted(EXAMPLE)), max_size=9)


@pytest.mark.parametrize("passes", [*PASSES, "inference"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=NAMES, seed=st.integers(0, 2**16))
def test_outputs_stay(passes: str, names: list[str], seed: int) -> None:
    graph = random_graph(names, seed)
    verify(graph)
    x = np.random.default_rng(seed).standard_normal((3, 4, 6, 3)).astype(np.float32)
    chosen = PIPELINES.get(passes, (passes,))
    after = optimize(graph, chosen, Context(evaluate), verify_each=True)
    assert parse(str(after), after.weights) == after
    want = Executable(graph, passes="none", options=Options(1)).run({"x": x})
    got = Executable(graph, passes=chosen, options=Options(1)).run({"x": x})
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(names=NAMES, seed=st.integers(0, 2**16))
def test_a_batch_that_is_cut_gives_the_same(names: list[str], seed: int) -> None:
    """Where the analysis says that samples never meet, every sample by itself gives its part of the result."""
    graph = optimize(random_graph(names, seed), "inference", Context(evaluate))
    program = ShardedProgram(graph, Options(2))
    x = np.random.default_rng(seed).standard_normal((5, 4, 6, 3)).astype(np.float32)
    want = program.whole(x)
    if batch_symbol(graph) is None:
        return
    parts = [program.whole(x[i : i + 1]) for i in range(5)]
    for axis, whole, *samples in zip(program._output_axes, want, *parts):
        np.testing.assert_allclose(np.concatenate(samples, axis), whole, rtol=1e-4, atol=1e-4)


def test_random_graphs_can_be_cut() -> None:
    """The analysis is not content with saying no."""
    cut = [batch_symbol(random_graph([name] * 3, 0)) for name in EXAMPLE]
    assert cut.count("N") > 0.9 * len(cut)
