"""The types of the IR: dtypes, `Tensor`, `Sequence`, `Optional`, `Map`.

No kernel, no pass and no frontend enters this module; ml_dtypes is imported only for the dtypes that need it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Union

import numpy as np

from ..errors import ShapeError
from . import dims
from .dims import Dim
from .records import record

# name in the text: (NumPy or ml_dtypes name, kind, bits)
_DTYPES = {
    "bool": ("bool", "bool", 8),
    "i8": ("int8", "int", 8),
    "i16": ("int16", "int", 16),
    "i32": ("int32", "int", 32),
    "i64": ("int64", "int", 64),
    "u8": ("uint8", "uint", 8),
    "u16": ("uint16", "uint", 16),
    "u32": ("uint32", "uint", 32),
    "u64": ("uint64", "uint", 64),
    "f16": ("float16", "float", 16),
    "bf16": ("bfloat16", "float", 16),
    "f32": ("float32", "float", 32),
    "f64": ("float64", "float", 64),
    "c64": ("complex64", "complex", 64),
    "c128": ("complex128", "complex", 128),
    "str": ("object", "string", 64),
    "f8e4m3fn": ("float8_e4m3fn", "float", 8),
    "f8e4m3fnuz": ("float8_e4m3fnuz", "float", 8),
    "f8e5m2": ("float8_e5m2", "float", 8),
    "f8e5m2fnuz": ("float8_e5m2fnuz", "float", 8),
    "f8e8m0": ("float8_e8m0fnu", "float", 8),
    "f6e2m3": ("float6_e2m3fn", "float", 6),
    "f6e3m2": ("float6_e3m2fn", "float", 6),
    "f4e2m1": ("float4_e2m1fn", "float", 4),
    "i4": ("int4", "int", 4),
    "u4": ("uint4", "uint", 4),
    "i2": ("int2", "int", 2),
    "u2": ("uint2", "uint", 2),
}


class DType:
    """An element type; one object a name (compare with `is`).

    `name` is the text's name (`f32`), `numpy_name` NumPy's or ml_dtypes', `kind` one of bool, int, uint, float,
    complex, string.
    """

    __slots__ = ("_numpy", "bits", "kind", "name", "numpy_name")

    def __init__(self, name: str, numpy_name: str, kind: str, bits: int) -> None:
        self.name, self.numpy_name, self.kind, self.bits = name, numpy_name, kind, bits
        self._numpy: np.dtype[Any] | None = None

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype (strings are objects)."""
        if self._numpy is None:
            if self.numpy_name in ("bool", "object") or hasattr(np, self.numpy_name):
                self._numpy = np.dtype(self.numpy_name)
            else:
                import ml_dtypes

                self._numpy = np.dtype(getattr(ml_dtypes, self.numpy_name))
        return self._numpy

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return (dtype, (self.name,))


DTYPES = {name: DType(name, *row) for name, row in _DTYPES.items()}
_BY_NUMPY_NAME = {d.numpy_name: d for d in DTYPES.values()}

f32, f64, boolean, string = (DTYPES[n] for n in ("f32", "f64", "bool", "str"))
i32, i64, u8 = (DTYPES[n] for n in ("i32", "i64", "u8"))


def dtype(of: Any) -> DType:
    """The DType of a name (`f32`, `float32`), a NumPy dtype, an array or a DType."""
    if isinstance(of, DType):
        return of
    if isinstance(of, str) and of in DTYPES:
        return DTYPES[of]
    if not isinstance(of, str):
        return _described(np.dtype(getattr(of, "dtype", of)))
    found = _BY_NUMPY_NAME.get("object" if of in ("string", "str") else of)
    if found is None:
        raise ShapeError(f"unknown dtype {of!r}", hint=f"one of {', '.join(DTYPES)}")
    return found


@lru_cache(maxsize=256)
def _described(of: np.dtype[Any]) -> DType:
    return dtype("object" if of.kind in "USOT" else of.name)


Shape = Union[tuple[Dim, ...], None]


