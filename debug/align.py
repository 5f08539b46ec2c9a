"""Which nodes of two graphs are the same: the ground of `compare` and `diff`.

Two files of one model name, order and lay out things differently.  So nodes are paired by what is most certain first:

    1. provenance   the same source (a layer's path, the name of an ONNX node); or, between formats, a source in which
                    the other one is found (`model_1/dense_1/MatMul` holds `dense`)
    2. weights      the same elements, and then the same elements in whatever order
    3. place        what pairs read and what reads them, at the same operand
    4. order        what is left between two pairs, by op and shape

`level` brings both graphs into one form before: "raw" is as loaded, "light" folds constants and turns channels last,
"full" folds normalisations into the layers before them too, as many exporters do.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

import numpy as np

from ..ir.graph import Graph, Node, Var
from ..ir.rebuild import rebuild
from ..ir.types import Tensor, type_of
from ..passes.interpret import Evaluate
from ..passes.manager import Context, PassManager

LIGHT = (
    "fold", "dce", "hoist", "simplify", "movements", "layout", "reshapes", "fold", "directions", "recognize",
    "attention", "simplify", "fold", "dce",
)  # fmt: skip
FULL = (*LIGHT, "batchnorm", "padding", "fold", "cse", "dce")
LEVELS: dict[str, tuple[str, ...]] = {"raw": (), "light": LIGHT, "full": FULL}

Sides = tuple[list[Any], list[Any]]

TELLING = 2  # elements that a constant needs for its contents to tell anything
NUMBERED = re.compile(r"^(.+?)_{1,2}\d+$")


@dataclass(frozen=True)
class Pair:
    """Two nodes that are to give the same values, and how they were found: name, weights, place or order."""

    a: Node
    b: Node
    how: str

    @property
    def label(self) -> str:
        """The layer as the first graph calls it."""
        return label(self.a)


@dataclass
class Alignment:
    """The pairs of two graphs, in the order of the first one.

    `exact`: both graphs were made the same way, so that every difference between them counts.
    """

    level: str
    exact: bool
    a: Graph
    b: Graph
    pairs: list[Pair]

    @cached_property
    def partners(self) -> set[Node]:
        """The nodes of both graphs that have a partner."""
        return {n for p in self.pairs for n in (p.a, p.b)}

    @cached_property
    def only_a(self) -> list[Node]:
        """The nodes of the first graph that have no partner, and are no part of what has one."""
        return self._alone(self.a, 0)

    @cached_property
    def only_b(self) -> list[Node]:
        """The same of the second graph."""
        return self._alone(self.b, 1)

    def _alone(self, graph: Graph, side: int) -> list[Node]:
        known = {n for p in self.pairs for n in ((p.a, p.b)[side], completed(p)[side])}
        return [n for n in graph.nodes if n not in known]

    def without(self, pair: Pair) -> Alignment:
        """The same alignment with a pair taken apart."""
        return Alignment(self.level, self.exact, self.a, self.b, [p for p in self.pairs if p is not pair])


def label(node: Node) -> str:
    """What a user calls a node: its source, or its first result."""
    return node.source or (f"%{node.outputs[0].name}" if node.outputs else node.op.name)


def parts(source: str) -> list[str]:
    """The sources that passes have merged into one."""
    return source.split(" + ") if source else []


# ---- one form for both


def shaped(graph: Graph, inputs: Mapping[str, Any]) -> Graph:
    """The graph for inputs of these shapes: symbols become numbers, as far as inputs tell them."""
    types: dict[str, Any] = {}
    for var in graph.inputs:
        value = inputs.get(var.name)
        if isinstance(var.type, Tensor) and isinstance(value, np.ndarray):
            found = type_of(value)
            types[var.name] = Tensor(var.type.dtype, found.shape)
    return rebuild(graph, types)


def formed(graph: Graph, level: str, evaluate: Evaluate) -> Graph:
    """The graph in the form of a level (a copy, where the form is another one)."""
    return PassManager(LEVELS[level], Context(evaluate)).run(graph.copy()) if LEVELS[level] else graph


def aligned(a: Graph, b: Graph, evaluate: Evaluate, level: str | None = None) -> Alignment:
    """The alignment of two graphs of concrete shapes at a level; by default as they were loaded where they come from
    one format and exporter, else light.
    """
    exact = level in (None, "raw") and same_dialect(a, b)
    level = level or ("raw" if exact or is_merged(a) or is_merged(b) else "light")
    return align(formed(a, level, evaluate), formed(b, level, evaluate), level, exact)


def same_dialect(a: Graph, b: Graph) -> bool:
    """Whether both come from one format and exporter, and no pass has merged nodes of only one of them."""
    mine, other = dialect(a), dialect(b)
    if is_merged(a) != is_merged(b) or (mine and other and mine != other):
        return False
    left, right = (Counter(n.op.name for n in g.nodes) for g in (a, b))
    return bool(mine and other) or 2 * sum((left & right).values()) > max(len(a), len(b))


def dialect(graph: Graph) -> str:
    """Who wrote the file that the graph was loaded from; empty where it does not say."""
    producer = graph.metadata.get("producer_name")
    return str(producer) if producer else "keras" if "keras_version" in graph.metadata else ""


def is_merged(graph: Graph) -> bool:
    """Whether passes have merged nodes of several sources."""
    return any(" + " in n.source for n in graph.nodes)


def align(a: Graph, b: Graph, level: str = "raw", exact: bool = True) -> Alignment:
    """Pair the nodes of two graphs as they are."""
    found = _Matcher(a, b, strict=not exact)
    if not exact:
        found.by_merging()
        found.by_ends()
    found.by_name()
    found.by_weights(_exact)
    found.by_weights(found.unordered_at_home)
    found.by_home(weighted=True)
    found.by_weights(_unordered)
    found.by_home()
    found.by_completion()
    found.by_place()
    found.by_completion()
    found.by_order()
    found.by_place()
    found.by_tail()
    found.by_completion()
    found.by_exclusion()
    pairs = [Pair(n, found.b_of[n], found.how[n]) for n in a.nodes if n in found.b_of]
    return Alignment(level, exact, a, b, pairs)


def completed(pair: Pair) -> tuple[Node, Node]:
    """The nodes whose values are to agree: where one of the two adds its bias or applies its activation by itself, and
    the other leaves that to nodes of their own, the last of those.
    """
    a, b = pair.a, pair.b
    for part in (_bias, _activation):
        here, there = part(a), part(b)
        if here is not None and there is None:
            b = _following(b, here) or b
        elif there is not None and here is None:
            a = _following(a, there) or a
    return a, b


def _bias(node: Node) -> str | None:
    """The op that adds the bias, if the node does so itself."""
    place = next((i for i, slot in enumerate(node.op.inputs) if slot.name == "bias"), None)
    return "add" if place is not None and place < len(node.operands) and node.operands[place] is not None else None


def _activation(node: Node) -> str | None:
    """The op that the node applies to its result itself."""
    found = node.attrs.get("activation")
    return found.name if found and node.op.family != "recurrent" else None


def _following(node: Node, op: str) -> Node | None:
    """The only reader of a node's result, if it is of that op, and reads constants beside."""
    users = node.outputs[0].users
    if len(users) != 1 or users[0].op.name != op:
        return None
    others = [v for v in users[0].inputs if v is not None and v.producer is not node]
    return users[0] if all(v.constant is not None for v in others) else None


