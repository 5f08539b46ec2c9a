"""Code that is the same for every iteration of a `scan` or `loop` is computed once, before it.

Moved are pure nodes that read captured values and constants only.  If nobody can tell that there is an iteration at
all, only ops that cannot fail are moved: elementwise ones, views, movements and products.  Captured constants are put
inside first, where folding finds them.  Nothing is computed otherwise than before.
"""

from __future__ import annotations

from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.rebuild import copy_node
from ..ir.types import Tensor
from .bodies import FRAMES, Bodies, is_pure
from .manager import Context, register

LOOPS = ("loop", "scan")
SAFE = ("elementwise", "view", "permutes", "epilogue", "regroups", "repeats")


@register
def hoist(graph: Graph, context: Context) -> int:
    """Compute before a loop what is the same for all its iterations, and give subgraphs their constants."""
    changes = 0
    for node in graph.nodes:
        if node.op.name in FRAMES and not node.op.has("elementwise"):
            changes += _constants_inside(graph, node)
    for node in graph.nodes:
        for sub in node.graphs.values():
            changes += hoist(sub, context)  # from inside out: what leaves an inner loop may leave the outer one too
        if node.op.name in LOOPS:
            changes += _hoist_from(graph, node)
    return changes


def _constants_inside(graph: Graph, node: Node) -> int:
    """Captured constants become constants of the bodies."""
    bodies = Bodies(graph, node)
    given = [a for a in bodies.of_kind("captured") if a.operand.data is not None]
    for argument in given:
        for i, (body, var) in enumerate(zip(bodies.bodies, argument.inputs)):
            bodies.replace(i, var, body.share_constant(argument.operand))
        bodies.arguments.remove(argument)
    if given:
        bodies.rebuild()
    return len(given)


def runs(node: Node) -> bool:
    """Whether a loop certainly has an iteration."""
    if node.op.name == "scan":
        first = node.attrs["carried"]
        pairs = zip(node.operands[first : first + node.attrs["scanned"]], node.attrs["input_axes"])
        sizes = [v.shape[axis] for v, axis in pairs if v is not None and v.tensor.shape is not None]
        return any(isinstance(d, int) and d > 0 for d in sizes)
    trip, condition = node.operands[:2]
    enough = trip is None or (trip.data is not None and bool((trip.data > 0).all()))
    return enough and (condition is None or (condition.data is not None and bool(condition.data.all())))


def may_move(node: Node, sure: bool) -> bool:
    """Whether a node may be computed outside of the loop that it is in; `sure`: that it runs at all."""
    plain = is_pure(node) and not node.graphs and not node.op.has("string") and not node.op.has("opaque")
    typed = all(isinstance(v.type, Tensor) for v in (*node.outputs, *(v for v in node.inputs if v is not None)))
    return plain and typed and (sure or any(node.op.has(trait) for trait in SAFE))


class Mover:
    """Copies nodes of a body to the place before the node that the body belongs to."""

    def __init__(self, bodies: Bodies) -> None:
        self.bodies, (self.body,) = bodies, bodies.bodies
        self.builder = Builder(bodies.graph, before=bodies.node)
        self.outside: dict[Var, Var] = {a.inputs[0]: a.operand for a in bodies.of_kind("captured")}
        self._constants = set(self.body.constants)
        self.moved: list[Node] = []

    def knows(self, var: Var | None) -> bool:
        """Whether the value is there outside, or can be put there."""
        return var is None or var in self.outside or var in self._constants

    def varies(self, node: Node) -> bool:
        """Whether a node reads anything but constants: folding does the others."""
        return any(v is not None and v not in self._constants for v in node.inputs)

    def _outer(self, var: Var | None) -> Var | None:
        if var is not None and var not in self.outside:
            self.outside[var] = self.bodies.graph.share_constant(var)
        return None if var is None else self.outside[var]

    def move(self, node: Node) -> None:
        """Compute a node outside, whose operands it knows."""
        count = len(node.operands)
        attrs = {**node.attrs, **dict(zip(node.dynamic, map(self._outer, node.inputs[count:])))}
        copy = copy_node(self.builder, node, [self._outer(v) for v in node.operands], attrs)
        self.outside.update(zip(node.outputs, copy.outputs))
        self.moved.append(node)

    def finish(self) -> None:
        """Let the body read from outside what has moved."""
        moved = set(self.moved)
        for node in self.moved:
            for var in node.outputs:
                if self.body.is_output(var) or any(user not in moved for user in var.users):
                    self.bodies.replace(0, var, self.bodies.capture(self.outside[var], var.name)[0])
        for node in reversed(self.moved):
            self.body.erase(node)


def _hoist_from(graph: Graph, node: Node) -> int:
    bodies, sure = Bodies(graph, node), runs(node)
    mover = Mover(bodies)
    for inner in mover.body.nodes:
        if all(map(mover.knows, inner.inputs)) and mover.varies(inner) and may_move(inner, sure):
            mover.move(inner)
    if mover.moved:
        mover.finish()
        bodies.rebuild()
    return len(mover.moved)
