"""The plan: a graph of concrete shapes as a flat list of bound steps over one arena.

    1. storage   every static tensor gets a place: a constant's array, a buffer in the arena, the buffer of an operand
                 that dies here (in place), or a view of another value.
    2. memory    lifetimes -> offsets (passes/memory.py).
    3. binding   kernels are called once with their arrays and return steps.

A run copies the inputs in, calls the steps one after another, and copies the outputs out: no look-up, no allocation,
no shape logic.  States that are resident have arrays of their own outside of the arena, which every run reads and
changes in place.  Nodes whose shapes depend on data, sequences, strings and control flow are steps too, which compute
on the same kernels with fresh arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...errors import RunError, TenunError
from ...ir.graph import Graph, Node, Var
from ...ir.types import Tensor, string
from ...passes.memory import Buffer, Life, MemoryPlan, aligned, plan_memory
from ...passes.recompute import Recomputation
from .evaluate import call_view, detached, evaluate, flat_steps, kernel_attributes, kernel_of
from .registry import Array, Step
from .workers import Parallel

SCRATCH_RESERVE = 64 << 20  # bytes of address space for scratch; only what steps touch becomes memory


Resident = Mapping[str, Array]  # arrays of states, by the name of their input


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
    """Where values live: `root` has an own buffer or shares one in place, `view_of` looks into another value."""

    roots: list[Root] = field(default_factory=list)
    root_of: dict[Var, Root] = field(default_factory=dict)
    view_of: dict[Var, tuple[Node, Var]] = field(default_factory=dict)
    phantoms: dict[Var, Array] = field(default_factory=dict)


def is_planned(var: Var) -> bool:
    """Whether a value has an array of known size before the run."""
    return isinstance(var.type, Tensor) and var.type.is_static and var.type.dtype is not string


@lru_cache(maxsize=1 << 12)
def _phantom(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A contiguous array without memory of its own: for deciding on views only."""
    strides, step = [], dtype.itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    raw = np.empty(1, f"V{dtype.itemsize}")  # as_strided does not take all dtypes of ml_dtypes
    return as_strided(raw, shape, strides[::-1], writeable=False).view(dtype)


class _StoragePass:
    """Walks the nodes once and decides where every planned value lives."""

    def __init__(self, graph: Graph, nodes: Sequence[Node], resident: Resident) -> None:
        self.graph, self.nodes, self.storage = graph, nodes, Storage()
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
                self.own(var, -1)
        for var in self.graph.constants:
            if is_planned(var):
                assert var.data is not None
                self.storage.phantoms[var] = var.data
        for i, node in enumerate(self.nodes):
            if is_bound(node) and kernel_of(node.op).form == "view" and self.view(i, node):
                continue
            for out in node.outputs:
                if is_planned(out) and out in self.last_use and not self.in_place(i, node, out):
                    self.own(out, i)
        return self.storage

    def own(self, var: Var, step: int) -> None:
        """A buffer of its own."""
        root = Root(var, step, self.last_use.get(var, step))
        self.storage.roots.append(root)
        self.enter(var, root)

    def enter(self, var: Var, root: Root) -> None:
        self.storage.root_of[var] = root
        root.groups.append([var])
        self.storage.phantoms[var] = _phantom(var.tensor.static, np.dtype(var.tensor.dtype.numpy))
        root.last = max(root.last, self.last_use.get(var, -1))

    def view(self, step: int, node: Node) -> bool:
        """Make the outputs look into the first operand; False where the elements do not lie as needed."""
        source = node.inputs[0]
        assert source is not None
        try:
            results = kernel_of(node.op).call(*(self._phantom(v) for v in node.inputs), **_attrs(node))
        except ValueError:
            return False
        root = self.storage.root_of.get(source)
        for out, result in zip(node.outputs, results if node.op.many else (results,)):
            self.storage.view_of[out] = (node, source)
            self.storage.phantoms[out] = result
            if root is not None:
                self.storage.root_of[out] = root
                next(group for group in root.groups if source in group).append(out)
                root.last = max(root.last, self.last_use.get(out, -1))
        return True

    def _phantom(self, var: Var | None) -> Array | None:
        return None if var is None else self.storage.phantoms[var]

    def in_place(self, step: int, node: Node, out: Var) -> bool:
        """Let the output take the buffer of an operand of the same type that nobody needs afterwards."""
        if not (is_bound(node) and node.op.has("inplace")):
            return False
        operands = [v for v in node.operands if v is not None]
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

    def _is_whole(self, var: Var, root: Root) -> bool:
        """Whether a value fills its buffer from front to end: a reshape does, a slice or transpose does not."""
        return self.storage.phantoms[var].flags.c_contiguous and var.tensor.nbytes == root.var.tensor.nbytes

    def _only_reader(self, node: Node, var: Var, root: Root) -> bool:
        """Whether no other operand looks into the same buffer in another way, which writing would disturb."""
        others = (v for v in node.inputs if v is not None and v is not var)
        return all(self.storage.root_of.get(v) is not root for v in others)


