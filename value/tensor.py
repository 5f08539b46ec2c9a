"""`Value` itself: how ops are written down, its operators and methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import RunError, ShapeError
from ..ir import types
from ..ir.attributes import Attribute
from ..ir.dims import product
from ..ir.graph import Graph
from ..ir.op import Op, lookup
from ..ir.types import DType, Tensor, boolean, f32, i64, type_of
from ..passes.autodiff.rules import NOT_DIFFERENTIABLE
from .expressions import Array, Call, Operand, Source, Trace, built, for_gradients, for_graphs, for_values
from .indexing import steps, steps_of_unknown
from .programs import checked, gradient_graph, gradient_program, value_program

NUMBERS = (bool, int, float)
OPERANDS = (np.ndarray, np.generic, list, tuple, *NUMBERS)  # what an operator takes beside Values


def record(name: str, *operands: Value | None, **attrs: Any) -> Any:
    """Write down an op on Values of dtypes that fit; one Value, or a tuple where the op has several results."""
    op = lookup(name)
    kinds, given = tuple(None if v is None else v.type for v in operands), tuple(attrs.items())
    try:
        own, results = checked(op, kinds, given)
    except TypeError:  # an attribute that cannot be hashed, which the builder takes or refuses by name
        own, results = checked.__wrapped__(op, kinds, given)
    values = called(op, own, tuple(None if v is None else v._operand() for v in operands), results)
    return values if op.many else values[0]


def called(
    op: Op, attrs: tuple[tuple[str, Any], ...], operands: Sequence[Operand | None], results: Iterable[Any]
) -> tuple[Value, ...]:
    tracked = op.name not in NOT_DIFFERENTIABLE and any(o.value._tracked for o in operands if o)
    call = Call(op, attrs, tuple(operands), tracked)
    return tuple(Value._made(call, i, t, tracked and t.dtype.is_float) for i, t in enumerate(results))


# ---- operands ------------------------------------------------------------------------------------------------


def _elements(data: Any) -> Array:
    """A copy of data as an array; floats in lists are float32, NumPy arrays and numbers keep their dtype."""
    if isinstance(data, Value):
        data = data._read()
    try:
        array = np.array(data, order="C")
    except ValueError as error:
        raise ShapeError(f"these elements make no Value: {error}", hint="give numbers of one shape") from None
    if array.dtype.kind not in "biufcV":
        raise ShapeError(f"elements of dtype {array.dtype} make no Value", hint="give numbers of one shape")
    bare = not isinstance(data, (np.ndarray, np.generic))
    return array.astype(np.float32) if bare and array.dtype == np.float64 else array


def leaf(array: Array, literal: bool = False) -> Value:
    """A Value without gradient on an array that nobody else changes."""
    kind = type_of(array)
    return Value._made(Source(array, kind, literal=literal), 0, kind, False)


def _common(operands: Sequence[Any], floats: bool) -> DType:
    """The dtype of a result: the widest float there is; without one that of NumPy, or float32 where `floats`.

    Bare Python numbers (and lists of them) count for their kind only, as in NumPy.
    """
    strong = [types.dtype(o.dtype) for o in operands if not _is_bare(o)]
    weak = {np.asarray(o).dtype.kind for o in operands if _is_bare(o)}
    wide = [d.numpy for d in strong if d.kind in ("float", "complex")]
    if wide or floats or "f" in weak:
        return types.dtype(np.result_type(*wide).name) if wide else f32
    if all(d is boolean for d in strong):
        return i64 if "i" in weak else boolean
    return types.dtype(np.result_type(*(d.numpy for d in strong)).name)


def _is_bare(operand: Any) -> bool:
    """Whether an operand is a Python number (np.float64 is one) or a list of them, without a dtype of its own."""
    return isinstance(operand, float) or not isinstance(operand, (Value, np.ndarray, np.generic))


def aligned(*operands: Any, floats: bool = False) -> tuple[Value, ...]:
    """Operands as Values of one dtype."""
    first = operands[0]
    if all(isinstance(o, Value) and o.type.dtype is first.type.dtype for o in operands):
        target = f32 if floats and first.type.dtype.kind not in ("float", "complex") else first.type.dtype
    else:
        target = _common([o for o in operands if o is not None], floats)
    return tuple(in_dtype(o, target) for o in operands if o is not None)


def in_dtype(operand: Any, target: DType) -> Value:
    if not isinstance(operand, Value):
        try:
            array = np.array(operand, order="C")
            if array.dtype.kind in "fc" and target.kind not in ("float", "complex"):
                raise TypeError(f"it is {array.dtype}")
            return leaf(np.array(operand, target.numpy, order="C"))
        except (OverflowError, TypeError, ValueError) as error:
            raise ShapeError(f"{operand!r} does not fit {target}: {error}") from None
    return operand if operand.type.dtype is target else record("cast", operand, to=target)


def value_of(x: Any) -> Value:
    """x itself, or a Value of its elements."""
    return x if isinstance(x, Value) else Value(x)


def axes_of(axis: int | Sequence[int] | None) -> tuple[int, ...] | None:
    return None if axis is None else (int(axis),) if isinstance(axis, (int, np.integer)) else tuple(axis)


# ---- methods from tables -------------------------------------------------------------------------------------


def _documented(method: Any, name: str, doc: str, parameters: Iterable[tuple[str, Any]]) -> Any:
    """Give a made method its name, text and signature."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given = [inspect.Parameter("self", kind)]
    given += [inspect.Parameter(p, kind, default=default) for p, default in parameters]
    method.__name__, method.__qualname__, method.__doc__ = name, f"Value.{name}", doc
    method.__signature__ = inspect.Signature(given, return_annotation="Value")
    return method


