"""LSTM, GRU and RNN: one node of ONNX each, with sequence_lens where there is a mask.

ONNX keeps time first and weights as rows of gates (LSTM: i, o, f, c).  It has lengths where the core ops have masks: so
the steps that a mask lets through are brought to the front, in order, their number is the length, and the results go
back to the places of these steps.  A mask that says which steps are within given lengths needs none of that.
Cells with activations that ONNX's operators do not have are written as a Scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....ir.attributes import Activation
from ....ir.builder import Builder
from ....ir.graph import Graph, Node, Var
from ....ir.op import lookup
from ....ir.ops.recurrent import DIRECTIONS
from ....ir.recurrence import FORMS
from ....ir.types import Tensor, boolean, i32, i64
from ..emitter import Emitter, Item
from . import export, refuse

# core op: ONNX's name, and the attributes that give alpha and beta
ACTIVATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "linear": ("Affine", ()), "relu": ("Relu", ()), "tanh": ("Tanh", ()), "sigmoid": ("Sigmoid", ()),
    "softsign": ("Softsign", ()), "softplus": ("Softplus", ()), "leaky_relu": ("LeakyRelu", ("negative_slope",)),
    "thresholded_relu": ("ThresholdedRelu", ("theta",)), "elu": ("Elu", ("alpha",)),
    "hard_sigmoid": ("HardSigmoid", ("alpha", "beta")), "affine": ("Affine", ("alpha", "beta")),
    "scaled_tanh": ("ScaledTanh", ("alpha", "beta")),
}  # fmt: skip
LINEAR_VALUES = (1.0, 0.0)  # alpha and beta by which Affine does nothing
IOFC = (0, 3, 1, 2)  # ONNX's gates as places in the core's i, f, g, o


@dataclass(frozen=True)
class Cell:
    """How a recurrent op is written: ONNX's operator, the order of its gates, its activations (in order; usual)."""

    op_type: str
    gates: tuple[int, ...]
    activations: tuple[str, ...]
    usual: tuple[str, ...]
    second_bias: bool  # whether the bias holds that of the state too


LSTM = Cell(
    "LSTM", IOFC, ("recurrent_activation", "activation", "output_activation"), ("Sigmoid", "Tanh", "Tanh"), False
)
GRU = Cell("GRU", (0, 1, 2), ("recurrent_activation", "activation"), ("Sigmoid", "Tanh"), True)
RNN = Cell("RNN", (0,), ("activation",), ("Tanh",), False)


# ---- weights -------------------------------------------------------------------------------------------------


def _rows(w: Emitter, kernel: Item, gates: Sequence[int]) -> Item:
    """Weights (D, K, G H) as (D, G H, K), gates in another order."""
    return w.transpose(_ordered(w, kernel, gates), (0, 2, 1))