# ---- what nodes are known by


def weights_of(node: Node) -> list[Var]:
    """The constants of a node whose contents tell something."""
    return [v for v in node.inputs if v is not None and v.data is not None and v.data.size >= TELLING]


def sorted_digest(var: Var) -> str:
    """A hash of the elements in whatever order."""
    data = var.data
    assert data is not None
    flat = data.reshape(-1)
    ordered = np.sort(flat) if flat.dtype != object else np.array(sorted(map(str, flat)), object)
    raw = repr(ordered.tolist()).encode() if ordered.dtype == object else ordered.tobytes()
    return hashlib.sha256(raw).hexdigest()[:16]


def _exact(node: Node) -> Hashable:
    found = weights_of(node)
    digests = tuple(v.constant.digest for v in found if v.constant is not None)
    return (node.op.name, digests, tuple(v.shape for v in found)) if found else None


def _unordered(node: Node) -> Hashable:
    """The elements of the largest weight: a bias may be a node's own or not."""
    found = [
        (v.data.size, sorted_digest(v)) for v in weights_of(node) if v.data is not None and v.tensor.dtype.is_float
    ]
    return (node.op.name, max(found)[1]) if found else None


def _shapes_of_weights(node: Node, other: Node) -> list[Any]:
    """The shapes of a node's weights, with the bias that it leaves to another node where its partner does not."""
    ends = completed(Pair(node, other, ""))[0]
    return [v.shape for n in dict.fromkeys((node, ends)) for v in weights_of(n)]


