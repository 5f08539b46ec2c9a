"""The memory plan in figures, and drawn: a line for each buffer over the steps that it lives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..backends.numpy.plan import Plan
from ..passes.memory import aligned

WIDTH = 48  # columns of the picture
LINES = 60  # buffers drawn at most


@dataclass(frozen=True)
class Memory:
    """Bytes of a plan, and how many values need none of their own.

    arena: all buffers; naive: what they would take without sharing; bound: the most in use at any step.  scratch: the
    most that one step needs for itself; peak: buffers and scratch together; peak_bound: the most in use, scratch
    included.  views look into another value, in_place were written over an operand, parts straight into what they are
    joined to.
    """

    arena: int
    naive: int
    bound: int
    scratch: int
    peak: int
    peak_bound: int
    views: int
    in_place: int
    parts: int

    @property
    def over_bound(self) -> float:
        """The arena as a multiple of its lower bound."""
        return self.arena / self.bound if self.bound else 1.0

    @property
    def peak_over_bound(self) -> float:
        """The arena with scratch as a multiple of its lower bound."""
        return self.peak / self.peak_bound if self.peak_bound else 1.0


def memory_of(plan: Plan) -> Memory:
    """The figures of a plan."""
    memory, arena, storage = plan.memory, plan.arena, plan.storage
    return Memory(
        memory.total, memory.naive, memory.bound, arena.scratch_bytes, arena.peak, arena.bound,
        len(storage.view_of), storage.in_place, len(storage.part_of),
    )  # fmt: skip


def memory_picture(plan: Plan, width: int = WIDTH) -> Iterator[str]:
    """The arena as text: offset, bytes, life line, value; ordered by offset.

    Steps run from left to right, from the copying in of the inputs to that of the outputs.
    """
    nodes = len(plan.graph)
    buffers = sorted(((plan.offsets[r], r) for r in plan.roots), key=lambda pair: (pair[0], pair[1].first))
    biggest = sorted(buffers, key=lambda pair: -pair[1].var.tensor.nbytes)[:LINES]
    shown = {id(root) for _, root in biggest}
    scale = width / (nodes + 2)
    yield f"{'offset':>10} {'bytes':>10}  {f'step 0 to {nodes - 1}':<{width}}  value"
    for offset, root in buffers:
        if id(root) not in shown:
            continue
        start = min(int((root.first + 1) * scale), width - 1)
        end = max(int((min(root.last, nodes) + 2) * scale), start + 1)
        line = ("·" * start + "━" * (end - start)).ljust(width, "·")
        yield f"{offset:>10} {aligned(root.var.tensor.nbytes):>10}  {line}  %{root.var.name}: {root.var.type}"
    if len(buffers) > len(shown):
        yield f"{'...':>10} {len(buffers) - len(shown)} smaller buffers"
