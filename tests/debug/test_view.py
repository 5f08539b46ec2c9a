"""The networkx view: order, edges, dominators."""

from __future__ import annotations

import networkx as nx

from tenun.debug.picture import picture
from tenun.ir import Builder, Graph, Tensor, symbol
from tenun.ir.types import f32
from tenun.ir.view import INPUTS, OUTPUTS, networkx_view

N = symbol("N")


def diamond() -> Graph:
    b = Builder(Graph("diamond"))
    x = b.input("x", Tensor(f32, (N, 4)))
    top = b.relu(x)
    left, right = b.tanh(top), b.exp(top)
    bottom = b.mul(b.add(left, right), left)
    return b.outputs(b.add(bottom, b.sqrt(b.constant([1.0, 2.0, 3.0, 4.0], dtype="float32"))))


def test_topological_order_is_the_graphs_order() -> None:
    graph = diamond()
    view = networkx_view(graph)
    assert nx.is_directed_acyclic_graph(view)
    order = list(nx.lexicographical_topological_sort(view, key=lambda n: view.nodes[n]["order"]))
    assert order == [INPUTS, *graph.nodes, OUTPUTS]


def test_nodes_and_edges_carry_names_and_types() -> None:
    graph = diamond()
    view = networkx_view(graph)
    relu, tanh, *_ = graph.nodes
    assert view.nodes[relu]["op"] == "relu" and view.nodes[relu]["types"] == ("f32[N, 4]",)
    assert view.edges[relu, tanh] == {"values": ("relu",), "types": ("f32[N, 4]",)}
    assert len(view) == len(graph) + 2 == len(picture(graph).boxes)


def test_dominators() -> None:
    graph = diamond()
    relu, tanh, exp, add, mul, sqrt, last = graph.nodes
    found = nx.immediate_dominators(networkx_view(graph), INPUTS)
    assert found[tanh] is relu and found[exp] is relu and found[add] is relu and found[mul] is relu
    assert found[sqrt] == INPUTS and found[last] == INPUTS and found[OUTPUTS] is last
