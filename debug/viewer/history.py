"""What the passes did to a graph, as numbered boxes: the same node has the same number before and after a pass.

Nodes are told apart by being the same object: passes change nodes in place or put new ones in their stead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir.graph import Graph, Node, Var
from ...ir.text import named_constants, value_names
from ..picture import group_of
from ..render import plain


@dataclass
class Stage:
    """The graph after a pass: the boxes in order, as places in `History.boxes`.

    `settles`: from here on all shapes are numbers.
    """

    name: str
    doc: str
    changes: int
    seconds: float
    boxes: list[int]
    settles: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The stage as JSON values."""
        rest = {name: getattr(self, name) for name in ("doc", "changes", "seconds", "boxes", "settles")}
        return {"pass": self.name, **rest}


@dataclass
class History:
    """Stages of a graph, and all that is in any of them.

    boxes: records of inputs, nodes and outputs, each once; `id` says which are the same thing at different stages.
    values: name and type of everything that flows or is constant, by number.  weights: the constants of the stages
    that were added with `weights=True`, by the number of their value.
    """

    stages: list[Stage] = field(default_factory=list)
    boxes: list[dict[str, Any]] = field(default_factory=list)
    values: list[list[str]] = field(default_factory=list)
    weights: dict[int, Var] = field(default_factory=dict)
    _place: dict[str, int] = field(default_factory=dict)  # of a record, by its text
    _numbers: dict[Any, int] = field(default_factory=dict)  # of a box, by what it is of
    _value_of: dict[Var, int] = field(default_factory=dict)

    def add(
        self, graph: Graph, name: str, doc: str = "", changes: int = 0, seconds: float = 0.0, *,
        weights: bool = False, settles: bool = False,
    ) -> None:  # fmt: skip
        """Enter the graph as it is now."""
        constants = {var: label for label, var in named_constants(graph).items()}
        boxes = [self._entered(record) for record in self._graph(graph, constants, (), ())]
        self.stages.append(Stage(name, doc, changes, seconds, boxes, settles))
        if weights:
            self.weights.update((self._value_of[v], v) for v in constants if v in self._value_of)

    def identify(self, copy: Graph, original: Graph) -> None:
        """Take the nodes and values of a copy for those of the original whose results have the same names."""
        names = {name: v for v, name in _results(original).items()}
        for mine, other in (*zip(copy.inputs, original.inputs), *_same_constants(copy, original)):
            self._same_value(mine, other)
        for var, name in _results(copy).items():
            node, twin = var.producer, names.get(name)
            if node is None or twin is None or twin.producer is None or node.op is not twin.producer.op:
                continue
            self._numbers.setdefault(node, self._numbers[twin.producer])
            self._same_value(var, twin)
            for role in node.graphs if var is node.outputs[0] else ():
                self.identify(node.graphs[role], twin.producer.graphs[role])

    def _same_value(self, mine: Var, other: Var) -> None:
        if other in self._value_of:
            self._value_of.setdefault(mine, self._value_of[other])
        if ("input", other) in self._numbers:
            self._numbers.setdefault(("input", mine), self._numbers["input", other])

    def number_of(self, node: Node) -> int | None:
        """The number of a node's box, if it is in any stage."""
        return self._numbers.get(node)

    # ---- records

    def _entered(self, record: dict[str, Any]) -> int:
        """The place of a record, which is kept once."""
        key = repr(record)
        if key not in self._place:
            self._place[key] = len(self.boxes)
            self.boxes.append(record)
        return self._place[key]

    def _number(self, of: Any) -> int:
        return self._numbers.setdefault(of, len(self._numbers))

    def _value(self, var: Var, name: str) -> int:
        """The number of a value; the newest stage names it."""
        number = self._value_of.setdefault(var, len(self.values))
        label = [("@" if var.constant is not None else "%") + name, str(var.type)]
        if number == len(self.values):
            self.values.append(label)
        else:
            self.values[number] = label
        return number

    def _graph(
        self, graph: Graph, constants: Mapping[Var, str], owner: tuple[Any, ...], around: tuple[str, ...]
    ) -> Iterator[dict[str, Any]]:
        """The boxes of a graph, those of subgraphs behind the node that they are of.

        owner: the number of the node and the role in it, of a subgraph.
        """
        names = value_names(graph, constants)
        number = {var: self._value(var, name) for var, name in names.items()}
        for var in graph.inputs:
            yield self._end("input", self._number(("input", var)), var.name, var, [], [number[var]], around)
        for i, node in enumerate(graph.nodes):
            group = around + group_of(node)
            yield self._node(node, number, group)
            for role, sub in node.graphs.items():
                inside = (*group, f"{node.op.name} {i}: {role}")
                yield from self._graph(sub, constants, (self._number(node), role), inside)
        for i, (var, label) in enumerate(zip(graph.outputs, graph.output_names)):
            box = self._number(("output", *owner, i))
            yield self._end("output", box, label, var, [number[var]], [], around)

    def _end(
        self, kind: str, number: int, label: str, var: Var, reads: list[int], gives: list[int], group: tuple[str, ...]
    ) -> dict[str, Any]:
        types = [str(var.type)]
        return {"id": number, "kind": kind, "op": label, "group": group, "in": reads, "out": gives, "types": types}

    def _node(self, node: Node, number: Mapping[Var, int], group: tuple[str, ...]) -> dict[str, Any]:
        declared = node.op.attributes
        attributes = {
            key: [plain(value), repr(value) == repr(declared[key].default)] for key, value in node.attrs.items()
        }
        record: dict[str, Any] = {
            "id": self._number(node),
            "kind": "op",
            "op": node.op.name,
            "family": node.op.family,
            "source": node.source,
            "group": group,
            "in": [None if v is None else number[v] for v in node.inputs],
            "out": [number[v] for v in node.outputs],
            "types": [str(v.type) for v in node.outputs],
            "attributes": attributes,
        }
        if node.dynamic:
            record["dynamic"] = list(node.dynamic)
        if node.note:
            record["note"] = node.note
        if node.graphs:
            record["inner"] = [self._number(("input", v)) for sub in node.graphs.values() for v in sub.inputs]
        return record


def _results(graph: Graph) -> dict[Var, str]:
    """The values that nodes make, by their names in the dump."""
    constants = {var: label for label, var in named_constants(graph).items()}
    return {v: name for v, name in value_names(graph, constants).items() if v.producer is not None}


def _same_constants(copy: Graph, original: Graph) -> Iterator[tuple[Var, Var]]:
    """Constants of both that share their elements."""
    known = {id(v.constant): v for v in original.constants}
    yield from ((v, known[id(v.constant)]) for v in copy.constants if id(v.constant) in known)
