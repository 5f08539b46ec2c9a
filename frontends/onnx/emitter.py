"""The emitter: what rows of the table of export get to write nodes with, the inverse of `Lowering`.

`w.Conv(x, kernel, strides=[2, 2])` writes a node of ONNX and gives its output.  Operands are `Item`s (values of the
file that is being written), arrays, or Python numbers, which take the dtype of the first item beside them; None leaves
an input out.

A transposed item is written when it is first read, and not at all if that undoes another transpose: so convolutions,
channels first in ONNX and channels last in the IR, stand in the file without transposes between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from onnx.defs import get_schema
from onnx.helper import VERSION_TABLE

from ...errors import UnsupportedError
from ...ir import dims
from ...ir.attributes import Activation
from ...ir.dims import Dim, Expr
from ...ir.graph import Graph, Node, Var
from ...ir.op import lookup
from ...ir.permutations import Perm, composed, is_identity
from ...ir.types import DTYPES, DType, Tensor, Type, f32, i64, map_dims, type_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray[Any, Any]
bf16 = DTYPES["bf16"]


@dataclass(eq=False)
class Item:
    """A value of the file; `hint` is the name that it gets if nobody else has it, `fixed` that it has to have.

    `data`: the elements of an initialiser; `root` and `perm`: this is transpose(root, perm).
    """

    type: Type
    hint: str = ""
    data: Array | None = None
    root: Item | None = None
    perm: Perm = ()
    fixed: str | None = None
    forms: dict[Perm, Item] = field(default_factory=dict, repr=False)

    @property
    def tensor(self) -> Tensor:
        assert isinstance(self.type, Tensor), self.type
        return self.type

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.tensor.dims

    @property
    def rank(self) -> int:
        return self.tensor.rank


Operand = Union[Item, Array, float, None]


@dataclass(eq=False)
class Written:
    """A node of the file, its names not chosen yet."""

    op_type: str
    domain: str
    inputs: list[Item | None]
    outputs: list[Item]
    attributes: dict[str, Any]
    source: str


@dataclass(eq=False)
class Scope:
    """A graph of the file: the main one, or a subgraph of a node, which sees what its `outer` one has."""

    name: str
    outer: Scope | None = None
    inputs: list[Item] = field(default_factory=list)
    outputs: list[Item] = field(default_factory=list)
    nodes: list[Written] = field(default_factory=list)
    present: set[Item] = field(default_factory=set)
    symbols: dict[str, tuple[Item, int]] = field(default_factory=dict)  # where the size of a named dimension stands
    memo: dict[Any, Any] = field(default_factory=dict)  # what rows wrote that others may need again

    def sees(self, item: Item) -> bool:
        """Whether the item is written here or further out."""
        return item in self.present or (self.outer is not None and self.outer.sees(item))

    def place(self, name: str) -> tuple[Item, int] | None:
        """An item and its axis that has a named dimension, here or further out."""
        return self.symbols.get(name) or (self.outer.place(name) if self.outer is not None else None)


class Emitter:
    """Writes nodes into the scopes of one file."""

    def __init__(self, name: str, opset: int) -> None:
        self.opset = opset
        self.scope = Scope(name)
        self.values: dict[Var, Item] = {}
        self.initializers: dict[Item, None] = {}
        self._constants: dict[Any, Item] = {}
        self.domains: dict[str, int] = {}
        self.node: Node | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name[:1].isupper():
            raise AttributeError(name)
        return partial(self.emit, name)

    # ---- nodes

    def emit(
        self, op_type: str, *operands: Operand, outputs: int = 1, domain: str = "", result: DType | None = None,
        **attributes: Any,
    ) -> Any:  # fmt: skip
        """Write a node; gives its output, or a list of them where `outputs` is not 1.

        Attributes that are None are left out.  `result` is the dtype of the results where it is not that of the first
        operand; their shapes are not known.
        """
        beside = next((v.type.dtype for v in operands if isinstance(v, Item) and isinstance(v.type, Tensor)), None)
        if beside is not None and beside.kind == "complex" and not self._takes(op_type, domain, beside):
            raise self.refuse(f"{op_type} of ONNX takes no complex numbers", "keep real and imaginary parts apart")
        if beside is bf16 and not self._takes(op_type, domain, bf16):
            return self._widened(op_type, operands, outputs, domain, result, attributes)
        inputs = [None if v is None else self._present(self.item(v, beside)) for v in operands]
        while inputs and inputs[-1] is None:
            inputs.pop()
        kind = result or beside or i64
        made = [Item(Tensor(kind, None)) for _ in range(outputs)]
        known = {k: v for k, v in attributes.items() if v is not None}
        source = self.node.source if self.node is not None else ""
        self.scope.nodes.append(Written(op_type, domain, inputs, made, known, source))
        self.scope.present.update(made)
        if domain:
            self.domains.setdefault(domain, self.version(domain))
        return made[0] if outputs == 1 else made

    def _takes(self, op_type: str, domain: str, kind: DType) -> bool:
        """Whether an operator of this opset takes a dtype as its first operand."""
        if domain:
            return True
        name = "float" if kind is f32 else str(np.dtype(kind.numpy))
        return f"tensor({name})" in get_schema(op_type, self.opset).inputs[0].types

    def _widened(
        self, op_type: str, operands: Sequence[Operand], outputs: int, domain: str, result: DType | None,
        attributes: dict[str, Any],
    ) -> Any:  # fmt: skip
        """bfloat16 through an operator that older opsets have for float32: the results are rounded."""
        wide = [self.cast(v, f32) if isinstance(v, Item) and v.dtype is bf16 else v for v in operands]
        kind = f32 if result is bf16 else result
        made = self.emit(op_type, *wide, outputs=outputs, domain=domain, result=kind, **attributes)
        schema = get_schema(op_type, self.opset)
        same = [result in (None, bf16) and o.type_str == schema.inputs[0].type_str for o in schema.outputs]
        if outputs == 1:
            return self.cast(made, bf16) if same[0] else made
        return [self.cast(v, bf16) if s else v for v, s in zip(made, same)]

    def _present(self, item: Item) -> Item:
        """The item, written by now: a transpose may have to be made first."""
        if item.data is not None:
            self.initializers.setdefault(item)
        elif item.root is not None and not self.scope.sees(item):
            root = self._present(item.root)
            self.scope.nodes.append(Written("Transpose", "", [root], [item], {"perm": list(item.perm)}, ""))
            self.scope.present.add(item)
        return item

    def item(self, value: Operand, beside: DType | None = None) -> Item:
        """An operand as an item; numbers become initialisers of the dtype given."""
        if isinstance(value, Item):
            return value
        assert value is not None
        return self.constant(np.asarray(value, beside.numpy if beside and not isinstance(value, np.ndarray) else None))

    def constant(self, data: Any, hint: str = "c", dtype: Any = None) -> Item:
        """An initialiser; equal small ones are one."""
        array = np.asarray(data, dtype)
        small = array.size <= 64 and array.dtype != object
        key = (array.dtype.str, array.dtype.name, array.shape, array.tobytes()) if small else id(array)
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = Item(type_of(array, values=True), hint, array)
        return found

    def ints(self, values: Iterable[int]) -> Item:
        """An i64 vector."""
        return self.constant(np.array(list(values), np.int64), "ints")

    def version(self, domain: str) -> int:
        """The version of another domain: of ai.onnx.ml the one that was released with the opset."""
        released = [row[3] for row in VERSION_TABLE if row[2] <= self.opset]
        return max(released) if domain == "ai.onnx.ml" else 1

    def need(self, opset: int, what: str) -> None:
        """Refuse what older opsets do not have."""
        if self.opset < opset:
            raise self.refuse(f"{what} needs opset {opset}, the file is to have {self.opset}", f"write opset {opset}")

    def refuse(self, message: str, hint: str | None = None) -> UnsupportedError:
        """The error for a node that cannot be written, to be raised."""
        node = self.node
        assert node is not None
        text = f"op {node.op.name} cannot be written to ONNX: {message}"
        return UnsupportedError(text, op=node.op.name, node=node.source or None, hint=hint)

    # ---- axes

    def transpose(self, x: Item, perm: Sequence[int]) -> Item:
        """x with its axes in another order: written when it is read, unless that undoes another transpose."""
        order = tuple(int(p) for p in perm)
        root = x if x.root is None else x.root
        if x.root is not None:
            order = composed(x.perm, order)
        if is_identity(order):
            return root
        if order not in root.forms:
            shape = None if root.tensor.shape is None else tuple(root.shape[p] for p in order)
            kind = Tensor(root.dtype, shape)
            if root.data is not None:
                root.forms[order] = Item(kind, root.hint, np.ascontiguousarray(np.transpose(root.data, order)))
            else:
                root.forms[order] = Item(kind, "", None, root, order)
        return root.forms[order]

    def widened(self, x: Item, rank: int) -> Item:
        """x with leading axes of size 1, so that it has `rank` axes."""
        missing = rank - x.rank
        if missing <= 0:
            return x
        shape = (*(1,) * missing, *x.shape)
        if x.data is not None:
            return Item(Tensor(x.dtype, shape), x.hint, x.data.reshape((1,) * missing + x.data.shape))
        return self.typed(self.Unsqueeze(x, self.ints(range(missing))), Tensor(x.dtype, shape))

    def typed(self, x: Item, kind: Type) -> Item:
        """The result x of a node, with what is known of its type."""
        x.type = map_dims(kind, lambda d: d)
        return x

    def cast(self, x: Operand, to: DType) -> Item:
        """x in another dtype."""
        from .protos import elem_code

        if not isinstance(x, Item):
            return self.constant(np.asarray(x).astype(to.numpy))
        if x.dtype is to:
            return x
        if x.data is not None:
            return self.constant(x.data.astype(to.numpy), x.hint)
        if to.kind == "complex":
            raise self.refuse("ONNX has no casts to complex numbers", "keep real and imaginary parts apart")
        made: Item = self.Cast(x, to=elem_code(to))
        return self.typed(made, Tensor(to, x.tensor.shape))

    # ---- sizes

    def size(self, d: Dim) -> Item:
        """A dimension as an i64 vector of one element, computed in the file where it is no number."""
        if isinstance(d, int):
            return self.ints([d])
        return self.once(("size", str(d)), lambda: self._size(d))  # type: ignore[no-any-return]

    def _size(self, d: Expr) -> Item:
        name = dims.as_symbol(d)
        if name is not None:
            place = self.scope.place(name)
            if place is None:
                raise self.refuse(f"the dimension {name} is in the shape of no input")
            return self.axis_size(*place)
        total: Item | None = None
        for monomial, factor in d.terms:
            product: Item | None = None
            for atom in monomial:
                size = self._atom(atom)
                product = size if product is None else self.Mul(product, size)
            scaled = self.ints([factor]) if product is None else product if factor == 1 else self.Mul(product, factor)
            total = scaled if total is None else self.Add(total, scaled)
        assert total is not None
        return total

    def _atom(self, atom: Any) -> Item:
        if isinstance(atom, str):
            return self.size(dims.symbol(atom))
        name, a, b = atom
        left, right = self.size(a), self.size(b)
        if name in ("max", "min"):
            return self.emit(name.title(), left, right)
        rest = self.Mod(left, right)  # the sign of the divisor: floored
        return rest if name == "%" else self.Div(self.Sub(left, rest), right)

    def axis_size(self, x: Item, axis: int) -> Item:
        """The size of an axis of x as an i64 vector of one element."""
        if x.tensor.shape is not None and isinstance(x.shape[axis], int):
            return self.ints([int(x.shape[axis])])  # type: ignore[arg-type]
        if self.opset >= 15:
            return self.Shape(x, result=i64, start=axis, end=axis + 1)  # type: ignore[no-any-return]
        return self.Gather(self.Shape(x, result=i64), self.ints([axis]))  # type: ignore[no-any-return]

    def vector(self, values: Any) -> Item:
        """An i64 vector of dimensions, or of the value that gives an attribute at run time."""
        if isinstance(values, Item):
            return self.as_vector(values)
        if dims.is_number(values):
            return self.ints(values)
        return self.Concat(*(self.size(d) for d in values), axis=0)  # type: ignore[no-any-return]

    def as_vector(self, x: Item) -> Item:
        """A small integer tensor of rank 0 or 1 as an i64 vector."""
        x = self.cast(x, i64)
        return x if x.tensor.shape is not None and x.rank == 1 else self.Reshape(x, self.ints([-1]))

    def scalar(self, x: Item) -> Item:
        """A tensor of one element as one of rank 0."""
        return x if x.tensor.shape == () else self.Reshape(x, self.constant(np.array([], np.int64), "scalar"))

    # ---- what rows share

    def number(self, value: Any, like: Item) -> Item:
        """A number as an initialiser in the dtype of an item."""
        return self.constant(np.asarray(value, like.dtype.numpy))

    def activation(self, x: Item, activation: Activation) -> Item:
        """The activation as nodes of its own; x itself for `linear`."""
        from .write import find

        if not activation:
            return x
        op = lookup(activation.name)
        attrs = {**{k: a.default for k, a in op.attributes.items()}, **dict(activation.attrs)}
        return find(op).write(self, x, **attrs)  # type: ignore[no-any-return]

    def once(self, key: Any, write: Callable[[], Any]) -> Any:
        """What `write()` gave at its first call for the key, here or further out."""
        scope: Scope | None = self.scope
        while scope is not None:
            if key in scope.memo:
                return scope.memo[key]
            scope = scope.outer
        found = self.scope.memo[key] = write()
        return found

    # ---- graphs

    @contextmanager
    def inside(self, name: str) -> Iterator[Scope]:
        """Nodes written meanwhile go into a subgraph."""
        outer, self.scope = self.scope, Scope(name, self.scope)
        try:
            yield self.scope
        finally:
            self.scope = outer

    def bind(self, graph: Graph, given: Iterable[Item]) -> None:
        """Let the inputs of a graph be items; its constants are initialisers."""
        for var, item in zip(graph.inputs, given):
            self.values[var] = item
            self.know_symbols(var.type, item)
        for var in graph.constants:
            if var.data is None:
                raise UnsupportedError(f"constant {var.name!r} has no data: the graph was parsed without its weights")
            self.values[var] = Item(type_of(var.data, values=True), var.name, var.data)

    def know_symbols(self, kind: Type, item: Item) -> None:
        """Remember where the sizes of named dimensions stand."""
        for axis, d in enumerate(kind.shape or ()) if isinstance(kind, Tensor) else ():
            name = dims.as_symbol(d)
            if name is not None and self.scope.place(name) is None:
                self.scope.symbols[name] = (item, axis)

    def inline(self, graph: Graph, given: Sequence[Item]) -> list[Item]:
        """The nodes of a graph for these inputs, in the scope at hand; gives its outputs."""
        from .write import write_node

        self.bind(graph, given)
        outer = self.node
        for node in graph.nodes:
            write_node(self, node)
        self.node = outer
        return [self.values[v] for v in graph.outputs]

    def result(self, item: Item) -> Item:
        """An item that may be the output of the scope at hand: made by one of its own nodes, and no output yet."""
        if item.root is not None and item.data is None:
            item = self._present(item)
        own = item in self.scope.present and item not in self.scope.inputs
        if own and item not in self.scope.outputs:
            return item
        copy: Item = self.Identity(item)
        return self.typed(copy, item.type)


__all__ = ["Emitter", "Item", "Operand", "Scope", "Written"]
