"""Storage: where the values of a plan live, decided before there is any memory.

Every static tensor gets a place: a constant's array, a buffer, the buffer of an operand that dies here (in place), a
view of another value, or a part of the buffer of a value that is put together from it (`concat`, `pad`): the node that
makes it writes straight there, and nothing is left to copy.  What kernels allow they say in their rows
(registry.py): the planner asks for no op by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...ir.graph import Graph, Node, Var
from ...ir.types import Tensor, string
from ...passes.memory import Buffer, Life, aligned
from .evaluate import kernel_attributes, kernel_of
from .registry import Array, Kernel

RUN = 128  # bytes: of a value that others read too, parts in shorter pieces than this are slower to read than to copy

Resident = Mapping[str, Array]  # arrays of states, by the name of their input
Parts = Mapping[Var, tuple[Node, int]]  # a value -> the node that puts it into its result, as which operand


@dataclass(eq=False)
class Root:
    """A buffer: the place of one value or of several that follow each other.

    Buffers lie in the arena, but for that of a resident state: only its next value may take the place of it.  A group
    of values look into the same elements; each group is written over the one before.
    """

    var: Var
    first: int
    last: int
    heir: Var | None = None
    groups: list[list[Var]] = field(default_factory=list)

    @property
    def resident(self) -> bool:
        return self.heir is not None

    @property
    def buffer(self) -> Buffer:
        return Buffer(self.var.tensor.nbytes, self.first, self.last)


@dataclass
class Storage:
    """Where values live: `root` has an own buffer or shares one in place, `view_of` looks into another value.

    `part_of` lies in the result of a node.
    """

    roots: list[Root] = field(default_factory=list)
    root_of: dict[Var, Root] = field(default_factory=dict)
    view_of: dict[Var, tuple[Node, Var]] = field(default_factory=dict)
    part_of: dict[Var, tuple[Node, int]] = field(default_factory=dict)
    phantoms: dict[Var, Array] = field(default_factory=dict)

    @property
    def in_place(self) -> int:
        """How many values were written over an operand."""
        return sum(len(root.groups) - 1 for root in dict.fromkeys(self.root_of.values()))


def is_planned(var: Var) -> bool:
    """Whether a value has an array of known size before the run."""
    t = var.type
    return isinstance(t, Tensor) and t.is_static and t.dtype is not string


def is_bound(node: Node) -> bool:
    """Whether a node can be bound to arrays before the run: all shapes known, no strings, sequences, control flow."""
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    loose = node.dynamic or node.op.has("opaque") or (node.graphs and not node.op.has("elementwise"))
    return not loose and all(map(is_planned, values))


def attributes(node: Node) -> dict[str, Any]:
    """The attributes of a node as kernels see them."""
    return kernel_attributes(node.op, node.attrs, [v and v.type for v in node.inputs])


def parts_of(node: Node, out: Array) -> Sequence[Array | None]:
    """The views of the result of a node in which its operands may lie."""
    parts = kernel_of(node.op).parts
    assert parts is not None
    return parts(out, [None if v is None else v.tensor.static for v in node.inputs], **attributes(node))


@lru_cache(maxsize=1 << 12)
def _phantom(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A contiguous array without memory of its own: for deciding on views only."""
    strides, step = [], dtype.itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    raw = np.empty(1, f"V{dtype.itemsize}")  # as_strided does not take all dtypes of ml_dtypes
    return as_strided(raw, shape, strides[::-1], writeable=False).view(dtype)


def storage_of(graph: Graph, nodes: Sequence[Node], resident: Resident) -> Storage:
    """The storage of all values of a graph of concrete shapes; with parts where that makes the peak no higher."""
    plain = _StoragePass(graph, nodes, resident, {})
    storage = plain.run()
    parts = _Candidates(plain).chosen()
    if not parts:
        return storage
    joined = _StoragePass(graph, nodes, resident, parts).run()
    return joined if _peak(joined, len(nodes)) <= _peak(storage, len(nodes)) else storage


def lives(graph: Graph, resident: Resident, parts: bool = True) -> list[Life]:
    """The buffers that a plan of the graph has, those of resident states included, and their values.

    Without parts, what is joined later counts as copied: that is found faster, and no less at the peak.
    """
    nodes = list(graph.nodes)
    storage = storage_of(graph, nodes, resident) if parts else _StoragePass(graph, nodes, resident, {}).run()
    roots = dict.fromkeys([*storage.roots, *storage.root_of.values()])
    return [Life(r.buffer, tuple(map(tuple, r.groups)), fixed=r.resident) for r in roots]


