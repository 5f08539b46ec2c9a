"""What passes need to change nodes with subgraphs: which operand is which input of the bodies, which output which.

`if`, `loop`, `scan` and `chain` have arguments after their own operands; the first of them are carried from one
iteration to the next, then come those of which each iteration gets a slice, then those that are captured: the same
for all iterations.  The first outputs are the carried values, the others results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.graph import _distinct as distinct


class Frame(NamedTuple):
    """How many operands, inputs and outputs of a body do not belong to arguments."""

    operands: int  # before the arguments
    inputs: int  # of a body, before those that the arguments are
    outputs: int  # of a body, before those that become outputs of the node


FRAMES = {"if": Frame(1, 0, 0), "loop": Frame(2, 2, 1), "scan": Frame(0, 0, 0), "chain": Frame(0, 0, 0)}


@dataclass
class Argument:
    """An operand, and the inputs that it is in the bodies.  `kind`: carried, scanned or captured."""

    operand: Var
    inputs: tuple[Var, ...]
    kind: str
    extra: tuple[Any, ...] = ()  # of scanned ones: axis and direction


@dataclass
class Result:
    """An output of the node, and the outputs that it is of the bodies.  `kind`: carried or result."""

    output: Var | None
    values: tuple[Var, ...]
    kind: str
    extra: tuple[Any, ...] = ()  # of results of `scan`: axis and direction


class Bodies:
    """A node with subgraphs as lists of arguments and results, to be changed and built anew."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node, self.frame = graph, node, FRAMES[node.op.name]
        self.bodies = tuple(node.graphs.values())
        a, frame = node.attrs, self.frame
        carried, scanned = a.get("carried", 0), a.get("scanned", 0)
        extra_in = list(zip(a["input_axes"], a["input_reverse"])) if "input_axes" in a else []
        extra_out = list(zip(a["output_axes"], a["output_reverse"])) if "output_axes" in a else []
        self.arguments: list[Argument] = []
        for i, var in enumerate(node.operands[frame.operands :]):
            assert var is not None
            kind = "carried" if i < carried else "scanned" if i < carried + scanned else "captured"
            extra = extra_in[i - carried] if kind == "scanned" else ()
            inputs = tuple(body.inputs[frame.inputs + i] for body in self.bodies)
            self.arguments.append(Argument(var, inputs, kind, extra))
        self.results: list[Result] = []
        for i, out in enumerate(node.outputs):
            kind = "carried" if i < carried else "result"
            extra = extra_out[i - carried] if kind == "result" and extra_out else ()
            values = tuple(body.outputs[frame.outputs + i] for body in self.bodies)
            self.results.append(Result(out, values, kind, extra))

    def of_kind(self, kind: str) -> list[Argument]:
        return [a for a in self.arguments if a.kind == kind]

    def capture(self, operand: Var, name: str) -> tuple[Var, ...]:
        """A new captured argument; its inputs in the bodies, unless it is one already: then those."""
        for argument in self.of_kind("captured"):
            if argument.operand is operand:
                return argument.inputs
        return self.add(operand, operand.type, "captured", name).inputs

    def add(self, operand: Var, type: Any, kind: str, name: str, extra: tuple[Any, ...] = ()) -> Argument:
        """A new argument, whose inputs have the given type."""
        inputs = []
        for body in self.bodies:
            taken = {v.name for v in body.inputs}
            inputs.append(body.add_input(next(n for n in _names(name) if n not in taken), type))
        argument = Argument(operand, tuple(inputs), kind, extra)
        place = len(self.arguments)
        if kind == "scanned":  # before the captured ones
            place = sum(a.kind != "captured" for a in self.arguments)
        self.arguments.insert(place, argument)
        return argument

    def replace(self, number: int, old: Var, new: Var) -> None:
        """Let everybody in a body who reads `old` read `new`."""
        self.bodies[number].replace(old, new)
        for result in self.results:
            if result.values[number] is old:
                result.values = (*result.values[:number], new, *result.values[number + 1 :])

    def rebuild(self) -> Node:
        """The node anew, with the arguments and results as they are now; it takes the place of the old one."""
        frame, node = self.frame, self.node
        for i, body in enumerate(self.bodies):
            body.inputs[frame.inputs :] = [a.inputs[i] for a in self.arguments]
            values = [*body.outputs[: frame.outputs], *(r.values[i] for r in self.results)]
            body.set_outputs(values, distinct(v.name for v in values))
        builder = Builder(self.graph, before=node, source=node.source)
        operands = [*node.operands[: frame.operands], *(a.operand for a in self.arguments)]
        names = [r.output.name if r.output is not None else r.values[0].name for r in self.results]
        made = builder.node(node.op, operands, self._attributes(), graphs=dict(node.graphs), names=names)
        made.note = node.note
        for result, new in zip(self.results, made.outputs):
            if result.output is not None:
                self.graph.replace(result.output, new)
        self.graph.erase(node)
        return made

    def _attributes(self) -> dict[str, Any]:
        attrs = dict(self.node.attrs)
        scanned = self.of_kind("scanned")
        results = [r for r in self.results if r.kind == "result"]
        if "carried" in attrs:
            attrs["carried"] = len(self.of_kind("carried"))
        if "scanned" in attrs:
            attrs["scanned"] = len(scanned)
            attrs["input_axes"], attrs["input_reverse"] = _columns([a.extra for a in scanned])
            attrs["output_axes"], attrs["output_reverse"] = _columns([r.extra for r in results])
        return attrs


def _columns(pairs: Sequence[tuple[Any, ...]]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


def _names(name: str) -> Iterable[str]:
    yield name
    i = 1
    while True:
        yield f"{name}_{i}"
        i += 1


def is_pure(node: Node) -> bool:
    """Whether a node computes the same from the same operands, and does nothing else."""
    if node.op.has("random") or node.op.has("effect"):
        return False
    return all(is_pure(inner) for body in node.graphs.values() for inner in body.nodes)
