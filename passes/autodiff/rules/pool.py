"""Gradients of pooling and resizing.

The mean of windows and resizing are linear: each has an adjoint, whose adjoint it is itself.  So is the maximum as long
as x has its maxima in the same places, which is all that its derivative knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ....ir.attributes import Ints
from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.op import lookup
from ..emit import dim, vector
from . import rule

WINDOWS = ("window", "strides", "dilations", "padding", "ceil_mode")
SAMPLES = tuple(k for k in lookup("resize").attributes if k not in ("sizes", "axes"))


@partial(rule, keywords=("out", *WINDOWS))
def max_pool(b: Builder, x: Var, g: Var, *, out: Var, **windows: Any) -> Any:
    """To the first largest element of each window; TensorFlow, which we follow, has it go to all of them in 3-D."""
    return b.max_pool_grad(x, out, g, all_ties=len(x.shape) == 5, **windows)


@partial(rule, keywords=("out", *WINDOWS))
def max_pool_record(b: Builder, x: Var, above: Sequence[Var], *, out: Sequence[Var], **windows: Any) -> Any:
    """By the gradient op, which reads the record: whole numbers, which have no gradient."""
    return b.max_pool_grad(x, out[0], above[0], out[1], **windows)


@partial(rule, keywords=(*WINDOWS, "all_ties"))
def max_pool_grad(b: Builder, x: Var, y: Var, g: Var, record: Var | None, h: Var, **windows: Any) -> Any:
    return None, None, b.max_pool_pick(x, y, h, **windows), None


@partial(rule, keywords=(*WINDOWS, "all_ties"))
def max_pool_pick(b: Builder, x: Var, y: Var, h: Var, g: Var, **windows: Any) -> Any:
    return None, None, b.max_pool_grad(x, y, g, **windows)


@partial(rule, keywords=(*WINDOWS, "count_include_pad"))
def avg_pool(b: Builder, x: Var, g: Var, **windows: Any) -> Any:
    """Of each window, g / count to every element."""
    return b.avg_pool_grad(g, sizes=vector(b, [dim(b, x, i) for i in range(1, len(x.shape) - 1)]), **windows)


@partial(rule, keywords=(*WINDOWS, "count_include_pad"))
def avg_pool_grad(b: Builder, g: Var, h: Var, **windows: Any) -> Any:
    return b.avg_pool(h, **windows)


@partial(rule, keywords=("axes", *SAMPLES))
def resize(b: Builder, x: Var, g: Var, *, axes: Ints, **samples: Any) -> Any:
    """To every element, what was made from it times its weight."""
    return b.resize_grad(g, sizes=vector(b, [dim(b, x, a) for a in axes]), axes=axes, **samples)


@partial(rule, keywords=("axes", *SAMPLES))
def resize_grad(b: Builder, g: Var, h: Var, *, axes: Ints, **samples: Any) -> Any:
    return b.resize(h, sizes=vector(b, [dim(b, g, a) for a in axes]), axes=axes, **{**samples, "extrapolation": 0.0})
