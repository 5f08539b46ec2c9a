"""Single functions that take NumPy several passes: one loop each."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...numpy.kernels.elementwise import UNARY
from ...numpy.registry import Array, Scratch, Step
from ..expressions import ROWS, knows, spelled
from ..loops import Body, loop_over
from ..registry import row


def _bind(name: str, x: Array, *, out: Array, scratch: Scratch, **attrs: Any) -> list[Step] | None:
    dtype = x.dtype.name
    if not knows(name, (dtype, out.dtype.name)) or x.dtype.kind != "f":
        return None
    return loop_over(Body((f"v = {spelled(name, attrs, ['u0'])}",), ("v",), (dtype,), (out.dtype.name,)), [x], [out])


for _name, _row in UNARY.items():
    if _name in ROWS and not _row.single:
        row(partial(_bind, _name), _name)


@row
def where(condition: Array, x: Array, y: Array, *, out: Array, scratch: Scratch) -> list[Step] | None:
    """One pass."""
    dtypes = (condition.dtype.name, x.dtype.name, y.dtype.name)
    body = Body(("v = where(u0, u1, u2)",), ("v",), dtypes, (out.dtype.name,))
    return loop_over(body, [condition, x, y], [out])
