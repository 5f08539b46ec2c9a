"""Chains: the nodes of a body, one after the other on a block of the elements, then on the next block.

The body comes as a graph.  Every node of it is bound, by its own kernel, to blocks of what it reads and writes.  Values
that are no outputs live where an output will be, or in slots of the size of a block, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ....ir.graph import Graph
from ..registry import KERNELS, Array, Kernel, Scratch, Step, kernel
from ..workers import cuts, together

# Of all arrays of a chain, in a block.  A call costs about a microsecond, so blocks are for L2 and L3: with those that
# fit L1 the calls take longer than the memory that they save.
BLOCK_BYTES = 4 << 20
LINK_FLOPS = 16  # what one element of one node counts for where work is shared out: products go so much faster

Key = Any  # of a value: its var, or the number of an output
Place = Any  # of a value: the key of an output, or a slot


class Slot(NamedTuple):
    """Room for a block of values that are no outputs."""

    number: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Link:
    """A node of the body, or a copy."""

    row: Kernel
    attrs: dict[str, Any]
    operands: tuple[Key, ...]
    result: Key
    dtype: np.dtype[Any]


@kernel
def chain(*args: Array, body: Graph, out: Sequence[Array | None], scratch: Scratch) -> list[Step]:
    """The outputs of the body; each may have the array of an operand of the same type."""
    links, targets = links_of(body, out)
    if not links or not next(iter(targets.values())).size:
        return []
    read = {key for link in links for key in link.operands}
    given = {v: a for v, a in zip(body.inputs, args) if v in read}
    given |= {v: v.data for v in body.constants if v in read and v.data is not None}
    places = _places(links, targets, given)
    shape = next(iter(targets.values())).shape
    given = {key: spread_to(a, shape) for key, a in given.items()}
    flat = merged_axes(shape, [a for a in (*given.values(), *targets.values()) if a.shape == shape])
    given = {key: a.reshape(flat) if a.shape == shape else a for key, a in given.items()}
    return _steps(links, given, {key: a.reshape(flat) for key, a in targets.items()}, places, scratch)


def links_of(body: Graph, out: Sequence[Array | None]) -> tuple[list[Link], dict[Key, Array]]:
    """The nodes that the outputs asked for need, and the arrays of these outputs.

    An output that no node makes, or that is there already, is a copy.
    """
    targets: dict[Key, Array] = {}
    links = [Link(KERNELS[n.op.name], n.attrs, n.inputs, n.output, n.output.tensor.dtype.numpy) for n in body.nodes]
    for i, (var, array) in enumerate(zip(body.outputs, out)):
        if array is None:
            continue
        key: Key = i if var.producer is None or var in targets else var
        targets[key] = array
        if key is not var:
            links.append(Link(_COPY, {}, (var,), key, array.dtype))
    needed, kept = set(targets), []
    for link in reversed(links):
        if link.result in needed:
            needed.update(link.operands)
            kept.append(link)
    return kept[::-1], targets


def _copy(x: Array, *, out: Array, scratch: Scratch) -> Step:
    return partial(np.copyto, out, x)


_COPY = Kernel("copy", "kernel", _copy)


# ---- where the values of a block are -------------------------------------------------------------------------


def _places(links: Sequence[Link], targets: Mapping[Key, Array], given: Mapping[Key, Array]) -> dict[Key, Place]:
    """The place of each result: its own output, an output whose value is not made yet, or a slot.

    A place can be used by a node as soon as nobody reads what is in it but that node itself: elementwise kernels can
    overwrite an operand of the same dtype.  An output that has the array of an operand is such a place; where the
    operand is still read after the output has been made, that waits in a slot for the end of the block.
    """
    made = {link.result: i for i, link in enumerate(links)}
    last = {key: i for i, link in enumerate(links) for key in link.operands}
    held: dict[Place, int] = {}  # the node that reads what is there as the last one
    for key, array in targets.items():
        until = max((last[k] for k, a in given.items() if np.may_share_memory(a, array)), default=-1)
        if until <= made[key]:
            held[key] = until
    places: dict[Key, Place] = {key: key for key in held}
    dtypes: dict[Place, Any] = {key: array.dtype for key, array in targets.items()}
    for i, link in enumerate(links):
        if link.result in places:
            continue
        end = len(links) if link.result in targets else last[link.result]
        fitting = (p for p, until in held.items() if until <= i and end <= made.get(p, end) and dtypes[p] == link.dtype)
        place = places[link.result] = next(fitting, Slot(len(held), link.dtype))
        held[place], dtypes[place] = end, link.dtype
    return places


# ---- blocks --------------------------------------------------------------------------------------------------


def spread_to(x: Array, shape: tuple[int, ...]) -> Array:
    """x in the shape of the results, without a copy; one number as such.  Constants stay read-only, others do not."""
    if x.size == 1 or x.shape == shape:
        return x if x.shape == shape else x.reshape(())
    wide = np.broadcast_to(x, shape)
    wide.flags.writeable = x.flags.writeable
    return wide


def merged_axes(shape: tuple[int, ...], arrays: Sequence[Array]) -> tuple[int, ...]:
    """The shape with as few axes as possible into which all the arrays can be reshaped without a copy."""
    sizes: list[int] = []
    before: list[int] = []
    for axis, size in enumerate(shape):
        strides = [a.strides[axis] for a in arrays]
        if size == 1:
            continue
        if sizes and before == [size * s for s in strides]:
            sizes[-1] *= size
        else:
            sizes.append(size)
        before = strides
    return tuple(sizes) or (1,)


def _blocks(shape: tuple[int, ...], count: int) -> list[tuple[Any, ...]]:
    """Indices of blocks of at most about `count` elements, the largest first: slices of an axis, alike in length."""
    axis, inner = len(shape) - 1, 1
    while axis and inner * shape[axis] <= count:
        inner *= shape[axis]
        axis -= 1
    pieces = -(-shape[axis] // max(1, count // inner))
    rows = -(-shape[axis] // pieces)
    cuts = [slice(i, min(i + rows, shape[axis])) for i in range(0, shape[axis], rows)]
    return sorted(product(*map(range, shape[:axis]), cuts), key=lambda block: block[-1].start - block[-1].stop)


class Repeated:
    """`scratch` that gives each node in turn the same memory: what one leaves there no other reads."""

    def __init__(self, scratch: Scratch) -> None:
        self.scratch, self.made, self.used = scratch, list[Array](), 0

    def __call__(self, shape: Any, dtype: Any = np.float32) -> Array:
        size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
        if self.used == len(self.made):
            self.made.append(self.scratch(size, np.uint8))
        elif self.made[self.used].size < size:
            self.made[self.used] = self.scratch(size, np.uint8)
        self.used += 1
        return self.made[self.used - 1][:size].view(dtype).reshape(shape)


def _steps(
    links: Sequence[Link], given: Mapping[Key, Array], targets: Mapping[Key, Array], places: Mapping[Key, Place],
    scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """The nodes bound to block after block; all arrays have one shape, but for numbers."""
    shape = next(iter(targets.values())).shape
    slots = {place for place in places.values() if isinstance(place, Slot)}
    arrays = {a.ctypes.data: a.itemsize for a in (*given.values(), *targets.values()) if a.shape == shape}
    width = sum(arrays.values()) + sum(slot.dtype.itemsize for slot in slots)
    branches = len(cuts(math.prod(shape), math.prod(shape) * len(links) * LINK_FLOPS, most=2))
    blocks = _blocks(shape, min(BLOCK_BYTES // width, -(-math.prod(shape) // branches)))
    return together(
        [_bound(links, given, targets, places, scratch, blocks[i::branches]) for i in range(branches) if blocks[i:]]
    )


def _bound(
    links: Sequence[Link], given: Mapping[Key, Array], targets: Mapping[Key, Array], places: Mapping[Key, Place],
    scratch: Scratch, blocks: Sequence[tuple[Any, ...]],
) -> list[Step]:  # fmt: skip
    """The nodes bound to some of the blocks, the largest of which comes first, with slots of their own."""
    shape = next(iter(targets.values())).shape
    most = next(iter(targets.values()))[blocks[0]].size
    memory = {place: scratch(most, place.dtype) for place in dict.fromkeys(places.values()) if isinstance(place, Slot)}
    repeated, steps = Repeated(scratch), list[Step]()
    for block in blocks:
        outs = {key: a[block] for key, a in targets.items()}
        like = next(iter(outs.values()))
        rooms = {**outs, **{slot: a[: like.size].reshape(like.shape) for slot, a in memory.items()}}
        here = {key: a[block] if a.shape == shape else a for key, a in given.items()}
        here |= {key: rooms[place] for key, place in places.items()}
        for link in links:
            repeated.used = 0
            operands = [here[key] for key in link.operands]
            bound = link.row.call(*operands, **link.attrs, out=here[link.result], scratch=repeated)
            steps += bound if isinstance(bound, list) else [bound]
        steps += [partial(np.copyto, out, here[key]) for key, out in outs.items() if places[key] != key]
    return steps
