"""The table of kernels: op name -> how NumPy computes it.  Families live in `kernels/`, mirrored on `ir/ops/`.

There are three forms of a row, from the simple to the fast:

`@function` arrays in, array (or tuple of arrays) out:

    @function
    def nonzero(x):
        return np.stack(np.nonzero(x))

`@view` the same, but the result shares memory with the first operand wherever NumPy can; it must not look at
elements, only at shapes and strides; ValueError says that the elements, in the same order, do not lie as that needs:

    @view
    def transpose(x, *, perm):
        return x.transpose(perm)

`@kernel` bound: called once, when a plan is made, with the arrays that every run will use, and returns the step
(a callable without arguments, or a list of them) that computes `out` from them.  What depends on shapes alone
is done while binding, so that a step only computes:

    @kernel
    def matmul(x, y, *, out, scratch):
        return partial(np.matmul, x, y, out=out)

While binding, only the elements of constants may be read: `is_constant(array)` tells.  `scratch(shape, dtype)`
gives an uninitialised array that lives during the step.  An operand that was left out is None; so is an entry of
`out` (a tuple where the op has several outputs) which nobody uses.  Steps write every element of `out`.
Attributes come as keywords, all of them, canonical and concrete.

What a bound kernel says of itself, for the planner of memory:

`strided`  it reads operands and writes `out` wherever they lie, without copies of whole arrays: they may be slices of
           larger arrays, whose last axis is contiguous
`over`     the names of operands which `out` may be, where the op has not the trait `inplace` for all of them
`parts`    (out, shapes of the operands, **attributes) -> for each operand the view of `out` in which it may lie
           already, or None: then there is nothing left to copy (`same_place` tells)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...ir.ops import CONTENTS
from ...ir.records import record
from ...ir.tables import Table
from ...passes.algorithms import NUMPY_PRICES, Prices
from .copies import copied
from .kernels import BESIDE

Array = np.ndarray[Any, Any]
Step = Callable[[], Any]
Scratch = Callable[..., Array]  # (shape, dtype) -> an uninitialised array
Parts = Callable[..., Sequence["Array | None"]]  # (out, shapes, **attributes) -> views of out


@record
class Kernel:
    """A row of the table: `form` is function, view or kernel; the rest is what a kernel says of itself."""

    name: str
    form: str
    call: Callable[..., Any]
    strided: bool = False
    over: tuple[str, ...] = ()
    parts: Parts | None = None

    @property
    def writes_strided(self) -> bool:
        """Whether the result may lie anywhere: what arrays-in-arrays-out computes is copied there anyway."""
        return self.strided or self.form != "kernel"


_FAMILIES = {family: (family, *BESIDE.get(family, ())) for family in CONTENTS}
KERNELS: Table[str, Kernel] = Table(
    f"{__package__}.kernels",
    [file for files in _FAMILIES.values() for file in files],
    {name: _FAMILIES[family] for family, names in CONTENTS.items() for name in names.split()},
)


def is_native(step: Step) -> bool:
    """Whether a step, or everything that it is made of, is compiled code: neither NumPy nor BLAS has a part in it."""
    return getattr(step, "native", False)


@record
class Kernels:
    """The table that plans are bound with: op name -> row, under a name that tells what was measured with it; how
    views are copied that have to be elsewhere; what convolutions cost; how the steps of a plan are joined to fewer.
    """

    name: str
    rows: Mapping[str, Kernel]
    copied: Callable[[Array, Array], list[Step]] = copied
    prices: Prices = NUMPY_PRICES
    joined: Callable[[Sequence[Step]], Sequence[Step]] = list


NUMPY = Kernels("numpy", KERNELS)


def _register(form: str, call: Callable[..., Any], name: str | None, **properties: Any) -> Callable[..., Any]:
    key = name or call.__name__.rstrip("_")
    assert not KERNELS.has(key), f"kernel {key} is registered twice"
    KERNELS[key] = Kernel(key, form, call, **properties)
    return call


def function(call: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """Register arrays in, arrays out."""
    return _register("function", call, name)


def view(call: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """Register a kernel whose result shares memory with its first operand."""
    return _register("view", call, name)


def kernel(
    call: Callable[..., Any] | None = None, name: str | None = None, *, strided: bool = False,
    over: tuple[str, ...] = (), parts: Parts | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """Register a kernel that binds arrays to a step; without one, a decorator with these properties."""
    if call is None:
        return partial(kernel, name=name, strided=strided, over=over, parts=parts)
    return _register("kernel", call, name, strided=strided, over=over, parts=parts)


def is_constant(array: Array | None) -> bool:
    """Whether an array given while binding holds a constant, whose elements may be read."""
    return array is not None and not array.flags.writeable


def same_place(a: Array, b: Array) -> bool:
    """Whether two arrays are the same elements of the same memory."""
    return a.shape == b.shape and a.strides == b.strides and a.ctypes.data == b.ctypes.data
