"""Recurrent layers: cells, the layers made of one cell, RNN(cell), stacked cells.

A `Cell` lowers itself to one core op for one or two directions (`run`), which is all that Bidirectional needs too.
Semantics: keras/src/layers/rnn/rnn.py and keras/src/backend/tensorflow/rnn.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..ir import Builder, Tensor, Var, dtype
from ..ir.ops.shape import BIG
from ..ir.recurrence import FORMS, NOTHING, Dropped
from .activation import check_activation, elementwise
from .base import Config, Function, Layer, Mask, Weight, as_dtype, flatten, layer, layer_base
from .seed import Seeded, dropout

if TYPE_CHECKING:
    from .lowering import Scope


class Result(NamedTuple):
    """What a cell gives for a sequence: all steps (N, T, D, H), and the last states, each (N, D, H)."""

    sequence: Var
    states: list[Var]
    shows_state: bool = True  # the outputs are the first state

    def cast(self, b: Builder, dtype: str) -> Result:
        """The same in another dtype: a layer returns its own, whatever its cells compute in."""
        states = [as_dtype(b, s, dtype) for s in self.states]
        return self._replace(sequence=as_dtype(b, self.sequence, dtype), states=states)


def stacked(b: Builder, parts: Sequence[Var]) -> Var:
    """The values side by side along a new first axis, one for each direction."""
    rows = [b.unsqueeze(v, axes=(0,)) for v in parts]
    return rows[0] if len(rows) == 1 else b.concat(*rows, axis=0)  # type: ignore[no-any-return]


def check_rates(layer: Layer) -> None:
    """Refuse rates of dropout that are no numbers; those below 0 are 0, above 1 they are 1, as in Keras."""
    for key in ("dropout", "recurrent_dropout"):
        rate = getattr(layer, key)
        if not isinstance(rate, (int, float)):
            raise layer.invalid(f"{key}={rate!r} is not a number")
        setattr(layer, key, min(1.0, max(0.0, rate)))


@layer_base()
class Cell(Seeded):
    """One step of a recurrence: weights, activations, and the core op that repeats it."""

    units: int
    activation: Function = "tanh"
    _: KW_ONLY
    use_bias: bool = True
    kernel_initializer: Config = "glorot_uniform"
    recurrent_initializer: Config = "orthogonal"
    bias_initializer: Config = "zeros"
    kernel_regularizer: Config = None
    recurrent_regularizer: Config = None
    bias_regularizer: Config = None
    kernel_constraint: Config = None
    recurrent_constraint: Config = None
    bias_constraint: Config = None
    dropout: float = 0.0  # of the features of x; training only, as is that of h
    recurrent_dropout: float = 0.0
    seed: int | None = None
    gates: ClassVar[int] = 1
    op: ClassVar[str]  # the core op
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    needs_float: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse activations that are not elementwise; rates below 0 are 0, above 1 they are 1, as in Keras."""
        check_activation(self)
        check_rates(self)

    def bias_shape(self) -> tuple[int, ...]:
        """The shape of the bias variable."""
        return (self.units * self.gates,)

    def state_shapes(self, x: Var) -> list[tuple[Any, ...]]:
        """The shapes of the states for sequences x."""
        return [(x.shape[0], self.units)] * len(self.state_names)

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        columns = self.units * self.gates
        features = inputs[0].dims[-1]
        yield self.weight("kernel", (features, columns))
        recurrent = (self.units, columns)
        yield self.weight("recurrent_kernel", recurrent, "recurrent")
        if self.use_bias:
            yield self.weight("bias", self.bias_shape(), adjust=self.adjust_bias)

    adjust_bias: ClassVar[Any] = None

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of an output without the batch."""
        return (self.units,)

    @staticmethod
    def seen(dims: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape for which the cell declares its weights: that of the sequence."""
        return dims

    def settings(self) -> tuple[Any, ...]:
        """What has to be equal for two cells to be the two directions of one op."""
        activations = [elementwise(self, k) for k in ("activation", "recurrent_activation") if hasattr(self, k)]
        reset = getattr(self, "reset_after", None)
        return (type(self), self.units, self.use_bias, self.compute_dtype, *activations, reset)

    def op_bias(self, b: Builder, bias: Var) -> Var:
        """The bias variable as the core op wants it, for one direction."""
        return bias

    def options(self) -> dict[str, Any]:
        """The attributes of the core op: the activations."""
        return {"activation": elementwise(self, "activation")}

    def run(
        self, b: Builder, x: Var, ws: Sequence[Scope], mask: Mask, states: list[Var] | None, **attrs: Any
    ) -> Result:
        """The recurrence over x with the weights of one scope for each direction; states: (N, D, H) each.

        One core op; a scan where dropout tells the gates apart.
        """
        x, dropped = self.dropped(b, x, ws[0])
        bias = stacked(b, [self.op_bias(b, w.bias) for w in ws]) if self.use_bias else None
        kernel, recurrent = stacked(b, [w.kernel for w in ws]), stacked(b, [w.recurrent_kernel for w in ws])
        initial: Sequence[Var | None] = states or [None] * len(self.state_names)
        operands, options = (x, kernel, recurrent, bias, mask, *initial), {**self.options(), **attrs}
        if dropped == NOTHING:
            sequence, *last = getattr(b, self.op)(*operands, **options)
        else:
            sequence, *last = FORMS[self.op](b, *operands, dropped=dropped, **options)
        return Result(sequence, last)

    # ---- dropout

    @property
    def drops(self) -> bool:
        """Whether anything is dropped in training."""
        return bool(self.dropout or self.recurrent_dropout)

    def dropped(self, b: Builder, x: Var, w: Scope) -> tuple[Var, Dropped]:
        """In training, x (N, T, F) without some of its features, and the factors of what each gate sees.

        One choice is made for all steps of a sample.  Where h loses features too, each gate loses other ones of both
        (keras/src/layers/rnn/dropout_rnn_cell.py, and `implementation` 1 of the cells).
        """
        if not w.training or not self.drops:
            return x, NOTHING
        n, _, features = x.shape
        if not self.recurrent_dropout:
            return self.thinned(b, x, "dropout", (n, 1, features), w), NOTHING
        one = b.constant(1, dtype=x.tensor.dtype.numpy)
        of_x = self.thinned(b, one, "dropout", (1, n, 1, self.gates * features), w)
        of_h = self.thinned(b, one, "recurrent_dropout", (1, n, self.gates * self.units), w)
        return x, Dropped(*(None if v is one else v for v in (of_x, of_h)))

    def thinned(self, b: Builder, x: Var, key: str, shape: tuple[Any, ...], w: Scope) -> Var:
        """x after dropout by the rate in a field; x itself where that drops nothing, as rate 1 does in gated cells."""
        rate = getattr(self, key)
        if not rate or (rate == 1 and self.gates > 1):
            return x
        return dropout(b, x, rate, shape, w.random_seed())


