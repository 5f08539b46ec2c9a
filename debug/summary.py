"""A table of the layers, like Keras': types, parameters, operations, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ir.graph import Graph, Node, Var
from ..ir.types import DType, Tensor, Type
from ..passes.cost import flops
from .memory import Memory

OPS_SHOWN = 3  # names of ops in a row


@dataclass
class Row:
    """A layer: the ops it became, the type of its result, what it costs for one sample, and what it reads."""

    layer: str
    ops: list[str] = field(default_factory=list)
    type: Type | None = None
    parameters: int = 0
    flops: int = 0
    reads: list[str] = field(default_factory=list)

    @property
    def ops_text(self) -> str:
        """The ops in order, repeats left out."""
        distinct = list(dict.fromkeys(self.ops))
        more = len(distinct) - OPS_SHOWN
        return ", ".join(distinct[:OPS_SHOWN]) + (f", {more} more" if more > 0 else "")


@dataclass
class Summary:
    """Rows in the order of the graph, and totals: a constant that several layers share counts once."""

    name: str
    rows: list[Row]
    parameters: int
    weight_bytes: int
    flops: int


def summarize(graph: Graph) -> Summary:
    """The summary of a graph as loaded, every symbol (the batch above all) being 1."""
    rows = {f"input {v.name}": Row(v.name, ["input"], v.type) for v in graph.inputs}
    counted: dict[int, tuple[int, int]] = {}
    for number, node in enumerate(graph.nodes):
        key = _layer_of(node, number)
        row = rows.setdefault(key, Row(node.source or node.outputs[0].name))
        row.ops.append(node.op.name)
        row.type = node.outputs[0].type
        row.flops += flops(node)
        row.parameters += sum(count for count, _ in _count(_constants(node), counted))
        row.reads += [name for name in _producers(node) if name != row.layer and name not in row.reads]
    parameters, size = (sum(c[i] for c in counted.values()) for i in (0, 1))
    total = sum(row.flops for row in rows.values())
    return Summary(graph.name, list(rows.values()), parameters, size, total)


def _layer_of(node: Node, number: int) -> str:
    """Nodes of one layer share a key; a node without a layer stands alone."""
    return f"layer {node.source}" if node.source else f"node {number}"


def _producers(node: Node) -> Iterator[str]:
    """The layers (or values) that a node reads."""
    for var in node.inputs:
        if var is not None and var.constant is None:
            yield var.name if var.producer is None else var.producer.source or var.name


def _constants(node: Node) -> Iterator[Var]:
    """The constants that a node or its subgraphs read."""
    yield from (v for v in node.inputs if v is not None and v.constant is not None)
    for sub in node.graphs.values():
        yield from (v for v in sub.constants)


def _count(constants: Iterator[Var], counted: dict[int, tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Elements and bytes of those constants that are parameters and not counted yet."""
    for var in constants:
        if id(var.constant) not in counted and is_parameter(var):
            t = var.tensor
            counted[id(var.constant)] = (t.nbytes // t.dtype.numpy.itemsize, t.nbytes)
            yield counted[id(var.constant)]


def is_parameter(var: Var) -> bool:
    """Whether a constant is a weight: not a shape or an index, and not a bare number written into a formula."""
    t = var.tensor
    return _is_numeric(t.dtype) and (t.rank > 0 or var.name != "c")


def _is_numeric(dtype: DType) -> bool:
    return dtype.kind in ("float", "complex") or (dtype.is_integer and dtype.bits <= 16)


# ---- text


def quantity(number: float, unit: str = "") -> str:
    """A number with a decimal prefix: 12.3 M."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number:.0f} {unit}".rstrip()


def plain_rows(summary: Summary) -> list[tuple[str, ...]]:
    """The rows as texts: layer, ops, result, parameters, operations, connected to."""
    return [
        (
            row.layer,
            row.ops_text,
            type_text(row.type),
            f"{row.parameters:,}" if row.parameters else "",
            quantity(row.flops) if row.flops else "",
            ", ".join(row.reads),
        )
        for row in summary.rows
    ]


def type_text(t: Type | None) -> str:
    """A type as in the dump; empty where there is none."""
    return "" if t is None else str(Tensor(t.dtype, t.shape)) if isinstance(t, Tensor) else str(t)


def totals(summary: Summary, memory: Memory | None = None) -> list[tuple[str, str]]:
    """What stands below the table, as pairs of a name and a text."""
    lines = [
        ("parameters", f"{summary.parameters:,} ({quantity(summary.weight_bytes, 'B')})"),
        ("operations", f"{quantity(summary.flops, 'FLOP')} per sample"),
    ]
    if memory is not None:
        lines.append(("memory", memory_text(memory)))
    return lines


def memory_text(memory: Memory) -> str:
    """The figures of a memory plan in a line."""
    return (
        f"arena {quantity(memory.arena, 'B')}, without sharing {quantity(memory.naive, 'B')}, "
        f"lower bound {quantity(memory.bound, 'B')} (×{memory.over_bound:.3f}), scratch {quantity(memory.scratch, 'B')}"
    )


def memory_rows(memory: Memory) -> list[tuple[str, str]]:
    """The figures of a memory plan one by one, as pairs of a name and a text."""
    return [
        ("arena", f"{memory.arena:,} bytes, ×{memory.over_bound:.3f} of the {memory.bound:,} alive at the peak"),
        ("scratch", f"{memory.scratch:,} bytes in the step that needs most"),
        (
            "both",
            f"{memory.peak:,} bytes, ×{memory.peak_over_bound:.3f} of the {memory.peak_bound:,} in use at the peak",
        ),
        ("no sharing", f"{memory.naive:,} bytes"),
        ("views", f"{memory.views} values look into another one"),
        ("in place", f"{memory.in_place} values are written over an operand"),
        ("parts", f"{memory.parts} values are made where a later node joins them: concat and pad copy nothing"),
    ]


HEADINGS: Sequence[str] = ("layer", "ops", "result", "parameters", "FLOP", "connected to")


def table(summary: Summary) -> Any:
    """The rows as a table of rich."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=summary.name, title_justify="left", header_style="bold")
    for heading in HEADINGS:
        drawn.add_column(heading, justify="right" if heading in ("parameters", "FLOP") else "left", overflow="fold")
    for row in plain_rows(summary):
        drawn.add_row(*map(Text, row))
    return drawn
