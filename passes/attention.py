"""Attention that was written out becomes the op `attention`: matmul(softmax(... matmul(q, kᵀ) ...), v).

Between the two products there may be the scale (on q, k or the scores), a soft cap, masks that are added or chosen by,
the softmax, casts there and back, and movements: leading axes in another order or merged, rows and columns exchanged.
The products may be einsums.  What goes has no other reader: with the weights asked for, nothing is done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir import dims
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.ops.linalg import _letters as spelled_terms
from ..ir.types import Tensor
from .manager import Context, register
from .rewrite import erase_dead, merge_sources

GONE = -1e4  # a score of this or less counts for nothing: exporters write anything from -1e4 to the lowest number

MOVEMENTS = ("reshape", "unsqueeze", "squeeze", "transpose", "cast", "identity")  # of the scores' elements

Perm = tuple[int, ...]


class Declined(Exception):  # noqa: N818 - a signal inside of this file
    """What stands here is no attention."""


@register
def attention(graph: Graph, context: Context) -> int:
    """Make one node of attention that was written out."""
    changes = 0
    for node in graph.nodes:
        changes += sum(attention(sub, context) for sub in node.graphs.values())
        if node.graph is graph and node.op.name in ("matmul", "einsum"):
            changes += _rewrite(graph, node)
    return changes


def _rewrite(graph: Graph, node: Node) -> int:
    try:
        found = _Search(graph).run(node)
    except Declined:
        return 0
    builder = Builder(graph, before=node, source=merge_sources(n.source for n in reversed(found.between)))
    made = found.emit(builder)
    made.name = node.output.name
    graph.replace(node.output, made)
    erase_dead(graph, found.between)
    return 1


# ---- products ------------------------------------------------------------------------------------------------


@dataclass
class Product:
    """x (batch, rows, inner) @ y (batch, inner, columns), after the axes of x and y were permuted, those of the result
    being permuted then."""

    x: Var
    y: Var
    x_perm: Perm
    y_perm: Perm
    out_perm: Perm


def _product(node: Node) -> Product:
    """A node as a batched product of two matrices."""
    if node.op.name == "einsum":
        return _einsum_product(node)
    x, y, *rest = node.inputs
    plain = not any(rest) and not node.attrs["activation"] and x is not None and y is not None
    if not plain or min(_rank(x), _rank(y)) < 2:
        raise Declined
    assert x is not None and y is not None
    return Product(x, y, *(tuple(range(_rank(v))) for v in (x, y, node.output)))  # type: ignore[arg-type]


def _einsum_product(node: Node) -> Product:
    """Letters of both operands and the result are the batch; one each is of rows, of columns and summed over."""
    operands = [v for v in node.inputs if v is not None]
    if len(operands) != 2:
        raise Declined
    (a, b), out = spelled_terms(node.attrs["equation"], [_rank(v) for v in operands])
    if any(len(set(t)) != len(t) for t in (a, b, out)):
        raise Declined
    batch = "".join(c for c in out if c in a and c in b)
    rows, columns = ("".join(c for c in out if c in t and c not in other) for t, other in ((a, b), (b, a)))
    inner = "".join(c for c in a if c in b and c not in out)
    if not len(rows) == len(columns) == len(inner) == 1 or len(a) != len(b) or len(a) != len(batch) + 2:
        raise Declined
    result = batch + rows + columns
    return Product(
        operands[0], operands[1], *(tuple(t.index(c) for c in order) for t, order in (
            (a, batch + rows + inner), (b, batch + inner + columns), (result, out))),
    )  # fmt: skip


def _rank(v: Var | None) -> int:
    if v is None or not isinstance(v.type, Tensor) or v.type.shape is None:
        raise Declined
    return len(v.type.shape)


# ---- finding -------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """An attention: its operands, and movements that its scores went through before they met masks.

    `moves`: permutations of leading axes and of the last two (a tuple), and shapes (a list), in order; `regrouped`:
    whether leading axes changed once more after that.
    """

    scores: Product
    values: Product
    moves: list[Any]
    regrouped: bool
    factor: float
    soft_cap: float | None
    masks: list[tuple[Var, bool]]  # and whether they hold where they are true
    biases: list[Var]
    zeroed: bool  # whether rows without any place become 0
    between: list[Node] = field(default_factory=list)

    def emit(self, b: Builder) -> Var:
        """The node, and what fits operands and result to it."""
        q, k = self._sides(b)
        (q, left), (k, right) = _without_factor(b, q), _without_factor(b, k)
        v = _permuted(b, self.values.y, self.values.y_perm)
        if self.regrouped:
            v = _regrouped(b, v, q.shape[:-2])
        mask, causal = self._mask(b, (q.shape[-2], k.shape[-2]))
        bias: Var | None = None
        for each in self.biases:
            each = b.cast_like(each, q)
            bias = each if bias is None else b.add(bias, each)
        scale = self.factor * left * right
        y = b.attention(q, k, v, mask, bias, scale=scale, causal=causal, soft_cap=self.soft_cap)
        if self.zeroed and mask is not None:
            some = b.reduce_any(mask, axes=(-1,), keepdims=True)
            y = b.where(some, y, np.array(0, y.tensor.dtype.numpy))
        if self.regrouped:
            y = _regrouped(b, y, self.values.x.shape[:-2])
        return _permuted(b, y, self.values.out_perm)

    def _sides(self, b: Builder) -> tuple[Var, Var]:
        """q (..., Tq, D) and k (..., Tk, D), moved as their product was."""
        q = _permuted(b, self.scores.x, self.scores.x_perm)
        perm = self.scores.y_perm
        k = _permuted(b, self.scores.y, (*perm[:-2], perm[-1], perm[-2]))
        for move in self.moves:
            if isinstance(move, list):
                q, k = (_regrouped(b, v, tuple(move[:-2])) for v in (q, k))
                continue
            rank = len(move)
            if move[-2:] == (rank - 1, rank - 2):
                q, k = k, q
            perm = (*move[:-2], rank - 2, rank - 1)
            q, k = (_permuted(b, v, perm) for v in (q, k))
        return q, k

    def _mask(self, b: Builder, places: tuple[Any, Any]) -> tuple[Var | None, bool]:
        """The masks as one, and whether a triangle was among them."""
        causal, mask = False, None
        for each, holds in self.masks:
            if _is_triangle(each, holds, places):
                causal = True
                continue
            each = each if holds else b.logical_not(each)
            mask = each if mask is None else b.logical_and(mask, each)
        return mask, causal


def _swapped(rank: int) -> Perm:
    return (*range(rank - 2), rank - 1, rank - 2)


def _permuted(b: Builder, v: Var, perm: Perm) -> Var:
    return v if perm == tuple(range(len(perm))) else b.transpose(v, perm=perm)


def _regrouped(b: Builder, v: Var, lead: tuple[Any, ...]) -> Var:
    """v with other leading axes for the same elements."""
    if v.shape[:-2] == lead:
        return v
    node = v.producer
    if node is not None and node.op.name == "transpose" and node.attrs["perm"] == _swapped(len(v.shape)):
        assert node.inputs[0] is not None
        return b.swap(_regrouped(b, node.inputs[0], lead))
    return b.reshape(v, shape=(*lead, *v.shape[-2:]))  # type: ignore[no-any-return]


def _without_factor(b: Builder, v: Var) -> tuple[Var, float]:
    """A value as another one times a number, which is looked for behind movements."""
    node = v.producer
    if node is None or node.dynamic:
        return v, 1.0
    factor, source = _factor(node)
    if source is not None:
        inner, more = _without_factor(b, source)
        return inner, factor * more
    if node.op.name in ("transpose", "reshape", "unsqueeze", "squeeze"):
        operand = node.inputs[0]
        assert operand is not None
        inner, factor = _without_factor(b, operand)
        return (v, 1.0) if factor == 1 else (b.node(node.op, [inner], node.attrs).output, factor)
    return v, 1.0


def _factor(node: Node) -> tuple[float, Var | None]:
    """x and c of a node that is x * c or x / c with one number c."""
    if node.op.name not in ("mul", "div") or node.dynamic:
        return 1.0, None
    pairs = [node.inputs] if node.op.name == "div" else [node.inputs, node.inputs[::-1]]
    for x, c in pairs:
        number = _number(c)
        if number is not None and x is not None and x.type == node.output.type and number:
            return (1 / number if node.op.name == "div" else number), x
    return 1.0, None


def _number(c: Var | None) -> float | None:
    """The number that all elements of a constant are."""
    if c is None or c.data is None or not c.data.size or not c.tensor.dtype.is_float:
        return None
    first = c.data.reshape(-1)[0]
    return float(first) if bool((c.data == first).all()) else None


def _is_triangle(mask: Var, holds: bool, places: tuple[Any, Any]) -> bool:
    """Whether a constant mask says j <= i."""
    if mask.data is None or mask.data.ndim < 2 or mask.data.shape[-2:] != places:
        return False
    kept = mask.data if holds else ~mask.data
    return bool((kept == np.tri(*kept.shape[-2:], dtype=np.bool_)).all())


class _Search:
    """Walks from the second product up to the first one."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.between: list[Node] = []
        self.masks: list[tuple[Var, bool]] = []
        self.biases: list[Var] = []
        self.moves: list[Any] = []  # of the scores before they meet masks, from the last to the first
        self.regrouped = False
        self.factor = 1.0
        self.soft_cap: float | None = None
        self.zeroing: list[tuple[Var, bool]] = []

    def run(self, root: Node) -> Found:
        values = _product(root)
        self.between.append(root)
        if values.x_perm != tuple(range(len(values.x_perm))):
            raise Declined
        scores = self._to_product(self._to_softmax(values.x))
        self._check(scores, values)
        return Found(
            scores, values, self.moves[::-1], self.regrouped, self.factor, self.soft_cap, self.masks, self.biases,
            bool(self.zeroing), self.between,
        )  # fmt: skip

    def _check(self, scores: Product, values: Product) -> None:
        """One dtype; operands whose leading axes are moved must not broadcast; what zeroes weights hid their scores."""
        x, y, v = ([p.x.shape[i] for i in p.x_perm] if side == "x" else [p.y.shape[i] for i in p.y_perm]
                   for p, side in ((scores, "x"), (scores, "y"), (values, "y")))  # fmt: skip
        moved = self.moves or self.regrouped
        weights = values.x.shape
        if (moved and x[:-2] != y[:-2]) or (self.regrouped and v[:-2] != list(weights[:-2])):
            raise Declined
        if not all(map(dims.known, (*x, *y, *v, *weights))) or len({t.tensor.dtype for t in (
                scores.x, scores.y, values.y)}) > 1:  # fmt: skip
            raise Declined
        if self.zeroing and sorted(map(_key, self.zeroing)) != sorted(map(_key, self.masks)):
            raise Declined

    def _inner(self, v: Var) -> Node:
        """The node that makes a value which nobody else reads."""
        if v.producer is None or v.producer.dynamic or not self.graph.used_once(v) or len(v.producer.outputs) > 1:
            raise Declined
        self.between.append(v.producer)
        return v.producer

    def _to_softmax(self, v: Var) -> Var:
        """From the weights to the operand of the softmax."""
        while True:
            node = self._inner(v)
            if node.op.name == "softmax":
                if node.attrs["axis"] not in (-1, _rank(v) - 1):
                    raise Declined
                assert node.inputs[0] is not None
                return node.inputs[0]
            if node.op.name == "where":
                mask, holds, x, number = _choice(node)
                if number != 0 or x.type != node.output.type:
                    raise Declined
                self.zeroing.append((mask, holds))
                v = x
                continue
            source = node.inputs[0]
            if source is None or node.op.name not in MOVEMENTS or node.op.name == "transpose":
                raise Declined
            if _shape(source)[-2:] != _shape(v)[-2:]:
                raise Declined
            self.regrouped = self.regrouped or _shape(source) != _shape(v)
            v = source

    def _to_product(self, v: Var) -> Product:
        """From the operand of the softmax to the first product."""
        while True:
            node = self._inner(v)
            if node.op.name in ("matmul", "einsum"):
                product = _product(node)
                if product.out_perm != tuple(range(len(product.out_perm))):
                    self._move(product.out_perm)
                return product
            factor, source = _factor(node)
            if source is not None:
                v = self._through_factor(factor, source)
            elif node.op.name in ("add", "where"):
                v = self._through_mask(node)
            elif node.op.name in MOVEMENTS:
                v = self._through_movement(node)
            else:
                raise Declined

    def _through_factor(self, factor: float, source: Var) -> Var:
        """scale · s, or c tanh(s / c) where a tanh comes next."""
        inner = source.producer
        if inner is not None and inner.op.name == "tanh" and self.soft_cap is None and self.factor == 1 and factor > 0:
            self._inner(source)
            self.soft_cap = self.factor = factor
            assert inner.inputs[0] is not None
            return inner.inputs[0]
        self.factor *= factor
        return source

    def _through_mask(self, node: Node) -> Var:
        """s + bias, or s where mask, else a very low number."""
        if self.factor != 1 or self.soft_cap is not None:
            raise Declined  # what is added would have to be scaled
        if node.op.name == "where":
            mask, holds, x, number = _choice(node)
            if not number <= GONE or math.isinf(number):  # with infinity a row without any place is NaN
                raise Declined
            self.masks.append((mask, holds))
        else:
            x, bias = self._scores_first(*node.inputs)
            self.biases.append(bias)
        if x.type != node.output.type:
            raise Declined
        if self.moves:
            if len(self.masks) + len(self.biases) > 1 or not all(isinstance(m, list) for m in self.moves):
                raise Declined
            self.moves, self.regrouped = [], True
        return x

    def _through_movement(self, node: Node) -> Var:
        source = node.inputs[0]
        assert source is not None
        if node.op.name == "cast":
            if not source.tensor.dtype.is_float:
                raise Declined
        elif node.op.name == "transpose":
            self._move(node.attrs["perm"])
        elif node.op.name != "identity":
            if _shape(source)[-2:] != _shape(node.output)[-2:]:
                raise Declined
            self.moves.append(list(_shape(node.output)))
        return source

    def _move(self, perm: Perm) -> None:
        """A permutation that leaves rows and columns the last two axes."""
        if sorted(perm[-2:]) != [len(perm) - 2, len(perm) - 1]:
            raise Declined
        self.moves.append(perm)

    def _scores_first(self, *operands: Var | None) -> tuple[Var, Var]:
        """Which of two addends the scores are: that which comes from a product."""
        for x, other in (operands, operands[::-1]):
            if x is not None and other is not None and self._comes_from_product(x):
                return x, other
        raise Declined

    def _comes_from_product(self, v: Var) -> bool:
        node = v.producer
        while node is not None and self.graph.used_once(v):
            if node.op.name in ("matmul", "einsum"):
                return True
            _, source = _factor(node)
            if source is None and node.op.name in (*MOVEMENTS, "tanh"):
                source = node.inputs[0]
            if source is None and node.op.name == "where":
                source = node.inputs[1] if _number(node.inputs[2]) is not None else node.inputs[2]
            if source is None and node.op.name == "add":
                return any(x is not None and self._comes_from_product(x) for x in node.inputs)
            if source is None:
                return False
            v, node = source, source.producer
        return False


def _choice(node: Node) -> tuple[Var, bool, Var, float]:
    """mask, whether it holds where true, x and c of a node that is where(mask, x, c) or where(mask, c, x)."""
    mask, first, second = node.inputs
    assert mask is not None and first is not None and second is not None
    for holds, x, c in ((True, first, second), (False, second, first)):
        number = _number(c)
        if number is not None:
            return mask, holds, x, number
    raise Declined


def _key(mask: tuple[Var, bool]) -> tuple[int, bool]:
    return id(mask[0]), mask[1]


def _shape(v: Var) -> tuple[Any, ...]:
    _rank(v)
    return v.shape
