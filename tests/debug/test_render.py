"""Drawings of graphs: text against expected text, JSON that loads, SVG that is XML."""

from __future__ import annotations

import hashlib
import json
import shutil
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tenun
from tenun.debug.draw import draw
from tenun.debug.picture import group_of, picture
from tenun.debug.render import to_dot, to_json, to_mermaid
from tenun.debug.svg import to_svg
from tenun.errors import TenunError, UnsupportedError
from tenun.ir import Builder, Graph, Tensor, symbol
from tenun.ir.types import boolean, f32, i64
from tenun.tests.debug.models import hostile

N = symbol("N")


def residual() -> Graph:
    """x -> dense + relu -> add (with x) -> y, the layers nested in a block."""
    b = Builder(Graph("res"))
    x = b.input("x", Tensor(f32, (N, 4)))
    with b.at("block/dense"):
        y = b.relu(b.matmul(x, b.constant(np.eye(4, dtype=np.float32), "dense.kernel")))
    with b.at("add"):
        y = b.add(x, y)
    return b.outputs(y, names=["y"])


def branches() -> Graph:
    """An `if` whose branches have names with characters that mean something to others."""
    graphs = {}
    for role in ("then", "orelse"):
        b = Builder(Graph(role))
        v = b.input("v", Tensor(f32, (2,)))
        with b.at(f'odd "{role}" <&> #1\\'):
            graphs[role] = b.outputs(b.relu(v) if role == "then" else b.tanh(v))
    b = Builder(Graph('a "title" <b>'))
    c, x = b.input("c", Tensor(boolean, ())), b.input("x", Tensor(f32, (2,)))
    (y,) = b.if_(c, x, **graphs)
    return b.outputs(y)


def ladder(steps: int) -> Graph:
    """Many branches and long edges: every step reads the step before and the input."""
    b = Builder(Graph("ladder"))
    x = b.input("x", Tensor(f32, (N, 4)))
    y = x
    for _ in range(steps):
        y = b.add(b.relu(y), b.tanh(x))
    return b.outputs(y)


def test_dot() -> None:
    _, _, _, *rest = to_dot(residual()).splitlines()
    assert rest == [
        '  in0 [label="x\\nf32[N, 4]", fillcolor="#dbeafe"];',
        '  subgraph cluster_0 { label="block";',
        '    subgraph cluster_1 { label="dense";',
        '      n0 [label="matmul\\n@dense.kernel f32[4, 4]\\n→ f32[N, 4]"];',
        '      n1 [label="relu\\n→ f32[N, 4]"];',
        "    }",
        "  }",
        '  subgraph cluster_2 { label="add";',
        '    n2 [label="add\\n→ f32[N, 4]"];',
        "  }",
        '  out0 [label="y\\nf32[N, 4]", fillcolor="#dcfce7"];',
        "  in0 -> n0;",
        "  n0 -> n1;",
        "  in0 -> n2;",
        "  n1 -> n2;",
        "  n2 -> out0;",
        "}",
    ]


def test_mermaid() -> None:
    assert to_mermaid(residual()).splitlines() == [
        "flowchart TD",
        '  in0(["x<br/>f32[N, 4]"])',
        '  subgraph g0["block"]',
        '    subgraph g1["dense"]',
        '      n0["matmul<br/>@dense.kernel f32[4, 4]<br/>→ f32[N, 4]"]',
        '      n1["relu<br/>→ f32[N, 4]"]',
        "    end",
        "  end",
        '  subgraph g2["add"]',
        '    n2["add<br/>→ f32[N, 4]"]',
        "  end",
        '  out0(["y<br/>f32[N, 4]"])',
        "  in0 --> n0",
        "  n0 --> n1",
        "  in0 --> n2",
        "  n1 --> n2",
        "  n2 --> out0",
    ]


def test_odd_names_are_escaped() -> None:
    graph = branches()
    dot, mermaid = to_dot(graph), to_mermaid(graph)
    assert r'digraph "a \"title\" <b>" {' in dot
    assert r'label="odd \"then\" <&> #1\\";' in dot
    assert '["odd #34;then#34; #60;#38;#62; #35;1#92;"]' in mermaid
    root = ET.fromstring(to_svg(picture(graph)))
    texts = [e.text for e in root.iter() if e.tag.endswith("text")]
    assert any(t and 'odd "then" <&> #1\\' in t for t in texts)
    assert "stroke-dasharray" in to_svg(picture(graph))


def test_json_holds_the_graph() -> None:
    graph = residual()
    record = json.loads(to_json(graph))
    assert record["inputs"] == [{"name": "x", "type": "f32[N, 4]"}]
    assert record["outputs"] == [{"name": "y", "value": "add", "type": "f32[N, 4]"}]
    (constant,) = record["constants"]
    assert constant.keys() == {"name", "type", "sha256"} and constant["name"] == "dense.kernel"
    matmul, relu, add = record["nodes"]
    assert matmul["op"] == "matmul" and matmul["inputs"][:2] == ["x", "dense.kernel"]
    assert matmul["source"] == "block/dense" and matmul["attributes"]["activation"] == "linear"
    assert add["inputs"] == ["x", relu["outputs"][0]["name"]]


