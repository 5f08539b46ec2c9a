"""The graph: `Var`, `Node`, `Graph`.

SSA: a var is a graph input, a constant or the output of one node, and is identified by the object; its name is a
hint which only printing makes unique.  Inputs and outputs keep their names: they are the interface.  Edges are
changed by the graph's own methods alone, which keep the use lists right.

Subgraphs are closed: what they need from outside comes in as their inputs.  So uses never cross graphs.

No kernel, no pass, no frontend, no file format enters this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from ..errors import GraphError
from .op import Op
from .types import Tensor, Type, same, type_of

Array = np.ndarray[Any, Any]


class Use(NamedTuple):
    """One place where a var is read: operand number `place` of `node`."""

    node: Node
    place: int


class Var:
    """A value of the graph.  `producer` is the node that makes it (None for inputs and constants)."""

    __slots__ = ("_uses", "constant", "index", "name", "producer", "type")

    def __init__(self, name: str, type: Type, producer: Node | None = None, index: int = 0) -> None:
        self.name, self.type, self.producer, self.index = name, type, producer, index
        self.constant: Constant | None = None
        self._uses: dict[tuple[Node, int], None] = {}

    @property
    def uses(self) -> tuple[Use, ...]:
        """Where the var is read (not counting graph outputs)."""
        return tuple(Use(*place) for place in self._uses)

    @property
    def users(self) -> tuple[Node, ...]:
        """The nodes that read the var, each once."""
        return tuple(dict.fromkeys([node for node, _ in self._uses]))

    @property
    def data(self) -> Array | None:
        """The elements, if the var is a constant whose data is at hand."""
        return self.constant.data if self.constant is not None else None

    @property
    def tensor(self) -> Tensor:
        """The type, known to be a tensor."""
        if not isinstance(self.type, Tensor):
            raise GraphError(f"%{self.name} is a {self.type}, a tensor is needed")
        return self.type

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape of a tensor of known rank."""
        return self.tensor.dims

    def __repr__(self) -> str:
        return f"{'@' if self.constant is not None else '%'}{self.name}: {self.type}"


