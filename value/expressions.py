"""Expressions: how Values were made.  A `Source` holds elements, a `Call` applies an op to other Values.

A `Trace` writes an expression out as a structure (ops, attributes, dtypes, shapes), all leaves being inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np

from ..errors import RunError
from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from ..ir.op import Op
from ..ir.types import Tensor, type_of

if TYPE_CHECKING:
    from .tensor import Value

Array = np.ndarray[Any, Any]
Ref = tuple[int, int]  # an entry of a structure, and which of its results


@dataclass(eq=False, slots=True)
class Source:
    """Elements that expressions start from.  `literal`: they are part of the program, not an input of it."""

    array: Array
    type: Tensor
    literal: bool = False
    used: bool = False  # an expression reads it


class Awaited(Source):
    """Elements that are not there yet: of a type that may have symbolic dimensions, to be recorded with alone."""

    __slots__ = ()

    def __init__(self, kind: Tensor) -> None:
        self.type, self.literal, self.used = kind, False, True

    @property
    def array(self) -> Any:  # type: ignore[override]
        raise RunError(
            f"the elements of this Value ({self.type}) come when the model runs; here they cannot be looked at",
            hint="use operators, methods and functions of tenun.Value, whatever the elements",
        )


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
        return distinct([o.value.name or f"x{i}" for i, o in enumerate(self.fed)])

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


def built(structure: Structure, names: Sequence[str] | None = None) -> tuple[Builder, list[tuple[Var, ...]]]:
    """A structure as a graph without outputs, and the results of each entry."""
    b = Builder(Graph("value"))

    def new_input(place: int, kind: Tensor) -> Var:
        return b.input(names[place] if names else f"x{place}", kind)

    return b, emitted(b, structure, new_input)


def emitted(b: Builder, structure: Structure, given: Callable[[int, Tensor], Var]) -> list[tuple[Var, ...]]:
    """The results of each entry of a structure, as nodes of a graph; given(place, type): its inputs there."""
    made: list[tuple[Var, ...]] = []
    place = 0
    for entry in structure:
        if isinstance(entry, Step):
            operands = [o and made[o[0]][o[1]] for o in entry.operands]
            made.append(b.node(entry.op, operands, dict(entry.attrs)).outputs)
        elif isinstance(entry, Literal):
            array = np.frombuffer(entry.elements, entry.type.dtype.numpy).reshape(entry.type.static)
            made.append((b.constant(array),))
        else:
            made.append((given(place, entry),))
            place += 1
    return made


def distinct(names: Sequence[str]) -> list[str]:
    """Names, with a number appended where one repeats."""
    found: list[str] = []
    for base in names:
        name, i = base, 1
        while name in found:
            name, i = f"{base}_{i}", i + 1
        found.append(name)
    return found