def _ordered(w: Emitter, x: Item, gates: Sequence[int]) -> Item:
    """The parts of the last axis in another order."""
    if list(gates) == sorted(gates):
        return x
    axis, size = x.rank - 1, x.shape[-1]
    assert isinstance(size, int)
    if x.data is not None:
        parts = np.split(x.data, len(gates), axis)
        return Item(x.type, x.hint, np.concatenate([parts[g] for g in gates], axis))
    pieces = w.Split(x, w.ints([size // len(gates)] * len(gates)), axis=axis, outputs=len(gates))
    return w.typed(w.Concat(*(pieces[g] for g in gates), axis=axis), x.type)


def _bias(w: Emitter, bias: Item | None, cell: Cell) -> Item | None:
    """The biases of input and state side by side: (D, 2 G H)."""
    if bias is None:
        return None
    directions, size = bias.shape[0], bias.shape[-1]
    assert isinstance(directions, int) and isinstance(size, int)
    if cell.second_bias:
        if bias.data is not None:
            return Item(Tensor(bias.dtype, (directions, 2 * size)), bias.hint, bias.data.reshape(directions, -1))
        return w.Reshape(bias, w.ints([directions, 2 * size]))  # type: ignore[no-any-return]
    own, nothing = _ordered(w, bias, cell.gates), np.zeros((directions, size), bias.dtype.numpy)
    if own.data is not None:
        both = np.concatenate([own.data, nothing], 1)
        return Item(Tensor(bias.dtype, both.shape), bias.hint, both)
    return w.Concat(own, nothing, axis=1)  # type: ignore[no-any-return]


def _functions(attrs: dict[str, Any], cell: Cell, directions: int) -> dict[str, Any] | None:
    """The attributes that name the activations; nothing for the usual ones, None where ONNX lacks one."""
    names, values = [], ([], [])  # type: ignore[var-annotated]
    for key in cell.activations:
        activation: Activation = attrs[key]
        if activation.name not in ACTIVATIONS:
            return None
        name, parameters = ACTIVATIONS[activation.name]
        names.append(name)
        for held, value in zip(values, _numbers(activation, parameters)):
            held.append(value)
    if tuple(names) == cell.usual:
        return {}
    alphas, betas = (v * directions or None for v in values)
    return {"activations": names * directions, "activation_alpha": alphas, "activation_beta": betas}


def _numbers(activation: Activation, parameters: Sequence[str]) -> Sequence[float]:
    """Alpha and beta, as far as ONNX's activation has them."""
    if not activation:
        return LINEAR_VALUES
    defaults = {k: a.default for k, a in lookup(activation.name).attributes.items()}
    given = {**defaults, **dict(activation.attrs)}
    return [float(given[p]) for p in parameters]


# ---- masks ---------------------------------------------------------------------------------------------------


@dataclass
class Steps:
    """What a mask means for a node of ONNX.

    `order`: (N, T), the steps that count first, where they do not stand there yet; `places`: for each direction
    (N, T), the result that each step shows, -1 for none.
    """

    lengths: Item
    order: Item | None
    places: list[Item]


def _lengths_of(mask: Var | None) -> Var | None:
    """The lengths by which a mask was made: the number of a step is less than them."""
    node = None if mask is None else mask.producer
    if node is None or node.op.name != "less":
        return None
    steps, bound = node.inputs
    assert steps is not None and bound is not None
    inner = bound.producer
    if inner is None or inner.op.name != "unsqueeze" or inner.attrs.get("axes") not in ((1,), (-1,)):
        return None
    lengths = inner.inputs[0]
    assert lengths is not None
    return lengths if _counts_up(steps) and len(lengths.shape) == 1 else None


def _counts_up(steps: Var) -> bool:
    """Whether a value is 0, 1, 2, ... along its last axis."""
    if steps.data is not None:
        return bool(
            steps.data.size == steps.data.shape[-1] and (steps.data.reshape(-1) == range(steps.data.size)).all()
        )
    node: Node | None = steps.producer
    while node is not None and node.op.name == "unsqueeze" and node.inputs[0] is not None:
        node = node.inputs[0].producer
    if node is None or node.op.name != "range":
        return False
    start, _, step = node.inputs
    assert start is not None and step is not None
    return bool(start.data is not None and start.data == 0 and step.data is not None and step.data == 1)


def _steps(w: Emitter, mask: Item, source: Var | None, backwards: Sequence[bool], zero_masked: bool) -> Steps:
    counted, lengths, order, seen = w.once(("steps", mask), lambda: _counts(w, mask, source))
    if zero_masked:
        only = w.Where(mask, w.Sub(seen, 1), w.constant(-1, "none", dtype="int64"), result=i64)
        return Steps(lengths, order, [only for _ in backwards])
    total = w.Unsqueeze(w.cast(lengths, i64), w.ints([1]))
    places = []
    for reverse in backwards:
        place = w.Sub(seen, 1)
        if reverse:  # the first that counts from here on
            following = w.Sub(seen, counted)
            none = w.constant(-1, "none", dtype="int64")
            place = w.Where(w.Less(following, total, result=boolean), following, none, result=i64)
        places.append(place)
    return Steps(lengths, order, places)


def _counts(w: Emitter, mask: Item, source: Var | None) -> tuple[Item, Item, Item | None, Item]:
    """The mask as integers, how many steps count, their order, and how many count up to each."""
    counted = w.cast(mask, i64)
    known = _lengths_of(source)
    total = w.ReduceSum(counted, w.ints([1]), keepdims=0) if known is None else w.values[known]
    order = _order(w, mask, counted) if known is None else None
    return counted, w.cast(total, i32), order, w.CumSum(counted, w.constant(1, "axis", dtype="int64"))


def _order(w: Emitter, mask: Item, counted: Item) -> Item:
    """The places of the steps that count, then of the others, each in their order: (N, T)."""
    size = w.axis_size(mask, 1)
    zero, one = w.constant(np.int64(0)), w.constant(np.int64(1))
    numbers = w.Range(zero, w.scalar(size), one)
    keys = w.Sub(w.Mul(counted, size), numbers)  # different from each other, those that count above 0
    _, order = w.TopK(keys, size, axis=1, outputs=2)
    return order  # type: ignore[no-any-return]


def _picked(w: Emitter, x: Item, places: Item) -> Item:
    """x[n, places[n, t]] for (N, T, ...)."""
    return w.GatherND(x, w.Unsqueeze(places, w.ints([-1])), batch_dims=1)  # type: ignore[no-any-return]


def _shown(w: Emitter, x: Item, places: Item) -> Item:
    """As `_picked`, with zeros where the place is -1; x: (N, T, H)."""
    zero = w.constant(np.int64(0))
    found = _picked(w, x, w.Max(places, zero))
    known = w.Unsqueeze(w.GreaterOrEqual(places, zero, result=boolean), w.ints([-1]))
    return w.Where(known, found, w.number(0, x), result=x.dtype)  # type: ignore[no-any-return]


# ---- nodes ---------------------------------------------------------------------------------------------------


def _write(w: Emitter, cell: Cell, operands: list[Item | None], peephole: Item | None, attrs: dict[str, Any]) -> Any:
    """The node for all directions of one layer; layers that were put together are written one by one."""
    x, kernel, recurrent, bias, mask, *states = operands
    assert x is not None and kernel is not None and recurrent is not None
    direction, zero_masked = attrs["direction"], attrs["zero_masked"]
    each, directions = DIRECTIONS[direction], recurrent.shape[0]
    assert isinstance(directions, int)
    if directions > each:
        return _apart(w, cell, operands, peephole, attrs, directions // each)
    functions = _functions(attrs, cell, each)
    if functions is None:
        return _as_scan(w, operands, peephole, attrs)
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    source = w.node.inputs[4] if w.node is not None and len(w.node.inputs) > 4 else None
    steps = None if mask is None else _steps(w, mask, source, backwards, zero_masked)
    given = x if steps is None or steps.order is None else w.typed(_picked(w, x, steps.order), x.type)
    outputs = w.emit(
        cell.op_type, w.transpose(given, (1, 0, 2)), _rows(w, kernel, cell.gates), _rows(w, recurrent, cell.gates),
        _bias(w, bias, cell), None if steps is None else steps.lengths,
        *(None if s is None else w.transpose(s, (1, 0, 2)) for s in states), peephole, outputs=1 + len(states),
        hidden_size=recurrent.shape[1], direction=direction, **functions, **_options(cell, attrs),
    )  # fmt: skip
    return _results(w, outputs, x, recurrent, steps, states)


def _options(cell: Cell, attrs: dict[str, Any]) -> dict[str, Any]:
    """The attributes of single cells."""
    renamed = {"input_forget": "input_forget", "reset_after": "linear_before_reset"}
    found: dict[str, Any] = {renamed[k]: int(attrs[k]) for k in renamed if attrs.get(k)}
    return {**found, "clip": attrs["clip"]}


def _results(
    w: Emitter, outputs: Any, x: Item, recurrent: Item, steps: Steps | None, states: list[Item | None]
) -> list[Item]:
    """The sequence (N, T, D, H) and the last states (N, D, H)."""
    n, time, d, hidden = *x.shape[:2], *recurrent.shape[:2]
    sequence, *last = outputs
    w.typed(sequence, Tensor(x.dtype, (time, d, n, hidden)))
    for item in last:
        w.typed(item, Tensor(x.dtype, (d, n, hidden)))
    y = w.transpose(sequence, (2, 0, 1, 3))
    ends = [w.transpose(item, (1, 0, 2)) for item in last]
    if steps is None:
        return [y, *ends]
    ways = [w.typed(_shown(w, _way(w, y, i), places), Tensor(x.dtype, (n, time, hidden)))
            for i, places in enumerate(steps.places)]  # fmt: skip
    shown = w.Concat(*(w.Unsqueeze(v, w.ints([2])) for v in ways), axis=2) if len(ways) > 1 else (
        w.Unsqueeze(ways[0], w.ints([2])))  # fmt: skip
    empty = w.Reshape(w.Equal(steps.lengths, w.number(0, steps.lengths), result=boolean), w.ints([-1, 1, 1]))
    kept = [e if s is None else w.Where(empty, s, e, result=x.dtype) for s, e in zip(states, ends)]
    return [shown, *kept]


def _way(w: Emitter, y: Item, i: int) -> Item:
    """Direction i of a sequence (N, T, D, H)."""
    return w.typed(
        w.Gather(y, w.constant(i, "way", dtype="int64"), axis=2), Tensor(y.dtype, (*y.shape[:2], y.shape[3]))
    )


def _apart(
    w: Emitter, cell: Cell, operands: list[Item | None], peephole: Item | None, attrs: dict[str, Any], layers: int
) -> list[Item]:
    """Layers that read the same x, written one after another."""
    x, *rest = operands
    found = []
    for layer in range(layers):
        own = [v if i == 3 else _part(w, v, 1 if i > 3 else 0, layer, layers) for i, v in enumerate(rest)]
        found.append(_write(w, cell, [x, *own], _part(w, peephole, 0, layer, layers), attrs))
    return [w.Concat(*parts, axis=2 if i == 0 else 1) for i, parts in enumerate(zip(*found))]


def _part(w: Emitter, v: Item | None, axis: int, i: int, count: int) -> Item | None:
    if v is None:
        return None
    size = v.shape[axis]
    assert isinstance(size, int)
    each = size // count
    shape = (*v.shape[:axis], each, *v.shape[axis + 1 :])
    if v.data is not None:
        return Item(Tensor(v.dtype, shape), v.hint, np.split(v.data, count, axis)[i])
    bounds = (w.ints([i * each]), w.ints([(i + 1) * each]), w.ints([axis]))
    return w.typed(w.Slice(v, *bounds), Tensor(v.dtype, shape))


def _as_scan(w: Emitter, operands: list[Item | None], peephole: Item | None, attrs: dict[str, Any]) -> list[Item]:
    """The recurrence in elementary ops, written in the place of the node."""
    node = w.node
    assert node is not None
    graph = Graph(node.op.name)
    b = Builder(graph, source=node.source)
    given = [*operands, *([peephole] if node.op.name == "lstm" else [])]
    names = [i.name for i in node.op.inputs]
    inputs = [None if v is None else b.input(n, v.type) for n, v in zip(names, given)]
    graph.set_outputs(FORMS[node.op.name](b, *inputs, **attrs))
    return w.inline(graph, [v for v in given if v is not None])


@export()
def lstm(
    w: Emitter, x: Item, kernel: Item, r: Item, bias: Item | None = None, mask: Item | None = None,
    h0: Item | None = None, c0: Item | None = None, peephole: Item | None = None, **attrs: Any,
) -> Any:  # fmt: skip
    return _write(w, LSTM, [x, kernel, r, bias, mask, h0, c0], peephole, attrs)


@export()
def gru(
    w: Emitter, x: Item, kernel: Item, r: Item, bias: Item | None = None, mask: Item | None = None,
    h0: Item | None = None, **attrs: Any,
) -> Any:  # fmt: skip
    return _write(w, GRU, [x, kernel, r, bias, mask, h0], None, attrs)


@export()
def rnn(
    w: Emitter, x: Item, kernel: Item, r: Item, bias: Item | None = None, mask: Item | None = None,
    h0: Item | None = None, **attrs: Any,
) -> Any:  # fmt: skip
    return _write(w, RNN, [x, kernel, r, bias, mask, h0], None, attrs)


refuse("it records what a gradient needs", "lstm_record", "gru_record", "rnn_record")
refuse("it belongs to a gradient", "lstm_grad", "gru_grad", "rnn_grad")
