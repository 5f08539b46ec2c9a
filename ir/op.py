"""How an op is declared: the type rule's signature is the schema, its docstring the reference page.

    @op("commutes")
    def add(x: Tensor, y: Tensor) -> Tensor:
        '''x + y ...'''
        return broadcast_type(x, y)

Positional parameters are inputs (`Tensor`, `Tensor | None = None` optional, `*xs: Tensor` variadic; `Type` takes
sequences too), keyword-only ones attributes (or, annotated `Graph`, subgraphs), the returned type or tuple of types
the outputs.  Words given to `op` are the op's traits, by which passes ask for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..errors import ShapeError
from . import attributes, dims
from .attributes import Attribute
from .dims import UNKNOWN, Dim
from .ops import CONTENTS
from .records import record
from .tables import Table, contents
from .types import DType, Tensor, Type, Unknown

TRAITS = {
    "elementwise": "one result element depends on the operand elements at the same (broadcast) place only",
    "activation": "elementwise, one operand, same dtype: may be an `activation` attribute of another op",
    "epilogue": "its `activation` attribute is applied to the result, which may also take a `bias` or `residual`",
    "permutes": "commutes with a transpose of the first operand (all operands, if variadic) once axes are renumbered",
    "commutes": "the first two operands may change places",
    "view": "the result can share memory with the first operand",
    "regroups": "the same elements in the same (C) order, under another shape",
    "gathers": "adds up rows, its first operand, into zeros: linear in the rows",
    "repeats": "repeats its operand: along an axis that it adds, all places are alike",
    "abreast": "samples along a leading axis never meet, if it is the same one, from the end, of operands and results",
    "sequential": "computes step by step with small products: more than one BLAS thread is in the way",
    "inplace": "the result may overwrite an operand of the same type",
    "random": "two equal nodes give different results: never folded, merged or moved",
    "effect": "must stay even where no output is used",
    "string": "works on strings or Python objects",
    "opaque": "the type rule cannot know the output shape before the op has run",
}


@record
class Input:
    """A declared operand."""

    name: str
    optional: bool = False
    variadic: bool = False


@dataclass(frozen=True, eq=False)
class Op:
    """A declared operation."""

    name: str
    family: str
    doc: str
    rule: Callable[..., Any]
    inputs: tuple[Input, ...]
    attributes: dict[str, Attribute]
    graphs: tuple[str, ...]
    traits: frozenset[str]
    many: bool
    mixes: Callable[..., Any] | None = field(default=None)
    concrete: Callable[..., dict[str, Any]] | None = field(default=None)
    canonical: Callable[..., dict[str, Any]] | None = field(default=None)

    def has(self, trait: str) -> bool:
        """Whether the op has a trait of TRAITS."""
        return trait in self.traits

    @property
    def variadic(self) -> bool:
        return bool(self.inputs) and self.inputs[-1].variadic

    @property
    def slots(self) -> int:
        """The number of operands before the variadic ones."""
        return len(self.inputs) - self.variadic

    @property
    def summary(self) -> str:
        """The first line of the doc."""
        return self.doc.partition("\n")[0]

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (lookup, (self.name,))


OPS: Table[str, Op] = Table(f"{__package__}.ops", CONTENTS, contents(CONTENTS))


def lookup(name: str) -> Op:
    """The op called name; KeyError if there is none."""
    return OPS[name]


def op(
    *traits: str,
    name: str | None = None,
    mixes: Callable[..., Any] | None = None,
    concrete: Callable[..., dict[str, Any]] | None = None,
    canonical: Callable[..., dict[str, Any]] | None = None,
) -> Callable[..., Any]:
    """Declare the decorated type rule as an op.

    `mixes(rank, **attributes)` gives the axes of the first operand along which elements meet (all others are
    independent): what lets a batch be cut into shards.  Without it all axes count as mixed, except for
    elementwise ops.  `concrete(operand types, attributes)` gives the attributes that kernels see once all shapes are
    numbers ("same" padding as pairs); `canonical(operand types, attributes)` those that a new node stores.
    """
    assert set(traits) <= set(TRAITS), f"unknown trait in {traits}"

    def declare(rule: Callable[..., Any]) -> Callable[..., Any]:
        declare_op(
            rule, name or rule.__name__.rstrip("_"), frozenset(traits), mixes, concrete=concrete, canonical=canonical
        )
        return rule

    return declare


def declare_op(
    rule: Callable[..., Any],
    name: str,
    traits: frozenset[str],
    mixes: Callable[..., Any] | None = None,
    extra: dict[str, Attribute] | None = None,
    doc: str | None = None,
    concrete: Callable[..., dict[str, Any]] | None = None,
    canonical: Callable[..., dict[str, Any]] | None = None,
) -> Op:
    """Read the signature of a type rule and enter the op into OPS."""
    code, hints = rule.__code__, rule.__annotations__
    positional = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    inputs = [Input(p, optional="None" in hints[p]) for p in positional]
    if code.co_flags & 0x04:  # *args
        inputs.append(Input(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], variadic=True))
    defaults = rule.__kwdefaults__ or {}
    declared = {
        k: attributes.declared(k, hints[k], defaults.get(k, attributes.REQUIRED))
        for k in keywords
        if hints[k] != "Graph"
    }
    entry = Op(
        name=name,
        family=rule.__module__.rpartition(".")[2],
        doc=doc or rule.__doc__ or "",
        rule=rule,
        inputs=tuple(inputs),
        attributes={**declared, **(extra or {})},
        graphs=tuple(k for k in keywords if hints[k] == "Graph"),
        traits=traits | ({"inplace"} if "elementwise" in traits else set()),
        many=hints.get("return", "").startswith("tuple"),
        mixes=mixes,
        concrete=concrete,
        canonical=canonical,
    )
    assert not OPS.has(name), f"op {name} is declared twice"
    OPS[name] = entry
    return entry


def require(condition: bool, message: str | Callable[[], str]) -> None:
    """Raise ShapeError unless the condition holds; node and op are added by the caller.

    A message that takes time to write, in a rule that is often applied, is given as a function.
    """
    if not condition:
        raise ShapeError(message if isinstance(message, str) else message())


def infer(
    op: Op,
    operands: tuple[Type | None, ...],
    attrs: dict[str, Any],
    dynamic: tuple[str, ...] = (),
    graphs: dict[str, Any] | None = None,
) -> tuple[Type, ...]:
    """The types of the outputs: the op's rule applied to the types of its operands.

    The last len(dynamic) operands give the attributes named by `dynamic`.
    """
    split = len(operands) - len(dynamic)
    for attribute, operand in zip(dynamic, operands[split:]):
        attrs = {**attrs, attribute: _known_value(op.attributes[attribute], operand)}
    try:
        result = op.rule(*operands[:split], **attrs, **(graphs or {}))
    except ShapeError as error:
        raise error.at(op=op.name) from None
    except Unknown:
        first = next(t for t in operands if isinstance(t, Tensor))
        result = Tensor(first.dtype, None)
    return result if isinstance(result, tuple) else (result,)


def _known_value(attribute: Attribute, operand: Type | None) -> Any:
    """What the type of an operand tells of the attribute that it gives: dimensions, `?` where not known."""
    assert isinstance(operand, Tensor)
    if attribute.kind in ("float", "Floats"):
        return () if attribute.kind == "Floats" else 0.0
    if attribute.kind in ("int", "Dim"):
        return operand.value[0] if operand.value else UNKNOWN
    if operand.value is not None:
        return operand.value
    if operand.shape is None or not isinstance(operand.shape[0], int):
        return UnknownDims()
    return (UNKNOWN,) * operand.shape[0]


class UnknownDims(tuple[Dim, ...]):
    """A list of dimensions of unknown length: any look at it raises `Unknown`."""

    __slots__ = ()

    def _unknown(self, *_: Any) -> NoReturn:
        raise Unknown

    __len__ = __iter__ = __getitem__ = _unknown


# ---- what many type rules share ------------------------------------------------------------------------------


def axis_of(axis: int, rank: int) -> int:
    """A possibly negative axis as one in [0, rank)."""
    if axis == UNKNOWN:
        raise Unknown
    require(-rank <= axis < max(rank, 1), lambda: f"axis {axis} is out of range for rank {rank}")
    return axis % rank if rank else 0


def axes_of(axes: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Axes as sorted, distinct numbers in [0, rank); None means all of them."""
    if axes is None:
        return tuple(range(rank))
    found = sorted({axis_of(a, rank) for a in axes})
    require(len(found) == len(axes), lambda: f"axes {tuple(axes)} are not distinct for rank {rank}")
    return tuple(found)


