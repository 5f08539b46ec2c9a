"""Lowering: nodes of ONNX, one after another, become core ops in a graph of the IR.

A `Lowering` is the builder that rows of the table get: the methods for all core ops, and below what ONNX asks for
besides: values known while reading, channels first and last, subgraphs with what they capture, inlined functions.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import GraphError, LoadError, TenunError, UnsupportedError
from ...ir import dims, shapes
from ...ir.builder import Builder
from ...ir.dims import Dim
from ...ir.graph import Graph, Var
from ...ir.rebuild import topological
from ...ir.types import Tensor, Type, Unknown, dtype, map_dims
from .custom import lowered
from .functions import expanded, schema_with_function
from .messages import AttributeProto, FunctionProto, GraphProto, NodeProto
from .protos import Symbols, array_of, attribute_value, dense_of, proto_of_type, subgraphs
from .registry import find, upgrades


@dataclass
class Model:
    """What all graphs of a model share."""

    file: str | None
    folder: Path | None
    opsets: dict[str, int]
    functions: dict[tuple[str, str, str], FunctionProto] = field(default_factory=dict)
    custom: dict[tuple[str, str], Callable[..., Any]] = field(default_factory=dict)  # the caller's operators
    symbols: Symbols = field(default_factory=Symbols)
    failures: list[TenunError] | None = None  # where nodes that cannot be lowered are noted, to go on after them
    declared: dict[str, Type] = field(default_factory=dict)  # the types of their results, as far as they are told


def plain(domain: str) -> str:
    """The default domain has two names."""
    return "" if domain == "ai.onnx" else domain


def label(node: NodeProto) -> str:
    """How errors and `Node.source` call a node."""
    return node.name or f"{node.op_type}:{next(filter(None, node.output), '')}"


class Lowering(Builder):
    """Lowers nodes of one graph or function body; `scope` are its values by name."""

    def __init__(
        self,
        graph: Graph,
        model: Model,
        opsets: Mapping[str, int],
        attributes: Mapping[str, AttributeProto] | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__(graph)
        self.model, self.opsets, self.prefix = model, opsets, prefix
        self.attributes = attributes or {}
        self.scope: dict[str, Var] = {}
        self.current = NodeProto()

    # ---- names

    def define(self, name: str, var: Var) -> None:
        """Give a value its name; GraphError if another one has it."""
        if name in self.scope:
            raise GraphError(
                f"the name {name!r} is defined twice", hint="every value of an ONNX graph has one producer"
            )
        self.scope[name] = var

    def define_initializers(self, proto: GraphProto, states: Container[str] = ()) -> dict[str, Var]:
        """Initialisers as constants, those that are listed among the inputs too (as IR version 3 demands).

        Those of `states` are only their first values, which come back by name.
        """
        firsts = {}
        for tensor in proto.initializer:
            constant = self.constant(array_of(tensor, self.model.folder), tensor.name)
            if tensor.name in states:
                firsts[tensor.name] = constant
            else:
                self.define(tensor.name, constant)
        for sparse in proto.sparse_initializer:
            name = sparse.values.name
            self.define(name, self.constant(dense_of(sparse, self.model.folder), name))
        return firsts

    def resolve(self, names: Iterable[str]) -> list[Var]:
        """Values by name; GraphError names those that nothing defines."""
        names = list(names)
        missing = [n for n in names if n not in self.scope]
        if missing:
            raise GraphError(
                f"nothing defines {', '.join(map(repr, missing))}",
                hint="an initialiser or an input is missing, or a name is misspelt",
            )
        return [self.scope[n] for n in names]

    # ---- nodes

    def lower(self, nodes: Sequence[NodeProto]) -> None:
        """Lower nodes in an order in which each comes after what it reads."""
        for node in ordered(nodes, self.scope):
            self.current = node
            with self.at(self.prefix + label(node)):
                self._bind(node, self._results_or_stand_ins(node))

    def _results_or_stand_ins(self, node: NodeProto) -> Sequence[Var | None]:
        """The results; where failures are noted, inputs of the declared types in the place of those that fail."""
        try:
            return self._results(node)
        except TenunError as error:
            if self.model.failures is None or self.prefix:
                raise
            self.model.failures.append(error.at(node=label(node), op=node.op_type))
            unknown = Tensor(dtype("float32"), None)
            return [self.input(n, self.model.declared.get(n, unknown)) if n else None for n in node.output]

    def _results(self, node: NodeProto) -> Sequence[Var | None]:
        try:
            result = self._lowered(node)
        except TenunError:
            raise
        except Unknown:
            raise UnsupportedError(
                f"{node.op_type} needs the rank of its inputs, which is not known", op=node.op_type,
                hint="declare the shapes of the model's inputs",
            ) from None  # fmt: skip
        except RecursionError:
            raise UnsupportedError(f"{node.op_type} is nested too deep", op=node.op_type) from None
        except Exception as error:
            text = f"{node.op_type} cannot be lowered: {type(error).__name__}: {error}"
            raise LoadError(
                text, op=node.op_type, hint="an attribute or input has a form that ONNX does not allow"
            ) from error
        return result if isinstance(result, (tuple, list)) else (result,)

    def _lowered(self, node: NodeProto) -> Any:
        domain, version = plain(node.domain), self.version(node)
        operands = self._operands_of(node)
        while operands and operands[-1] is None:
            operands.pop()
        given = self._given(node)
        function = self.model.functions.get((domain, node.op_type, node.overload))
        if function is not None:
            return self.inline(function, operands, given)
        own = self.model.custom.get((domain, node.op_type))
        if own is not None:
            attrs = {k: attribute_value(a, self.model.folder) for k, a in given.items()}
            return lowered(self, own, node.op_type, operands, attrs)
        row = find(domain, node.op_type, version)
        attrs = {} if row is None else {k: attribute_value(a, self.model.folder) for k, a in given.items()}
        for older in upgrades(domain, node.op_type, version):
            older.rewrite(self, operands, attrs)
        if row is not None:
            return row(self, operands, attrs)
        schema = schema_with_function(domain, node.op_type, version)
        if schema is None:
            raise UnsupportedError(f"operator {node.op_type} of opset {version} is not known", op=node.op_type)
        return self.by_definition(schema, version, operands, given)

    def by_definition(
        self, schema: Any, version: int, operands: Sequence[Var | None], given: Mapping[str, AttributeProto]
    ) -> Any:
        """The node being lowered as the body that a schema has for it; returns its outputs."""
        resolved = NodeProto()
        resolved.CopyFrom(self.current)
        del resolved.attribute[:]
        resolved.attribute.extend(given.values())
        resolved.domain = schema.domain
        types = [None if v is None else proto_of_type(v.type) for v in operands]
        defaults = {k: a.default_value for k, a in schema.attributes.items() if a.default_value.name}
        return self.inline(expanded(schema, version, resolved, types), operands, {**defaults, **given})

    def _operands_of(self, node: NodeProto) -> list[Var | None]:
        try:
            return [self.scope[name] if name else None for name in node.input]
        except KeyError:
            self.resolve(filter(None, node.input))  # which tells what is missing
            raise

    def version(self, node: NodeProto) -> int:
        """The opset version of a node's domain."""
        domain = plain(node.domain)
        if domain not in self.opsets:
            raise GraphError(f"the model imports no opset of domain {domain or 'ai.onnx'!r}", op=node.op_type)
        return self.opsets[domain]

    @property
    def opset(self) -> int:
        """The opset version of the node being lowered."""
        return self.version(self.current)

    def _given(self, node: NodeProto) -> dict[str, AttributeProto]:
        """The attributes of a node, references to attributes of the enclosing function resolved."""
        given = {}
        for a in node.attribute:
            if a.name in given:
                raise GraphError(f"attribute {a.name!r} is given twice", op=node.op_type)
            if not a.ref_attr_name:
                given[a.name] = a
            elif a.ref_attr_name in self.attributes:
                given[a.name] = AttributeProto()
                given[a.name].CopyFrom(self.attributes[a.ref_attr_name])
                given[a.name].name = a.name
        return given

    def _bind(self, node: NodeProto, results: Sequence[Var | None]) -> None:
        for i, name in enumerate(node.output):
            if not name:
                continue
            var = results[i] if i < len(results) else None
            if var is None:
                raise UnsupportedError(f"output number {i} of {node.op_type}, {name!r}, is not known", op=node.op_type)
            if var.producer is not None and var.name == var.producer.op.name:  # has no name of its own yet
                var.name = name
            self.define(name, var)

    def inline(
        self, function: FunctionProto, operands: Sequence[Var | None], given: Mapping[str, AttributeProto]
    ) -> Any:
        """The nodes of a function's body for these operands; returns its outputs."""
        defaults = {a.name: a for a in function.attribute_proto}
        opsets = {plain(o.domain): o.version for o in function.opset_import}
        inner = Lowering(self.graph, self.model, {**self.opsets, **opsets}, {**defaults, **given}, self.source + "/")
        if len(operands) > len(function.input):
            raise GraphError(f"function {function.name} takes {len(function.input)} inputs, got {len(operands)}")
        inner.scope = {n: v for n, v in zip(function.input, operands) if v is not None}
        absent = set(function.input) - set(inner.scope)
        inner.lower([_without(n, absent) for n in function.node] if absent else function.node)
        wanted = zip(function.output, self.current.output)
        return [inner.resolve([name])[0] if asked else None for name, asked in wanted]

    def inline_graph(self, proto: GraphProto) -> list[Var]:
        """The nodes of a subgraph without inputs, in place; returns its outputs."""
        inner = Lowering(self.graph, self.model, self.opsets, self.attributes, self.prefix)
        inner.scope = self.captured(proto)
        inner.define_initializers(proto)
        inner.lower(proto.node)
        return inner.resolve(o.name for o in proto.output)

    # ---- what rows ask

    def wants(self, i: int) -> bool:
        """Whether output number i of the node being lowered has a name."""
        return i < len(self.current.output) and bool(self.current.output[i])

    @property
    def output_count(self) -> int:
        """The number of outputs of the node being lowered."""
        return len(self.current.output)

    def refuse(self, message: str, hint: str | None = None) -> UnsupportedError:
        """The error for a form of the operator being lowered that tenun does not know."""
        return UnsupportedError(f"{self.current.op_type}: {message}", op=self.current.op_type, hint=hint)

    def known(self, var: Var | None) -> tuple[Dim, ...] | None:
        """The elements of a small tensor where they are known, perhaps as symbols."""
        if var is None:
            return None
        if var.data is not None:
            return tuple(var.data.reshape(-1).tolist())
        value = var.type.value if isinstance(var.type, Tensor) else None
        return value if value is not None and all(map(dims.known, value)) else None

    def numbers(self, var: Var, what: str) -> tuple[int, ...]:
        """The elements of a tensor that have to be numbers known while reading."""
        value = self.known(var)
        if value is None or not all(isinstance(v, (int, float)) for v in value):
            raise self.refuse(f"{what} is not known before the run", "give it as an initialiser")
        return value  # type: ignore[return-value]

    def vector(self, entries: Iterable[Dim | Var]) -> tuple[Dim, ...] | Var:
        """A list of dimensions, given by numbers, symbols or scalar vars, for an attribute."""
        return shapes.vector(self, [self.reshape(e, shape=(1,)) if isinstance(e, Var) else e for e in entries])  # type: ignore[no-any-return]

    def count(self, entry: Dim | Var) -> Var:
        """A dimension as an i64 scalar."""
        if isinstance(entry, int):
            return self.constant(np.int64(entry))
        return entry if isinstance(entry, Var) else self.reshape(shapes.as_value(self, entry), shape=())  # type: ignore[no-any-return]

    def dim(self, x: Var, axis: int) -> Dim | Var:
        """A dimension of x: as a number or symbol if it is known, else as the value that it has at run time."""
        d = x.shape[axis]
        return d if dims.known(d) else self.gather(self.shape(x), np.int64(axis))

    def dims(self, x: Var) -> list[Dim | Var]:
        """All dimensions of x, see `dim`."""
        return [self.dim(x, i) for i in range(len(x.shape))]

    def times(self, d: Dim | Var, by: int) -> Dim | Var:
        """A dimension times a number."""
        return self.mul(d, np.int64(by)) if isinstance(d, Var) else d * by  # type: ignore[no-any-return]

    def over(self, d: Dim | Var, by: int) -> Dim | Var:
        """A dimension divided by a number, rounded down."""
        return self.floor_div(d, np.int64(by)) if isinstance(d, Var) else d // by  # type: ignore[no-any-return]

    def mixed(self, entries: Iterable[Dim | Var]) -> tuple[Dim, ...] | Var:
        """Like `vector`, but a single entry that is only known at run time becomes -1 (for `reshape`)."""
        entries = list(entries)
        unknown = [i for i, e in enumerate(entries) if isinstance(e, Var)]
        if len(unknown) == 1 and not any(isinstance(e, int) and e == -1 for e in entries):
            entries[unknown[0]] = -1
        return self.vector(entries)

    def ranked(self, x: Var, rank: int) -> Var:
        """x of a rank that the operator asks for, where none is known; another one at run time is an error then."""
        if x.tensor.shape is not None:
            return x
        return self.reshape(x, shape=self.gather(self.shape(x), np.arange(rank)))  # type: ignore[no-any-return]

    # ---- channels first, channels last

    def to_last(self, x: Var) -> Var:
        """(N, C, *S) as (N, *S, C)."""
        rank = len(x.shape)
        return x if rank < 3 else self.transpose(x, perm=(0, *range(2, rank), 1))  # type: ignore[no-any-return]

    def to_first(self, x: Var) -> Var:
        """(N, *S, C) as (N, C, *S)."""
        rank = len(x.shape)
        return x if rank < 3 else self.transpose(x, perm=(0, rank - 1, *range(1, rank - 1)))  # type: ignore[no-any-return]

    # ---- subgraphs

    def captured(self, *protos: GraphProto) -> dict[str, Var]:
        """What subgraphs read from outside, by name."""
        names = dict.fromkeys(n for p in protos for n in free_names(p))
        return dict(zip(names, self.resolve(names)))

    def body(self, proto: GraphProto, types: Sequence[Type], captured: Mapping[str, Var]) -> Graph:
        """A subgraph as a closed graph: its own inputs, then what it captures; constants come along."""
        graph = Graph(proto.name or "body")
        inner = Lowering(graph, self.model, self.opsets, self.attributes, self.prefix)
        if len(proto.input) != len(types):
            raise GraphError(f"subgraph {graph.name!r} takes {len(proto.input)} inputs, {len(types)} are given")
        for value, t in zip(proto.input, types):
            inner.define(value.name, inner.input(value.name, t))
        read = set(free_names(proto))
        for name, var in captured.items():
            given = (
                graph.share_constant(var) if var.constant is not None else inner.input(name, without_value(var.type))
            )
            if name in read:  # another subgraph of the same node may read it, and this one have its own of that name
                inner.define(name, given)
        inner.define_initializers(proto)
        inner.lower(proto.node)
        results = inner.resolve(o.name for o in proto.output)
        graph.set_outputs(results, [o.name for o in proto.output])
        drop_unused_constants(graph)
        return graph


