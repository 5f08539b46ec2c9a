"""The text of a graph with more or less of its weights, and in colours."""

from __future__ import annotations

import numpy as np
import pytest

import tenun
from tenun.debug.listing import WEIGHTS, coloured, listing
from tenun.errors import RunError
from tenun.ir import Builder, Graph, Tensor
from tenun.ir.types import f32
from tenun.tests.debug.models import N, hostile, nested


def small() -> Graph:
    b = Builder(Graph("small"))
    x = b.input("x", Tensor(f32, (N, 5)))
    kernel = np.arange(20, dtype=np.float32).reshape(5, 4) / 8
    with b.at("dense"):
        y = b.add(b.matmul(x, b.constant(kernel, "kernel")), b.constant(np.float32([0, np.inf, 1, -2]), "bias"))
    return b.outputs(y)


LINES = {
    "none": ["  @kernel: f32[5, 4]", "  @bias: f32[4]"],
    "hash": ["  @kernel: f32[5, 4] = sha256:3451fad0f1e172eb", "  @bias: f32[4] = [0.0, inf, 1.0, -2.0]"],
    "stats": [
        "  @kernel: f32[5, 4] = sha256:3451fad0f1e172eb  // min 0  mean 1.1875  max 2.375  std 0.720785",
        "  @bias: f32[4] = [0.0, inf, 1.0, -2.0]  // min -2  mean -0.333333  max 1  std 1.24722  1 infinite",
    ],
    "full": [
        "  @kernel: f32[5, 4] = [[0.0, 0.125, 0.25, 0.375], [0.5, 0.625, 0.75, 0.875], [1.0, 1.125, 1.25, 1.375], "
        "[1.5, 1.625, 1.75, 1.875], [2.0, 2.125, 2.25, 2.375]]",
        "  @bias: f32[4] = [0.0, inf, 1.0, -2.0]",
    ],
}


@pytest.mark.parametrize("mode", WEIGHTS)
def test_lines_of_weights(mode: str) -> None:
    head, *rest = listing(small(), mode).splitlines()
    assert head == 'graph "small" (%x: f32[N, 5]) -> (%add: f32[N, 4]) {'
    assert rest[:2] == LINES[mode]
    assert rest[2:] == [
        "  %matmul: f32[N, 4] = matmul(%x, @kernel)  // dense",
        "  %add: f32[N, 4] = add(%matmul, @bias)  // dense",
        "}",
    ]


@pytest.mark.parametrize("graph", [small(), nested(), hostile()], ids=lambda g: g.name[:8])
def test_the_text_parses_back(graph: Graph) -> None:
    assert listing(graph) == str(graph)
    assert tenun.parse(listing(graph, "full")) == graph  # without weights beside it
    assert tenun.parse(listing(graph, "stats"), graph.weights) == graph


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(RunError, match="none, hash, stats, full"):
        listing(small(), "all")


@pytest.mark.parametrize("graph", [small(), nested(), hostile()], ids=lambda g: g.name[:8])
def test_colours_change_no_character(graph: Graph) -> None:
    text = listing(graph, "stats")
    assert coloured(text).plain == text


def test_colours() -> None:
    drawn = coloured(listing(small()))
    styles = {str(drawn.plain[s.start : s.end]).strip(): str(s.style) for s in drawn.spans}
    wanted = {"matmul": "bold cyan", "%matmul": "blue", "@kernel": "green", "f32[N, 4]": "magenta"}
    assert {key: styles[key] for key in wanted} == wanted
    assert styles["// dense"] == "dim italic" and styles["graph"] == "bold"