class _StoragePass:
    """Walks the nodes once and decides where every planned value lives, those of `parts` being given."""

    def __init__(self, graph: Graph, nodes: Sequence[Node], resident: Resident, parts: Parts) -> None:
        self.graph, self.nodes, self.parts, self.storage = graph, nodes, parts, Storage()
        self.heirs = {s.input: graph.outputs[s.output] for s in graph.state if s.input.name in resident}
        self.last_use: dict[Var, int] = {}
        for i, node in enumerate(nodes):
            for var in node.inputs:
                if var is not None:
                    self.last_use[var] = i
        for var in graph.outputs:
            self.last_use[var] = len(nodes)

    def run(self) -> Storage:
        for var in self.graph.inputs:
            if var in self.heirs:
                self.enter(var, Root(var, -1, -1, self.heirs[var]))
            elif is_planned(var):
                self.settle(var, -1)
        for var in self.graph.constants:
            if is_planned(var):
                assert var.data is not None
                self.storage.phantoms[var] = var.data
        for i, node in enumerate(self.nodes):
            bound = is_bound(node)
            row = kernel_of(node.op) if bound else None
            if row is not None and row.form == "view" and self.view(i, node):
                continue
            for out in node.outputs:
                if not is_planned(out) or out not in self.last_use or out in self.storage.root_of:
                    continue
                if out in self.parts or row is None or not self.in_place(i, node, row, out):
                    self.settle(out, i)
        return self.storage

    def settle(self, var: Var, step: int) -> None:
        """A buffer of its own, or the part that it has in another one, which is there from now on."""
        inside = [var]
        while inside[-1] in self.parts and inside[-1] not in self.storage.root_of:
            inside.append(self.parts[inside[-1]][0].output)
        if inside[-1] not in self.storage.root_of:
            whole = inside.pop()
            root = Root(whole, step, step)
            self.storage.roots.append(root)
            self.enter(whole, root)
        for part in reversed(inside):
            if part not in self.storage.root_of:
                self._enter_part(part, *self.parts[part])

    def enter(self, var: Var, root: Root) -> None:
        self.storage.root_of[var] = root
        root.groups.append([var])
        self.storage.phantoms[var] = _phantom(var.tensor.static, var.tensor.dtype.numpy)
        root.last = max(root.last, self.last_use.get(var, -1))

    def _enter_part(self, var: Var, node: Node, operand: int) -> None:
        phantom = parts_of(node, self.storage.phantoms[node.output])[operand]
        assert phantom is not None
        self.storage.part_of[var] = node, operand
        self._look(var, phantom, node.output)

    def _look(self, var: Var, phantom: Array, source: Var) -> None:
        """Let a value be elements of the buffer, if any, of another one."""
        self.storage.phantoms[var] = phantom
        root = self.storage.root_of.get(source)
        if root is not None:
            self.storage.root_of[var] = root
            next(group for group in root.groups if source in group).append(var)
            root.last = max(root.last, self.last_use.get(var, -1))

    def view(self, step: int, node: Node) -> bool:
        """Make the outputs look into the first operand; False where the elements do not lie as needed."""
        source = node.inputs[0]
        assert source is not None
        results = self._views(node, self.storage.phantoms[source])
        if results is None:
            return False
        for out, result in zip(node.outputs, results):
            self.storage.view_of[out] = (node, source)
            self._look(out, result, source)
        return True

    def _views(self, node: Node, source: Array) -> Sequence[Array] | None:
        """The results of a view of an array that lies like `source`; None where it takes a copy."""
        others = [None if v is None else self.storage.phantoms[v] for v in node.inputs[1:]]
        try:
            results = kernel_of(node.op).call(source, *others, **attributes(node))
        except ValueError:
            return None
        return results if node.op.many else (results,)

    def in_place(self, step: int, node: Node, row: Kernel, out: Var) -> bool:
        """Let the output take the buffer of an operand of the same type that nobody needs afterwards."""
        operands = [v for v in self._replaceable(node, row) if v is not None]
        for var in sorted(operands, key=lambda v: self.heirs.get(v) is not out):  # a state is changed where it lives
            root = self.storage.root_of.get(var)
            if root is None or var.type != out.type or root.last > step:
                continue
            if not self._is_whole(var, root) or not self._only_reader(node, var, root):
                continue
            if root.resident and root.heir is not out:
                continue
            self.enter(out, root)
            return True
        return False

    def _replaceable(self, node: Node, row: Kernel) -> Sequence[Var | None]:
        """The operands that the result may be written over."""
        if node.op.has("inplace"):
            return node.operands
        return [v for v, operand in zip(node.operands, node.op.inputs) if operand.name in row.over]

    def _is_whole(self, var: Var, root: Root) -> bool:
        """Whether a value fills its buffer from front to end: a reshape does, a slice or transpose does not."""
        return self.storage.phantoms[var].flags.c_contiguous and var.tensor.nbytes == root.var.tensor.nbytes

    def _only_reader(self, node: Node, var: Var, root: Root) -> bool:
        """Whether no other operand looks into the same buffer in another way, which writing would disturb."""
        others = (v for v in node.inputs if v is not None and v is not var)
        return all(self.storage.root_of.get(v) is not root for v in others)


