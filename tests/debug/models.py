"""Graphs with names that are meant to break out, and one that is very large; for what draws and writes them."""

from __future__ import annotations

import numpy as np

from tenun.ir import Builder, Graph, Tensor, symbol
from tenun.ir.types import boolean, f32

N = symbol("N")

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    '"><img src=x onerror="window.broken = 2">',
    "<svg onload=window.broken=3>",
    "'; window.broken = 4; //",
    "\u2028\u2029 ${window.broken=5} <!-- -->",
    "[bold]no markup[/bold]",
)


def hostile() -> Graph:
    """Every name that a file can choose is hostile: of the graph, layers, values, weights, inputs, outputs, notes."""
    b = Builder(Graph(HOSTILE[0]))
    y = b.input(HOSTILE[1], Tensor(f32, (N, 4)))
    for name in HOSTILE:
        with b.at(f"{name}/a"):
            y = b.matmul(y, b.constant(np.eye(4, dtype=np.float32), name))
        with b.at(f"{name}/b"):
            y = b.tanh(y)
        y.name, y.producer.note = name, name
    graph = b.outputs(y, names=[HOSTILE[2]])
    graph.metadata["note"] = HOSTILE[0]
    return graph


def nested() -> Graph:
    """A model in a model in a model, a layer beside, and a branch."""
    b = Builder(Graph("nested"))
    x, c = b.input("x", Tensor(f32, (N, 4))), b.input("c", Tensor(boolean, ()))
    y = x
    for path in ("outer/inner/dense", "outer/inner/again", "outer/last", "head"):
        with b.at(path):
            y = b.relu(b.matmul(y, b.constant(np.eye(4, dtype=np.float32), f"{path.replace('/', '.')}.kernel")))
    branches = {}
    for role in ("then", "orelse"):
        inner = Builder(Graph(role))
        v = inner.input("v", Tensor(f32, (N, 4)))
        branches[role] = inner.outputs(inner.exp(v) if role == "then" else inner.tanh(v))
    with b.at("branch"):
        (y,) = b.if_(c, b.add(y, x), **branches)
    return b.outputs(y, names=["y"])


def large(units: int) -> Graph:
    """Five nodes a unit in nested blocks, with connections that skip some."""
    b = Builder(Graph("large"))
    ys = [b.input("x", Tensor(f32, (N, 8)))]
    for i in range(units):
        with b.at(f"stage{i // 100}/block{i // 10}/unit{i}"):
            left, right = b.relu(ys[-1]), b.tanh(ys[max(0, len(ys) - 1 - i % 9)])
            ys.append(b.sqrt(b.add(b.mul(left, right), b.constant(np.full(8, i, np.float32), f"bias{i}"))))
    return b.outputs(ys[-1])