@layer
class SimpleRNNCell(Cell):
    """h' = activation(x @ kernel + h @ recurrent_kernel + bias)."""

    op: ClassVar[str] = "rnn"


@layer_base()
class _GatedCell(Cell):
    _: KW_ONLY
    recurrent_activation: Function = "sigmoid"

    def check(self) -> None:
        super().check()
        check_activation(self, "recurrent_activation")

    def options(self) -> dict[str, Any]:
        return {**super().options(), "recurrent_activation": elementwise(self, "recurrent_activation")}


@layer
class LSTMCell(_GatedCell):
    """Columns i, f, g, o: c' = f c + i activation(g), h' = o activation(c')."""

    unit_forget_bias: bool = True
    op: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
    state_names: ClassVar[tuple[str, ...]] = ("h", "c")

    def adjust_bias(self, bias: Any) -> None:
        """The forget gate is open at first (Jozefowicz et al. 2015)."""
        if self.unit_forget_bias:
            bias[self.units : 2 * self.units] = 1

    def options(self) -> dict[str, Any]:
        chosen = super().options()
        return {**chosen, "output_activation": chosen["activation"]}


@layer
class GRUCell(_GatedCell):
    """Columns z, r, g: h' = z h + (1 - z) activation(g); reset_after: r after the product with recurrent_kernel."""

    reset_after: bool = True
    op: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def op_bias(self, b: Builder, bias: Var) -> Var:
        if self.reset_after:
            return bias
        return stacked(b, [bias, b.constant(np.zeros(3 * self.units, bias.tensor.dtype.numpy))])

    def options(self) -> dict[str, Any]:
        return {**super().options(), "reset_after": self.reset_after}


@layer
class StackedRNNCells(Layer):
    """Cells one on top of the other; the same as their layers one after the other."""

    cells: list[Layer]


# ---- layers ---------------------------------------------------------------------------------------------------