def _default(attribute: Attribute) -> Any:
    return inspect.Parameter.empty if attribute.required else attribute.default


def _function(op: str, doc: str = "", *, floats: bool = True, **renamed: str) -> Callable[..., Value]:
    """The method for an op of one operand, its attributes as parameters (`renamed`: those that have another name).

    floats: integers become float32 first.
    """
    found = lookup(op)
    parameters = renamed or {k: k for k in found.attributes}

    def method(self: Value, *args: Any, **named: Any) -> Value:
        given = dict(zip(parameters, args), **named)
        if len(given) < len(args) + len(named) or not set(given) <= set(parameters):
            raise ShapeError(f"{method.__name__} takes {', '.join(parameters) or 'no arguments'}, got {args} {named}")
        (x,) = aligned(self, floats=floats)
        return record(op, x, **{parameters[k]: v for k, v in given.items()})

    defaults = ((k, _default(found.attributes[a])) for k, a in parameters.items())
    return _documented(method, "clamp" if op == "clip" else op, doc or found.doc, defaults)


def _reduction(name: str, *, floats: bool = False) -> Callable[..., Value]:
    """The method for a reduction over `axis` (an int, several, or None: all); `keepdims` leaves it with size 1.

    floats: integers become float32 first; else sums of booleans count in int64.
    """
    op = {"var": "reduce_variance"}.get(name, f"reduce_{name}")

    def method(self: Value, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Value:
        (x,) = aligned(self, floats=floats)
        x = x if name != "sum" or x.type.dtype is not boolean else x.astype("int64")
        return record(op, x, axes=axes_of(axis), keepdims=keepdims)

    formula = lookup(op).doc.partition(": ")[2].partition(", over `axes`")[0]
    doc = f"{name}: {formula}, over `axis`: an int, a tuple, or None for all; keepdims leaves the axes with size 1."
    return _documented(method, name, doc, [("axis", None), ("keepdims", False)])


def _operator(op: str, sign: str, *, reflected: bool = False, floats: bool = False) -> Callable[..., Any]:
    """The method of an operator; operands broadcast and take a common dtype, see `_common`."""

    def method(self: Value, other: Any) -> Any:
        if not isinstance(other, (Value, *OPERANDS)):
            return NotImplemented
        x, y = aligned(self, other, floats=floats)
        return record(op, y, x) if reflected else record(op, x, y)

    doc = f"other {sign} self." if reflected else f"self {sign} other."
    return _documented(method, op, f"{doc}  Shapes broadcast as NumPy's.", [("other", inspect.Parameter.empty)])


def _reads(convert: Callable[[Any], Any], doc: str) -> Callable[..., Any]:
    """The method that turns a Value of one element into a Python object."""
    return _documented(lambda self: convert(self.item()), convert.__name__, doc, [])


class Value:
    """A tensor that records how it was made.

    `data`: numbers, nested lists of them (floats become float32) or an array (which keeps its dtype, float64 too); its
    elements are copied.  With `requires_grad`, `backward()` of what is computed from it adds to `grad`, an array of
    its shape and dtype, or None before.  `name` appears in `graph`.

    `shape`, `dtype`, `ndim`, `len()` are known at once, `data` is computed when it is first read.  `_op` is the name
    of the op that made the Value ("" for a leaf), `_prev` its operands.
    """

    __array_ufunc__ = None  # array + value is value.__radd__(array)
    __hash__ = object.__hash__  # `==` compares elements, sets and dicts go by identity

    name: str | None
    grad: Any
    type: Tensor
    _touched: Callable[[], object] | None = None

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None) -> None:
        array = _elements(data)
        kind = type_of(array)
        self._node: Source | Call = Source(array, kind)
        self._index, self.type, self.name, self.grad = 0, kind, name, None
        self._tracked = self._retained = False
        self.requires_grad = requires_grad

    @classmethod
    def shared(
        cls, array: Array, requires_grad: bool = False, name: str | None = None,
        touched: Callable[[], object] | None = None,
    ) -> Value:  # fmt: skip
        """A leaf that lives in the given array instead of a copy: who changes one changes both.

        touched: called whenever `data` gives the array away, since who gets it may write to it.
        """
        value = leaf(array)
        value.name, value.requires_grad, value._touched = name, requires_grad, touched
        return value

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: a copy has an array of its own, of which nobody needs to know."""
        return {k: v for k, v in vars(self).items() if k != "_touched"}

    @classmethod
    def _made(cls, node: Source | Call, index: int, kind: Tensor, tracked: bool) -> Value:
        value = object.__new__(Value)
        value._node, value._index, value.type, value.name, value.grad = node, index, kind, None, None
        value._tracked, value._retained = tracked, False
        return value

    def _operand(self) -> Operand:
        if isinstance(self._node, Source):
            self._node.used = True
        return Operand(self, self._node, self._index)

    # ---- elements

    def _read(self) -> Array:
        """The elements, to be read at once and not to be changed."""
        node = self._node
        if isinstance(node, Source):
            return node.array
        if node.results is None:
            found = Trace(for_values).follow(self._operand())
            node.keep(value_program(found.structure)(*found.arrays))
        assert node.results is not None
        return node.results[self._index].array

    @property
    def data(self) -> Array:
        """The elements, read-only in a result.  Those of a leaf, one array for ever, may be changed.

        An assignment changes them in place too: what is assigned is copied, in the Value's dtype; ShapeError if its
        shape is another.
        """
        node = self._node
        if self._touched is not None:
            self._touched()
        if isinstance(node, Source) and node.used:  # who gets the array may write to it: older expressions keep a copy
            self._node = Source(node.array, node.type)
            node.array = node.array.copy()
        return self._read()

    @data.setter
    def data(self, new: Any) -> None:
        node = self._node
        if not isinstance(node, Source):
            raise RunError(f"cannot assign the data of a result (of {node.op.name})", hint="assign those of a leaf")
        if new is node.array:  # v.data -= step
            return
        array = in_dtype(new, self.type.dtype)._read()
        if array.shape != self.shape:
            raise ShapeError(f"data of shape {array.shape} for a Value of shape {self.shape}")
        np.copyto(self.data, array)

    def numpy(self) -> Array:
        """The elements: `data`."""
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The only element, as a Python number; ShapeError if there are more or none."""
        if self._read().size != 1:
            raise ShapeError(f"a Value of shape {self.shape} has not exactly one element")
        return self._read().item()

    __bool__ = _reads(bool, "Whether the only element is not zero.")
    __float__ = _reads(float, "The only element as a float.")
    __int__ = _reads(int, "The only element as an int, cut towards zero.")

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        elements = np.array2string(self._read(), separator=", ", threshold=50, prefix="Value(")
        name = f", name={self.name!r}" if self.name else ""
        return f"Value({elements}, {self.dtype}{', requires_grad=True' if self.requires_grad else ''}{name})"

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("a Value without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Value]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Value:
        """Elements as NumPy picks them: ints, slices (negative steps too), None, `...`, integer and boolean arrays.

        Index arrays that are Values are computed now.  ShapeError where an index is out of range.
        """
        keys = key if isinstance(key, tuple) else (key,)
        found = self
        if not self.type.is_static:
            for op, _, attrs in steps_of_unknown(keys, self.ndim):
                found = record(op, found, **attrs)
            return found
        for op, operands, attrs in steps(tuple(k._read() if isinstance(k, Value) else k for k in keys), self.shape):
            found = record(op, found, *map(leaf, operands), **attrs)
        return found

    # ---- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes; within a function that a model records, symbols for those that are not known."""
        return self.type.dims  # type: ignore[return-value]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype."""
        return self.type.dtype.numpy

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_leaf(self) -> bool:
        """Whether no op made it."""
        return isinstance(self._node, Source)

    @property
    def _op(self) -> str:
        return self._node.op.name if isinstance(self._node, Call) else ""

    @property
    def _prev(self) -> tuple[Value, ...]:
        return tuple(o.value for o in self._node.operands if o) if isinstance(self._node, Call) else ()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it: asked for on leaves, a result's is that of any of its operands."""
        return self._tracked

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if not self.is_leaf:
            raise RunError(f"requires_grad of a result (of {self._op}) cannot be set", hint="use detach()")
        if wanted and not self.type.dtype.is_float:
            raise ShapeError(f"{self.type} has no gradient, only floats have one", hint="give floats, as 2.0")
        self._tracked = bool(wanted)

    # ---- gradients

    def retain_grad(self) -> Value:
        """Let `backward()` fill `grad` of this result too; returns self.  RunError if no gradient flows to it."""
        if not self.requires_grad:
            raise RunError(f"no gradient flows to this Value ({self._op or 'a leaf'})", hint="set requires_grad")
        self._retained = True
        return self

    def zero_grad(self) -> None:
        """Forget `grad`."""
        self.grad = None

    def detach(self) -> Value:
        """A leaf with these elements, computed now: no gradient flows through it, and no history hangs on it."""
        return Value(self._read())

    def backward(self, gradient: Any = None) -> None:
        """Add d (sum of self * gradient) / d x to `grad` of every leaf x that requires it, and of `retain_grad` ones.

        gradient: elements of the shape of self, by default ones, for a tensor of any shape.  RunError where nothing
        requires a gradient, ShapeError where the gradient does not fit, UnsupportedError, naming the op, where one
        has no gradient.
        """
        found = Trace(for_gradients).follow(self._differentiable())
        targets = {(id(o.value), found.ref(o)): o.value for o in (*found.operands(), self._operand()) if _wants(o)}
        arrays = found.arrays
        if gradient is not None:
            arrays.append(self._seed(gradient)._read())
        wrt = tuple(ref for _, ref in targets)
        results = gradient_program(found.structure, self._index, wrt, gradient is not None)(*arrays)
        if isinstance(self._node, Call) and self._node.results is None:
            self._node.keep(results[: len(results) - len(wrt)])
        for value, g in zip(targets.values(), results[len(results) - len(wrt) :]):
            value.grad = np.asarray(g) if value.grad is None else np.asarray(value.grad + g)

    def _differentiable(self) -> Operand:
        if not self.requires_grad:
            made = f"made by {self._op}" if self._op else "a leaf"
            raise RunError(
                f"nothing to differentiate: no gradient flows to this Value ({self.type}, {made})",
                hint="it has to depend on a Value with requires_grad=True by differentiable ops",
            )
        return self._operand()

    def _seed(self, gradient: Any) -> Value:
        seed = in_dtype(gradient, self.type.dtype)
        if seed.shape != self.shape:
            raise ShapeError(f"a gradient of shape {seed.shape} for a Value of shape {self.shape}")
        return seed

    @property
    def graph(self) -> Graph:
        """The recorded expression as a graph: `print(v.graph)`, `tenun.compile(v.graph)`; leaves are its inputs."""
        found = Trace(for_graphs).follow(self._operand())
        b, made = built(found.structure, found.names)
        return b.outputs(made[-1][self._index], names=[self.name or self._op or "value"])

    def grad_graph(self, *wrt: Value) -> Graph:
        """The graph of the gradients of the sum of self with respect to Values, outputs `d_<name>`.

        By default to all leaves that require one.  Its inputs are those of `graph`; it can be compiled and, with
        `tenun.grad`, differentiated again.  GraphError for a Value on which self does not depend.
        """
        return gradient_graph(self, wrt, seeded=False)[1]

    # ---- operators

    __add__, __radd__ = _operator("add", "+"), _operator("add", "+", reflected=True)
    __sub__, __rsub__ = _operator("sub", "-"), _operator("sub", "-", reflected=True)
    __mul__, __rmul__ = _operator("mul", "*"), _operator("mul", "*", reflected=True)
    __truediv__, __rtruediv__ = _operator("div", "/", floats=True), _operator("div", "/", reflected=True, floats=True)
    __matmul__, __rmatmul__ = _operator("matmul", "@"), _operator("matmul", "@", reflected=True)
    __eq__, __ne__ = _operator("equal", "=="), _operator("not_equal", "!=")  # type: ignore[assignment]
    __lt__, __le__ = _operator("less", "<"), _operator("less_equal", "<=")
    __gt__, __ge__ = _operator("greater", ">"), _operator("greater_equal", ">=")
    __and__, __rand__ = _operator("logical_and", "&"), _operator("logical_and", "&", reflected=True)
    __or__, __ror__ = _operator("logical_or", "|"), _operator("logical_or", "|", reflected=True)
    __invert__, __neg__ = _function("logical_not", floats=False), _function("neg", floats=False)

    def __pow__(self, exponent: Any) -> Value:
        """self ** exponent; a number as exponent is part of the program."""
        if not isinstance(exponent, (Value, *OPERANDS)):
            return NotImplemented
        fraction = isinstance(exponent, NUMBERS) and (isinstance(exponent, float) or exponent < 0)
        x, y = aligned(self, exponent, floats=fraction)
        return record("pow", x, leaf(y._read(), literal=True) if isinstance(exponent, NUMBERS) else y)

    __rpow__ = _operator("pow", "**", reflected=True)

    # ---- functions

    exp, log, sqrt, sigmoid, tanh = map(_function, ("exp", "log", "sqrt", "sigmoid", "tanh"))
    abs = __abs__ = _function("abs", floats=False)
    relu = _function("relu", floats=False)
    leaky_relu, elu = _function("leaky_relu"), _function("elu")
    softmax, log_softmax = _function("softmax"), _function("log_softmax")
    clamp = _function("clip", "Bounded to [min, max]; None: no bound.", floats=False, min="low", max="high")
    argmax, argmin = _function("argmax", floats=False), _function("argmin", floats=False)
    sum, max, min = _reduction("sum"), _reduction("max"), _reduction("min")
    mean, var = _reduction("mean", floats=True), _reduction("var", floats=True)

    def linear(self) -> Value:
        """The Value itself: the activation that does nothing."""
        return self

    def astype(self, dtype: Any) -> Value:
        """The Value in another dtype; floats are cut towards zero when they become integers."""
        return in_dtype(self, types.dtype(dtype if isinstance(dtype, (str, DType)) else np.dtype(dtype)))

    # ---- shapes

    def reshape(self, *shape: Any) -> Value:
        """The same elements (C order) in another shape, given as numbers or as one tuple; one may be -1."""
        return record("reshape", self, shape=_listed(shape))

    def transpose(self, *axes: Any) -> Value:
        """Axis i of the result is axis axes[i]; without arguments the axes in reverse."""
        return record("transpose", self, perm=_listed(axes) if axes else tuple(reversed(range(self.ndim))))

    @property
    def T(self) -> Value:  # noqa: N802 - NumPy's name
        """The axes in reverse."""
        return self.transpose()

    def flatten(self, start: int = 0) -> Value:
        """The axes from `start` on as one: `flatten(1)` keeps a batch axis."""
        return self.reshape(*self.shape[:start], product(self.shape[start:]))

    def squeeze(self, axis: int | Sequence[int] | None = None) -> Value:
        """Without the given axes, which have size 1; None: without all such axes."""
        return record("squeeze", self, axes=axes_of(axis))

    def unsqueeze(self, axis: int | Sequence[int]) -> Value:
        """With axes of size 1 at the given places of the result."""
        return record("unsqueeze", self, axes=axes_of(axis))


def _wants(operand: Operand) -> bool:
    """Whether `backward` fills the Value's `grad`."""
    value = operand.value
    return value._retained or (value.requires_grad and value.is_leaf)


def _listed(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Numbers given one by one or as one sequence."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given
