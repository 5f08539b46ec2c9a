"""Gradients of ops that move elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.builder import Builder
from ....ir.graph import Var
from . import rule


def _back(b: Builder, x: Var, g: Var) -> Var:
    """g in the shape of x."""
    return b.reshape(g, shape=x.shape if x.tensor.is_static else b.shape(x))  # type: ignore[no-any-return]


@rule
def reshape(b: Builder, x: Var, g: Var) -> Any:
    return _back(b, x, g)


@rule
def squeeze(b: Builder, x: Var, g: Var) -> Any:
    return _back(b, x, g)


@rule
def unsqueeze(b: Builder, x: Var, g: Var) -> Any:
    return _back(b, x, g)


@rule
def transpose(b: Builder, x: Var, g: Var, *, perm: tuple[int, ...]) -> Any:
    return b.transpose(g, perm=tuple(int(i) for i in np.argsort(perm)))


@rule
def identity(b: Builder, x: Var, g: Var) -> Any:
    return g


@rule
def expand(b: Builder, x: Var, g: Var) -> Any:
    """The engine sums over what was broadcast."""
    return g
