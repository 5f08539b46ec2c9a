"""What became of a layer on its way through the compiler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backends.base import backend
from ..errors import RunError
from ..ir.graph import Graph, Node, Var
from ..ir.text import node_lines, node_text
from ..passes.manager import Context, PassManager, find
from .align import parts
from .summary import quantity
from .values import dumped, find_value, layer_values, swallowed

if TYPE_CHECKING:
    from ..executable import Executable

ROUNDS = 5  # timed runs


@dataclass(frozen=True)
class Touch:
    """A pass that changed the nodes of a layer, and what they are after it."""

    name: str
    doc: str
    nodes: list[str]


@dataclass(frozen=True)
class Running:
    """A node that runs: as text, why its algorithm was chosen, where its results lie, seconds of a run."""

    text: str
    algorithm: str
    buffers: list[str]
    seconds: float | None


@dataclass(frozen=True)
class Explanation:
    """The story of a layer; printed as text."""

    layer: str
    loaded: list[str]
    touches: list[Touch]
    running: list[Running]
    fetched: str

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield self.layer
        yield "  as loaded"
        yield from (f"    {text}" for text in self.loaded)
        for touch in self.touches:
            yield f"  after {touch.name}: {touch.doc}"
            yield from (f"    {text}" for text in touch.nodes or ["(nothing is left)"])
        yield "  what runs"
        for each in self.running:
            yield f"    {each.text}"
            yield from (f"      {text}" for text in [each.algorithm, *each.buffers] if text)
            if each.seconds is not None:
                yield f"      {1e3 * each.seconds:.3g} ms"
        if not self.running:
            yield "    nothing: its results are known before the run, or nobody needs them"
        yield f"  fetched   {self.fetched}"


def explain(executable: Executable, layer: str, inputs: Mapping[str, Any]) -> Explanation:
    """The story of a layer (or of the layer that makes a value), for a run on inputs by name."""
    graph = executable.graph.copy()
    path = _path(graph, layer)
    loaded = _texts(graph, path)
    touches = list(_touches(executable, graph, path))
    inside = swallowed(executable.optimized, layer_values(executable.graph)[path])
    fetched = "as it is" if inside is None else f"is kept apart from {inside}"
    return Explanation(path, loaded, touches, list(_running(executable, path, inputs)), fetched)


def _path(graph: Graph, name: str) -> str:
    if name in layer_values(graph):
        return name
    producer = find_value(graph, name).producer
    if producer is None or not producer.source:
        raise RunError(f"{name!r} is made by no layer")
    return producer.source


def _is_of(node: Node, path: str) -> bool:
    return any(part == path or part.startswith(path + "/") for part in parts(node.source))


def _nodes(graph: Graph, path: str) -> list[Node]:
    return [n for n in graph.nodes if _is_of(n, path)]


def _texts(graph: Graph, path: str) -> list[str]:
    return node_lines(graph, _nodes(graph, path))


def _touches(executable: Executable, graph: Graph, path: str) -> Iterator[Touch]:
    """The passes after which the nodes of the layer are others, found by running them once more."""
    found: list[Touch] = []
    last = [[node_text(n) for n in _nodes(graph, path)]]  # without the numbers that make names unique in a dump

    def observe(name: str, graph: Graph) -> None:
        now = [node_text(n) for n in _nodes(graph, path)]
        if now != last[0]:
            found.append(Touch(name, find(name).doc, _texts(graph, path)))
            last[0] = now

    chosen = backend(executable.backend_name)
    PassManager(executable.passes, Context(chosen.evaluate), observe=observe).run(graph)
    yield from found


def _running(executable: Executable, path: str, inputs: Mapping[str, Any]) -> Iterator[Running]:
    plan = executable.plan(**inputs)
    rows = executable.profile(rounds=ROUNDS, **inputs).nodes
    timed = list(dict.fromkeys(plan.origin))
    seconds = {node: row.seconds for node, row in zip(timed, rows)} if len(timed) == len(rows) else {}
    names = {var: f"%{name}" for name, var in dumped(plan.graph).items()}
    mine = _nodes(plan.graph, path)
    for node, text in zip(mine, node_lines(plan.graph, mine)):
        buffers = [_place(plan, v, names) for v in node.outputs if v.uses or plan.graph.is_output(v)]
        yield Running(text.removesuffix(f"  // {node.note}"), node.note, buffers, seconds.get(node))


def _place(plan: Any, var: Var, names: Mapping[Var, str]) -> str:
    """Where a value lies."""
    storage, name = plan.storage, names[var]
    if var in storage.view_of:
        return f"{name} is a view of {names[storage.view_of[var][1]]}"
    if var in storage.part_of:
        return f"{name} is made in its place in {names[storage.part_of[var][0].outputs[0]]}"
    root = storage.root_of.get(var)
    if root is None:
        return f"{name} gets memory of its own in every run: its size is not known before"
    size = quantity(var.tensor.nbytes, "B") if var.tensor.is_static else "?"
    shared = [names[v] for v in storage.root_of if storage.root_of[v] is root and v is not var]
    beside = f", which it shares in place with {', '.join(shared[:3])}" if shared else ""
    return f"{name} lies at byte {plan.offsets.get(root, 0)} of the arena, {size}{beside}"