class Constant:
    """Elements of a constant: an array, or (after parsing text without the weights) only its digest."""

    __slots__ = ("_digest", "data")

    def __init__(self, data: Array | None, digest: str | None = None) -> None:
        self.data, self._digest = data, digest

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the elements (C order, little endian)."""
        if self._digest is None:
            import hashlib

            self._digest = hashlib.sha256(self.raw).hexdigest()[:16]
        return self._digest

    @property
    def raw(self) -> bytes:
        """The elements as bytes: alike where they are the same."""
        assert self.data is not None
        return repr(self.data.tolist()).encode() if self.data.dtype == object else self.data.tobytes()


class Node:
    """An op applied to operands.

    `inputs` are the declared slots (None where left out), then the variadic operands, then one operand for each
    name in `dynamic`: attributes that are known only at run time.  `source` is the path of the layer, or the name
    of the ONNX node, that the node came from; `note` what a pass has to say of it.  `inferred_from` has the types of
    the inputs which the types of the outputs follow from.
    """

    __slots__ = (
        "_next", "_previous", "attrs", "dynamic", "graph", "graphs", "inferred_from", "inputs", "note", "op", "outputs",
        "source",
    )  # fmt: skip

    def __init__(
        self,
        op: Op,
        inputs: tuple[Var | None, ...],
        attrs: dict[str, Any],
        types: Iterable[Type],
        *,
        dynamic: tuple[str, ...] = (),
        graphs: dict[str, Graph] | None = None,
        source: str = "",
        names: Iterable[str] = (),
    ) -> None:
        self.op, self.inputs, self.attrs, self.dynamic = op, inputs, attrs, dynamic
        self.graphs = graphs or {}
        self.source, self.note = source, ""
        given = tuple(names)
        self.outputs = tuple([Var(given[i] if i < len(given) else op.name, t, self, i) for i, t in enumerate(types)])
        self.inferred_from: tuple[Type | None, ...] | None = None
        self.graph: Graph | None = None
        self._previous: Node | None = None
        self._next: Node | None = None

    @property
    def output(self) -> Var:
        """The only output."""
        (only,) = self.outputs
        return only

    @property
    def operands(self) -> tuple[Var | None, ...]:
        """The inputs without those that give attributes."""
        return self.inputs[: len(self.inputs) - len(self.dynamic)] if self.dynamic else self.inputs

    def is_inferred_from(self, types: tuple[Type | None, ...]) -> bool:
        """Whether the types of the outputs follow from inputs of these types."""
        before = self.inferred_from
        if before is None or len(before) != len(types):
            return False
        return all(map(is_, before, types)) or all(map(same, before, types))

    def twin(self, inputs: tuple[Var | None, ...], attrs: dict[str, Any], source: str) -> Node:
        """A node like this one, without subgraphs, on inputs of the types that its own were inferred from."""
        made = Node(self.op, inputs, attrs, (), dynamic=self.dynamic, source=source)
        made.outputs = tuple([Var(v.name, v.type, made, v.index) for v in self.outputs])
        made.inferred_from, made.note = self.inferred_from, self.note
        return made

    def __repr__(self) -> str:
        from .text import node_text

        return node_text(self)


class State(NamedTuple):
    """A value kept between runs: it comes in as `input`, goes out as output number `output`, and starts as `first`."""

    input: Var
    output: int
    first: Var


class Graph:
    """Nodes in topological order between inputs and outputs.

    `state` pairs an input with the output that is its next value, and with the constant that is its first: hidden
    states of stateful RNNs, moving averages, seeds, parameters in training.  `metadata` is a dict of JSON values.
    `settled` is where rewriting notes at which `version` it has found nothing left to do.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.inputs: list[Var] = []
        self._outputs: list[Var] = []
        self.output_names: list[str] = []
        self.state: list[State] = []
        self.metadata: dict[str, Any] = {}
        self._constants: dict[Var, None] = {}
        self._first: Node | None = None
        self._last: Node | None = None
        self._size = self._nesting = 0  # nodes, and those of them that have subgraphs
        self._changes = 0
        self.settled: dict[Any, Any] = {}

    # ---- reading

    @property
    def outputs(self) -> tuple[Var, ...]:
        return tuple(self._outputs)

    @property
    def nodes(self) -> Iterator[Node]:
        """The nodes in order; nodes may be inserted or erased while iterating, except the next one."""
        node = self._first
        while node is not None:
            following = node._next
            yield node
            node = following

    @property
    def version(self) -> tuple[Any, ...]:
        """Another one after every change of the graph or its subgraphs: of nodes, edges, constants, types, outputs."""
        return (self._changes, *(sub.version for sub in self.subgraphs))

    @property
    def subgraphs(self) -> list[Graph]:
        """The subgraphs of the nodes, in order; theirs are not among them."""
        return [sub for node in self.nodes for sub in node.graphs.values()] if self._nesting else []

    @property
    def constants(self) -> tuple[Var, ...]:
        return tuple(self._constants)

    def __len__(self) -> int:
        return self._size

    def is_output(self, var: Var) -> bool:
        """Whether the var is an output of this graph."""
        return var in self._outputs

    def is_unused(self, var: Var) -> bool:
        """Whether nobody reads the var: no node, no output, no state."""
        if var._uses or var in self._outputs:
            return False
        return not self.state or all(var is not s.input and var is not s.first for s in self.state)

    def used_once(self, var: Var) -> bool:
        """Whether the var is read at exactly one place, and is no graph output."""
        return len(var._uses) == 1 and not self.is_output(var)

    @property
    def weights(self) -> dict[str, Array]:
        """Names and data of all constants, those of subgraphs included (their names are made unique by path)."""
        from .text import named_constants

        return {name: var.data for name, var in named_constants(self).items() if var.data is not None}

    # ---- building

    def add_input(self, name: str, type: Type) -> Var:
        """A new input; GraphError if the name is taken."""
        if any(v.name == name for v in self.inputs):
            raise GraphError(f"graph {self.name!r} has two inputs called {name!r}")
        var = Var(name, type)
        self.inputs.append(var)
        return var

    def add_constant(
        self, data: Array | None, name: str = "c", *, type: Tensor | None = None, digest: str | None = None
    ) -> Var:
        """A new constant; the array is made read-only (copied if others may write to it)."""
        if data is not None:
            data = _frozen(data)
            type = type_of(data, values=True)
        assert type is not None
        var = Var(name, type)
        var.constant = Constant(data, digest)
        self._constants[var] = None
        self._changes += 1
        return var

    def share_constant(self, other: Var) -> Var:
        """A constant of this graph with the data of a constant of another one."""
        var = Var(other.name, other.type)
        var.constant = other.constant
        self._constants[var] = None
        self._changes += 1
        return var

    def set_outputs(self, outputs: Iterable[Var], names: Iterable[str] | None = None) -> None:
        """Declare what the graph returns, under which names (by default the vars' names)."""
        self._changes += 1
        self._outputs = list(outputs)
        self.output_names = list(names) if names is not None else _distinct(v.name for v in self._outputs)
        if len(set(self.output_names)) != len(self._outputs):
            raise GraphError(f"graph {self.name!r}: output names {self.output_names} are not distinct")

    def insert(self, node: Node, before: Node | None = None) -> Node:
        """Put a new node before another one (by default at the end) and enter its uses."""
        assert node.graph is None, "the node is in a graph already"
        self._link(node, before)
        self._enter_uses(node)
        return node

    def move(self, node: Node, before: Node) -> None:
        """Put a node of this graph before another one; who reads what stays as it is."""
        self._unlink(node)
        self._link(node, before)

    def _link(self, node: Node, before: Node | None) -> None:
        node.graph = self
        after = self._last if before is None else before._previous
        node._previous, node._next = after, before
        if after is None:
            self._first = node
        else:
            after._next = node
        if before is None:
            self._last = node
        else:
            before._previous = node
        self._size += 1
        self._changes += 1
        self._nesting += bool(node.graphs)

    def erase(self, node: Node) -> None:
        """Take a node out; GraphError while somebody uses its outputs."""
        for out in node.outputs:
            if not self.is_unused(out):
                raise GraphError(f"cannot erase: {out} is still used", op=node.op.name, node=node.source)
        self._leave_uses(node)
        self._unlink(node)

    def _unlink(self, node: Node) -> None:
        before, after = node._previous, node._next
        if before is None:
            self._first = after
        else:
            before._next = after
        if after is None:
            self._last = before
        else:
            after._previous = before
        node.graph, node._previous, node._next = None, None, None
        self._size -= 1
        self._changes += 1
        self._nesting -= bool(node.graphs)

    def erase_constant(self, var: Var) -> None:
        """Forget a constant that nobody uses."""
        if not self.is_unused(var):
            raise GraphError(f"cannot erase: {var} is still used")
        del self._constants[var]
        self._changes += 1

    def set_inputs(self, node: Node, inputs: Iterable[Var | None], dynamic: tuple[str, ...] | None = None) -> None:
        """Change the operands of a node (and which attributes the last of them give)."""
        self._changes += 1
        self._leave_uses(node)
        node.inputs = tuple(inputs)
        if dynamic is not None:
            node.dynamic = dynamic
        self._enter_uses(node)

    def set_types(self, node: Node, types: Iterable[Type]) -> int:
        """Give the outputs of a node other types; returns how many are not equal to those before."""
        self._changes += 1
        before = [out.type for out in node.outputs]
        for out, t in zip(node.outputs, types):
            out.type = t
        return sum(out.type != t for out, t in zip(node.outputs, before))

    def replace(self, old: Var, new: Var) -> None:
        """Let everybody who reads `old` read `new`, graph outputs included."""
        if old is new:
            return
        self._changes += 1
        for node in old.users:
            self.set_inputs(node, [new if v is old else v for v in node.inputs])
        self._outputs = [new if v is old else v for v in self._outputs]

    def _enter_uses(self, node: Node) -> None:
        for i, var in enumerate(node.inputs):
            if var is not None:
                var._uses[node, i] = None

    def _leave_uses(self, node: Node) -> None:
        for i, var in enumerate(node.inputs):
            if var is not None:
                del var._uses[node, i]

    # ---- copies, comparison, text

    def copy(self) -> Graph:
        """A graph of its own with the same nodes; constants share their data."""
        from .rebuild import rebuild

        return rebuild(self)

    def networkx(self) -> Any:
        """The graph as a networkx.DiGraph between "inputs" and "outputs", for algorithms: see `ir.view`."""
        from .view import networkx_view

        return networkx_view(self)

    def __eq__(self, other: object) -> bool:
        """Structural equality: the same nodes in the same order, the same interface and constants."""
        from .verify import difference

        return isinstance(other, Graph) and difference(self, other) is None

    def __str__(self) -> str:
        from .text import graph_text

        return graph_text(self)

    def __repr__(self) -> str:
        return f"<graph {self.name!r}: {self._size} nodes>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles hold the text and the weights: small, stable, and no deep recursion over the nodes."""
        from .text import graph_text

        return (_unpickle, (graph_text(self), self.weights))


def _unpickle(text: str, weights: Mapping[str, Array]) -> Graph:
    from .text import parse

    return parse(text, weights)


def _frozen(data: Array) -> Array:
    array = np.asarray(data)
    if array.dtype.kind in "US":
        array = array.astype(object)
    if array.flags.writeable:
        array = array.view() if array.base is None and array is not data else array.copy()
        array.flags.writeable = False
    return array


def _distinct(names: Iterable[str]) -> list[str]:
    """Names with `_1`, `_2` appended where they repeat."""
    found: dict[str, None] = {}
    for name in names:
        base, i = name, 1
        while name in found:
            name, i = f"{base}_{i}", i + 1
        found[name] = None
    return list(found)
