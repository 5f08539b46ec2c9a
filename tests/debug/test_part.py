"""Parts of graphs: layers, neighbourhoods; their names, interface and results are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

import tenun
from tenun.debug.part import around, layer, part
from tenun.errors import GraphError
from tenun.ir import Builder, Graph, Tensor
from tenun.ir.types import f32, i64
from tenun.ir.verify import verify
from tenun.tests.debug.models import N, nested
from tenun.tests.debug.network import images, trunk


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def network() -> Graph:
    b = Builder(Graph("net"))
    return b.outputs(b.mul(trunk(b), 2.0), names=["p"])


@pytest.mark.parametrize(
    "path, count",
    [("outer", 6), ("outer/inner", 4), ("outer/inner/dense", 2), ("head", 2), ("outer/*/again", 2), ("*er*", 6)],
)
def test_a_layer_is_what_is_inside_of_it(path: str, count: int) -> None:
    found = layer(nested(), path)
    verify(found)
    assert len(found) == count


def test_a_layer_has_what_flows_in_and_out() -> None:
    found = layer(network(), "pool")
    assert [(v.name, str(v.type)) for v in found.inputs] == [("relu", "f32[N, 8, 8, 4]")]
    assert [(v.name, str(v.type)) for v in found.outputs] == [("max_pool", "f32[N, 4, 4, 4]")]


def test_fused_layers_are_found_by_each_of_their_names() -> None:
    fused = tenun.compile(network()).optimized
    with_both = [node.source for node in fused.nodes if " + " in node.source]
    for name in with_both[0].split(" + ") if with_both else ["conv"]:
        assert "conv" in ops(layer(fused, name))


@pytest.mark.parametrize("radius, expected", [(0, ["max_pool"]), (1, ["relu", "max_pool", "reshape"])])
def test_around_a_value(radius: int, expected: list[str]) -> None:
    for name in ("max_pool", "%max_pool", "pool"):
        assert ops(around(network(), name, radius)) == expected


def test_around_everything_is_everything() -> None:
    graph = network()
    whole = around(graph, "conv", 100)
    assert whole == graph or ops(whole) == ops(graph)
    assert around(graph, "@dense.kernel", 0).nodes and ops(around(graph, "@dense.kernel", 0)) == ["matmul", "matmul"]
    assert ops(around(graph, "x", 0)) == ["conv"]


def test_a_part_computes_what_it_computes_in_the_whole() -> None:
    graph = network()
    exe = tenun.compile(graph)
    values = exe.run({"x": images(2)}, fetch=["relu", "max_pool"])
    pool = tenun.compile(layer(graph, "pool"))
    np.testing.assert_array_equal(pool.run({"relu": values["relu"]})["max_pool"], values["max_pool"])


def test_attributes_known_at_run_time_and_subgraphs_are_copied() -> None:
    b = Builder(Graph("dynamic"))
    x, s = b.input("x", Tensor(f32, (N, 4))), b.input("s", Tensor(i64, (1,)))
    graph = b.outputs(b.relu(b.reshape(b.tanh(x), shape=s)))
    middle = part(graph, [n for n in graph.nodes if n.op.name == "reshape"])
    verify(middle)
    assert [v.name for v in middle.inputs] == ["tanh", "s"]
    branch = layer(nested(), "branch")
    verify(branch)
    assert ops(branch) == ["add", "if"]


@pytest.mark.parametrize("find, what", [(layer, "layer"), (around, "value or layer")])
def test_unknown_names_bring_close_ones(find: object, what: str) -> None:
    with pytest.raises(GraphError, match=f"no {what} is called 'outer/inner/dens'") as error:
        find(nested(), "outer/inner/dens")  # type: ignore[operator]
    assert "outer/inner/dense" in str(error.value)
