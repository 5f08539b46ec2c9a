"""A graph as Graphviz dot, as a Mermaid flow chart, and as JSON: text in the end, nothing else is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from ..ir.attributes import Activation
from ..ir.dims import Expr
from ..ir.graph import Graph, Node, Var
from ..ir.text import named_constants, value_names, value_text
from ..ir.types import DType
from .picture import Box, Picture, picture
from .weights import statistics

# ---- dot


def to_dot(graph: Graph) -> str:
    """The graph in the language of Graphviz; a cluster for every layer."""
    drawn = picture(graph)
    lines = [
        f"digraph {_dot_text([drawn.title])} {{",
        '  node [shape=box, style="rounded,filled", fillcolor="#f4f6f8", fontname="Helvetica", fontsize=10];',
        '  graph [fontname="Helvetica", fontsize=10, style="rounded", color="#9aa5b1"];',
        *_grouped(drawn, _dot_box, _dot_open, "}"),
        *(f"  {e.start} -> {e.end}{' [style=dashed]' if e.inner else ''};" for e in drawn.edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _dot_text(lines: Iterable[str]) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def _dot_box(box: Box) -> str:
    colours = {"input": ', fillcolor="#dbeafe"', "output": ', fillcolor="#dcfce7"'}
    return f"{box.name} [label={_dot_text(box.lines)}{colours.get(box.kind, '')}];"


def _dot_open(number: int, title: str) -> str:
    return f"subgraph cluster_{number} {{ label={_dot_text([title])};"


# ---- mermaid


def to_mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flow chart, which GitHub draws in Markdown."""
    drawn = picture(graph)
    lines = [
        "flowchart TD",
        *_grouped(drawn, _mermaid_box, lambda i, title: f"subgraph g{i}[{_mermaid_text([title])}]", "end"),
        *(f"  {e.start} {'-.->' if e.inner else '-->'} {e.end}" for e in drawn.edges),
    ]
    return "\n".join(lines) + "\n"


def _mermaid_text(lines: Iterable[str]) -> str:
    """Quoted, with the characters that mean something to Mermaid as entities."""
    special = '#"<>&`\\\n'
    escaped = ("".join(f"#{ord(c)};" if c in special else c for c in line) for line in lines)
    return '"' + "<br/>".join(escaped) + '"'


def _mermaid_box(box: Box) -> str:
    opening, closing = ("[", "]") if box.kind == "op" else ("([", "])")
    return f"{box.name}{opening}{_mermaid_text(box.lines)}{closing}"


# ---- groups, for both


def _grouped(
    drawn: Picture, write: Callable[[Box], str], opening: Callable[[int, str], str], closing: str
) -> Iterator[str]:
    """All boxes, those of one group inside its brackets, nested like the paths."""
    tree: dict[tuple[str, str], Any] = {}
    for box in drawn.boxes:
        place = tree
        for part in box.group if drawn.grouped else ():
            place = place.setdefault(("group", part), {})
        place["box", box.name] = box
    numbers = iter(range(len(drawn.boxes) * 32))
    yield from _branch(tree, "  ", numbers, write, opening, closing)


def _branch(
    tree: Mapping[Any, Any],
    indent: str,
    numbers: Iterator[int],
    write: Callable[[Box], str],
    opening: Callable[[int, str], str],
    closing: str,
) -> Iterator[str]:
    for (kind, name), inside in tree.items():
        if kind == "box":
            yield indent + write(inside)
            continue
        yield indent + opening(next(numbers), name)
        yield from _branch(inside, indent + "  ", numbers, write, opening, closing)
        yield indent + closing


# ---- JSON

FORMAT, VERSION = "tenun.graph", 1


def to_json(graph: Graph, weights: str = "hash") -> str:
    """The graph as JSON: inputs, outputs, constants, states, nodes with their types, attributes and subgraphs.

    weights: of each constant the type alone ("none"), the digest ("hash"), the statistics too ("stats"), or its
    elements too ("full").  docs/graph.schema.json describes the form.
    """
    names = {var: name for name, var in named_constants(graph).items()}
    record = {"format": FORMAT, "version": VERSION, **graph_record(graph, names, weights)}
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def graph_record(graph: Graph, constants: Mapping[Var, str], weights: str = "hash") -> dict[str, Any]:
    """A graph as lists, dicts, strings and numbers."""
    names = value_names(graph, constants)
    return {
        "name": graph.name,
        "inputs": [_value_record(v, names) for v in graph.inputs],
        "outputs": [_output_record(name, v, names) for name, v in zip(graph.output_names, graph.outputs)],
        "constants": [_constant_record(v, names, weights) for v in graph.constants],
        "state": [{"input": names[s.input], "output": s.output, "first": names[s.first]} for s in graph.state],
        "metadata": graph.metadata,
        "nodes": [_node_record(n, names, constants, weights) for n in graph.nodes],
    }


def _value_record(var: Var, names: Mapping[Var, str]) -> dict[str, Any]:
    return {"name": names[var], "type": str(var.type)}


def _output_record(name: str, var: Var, names: Mapping[Var, str]) -> dict[str, Any]:
    return {"name": name, "value": names[var], "type": str(var.type)}


def _constant_record(var: Var, names: Mapping[Var, str], weights: str) -> dict[str, Any]:
    assert var.constant is not None
    record = _value_record(var, names)
    if weights != "none":
        record["sha256"] = var.constant.digest
    if weights == "stats":
        found = statistics(var.data)
        record["statistics"] = found and found.to_dict()
    if weights == "full":
        record["elements"] = None if var.data is None else _elements(var.data.tolist())
    return record


def _elements(value: Any) -> Any:
    return [_elements(v) for v in value] if isinstance(value, list) else plain(value)


def _node_record(node: Node, names: Mapping[Var, str], constants: Mapping[Var, str], weights: str) -> dict[str, Any]:
    operands = [None if v is None else names[v] for v in node.inputs]
    split = len(node.operands)
    return {
        "op": node.op.name,
        "source": node.source,
        "note": node.note,
        "inputs": operands[:split],
        "attributes": {key: plain(value) for key, value in node.attrs.items()},
        "dynamic": dict(zip(node.dynamic, operands[split:])),
        "outputs": [_value_record(v, names) for v in node.outputs],
        "subgraphs": {role: graph_record(sub, constants, weights) for role, sub in node.graphs.items()},
    }


def plain(value: Any) -> Any:
    """An attribute's value as JSON has it: what JSON does not know is written as in the text."""
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return repr(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value_text(value).removeprefix("dim ") if isinstance(value, (Activation, Expr, DType)) else str(value)