def without_value(t: Type) -> Type:
    """The type without known elements, as an input of a graph has it."""
    return map_dims(t, lambda d: d)


def operands_of(captured: Mapping[str, Var]) -> list[Var]:
    """Captured values that a node has to pass to its subgraphs (constants are copied into them)."""
    return [v for v in captured.values() if v.constant is None]


def drop_unused_constants(graph: Graph) -> None:
    """Forget constants that only gave attributes."""
    kept = {*graph.outputs, *(s.first for s in graph.state)}
    for var in graph.constants:
        if not var.uses and var not in kept:
            graph.erase_constant(var)


def _without(node: NodeProto, absent: set[str]) -> NodeProto:
    """A node of a function's body whose inputs that the caller left out are left out too."""
    if not absent.intersection(node.input):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = ["" if n in absent else n for n in node.input]
    return copy


def free_names(graph: GraphProto) -> list[str]:
    """The names that a graph reads from outside, in order."""
    inside = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    inside |= {s.values.name for s in graph.sparse_initializer} | {o for n in graph.node for o in n.output}
    used = [name for node in graph.node for name in reads(node)] + [o.name for o in graph.output]
    return [name for name in dict.fromkeys(used) if name and name not in inside]


def reads(node: NodeProto) -> list[str]:
    """The names that a node reads, those in its subgraphs included."""
    inside = [name for g in subgraphs(node) for name in free_names(g)]
    return [*node.input, *inside]


def ordered(nodes: Sequence[NodeProto], given: Iterable[str]) -> list[NodeProto]:
    """Nodes sorted so that each comes after what it reads; as they are if they are in such an order."""
    defined = {"", *given}
    for node in nodes:
        if not defined.issuperset(reads(node)):
            break
        defined.update(node.output)
    else:
        return list(nodes)
    labels = [f"{label(n)} (node {i})" for i, n in enumerate(nodes)]
    producer = {o: labels[i] for i, n in enumerate(nodes) for o in n.output if o}
    edges = {labels[i]: {producer[r] for r in reads(n) if r in producer} for i, n in enumerate(nodes)}
    place = dict(zip(labels, nodes))
    return [place[key] for key in topological(edges, "the ONNX graph")]
