"""The builder: one method for every declared op, type inference at once.

    b = Builder(Graph("demo"))
    x = b.input("x", Tensor(f32, (symbol("N"), 4)))
    y = b.relu(b.matmul(x, weights))
    b.outputs(y)

Operands may be vars, arrays or Python numbers (which take the dtype of the first var beside them).  An attribute
which is an integer, a float or a list of them may be given as a var: if its value is known it becomes a plain
attribute, else the node reads it at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..errors import GraphError, ShapeError, TenunError
from . import attributes, dims
from .graph import Graph, Node, Var
from .op import Op, infer, lookup
from .types import Tensor, Type


class Builder:
    """Appends nodes to a graph (or inserts them before the node `at`)."""

    def __init__(self, graph: Graph, *, before: Node | None = None, source: str = "") -> None:
        self.graph, self.before, self.source = graph, before, source

    def __getattr__(self, name: str) -> Callable[..., Any]:
        name = name.rstrip("_")
        try:
            op = lookup(name)
        except KeyError:
            raise AttributeError(f"no op is called {name!r}") from None
        return partial(self._call, op)

    def _call(self, op: Op, *operands: Any, **keywords: Any) -> Any:
        named = [keywords.pop(inp.name, None) for inp in op.inputs[len(operands) : op.slots]]
        slots = [*operands, *named] if named else operands
        graphs = {name: keywords.pop(name) for name in op.graphs} if op.graphs else None
        node = self.node(op, slots, keywords, graphs=graphs)
        return node.outputs if op.many else node.output

    def node(
        self,
        op: Op,
        operands: Sequence[Any],
        attrs: Mapping[str, Any],
        *,
        graphs: dict[str, Graph] | None = None,
        names: Sequence[str] = (),
        source: str | None = None,
    ) -> Node:
        """Add a node; ShapeError or TypeError where operands and attributes do not fit the op's declaration."""
        where = self.source if source is None else source
        try:
            inputs = self._operands(op, operands)
            static, dynamic = self._attributes(op, attrs)
            inputs += dynamic.values()
            given = tuple(dynamic)
            operand_types = tuple(None if v is None else v.type for v in inputs)
            if op.canonical is not None and not dynamic:
                static = op.canonical(operand_types, static)
            types = infer(op, operand_types, static, given, graphs)
        except TypeError as error:
            raise ShapeError(str(error), op=op.name, node=where or None) from None
        except TenunError as error:
            raise error.at(op=op.name, node=where or None) from None
        node = Node(op, tuple(inputs), static, types, dynamic=given, graphs=graphs, source=where, names=names)
        node.inferred_from = operand_types
        return self.graph.insert(node, before=self.before)

    def _operands(self, op: Op, operands: Sequence[Any]) -> list[Var | None]:
        if len(operands) > op.slots and not op.variadic:
            raise ShapeError(f"{op.name} takes {op.slots} operands, got {len(operands)}")
        found = list(operands)
        if any(v is not None and not isinstance(v, Var) for v in found):
            beside = next((v.type for v in operands if isinstance(v, Var)), None)
            found = [None if v is None else self.as_var(v, beside) for v in found]
        found += [None] * (op.slots - len(found))
        if None in found:
            for declared, var in zip(op.inputs, found):
                if var is None and not declared.optional and not declared.variadic:
                    raise ShapeError(f"{op.name} needs operand {declared.name!r}")
        return found

    def _attributes(self, op: Op, attrs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Var]]:
        static: dict[str, Any] = {}
        dynamic: dict[str, Var] = {}
        if not attrs.keys() <= op.attributes.keys():
            name = next(name for name in attrs if name not in op.attributes)
            raise TypeError(f"{op.name} has no attribute {name!r} (it has {', '.join(op.attributes) or 'none'})")
        for name, attribute in op.attributes.items():
            if name not in attrs:
                if attribute.required:
                    raise TypeError(f"{op.name} needs attribute {name!r}")
                static[name] = attribute.default
                continue
            value = attrs[name]
            settled = settle(attribute, value) if isinstance(value, Var) else value
            if isinstance(settled, Var):
                dynamic[name] = settled
            else:
                static[name] = attributes.check(attribute, settled)
        return static, dynamic

    # ---- values

    def input(self, name: str, type: Type) -> Var:
        """A new graph input."""
        return self.graph.add_input(name, type)

    def constant(self, data: Any, name: str = "c", dtype: Any = None) -> Var:
        """A new constant."""
        return self.graph.add_constant(np.asarray(data, dtype=dtype), name)

    def as_var(self, value: Any, beside: Type | None = None) -> Var:
        """The value itself, or a constant; a bare Python number takes the dtype of its neighbour."""
        if isinstance(value, Var):
            return value
        if isinstance(value, (bool, int, float)) and isinstance(beside, Tensor):
            return self.constant(np.array(value, beside.dtype.numpy))
        return self.constant(value)

    def outputs(self, *outputs: Var, names: Sequence[str] | None = None) -> Graph:
        """Declare the graph's outputs; returns the graph."""
        self.graph.set_outputs(outputs, names)
        return self.graph

    @contextmanager
    def at(self, source: str) -> Iterator[None]:
        """Nodes added inside come from the layer (or ONNX node) `source`; errors name it."""
        outer, self.source = self.source, source
        try:
            yield
        except TenunError as error:
            raise error.at(node=source) from None
        finally:
            self.source = outer

    # ---- small things that lowerings share

    def swap(self, x: Var) -> Var:
        """x with its last two axes exchanged."""
        rank = len(x.shape)
        return self.transpose(x, perm=(*range(rank - 2), rank - 1, rank - 2))  # type: ignore[no-any-return]

    def cast_like(self, x: Var, other: Var) -> Var:
        """x in the dtype of another value."""
        return x if x.tensor.dtype is other.tensor.dtype else self.cast(x, to=other.tensor.dtype)

    def activation(self, x: Var, activation: attributes.Activation) -> Var:
        """The activation as a node of its own; x itself for `linear`."""
        if not activation:
            return x
        return self._call(lookup(activation.name), x, **dict(activation.attrs))  # type: ignore[no-any-return]


def settle(attribute: attributes.Attribute, var: Var) -> Any:
    """The value of an attribute given as a var, the var itself if it is not known before run time."""
    if not attribute.dynamic:
        raise TypeError(f"attribute {attribute.name} cannot be given at run time; it has to be a constant")
    scalar = attribute.kind in ("int", "float", "Dim")
    t = var.type
    if not isinstance(t, Tensor) or (t.shape is not None and len(t.shape) > 1):
        raise GraphError(f"attribute {attribute.name} is given by {var}, a tensor of rank 0 or 1 is needed")
    values = t.value if var.data is None else var.data.reshape(-1).tolist()
    if values is None or not all(map(dims.known, values)):
        return var
    if attribute.kind in ("int", "Ints") and not all(isinstance(v, (int, float)) for v in values):
        return var
    if scalar and len(values) != 1:
        raise TypeError(f"attribute {attribute.name} takes one number, got {len(values)}")
    return values[0] if scalar else tuple(values)
