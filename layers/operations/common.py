"""What the rows of operations share: the table itself, conversion and promotion of arguments, formulas.

A row is a function (b, *arguments, **config) -> Var, or a tuple or list of Vars.  Tensors come as Vars; other arguments
as the file has them: numbers, strings, tuples, arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...ir import Builder, Var, dtype
from ...ir.dims import product
from ..base import as_dtype, map_structure
from .promotion import result_type

Function = Callable[..., Any]

OPERATIONS: dict[str, Function] = {}
FAMILIES: dict[str, str] = {}  # the module of keras.src.ops that has the class of an operation


def rows(family: str, table: dict[str, Function]) -> None:
    """Enter operations into the table."""
    for name, function in table.items():
        assert name not in OPERATIONS, f"operation {name} is declared twice"
        OPERATIONS[name], FAMILIES[name] = function, family


def row(family: str, *names: str) -> Callable[[Function], Function]:
    """Enter a function under Keras' names of the operation."""

    def declare(function: Function) -> Function:
        rows(family, dict.fromkeys(names, function))
        return function

    return declare


# ---- arguments ------------------------------------------------------------------------------------------------


def is_tensor(x: Any) -> bool:
    """Whether an argument is a tensor or an array, rather than a Python number."""
    return isinstance(x, (Var, np.ndarray, np.generic, list, tuple))


def kind_of(x: Any) -> str:
    """The dtype of an argument for promotion; Python numbers are weak."""
    if isinstance(x, Var):
        return x.tensor.dtype.numpy_name
    if isinstance(x, bool):
        return "bool"
    if isinstance(x, (int, float)):
        return type(x).__name__
    return _array(x).dtype.name


def _array(x: Any) -> np.ndarray[Any, Any]:
    """Python numbers, nested or not, in 32 bits, as TensorFlow takes them; arrays as they are."""
    array = np.asarray(x)
    if isinstance(x, (np.ndarray, np.generic)):
        return array
    narrow = {"float64": "float32", "int64": "int32"}.get(array.dtype.name)
    fits = narrow != "int32" or not array.size or np.abs(array).max() < 2**31
    return array.astype(narrow) if narrow and fits else array


def tensor(b: Builder, x: Any, name: Any = None) -> Var:
    """An argument as a tensor, in the dtype called `name` (by default its own)."""
    if isinstance(x, (list, tuple)) and any(isinstance(v, Var) for v in x):
        parts = together(b, *x)
        return b.concat(*(b.unsqueeze(v, axes=(0,)) for v in parts), axis=0)  # type: ignore[no-any-return]
    if not isinstance(x, Var):
        array = _array(x)
        return b.constant(array if name is None else array.astype(dtype(name).numpy))
    return x if name is None else as_dtype(b, x, name)


def together(b: Builder, *xs: Any, beside: Iterable[str] = (), weak: bool = True) -> list[Var]:
    """Arguments in the dtype in which they (and dtypes `beside`) meet.

    weak: Python numbers give way; else they are tensors of 32 bits like any other.
    """
    kinds = [kind_of(x) if weak or is_tensor(x) else _array(x).dtype.name for x in xs]
    name = result_type(*kinds, *beside)
    return [tensor(b, x, name) for x in xs]


def floating(b: Builder, x: Any) -> Var:
    """A tensor in the floating-point dtype in which Keras computes functions of it: float32 for integers."""
    kind = kind_of(tensor(b, x))
    return tensor(b, x, "float32" if kind == "int64" else result_type(kind, "float"))


def inexact(b: Builder, x: Any) -> Var:
    """A tensor, integers and booleans in float32."""
    return tensor(b, x) if dtype(kind_of(x)).kind in ("float", "complex") else tensor(b, x, "float32")


def is_complex(x: Var) -> bool:
    """Whether x has complex elements."""
    return x.tensor.dtype.kind == "complex"


def summable(x: Var) -> str:
    """The dtype in which Keras adds up (JAX's rule): narrow integers in 32 bits."""
    name = x.tensor.dtype.numpy_name
    return {"bool": "int32", "int8": "int32", "int16": "int32", "uint8": "uint32", "uint16": "uint32"}.get(name, name)


