"""The order of the nodes, chosen for memory: a value is read for the last time as early as can be.

Autodiff writes all gradients first and the updates of the parameters after them, so that all gradients are alive at the
end; each can go as soon as its parameter is updated.  The new order is made by list scheduling: of the nodes whose
operands are there, always the one after which least is alive (the first in the old order, of several).  That looks one
step ahead only, so the old order is kept where the new one saves nothing.  The results are the same bits: what is
computed, and from what, stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise

from ..ir.graph import Graph, Node, Var
from ..ir.types import Tensor
from .manager import Context, register
from .memory import Life, aligned, live_bytes

WORTH = 0.98  # of the bytes at the peak: a new order has to come by with so much
LEAST = 1 << 12  # bytes of all values together, a page: there is nothing to be saved of less


@register
def schedule(graph: Graph, context: Context) -> int:
    """Compute nodes in an order in which fewer bytes are alive at once, if there is one.

    For graphs of concrete shapes, where the context tells what lives how long.  Nodes with effects and random ones
    keep their order, and the last readers of a state stay before it is changed.  Returns how many nodes moved.
    """
    if context.lives is None or len(graph) < 3 or _bytes(graph) <= LEAST:
        return 0
    lives = context.lives(graph)
    before = list(graph.nodes)
    if not _may_help(graph, before, lives):
        return 0
    after = _Scheduler(graph, before, lives).run()
    _put(graph, after)
    if _peak(context.lives(graph)) > WORTH * _peak(lives):
        _put(graph, before)
        return 0
    return sum(a is not b for a, b in zip(before, after))


def _bytes(graph: Graph) -> int:
    """What all values of the nodes would take, each by itself."""
    types = [v.type for node in graph.nodes for v in node.outputs]
    return sum(t.nbytes for t in types if isinstance(t, Tensor) and t.is_static)


def _peak(lives: Sequence[Life]) -> int:
    return max(live_bytes([life.buffer for life in lives if not life.fixed]).values(), default=0)


def _put(graph: Graph, order: Sequence[Node]) -> None:
    """Give the nodes of a graph this order."""
    for node, following in reversed(list(pairwise(order))):
        graph.move(node, before=following)


def _may_help(graph: Graph, nodes: Sequence[Node], lives: Sequence[Life]) -> bool:
    """Whether something that idles at the peak could be gone by then, or come later.

    It could if a late reader does not need what the peak makes, or the peak does not need it.
    """
    alive = live_bytes([life.buffer for life in lives if not life.fixed])
    peak = max(alive, key=lambda step: alive[step], default=-1)
    if not 0 <= peak < len(nodes):
        return False
    node, order = nodes[peak], {n: i for i, n in enumerate(nodes)}
    needed = _reached([node], lambda n: [v.producer for v in n.inputs if v is not None and v.producer is not None])
    needing = _reached([node], lambda n: [user for v in n.outputs for user in v.users])
    touched = {*node.inputs, *node.outputs}
    outputs = set(graph.outputs)
    for life in lives:
        idle = life.buffer.first < peak < life.buffer.last and touched.isdisjoint(life.values)
        if life.fixed or not idle:
            continue
        late = [user for v in life.values for user in v.users if order[user] > peak]
        if any(user not in needing for user in late) and outputs.isdisjoint(life.values):
            return True
        makers = [v.producer for v in life.values if v.producer is not None and order[v.producer] < peak]
        if makers and needed.isdisjoint(makers):
            return True
    return False


def _reached(start: list[Node], following: Callable[[Node], list[Node]]) -> set[Node]:
    found = set(start)
    while start:
        for node in following(start.pop()):
            if node not in found:
                found.add(node)
                start.append(node)
    return found


class _Scheduler:
    """List scheduling: the nodes that could be next in a heap, by the bytes that each would add."""

    def __init__(self, graph: Graph, nodes: Sequence[Node], lives: Sequence[Life]) -> None:
        self.nodes = nodes
        self.order = {node: i for i, node in enumerate(nodes)}
        self.life_of: dict[Var, int] = {v: i for i, life in enumerate(lives) for v in life.values}
        self.sizes = [0 if life.fixed else aligned(life.buffer.size) for life in lives]
        self.made = {self.life_of[v] for v in graph.inputs if v in self.life_of}
        self.readers: list[set[Node | None]] = [set() for _ in lives]
        for life, readers in zip(lives, self.readers):
            readers.update(user for v in life.values for user in v.users)
            readers.update(None for v in life.values if graph.is_output(v))
        self.following: dict[Node, set[Node]] = defaultdict(set)
        self.waits: dict[Node, int] = dict.fromkeys(nodes, 0)
        for a, b in self._edges(lives):
            if a is not b and b not in self.following[a]:
                self.following[a].add(b)
                self.waits[b] += 1

    def _edges(self, lives: Sequence[Life]) -> Iterator[tuple[Node, Node]]:
        """What has to be computed before what; all edges lead forward in the old order."""
        for node in self.nodes:
            yield from ((v.producer, node) for v in node.inputs if v is not None and v.producer is not None)
        yield from pairwise(n for n in self.nodes if n.op.has("random") or n.op.has("effect"))
        for life in lives:
            for old, new in pairwise(life.groups):  # written over: whoever reads the old value comes first
                writer = new[0].producer
                assert writer is not None
                readers = {user for v in old for user in v.users}
                yield from ((r, writer) for r in readers if self.order[r] < self.order[writer])

    def run(self) -> list[Node]:
        """The new order."""
        heap: list[tuple[int, int]] = []
        done: list[Node] = []
        placed: set[Node] = set()

        def offer(node: Node) -> None:
            heappush(heap, (self._added(node), self.order[node]))

        for node in self.nodes:
            if not self.waits[node]:
                offer(node)
        while heap:
            added, number = heappop(heap)
            node = self.nodes[number]
            if node in placed:
                continue
            if added != self._added(node):
                offer(node)
                continue
            placed.add(node)
            done.append(node)
            for other in self._finish(node):
                offer(other)
        return done

    def _lives(self, values: Sequence[Var | None]) -> set[int]:
        return {self.life_of[v] for v in values if v is not None and v in self.life_of}

    def _added(self, node: Node) -> int:
        """The bytes alive after the node more than before."""
        born = sum(self.sizes[i] for i in self._lives(node.outputs) if i not in self.made)
        return born - sum(self.sizes[i] for i in self._lives(node.inputs) if self.readers[i] == {node})

    def _finish(self, node: Node) -> Iterator[Node]:
        """Take a node as computed; the nodes that can be next from now on, or free more than before."""
        self.made |= self._lives(node.outputs)
        for i in self._lives(node.inputs):
            self.readers[i].discard(node)
            if len(self.readers[i]) == 1:
                (last,) = self.readers[i]
                if last is not None and not self.waits[last]:
                    yield last
        for other in self.following[node]:
            self.waits[other] -= 1
            if not self.waits[other]:
                yield other
