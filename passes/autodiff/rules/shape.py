"""Gradients of ops that move elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir import dims
from ....ir.builder import Builder
from ....ir.graph import Var
from ..emit import dim, full_like, numbered, shape_of, vector
from . import rule


def _back(b: Builder, x: Var, g: Var) -> Var:
    """g in the shape of x."""
    return b.reshape(g, shape=shape_of(b, x))


for _name in ("reshape", "squeeze", "unsqueeze"):
    rule(_back, _name)


@rule
def transpose(b: Builder, x: Var, g: Var, *, perm: tuple[int, ...]) -> Any:
    return b.transpose(g, perm=tuple(int(i) for i in np.argsort(perm)))


@rule
def expand(b: Builder, x: Var, g: Var) -> Any:
    """The engine sums over what was broadcast."""
    return g


@rule
def fill(b: Builder, value: Var, g: Var) -> Any:
    return _back(b, value, b.reduce_sum(g))


@rule
def range_(b: Builder, start: Var, limit: Var, delta: Var, g: Var) -> tuple[Var | None, ...]:
    """Of start + i delta."""
    places = b.cumsum(full_like(b, g, 1), axis=0, exclusive=True)
    return _back(b, start, b.reduce_sum(g)), None, _back(b, delta, b.reduce_sum(b.mul(g, places)))


@rule
def concat(b: Builder, xs: list[Var], g: Var, *, axis: int) -> Any:
    return b.split(g, axis=axis, sizes=vector(b, [dim(b, x, axis) for x in xs]))


@rule
def split(b: Builder, x: Var, gs: list[Var | None], *, out: tuple[Var, ...], axis: int) -> Any:
    """The gradients side by side, zeros for parts that nobody read."""
    return b.concat(*(full_like(b, part, 0) if g is None else g for part, g in zip(out, gs)), axis=axis)


@rule
def slice_(b: Builder, x: Var, g: Var, *, starts: Any | Var, ends: Any | Var, axes: Any | Var, steps: Any | Var) -> Any:
    return b.unslice(g, shape=shape_of(b, x), starts=starts, ends=ends, axes=axes, steps=steps)


@rule
def unslice(
    b: Builder, x: Var, g: Var, *, starts: Any | Var, ends: Any | Var, axes: Any | Var, steps: Any | Var
) -> Any:
    return b.slice(g, starts=starts, ends=ends, axes=axes, steps=steps)


@rule
def pad(b: Builder, x: Var, value: Var | None, g: Var, *, pads: Any, mode: str) -> tuple[Var | None, ...]:
    """The middle of g; in modes that repeat elements, each of them gets what all its copies got, axis by axis."""
    if mode == "constant":
        dx = b.pad(g, pads=tuple((-before, -after) for before, after in pads))
        return dx, value and _back(b, value, b.sub(b.reduce_sum(g), b.reduce_sum(dx)))
    for axis, around in enumerate(pads):
        if around != (0, 0):
            n = dim(b, x, axis)
            places = b.pad(numbered(b, n), pads=(around,), mode=mode)
            g = b.scatter_rows(g, places, size=n, axis=axis)
    return g, None


@rule
def tile(b: Builder, x: Var, g: Var, *, repeats: Any | Var) -> Any:
    """The sum over the repetitions, which become axes of their own: (r0, d0, r1, d1, ...)."""
    rank = len(x.shape)
    if isinstance(repeats, Var) or not all(map(dims.known, x.shape)):
        times = repeats if isinstance(repeats, Var) else b.constant(np.array(repeats, np.int64))
        pairs = (b.unsqueeze(b.cast(v, to="i64"), axes=(1,)) for v in (times, b.shape(x)))
        shape = b.reshape(b.concat(*pairs, axis=1), shape=(2 * rank,))
    else:
        shape = tuple(d for pair in zip(repeats, x.shape) for d in pair)
    return b.reduce_sum(b.reshape(g, shape=shape), axes=tuple(range(0, 2 * rank, 2)))


@rule
def repeat(b: Builder, x: Var, g: Var, *, repeats: int, axis: int) -> Any:
    """The sum over the repetitions, an axis behind the repeated one."""
    a = axis % len(x.shape)
    shape = [dim(b, x, i) for i in range(len(x.shape))]
    return b.reduce_sum(b.reshape(g, shape=vector(b, [*shape[: a + 1], repeats, *shape[a + 1 :]])), axes=(a + 1,))


@rule
def reverse_sequence(b: Builder, x: Var, lengths: Var, g: Var, *, axis: int | Var) -> tuple[Var | None, ...]:
    return b.reverse_sequence(g, lengths, axis=axis), None