def axes_of(axis: Any) -> tuple[int, ...] | None:
    """Axes as core ops take them, from None, a number or several."""
    return None if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)


def flat(b: Builder, x: Var) -> Var:
    """All elements in one axis."""
    return x if len(x.shape) == 1 else b.reshape(x, shape=(product(x.shape),))  # type: ignore[no-any-return]


def fixed(size: Any, what: str) -> int:
    """A dimension that has to be a number."""
    if not isinstance(size, int):
        raise TypeError(f"{what} is {size}: it has to be fixed")
    return size


def as_tuple(x: Any, rank: int) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    return (x,) * rank if isinstance(x, int) else tuple(int(v) for v in x)


# ---- formulas -------------------------------------------------------------------------------------------------


class Term:
    """A Var in a formula: operators and `term.op(...)` make nodes; numbers take the dtype of the term beside them."""

    def __init__(self, b: Builder, var: Var) -> None:
        self.b, self.var = b, var

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *operands, **attrs: self._node(name, self, *operands, **attrs)

    def _node(self, op: str, *operands: Any, **attrs: Any) -> Any:
        made = getattr(self.b, op)(*map(plain, operands), **attrs)
        return Term(self.b, made) if isinstance(made, Var) else tuple(Term(self.b, v) for v in made)

    def to(self, name: Any) -> Term:
        """In another dtype."""
        return Term(self.b, as_dtype(self.b, self.var, name))

    def same(self, number: float) -> Var:
        """A number as a constant of this dtype."""
        return self.b.constant(np.array(number, self.var.tensor.dtype.numpy))

    @property
    def shape(self) -> Any:
        return self.var.shape

    @property
    def dtype(self) -> str:
        return self.var.tensor.dtype.numpy_name

    def __add__(self, y: Any) -> Any:
        return self._node("add", self, y)

    def __radd__(self, y: Any) -> Any:
        return self._node("add", y, self)

    def __sub__(self, y: Any) -> Any:
        return self._node("sub", self, y)

    def __rsub__(self, y: Any) -> Any:
        return self._node("sub", y, self)

    def __mul__(self, y: Any) -> Any:
        return self._node("mul", self, y)

    def __rmul__(self, y: Any) -> Any:
        return self._node("mul", y, self)

    def __truediv__(self, y: Any) -> Any:
        return self._node("div", self, y)

    def __rtruediv__(self, y: Any) -> Any:
        return self._node("div", y, self)

    def __floordiv__(self, y: Any) -> Any:
        return self._node("floor_div", self, y)

    def __mod__(self, y: Any) -> Any:
        return self._node("mod", self, y)

    def __neg__(self) -> Any:
        return self._node("neg", self)

    def __lt__(self, y: Any) -> Any:
        return self._node("less", self, y)

    def __le__(self, y: Any) -> Any:
        return self._node("less_equal", self, y)

    def __gt__(self, y: Any) -> Any:
        return self._node("greater", self, y)

    def __ge__(self, y: Any) -> Any:
        return self._node("greater_equal", self, y)

    def __and__(self, y: Any) -> Any:
        return self._node("logical_and", self, y)

    def __or__(self, y: Any) -> Any:
        return self._node("logical_or", self, y)

    def __invert__(self) -> Any:
        return self._node("logical_not", self)


def where(condition: Any, x: Any, y: Any) -> Any:
    """A term; one of x and y may be a number."""
    beside = x if isinstance(x, Term) else y
    made: Any = [v if isinstance(v, (Term, Var)) else beside.same(v) for v in (x, y)]
    return beside._node("where", condition, *made)


def plain(x: Any) -> Any:
    """A term as a Var; anything else as it is."""
    return x.var if isinstance(x, Term) else x


def evaluated(x: Any) -> Any:
    """The result of a row, terms as Vars."""
    return map_structure(plain, x)


def formula(convert: Callable[[Builder, Any], Var], body: Callable[..., Any]) -> Function:
    """A row of one operand: `body` of it as a term, after conversion."""
    return lambda b, x, **config: body(Term(b, convert(b, x)), **config)


def polynomial(x: Any, *coefficients: float) -> Any:
    """By Horner's rule; the highest power comes first."""
    value: Any = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value
