"""Gradients that are sums of rows: those of look-ups.

The gradient of a look-up has one row for each place where a row of the table was read.  Keras on TensorFlow keeps such
gradients as rows (IndexedSlices): it squares and clips row by row, and adds up then, so that g1^2 + g2^2 stands where
others have (g1 + g2)^2.  `by_rows` does the same, and losses follow Keras' to the last digits.
"""

from __future__ import annotations

from collections.abc import Callable

from ...ir import Builder, Node, Var

Rows = tuple[Var, Node]  # rows, and the node that adds them up into zeros

# What Keras does to the rows of a gradient one by one: it leaves 0 at 0.
ROWWISE = ("mul", "div", "neg", "cast", "clip")


def rows_of(b: Builder, g: Var) -> list[Rows]:
    """The rows that a gradient is the sum of; none where it is no such sum."""
    node = g.producer
    if node is None or node.dynamic:
        return []
    if node.op.has("gathers"):
        assert node.operands[0] is not None
        return [(node.operands[0], node)]
    operands = [v for v in node.operands if v is not None]
    found = [rows_of(b, v) for v in operands] if node.op.name in (*ROWWISE, "add") else []
    if node.op.name == "add":
        return [pair for part in found for pair in part] if all(found) else []
    place = next((i for i, part in enumerate(found) if part), None)
    if place is None:
        return []
    return [(_each_row(b, node, operands, place, *pair), pair[1]) for pair in found[place]]


def _each_row(b: Builder, node: Node, operands: list[Var], place: int, rows: Var, adder: Node) -> Var:
    """The node's op on rows in place of the sum; the other operands where the rows belong."""
    indices = adder.operands[1]
    given = [v if v.shape == () else b.gather(v, indices, axis=0) for v in operands]
    return b.node(node.op, [*given[:place], rows, *given[place + 1 :]], node.attrs).output


def by_rows(b: Builder, g: Var, function: Callable[[Var], Var]) -> Var:
    """function(g), of each element; row by row where g is a sum of rows."""
    parts = [
        b.node(adder.op, [function(rows), *adder.operands[1:]], adder.attrs).output for rows, adder in rows_of(b, g)
    ]
    if not parts:
        return function(g)
    total = parts[0]
    for part in parts[1:]:
        total = b.add(total, part)
    return total


def squared(b: Builder, g: Var) -> Var:
    """The square of a gradient."""
    return by_rows(b, g, b.square)


def sum_of_squares(b: Builder, g: Var) -> Var:
    """Of all elements of a gradient; of all rows where it is a sum of rows."""
    first, *others = [b.reduce_sum_square(rows) for rows, _ in rows_of(b, g)] or [b.reduce_sum_square(g)]
    for other in others:
        first = b.add(first, other)
    return first
