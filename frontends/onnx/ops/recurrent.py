"""LSTM, GRU and RNN: ONNX's weights, layouts and activations brought to those of the core ops.

ONNX keeps time first (layout 0) and weights as rows of gates; the core ops have the batch first, weights as columns,
gates of the LSTM in the order i, f, g, o (ONNX: i, o, f, c).  GRU's order z, r, h is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ....errors import ShapeError
from ....ir.attributes import Activation
from ....ir.graph import Var
from ..lowering import Lowering
from ..registry import onnx

Floats = tuple[float, ...]
Strs = tuple[str, ...]

# ONNX's name in lower case: core op, and the core attributes that alpha and beta give with their defaults
ACTIVATIONS: dict[str, tuple[str, tuple[tuple[str, str, float], ...]]] = {
    "relu": ("relu", ()),
    "tanh": ("tanh", ()),
    "sigmoid": ("sigmoid", ()),
    "softsign": ("softsign", ()),
    "softplus": ("softplus", ()),
    "leakyrelu": ("leaky_relu", (("alpha", "negative_slope", 0.01),)),
    "thresholdedrelu": ("thresholded_relu", (("alpha", "theta", 1.0),)),
    "elu": ("elu", (("alpha", "alpha", 1.0),)),
    "hardsigmoid": ("hard_sigmoid", (("alpha", "alpha", 0.2), ("beta", "beta", 0.5))),
    "affine": ("affine", (("alpha", "alpha", 1.0), ("beta", "beta", 0.0))),
    "scaledtanh": ("scaled_tanh", (("alpha", "alpha", 1.0), ("beta", "beta", 1.0))),
}
DIRECTIONS = ("forward", "reverse", "bidirectional")
IFGO = (0, 2, 3, 1)  # the core's gates as places in ONNX's i, o, f, c


def _activations(
    b: Lowering, names: Strs | None, default: Strs, count: int, alphas: Floats, betas: Floats
) -> list[Any]:
    """One tuple of activations for each direction; alpha and beta are consumed by those that take them."""
    names = names or default * count
    if len(names) != len(default) * count:
        raise ShapeError(f"{len(names)} activations, expected {len(default) * count}")
    left: dict[str, Iterator[float]] = {"alpha": iter(alphas), "beta": iter(betas)}
    found = []
    for name in names:
        if name.lower() not in ACTIVATIONS:
            raise b.refuse(f"activation {name!r}", f"known are {', '.join(ACTIVATIONS)}")
        core, parameters = ACTIVATIONS[name.lower()]
        found.append(Activation(core, tuple((attr, next(left[which], value)) for which, attr, value in parameters)))
    return [tuple(found[i : i + len(default)]) for i in range(0, len(found), len(default))]


class _Cell:
    """What the three operators share: layout, mask, states, directions that differ in their activations."""

    def __init__(self, b: Lowering, X: Var, R: Var, direction: str, layout: int, lengths: Var | None) -> None:
        if direction not in DIRECTIONS:
            raise b.refuse(f"direction {direction!r}", f"known are {', '.join(DIRECTIONS)}")
        self.b, self.direction, self.layout = b, direction, layout
        self.count = 2 if direction == "bidirectional" else 1
        self.x = X if layout else b.transpose(X, perm=(1, 0, 2))
        self.hidden = R.shape[2]
        self.mask = None if lengths is None else self._mask(lengths)

    def _mask(self, lengths: Var) -> Var:
        """(N, T): whether a step is within its sample's length."""
        b = self.b
        time = self.x.shape[1]
        steps = b.range(
            np.int64(0),
            np.int64(time) if isinstance(time, int) else b.gather(b.shape(self.x), np.int64(1)),
            np.int64(1),
        )
        own = b.cast(lengths, to="i64")
        return b.less(b.unsqueeze(steps, axes=(0,)), b.unsqueeze(own, axes=(1,)))  # type: ignore[no-any-return]

    def columns(self, w: Var, order: Sequence[int] | None = None) -> Var:
        """Weights (D, gates * H, K) as (D, K, gates * H), gates in the given order."""
        return self.b.transpose(self.gates(w, order), perm=(0, 2, 1))  # type: ignore[no-any-return]

    def gates(self, w: Var, order: Sequence[int] | None) -> Var:
        """Gates along axis 1 in another order."""
        if order is None:
            return w
        parts = self.b.split(w, axis=1, sizes=(self.hidden,) * len(order))
        return self.b.concat(*(parts[i] for i in order), axis=1)  # type: ignore[no-any-return]

    def halves(self, bias: Var, gates: int) -> tuple[Var, Var]:
        """The biases of input and state."""
        first, second = self.b.split(bias, axis=1, sizes=(self.hidden * gates,) * 2)
        return first, second

    def states(self, *states: Var | None) -> list[Var | None]:
        """Initial states as (N, D, H)."""
        return [s if s is None or self.layout else self.b.transpose(s, perm=(1, 0, 2)) for s in states]

    def run(self, op: str, operands: list[Var | None], activations: list[dict[str, Any]], **attrs: Any) -> list[Var]:
        """The op for all directions at once, or for each on its own where their activations differ.

        operands: those after x in the op's order; the mask is the fourth and has no direction axis.
        """
        call = getattr(self.b, op)
        attrs["zero_masked"] = True
        if all(a == activations[0] for a in activations):
            return list(call(self.x, *operands, direction=self.direction, **activations[0], **attrs))
        results = []
        for i, (direction, chosen) in enumerate(zip(DIRECTIONS, activations)):
            own = [self._direction(v, i, is_state=n >= 4) if n != 3 else v for n, v in enumerate(operands)]
            results.append(call(self.x, *own, direction=direction, **chosen, **attrs))
        return [self.b.concat(*pair, axis=2 if n == 0 else 1) for n, pair in enumerate(zip(*results))]

    def _direction(self, v: Var | None, i: int, is_state: bool) -> Var | None:
        """Direction i of weights (D, ...) or states (N, D, H)."""
        if v is None:
            return None
        is_weight = not is_state or len(v.shape) == 2
        return self.b.slice(v, starts=(i,), ends=(i + 1,), axes=(0 if is_weight else 1,))  # type: ignore[no-any-return]

    def outputs(self, sequence: Var, *states: Var) -> tuple[Var, ...]:
        """In ONNX's layout: Y (T, D, N, H) and states (D, N, H), or all with the batch first."""
        if self.layout:
            return (sequence, *states)
        y = self.b.transpose(sequence, perm=(1, 2, 0, 3))
        return (y, *(self.b.transpose(s, perm=(1, 0, 2)) for s in states))