@dataclass(frozen=True)
class Tensor:
    """An array of a dtype; `shape` is None where the rank is not known.

    `value` holds the elements (flat) of a small integer tensor of rank 0 or 1 where they are known, perhaps in
    symbols: shape arithmetic is done by the type rules.  It can be derived, so it takes no part in equality.
    """

    dtype: DType
    shape: Shape
    value: tuple[Dim, ...] | None = field(default=None, compare=False)

    @property
    def rank(self) -> int:
        """The number of axes; ShapeError if it is not known."""
        return len(self.dims)

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The shape; `Unknown` if the rank is not known."""
        if self.shape is None:
            raise Unknown
        return self.shape

    @property
    def is_static(self) -> bool:
        """Whether every dimension is a number."""
        return self.shape is not None and dims.is_number(self.shape)

    @property
    def static(self) -> tuple[int, ...]:
        """The shape, all of it numbers; ShapeError otherwise."""
        if not self.is_static:
            raise ShapeError(f"{self} has no static shape")
        return self.shape  # type: ignore[return-value]

    @property
    def nbytes(self) -> int:
        """Bytes of a contiguous array of this (static) type."""
        return dims.number_of(self.static) * self.dtype.numpy.itemsize

    def with_(self, *, dtype: DType | None = None, shape: Shape = None) -> Tensor:
        """This type with another dtype or shape, value forgotten."""
        return Tensor(dtype or self.dtype, self.shape if shape is None else shape)

    def __str__(self) -> str:
        inside = "*" if self.shape is None else ", ".join(map(str, self.shape))
        return f"{self.dtype}[{inside}]"


@record
class Container:
    """What holds values of one type; the kinds differ in nothing but what they are."""

    element: Type
    word: ClassVar[str]

    def of(self, element: Type) -> Container:
        """A type of the same kind with another element."""
        return type(self)(element)

    def __str__(self) -> str:
        return f"{self.word}<{self.element}>"


class Sequence(Container):
    """A list of values of one type."""

    word = "seq"


class Optional(Container):
    """A value that may be absent (None)."""

    word = "optional"


@record
class Map(Container):
    """A table (dict) of values of one type by keys, integers or strings."""

    key: DType
    word = "map"

    def of(self, element: Type) -> Map:
        return Map(element, self.key)

    def __str__(self) -> str:
        return f"map<{self.key}, {self.element}>"


Type = Union[Tensor, Container]


class Unknown(Exception):  # noqa: N818 - a signal between type rules and `infer`, not an error that users see
    """Raised inside a type rule that needs a rank or an axis which is not known yet."""


def type_of(array: np.ndarray[Any, Any], *, values: bool = False) -> Tensor:
    """The type of an array; with `values`, small integer arrays bring their elements."""
    value = None
    if values and array.ndim <= 1 and array.size <= 64 and array.dtype.kind in "iu":
        value = tuple(int(v) for v in array.reshape(-1))
    return Tensor(dtype(array), tuple(array.shape), value)


def map_dims(t: Type, change: Callable[[Dim], Dim]) -> Type:
    """The type with every dimension changed."""
    if isinstance(t, Tensor):
        return Tensor(t.dtype, None if t.shape is None else tuple(change(d) for d in t.shape))
    return t.of(map_dims(t.element, change))


def same(a: Type | None, b: Type | None) -> bool:
    """Whether two types are equal, and as much is known of the elements."""
    if a is b or a != b:
        return a is b
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.value == b.value
    return isinstance(a, Container) and isinstance(b, Container) and same(a.element, b.element)


def fits(general: Type, special: Type) -> bool:
    """Whether a value of type `special` may stand where `general` is expected: one that is there is an optional too."""
    if isinstance(general, Optional) and not isinstance(special, Optional):
        return fits(general.element, special)
    if not isinstance(general, Tensor) or not isinstance(special, Tensor):
        return _same_kind(general, special) and fits(general.element, special.element)  # type: ignore[union-attr]
    if general.dtype is not special.dtype:
        return False
    if general.shape is None or special.shape is None:
        return True
    return len(general.shape) == len(special.shape) and all(map(dims.compatible, general.shape, special.shape))


def _same_kind(a: Type, b: Type) -> bool:
    """Whether two containers differ in their elements at most."""
    return type(a) is type(b) and getattr(a, "key", None) is getattr(b, "key", None)


def join(a: Type, b: Type) -> Type:
    """The narrowest type that both a and b belong to: what the branches of an `if` have in common."""
    if isinstance(a, Optional) is not isinstance(b, Optional):
        return Optional(join(*(t.element if isinstance(t, Optional) else t for t in (a, b))))
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        if not _same_kind(a, b):
            raise ShapeError(f"no common type of {a} and {b}")
        assert not isinstance(a, Tensor) and not isinstance(b, Tensor)
        return a.of(join(a.element, b.element))
    if a.dtype is not b.dtype:
        raise ShapeError(f"no common type of {a} and {b}")
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return Tensor(a.dtype, None)
    return Tensor(a.dtype, tuple(x if x == y else dims.UNKNOWN for x, y in zip(a.shape, b.shape)))
