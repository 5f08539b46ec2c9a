"""What an attribute may be: one row per kind of annotation, with the check that makes a given value canonical.

Canonical values are hashable and print exactly: numbers, strings, booleans, dtypes, dimensions, activations,
tuples of these, None, and NumPy scalars nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .dims import Dim, Expr
from .records import record
from .types import DType, dtype


@record
class Activation:
    """An elementwise op applied to the result of another op: its name and attributes (`leaky_relu`, alpha 0.2).

    `linear` is none at all.
    """

    name: str = "linear"
    attrs: tuple[tuple[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return self.name != "linear"

    def __str__(self) -> str:
        inside = ", ".join(f"{k} = {v!r}" for k, v in self.attrs)
        return f"{self.name}({inside})" if inside else self.name


LINEAR = Activation()


def _integer(x: Any) -> int:
    if isinstance(x, bool) or int(x) != x:
        raise TypeError
    return int(x)


def _dim(x: Any) -> Dim:
    return x if isinstance(x, Expr) else _integer(x)


def _text(x: Any) -> str:
    if not isinstance(x, str):
        raise TypeError
    return str(x)


def _flag(x: Any) -> bool:
    if x not in (0, 1):
        raise TypeError
    return bool(x)


def _activation(x: Any) -> Activation:
    return x if isinstance(x, Activation) else Activation(_text(x))


def _tuple_of(check: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def checked(x: Any) -> tuple[Any, ...]:
        if isinstance(x, str):
            raise TypeError
        return tuple(check(v) for v in x)

    return checked


def _padding(x: Any) -> Any:
    """`"valid"`, `"same"`, `"same_lower"`, `"causal"`, or a (before, after) pair for each axis."""
    if isinstance(x, str):
        if x not in ("valid", "same", "same_lower", "causal"):
            raise TypeError
        return x
    pairs = _tuple_of(_tuple_of(_integer))(x)
    if any(len(p) != 2 for p in pairs):
        raise TypeError
    return pairs


KINDS: dict[str, Callable[[Any], Any]] = {
    "int": _integer,
    "float": float,
    "bool": _flag,
    "str": _text,
    "Dim": _dim,
    "DType": dtype,
    "Activation": _activation,
    "Padding": _padding,
    "Ints": _tuple_of(_integer),
    "Dims": _tuple_of(_dim),
    "Floats": _tuple_of(float),
    "Strs": _tuple_of(_text),
    "Pairs": _tuple_of(_tuple_of(_dim)),
}

# Kinds that may be given as a value of the graph (a small integer tensor), known only at run time.
DYNAMIC_KINDS = frozenset({"int", "float", "Dim", "Ints", "Dims", "Floats"})

# In signatures of type rules (annotations are read as text; these names are for the type checker).
Ints = tuple[int, ...]
Dims = tuple[Dim, ...]
Floats = tuple[float, ...]
Strs = tuple[str, ...]
Pairs = tuple[tuple[Dim, Dim], ...]
Padding = Any
__all__ = ["LINEAR", "Activation", "DType", "Dim", "Dims", "Floats", "Ints", "Padding", "Pairs", "Strs", "check"]


@record
class Attribute:
    """A declared attribute: name, kind (a row of KINDS), whether None is allowed, and the default."""

    name: str
    kind: str
    optional: bool
    default: Any

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def dynamic(self) -> bool:
        return self.kind in DYNAMIC_KINDS


REQUIRED = object()


def declared(name: str, annotation: str, default: Any) -> Attribute:
    """The attribute that a keyword-only parameter of a type rule declares."""
    kind, _, none = annotation.partition(" | ")
    if kind not in KINDS or none not in ("", "None"):
        raise TypeError(f"attribute {name}: no kind {annotation!r}; kinds: {', '.join(KINDS)}")
    attribute = Attribute(name, kind, bool(none), default)
    return attribute if default is REQUIRED else Attribute(name, kind, bool(none), check(attribute, default))


def check(attribute: Attribute, value: Any) -> Any:
    """The canonical form of a value given for an attribute; TypeError if it is not of the attribute's kind."""
    if value is None and attribute.optional:
        return None
    try:
        return KINDS[attribute.kind](value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"attribute {attribute.name}: {value!r} is no {attribute.kind}") from None


def substitute_dims(attrs: Mapping[str, Any], change: Callable[[Dim], Dim]) -> dict[str, Any]:
    """Attributes with every symbolic dimension changed."""

    def changed(x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(changed(v) for v in x)
        return change(x) if isinstance(x, Expr) else x

    return {k: changed(v) for k, v in attrs.items()}
