"""What changed between two models: layers, options, weights.

Graphs of one origin are compared as they were loaded, and every change counts.  Between formats the same layer is
written in many ways; there only those pairs are looked at that compute something else, which `compare` measures.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations, zip_longest
from typing import Any

import numpy as np

from ..errors import TenunError
from ..ir.graph import Graph, Node, Var
from ..ir.text import value_text
from ..ir.types import Tensor
from ..passes.interpret import Evaluate
from .align import TELLING, Alignment, Homes, Pair, align, completed, label, leaves, parts
from .measure import measure
from .regions import Regions, heads_of, regions_of

CLOSE = 1e-6  # relative: numbers that a file keeps in another precision
FOLDED = 1e-5  # of the largest element: weights that were multiplied with others, in one order or another
STRICT = 2e-5  # of the largest element: two nodes that are the same
SCALES = (1.0, 30.0)  # of operands that are made up: clipping shows at large ones
GATES = (4, 3)  # blocks along the last axis of the weights of LSTM and GRU
SIGNS = {"added": "+", "removed": "-", "moved": ">", "renamed": "=", "option": "~", "weights": "~", "shape": "~"}
MARKS = {**SIGNS, "interface": "~"}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Change:
    """One change: of what kind (added, removed, moved, renamed, option, weights, shape, interface), to which layer.

    `other` is the layer's name in the second model where it is another one, `detail` what changed in words.
    """

    kind: str
    layer: str
    detail: str
    other: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        name = f"{self.layer} (there {self.other})" if self.other and self.other != self.layer else self.layer
        return f"{MARKS[self.kind]} {name}: {self.kind}: {self.detail}"


def changes(
    alignment: Alignment, faults: Sequence[Pair] | None = None, evaluate: Evaluate | None = None
) -> list[Change]:
    """The changes of an alignment in the order of the first graph.

    faults: the pairs that compute something else by themselves; between formats only these count, and nodes without a
    partner only where such a pair reads them.  With `evaluate`, options that make no difference are left out there.
    """
    if alignment.exact or faults is None:
        moved, _ = _moved(alignment)
        found = [c for p in alignment.pairs for c in _pair_changes(p, alignment, moved, False)]
        found += _loners(alignment)
    else:
        found = _across(alignment, faults, evaluate)
    places = {label(n): i for i, n in reversed(list(enumerate(alignment.a.nodes)))}
    distinct = dict.fromkeys([*_interface(alignment), *found])
    return sorted(distinct, key=lambda c: places.get(c.layer, -1 if c.kind == "interface" else len(places)))


def _across(alignment: Alignment, faults: Sequence[Pair], evaluate: Evaluate | None) -> list[Change]:
    """The changes between formats: what explains that these pairs compute something else."""
    regions = regions_of(alignment)
    moved, rewired = _moved(alignment, regions)
    usual = set(_usual(alignment, faults))
    found: list[Change] = []
    explained = {label(n) for n in rewired}
    for pair in faults:
        merged = list(_merged_in(pair, alignment))
        alike = bool(merged) or _is_helped(pair, alignment, moved, regions)
        alike = alike or (evaluate is not None and _equivalent(pair, evaluate))
        found += [*_pair_changes(pair, alignment, moved, alike, evaluate), *merged]
        explained |= {pair.label} if merged else set()
    found = [c for c in found if (c.kind, c.detail) not in usual]
    explained |= {c.layer for c in found}
    told = {regions[p.a] for p in faults if p.label in explained}
    loners, alone = list(_strangers(alignment, faults, regions, told)), {*alignment.only_a, *alignment.only_b}
    for glue in (False, True):  # what only moves elements is written everywhere: blamed where nothing else explains
        left = [p for p in faults if p.label not in explained and regions[p.a] not in told]
        for change, nodes in loners:
            fed = [p for p in faults if nodes & set(_feeding([p.a, p.b], alone))]
            if all(map(_moves, nodes)) == glue and set(fed) & set(left):
                found.append(change)
                explained |= {p.label for p in fed} | {change.layer}
    return found + [_unknown(p) for p in faults if p.label not in explained and regions[p.a] not in told]


def _usual(alignment: Alignment, faults: Sequence[Pair]) -> Iterator[tuple[str, str]]:
    """Options that differ, and what of it is said, in pairs that are not at fault: another way of writing."""
    for pair in set(alignment.pairs) - set(faults):
        if pair.a.op is pair.b.op:
            yield from (("option", text) for _, text in _options(pair.a, pair.b))


def _is_helped(pair: Pair, alignment: Alignment, moved: Container[Node], regions: Regions) -> bool:
    """Whether a pair that reads something else shares the work of its layer with nodes that have no partner: what its
    options say is then another way of writing, as far as can be told.
    """
    alone = {n for n in (*alignment.only_a, *alignment.only_b) if regions[n] == regions[pair.a] and not _moves(n)}
    return pair.a in moved and any(_feeding((pair.a, pair.b), alone))


def _equivalent(pair: Pair, evaluate: Evaluate) -> bool:
    """Whether both nodes, each with its own options, make the same of the same operands and weights."""
    a, b = pair.a, pair.b
    types = [[None if v is None or v.data is not None else v.type for v in n.inputs] for n in (a, b)]
    tensors = all(t is None or (isinstance(t, Tensor) and t.is_static) for t in types[0])
    if types[0] != types[1] or not tensors or a.graphs or b.graphs or completed(pair) != (a, b):
        return False
    try:
        return all(_equal_on(a, b, scale, evaluate) for scale in SCALES)
    except TenunError:
        return False


def _equal_on(a: Node, b: Node, scale: float, evaluate: Evaluate, attrs: Mapping[str, Any] | None = None) -> bool:
    """Whether both give the same for operands of a size; `attrs`: others for the first."""
    generator = np.random.default_rng(0)
    drawn = [None if v is None or v.data is not None else _drawn(generator, v.tensor, scale) for v in a.inputs]
    results = []
    for node, options in ((a, a.attrs if attrs is None else attrs), (b, b.attrs)):
        pairs = zip(node.inputs, a.inputs, drawn)
        given = [x if v is None or v.data is None else _same_weight(v, w) for v, w, x in pairs]
        results.append(evaluate(node.op, given, options, node.dynamic, {})[0])
    return not measure(results[0], results[1], STRICT).differs


def _same_weight(v: Var, w: Var | None) -> Array | None:
    """The contents of w for v, where they have the same shape: what differs in the weights is told elsewhere."""
    return w.data if w is not None and w.data is not None and w.shape == v.shape else v.data


def _drawn(generator: np.random.Generator, t: Tensor, scale: float) -> Array:
    if t.dtype.is_float:
        return (scale * generator.standard_normal(t.static)).astype(t.dtype.numpy)
    return generator.integers(0, 2, t.static).astype(t.dtype.numpy)


def _merged_in(pair: Pair, alignment: Alignment) -> Iterator[Change]:
    """Layers of one model only that passes have merged into a node that has a partner."""
    known_a, known_b = ({p for n in g.nodes for p in parts(n.source)} for g in (alignment.a, alignment.b))
    if len(parts(pair.b.source)) > 1 and known_a & set(parts(pair.b.source)):
        for part in parts(pair.b.source):
            if Homes(alignment.a).of_path(part) is None:
                yield Change("added", part, f"merged into {pair.label}")
    if len(parts(pair.a.source)) > 1 and known_b & set(parts(pair.a.source)):
        for part in parts(pair.a.source):
            if Homes(alignment.b).of_path(part) is None:
                yield Change("removed", part, f"merged into {pair.label}")


def _unknown(pair: Pair) -> Change:
    """A pair that computes something else, and nothing is to be seen of why."""
    ops = f"{pair.a.op.name} and {pair.b.op.name}" if pair.a.op is not pair.b.op else pair.a.op.name
    return Change("option", pair.label, f"{ops} of the same inputs give something else", label(pair.b))


# ---- the interface


def _interface(alignment: Alignment) -> Iterator[Change]:
    for what, left, right in (("input", *_ends(alignment, 0)), ("output", *_ends(alignment, 1))):
        if len(left) != len(right):
            names = ", ".join(n for n, _ in left), ", ".join(n for n, _ in right)
            yield Change("interface", what + "s", f"{len(left)} ({names[0]}) → {len(right)} ({names[1]})")
        for (name, v), (other, w) in zip(left, right):
            if alignment.exact and name != other:
                yield Change("renamed", name, f"{what} {name} → {other}", other)
            before, after = _type(v), _type(w)
            if what == "input" and before != after:
                yield Change("interface", name, f"{what} {before} → {after}", other)


def _ends(alignment: Alignment, which: int) -> tuple[list[tuple[str, Var]], list[tuple[str, Var]]]:
    def ends(graph: Graph) -> list[tuple[str, Var]]:
        return list(zip(graph.output_names, graph.outputs)) if which else [(v.name, v) for v in graph.inputs]

    return ends(alignment.a), ends(alignment.b)


def _type(var: Var) -> str:
    return str(Tensor(var.type.dtype, var.type.shape)) if isinstance(var.type, Tensor) else str(var.type)


# ---- pairs


def _pair_changes(
    pair: Pair, alignment: Alignment, moved: Mapping[Node, str], alike: bool, evaluate: Evaluate | None = None
) -> Iterator[Change]:
    """The changes of one pair; the second may do with several nodes what the first does with one, and vice versa.

    `alike`: their ops and options say the same, however they are written.  With `evaluate`, options that change nothing
    of what the second one computes are left out.
    """
    a, b = pair.a, pair.b
    layer, other = pair.label, label(b)

    def change(kind: str, detail: str) -> Change:
        return Change(kind, layer, detail, other if other != layer else "")

    if alignment.exact and a.source != b.source:
        yield change("renamed", f"{layer} → {other}")
    if a in moved:
        yield change("moved", moved[a])
    if alike:
        pass
    elif a.op is b.op:
        yield from (change("option", text) for key, text in _options(a, b) if _matters(a, b, key, evaluate))
    elif alignment.exact or not (a.graphs or b.graphs):
        yield change("option", f"{a.op.name} → {b.op.name}")
    contents = _weights(a, b, alignment.partners) if alignment.exact else _constants(pair)
    yield from (change(kind, _with_twin(detail, kind, w, alignment)) for kind, detail, w in contents)
    for role, sub in a.graphs.items():
        if role in b.graphs:
            inner = changes(align(sub, b.graphs[role]))
            yield from (change(c.kind, f"in its {role}: {c.layer}: {c.detail}") for c in inner)


def _with_twin(detail: str, kind: str, var: Var | None, alignment: Alignment) -> str:
    """The detail, with the constant of the first model that had these elements, if another one had."""
    if kind != "weights" or var is None or var.data is None or not np.ptp(var.data.astype(np.float64)):
        return detail
    assert var.constant is not None
    same = (v for v in alignment.a.constants if v.data is not None and v.data.shape == var.data.shape)
    twin = next((v for v in same if v.constant is not None and v.constant.digest == var.constant.digest), None)
    return f"{detail}; it holds what {twin.name} held" if twin is not None else detail


def _matters(a: Node, b: Node, key: str, evaluate: Evaluate | None) -> bool:
    """Whether b would compute something else with this option of a."""
    types = [None if v is None or v.data is not None else v.type for v in b.inputs]
    if evaluate is None or b.graphs or not all(t is None or (isinstance(t, Tensor) and t.is_static) for t in types):
        return True
    attrs = {k: v for k, v in b.attrs.items() if k != key} | ({key: a.attrs[key]} if key in a.attrs else {})
    try:
        return not all(_equal_on(b, b, scale, evaluate, attrs) for scale in SCALES)
    except TenunError:
        return True


def _options(a: Node, b: Node) -> Iterator[tuple[str, str]]:
    """Attributes that differ, with how they are written; those that say the same in other words are left out."""
    left, right = (_spelled_out(n) for n in (a, b))
    for key in a.attrs.keys() | b.attrs.keys():
        if _equal(a.attrs.get(key), b.attrs.get(key)) or _equal(left.get(key), right.get(key)):
            continue
        if _is_size(a, b, key):
            continue
        yield key, f"{key}: {_shown(a, key)} → {_shown(b, key)}"


def _spelled_out(node: Node) -> dict[str, Any]:
    """The attributes as kernels see them."""
    types = [None if v is None else v.type for v in node.operands]
    static = all(t is None or (isinstance(t, Tensor) and t.is_static) for t in types)
    if node.op.concrete is None or node.dynamic or not static:
        return dict(node.attrs)
    return node.op.concrete(types, dict(node.attrs))


def _is_size(a: Node, b: Node, key: str) -> bool:
    """Whether an attribute only follows from what the nodes read: the target of a reshape."""
    changed = [getattr(v, "type", None) != getattr(w, "type", None) for v, w in zip(a.operands, b.operands)]
    return key in ("shape", "sizes") and a.op.has("view") and any(changed)


def _shown(node: Node, key: str) -> str:
    return value_text(node.attrs[key]) if key in node.attrs else "none"


def _equal(x: Any, y: Any) -> bool:
    if isinstance(x, float) and isinstance(y, float):
        return x == y or (x != x and y != y) or abs(x - y) <= CLOSE * max(abs(x), abs(y))
    if isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)):
        return len(x) == len(y) and all(map(_equal, x, y))
    return bool(x == y)


Content = tuple[str, str, "Var | None"]


def _is_alone(var: Var | None, partners: Container[Node]) -> bool:
    """Whether a value is made by a node without a partner, which is told of by itself."""
    return var is not None and var.producer is not None and var.producer not in partners


def _weights(a: Node, b: Node, partners: Container[Node]) -> Iterator[Content]:
    """Operands that are constants, of one or both: the kind of change, what changed, the constant of the second."""
    for i, (v, w) in enumerate(zip_longest(a.inputs, b.inputs)):
        if v is None or w is None:
            if v is not w and not (_is_alone(v, partners) or _is_alone(w, partners)):
                name = a.op.inputs[min(i, len(a.op.inputs) - 1)].name
                yield "option", f"{name}: {_name(v)} → {_name(w)}", w
        elif v.data is not None and w.data is not None:
            yield from _contents(v, w, True)
        elif (v.constant is None) != (w.constant is None):
            yield "option", f"operand {i}: {_name(v)} → {_name(w)}", w


def _constants(pair: Pair) -> Iterator[Content]:
    """The same between formats, where a bias may be an operand or a node of its own."""
    ends = completed(pair)
    left, right = (
        [v for n in dict.fromkeys((node, end)) for v in n.inputs if v is not None and v.data is not None]
        for node, end in zip((pair.a, pair.b), ends)
    )
    if len(left) == len(right):
        for v, w in zip(left, right):
            yield from _contents(v, w, False)


def _name(var: Var | None) -> str:
    if var is None:
        return "none"
    return f"{'@' if var.constant is not None else '%'}{var.name}"


def _contents(v: Var, w: Var, exact: bool) -> Iterator[Content]:
    """How two constants differ."""
    x, y = v.data, w.data
    assert x is not None and y is not None
    name = v.name.rpartition(".")[2] if v.name != "c" else "a constant"
    if x.dtype != y.dtype:
        yield "option", f"{name}: {x.dtype} → {y.dtype}", w
    if x.shape != y.shape:
        if x.size != y.size or [d for d in x.shape if d != 1] != [d for d in y.shape if d != 1]:
            yield "shape", f"{name}: {list(x.shape)} → {list(y.shape)}", w
            return
        y = y.reshape(x.shape)
    if v.constant is w.constant or _same_elements(x, y, exact):
        return
    if x.size < TELLING:
        kind = "weights" if "." in v.name else "option"  # of a layer, which names its weights; or a constant in it
        yield kind, f"{name}: {x.reshape(-1)[0]:.6g} → {y.reshape(-1)[0]:.6g}", w
        return
    yield "weights", f"{name}: {rearranged(x, y) or retrained(x, y)}", w


def _same_elements(x: Array, y: Array, exact: bool) -> bool:
    """Equal, or, where they were computed (folded) on both sides, equal but for rounding."""
    if np.array_equal(x, y, equal_nan=x.dtype.kind in "fc" and y.dtype.kind in "fc"):
        return True
    if exact or x.dtype.kind not in "fc" or y.dtype.kind not in "fc":
        return False
    return bool(np.allclose(x, y, rtol=0, atol=FOLDED * float(np.abs(x).max(initial=0)), equal_nan=True))


def retrained(x: Array, y: Array) -> str:
    """The norm of the change."""
    if x.dtype == object:
        return f"{int((x != y).sum())} of {x.size} elements changed"
    p, q = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        delta = np.where((p == q) | (np.isnan(p) & np.isnan(q)), 0, q - p)
        norm, before = float(np.linalg.norm(delta)), float(np.linalg.norm(p))
    share = f", {100 * norm / before:.3g} % of its norm" if before and np.isfinite(norm) else ""
    count = int((delta != 0).sum())
    return f"retrained: |Δ| = {norm:.4g}{share}, {count} of {x.size} elements"


def rearranged(x: Array, y: Array) -> str:
    """How the same elements were put in another order; empty where they are others."""
    if x.dtype == object or not np.array_equal(np.sort(x, None), np.sort(y, None)):
        return ""
    for perm in permutations(range(x.ndim)) if x.ndim <= 5 else ():
        turned = x.transpose(perm)
        if list(perm) != sorted(perm) and turned.shape == y.shape and np.array_equal(turned, y):
            return f"transposed by {perm}"
    for axis in range(x.ndim):
        if np.array_equal(np.flip(x, axis), y):
            return f"flipped along axis {axis}"
    for count in GATES:
        blocks = np.split(x, count, -1) if x.ndim and x.shape[-1] % count == 0 else []
        for order in permutations(range(len(blocks))) if blocks else ():
            if np.array_equal(np.concatenate([blocks[i] for i in order], -1), y):
                return f"gates in another order: {order}"
    return "the same elements in another order"


# ---- places


def _moved(alignment: Alignment, regions: Regions | None = None) -> tuple[dict[Node, str], set[Node]]:
    """Nodes that stand elsewhere or read something else, with what to say of it; and all that read something else.

    With `regions` only what comes from another layer counts.
    """
    b_of = {p.a: p.b for p in alignment.pairs}
    a_of = {p.b: p.a for p in alignment.pairs}
    rewired: dict[Node, tuple[str, str]] = {}
    touched: set[Node] = set()
    for pair in alignment.pairs:
        for v, w in zip(pair.a.inputs, pair.b.inputs):
            if v is None or w is None or v.constant is not None or w.constant is not None:
                continue
            mine, theirs = _makers(v, b_of), _makers(w, a_of)
            if pair.a in rewired or any(_is_same(m, t, b_of, alignment) for m in mine for t in theirs):
                continue
            if regions is not None and _is_inner(pair, v, w, alignment, regions):
                continue
            rewired[pair.a] = (_title(mine[0]), _title(theirs[0]))
            touched |= {pair.a} | {n for n in mine[:1] if isinstance(n, Node)}
            touched |= {a_of[n] for n in theirs[:1] if isinstance(n, Node)}
    order = {n: i for i, n in enumerate(alignment.b.nodes)}
    stays = _longest_rise([p.a for p in alignment.pairs if p.a in touched], lambda n: order[b_of[n]])
    moved = {n for n in rewired if n not in stays} or set(rewired)
    found = {n: f"reads {rewired[n][0]} → {rewired[n][1]}" for n in moved}
    return found, set(rewired)


def _makers(var: Var, partners: Container[Node]) -> list[Node | Var]:
    """What a value goes back to past nodes without a partner: nodes with one, inputs, what is made of constants."""
    waiting, seen, found = [var], set[Var](), dict[Node | Var, None]()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        maker = current.producer
        before = [] if maker is None else [v for v in maker.inputs if v is not None and v.constant is None]
        if maker is not None and maker in partners:
            found[maker] = None
        elif before:
            waiting += reversed(before)
        else:
            found[current] = None
    return list(found)


def _is_inner(pair: Pair, v: Var, w: Var, alignment: Alignment, regions: Regions) -> bool:
    """Whether two operands come from one layer in ways of their own: past nodes without a partner, or in that layer."""
    common = _origins(v, alignment.partners, regions) & _origins(w, alignment.partners, regions)
    lone = v.producer in alignment.only_a or w.producer in alignment.only_b
    return bool(common) and (lone or regions[pair.a] in common)


def _origins(var: Var, partners: Container[Node], regions: Regions) -> set[str]:
    """The layers of all nodes with a partner that a value goes back to, past those without one."""
    return {regions[n] for n in _makers(var, partners) if isinstance(n, Node)}


def _is_same(mine: Node | Var, theirs: Node | Var, b_of: Mapping[Node, Node], alignment: Alignment) -> bool:
    if isinstance(mine, Node) and isinstance(theirs, Node):
        return b_of[mine] is theirs
    if isinstance(mine, Node) or isinstance(theirs, Node):
        return False
    if mine in alignment.a.inputs and theirs in alignment.b.inputs:
        return alignment.a.inputs.index(mine) == alignment.b.inputs.index(theirs)
    return mine.producer is not None and theirs.producer is not None


def _title(of: Node | Var) -> str:
    return label(of) if isinstance(of, Node) else of.name


def _longest_rise(nodes: Sequence[Node], key: Any) -> set[Node]:
    """A longest subsequence of nodes whose keys rise: those that need not have moved."""
    tops: list[int] = []
    ends: list[Node] = []
    before: dict[Node, Node | None] = {}
    for node in nodes:
        place = bisect_left(tops, key(node))
        before[node] = ends[place - 1] if place else None
        tops[place:], ends[place:] = [key(node), *tops[place + 1 :]][:1], [node]
    found: set[Node] = set()
    last = ends[-1] if ends else None
    while last is not None:
        found.add(last)
        last = before[last]
    return found


# ---- nodes without a partner


def _loners(alignment: Alignment) -> Iterator[Change]:
    """Nodes of one graph only, by layers; an op that a layer has lost or gained is an option of the layer."""
    for kind, nodes, at in (("removed", alignment.only_a, 0), ("added", alignment.only_b, 1)):
        layers: dict[str, list[Node]] = {}
        for node, name in heads_of(nodes).items():
            layers.setdefault(name, []).append(node)
        partners = {label(p.b if at else p.a): p.label for p in alignment.pairs}
        for layer, mine in layers.items():
            if layer in partners:
                yield Change("option", partners[layer], f"none → {_ops(mine)}" if at else f"{_ops(mine)} → none")
            else:
                yield Change(kind, layer, f"{_ops(mine)} {_type(mine[-1].outputs[0])}")


def _strangers(
    alignment: Alignment, faults: Sequence[Pair], regions: Regions, told: Container[str]
) -> Iterator[tuple[Change, set[Node]]]:
    """The same between formats, with the nodes: those that pairs at fault read, by layers as regions.

    What is inside of a layer says nothing where all of its results have partners, and these agree or are `told` of.
    """
    lost, gained = (
        [n for n in nodes if n in set(_feeding((p.b if at else p.a for p in faults), set(nodes)))]
        for at, nodes in enumerate((alignment.only_a, alignment.only_b))
    )
    shared, faulty = {regions[p.a] for p in alignment.pairs}, {regions[p.a] for p in faults}
    quiet = {r for r in _closed(alignment, regions) if r not in faulty or r in told}
    for region in dict.fromkeys(regions[n] for n in (*lost, *gained)):
        left, right = ([n for n in nodes if regions[n] == region] for nodes in (lost, gained))
        nodes = {*left, *right}
        if region in quiet or (left and right and _ops(left) == _ops(right)):
            continue
        if region in shared or (left and right):
            yield Change("option", region, f"{_ops(left) or 'none'} → {_ops(right) or 'none'}"), nodes
        else:
            last = (left or right)[-1]
            name = region if any(label(n) == region for n in nodes) else label(last)
            detail = f"{_ops(left or right)} {_type(last.outputs[0])}"
            yield Change("removed" if left else "added", name, detail), nodes


def _closed(alignment: Alignment, regions: Regions) -> set[str]:
    """The regions of the first graph all of whose results have partners."""
    known = {v for p in alignment.pairs for n in (p.a, completed(p)[0]) for v in n.outputs}
    left = {
        regions[n]
        for n in alignment.a.nodes
        for v in n.outputs
        if v not in known and leaves(alignment.a, v, regions.get)
    }
    return {regions[n] for n in alignment.a.nodes} - left


def _ops(nodes: Sequence[Node]) -> str:
    return ", ".join(dict.fromkeys(n.op.name for n in nodes))


def _moves(node: Node) -> bool:
    """Whether a node only moves elements."""
    return node.op.has("view") or node.op.family == "shape"


def _feeding(nodes: Iterable[Node], wanted: set[Node]) -> Iterator[Node]:
    """Those of the wanted nodes that are reached backwards from nodes without passing another one."""
    waiting = list(nodes)
    seen: set[Node] = set()
    while waiting:
        for v in waiting.pop().inputs:
            maker = None if v is None else v.producer
            if maker is not None and maker in wanted and maker not in seen:
                seen.add(maker)
                waiting.append(maker)
                yield maker
