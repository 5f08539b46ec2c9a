"""The table of export: how each core op is written to ONNX, one row an op, one file a family as in `ir/ops`.

    @export(first=("x", "residual"))
    def conv(w, x, kernel, bias=None, residual=None, *, strides, dilations, padding, groups): ...

The signature is the op's; operands come as `Item`s, attributes as they are, those given at run time as items too where
the row is declared so (`dynamic`).  A row gives the item of the only output, or a sequence with one for each.  `w` is
an `Emitter`.  The activation of an `epilogue` op is written after it, here and for all.

Operands named by `first` come with channels first, and so do the results; `layout(rank, **attrs)` tells another order.
Ops that act on each element, or have the trait `permutes`, are written in whatever order their operands wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ....errors import TenunError, UnsupportedError
from ....ir.attributes import LINEAR, Activation
from ....ir.graph import Node, Var
from ....ir.op import Op
from ....ir.permutations import Perm, inverse, remaining, renumbered
from ....ir.types import Tensor, Unknown
from ..emitter import Emitter, Item

FAMILIES = (
    "attention", "control", "conv", "elementwise", "index", "linalg", "ml", "norm", "pool", "quant", "random",
    "recurrent", "reduce", "sequence", "shape", "signal", "string", "vision",
)  # fmt: skip


def channels_first(rank: int, **_: Any) -> Perm:
    """(N, *S, C) as (N, C, *S)."""
    return (0, rank - 1, *range(1, rank - 1))


@dataclass(frozen=True)
class Row:
    """How an op is written."""

    write: Callable[..., Any]
    first: tuple[str, ...] = ()
    layout: Callable[..., Perm] = channels_first
    dynamic: tuple[str, ...] = ()


ROWS: dict[str, Row] = {}
REASONS: dict[str, str] = {}  # ops that are not written, and why


def export(
    *names: str, first: tuple[str, ...] = (), layout: Callable[..., Perm] = channels_first,
    dynamic: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # fmt: skip
    """Enter the decorated function into the table, under its own name or those given."""

    def enter(write: Callable[..., Any]) -> Callable[..., Any]:
        for name in names or (write.__name__.rstrip("_"),):
            assert name not in ROWS, f"op {name} is entered twice"
            ROWS[name] = Row(write, first, layout, dynamic)
        return write

    return enter


def refuse(reason: str, *names: str) -> None:
    """Say why ops are not written."""
    for name in names:
        assert name not in REASONS, f"op {name} is refused twice"
        REASONS[name] = reason


def load() -> None:
    """Fill the table."""
    for family in FAMILIES:
        import_module(f"{__name__}.{family}")


def find(op: Op) -> Row:
    """The row of an op; UnsupportedError says why there is none."""
    if not ROWS:
        load()
    row = ROWS.get(op.name)
    if row is None:
        why = REASONS.get(op.name, f"frontends/onnx/write/{op.family}.py has no row for it")
        raise UnsupportedError(f"op {op.name} cannot be written to ONNX: {why}", op=op.name)
    return row


# ---- one node ------------------------------------------------------------------------------------------------


def write_node(w: Emitter, node: Node) -> None:
    """Write a node of the IR, and bind its outputs."""
    w.node = node
    try:
        if node.op.name == "transpose":
            items: Sequence[Item] = [w.transpose(_item(w, node.inputs[0]), node.attrs["perm"])]
        else:
            items = _written(w, node, find(node.op))
    except TenunError as error:
        raise error.at(node=node.source or None, op=node.op.name) from None
    except Unknown:
        raise w.refuse("the rank of an operand is not known", "declare the shapes of the model's inputs") from None
    for var, item in zip(node.outputs, items):
        _name(item, var)
        w.values[var] = item


def _item(w: Emitter, var: Var | None) -> Item:
    assert var is not None
    return w.values[var]


def _name(item: Item, var: Var) -> None:
    """The name of a value of the graph, if it has one of its own."""
    assert var.producer is not None
    if not item.hint and var.name != var.producer.op.name:
        item.hint = var.name


def _written(w: Emitter, node: Node, row: Row) -> list[Item]:
    attrs: dict[str, Any] = {**node.attrs, **node.graphs, **_dynamic(w, node, row)}
    activation = attrs.pop("activation", LINEAR) if node.op.has("epilogue") else LINEAR
    operands: list[Item | None] = [None if v is None else _item(w, v) for v in node.operands]
    order = _order(w, node, row, operands, attrs)
    if order is None:
        return _finished(w, node, row.write(w, *operands, **attrs), activation, [None] * len(node.outputs))
    results = row.write(w, *order.operands, **order.attrs)
    return _finished(w, node, results, activation, order.after)


@dataclass(frozen=True)
class Order:
    """How a node is written in another order of axes; result i is to be transposed by `after[i]`."""

    operands: list[Item | None]
    attrs: dict[str, Any]
    after: list[Perm | None]


def _order(w: Emitter, node: Node, row: Row, operands: list[Item | None], attrs: dict[str, Any]) -> Order | None:
    if row.first:
        return _asked_for(w, node, row, operands, attrs)
    perm = _waiting(node, operands)
    if perm is None:
        return None
    elementwise = node.op.has("elementwise")
    moved = len(operands) if elementwise or node.op.variadic else 1
    turned = [_turned(w, v, inverse(perm)) for v in operands[:moved]] + operands[moved:]
    after = [perm if len(v.shape) == len(perm) else remaining(perm, node.attrs) for v in node.outputs]
    return Order(turned, attrs if elementwise else renumbered(attrs, perm), list(after))


def _asked_for(w: Emitter, node: Node, row: Row, operands: list[Item | None], attrs: dict[str, Any]) -> Order:
    """Operands and results in the order of axes that the row asks for."""
    names = [i.name for i in node.op.inputs]
    lead = operands[names.index(row.first[0])]
    assert lead is not None
    perm = row.layout(lead.rank, **attrs)
    turned = [v if v is None or n not in row.first else w.transpose(v, perm) for n, v in zip(names, operands)]
    return Order(turned, attrs, [inverse(perm)] * len(node.outputs))


def _dynamic(w: Emitter, node: Node, row: Row) -> dict[str, Item]:
    given = node.inputs[len(node.operands) :]
    for name in node.dynamic:
        if name not in row.dynamic:
            raise w.refuse(f"its attribute {name} is only known at run time")
    return {name: _item(w, var) for name, var in zip(node.dynamic, given)}


def _waiting(node: Node, operands: Sequence[Item | None]) -> Perm | None:
    """The permutation by which all full-size operands wait to be transposed, if there is one.

    What reads them can be written before it, if it does not mind the order of axes.
    """
    elementwise = node.op.has("elementwise")
    if node.dynamic or node.graphs or not (elementwise or node.op.has("permutes")):
        return None
    if not all(isinstance(v.type, Tensor) and v.type.shape is not None for v in (*node.operands, *node.outputs) if v):
        return None
    moved = [v for v in (operands if elementwise or node.op.variadic else operands[:1]) if v is not None]
    rank = len(node.outputs[0].shape) if elementwise else moved[0].rank
    full = [v for v in moved if v.data is None and v.rank == rank and rank > 0]
    perms = {v.perm if v.root is not None else None for v in full}
    small = all(v.data is not None or v.rank == 0 for v in moved if v not in full)
    return next(iter(perms)) if len(perms) == 1 and None not in perms and small else None


def _turned(w: Emitter, x: Item | None, perm: Perm) -> Item | None:
    """x as it broadcasts to results whose axes are permuted."""
    if x is None or x.rank == 0:
        return x
    return w.transpose(w.widened(x, len(perm)), perm)


def _finished(w: Emitter, node: Node, results: Any, activation: Activation, after: list[Perm | None]) -> list[Item]:
    """The results as a list, their types known, the activation applied, axes in the order of the graph."""
    items: list[Item] = list(results) if isinstance(results, (list, tuple)) else [results]
    done = []
    for item, var, perm in zip(items, node.outputs, after):
        kind = var.type
        if perm is not None:
            kind = Tensor(var.tensor.dtype, tuple(var.shape[p] for p in inverse(perm)))
        if item.data is None and item.root is None:
            w.typed(item, kind)
        if activation:
            item = w.typed(w.activation(item, activation), kind)
        done.append(item if perm is None else w.transpose(item, perm))
    return done


def export_all(table: Mapping[str, Callable[..., Any]], **options: Any) -> None:
    """Enter a table of rows."""
    for name, write in table.items():
        export(name, **options)(write)
