"""The memory plan: lifetimes in, offsets out.

Buffers that live at the same time must not overlap.  Finding the smallest arena is bin packing in two dimensions
(NP-hard).  Buffers are put down one by one, each into the lowest or the tightest gap between those that live at the
same time; several orders are tried until one meets the lower bound, the largest amount alive at any step: by size
(Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference"), by the amount alive at the
buffer's birth, by size times length of life, by length, by birth.  Where none does, the best order is changed at random
and changed again (with a fixed seed), as long as that takes no more than its share of the time to compile.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, product

from ..ir.graph import Var
from ..ir.records import record

ALIGN = 64  # bytes: a cache line, and the width of an AVX-512 register
EFFORT = 30_000  # pairs of buffers looked at before the search ends: some milliseconds
CLIMBS = 100  # orders tried at random
GOOD = 1.01  # times the lower bound: not worth to try orders at random


@record
class Buffer:
    """`size` bytes, alive from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int


@record
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


@record
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
    """Offsets under which no two buffers that are alive together overlap; the same for the same buffers."""
    bound = max(live_bytes(buffers).values(), default=0)
    sizes = [aligned(b.size) for b in buffers]
    if sum(sizes) == bound:  # all of them are alive at once: nothing to be shared
        return MemoryPlan(tuple(accumulate(sizes[:-1], initial=0)) if sizes else (), bound, bound, bound)
    offsets, total = _Search(buffers, bound).run()
    return MemoryPlan(tuple(offsets), total, bound, sum(sizes))


def with_scratch(buffers: Sequence[Buffer], needs: Mapping[int, int]) -> MemoryPlan:
    """A plan in whose total there is, at each step, one gap for the bytes that the step needs for itself."""
    plan = plan_memory([*buffers, *(Buffer(size, step, step) for step, size in needs.items())])
    return MemoryPlan(plan.offsets[: len(buffers)], plan.total, plan.bound, plan.naive)


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


# (a buffer, bytes alive at its birth, the most during its life) -> what to sort by: the first is put down first.
Key = Callable[[Buffer, int, int], tuple[int, ...]]

ORDERS: dict[str, Key] = {
    "size": lambda b, birth, most: (-b.size, b.first),
    "alive": lambda b, birth, most: (-birth, -b.size),
    "peak": lambda b, birth, most: (-most, b.first == b.last, -b.size),  # scratch, of one step, after the buffers
    "area": lambda b, birth, most: (-b.size * (b.last - b.first + 1),),
    "length": lambda b, birth, most: (b.first - b.last, -b.size),
    "birth": lambda b, birth, most: (b.first, -b.size),
}

# Where a buffer is put: of (room that is left, offset) of all gaps that it fits the least.
FITS: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "best": lambda room, offset: (room, offset),
    "first": lambda room, offset: (offset, room),
}


class _Search:
    """Tries orders, and keeps the best."""

    def __init__(self, buffers: Sequence[Buffer], bound: int) -> None:
        self.buffers, self.bound = buffers, bound
        self.sizes = [aligned(b.size) for b in buffers]
        self.meets = _conflicts(buffers)
        self.effort = EFFORT
        self.best: tuple[int, list[int], list[int], str] | None = None  # bytes, offsets, order, fit

    def run(self) -> tuple[list[int], int]:
        """The offsets and the bytes that they take."""
        facts = list(zip(self.buffers, *_amounts(self.buffers)))
        for fit, (number, key) in product(FITS, enumerate(ORDERS.values())):
            if self._done(always=fit == "best" and number < 2):
                break
            self._try(sorted(range(len(facts)), key=lambda i: key(*facts[i])), fit)
        self._climb()
        assert self.best is not None
        return self.best[1], self.best[0]

    def _done(self, always: bool = False) -> bool:
        return self.best is not None and (self.best[0] <= self.bound or (self.effort <= 0 and not always))

    def _climb(self) -> None:
        """Change the best order a little: what lies on top, or meets that, is put down earlier."""
        if self._done():
            return
        from random import Random

        random = Random(0)
        for _ in range(CLIMBS):
            assert self.best is not None
            if self._done() or self.best[0] <= GOOD * self.bound:
                return
            total, offsets, order, fit = self.best
            top = [i for i in order if offsets[i] + self.sizes[i] == total]
            moved = random.choice([i for j in top for i in (j, *self.meets[j])])
            place = order.index(moved)
            to = random.randint(0, place)
            self._try([*order[:to], moved, *order[to:place], *order[place + 1 :]], fit)

    def _try(self, order: list[int], fit: str) -> None:
        """Put the buffers down in this order; as good as the best counts as better, to get away from it."""
        offsets = self._placed(order, FITS[fit])
        total = max(o + s for o, s in zip(offsets, self.sizes))
        if self.best is None or total <= self.best[0]:
            self.best = total, offsets, order, fit

    def _placed(self, order: Sequence[int], fit: Callable[[int, int], tuple[int, int]]) -> list[int]:
        offsets = [-1] * len(order)
        for i in order:
            self.effort -= 1 + len(self.meets[i])
            spans = sorted((offsets[j], offsets[j] + self.sizes[j]) for j in self.meets[i] if offsets[j] >= 0)
            gaps = list(_gaps(spans, self.sizes[i]))
            end = max((stop for _, stop in spans), default=0)
            offsets[i] = min(gaps, key=lambda gap: fit(*gap))[1] if gaps else end
        return offsets


def _amounts(buffers: Sequence[Buffer]) -> tuple[list[int], list[int]]:
    """Bytes alive at the birth of each buffer, and the most during its life."""
    alive = live_bytes(buffers)
    steps = sorted(alive)
    spans = [(bisect_left(steps, b.first), bisect_right(steps, b.last)) for b in buffers]
    return [alive[b.first] for b in buffers], [max(alive[s] for s in steps[i:j]) for i, j in spans]


def _gaps(spans: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """The gaps before sorted spans that have room for a size: (room that is left, offset)."""
    end = 0
    for start, stop in spans:
        if start - end >= size:
            yield start - end - size, end
        end = max(end, stop)


def _conflicts(buffers: Sequence[Buffer]) -> list[list[int]]:
    """For each buffer those that are alive together with it."""
    meets: list[list[int]] = [[] for _ in buffers]
    alive: list[int] = []
    for i in sorted(range(len(buffers)), key=lambda i: buffers[i].first):
        alive = [j for j in alive if buffers[j].last >= buffers[i].first]
        for j in alive:
            meets[i].append(j)
            meets[j].append(i)
        alive.append(i)
    return meets