# ---- parts -----------------------------------------------------------------------------------------------------


class _Candidates:
    """Values that could be written straight into the result of a later node, and those for which that is good.

    The buffer of that result is alive earlier then, so the peak of memory may become higher: those that lengthen its
    life least are chosen first, the others as long as the peak stays.
    """

    def __init__(self, plain: _StoragePass) -> None:
        self.plain, self.storage = plain, plain.storage
        self.outputs = set(plain.heirs.values())
        self.whole_of: dict[Root, Root] = {}  # of a buffer that became part of another one

    def chosen(self) -> dict[Var, tuple[Node, int]]:
        """The parts: first those that are made shortly before they are joined, then what is left of a node at once."""
        found: dict[Var, tuple[Node, int]] = {}
        wholes = [parts for parts in map(list, map(self._of, self.plain.nodes)) if parts]
        if not wholes:
            return found
        self.spans = {root: (root.first, root.last) for root in self.storage.roots}
        self.alive = _alive(self.storage, len(self.plain.nodes))
        single = sorted(([c] for whole in wholes for c in whole), key=lambda one: self._longer(*one[0]))
        for some in (*single, *reversed(wholes)):
            left = {var: (node, operand) for var, node, operand in some if var not in found}
            if left and self._join(left):
                found |= left
        return found

    def _longer(self, var: Var, node: Node, operand: int) -> int:
        """The steps by which the buffer of the result would live longer."""
        return self.storage.root_of[node.output].first - self.storage.root_of[var].first

    def _of(self, node: Node) -> Iterator[tuple[Var, Node, int]]:
        """The operands of a node that could be made in its result."""
        if kernel_of(node.op).parts is None or not is_bound(node) or node.output not in self.plain.last_use:
            return
        parts = parts_of(node, self.storage.phantoms[node.output])
        for operand, (var, part) in enumerate(zip(node.inputs, parts)):
            if var is not None and part is not None and self._may_move(var, node, part):
                yield var, node, operand

    def _may_move(self, var: Var, node: Node, part: Array) -> bool:
        """Whether a value is the last one in its buffer, can be made in the part, and be read there."""
        root = self.storage.root_of.get(var)
        if root is None or root.resident or root.groups[-1][0] is not var or var in self.outputs:
            return False
        if part.flags.c_contiguous:
            return True
        maker = var.producer
        if maker is not None and is_bound(maker) and not kernel_of(maker.op).writes_strided:
            return False
        readers = [user for user in var.users if user is not node]
        return all(self._reads(user, var, part) for user in readers)

    def _reads(self, node: Node, var: Var, part: Array) -> bool:
        """Whether a node reads a value as well where it is part of something larger."""
        if not is_bound(node):
            return False
        row = kernel_of(node.op)
        if row.form == "view":
            return node.inputs[0] is var and self.plain._views(node, part) is not None
        return row.strided and _run(part) >= RUN

    def _join(self, parts: Parts) -> bool:
        """Make values parts of the buffer of the one node that joins them, unless more is alive at the peak then."""
        ((node, _), *_) = parts.values()
        whole, alive = self._whole(self.storage.root_of[node.output]), self.alive.copy()
        roots = [self.storage.root_of[var] for var in parts]
        alone = [root for root in roots if len(root.groups) == 1]  # of others, the values before still need the buffer
        for root in (*alone, whole):
            _count(alive, root, self.spans[root], -1)
        firsts, lasts = zip(*(self.spans[root] for root in (*roots, whole)))
        span = min(firsts), max(lasts)
        _count(alive, whole, span, 1)
        if alive.max() > self.alive.max():
            return False
        self.alive, self.spans[whole] = alive, span
        self.whole_of.update(dict.fromkeys(alone, whole))
        return True

    def _whole(self, root: Root) -> Root:
        while root in self.whole_of:
            root = self.whole_of[root]
        return root


def _run(part: Array) -> int:
    """The bytes that lie side by side in an array whose last axis is contiguous."""
    run = part.itemsize
    for size, stride in zip(reversed(part.shape), reversed(part.strides)):
        if stride != run and size != 1:
            break
        run *= size
    return run


def _alive(storage: Storage, steps: int) -> Any:
    """Bytes alive at each step from -1 (inputs) to `steps` (outputs)."""
    alive = np.zeros(steps + 2, np.int64)
    for root in storage.roots:
        _count(alive, root, (root.first, root.last), 1)
    return alive


def _count(alive: Any, root: Root, span: tuple[int, int], sign: int) -> None:
    alive[span[0] + 1 : span[1] + 2] += sign * aligned(root.var.tensor.nbytes)


def _peak(storage: Storage, steps: int) -> int:
    return int(_alive(storage, steps).max())