def _shapes(node: Node) -> tuple[Any, ...]:
    return tuple(tuple(map(str, v.type.shape)) if isinstance(v.type, Tensor) and v.type.shape is not None else None
                 for v in node.outputs)  # fmt: skip


def _kind(node: Node) -> Hashable:
    return (node.op.name, _shapes(node))


def names_in(node: Node) -> Iterator[list[str]]:
    """The paths that say where a node comes from: its sources, then the names of its weights."""
    for source in parts(node.source):
        yield source.split("/")
    for var in node.inputs:
        if var is not None and var.constant is not None and "/" in var.name:
            yield var.name.split("/")


class Homes:
    """Finds the layers of one graph in the paths of another: `cnn_1/dense_1/MatMul` is of `dense`."""

    def __init__(self, graph: Graph) -> None:
        self._ends: dict[str, list[list[str]]] = defaultdict(list)
        for path in dict.fromkeys(p for n in graph.nodes for p in parts(n.source)):
            self._ends[path.split("/")[-1]].append(path.split("/"))

    def of(self, node: Node) -> str | None:
        """The layer that a node belongs to: the longest path found, None where there is none."""
        found: list[list[str]] = [path for words in names_in(node) for path in self._within(words)]
        return "/".join(sorted(found, key=len)[-1]) if found else None

    def of_path(self, path: str) -> str | None:
        """The layer that a path leads to."""
        return next(("/".join(found) for found in self._within(path.split("/"))), None)

    def _within(self, words: list[str]) -> Iterator[list[str]]:
        """The longest path that begins as far left as any: exporters put what is inside of a layer behind it."""
        for start in range(len(words)):
            found = []
            for end in range(start + 1, len(words) + 1):
                for path in (p for name in _spellings(words[end - 1]) for p in self._ends.get(name, ())):
                    if len(path) == end - start and all(w in _spellings(x) for w, x in zip(path, words[start:end])):
                        found.append(path)
            if found:
                yield max(found, key=lambda p: (len(p), len(p[-1])))
                return


def _spellings(word: str) -> tuple[str, ...]:
    """A name, and the name without the number that an exporter put behind it."""
    word = word.partition(":")[0]
    numbered = NUMBERED.match(word)
    return (word, numbered[1]) if numbered else (word,)


# ---- pairing