@layer_base(kw_only=True)
class Recurrent(Layer):
    """What the layers made of cells share: sequences, states, masks, direction."""

    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False  # how Keras runs the loop: of meaning only for `mirrored`
    zero_output_for_mask: bool = False
    own_result: ClassVar[bool] = True
    call_arguments: ClassVar[tuple[str, ...]] = ("initial_state", "mask", "training")
    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def stack(self, x: Var, w: Scope) -> list[tuple[Any, Scope]]:
        """The cells from the bottom to the top, each with its weights."""
        raise NotImplementedError

    def lower(self, b: Builder, x: Any, w: Scope, initial_state: Any = None, mask: Any = None) -> Any:
        x, initial = inputs_and_states(x, initial_state)
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        results = run(b, x, [(self, w)], initial, mask).returned(b, 0)
        return results if self.return_state else results[0]

    @property
    def mirrored(self) -> bool:
        """Whether Keras zeroes in sequences the mirror images of masked steps, not these.

        Its unrolled loop turns the mask of the steps around, but not that by which it zeroes all outputs at the end
        (keras/src/backend/tensorflow/rnn.py).
        """
        return self.unroll and self.go_backwards and self.return_sequences and self.zero_output_for_mask

    def compute_mask(self, b: Builder, x: Any, mask: Any, y: Any) -> Any:
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        return [mask if self.return_sequences else None]


def inputs_and_states(x: Any, initial_state: Any) -> tuple[Var, list[Var] | None]:
    """Sequences and initial states; Keras 2 gives both as one list."""
    if isinstance(x, (list, tuple)):
        x, *more = x
        initial_state = more or initial_state
    if initial_state is None:
        return x, None
    return x, flatten(initial_state)


def flipped(b: Builder, x: Var) -> Var:
    """x with its steps in reverse."""
    return b.slice(x, starts=(-1,), ends=(-BIG,), axes=(1,), steps=(-1,))


class Run(NamedTuple):
    """The outcome of one or two directions of a recurrent layer; `initial`: whether the caller gave states."""

    layers: list[tuple[Recurrent, Scope]]
    results: list[Result]  # one for each cell of the stack
    backwards: list[bool]
    mask: Mask
    initial: bool

    def output(self, b: Builder, direction: int) -> Var:
        """The output of a direction: all steps in the order of the input, or the last one.

        The last step of the sequence is the last h, except where the last steps are masked and zeroed, or all
        steps are masked and the initial state is not zero.
        """
        recurrent, (sequence, states, shows_state) = self.layers[direction][0], self.results[-1]
        if recurrent.return_sequences:
            y = _direction(b, sequence, 2, direction)
            if self.mask is None or not recurrent.mirrored:
                return y
            keep = b.unsqueeze(flipped(b, self.mask), axes=tuple(range(2, len(y.shape))))
            return b.where(keep, y, b.constant(0, dtype=y.tensor.dtype.numpy))  # type: ignore[no-any-return]
        differs = self.mask is not None and (self.initial or recurrent.stateful or recurrent.zero_output_for_mask)
        if differs or not shows_state:
            step = 0 if self.backwards[direction] else -1
            end = 1 if step == 0 else BIG
            last = b.squeeze(b.slice(sequence, starts=(step,), ends=(end,), axes=(1,)), axes=(1,))
            return _direction(b, last, 1, direction)
        return _direction(b, states[0], 1, direction)

    def returned(self, b: Builder, direction: int) -> list[Var]:
        """What the layer of a direction returns: its output, in its own order of time, and the states if it does."""
        recurrent = self.layers[direction][0]
        y = self.output(b, direction)
        if recurrent.return_sequences and recurrent.go_backwards:
            y = flipped(b, y)
        return [y, *self.last_states(b, direction)] if recurrent.return_state else [y]

    def concatenated(self, b: Builder) -> Var | None:
        """The outputs of both directions side by side, where they stand so already; None where not."""
        recurrent, (sequence, states, _) = self.layers[0][0], self.results[-1]
        if not recurrent.return_sequences and self.mask is not None and (self.initial or recurrent.stateful):
            return None
        x = sequence if recurrent.return_sequences else states[0]
        *outer, directions, units = x.shape
        return b.reshape(x, shape=(*outer, directions * units))

    def last_states(self, b: Builder, direction: int) -> list[Var]:
        """The last states of a direction, cell by cell."""
        return [_direction(b, s, 1, direction) for result in self.results for s in result.states]


def _direction(b: Builder, x: Var, axis: int, direction: int) -> Var:
    """One direction of a result, without the direction axis."""
    if x.shape[axis] == 1:
        return b.squeeze(x, axes=(axis,))
    return b.squeeze(b.slice(x, starts=(direction,), ends=(direction + 1,), axes=(axis,)), axes=(axis,))


