"""Recurrent layers in elementary ops: the ops `lstm`, `gru`, `rnn`, each written once more as a `scan`.

What the ops cannot do is done here: gradients of any order, and dropout inside of the recurrence.  The functions in
`FORMS` take operands and attributes as the ops do, see `ops/recurrent.py`, and give the sequence (N, T, D, H) and the
last states (N, D, H).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .attributes import Activation
from .builder import Builder
from .graph import Var
from .ops.control import control_node, trace
from .shapes import dim, vector, zero

Some = list["Var | None"]
Step = Callable[[Builder, Var, list[Var], Some], list[Var]]  # (x W + b, states, weights) -> states, of which h first


class Dropped(NamedTuple):
    """Factors of x and of h, the same at all steps; every gate sees an x and an h of its own.

    x: (D, N, 1, G E), h: (D, N, G H), the G gates side by side in the order of the columns.
    """

    x: Var | None = None
    h: Var | None = None


NOTHING = Dropped()


def _lstm(
    b: Builder, x: Var, w: Var, r: Var, bias: Var | None, mask: Var | None, h0: Var | None, c0: Var | None,
    peephole: Var | None = None, *, activation: Activation, recurrent_activation: Activation,
    output_activation: Activation, clip: float | None = None, input_forget: bool = False,
    dropped: Dropped = NOTHING, **how: Any,
) -> list[Var]:  # fmt: skip
    """c' = f c + i act(g), h' = o oa(c'); peepholes p c go into i and f, p c' into o."""

    def step(b: Builder, z: Var, state: list[Var], weights: Some) -> list[Var]:
        (h, c), (kernel, peepholes, factors) = state, weights
        i, f, g, o = _parts(b, b.add(z, _product(b, h, kernel, factors, 4)), 4)
        p_i, p_o, p_f = _parts(b, peepholes, 3)

        def gate(v: Var, weight: Var | None, c: Var) -> Var:
            return _activated(b, v if weight is None else b.add(v, b.mul(weight, c)), recurrent_activation, clip)

        i = gate(i, p_i, c)
        f = b.affine(i, alpha=-1.0, beta=1.0) if input_forget else gate(f, p_f, c)
        new = b.add(b.mul(f, c), b.mul(i, _activated(b, g, activation, clip)))
        return [b.mul(gate(o, p_o, new), b.activation(new, output_activation)), new]

    return _scanned(b, step, x, w, bias, mask, [h0, c0], [r, peephole, dropped.h], dropped.x, **how)


def _gru(
    b: Builder, x: Var, w: Var, r: Var, bias: Var | None, mask: Var | None, h0: Var | None,
    *, activation: Activation, recurrent_activation: Activation, reset_after: bool,
    clip: float | None = None, dropped: Dropped = NOTHING, **how: Any,
) -> list[Var]:  # fmt: skip
    """h' = z h + (1 - z) n, the second bias being that of the product with h."""

    def step(b: Builder, given: Var, state: list[Var], weights: Some) -> list[Var]:
        (h,), (of_x, kernels, biases, factors) = state, (_parts(b, v, 3) for v in (given, *weights))

        def product(v: Var, k: int) -> Var:
            made = _product(b, v, kernels[k], factors[k], 1)
            return made if biases[k] is None else b.add(made, biases[k])  # type: ignore[no-any-return]

        z, reset = (_activated(b, b.add(of_x[k], product(h, k)), recurrent_activation, clip) for k in (0, 1))
        inner = b.mul(reset, product(h, 2)) if reset_after else product(b.mul(reset, h), 2)
        n = _activated(b, b.add(of_x[2], inner), activation, clip)
        return [b.add(n, b.mul(z, b.sub(h, n)))]

    both = (None, None) if bias is None else (b.gather(bias, np.int64(0), axis=1), b.gather(bias, np.int64(1), axis=1))
    return _scanned(b, step, x, w, both[0], mask, [h0], [r, both[1], dropped.h], dropped.x, **how)


def _rnn(
    b: Builder, x: Var, w: Var, r: Var, bias: Var | None, mask: Var | None, h0: Var | None,
    *, activation: Activation, clip: float | None = None, dropped: Dropped = NOTHING, **how: Any,
) -> list[Var]:  # fmt: skip
    """h' = activation(x W + b + h R)."""

    def step(b: Builder, z: Var, state: list[Var], weights: Some) -> list[Var]:
        (h,), (kernel, factors) = state, weights
        return [_activated(b, b.add(z, _product(b, h, kernel, factors, 1)), activation, clip)]

    return _scanned(b, step, x, w, bias, mask, [h0], [r, dropped.h], dropped.x, **how)


def _product(b: Builder, x: Var, kernel: Var | None, factors: Var | None, gates: int) -> Var:
    """x @ kernel; where there are factors, gate by gate: (x * those of the gate) @ its columns."""
    if factors is None:
        return b.matmul(x, kernel)  # type: ignore[no-any-return]
    pairs = zip(_parts(b, factors, gates), _parts(b, kernel, gates))
    made = [b.matmul(b.mul(x, f), k) for f, k in pairs]
    return made[0] if gates == 1 else b.concat(*made, axis=-1)  # type: ignore[no-any-return]


def _parts(b: Builder, v: Var | None, count: int) -> Sequence[Any]:
    """Equal parts of the last axis; None in the place of parts of None."""
    if v is None or count == 1:
        return [v] * count
    size = v.shape[-1] // count
    return b.split(v, axis=-1, sizes=(size,) * count)  # type: ignore[no-any-return]


def _activated(b: Builder, v: Var, activation: Activation, clip: float | None) -> Var:
    return b.activation(v if clip is None else b.clip(v, low=-clip, high=clip), activation)


def _scanned(
    b: Builder, step: Step, x: Var, w: Var, bias: Var | None, mask: Var | None, states: Some, weights: Some,
    factors: Var | None, *, direction: str, zero_masked: bool,
) -> list[Var]:  # fmt: skip
    """The sequence (N, T, D, H) and the last states (N, D, H) of a layer.

    Weights, of which r is the first, and the factors of x have the direction axis first.
    """
    ways = [False, True] if direction == "bidirectional" else [direction == "reverse"]
    directions, hidden, _ = weights[0].shape  # type: ignore[union-attr]
    ways *= directions // len(ways)
    nothing = b.fill(zero(b, x), shape=vector(b, [dim(b, x, 0), hidden]))
    found = []
    for d, backwards in enumerate(ways):

        def of(v: Var | None, axis: int = 0, d: int = d) -> Any:
            return None if v is None else b.gather(v, np.int64(d), axis=axis)

        given = _product(b, x, of(w), of(factors), w.shape[2] // hidden)
        given = given if bias is None else b.add(given, of(bias))
        first = [nothing if v is None else of(v, 1) for v in states]
        captured = [of(v) for v in weights]
        found.append(_one_way(b, step, given, mask, first, captured, nothing, backwards, zero_masked))
    axes = (2, *(1 for _ in states))
    return [b.concat(*(b.unsqueeze(v, axes=(a,)) for v in each), axis=a) for a, each in zip(axes, zip(*found))]


def _one_way(
    b: Builder, step: Step, given: Var, mask: Var | None, states: list[Var], weights: Some, nothing: Var,
    backwards: bool, zero_masked: bool,
) -> list[Var]:  # fmt: skip
    """The sequence and the last states of one direction; given: x W + b (N, T, G H).

    Where there is a mask, what the sequence shows is carried along: it is not the state before the first step.
    """
    count = len(states)
    carried = [*states, *([] if mask is None else [nothing])]
    slices = [given, *([] if mask is None else [mask])]
    captured = [v for v in weights if v is not None]

    def body(b: Builder, *values: Var) -> list[Var]:
        old, z, rest = list(values[:count]), values[len(carried)], iter(values[len(carried) + len(slices) :])
        new = step(b, z, old, [v and next(rest) for v in weights])
        if mask is None:
            return [*new, b.identity(new[0])]
        keep = b.unsqueeze(values[len(carried) + 1], axes=(1,))
        shown = b.where(keep, new[0], zero(b, new[0]) if zero_masked else values[count])
        return [*(b.where(keep, a, before) for a, before in zip(new, old)), shown, b.identity(shown)]

    graph = trace("step", body, [(f"x{i}", t) for i, t in enumerate(_types(carried, slices, captured))], b.source)
    attrs = {
        "carried": len(carried), "scanned": len(slices), "input_axes": (1,) * len(slices),
        "input_reverse": (int(backwards),) * len(slices), "output_axes": (1,), "output_reverse": (int(backwards),),
    }  # fmt: skip
    made = control_node(b, "scan", [*carried, *slices, *captured], attrs, {"body": graph}).outputs
    return [made[-1], *made[:count]]


def _types(carried: list[Var], slices: list[Var], weights: list[Var]) -> list[Any]:
    """The types of the body's inputs: slices have no axis of time."""
    steps = [v.tensor.with_(shape=(v.shape[0], *v.shape[2:])) for v in slices]
    return [*(v.type for v in carried), *steps, *(v.type for v in weights)]


FORMS: dict[str, Callable[..., list[Var]]] = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}