def lives(graph: Graph, resident: Resident) -> list[Life]:
    """The buffers that a plan of the graph has, those of resident states included, and their values."""
    storage = _StoragePass(graph, list(graph.nodes), resident).run()
    roots = dict.fromkeys([*storage.roots, *storage.root_of.values()])
    return [Life(r.buffer, tuple(map(tuple, r.groups)), fixed=r.resident) for r in roots]


def is_bound(node: Node) -> bool:
    """Whether a node can be bound to arrays before the run: all shapes known, no strings, sequences, control flow."""
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    loose = node.dynamic or node.op.has("opaque") or (node.graphs and not node.op.has("elementwise"))
    return not loose and all(map(is_planned, values))


def _attrs(node: Node) -> dict[str, Any]:
    return kernel_attributes(node.op, node.attrs, [v and v.type for v in node.inputs])


class Arena:
    """One block of memory for all buffers of a plan, and one for scratch."""

    def __init__(self, memory: MemoryPlan) -> None:
        self.block = _aligned_bytes(memory.total)
        self.reserve: Array | None = None
        self.scratch_bytes = self._used = 0

    def array(self, offset: int, t: Tensor) -> Array:
        """The buffer at an offset as an array of type t."""
        return self.block[offset : offset + t.nbytes].view(t.dtype.numpy).reshape(t.static)

    def start_step(self) -> None:
        """Scratch of the steps bound so far may be used again."""
        self._used = 0

    def scratch(self, shape: Any, dtype: Any = np.float32) -> Array:
        """Uninitialised memory for the duration of a step; all steps share one block."""
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        start, self._used = self._used, self._used + aligned(size)
        self.scratch_bytes = max(self.scratch_bytes, self._used)
        if self._used > SCRATCH_RESERVE:
            return np.empty(shape, dtype)
        if self.reserve is None:
            self.reserve = _aligned_bytes(SCRATCH_RESERVE)
        return self.reserve[start : start + size].view(dtype).reshape(shape)


def _aligned_bytes(size: int) -> Array:
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


