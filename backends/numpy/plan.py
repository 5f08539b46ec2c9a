"""The plan: a graph of concrete shapes as a flat list of bound steps over one arena.

    1. storage   every static tensor gets a place: a constant's array, a buffer in the arena, the buffer of an operand
                 that dies here (in place), a view of another value, or a part of one (storage.py).
    2. memory    lifetimes -> offsets (passes/memory.py).
    3. binding   kernels are called once with their arrays and return steps.

A run copies the inputs in, calls the steps one after another, and copies the outputs out: no look-up, no allocation,
no shape logic.  States that are resident have arrays of their own outside of the arena, which every run reads and
changes in place.  Nodes whose shapes depend on data, sequences, strings and control flow are steps too, which compute
on the same kernels with fresh arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import RunError, TenunError
from ...ir.graph import Graph, Node, Var
from ...passes.memory import Buffer, MemoryPlan, plan_memory, with_scratch
from .arena import Arena
from .evaluate import call_view, detached, evaluate, flat_steps, kernel_of
from .registry import NUMPY, Array, Kernel, Kernels, Step, is_native, same_place
from .storage import Resident, attributes, is_bound, is_planned, parts_of, storage_of
from .workers import Parallel, Threaded

if TYPE_CHECKING:
    from ...passes.recompute import Recomputation

_QUIET = nullcontext()
SLACK = 1.02  # times what is in use at the peak: with more memory than that, a plan is made again


class Plan:
    """A compiled graph of concrete shapes with memory of its own: one run at a time.

    `programs(graph)` makes a function on arrays of a subgraph; `resident` has the arrays of those states that every
    run changes in place.  `memory` reports the buffers by themselves, `arena` them with scratch, `recomputation` what
    was done to make them smaller; `offsets` has the places of the roots.
    """

    def __init__(
        self, graph: Graph, programs: Callable[[Graph], Callable[..., Any]], resident: Resident | None = None,
        recomputation: Recomputation | None = None, kernels: Kernels = NUMPY,
    ) -> None:  # fmt: skip
        self.graph, self.resident, self.recomputation = graph, dict(resident or {}), recomputation
        self.kernels = kernels
        self.storage = storage_of(graph, list(graph.nodes), self.resident)
        self.roots = self.storage.roots
        buffers = [r.buffer for r in self.roots]
        self.memory = plan_memory(buffers)
        self._bind_all(buffers, self.memory, programs)
        if self.arena.peak > SLACK * self.arena.bound:  # now that the scratch of each step is known, it is planned for
            whole = with_scratch(buffers, self.arena.needs)
            if whole.total < self.arena.peak:
                self._bind_all(buffers, whole, programs)
        # whether steps run on several threads, if there are any: then BLAS should use one, if it is called
        self.is_parallel = any(isinstance(step, Threaded) for step in self.steps)
        # whether workers are to be alert: for NumPy's branches; those of compiled ones stand by a board from run to run
        self.is_branched = any(isinstance(step, Parallel) and not is_native(step) for step in self.steps)
        self.is_native = all(map(is_native, self.steps))
        self._joined = kernels.joined(self.steps)
        states = {s.input: s.output for s in graph.state if s.input.name in self.resident}
        self.fed = [v for v in graph.inputs if v not in states]
        self._given = [v for i, v in enumerate(graph.outputs) if i not in states.values()]
        self._moves = list(self._moved_states({v: graph.outputs[i] for v, i in states.items()}))

    def _bind_all(
        self, buffers: Sequence[Buffer], memory: MemoryPlan, programs: Callable[[Graph], Callable[..., Any]]
    ) -> None:
        """Make an arena, the arrays in it, and the steps."""
        self.arena = Arena(memory.offsets, buffers, self.memory.bound)
        self.offsets = dict(zip(self.roots, memory.offsets))
        self.arrays: dict[Var, Array] = {v: v.data for v in self.graph.constants if v.data is not None}
        self.loose: dict[Var, Any] = {}
        self.steps: list[Step] = []
        self.origin: list[Node] = []  # the node of each step
        for var in self.graph.inputs:
            if var.name in self.resident or is_planned(var):
                self._buffer(var)
        for i, node in enumerate(self.graph.nodes):
            self.arena.start_step(i)
            self._bind(node, programs)

    def _buffer(self, var: Var) -> Array:
        """The array of a value that has a buffer or a part of one."""
        inside = [var]  # a value, what it is part of, what that is part of, ...
        while inside[-1] in self.storage.part_of and inside[-1] not in self.arrays:
            inside.append(self.storage.part_of[inside[-1]][0].output)
        whole = inside.pop()
        if whole not in self.arrays:
            self.arrays[whole] = self._whole(whole)
        for part in reversed(inside):
            node, operand = self.storage.part_of[part]
            array = parts_of(node, self.arrays[node.output])[operand]
            assert array is not None
            self.arrays[part] = array
        return self.arrays[var]

    def _whole(self, var: Var) -> Array:
        root = self.storage.root_of[var]
        if root.resident:
            return self.resident[root.var.name].reshape(var.tensor.static)
        return self.arena.array(self.offsets[root], var.tensor)

    def _moved_states(self, states: dict[Var, Var]) -> Iterator[tuple[Array, Var, bool]]:
        """The resident arrays whose next values are elsewhere, with that value, and whether it may change first."""
        for var, heir in states.items():
            array, value = self.arrays[var], self.arrays.get(heir)
            if value is None or not same_place(value, array):
                root = self.storage.root_of.get(heir)
                yield array, heir, root is not None and root.resident

    def _bind(self, node: Node, programs: Callable[[Graph], Callable[..., Any]]) -> None:
        if node.outputs and node.outputs[0] in self.storage.view_of:
            results = kernel_of(node.op).call(
                *(self.arrays.get(v) if v else None for v in node.inputs), **attributes(node)
            )
            self.arrays.update(zip(node.outputs, results if node.op.many else (results,)))
            return
        for out in node.outputs:
            if out in self.storage.root_of:
                self._buffer(out)
        bound = is_bound(node)
        if bound and not any(out in self.arrays for out in node.outputs):
            return  # nobody reads it: an attribute that it gave became a plain one with the shapes
        steps = self._bound_steps(node) if bound else [self._loose_step(node, programs)]
        self.steps += steps
        self.origin += [node] * len(steps)

    def _bound_steps(self, node: Node) -> list[Step]:
        row, attrs = kernel_of(node.op, self.kernels), attributes(node)
        operands = [None if v is None else self.arrays[v] for v in node.inputs]
        outs = tuple(self.arrays.get(v) for v in node.outputs)
        if row.form == "kernel":
            try:
                out = outs if node.op.many else outs[0]
                bound = row.call(*operands, **attrs, **node.graphs, out=out, scratch=self.arena.scratch)
            except TenunError as error:
                raise error.at(node=node.source or None, op=node.op.name) from None
            return flat_steps(bound)
        if row.form == "view":
            return self._copied_views(row, operands, attrs, outs, node.op.many)
        return [partial(_store, partial(row.call, *operands, **attrs), outs, node.op.many)]

    def _copied_views(
        self, row: Kernel, operands: Sequence[Any], attrs: dict[str, Any], outs: Sequence[Array | None], many: bool
    ) -> list[Step]:
        """Steps that copy views of an operand to places of their own."""
        try:
            results = row.call(*operands, **attrs)
            pairs = list(zip(outs, results if many else (results,)))
        except ValueError:  # the same elements in the same order, in another shape
            if outs[0] is None or not outs[0].flags.c_contiguous:
                return [partial(_store, partial(call_view, row, operands, attrs), outs, many)]
            pairs = [(outs[0].reshape(operands[0].shape), operands[0])]
        return [step for out, result in pairs if out is not None for step in self.kernels.copied(out, result)]

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
                self.arrays[var][...] = value
            else:
                self.loose[var] = value

    def run(self, inputs: Sequence[Any], watch: Callable[[Node], None] | None = None) -> list[Any]:
        """The outputs (fresh arrays) for inputs of exactly the plan's types; resident states are neither.

        `watch` is called after each node, when its results are in `arrays`.
        """
        self.feed(inputs)
        steps = self._joined if watch is None else [partial(_watched, *row) for row in self._watched(watch)]
        step: Step | None = None
        try:
            with _QUIET if self.is_native else np.errstate(all="ignore"):
                for step in steps:
                    step()
        except Exception as error:
            assert step is not None
            raise self._blamed(error, step) from error
        outputs = [self.arrays[v].copy() if v in self.arrays else self.loose[v] for v in self._given]
        if self._moves:
            self._move_states()
        self.loose.clear()
        return outputs

    def _move_states(self) -> None:
        values = [(a, self.arrays[v] if v in self.arrays else self.loose[v], shared) for a, v, shared in self._moves]
        for array, value in [(array, value.copy() if shared else value) for array, value, shared in values]:
            np.copyto(array, value)

    def _watched(self, watch: Callable[[Node], None]) -> Iterator[tuple[Step, Callable[[], None] | None]]:
        """The steps, each with what to call after it: for its node, and those behind it that have nothing to do.

        Views have no turn of their own.
        """
        busy, finished = set(self.origin), list[list[Node]]([[]])
        for node in self.graph.nodes:
            if node in busy:
                finished.append([node])
            elif not any(out in self.storage.view_of for out in node.outputs):
                finished[-1].append(node)
        for node in finished[0]:
            watch(node)
        turns = {nodes[0]: nodes for nodes in finished[1:]}
        for step, node, following in zip(self.steps, self.origin, [*self.origin[1:], None]):
            yield step, None if node is following else partial(_each, watch, turns[node])

    def _blamed(self, error: Exception, step: Step) -> TenunError:
        """The error with the node whose step failed."""
        step = step.args[0] if isinstance(step, partial) and step.func is _watched else step
        node = next((n for n, s in zip(self.origin, self.steps) if s is step), [*self.graph.nodes][-1])
        where = {"node": node.source or None, "op": node.op.name}
        if isinstance(error, TenunError):
            return error.at(**where)
        return RunError(f"{type(error).__name__} in a kernel: {error}\n    {node!r}").at(**where)


def _watched(step: Step, after: Callable[[], None] | None) -> None:
    step()
    if after is not None:
        after()


def _each(watch: Callable[[Node], None], nodes: Sequence[Node]) -> None:
    for node in nodes:
        watch(node)


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
