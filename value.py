"""`Value`: a tensor that records how it was made and differentiates itself; `Module`: what owns such tensors.

    x = Value(images)                                                    # (N, 784), its elements copied
    w = Value(np.zeros((784, 10), np.float32), requires_grad=True, name="w")
    loss = -((x @ w).log_softmax()[np.arange(len(labels)), labels]).mean()
    loss.backward()                                                      # w.grad: d loss / d w
    w.data -= 0.1 * w.grad

A Value is a handle on an expression: a `Source` (elements) or a `Call` (an op of the IR applied to other Values).
Nothing is computed when an op is written down; only its type is inferred.  `data` and `backward()` turn the expression
into a graph, to which `passes.autodiff` adds the gradients and which the usual passes optimise and the backend runs.
There is no second autodiff and no second set of kernels.

Programs are kept by the structure of the expression (ops, attributes, dtypes, shapes), all leaves being inputs: the
next step of a training loop writes down the same structure, finds the program, and only runs it.  The first run of a
structure goes node by node, the second one compiles it.  Python numbers are
inputs too; exponents of `**` and attributes such as `negative_slope` are part of the structure.

An expression means the elements that its leaves had when it was written down, though they are read later: `data` of a
leaf and assignments to it leave older expressions a copy.  (Only who keeps the array of `data` and changes it without
coming back for it changes expressions that are not computed yet.)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple, Union

import numpy as np

from .backends.base import Runnable, backend
from .errors import GraphError, RunError, ShapeError, UnsupportedError
from .ir import types
from .ir.attributes import Attribute
from .ir.builder import Builder
from .ir.graph import Graph, Var
from .ir.op import OPS, Op, lookup
from .ir.rebuild import rebuild
from .ir.types import DType, Tensor, boolean, f32, i64, type_of
from .passes.autodiff.engine import gradients
from .passes.autodiff.rules import NOT_DIFFERENTIABLE
from .passes.dce import dce
from .passes.manager import Context, PassManager, pipeline

Array = np.ndarray[Any, Any]
Ref = tuple[int, int]  # an entry of a structure, and which of its results

PROGRAMS = 64  # compiled programs kept, of each kind: values, gradients
NUMBERS = (bool, int, float)
OPERANDS = (np.ndarray, np.generic, list, tuple, *NUMBERS)  # what an operator takes beside Values


# ---- expressions ---------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Source:
    """Elements that expressions start from.  `literal`: they are part of the program, not an input of it."""

    array: Array
    type: Tensor
    literal: bool = False
    used: bool = False  # an expression reads it


@dataclass(eq=False, slots=True)
class Call:
    """An op applied to operands.  `tracked`: a gradient may flow through it; `results`: once they are computed."""

    op: Op
    attrs: tuple[tuple[str, Any], ...]
    operands: tuple[Operand | None, ...]
    tracked: bool
    results: tuple[Source, ...] | None = None

    def keep(self, arrays: Iterable[Any]) -> None:
        """Remember what was computed, read-only."""
        found = [np.asarray(a) for a in arrays]
        for array in found:
            array.flags.writeable = False
        self.results = tuple(Source(a, type_of(a), used=True) for a in found)


class Operand(NamedTuple):
    """A Value as an expression reads it: the node that it was at that time, and which result of it."""

    value: Value
    node: Source | Call
    result: int

    def settled(self, through: Callable[[Call], bool]) -> Operand:
        """The computed elements in the place of a call that has them, unless one has to go through it."""
        node = self.node
        if isinstance(node, Source) or node.results is None or through(node):
            return self
        return Operand(self.value, node.results[self.result], 0)


class Literal(NamedTuple):
    """An entry of a structure: elements that are part of the program."""

    type: Tensor
    elements: bytes


class Step(NamedTuple):
    """An entry of a structure: an op on results of entries before it."""

    op: Op
    attrs: tuple[tuple[str, Any], ...]
    operands: tuple[Ref | None, ...]


Structure = tuple[Union[Tensor, Literal, Step], ...]  # operands before their users; a Tensor is an input


def for_values(call: Call) -> bool:
    """Which calls a trace goes through though they are computed (the others are inputs, as leaves are): none."""
    return False


def for_gradients(call: Call) -> bool:
    """Those through which a gradient may flow."""
    return call.tracked


def for_graphs(call: Call) -> bool:
    """All."""
    return True


@dataclass
class Trace:
    """An expression written out: its structure, which ends with the root, and the operands that are its inputs."""

    through: Callable[[Call], bool]
    entries: list[Tensor | Literal | Step] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)  # id of a node -> its entry
    fed: list[Operand] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def structure(self) -> Structure:
        return tuple(self.entries)

    @property
    def arrays(self) -> list[Array]:
        """The elements of the inputs."""
        return [o.node.array for o in self.fed if isinstance(o.node, Source)]

    @property
    def names(self) -> list[str]:
        """Distinct names for the inputs: those of the Values, where they have one."""
        return _distinct([o.value.name or f"x{i}" for i, o in enumerate(self.fed)])

    def ref(self, operand: Operand) -> Ref:
        """Where an operand stands in the structure."""
        found = operand.settled(self.through)
        return self.places[id(found.node)], found.result

    def follow(self, root: Operand) -> Trace:
        """Enter everything below the root, operands first (no recursion: expressions may be deep)."""
        stack = [root]
        while stack:
            top = stack[-1]
            if id(top.node) in self.places:
                stack.pop()
                continue
            below = [] if isinstance(top.node, Source) else [o.settled(self.through) for o in top.node.operands if o]
            missing = [o for o in below if id(o.node) not in self.places]
            if missing:
                stack += reversed(missing)
            else:
                self._enter(stack.pop())
        return self

    def _enter(self, operand: Operand) -> None:
        node = operand.node
        self.places[id(node)] = len(self.entries)
        if isinstance(node, Call):
            self.entries.append(Step(node.op, node.attrs, tuple(o and self.ref(o) for o in node.operands)))
            self.calls.append(node)
        elif node.literal:
            self.entries.append(Literal(node.type, node.array.tobytes()))
        else:
            self.entries.append(node.type)
            self.fed.append(operand)

    def operands(self) -> Iterator[Operand]:
        """Every operand through which a gradient may flow."""
        for call in self.calls:
            if call.tracked:
                yield from (o for o in call.operands if o)


def _built(structure: Structure, names: Sequence[str] | None = None) -> tuple[Builder, list[tuple[Var, ...]]]:
    """A structure as a graph without outputs, and the results of each entry."""
    b, made = Builder(Graph("value")), list[tuple[Var, ...]]()
    for entry in structure:
        if isinstance(entry, Step):
            operands = [o and made[o[0]][o[1]] for o in entry.operands]
            made.append(b.node(entry.op, operands, dict(entry.attrs)).outputs)
        elif isinstance(entry, Literal):
            array = np.frombuffer(entry.elements, entry.type.dtype.numpy).reshape(entry.type.static)
            made.append((b.constant(array),))
        else:
            place = len(b.graph.inputs)
            made.append((b.input(names[place] if names else f"x{place}", entry),))
    return b, made


@dataclass
class Program:
    """A graph as a function on arrays: run node by node at first, compiled from the second time on.

    Expressions that change from time to time (of trees, of sentences) have structures that do not come again; to
    compile them would cost more than it brings, and plans hold memory.
    """

    graph: Graph
    passes: str
    compiled: Runnable | None = None
    fresh: bool = True
    lock: Any = field(default_factory=Lock)

    def __post_init__(self) -> None:
        dce(self.graph, Context(None))
        self.fresh = not any(node.graphs for node in self.graph.nodes)  # control flow is only run compiled

    def __call__(self, *arrays: Array) -> list[Array]:
        """The outputs: arrays that nobody else has."""
        if self.compiled is None:
            with self.lock:
                if self.fresh:
                    self.fresh = False
                    return self._evaluated(arrays)
                if self.compiled is None:
                    numpy = backend("numpy")
                    manager = PassManager(pipeline(self.passes), Context(numpy.evaluate))
                    self.compiled = numpy.program(manager.run(self.graph))
        return self.compiled(*arrays)

    def _evaluated(self, arrays: Sequence[Array]) -> list[Array]:
        evaluate, nodes = backend("numpy").evaluate, list(self.graph.nodes)
        found: dict[Var | None, Any] = {None: None, **dict(zip(self.graph.inputs, arrays))}
        found |= {v: v.data for v in self.graph.constants}
        last = {v: node for node in nodes for v in node.inputs}
        kept = {None, *self.graph.outputs}
        for node in nodes:
            with np.errstate(all="ignore"):
                results = evaluate(node.op, [found[v] for v in node.inputs], node.attrs, node.dynamic)
            found.update(zip(node.outputs, results))
            for v in {v for v in node.inputs if last[v] is node} - kept:
                del found[v]
        return [np.array(found[v]) for v in self.graph.outputs]


@lru_cache(PROGRAMS)
def _value_program(structure: Structure) -> Program:
    """Inputs -> the results of the last entry."""
    b, made = _built(structure)
    return Program(b.outputs(*made[-1]), "inference")


@lru_cache(PROGRAMS)
def _gradient_program(structure: Structure, index: int, wrt: tuple[Ref, ...], seeded: bool) -> Program:
    """Inputs, and the gradient of the root if seeded -> the results of the last entry, then the gradients."""
    b, made = _built(structure)
    root = made[-1][index]
    seeds = [b.input("gradient", root.type)] if seeded else None
    found = gradients(b, [root], [made[i][k] for i, k in wrt], seeds)
    return Program(b.outputs(*made[-1], *found), "training")


@lru_cache(4096)
def _checked(op: Op, operands: tuple[Tensor | None, ...], attrs: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    """Canonical attributes and the types of the results: what the builder makes of a node."""
    b = Builder(Graph())
    given = [t and b.input(f"x{i}", t) for i, t in enumerate(operands)]
    node = b.node(op, given, dict(attrs))
    return tuple(node.attrs.items()), tuple(v.type for v in node.outputs)


def _record(name: str, *operands: Value | None, **attrs: Any) -> Any:
    """Write down an op on Values of dtypes that fit; one Value, or a tuple where the op has several results."""
    op = OPS[name] if name in OPS else lookup(name)
    kinds, given = tuple(None if v is None else v.type for v in operands), tuple(attrs.items())
    try:
        checked, results = _checked(op, kinds, given)
    except TypeError:  # an attribute that cannot be hashed, which the builder takes or refuses by name
        checked, results = _checked.__wrapped__(op, kinds, given)
    values = _called(op, checked, tuple(None if v is None else v._operand() for v in operands), results)
    return values if op.many else values[0]


def _called(
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


def _leaf(array: Array, literal: bool = False) -> Value:
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


def _aligned(*operands: Any, floats: bool = False) -> tuple[Value, ...]:
    """Operands as Values of one dtype."""
    first = operands[0]
    if all(isinstance(o, Value) and o.type.dtype is first.type.dtype for o in operands):
        target = f32 if floats and first.type.dtype.kind not in ("float", "complex") else first.type.dtype
    else:
        target = _common([o for o in operands if o is not None], floats)
    return tuple(_in_dtype(o, target) for o in operands if o is not None)


def _in_dtype(operand: Any, target: DType) -> Value:
    if not isinstance(operand, Value):
        try:
            array = np.array(operand, order="C")
            if array.dtype.kind in "fc" and target.kind not in ("float", "complex"):
                raise TypeError(f"it is {array.dtype}")
            return _leaf(np.array(operand, target.numpy, order="C"))
        except (OverflowError, TypeError, ValueError) as error:
            raise ShapeError(f"{operand!r} does not fit {target}: {error}") from None
    return operand if operand.type.dtype is target else _record("cast", operand, to=target)


def _value(x: Any) -> Value:
    """x itself, or a Value of its elements."""
    return x if isinstance(x, Value) else Value(x)


def _axes(axis: int | Sequence[int] | None) -> tuple[int, ...] | None:
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
        (x,) = _aligned(self, floats=floats)
        return _record(op, x, **{parameters[k]: v for k, v in given.items()})

    defaults = ((k, _default(found.attributes[a])) for k, a in parameters.items())
    return _documented(method, "clamp" if op == "clip" else op, doc or found.doc, defaults)


def _reduction(name: str, *, floats: bool = False) -> Callable[..., Value]:
    """The method for a reduction over `axis` (an int, several, or None: all); `keepdims` leaves it with size 1.

    floats: integers become float32 first; else sums of booleans count in int64.
    """
    op = {"var": "reduce_variance"}.get(name, f"reduce_{name}")

    def method(self: Value, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Value:
        (x,) = _aligned(self, floats=floats)
        x = x if name != "sum" or x.type.dtype is not boolean else x.astype("int64")
        return _record(op, x, axes=_axes(axis), keepdims=keepdims)

    formula = lookup(op).doc.partition(": ")[2].partition(", over `axes`")[0]
    doc = f"{name}: {formula}, over `axis`: an int, a tuple, or None for all; keepdims leaves the axes with size 1."
    return _documented(method, name, doc, [("axis", None), ("keepdims", False)])


def _operator(op: str, sign: str, *, reflected: bool = False, floats: bool = False) -> Callable[..., Any]:
    """The method of an operator; operands broadcast and take a common dtype, see `_common`."""

    def method(self: Value, other: Any) -> Any:
        if not isinstance(other, (Value, *OPERANDS)):
            return NotImplemented
        x, y = _aligned(self, other, floats=floats)
        return _record(op, y, x) if reflected else _record(op, x, y)

    doc = f"other {sign} self." if reflected else f"self {sign} other."
    return _documented(method, op, f"{doc}  Shapes broadcast as NumPy's.", [("other", inspect.Parameter.empty)])


def _reads(convert: Callable[[Any], Any], doc: str) -> Callable[..., Any]:
    """The method that turns a Value of one element into a Python object."""
    return _documented(lambda self: convert(self.item()), convert.__name__, doc, [])


# ---- the Value -----------------------------------------------------------------------------------------------


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

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None) -> None:
        array = _elements(data)
        kind = type_of(array)
        self._node: Source | Call = Source(array, kind)
        self._index, self.type, self.name, self.grad = 0, kind, name, None
        self._tracked = self._retained = False
        self.requires_grad = requires_grad

    @classmethod
    def shared(cls, array: Array, requires_grad: bool = False, name: str | None = None) -> Value:
        """A leaf that lives in the given array instead of a copy: who changes one changes both."""
        value = _leaf(array)
        value.name, value.requires_grad = name, requires_grad
        return value

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
            node.keep(_value_program(found.structure)(*found.arrays))
        assert node.results is not None
        return node.results[self._index].array

    @property
    def data(self) -> Array:
        """The elements, read-only in a result.  Those of a leaf, one array for ever, may be changed.

        An assignment changes them in place too: what is assigned is copied, in the Value's dtype; ShapeError if its
        shape is another.
        """
        node = self._node
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
        array = _in_dtype(new, self.type.dtype)._read()
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
        return _indexed(self, key if isinstance(key, tuple) else (key,))

    # ---- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.static

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
        results = _gradient_program(found.structure, self._index, wrt, gradient is not None)(*arrays)
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
        seed = _in_dtype(gradient, self.type.dtype)
        if seed.shape != self.shape:
            raise ShapeError(f"a gradient of shape {seed.shape} for a Value of shape {self.shape}")
        return seed

    @property
    def graph(self) -> Graph:
        """The recorded expression as a graph: `print(v.graph)`, `tenun.compile(v.graph)`; leaves are its inputs."""
        found = Trace(for_graphs).follow(self._operand())
        b, made = _built(found.structure, found.names)
        return b.outputs(made[-1][self._index], names=[self.name or self._op or "value"])

    def grad_graph(self, *wrt: Value) -> Graph:
        """The graph of the gradients of the sum of self with respect to Values, outputs `d_<name>`.

        By default to all leaves that require one.  Its inputs are those of `graph`; it can be compiled and, with
        `tenun.grad`, differentiated again.  GraphError for a Value on which self does not depend.
        """
        return _gradient_graph(self, wrt, seeded=False)[1]

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
        x, y = _aligned(self, exponent, floats=fraction)
        return _record("pow", x, _leaf(y._read(), literal=True) if isinstance(exponent, NUMBERS) else y)

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
        return _in_dtype(self, types.dtype(dtype if isinstance(dtype, (str, DType)) else np.dtype(dtype)))

    # ---- shapes

    def reshape(self, *shape: Any) -> Value:
        """The same elements (C order) in another shape, given as numbers or as one tuple; one may be -1."""
        return _record("reshape", self, shape=_listed(shape))

    def transpose(self, *axes: Any) -> Value:
        """Axis i of the result is axis axes[i]; without arguments the axes in reverse."""
        return _record("transpose", self, perm=_listed(axes) if axes else tuple(reversed(range(self.ndim))))

    @property
    def T(self) -> Value:  # noqa: N802 - NumPy's name
        """The axes in reverse."""
        return self.transpose()

    def flatten(self, start: int = 0) -> Value:
        """The axes from `start` on as one: `flatten(1)` keeps a batch axis."""
        return self.reshape(*self.shape[:start], int(np.prod(self.shape[start:], dtype=np.int64)))

    def squeeze(self, axis: int | Sequence[int] | None = None) -> Value:
        """Without the given axes, which have size 1; None: without all such axes."""
        return _record("squeeze", self, axes=_axes(axis))

    def unsqueeze(self, axis: int | Sequence[int]) -> Value:
        """With axes of size 1 at the given places of the result."""
        return _record("unsqueeze", self, axes=_axes(axis))


def _wants(operand: Operand) -> bool:
    """Whether `backward` fills the Value's `grad`."""
    value = operand.value
    return value._retained or (value.requires_grad and value.is_leaf)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names, with a number appended where one repeats."""
    found: list[str] = []
    for base in names:
        name, i = base, 1
        while name in found:
            name, i = f"{base}_{i}", i + 1
        found.append(name)
    return found


def _listed(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Numbers given one by one or as one sequence."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


# ---- indexing ------------------------------------------------------------------------------------------------


def _indexed(v: Value, key: tuple[Any, ...]) -> Value:
    """v[key]: a slice along the axes that have one, then a gather of those that have an index array."""
    entries = _entries(key, v.shape)
    if any(isinstance(e, np.ndarray) for e in entries):
        entries = [np.array(e) if isinstance(e, int) else e for e in entries]
    axes = [e for e in entries if e is not None]
    arrays = {i: e for i, e in enumerate(axes) if isinstance(e, np.ndarray)}
    sliced = _sliced(v, [slice(e, e + 1) if isinstance(e, int) else e for e in axes])
    if arrays:
        return _gathered(sliced, entries, arrays)
    left = iter(sliced.shape)
    sizes = [(1 if e is None else next(left), e) for e in entries]
    shape = tuple(size for size, e in sizes if not isinstance(e, int))
    return sliced if shape == sliced.shape else sliced.reshape(shape)


def _entries(key: tuple[Any, ...], shape: tuple[int, ...]) -> list[Any]:
    """The key with one entry for each axis (a slice, a non-negative int, an integer array), and None for new ones."""
    found = [_entry(k) for k in key]
    dots = [i for i, e in enumerate(found) if e is ...]
    used = sum(e.ndim if _is_mask(e) else e is not None and e is not ... for e in found)
    if len(dots) > 1 or used > len(shape):
        raise ShapeError(f"index {key} does not fit shape {shape}")
    place = dots[0] if dots else len(found)
    found[place : place + 1] = [slice(None)] * (len(shape) - used)
    entries: list[Any] = []
    axis = 0
    for e in found:
        if _is_mask(e):
            if e.shape != shape[axis : axis + e.ndim]:
                raise ShapeError(f"a mask of shape {e.shape} for axes of sizes {shape[axis : axis + e.ndim]}")
            entries += e.nonzero()
            axis += e.ndim
        elif e is None:
            entries.append(e)
        else:
            entries.append(e if isinstance(e, slice) else _in_range(e, axis, shape[axis]))
            axis += 1
    return entries


def _entry(k: Any) -> Any:
    """One entry of a key: None, `...`, a slice, an int, or an array of integers or booleans."""
    if k is None or k is ... or isinstance(k, slice):
        return k
    array = k._read() if isinstance(k, Value) else np.asarray(k)
    if array.size == 0 and not hasattr(k, "dtype"):
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu" or (array.dtype.kind == "b" and not array.ndim):
        raise ShapeError(f"{k!r} is no index", hint="ints, slices, None, ..., integer and boolean arrays")
    return array if array.ndim or isinstance(k, (np.ndarray, Value)) else int(array)


def _is_mask(e: Any) -> bool:
    return isinstance(e, np.ndarray) and e.dtype.kind == "b"


def _in_range(e: Any, axis: int, size: int) -> Any:
    """Indices of an axis, counted from its front."""
    wrong = np.extract((np.asarray(e) < -size) | (np.asarray(e) >= size), e)
    if wrong.size:
        raise ShapeError(f"index {wrong[0]} is out of range for axis {axis} of size {size}")
    return np.where(e < 0, e + size, e).astype(np.int64) if isinstance(e, np.ndarray) else e % size


def _sliced(v: Value, entries: list[Any]) -> Value:
    """v with the slices among the entries (one an axis) applied."""
    starts, ends, axes, steps = [], [], [], []
    for axis, (e, size) in enumerate(zip(entries, v.shape)):
        if isinstance(e, slice) and e != slice(None):
            start, end, step = e.indices(size)
            starts.append(start)
            ends.append(end if end >= 0 else -size - 1)  # before the first element, which -1 does not mean
            axes.append(axis)
            steps.append(step)
    if not axes:
        return v
    return _record("slice", v, starts=tuple(starts), ends=tuple(ends), axes=tuple(axes), steps=tuple(steps))


def _gathered(v: Value, entries: list[Any], arrays: dict[int, Array]) -> Value:
    """The index arrays (by axis) applied: their broadcast shape stands where they stood, in front if they were apart.

    Several axes become one, of which one flat index picks.
    """
    try:
        indices = np.broadcast_arrays(*arrays.values())
    except ValueError:
        raise ShapeError(f"index arrays of shapes {[a.shape for a in arrays.values()]} do not broadcast") from None
    sizes = [v.shape[a] for a in arrays]
    rest = [a for a in range(v.ndim) if a not in arrays]
    order = (*arrays, *rest)
    rows = v.transpose(order) if order != tuple(range(v.ndim)) else v
    flat = np.ravel_multi_index(tuple(indices), sizes) if indices[0].size else np.zeros(indices[0].shape, np.int64)
    rows = rows.reshape((int(np.prod(sizes)), *(v.shape[a] for a in rest))) if len(arrays) > 1 else rows
    picked = _record("gather", rows, _leaf(np.asarray(flat, np.int64)), axis=0)

    places = [i for i, e in enumerate(entries) if isinstance(e, np.ndarray)]
    together = places[-1] - places[0] == len(places) - 1
    before = entries[: places[0]] if together else []
    behind = [e for e in entries if not isinstance(e, np.ndarray)][len(before) :]
    width, lead = indices[0].ndim, sum(e is not None for e in before)
    perm = (*range(width, width + lead), *range(width), *range(width + lead, picked.ndim))
    moved = picked.transpose(perm) if lead else picked
    left = iter(moved.shape)
    shape = [1 if e is None else next(left) for e in (*before, *range(width), *behind)]
    return moved if tuple(shape) == moved.shape else moved.reshape(tuple(shape))


# ---- functions of several Values -----------------------------------------------------------------------------


def concat(values: Sequence[Any], axis: int = 0) -> Value:
    """The Values one after another along an axis; all other dimensions are the same."""
    return _record("concat", *_aligned(*_some(values)), axis=axis)


def stack(values: Sequence[Any], axis: int = 0) -> Value:
    """The Values, all of one shape, along a new axis."""
    return _record("concat", *(v.unsqueeze(axis) for v in _aligned(*_some(values))), axis=axis)


def _some(values: Sequence[Any]) -> list[Any]:
    if not len(values):
        raise ShapeError("there are no Values to put together")
    return list(values)


def where(condition: Any, x: Any, y: Any) -> Value:
    """x where the condition (booleans) holds, else y; shapes broadcast."""
    return _record("where", _in_dtype(_value(condition), boolean), *_aligned(x, y))


def maximum(x: Any, y: Any) -> Value:
    """The larger of x and y; shapes broadcast.  Where both are equal, the gradient goes to x."""
    return _record("maximum", *_aligned(x, y))


def minimum(x: Any, y: Any) -> Value:
    """The smaller of x and y; shapes broadcast.  Where both are equal, the gradient goes to x."""
    return _record("minimum", *_aligned(x, y))


def conv2d(x: Any, w: Any, b: Any = None, strides: Any = 1, padding: Any = "valid", dilations: Any = 1) -> Value:
    """x * w + b, channels last.  x: (N, H, W, C), w: (h, w, C, filters), b: (filters) -> (N, H', W', filters).

    strides, dilations: an int or a pair; padding: "valid", "same" (as Keras) or ((top, bottom), (left, right)).
    """
    operands = _aligned(x, w, b, floats=True)
    return _record("conv", *operands, strides=_pair(strides), dilations=_pair(dilations), padding=_padding(padding))


def _pool2d(op: str, x: Any, pool_size: Any, strides: Any, padding: Any) -> Value:
    (x,) = _aligned(_value(x), floats=True)
    window = _pair(pool_size)
    steps = window if strides is None else _pair(strides)
    return _record(op, x, window=window, strides=steps, dilations=(1, 1), padding=_padding(padding))


def max_pool2d(x: Any, pool_size: Any = 2, strides: Any = None, padding: Any = "valid") -> Value:
    """The largest element of each window, to the first of which the gradient goes.  (N, H, W, C) -> (N, H', W', C).

    pool_size, strides (default: pool_size): an int or a pair; padding: "valid" or "same", as Keras.
    """
    return _pool2d("max_pool", x, pool_size, strides, padding)


def avg_pool2d(x: Any, pool_size: Any = 2, strides: Any = None, padding: Any = "valid") -> Value:
    """The mean of each window, padding not counted; arguments as those of `max_pool2d`."""
    return _pool2d("avg_pool", x, pool_size, strides, padding)


def _pair(sizes: Any) -> tuple[int, ...]:
    return (int(sizes),) * 2 if isinstance(sizes, (int, np.integer)) else tuple(sizes)


def _padding(padding: Any) -> Any:
    return padding.lower() if isinstance(padding, str) else tuple(map(tuple, padding))


def embedding(table: Any, indices: Any) -> Value:
    """Rows of a table (V, E) for integer indices of any shape: (*indices, E)."""
    return _record("gather", _value(table), _value(indices), axis=0)


def one_hot(indices: Any, depth: int, dtype: Any = np.float32) -> Value:
    """1 where the place along a new last axis of size `depth` is the index, else 0: (*indices, depth)."""
    on, off = (_leaf(np.array(k, dtype), literal=True) for k in (1, 0))
    return _record("one_hot", _value(indices), on, off, depth=depth)


def lstm(
    x: Any,
    kernel: Any,
    recurrent: Any,
    bias: Any = None,
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
) -> tuple[Value, Value, Value]:
    """Long short-term memory in Keras' layout: the sequence (N, T, H), the last h (N, H) and the last c (N, H).

    x: (N, T, E), kernel: (E, 4H), recurrent: (H, 4H), bias: (4H), gates in the order input, forget, candidate, output.
    initial_state: (h, c), each (N, H), by default zeros; mask: (N, T) booleans, false: the step keeps the state.
    """
    states = (None, None) if initial_state is None else tuple(initial_state)
    operands = [x, kernel, recurrent, bias, *states]
    places = [None, 0, 0, 0, 1, 1]  # of the axis of directions
    fitted = iter(_aligned(*operands, floats=True))
    found = [None if o is None else next(fitted) for o in operands]
    x, *rest = [v if v is None or axis is None else v.unsqueeze(axis) for v, axis in zip(found, places)]
    masked = None if mask is None else _in_dtype(_value(mask), boolean)
    sequence, h, c = _record(
        "lstm", x, *rest[:3], masked, *rest[3:],
        activation=activation, recurrent_activation=recurrent_activation, output_activation=activation,
    )  # fmt: skip
    return sequence.squeeze(2), h.squeeze(1), c.squeeze(1)


# ---- graphs and Values ---------------------------------------------------------------------------------------


def grad(output: Value, wrt: Sequence[Value], gradient: Any = None) -> list[Value]:
    """d (sum of output * gradient) / d x for each x of wrt, as Values: to be computed with, and differentiated, again.

        (slope,) = grad((x**3).sum(), [x])      # 3 x²
        slope.sum().backward()                  # x.grad: 6 x

    gradient: of the shape of output, by default ones.  GraphError for an x on which the output does not depend.
    """
    seed = None if gradient is None else output._seed(gradient)
    found, graph = _gradient_graph(output, wrt, seed is not None)
    return _replayed(graph, [*found.fed, *([seed._operand()] if seed is not None else [])])


def _gradient_graph(output: Value, wrt: Sequence[Value], seeded: bool) -> tuple[Trace, Graph]:
    """The trace of an expression and the graph of its gradients (by default to all leaves that require one)."""
    found = Trace(for_graphs).follow(output._differentiable())
    operands = [*found.operands(), output._operand()]
    if not wrt:
        wrt = list({id(o.value): o.value for o in operands if o.value.is_leaf and o.value.requires_grad}.values())
    refs = [list(dict.fromkeys(found.ref(o) for o in operands if o.value is v)) for v in wrt]
    for v, places in zip(wrt, refs):
        if not places:
            hint = "uses count from the time when it requires a gradient"
            raise GraphError(f"the output does not depend on {v.name or v!r}", hint=hint)
    b, made = _built(found.structure, found.names)
    root = made[-1][output._index]
    seeds = [b.input("gradient", root.type)] if seeded else None
    flat = [made[i][k] for places in refs for i, k in places]
    each = iter(gradients(b, [root], flat, seeds))
    sums = []
    for places in refs:  # a leaf whose data changed between two uses stands at several places
        total = next(each)
        for _ in places[1:]:
            total = b.add(total, next(each))
        sums.append(total)
    inputs = dict(zip((id(o.node) for o in found.fed), found.names))
    names = [v.name or inputs.get(id(v._node)) or v._op for v in wrt]
    b.graph.set_outputs([b.identity(v) for v in sums], _distinct([f"d_{n}" for n in names]))
    dce(b.graph, Context(None))
    return found, b.graph


def apply(graph: Graph, *inputs: Any) -> list[Value]:
    """The outputs of a graph for Values in the place of its inputs, in order: how a model takes part in expressions.

    Its constants are plain numbers here; weights that are to be trained have to be inputs.  ShapeError where inputs
    do not fit.
    """
    if len(inputs) != len(graph.inputs):
        expected = ", ".join(f"{v.name}: {v.type}" for v in graph.inputs)
        raise RunError(f"graph {graph.name!r} takes {len(graph.inputs)} inputs ({expected}), got {len(inputs)}")
    given = [_in_dtype(x, v.tensor.dtype) for x, v in zip(inputs, graph.inputs)]
    special = rebuild(graph, {v.name: x.type for x, v in zip(given, graph.inputs)})
    return _replayed(special, [x._operand() for x in given])


def _replayed(graph: Graph, operands: Sequence[Operand]) -> list[Value]:
    """The outputs of a graph of static shapes, its nodes written down as calls on the operands."""
    made: dict[Var, Operand] = dict(zip(graph.inputs, operands))
    for var in graph.constants:
        assert var.data is not None
        made[var] = _leaf(var.data, literal=var.data.size <= 1)._operand()
    for node in graph.nodes:
        static = all(isinstance(v.type, Tensor) and v.type.is_static for v in node.outputs)
        chance = node.op.has("random") and node.attrs.get("seed") is None and not any(node.inputs)
        if node.graphs or node.dynamic or chance or not static:
            why = "subgraphs, shapes that depend on data or numbers that are new at every run"
            raise UnsupportedError(
                f"op {node.op.name} cannot be part of an expression: it has {why}",
                op=node.op.name,
                node=node.source or None,
                hint="compile the graph instead (tenun.compile, Value.grad_graph)",
            )
        given = [None if v is None else made[v] for v in node.inputs]
        results = _called(node.op, tuple(node.attrs.items()), given, (v.type for v in node.outputs))
        made.update(zip(node.outputs, (v._operand() for v in results)))
    return [made[v].value for v in graph.outputs]


# ---- modules -------------------------------------------------------------------------------------------------


class Module:
    """What owns parameters: Values with `requires_grad` in its attributes, in lists, tuples and dicts, and in modules.

    class Dense(Module):
        def __init__(self, inputs: int, units: int) -> None:
            self.kernel = Value(np.random.randn(inputs, units) / inputs**0.5, requires_grad=True)

        def forward(self, x: Value) -> Value:
            return (x @ self.kernel).relu()
    """

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the module computes, written by the subclass."""
        raise UnsupportedError(f"{type(self).__name__} has no forward", hint="define forward(self, x)")

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self.forward(*inputs, **named)

    def parameters(self) -> list[Value]:
        """All parameters, each once, in the order in which attributes were set (depth first)."""
        return list({id(p): p for p in _parameters(self, set())}.values())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None


def _parameters(thing: Any, seen: set[int]) -> Iterator[Any]:
    """The parameters below an object; foreign objects with a method `parameters` (models) are asked for theirs."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    own = type(thing).parameters is Module.parameters if isinstance(thing, Module) else False
    if isinstance(thing, Value):
        if thing.requires_grad and thing.is_leaf:
            yield thing
    elif own or isinstance(thing, (list, tuple, dict)):
        below = vars(thing) if own else thing
        for part in below.values() if isinstance(below, dict) else below:
            yield from _parameters(part, seen)
    elif not isinstance(thing, type) and callable(getattr(thing, "parameters", None)):
        yield from thing.parameters()
