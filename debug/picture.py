"""What a drawing of a graph shows, before it is known how it is drawn: boxes, edges, groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..ir.attributes import Activation
from ..ir.graph import Graph, Node, Var
from ..ir.text import value_text
from .part import places

ATTRIBUTES = 48  # characters of attributes shown in a box
WEIGHTS = 3  # constants listed in a box
GROUPED = 600  # boxes above which groups are left out


@dataclass(frozen=True)
class Box:
    """One box: a node (`kind` "op"), an "input" or an "output"; `group` is the path of the groups around it."""

    name: str
    kind: str
    lines: tuple[str, ...]
    group: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edge:
    """From the box of a value's producer to a box that reads it; `inner` leads from a node into its subgraph."""

    start: str
    end: str
    inner: bool = False


@dataclass
class Picture:
    """A graph as boxes in topological order, and edges."""

    title: str
    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)

    @property
    def grouped(self) -> bool:
        """Whether groups help: there are some, and the picture is not too big."""
        return len(self.boxes) <= GROUPED and any(box.group for box in self.boxes)


def picture(graph: Graph) -> Picture:
    """The boxes and edges of a graph and its subgraphs; weights are named in the boxes of the nodes that read them."""
    drawn = Picture(graph.name)
    _add_graph(drawn, graph, "", ())
    return drawn


def _add_graph(drawn: Picture, graph: Graph, prefix: str, around: tuple[str, ...]) -> None:
    made: dict[Var, str] = {}
    for i, var in enumerate(graph.inputs):
        made[var] = f"{prefix}in{i}"
        drawn.boxes.append(Box(made[var], "input", (var.name, str(var.type)), around))
    for i, node in enumerate(graph.nodes):
        name, group = f"{prefix}n{i}", around + group_of(node)
        drawn.boxes.append(Box(name, "op", tuple(node_lines(node)), group))
        drawn.edges += [Edge(start, name) for start in dict.fromkeys(made[v] for v in node.inputs if v in made)]
        made.update((v, name) for v in node.outputs)
        for role, sub in node.graphs.items():
            inside = f"{name}_{role}_"
            _add_graph(drawn, sub, inside, (*group, f"{node.op.name} {i}: {role}"))
            drawn.edges += [Edge(name, box.name, True) for box in drawn.boxes if box.name == f"{inside}in0"]
    for i, (var, label) in enumerate(zip(graph.outputs, graph.output_names)):
        drawn.boxes.append(Box(f"{prefix}out{i}", "output", (label, str(var.type)), around))
        drawn.edges += [Edge(made[var], f"{prefix}out{i}")] if var in made else []


def group_of(node: Node) -> tuple[str, ...]:
    """The path of the layer; the rules of Keras and ONNX agree on slashes.

    A node that stands for several layers is in what all of them are in, as `dense + relu`.
    """
    first, *others = [tuple(part for part in place.split("/") if part) for place in places(node)] or [()]
    if not others:
        return first
    shared = 0
    while all(len(path) > shared + 1 and path[shared] == first[shared] for path in (first, *others)):
        shared += 1
    return (*first[:shared], " + ".join("/".join(path[shared:]) for path in (first, *others)))


def node_lines(node: Node) -> Iterator[str]:
    """What a node's box says: op and activation, attributes, weights, result types."""
    activation = node.attrs.get("activation")
    fused = f" + {activation.name}" if isinstance(activation, Activation) and activation else ""
    yield node.op.name + fused
    attributes = _attributes(node)
    if attributes:
        yield attributes
    weights = [v for v in node.inputs if v is not None and v.constant is not None]
    yield from (f"@{v.name} {v.type}" for v in weights[:WEIGHTS])
    if len(weights) > WEIGHTS:
        yield f"... {len(weights) - WEIGHTS} more"
    yield "→ " + ", ".join(str(v.type) for v in node.outputs)


def _attributes(node: Node) -> str:
    """Attributes that are not at their default, shortened."""
    shown = [
        f"{key}={_shown(value)}"
        for key, value in node.attrs.items()
        if key != "activation" and value is not None and repr(value) != repr(node.op.attributes[key].default)
    ]
    text = " ".join(shown)
    return text if len(text) <= ATTRIBUTES else text[: ATTRIBUTES - 1] + "…"


def _shown(value: Any) -> str:
    """An attribute's value as people write it."""
    return value_text(value).replace('"', "").replace("dim ", "")
