"""Shapes which may be known in symbols or at run time only, for those who emit nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Union

import numpy as np

from . import dims
from .builder import Builder
from .dims import Dim
from .graph import Var

Entry = Union[Dim, Var]  # of a shape: known when the graph is built, or i64[1]


def dim(b: Builder, x: Var, axis: int) -> Entry:
    """A dimension of x: a number or symbols, or a value of the graph where nothing is known of it."""
    d = x.shape[axis]
    return d if dims.known(d) else b.gather(b.shape(x), np.array([axis]))


def shape_of(b: Builder, x: Var) -> Any:
    """The shape of x, fit for an attribute."""
    shape = x.tensor.shape
    return b.shape(x) if shape is None or not all(map(dims.known, shape)) else shape


def vector(b: Builder, entries: Iterable[Entry]) -> Any:
    """Dimensions as one attribute: a tuple, or a value where one of them is one."""
    entries = list(entries)
    if not any(isinstance(e, Var) for e in entries):
        return tuple(entries)
    parts = [e if isinstance(e, Var) else as_value(b, e) for e in entries]
    return b.concat(*parts, axis=0)


def as_value(b: Builder, d: Dim) -> Var:
    """A known dimension as i64[1]; a symbol's number is that of something that is as long."""
    if isinstance(d, int):
        return b.constant(np.array([d], np.int64))
    return b.shape(b.fill(b.constant(np.int8(0)), shape=(d,)))


def zero(b: Builder, like: Var) -> Var:
    """0 in the dtype of another value."""
    return b.constant(0, dtype=like.tensor.dtype.numpy)