class _Matcher:
    """The pairs found so far.  `strict`: only nodes that give the same shapes are paired by their names or places."""

    def __init__(self, a: Graph, b: Graph, strict: bool) -> None:
        self.a, self.b, self.strict = a, b, strict
        self.b_of: dict[Node, Node] = {}
        self.a_of: dict[Node, Node] = {}
        self.how: dict[Node, str] = {}
        self.parts: set[Node] = set()  # nodes that complete what another node of a pair does in one
        self._nodes_a, self._homes = set(a.nodes), Homes(a)
        self._places = {v: i for g in (a, b) for i, v in enumerate(g.inputs)}

    def add(self, a: Node, b: Node, how: str) -> None:
        if a not in self.b_of and b not in self.a_of and not {a, b} & self.parts:
            self.b_of[a], self.a_of[b], self.how[a] = b, a, how

    def free_a(self) -> list[Node]:
        return [n for n in self.a.nodes if n not in self.b_of and n not in self.parts]

    def free_b(self) -> list[Node]:
        return [n for n in self.b.nodes if n not in self.a_of and n not in self.parts]

    def by_name(self) -> None:
        """Nodes of the same source, in order; those with weights need weights of the same shapes."""
        for left, right in self._by_roots(_grouped(self.free_a(), self.free_b(), lambda n: n.source or None).values()):
            for x, y in _in_order(left, right, lambda n: n.op.name):
                if _shapes_of_weights(x, y) == _shapes_of_weights(y, x):
                    self.add(x, y, "name")

    def by_weights(self, key: Callable[[Node], Hashable]) -> None:
        """Nodes whose weights have the same elements; where several do, in their order."""
        for left, right in self._by_roots(_grouped(self.free_a(), self.free_b(), key).values()):
            if len(left) == len(right):
                for x, y in zip(left, right):
                    self.add(x, y, "weights")

    def unordered_at_home(self, node: Node) -> Hashable:
        """The elements of a node's largest weight, and its layer."""
        home = (node.source or None) if node in self._nodes_a else self._homes.of(node)
        return (home, _unordered(node)) if home and weights_of(node) else None

    def by_home(self, weighted: bool = False) -> None:
        """Nodes whose layer, by the longest path found, is the same; in both directions.

        weighted: only those with weights, which need to be of the same shapes.
        """
        for graph, free, at in ((self.a, self.free_b(), 1), (self.b, self.free_a(), 0)):
            homes = Homes(graph)
            keys = {n: homes.of(n) for n in free}
            own = {n: n.source for n in (self.free_a() if at else self.free_b())}
            left, right = (own, keys) if at else (keys, own)
            groups = _grouped(left, right, lambda n, k={**left, **right}: k[n] or None)  # type: ignore[misc]
            for mine, others in self._by_roots(groups.values()):
                for x, y in _in_order(mine, others, _kind):
                    if not weighted or (weights_of(x) and _shapes_of_weights(x, y) == _shapes_of_weights(y, x)):
                        self.add(x, y, "name")

    def by_tail(self) -> None:
        """The last nodes of one layer, where they give the same shape, however they came to it."""
        homes = Homes(self.a)
        last_a = {n.source: n for n in self.a.nodes if n.source}
        last_b = {home: n for n in self.b.nodes if (home := homes.of(n)) is not None}
        for home, x in last_a.items():
            y = last_b.get(home)
            if y is not None and _shapes(x) == _shapes(y):
                self.add(x, y, "name")

    def by_ends(self) -> None:
        """The values that leave a layer, where they are of different shapes; nodes with weights are known by those."""
        homes = Homes(self.a)
        mine, theirs = _ends(self.a, lambda n: n.source or None), _ends(self.b, homes.of)
        for left, right in _grouped(mine, theirs, {**mine, **theirs}.__getitem__).values():
            if len(left) == len(right) == 1 and not (weights_of(left[0]) or weights_of(right[0])):
                self.add(left[0], right[0], "name")

    def by_place(self) -> None:
        """Makers and readers at the same places of pairs."""
        for x, y in zip(reversed(self.a.outputs), reversed(self.b.outputs)):
            if x.producer is not None and y.producer is not None and _kind(x.producer) == _kind(y.producer):
                self.add(x.producer, y.producer, "place")
        waiting: list[tuple[Any, Any]] = list(self.b_of.items())
        seeds = list(zip(self.a.inputs, self.b.inputs))
        for x, y in seeds:
            waiting += self._readers([x], [y])
        while waiting:
            x, y = waiting.pop()
            waiting += self._makers(x, y)
            waiting += self._readers(x.outputs, y.outputs)

    def _makers(self, x: Node, y: Node) -> list[tuple[Node, Node]]:
        found = []
        for v, w in zip(x.inputs, y.inputs):
            p, q = (None if z is None else z.producer for z in (v, w))
            if p is not None and q is not None and self._alike(p, q):
                self.add(p, q, "place")
                found.append((p, q))
        return found

    def _readers(self, left: Sequence[Var], right: Sequence[Var]) -> list[tuple[Node, Node]]:
        found = []
        for v, w in zip(left, right):
            mine = [u for u in v.uses if u.node not in self.b_of]
            others = [u for u in w.uses if u.node not in self.a_of]
            groups = _grouped(mine, others, lambda u: (_kind(u.node), u.place))
            for first, second in groups.values():
                if len(first) == len(second) == 1 and self._alike(first[0].node, second[0].node):
                    self.add(first[0].node, second[0].node, "place")
                    found.append((first[0].node, second[0].node))
        return found

    def _alike(self, x: Node, y: Node) -> bool:
        free = x not in self.b_of and y not in self.a_of
        return free and _kind(x) == _kind(y)

    def by_merging(self) -> None:
        """A node that passes have merged, with the last of those that it was made of."""
        for merged, other, turned in ((self.free_b(), self.a, False), (self.free_a(), self.b, True)):
            ends = {part: n for n in other.nodes for part in parts(n.source)}
            order = {n: i for i, n in enumerate(other.nodes)}
            for node in merged:
                mine = [ends[p] for p in parts(node.source) if p in ends]
                if len(parts(node.source)) < 2 or len(mine) < 2:
                    continue
                last = max(mine, key=lambda n: order[n])
                if _shapes(last) == _shapes(node):
                    self.add(*((node, last) if turned else (last, node)), "name")

    def by_completion(self) -> None:
        """Take away what belongs to pairs: a bias or an activation that only one of the two applies by itself."""
        for x, y in self.b_of.items():
            ends = completed(Pair(x, y, ""))
            self.parts |= {n for n in ends if n not in self.b_of and n not in self.a_of}

    def by_order(self) -> None:
        """What is left between two pairs, by op and shapes, then by op."""
        keys: list[Callable[[Node], Any]] = [_kind] if self.strict else [_kind, lambda n: n.op.name]
        for key in keys:
            for left, right in self._gaps():
                for x, y in _in_order(left, right, key):
                    self.add(x, y, "order")

    def by_exclusion(self) -> None:
        """What is alone on both sides of a source, or of a gap, and gives the same shape: its op was changed."""
        by_source = _grouped(self.free_a(), self.free_b(), lambda n: n.source or None)
        for left, right in (*by_source.values(), *self._gaps()):
            if len(left) == len(right) and [_shapes(n) for n in left] == [_shapes(n) for n in right]:
                for x, y in zip(left, right):
                    self.add(x, y, "order")
        for left, right in by_source.values() if not self.strict else ():
            if len(left) == len(right):
                for x, y in zip(left, right):
                    self.add(x, y, "name")

    def _by_roots(self, groups: Iterable[Sides]) -> Iterator[Sides]:
        """The groups, those of shared layers cut by the inputs of the graph that their nodes hang on."""
        for left, right in groups:
            cut = _grouped(left, right, self._roots) if max(len(left), len(right)) > 1 else {}
            whole = all(sum(len(s[at]) for s in cut.values()) == len(side) for at, side in enumerate((left, right)))
            uneven = any(len(x) != len(y) for x, y in cut.values())
            yield from (
                [(left, right)] if not cut or (len(left) == len(right) and (uneven or not whole)) else cut.values()
            )

    def _roots(self, node: Node) -> frozenset[int]:
        """The places of the graph's inputs that a node's values depend on."""
        seen: set[Var] = set()
        waiting = [v for v in node.inputs if v is not None]
        found = set()
        while waiting:
            var = waiting.pop()
            if var in seen:
                continue
            seen.add(var)
            if var.producer is not None:
                waiting += [v for v in var.producer.inputs if v is not None]
            elif var in self._places:
                found.add(self._places[var])
        return frozenset(found)

    def _gaps(self) -> list[tuple[list[Node], list[Node]]]:
        """Runs of free nodes between neighbouring pairs that stand in the same order in both graphs."""
        places = {n: i for i, n in enumerate(self.b.nodes)}
        b_nodes, free = list(self.b.nodes), set(self.free_b())
        found, run, last = [], list[Node](), -1
        for node in self.a.nodes:
            partner = self.b_of.get(node)
            if partner is None:
                run += [node] if node not in self.parts else []
            elif places[partner] > last:
                found.append((run, [n for n in b_nodes[last + 1 : places[partner]] if n in free]))
                run, last = [], places[partner]
        found.append((run, [n for n in b_nodes[last + 1 :] if n in free]))
        return [(left, right) for left, right in found if left and right]