def run(b: Builder, x: Var, layers: list[tuple[Recurrent, Scope]], initial: list[Var] | None, mask: Mask) -> Run:
    """Run one layer, or two (the directions of a Bidirectional, forward first) as one op a cell.

    `initial` has the states of the first layer's cells, then those of the second one's.
    """
    first = layers[0][0]
    backwards = [recurrent.go_backwards for recurrent, _ in layers]
    x = as_dtype(b, x, first.compute_dtype)
    direction = "bidirectional" if len(layers) == 2 else "reverse" if backwards[0] else "forward"
    stacks = [recurrent.stack(x, w) for recurrent, w in layers]
    names = [_state_names(recurrent, w, stack) for (recurrent, w), stack in zip(layers, stacks)]
    current = _initial_states(b, x, layers, stacks, names, initial)
    results: list[Result] = []
    attrs = {"direction": direction, "zero_masked": first.zero_output_for_mask and not first.mirrored}
    for level, cells in enumerate(zip(*stacks)):
        cell, ws = cells[0][0], [w for _, w in cells]
        result = cell.run(b, as_dtype(b, x, cell.compute_dtype), ws, mask, current[level], **attrs)
        results.append(result)
        if level + 1 < len(stacks[0]):  # only single directions have stacks
            x = _direction(b, result.sequence, 2, 0)
    made = [result.cast(b, first.compute_dtype) for result in results]
    outcome = Run(layers, made, backwards, mask, initial is not None)
    for i, ((recurrent, w), own) in enumerate(zip(layers, names)):
        if recurrent.stateful:
            for name, value in zip(own, outcome.last_states(b, i)):
                w.lowering.states.write(name, value)
    return outcome


def _state_names(recurrent: Recurrent, w: Scope, stack: list[tuple[Any, Scope]]) -> list[str]:
    """Names of a layer's states: `lstm.h`, `lstm.c`; in a stack with the number of the cell: `rnn.0.h`."""
    prefixes = [f"{w.path}.{i}" if len(stack) > 1 else w.path for i in range(len(stack))]
    return [f"{prefix}.{s}" for prefix, (cell, _) in zip(prefixes, stack) for s in cell.state_names]


def _initial_states(
    b: Builder, x: Var, layers: list[tuple[Recurrent, Scope]], stacks: list[list[tuple[Any, Scope]]],
    names: list[list[str]], initial: list[Var] | None,
) -> list[list[Var] | None]:  # fmt: skip
    """For each level of the stacks its initial states, (N, D, H) each; None where they are zeros."""
    stateful = any(recurrent.stateful for recurrent, _ in layers)
    if stateful:
        _require_state(x, layers)
        kept = [
            w.lowering.state(name, shape, dtype_name)
            for (_, w), stack, own in zip(layers, stacks, names)
            for name, (shape, dtype_name) in zip(
                own, [(shape, cell.compute_dtype) for cell, _ in stack for shape in cell.state_shapes(x)]
            )
        ]
        initial = kept if initial is None else initial
    if initial is None:
        return [None] * len(stacks[0])
    expected = sum(map(len, names))
    if len(initial) != expected:
        raise layers[0][0].invalid(f"takes {expected} initial states, got {len(initial)}")
    halves = [initial[: len(names[0])], initial[len(names[0]) :]][: len(layers)]
    found: list[list[Var] | None] = []
    place = 0
    for cell, _ in stacks[0]:
        states = []
        for k in range(len(cell.state_names)):
            each = [b.unsqueeze(as_dtype(b, half[place + k], cell.compute_dtype), axes=(1,)) for half in halves]
            states.append(each[0] if len(each) == 1 else b.concat(*each, axis=1))
        found.append(states)
        place += len(cell.state_names)
    return found


def _require_state(x: Var, layers: list[tuple[Recurrent, Scope]]) -> None:
    recurrent, w = layers[0]
    if w.lowering.forbid_state:
        recurrent.refuse("stateful", hint=w.lowering.forbid_state)
    if not isinstance(x.shape[0], int):
        recurrent.refuse("stateful", hint="give the input a fixed batch size")


class _OneCell(Recurrent):
    """A layer that is itself its cell; Keras keeps the weights in an attribute `cell`."""

    store_path: ClassVar[str] = "cell"

    def stack(self, x: Var, w: Scope) -> list[tuple[Any, Scope]]:
        return [(self, w)]


@layer
class SimpleRNN(_OneCell, SimpleRNNCell):
    """The simple (Elman) recurrent layer."""


