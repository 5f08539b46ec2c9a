# ruff: noqa: E501 - tables of shapes are wide
"""Before and after: graphs from a few lines of text, what passes make of them, and both run on the same inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tenun.backends.base import Options
from tenun.backends.numpy.evaluate import evaluate
from tenun.executable import Executable
from tenun.ir import Graph, parse, verify
from tenun.passes.manager import Context, optimize
from tenun.passes.rewrite import Rule

Array = np.ndarray[Any, Any]

INPUTS = {
    "x": "f32[N, 4, 6, 3]", "s": "f32[N, 6]", "r": "f32[N, 6]", "i": "i32[N, 6]", "j": "i32[N, 6]", "u": "u8[N, 6]",
    "p": "bool[N, 6]", "q": "bool[N, 6]", "h": "f16[N, 6]", "t": "f32[N, 5, 6]", "k": "i32[N, 5]",
    "z": "f32[2, 4, 6, 3]", "d": "f64[N, 6]", "b": "bool[]", "f": "f32[2, 3, 8, 8]",
}  # fmt: skip
CONSTANTS = {
    "w": "f32[3, 3, 3, 5]", "w1": "f32[1, 1, 3, 5]", "w2": "f32[3, 3, 5, 5]", "wd": "f32[3, 3, 1, 3]", "wg": "f32[1, 1, 3, 4]",
    "wt": "f32[2, 2, 3, 2]", "m": "f32[6, 5]", "m3": "f32[3, 5]", "m72": "f32[72, 5]", "b5": "f32[5]", "c5": "f32[5]",
    "d5": "f32[5]", "v5": "f32[5]", "b3": "f32[3]", "c3": "f32[3]", "d3": "f32[3]", "v3": "f32[3]", "b6": "f32[6]",
    "c6": "f32[6]", "v6": "f32[6]", "c2": "f32[2]", "table": "f32[7, 5]", "wc": "f32[6, 30]", "c10": "f32[10]", "m55": "f32[5, 5]",
    "c30": "f32[30]", "b4": "f32[4]", "x4": "f32[2, 4, 1, 1]",
}  # fmt: skip
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.75, 1e-38, -3e38, 1e20, 7.0]


def graph_of(body: str) -> Graph:
    """The graph of statements, of which the last line starting at the margin with % is the result."""
    weights, lines, generator = {}, [], np.random.default_rng(0)
    for name, t in CONSTANTS.items():
        if re.search(rf"@{name}\b(?!:)", body) and f"@{name}:" not in body:
            shape = tuple(int(d) for d in t[4:-1].split(",") if d)
            signs = 1 if name.startswith("v") else generator.choice([-1, 1], shape)  # variances are positive
            weights[name] = (generator.uniform(0.5, 1.5, shape) * signs).astype(np.float32)
            lines.append(f"@{name}: {t} = sha256:0")
    lines += body.strip().splitlines()
    given = ", ".join(
        f"%{n}: {t}" for n, t in INPUTS.items() if re.search(rf"%{n}\b(?!:)", body) and f"%{n}:" not in body
    )
    last = next(line for line in reversed(body.strip().splitlines()) if line.startswith("%") and " = " in line)
    outputs = re.findall(r"(%\w+: \w+\[[^\]]*\])", last.partition(" = ")[0])
    graph = parse(f'graph "g" ({given}) -> ({", ".join(outputs)}) {{\n' + "\n".join(lines) + "\n}", weights)
    verify(graph)
    return graph


def optimized(graph: Graph, *passes: str) -> Graph:
    return optimize(graph, passes, Context(evaluate), verify_each=True)


def lines(graph: Graph) -> list[str]:
    """Op and attributes of each node, those of bodies indented."""
    found = []
    for line in str(graph).splitlines():
        if line.lstrip().startswith("%"):
            text = line.partition(" = ")[2].partition("  //")[0].strip()
            found.append("  " * (line.startswith("    ")) + re.sub(r"\([^()]*[%@][^()]*\)", "", text, count=1).strip())
    return found


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def given(graph: Graph, special: bool, seed: int = 1) -> dict[str, Array]:
    """Inputs for a graph with N = 3; with `special`, NaN, infinities, both zeros and large numbers are among them."""
    generator, found = np.random.default_rng(seed), {}
    for var in graph.inputs:
        shape = tuple(d if isinstance(d, int) else 3 for d in var.shape)
        dtype = var.tensor.dtype.numpy
        if dtype.kind == "f":
            values = generator.standard_normal(shape)
            if special:
                values = np.where(generator.random(shape) < 0.8, generator.choice(SPECIAL, shape), values)
            with np.errstate(over="ignore"):
                found[var.name] = values.astype(dtype)
        elif dtype.kind == "b":
            found[var.name] = generator.random(shape) < 0.5
        else:
            low = -100 if dtype.kind == "i" and var.name != "k" else 0
            found[var.name] = generator.integers(low, 5 if var.name == "k" else 100, shape).astype(dtype)
    return found


def run(graph: Graph, passes: Sequence[str], inputs: dict[str, Array]) -> dict[str, Array]:
    return Executable(graph, passes=passes, options=Options(1)).run(inputs)


def same_bits(graph: Graph, passes: Sequence[str], signs: bool = True) -> None:
    """Every output is the same bit for bit, on special numbers too; without `signs`, a zero may have the other sign."""
    for seed in range(4):
        inputs = given(graph, special=True, seed=seed)
        before, after = run(graph, (), inputs), run(graph, passes, inputs)
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)
            if signs and value.dtype.kind == "f":
                real = ~np.isnan(value)
                np.testing.assert_array_equal(np.signbit(after[name])[real], np.signbit(value)[real])


def close(graph: Graph, passes: Sequence[str], tolerance: float = 2e-5) -> None:
    """Every output is the same but for rounding."""
    inputs = given(graph, special=False)
    before, after = run(graph, (), inputs), run(graph, passes, inputs)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=tolerance, atol=tolerance)


def rules_applied(monkeypatch: Any, graphs: Iterable[tuple[Graph, Sequence[str]]]) -> set[str]:
    """Names of the rules by which passes change graphs."""
    found: set[str] = set()
    apply = Rule.apply

    def recorded(self: Rule, *args: Any) -> bool:
        changed = apply(self, *args)
        if changed:
            found.add(self.name)
        return changed

    monkeypatch.setattr(Rule, "apply", recorded)
    for graph, passes in graphs:
        optimized(graph, *passes)
    return found
