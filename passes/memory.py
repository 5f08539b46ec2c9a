"""The memory plan: lifetimes in, offsets out.

Buffers that live at the same time must not overlap.  Finding the smallest arena is bin packing in two dimensions
(NP-hard), so two greedy orders are tried and the better kept: by size (large first; Pisarchyk & Lee 2020, "Efficient
memory management for deep neural net inference") and by the amount alive at the buffer's birth.  The lower bound is
the largest amount alive at any step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.graph import Var

ALIGN = 64  # bytes: a cache line, and the width of an AVX-512 register


@dataclass(frozen=True)
class Buffer:
    """`size` bytes, alive from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Life:
    """A buffer with its values: group after group, each written over the one before.

    All values of a group look into the same elements.  `fixed` buffers lie outside of the arena.
    """

    buffer: Buffer
    groups: tuple[tuple[Var, ...], ...]
    fixed: bool = False

    @property
    def values(self) -> tuple[Var, ...]:
        return tuple(v for group in self.groups for v in group)


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets (bytes) of the buffers in an arena of `total` bytes.

    `bound`: no plan can do with less; `naive`: what the buffers take without sharing.
    """

    offsets: tuple[int, ...]
    total: int
    bound: int
    naive: int


def aligned(size: int) -> int:
    """The size rounded up to ALIGN."""
    return -(-size // ALIGN) * ALIGN


def plan_memory(buffers: Sequence[Buffer]) -> MemoryPlan:
    """Offsets under which no two buffers that are alive together overlap."""
    alive = live_bytes(buffers)
    orders = (
        lambda i: (-buffers[i].size, buffers[i].first),
        lambda i: (-alive[buffers[i].first], -buffers[i].size),
    )
    plans = [_place(buffers, sorted(range(len(buffers)), key=key)) for key in orders]
    offsets, total = min(plans, key=lambda plan: plan[1])
    naive = sum(aligned(b.size) for b in buffers)
    return MemoryPlan(tuple(offsets), total, max(alive.values(), default=0), naive)


def live_bytes(buffers: Sequence[Buffer]) -> dict[int, int]:
    """Bytes alive at every step at which something is born or dies."""
    change: dict[int, int] = {}
    for b in buffers:
        change[b.first] = change.get(b.first, 0) + aligned(b.size)
        change[b.last + 1] = change.get(b.last + 1, 0) - aligned(b.size)
    alive, amount = {}, 0
    for step in sorted(change):
        amount += change[step]
        alive[step] = amount
    return alive


def _place(buffers: Sequence[Buffer], order: Sequence[int]) -> tuple[list[int], int]:
    """Put the buffers one by one into the tightest gap between those already placed that live at the same time."""
    offsets = [0] * len(buffers)
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last; sorted by offset
    total = 0
    for i in order:
        b, size = buffers[i], aligned(buffers[i].size)
        best, gap_start, tightest = None, 0, None
        for start, end, first, last in placed:
            if first > b.last or last < b.first:
                continue
            gap = start - gap_start
            if gap >= size and (tightest is None or gap < tightest):
                best, tightest = gap_start, gap
            gap_start = max(gap_start, end)
        offsets[i] = gap_start if best is None else best
        placed.append((offsets[i], offsets[i] + size, b.first, b.last))
        placed.sort()
        total = max(total, offsets[i] + size)
    return offsets, total