@layer
class LSTM(_OneCell, LSTMCell):
    """Long short-term memory."""


@layer
class GRU(_OneCell, GRUCell):
    """Gated recurrent unit."""


@layer
class RNN(Recurrent):
    """A recurrent layer of a given cell, or of a list of cells.

    A cell of the user's own is a layer with a `state_size` (the number of units, or a shape without the batch; a list
    of them, one for each state) whose `lower(b, x, w, states)` gives the output of a step and a list of the new states.
    If it has a method `get_initial_state(b, batch_size)`, that gives the first states, else they are zeros.
    """

    cell: Layer | list[Layer]

    def check(self) -> None:
        if isinstance(self.cell, (list, tuple)):
            self.cell = StackedRNNCells(cells=list(self.cell))
        for cell in self._cells():
            if not isinstance(cell, Cell) and not hasattr(cell, "state_size"):
                known = "SimpleRNNCell, LSTMCell, GRUCell, StackedRNNCells"
                self.refuse("cell", hint=f"{known}, or a layer class with a state_size and lower(b, x, w, states)")

    def _cells(self) -> list[Any]:
        return self.cell.cells if isinstance(self.cell, StackedRNNCells) else [self.cell]

    def stack(self, x: Var, w: Scope) -> list[tuple[Any, Scope]]:
        from .lowering import Activity

        found, features = [], x.tensor
        for i, cell in enumerate(self._cells()):
            name = f"cell_{i}" if len(self._cells()) > 1 else "cell"
            if cell.activity is not None:
                w.lowering.activities.append(Activity(cell, None))
            stepped = cell if isinstance(cell, Cell) else Stepped(cell)
            found.append((stepped, w.child(cell, features.with_(shape=stepped.seen(features.dims)), name=name)))
            features = features.with_(shape=(*features.dims[:2], *stepped.output_shape))
        return found


class Stepped:
    """A cell of the user's own, run step by step; see `RNN`."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        sizes = cell.state_size
        sizes = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]
        self.shapes = [(s,) if isinstance(s, int) else tuple(s) for s in sizes]
        self.state_names = tuple(f"state{i}" for i in range(len(self.shapes)))

    @property
    def compute_dtype(self) -> str:
        return self.cell.compute_dtype  # type: ignore[no-any-return]

    @property
    def output_shape(self) -> tuple[Any, ...]:
        """The shape of an output without the batch: by the attribute `output_size`, else that of the first state."""
        size = getattr(self.cell, "output_size", None)
        return self.shapes[0] if size is None else (size,) if isinstance(size, int) else tuple(size)

    @staticmethod
    def seen(dims: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape for which the cell declares its weights: that of one step."""
        return (dims[0], *dims[2:])

    def state_shapes(self, x: Var) -> list[tuple[Any, ...]]:
        return [(x.shape[0], *shape) for shape in self.shapes]

    def run(
        self, b: Builder, x: Var, ws: Sequence[Scope], mask: Mask, states: list[Var] | None, *, direction: str,
        zero_masked: bool,
    ) -> Result:  # fmt: skip
        """The recurrence over x in one direction; states have an axis of one direction after the batch."""
        from .lowering import Scope
        from .scanned import Body, scanned

        (w,) = ws
        if states is not None:
            first = [b.squeeze(v, axes=(1,)) for v in states]
        elif hasattr(self.cell, "get_initial_state"):
            first = flatten(self.cell.get_initial_state(b, x.shape[0]))
        else:
            nothing = b.constant(0, dtype=dtype(self.compute_dtype).numpy)
            first = [b.expand(nothing, shape=shape) for shape in self.state_shapes(x)]
        if len(first) != len(self.shapes):
            raise self.cell.invalid(f"{len(first)} initial states for a state_size of {len(self.shapes)}")

        def step(body: Body, slices: list[Var], states: list[Var]) -> tuple[Var, list[Var]]:
            inside = Scope(body, self.cell, w.path, w.training, w.trainable)
            made = self.cell.lower(body.b, slices[0], inside, states)
            if not isinstance(made, tuple) or len(made) != 2 or len(flatten(made[1])) != len(states):
                raise self.cell.invalid(f"lower() has to give the output and a list of {len(states)} states")
            return made[0], flatten(made[1])

        sequence, last = scanned(w, step, [x], mask, first, direction == "reverse", zero_masked)
        return Result(b.unsqueeze(sequence, axes=(2,)), [b.unsqueeze(v, axes=(1,)) for v in last], shows_state=False)