def _ends(graph: Graph, home: Callable[[Node], str | None]) -> dict[Node, Hashable]:
    """The nodes whose first value is read outside of their layer, by the layer and what they give."""
    homes = {n: home(n) for n in graph.nodes}
    return {
        n: (homes[n], n.outputs[0].type.dtype, _shapes(n)[0])
        for n in graph.nodes
        if homes[n] and n.outputs and isinstance(n.outputs[0].type, Tensor)
        and leaves(graph, n.outputs[0], homes.get)
    }  # fmt: skip


def leaves(graph: Graph, var: Var, region: Callable[[Node], str | None]) -> bool:
    """Whether a value is read outside of the region, or layer, that makes it."""
    home = None if var.producer is None else region(var.producer)
    return graph.is_output(var) or any(region(user) != home for user in var.users)


def _grouped(left: Iterable[Any], right: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, Sides]:
    """Elements by their key where both sides have some; those whose key is None are left out."""
    found: dict[Any, Sides] = {}
    for i, side in enumerate((left, right)):
        for element in side:
            k = key(element)
            if k is not None:
                found.setdefault(k, ([], []))[i].append(element)
    return {k: both for k, both in found.items() if both[0] and both[1]}


def _in_order(left: Sequence[Node], right: Sequence[Node], key: Callable[[Node], Any]) -> Iterator[tuple[Node, Node]]:
    """Elements of equal keys, as many as keep their order."""
    matcher = SequenceMatcher(None, [key(n) for n in left], [key(n) for n in right], autojunk=False)
    for i, j, size in matcher.get_matching_blocks():
        yield from zip(left[i : i + size], right[j : j + size])