class Plan:
    """A compiled graph of concrete shapes with memory of its own: one run at a time.

    `programs(graph)` makes a function on arrays of a subgraph; `resident` has the arrays of those states that every
    run changes in place.  `memory` reports the arena, `recomputation` what was done to make it smaller.
    """

    def __init__(
        self, graph: Graph, programs: Callable[[Graph], Callable[..., Any]], resident: Resident | None = None,
        recomputation: Recomputation | None = None,
    ) -> None:  # fmt: skip
        self.graph, self.resident, self.recomputation = graph, dict(resident or {}), recomputation
        nodes = list(graph.nodes)
        storage = _StoragePass(graph, nodes, self.resident).run()
        self.memory = plan_memory([r.buffer for r in storage.roots])
        self.roots, self.storage = storage.roots, storage
        self._offsets = {id(r): offset for r, offset in zip(storage.roots, self.memory.offsets)}
        self.arena = Arena(self.memory)
        self.arrays: dict[Var, Array] = {v: v.data for v in graph.constants if v.data is not None}
        self.loose: dict[Var, Any] = {}
        self.steps: list[Step] = []
        self.origin: list[Node] = []  # the node of each step
        for var in graph.inputs:
            if var.name in self.resident or is_planned(var):
                self.arrays[var] = self._buffer(var)
        for node in nodes:
            self._bind(node, programs)
        # whether steps run on several threads, if there are any: then BLAS should use one
        self.is_parallel = any(isinstance(step, Parallel) for step in self.steps)
        states = {s.input: s.output for s in graph.state if s.input.name in self.resident}
        self.fed = [v for v in graph.inputs if v not in states]
        self._given = [v for i, v in enumerate(graph.outputs) if i not in states.values()]
        self._moves = list(self._moved_states({v: graph.outputs[i] for v, i in states.items()}))

    def _buffer(self, var: Var) -> Array:
        root = self.storage.root_of[var]
        if root.resident:
            return self.resident[root.var.name].reshape(var.tensor.static)
        return self.arena.array(self._offsets[id(root)], var.tensor)

    def _moved_states(self, states: dict[Var, Var]) -> Iterator[tuple[Array, Var, bool]]:
        """The resident arrays whose next values are elsewhere, with that value, and whether it may change first."""
        for var, heir in states.items():
            array, value = self.arrays[var], self.arrays.get(heir)
            if value is None or _place(value) != _place(array):
                root = self.storage.root_of.get(heir)
                yield array, heir, root is not None and root.resident

    def _bind(self, node: Node, programs: Callable[[Graph], Callable[..., Any]]) -> None:
        self.arena.start_step()
        if node.outputs and node.outputs[0] in self.storage.view_of:
            results = kernel_of(node.op).call(*(self.arrays.get(v) if v else None for v in node.inputs), **_attrs(node))
            self.arrays.update(zip(node.outputs, results if node.op.many else (results,)))
            return
        for out in node.outputs:
            if out in self.storage.root_of:
                self.arrays[out] = self._buffer(out)
        steps = self._bound_steps(node) if is_bound(node) else [self._loose_step(node, programs)]
        self.steps += steps
        self.origin += [node] * len(steps)

    def _bound_steps(self, node: Node) -> list[Step]:
        row, attrs = kernel_of(node.op), _attrs(node)
        operands = [None if v is None else self.arrays[v] for v in node.inputs]
        outs = tuple(self.arrays.get(v) for v in node.outputs)
        if row.form == "kernel":
            try:
                out = outs if node.op.many else outs[0]
                bound = row.call(*operands, **attrs, **node.graphs, out=out, scratch=self.arena.scratch)
            except TenunError as error:
                raise error.at(node=node.source or None, op=node.op.name) from None
            return flat_steps(bound)
        call = partial(call_view, row, operands, attrs) if row.form == "view" else partial(row.call, *operands, **attrs)
        return [partial(_store, call, outs, node.op.many)]

    def _loose_step(self, node: Node, programs: Callable[[Graph], Callable[..., Any]]) -> Step:
        """A step that looks its operands up and makes fresh arrays."""
        graphs = {name: programs(g) for name, g in node.graphs.items()}
        arrays, loose = self.arrays, self.loose
        planned = [(i, v) for i, v in enumerate(node.outputs) if v in arrays]
        others = [(i, v) for i, v in enumerate(node.outputs) if v not in arrays]

        def step() -> None:
            operands = [None if v is None else arrays[v] if v in arrays else loose[v] for v in node.inputs]
            results = evaluate(node.op, operands, node.attrs, node.dynamic, graphs)
            for i, var in planned:
                _store_one(arrays[var], results[i])
            for i, var in others:
                loose[var] = detached(results[i], (self.arena.block,))

        return step

    def feed(self, inputs: Sequence[Any]) -> None:
        """Copy inputs of exactly the plan's types to their places; resident states are none."""
        for var, value in zip(self.fed, inputs):
            if var in self.arrays:
                np.copyto(self.arrays[var], value)
            else:
                self.loose[var] = value

    def run(self, inputs: Sequence[Any], watch: Callable[[Node], None] | None = None) -> list[Any]:
        """The outputs (fresh arrays) for inputs of exactly the plan's types; resident states are neither.

        `watch` is called after each node, when its results are in `arrays`.
        """
        self.feed(inputs)
        steps = self.steps if watch is None else [partial(_watched, *row) for row in self._watched(watch)]
        step: Step | None = None
        try:
            with np.errstate(all="ignore"):
                for step in steps:
                    step()
        except Exception as error:
            assert step is not None
            raise self._blamed(error, step) from error
        outputs = [self.arrays[v].copy() if v in self.arrays else self.loose[v] for v in self._given]
        values = [(a, self.arrays[v] if v in self.arrays else self.loose[v], shared) for a, v, shared in self._moves]
        for array, value in [(array, value.copy() if shared else value) for array, value, shared in values]:
            np.copyto(array, value)
        self.loose.clear()
        return outputs

    def _watched(self, watch: Callable[[Node], None]) -> Iterator[tuple[Step, Callable[[], None] | None]]:
        """The steps, each with what to call after it."""
        for step, node, following in zip(self.steps, self.origin, [*self.origin[1:], None]):
            yield step, None if node is following else partial(watch, node)

    def _blamed(self, error: Exception, step: Step) -> TenunError:
        """The error with the node whose step failed."""
        step = step.args[0] if isinstance(step, partial) and step.func is _watched else step
        node = next(n for n, s in zip(self.origin, self.steps) if s is step)
        where = {"node": node.source or None, "op": node.op.name}
        if isinstance(error, TenunError):
            return error.at(**where)
        return RunError(f"{type(error).__name__} in a kernel: {error}\n    {node!r}", **where)


def _place(array: Array) -> Any:
    """What two arrays that are the same elements have in common."""
    return array.__array_interface__["data"], array.shape, array.strides


def _watched(step: Step, after: Callable[[], None] | None) -> None:
    step()
    if after is not None:
        after()


def _store_one(out: Array | None, result: Any) -> None:
    if out is None:
        return
    if out.shape != np.shape(result):
        raise RunError(f"the kernel gave shape {np.shape(result)}, the plan expects {out.shape}")
    np.copyto(out, result)


def _store(call: Callable[[], Any], outs: Sequence[Array | None], many: bool) -> None:
    results = call()
    for out, result in zip(outs, results if many else (results,)):
        _store_one(out, result)
