"""Layers as regions of nodes, in two graphs that fill them in their own ways.

Between formats a mask becomes sorting and gathering, attention a dozen of products and transposes.  What is inside of
a layer then has no partner, or one that gives something else, though the layer does the same; what counts are the
values that leave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..ir.graph import Node
from .align import Alignment, Homes, label, parts

Regions = Mapping[Node, str]


def regions_of(alignment: Alignment) -> Regions:
    """The region of every node of both graphs, by the names of the first one's layers.

    Layers that a pass has merged are one region.  A node of the second graph that belongs to no layer of the first one
    is of the region between whose nodes it stands, else of one of its own, with all that is named after it.
    """
    joined = _joined(n.source for n in alignment.a.nodes)
    homes = Homes(alignment.a)
    found = {n: joined.get(label(n), label(n)) for n in alignment.a.nodes}
    found |= {n: joined.get(home, home) for n in alignment.b.nodes if (home := homes.of(n)) is not None}
    for node in alignment.b.nodes:
        around = {found.get(n) for n in (*_makers(node), *_readers(node))}
        if node not in found and len(around) == 1 and None not in around and _makers(node):
            found[node] = next(iter(around)) or ""
    heads = heads_of(n for n in alignment.b.nodes if n not in found)
    return {n: found.get(n) or heads.get(n) or label(n) for n in (*alignment.a.nodes, *alignment.b.nodes)}


def heads_of(nodes: Iterable[Node]) -> dict[Node, str]:
    """The names of nodes, those of the parts of a layer (`scale/Add`) being that of the first (`scale`)."""
    names = {n: label(n) for n in nodes}
    known = set(names.values())

    def head(name: str) -> str:
        words = name.split("/")
        return next(h for i in range(len(words)) if (h := "/".join(words[: i + 1])) in known)

    return {n: head(name) for n, name in names.items()}


def _joined(sources: Iterable[str]) -> dict[str, str]:
    """For each source, and each part of one, a name that all have in common that some source joins."""
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    for source in dict.fromkeys(sources):
        for part in parts(source):
            root[find(part)] = find(source)
    return {name: find(name) for name in list(root)}


def _makers(node: Node) -> list[Node]:
    return [v.producer for v in node.inputs if v is not None and v.producer is not None]


def _readers(node: Node) -> list[Node]:
    return [user for v in node.outputs for user in v.users]