def broadcast(*shapes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The shape that NumPy broadcasts shapes to; an unknown or symbolic dimension is taken to fit a number."""
    if len(shapes) == 2 and shapes[0] == shapes[1]:
        return shapes[0]
    rank = max(map(len, shapes), default=0)
    out: list[Dim] = [1] * rank
    for shape in shapes:
        for i, dim in enumerate(shape, rank - len(shape)):
            out[i] = _broadcast_dim(out[i], dim, shapes)
    return tuple(out)


def _broadcast_dim(a: Dim, b: Dim, shapes: tuple[tuple[Dim, ...], ...]) -> Dim:
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    if isinstance(a, int) and isinstance(b, int):
        raise ShapeError(f"shapes {' and '.join(map(shape_text, shapes))} do not broadcast: {a} against {b}")
    if isinstance(a, int) or isinstance(b, int):
        return a if isinstance(a, int) else b
    return UNKNOWN


def shape_text(shape: tuple[Dim, ...] | None) -> str:
    """A shape as people write it."""
    return "(*)" if shape is None else f"({', '.join(map(str, shape))})"


def same_dtype(*tensors: Tensor | None) -> DType:
    """The dtype that all the tensors have; ShapeError if they differ."""
    found = [t.dtype for t in tensors if t is not None]
    same = bool(found) and found.count(found[0]) == len(found)
    require(same, lambda: f"dtypes differ: {', '.join(map(str, found))}")
    return found[0]


def broadcast_type(*tensors: Tensor, dtype: DType | None = None) -> Tensor:
    """The type of an elementwise op with broadcasting."""
    shapes = [t.shape for t in tensors]
    shape = None if any(s is None for s in shapes) else broadcast(*(t.dims for t in tensors))
    return Tensor(dtype or same_dtype(*tensors), shape)


def require_dim(actual: Dim, expected: Dim, what: str) -> None:
    """Raise ShapeError if two dimensions certainly differ."""
    require(dims.compatible(actual, expected), lambda: f"{what} is {actual}, expected {expected}")


def require_rank(t: Tensor | None, rank: int, what: str) -> None:
    """Raise ShapeError if the rank of t is known and is another."""
    if t is not None and t.shape is not None:
        message = "{} has rank {} (shape {}), expected {}".format
        require(len(t.shape) == rank, lambda: message(what, t.rank, shape_text(t.shape), rank))
