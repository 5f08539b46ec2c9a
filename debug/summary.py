"""A table of the layers, like Keras': types, parameters, operations, memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ir.graph import Graph, Node, Var
from ..ir.types import DType, Tensor, Type
from ..passes.cost import flops
from .memory import Memory

OPS_SHOWN = 3  # names of ops in a row


@dataclass
class Row:
    """A layer: the ops it became, the type of its result, what it costs for one sample, and what it reads.

    `trained`: how many of the parameters are trained; None where that is not known.  `inside`: the rows of the layers
    in it, where it is a model or a block; its own figures are then their sums.
    """

    layer: str
    ops: list[str] = field(default_factory=list)
    type: Type | None = None
    parameters: int = 0
    trained: int | None = None
    weight_bytes: int = 0
    flops: int = 0
    reads: list[str] = field(default_factory=list)
    inside: list[Row] = field(default_factory=list)

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
    trained: int | None
    weight_bytes: int
    flops: int

    @property
    def tree(self) -> list[Row]:
        """The rows, those of a nested model inside of a row for it."""
        return _nested(self.rows, "")


def summarize(graph: Graph, trained: Mapping[str, bool] | None = None) -> Summary:
    """The summary of a graph as loaded, every symbol (the batch above all) being 1.

    trained: whether a weight is trained, by the name of its constant, where that is known (`Model.trained`).
    """
    rows = {f"input {v.name}": Row(v.name, ["input"], v.type) for v in graph.inputs}
    counted: dict[int, tuple[int, int]] = {}
    for number, node in enumerate(graph.nodes):
        key = _layer_of(node, number)
        row = rows.setdefault(key, Row(node.source or node.outputs[0].name))
        row.ops.append(node.op.name)
        row.type = node.outputs[0].type
        row.flops += flops(node)
        for var in _new_parameters(_constants(node), counted):
            count, size = counted[id(var.constant)]
            row.parameters += count
            row.weight_bytes += size
            if trained is not None:
                row.trained = (row.trained or 0) + count * trained.get(var.name, False)
        row.reads += [name for name in _producers(node) if name != row.layer and name not in row.reads]
    whole = _joined("", list(rows.values()))
    all_trained = None if trained is None else whole.trained or 0
    return Summary(graph.name, list(rows.values()), whole.parameters, all_trained, whole.weight_bytes, whole.flops)


def _nested(rows: Sequence[Row], path: str) -> list[Row]:
    """The rows below a path, as a tree; a block of a single row is none."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        head, slash, _ = row.layer.removeprefix(path).partition("/")
        groups.setdefault(head + slash if slash and " + " not in row.layer else f"={row.layer}", []).append(row)
    tree = []
    for head, group in groups.items():
        tree += group if len(group) == 1 else [_joined(path + head.rstrip("/"), _nested(group, path + head))]
    return tree


def _joined(layer: str, rows: list[Row]) -> Row:
    """The row of what consists of other rows."""
    names = {row.layer for row in rows}
    known = [row.trained for row in rows if row.trained is not None]
    return Row(
        layer,
        [op for row in rows for op in row.ops],
        rows[-1].type if rows else None,
        sum(row.parameters for row in rows),
        sum(known) if known else None,
        sum(row.weight_bytes for row in rows),
        sum(row.flops for row in rows),
        list(dict.fromkeys(n for row in rows for n in row.reads if n not in names and not n.startswith(f"{layer}/"))),
        rows,
    )


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


def _new_parameters(constants: Iterator[Var], counted: dict[int, tuple[int, int]]) -> Iterator[Var]:
    """Those constants that are parameters and not counted yet; elements and bytes of them are entered."""
    for var in constants:
        if id(var.constant) not in counted and is_parameter(var):
            t = var.tensor
            counted[id(var.constant)] = (t.nbytes // t.dtype.numpy.itemsize, t.nbytes)
            yield var


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


HEADINGS: Sequence[str] = ("layer", "ops", "result", "parameters", "trained", "weights", "FLOP", "connected to")
FIGURES = ("parameters", "trained", "weights", "FLOP")
WIDE = 130  # characters in a line of a table of all columns
NARROW = ("layer", "result", "parameters", "FLOP", "connected to")


def plain_rows(summary: Summary, depth: int | None = None) -> list[tuple[str, ...]]:
    """The rows as texts, in the order of HEADINGS; layers in a nested model are indented below it.

    depth: of nested models so many are opened, one in the other: 0 shows a row for each (None: all).
    """
    return [line for row in summary.tree for line in _lines(row, "", "", depth)]


def _lines(row: Row, indent: str, path: str, depth: int | None) -> Iterator[tuple[str, ...]]:
    yield row_cells(row, indent + row.layer.removeprefix(path))
    if depth is None or depth > 0:
        for each in row.inside:
            yield from _lines(each, indent + "  ", f"{row.layer}/", None if depth is None else depth - 1)


def row_cells(row: Row, label: str) -> tuple[str, ...]:
    """A row as texts under a label."""
    return (
        label,
        row.ops_text,
        type_text(row.type),
        f"{row.parameters:,}" if row.parameters else "",
        f"{row.trained:,}" if row.parameters and row.trained is not None else "",
        quantity(row.weight_bytes, "B") if row.weight_bytes else "",
        quantity(row.flops) if row.flops else "",
        ", ".join(row.reads),
    )


def type_text(t: Type | None) -> str:
    """A type as in the dump; empty where there is none."""
    return "" if t is None else str(Tensor(t.dtype, t.shape)) if isinstance(t, Tensor) else str(t)


def totals(summary: Summary, memory: Memory | None = None) -> list[tuple[str, str]]:
    """What stands below the table, as pairs of a name and a text."""
    lines = [
        ("parameters", f"{summary.parameters:,} ({quantity(summary.weight_bytes, 'B')})"),
        *_trained_lines(summary),
        ("operations", f"{quantity(summary.flops, 'FLOP')} per sample"),
    ]
    if memory is not None:
        lines.append(("memory", memory_text(memory)))
    return lines


def _trained_lines(summary: Summary) -> list[tuple[str, str]]:
    if summary.trained is None:
        return []
    return [("trained", f"{summary.trained:,}"), ("not trained", f"{summary.parameters - summary.trained:,}")]


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


def shown_columns(summary: Summary, width: int | None = None) -> list[int]:
    """The places of the columns that a table has: fewer where a line has less than WIDE characters."""
    names = NARROW if width is not None and width < WIDE else HEADINGS
    return [
        i for i, name in enumerate(HEADINGS) if name in names and (name != "trained" or summary.trained is not None)
    ]


def table(summary: Summary, depth: int | None = None, width: int | None = None) -> Any:
    """The rows as a table of rich."""
    from rich.table import Table
    from rich.text import Text

    columns = shown_columns(summary, width)
    drawn = Table(title=summary.name, title_justify="left", header_style="bold")
    for i in columns:
        drawn.add_column(HEADINGS[i], justify="right" if HEADINGS[i] in FIGURES else "left", overflow="fold")
    for row in plain_rows(summary, depth):
        drawn.add_row(*(Text(row[i]) for i in columns))
    return drawn