@onnx("LSTM")
def lstm(
    b: Lowering, X: Var, W: Var, R: Var, B: Var | None = None, sequence_lens: Var | None = None,
    initial_h: Var | None = None, initial_c: Var | None = None, P: Var | None = None, *,
    activation_alpha: Floats = (), activation_beta: Floats = (), activations: Strs | None = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0,
    layout: int = 0,
) -> tuple[Var, ...]:  # fmt: skip
    cell = _Cell(b, X, R, direction, layout, sequence_lens)
    bias = None if B is None else cell.gates(b.add(*cell.halves(B, 4)), IFGO)
    chosen = [
        {"recurrent_activation": f, "activation": g, "output_activation": h}
        for f, g, h in _activations(
            b, activations, ("sigmoid", "tanh", "tanh"), cell.count, activation_alpha, activation_beta
        )
    ]
    operands = [cell.columns(W, IFGO), cell.columns(R, IFGO), bias, cell.mask, *cell.states(initial_h, initial_c), P]
    return cell.outputs(*cell.run("lstm", operands, chosen, clip=clip, input_forget=input_forget))


@onnx("GRU")
def gru(
    b: Lowering, X: Var, W: Var, R: Var, B: Var | None = None, sequence_lens: Var | None = None,
    initial_h: Var | None = None, *, activation_alpha: Floats = (), activation_beta: Floats = (),
    activations: Strs | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0,
) -> tuple[Var, ...]:  # fmt: skip
    cell = _Cell(b, X, R, direction, layout, sequence_lens)
    bias = None if B is None else b.reshape(B, shape=(cell.count, 2, -1))
    chosen = [
        {"recurrent_activation": f, "activation": g}
        for f, g in _activations(b, activations, ("sigmoid", "tanh"), cell.count, activation_alpha, activation_beta)
    ]
    operands = [cell.columns(W), cell.columns(R), bias, cell.mask, *cell.states(initial_h)]
    return cell.outputs(*cell.run("gru", operands, chosen, clip=clip, reset_after=linear_before_reset))


@onnx("RNN")
def rnn(
    b: Lowering, X: Var, W: Var, R: Var, B: Var | None = None, sequence_lens: Var | None = None,
    initial_h: Var | None = None, *, activation_alpha: Floats = (), activation_beta: Floats = (),
    activations: Strs | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0,
) -> tuple[Var, ...]:  # fmt: skip
    cell = _Cell(b, X, R, direction, layout, sequence_lens)
    bias = None if B is None else b.add(*cell.halves(B, 1))
    chosen = [
        {"activation": f}
        for (f,) in _activations(b, activations, ("tanh",), cell.count, activation_alpha, activation_beta)
    ]
    operands = [cell.columns(W), cell.columns(R), bias, cell.mask, *cell.states(initial_h)]
    return cell.outputs(*cell.run("rnn", operands, chosen, clip=clip))