def test_json_holds_subgraphs_and_odd_attributes() -> None:
    node = json.loads(to_json(branches()))["nodes"][0]
    assert node["subgraphs"]["then"]["nodes"][0]["op"] == "relu"
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N, 2, 2)))
    s = b.input("s", Tensor(i64, (1,)))
    y = b.reshape(b.relu(b.reshape(x, shape=(N, 4))), shape=s)
    nodes = json.loads(to_json(b.outputs(y)))["nodes"]
    assert nodes[0]["attributes"]["shape"] == ["N", 4]
    assert nodes[2]["dynamic"] == {"shape": "s"}


def test_json_shows_as_much_of_the_weights_as_asked_for() -> None:
    found = {mode: json.loads(to_json(residual(), mode))["constants"][0] for mode in ("none", "hash", "stats", "full")}
    assert found["none"] == {"name": "dense.kernel", "type": "f32[4, 4]"}
    assert found["hash"] == {
        **found["none"],
        "sha256": hashlib.sha256(np.eye(4, dtype="f4").tobytes()).hexdigest()[:16],
    }
    assert found["stats"]["statistics"]["mean"] == 0.25 and sum(found["stats"]["statistics"]["histogram"]) == 16
    assert found["full"] == {**found["hash"], "elements": np.eye(4).tolist()}


@pytest.mark.parametrize("mode", ["none", "hash", "stats", "full"])
@pytest.mark.parametrize("make", ["residual", "branches", "hostile", "odd"])
def test_json_is_of_the_schema(make: str, mode: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    graph = {"residual": residual, "branches": branches, "hostile": hostile, "odd": odd_weights}[make]()
    schema = json.loads((Path(tenun.__file__).parent / "docs" / "graph.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    record = json.loads(to_json(graph, mode))
    jsonschema.Draft202012Validator(schema).validate(record)
    assert (record["format"], record["version"]) == ("tenun.graph", schema["properties"]["version"]["const"])
    record["nodes"][0]["surprise"] = 1  # a field that the schema does not know has to be found
    assert not jsonschema.Draft202012Validator(schema).is_valid(record)


def odd_weights() -> Graph:
    """Elements that JSON has no numbers for."""
    b = Builder(Graph("odd"))
    x = b.input("x", Tensor(f32, (N, 2)))
    y = b.add(x, b.constant(np.float32([np.nan, -np.inf]), "w"))
    bf16 = b.constant(np.ones((1, 2), ml_dtypes.bfloat16), "narrow")
    return b.outputs(y, b.cast(bf16, to=f32), b.neg(b.constant(np.complex64([1 + 2j]), "c")))


def test_groups_of_fused_layers_are_what_they_share() -> None:
    sources = {
        "a/b/conv": ("a", "b", "conv"),
        "": (),
        "conv + relu": ("conv + relu",),
        "a/b/conv + a/b/relu": ("a", "b", "conv + relu"),
        "a/b/conv + a/c": ("a", "b/conv + c"),
        "a/b + a/b/c": ("a", "b + b/c"),
    }
    (node, *_) = residual().nodes
    for source, group in sources.items():
        node.source = source
        assert group_of(node) == group


@pytest.mark.parametrize("graph", [residual(), branches(), ladder(30), ladder(80)], ids=lambda g: g.name)
def test_svg_is_xml_and_its_boxes_do_not_overlap(graph: Graph) -> None:
    root = ET.fromstring(to_svg(picture(graph)))
    names = [e.tag.rpartition("}")[2] for e in root]
    assert names.count("path") == len(picture(graph).edges)
    boxes = [_box(e) for e in root if e.tag.endswith("rect") and e.get("rx")]
    assert len(boxes) == len(picture(graph).boxes)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    for (x, y, w, h), (u, v, s, t) in combinations(boxes, 2):
        assert x + w <= u or u + s <= x or y + h <= v or v + t <= y


def _box(element: Any) -> tuple[float, ...]:
    return tuple(float(element.get(k)) for k in ("x", "y", "width", "height"))


def test_a_graph_without_nodes_can_be_drawn() -> None:
    b = Builder(Graph("empty"))
    graph = b.outputs(b.input("x", Tensor(f32, (2,))))
    ET.fromstring(to_svg(picture(graph)))
    assert "in0 -> out0" in to_dot(graph)


@pytest.mark.parametrize("suffix", [".dot", ".mmd", ".json", ".txt", ".svg"])
def test_draw_writes_by_suffix(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"graph{suffix}"
    draw(residual(), target)
    assert target.stat().st_size > 100
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_draw_refuses_what_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot draw .pdf"):
        draw(residual(), tmp_path / "graph.pdf")
    with pytest.raises(TenunError, match="cannot write"):
        draw(residual(), tmp_path / "missing" / "graph.dot")
    if shutil.which("dot") is None:
        with pytest.raises(UnsupportedError, match="Graphviz"):
            draw(residual(), tmp_path / "graph.png")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")
def test_graphviz_accepts_our_dot(tmp_path: Path) -> None:
    pytest.importorskip("graphviz")
    for graph in (residual(), branches()):
        draw(graph, tmp_path / "graph.png")
        assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_without_graphviz_svg_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    draw(residual(), tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text() == to_svg(picture(residual()))
