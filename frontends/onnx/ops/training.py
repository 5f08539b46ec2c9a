"""ai.onnx.preview.training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....ir.graph import Var
from ..lowering import Lowering
from ..registry import onnx

DOMAIN = "ai.onnx.preview.training"


@onnx("Gradient", domain=DOMAIN)
def gradient(b: Lowering, *Inputs: Var, xs: tuple[str, ...], y: str, zs: tuple[str, ...] = ()) -> list[Var]:
    """d y / d x for each of xs, at the point where the values xs and zs were computed in this graph.

    Inputs are the values of xs and zs; other values than those that led to y are not known.
    """
    from ....passes.autodiff.engine import gradients  # which most models do without

    names = (*xs, *zs)
    target, *sources = b.resolve([y, *names])
    if list(Inputs) != sources:
        raise b.refuse("inputs other than the values called xs and zs", "give the values themselves")
    return gradients(b, [target], sources[: len(xs)])


# ---- optimisers: R is the learning rate, T the number of updates before this one ---------------------------------


def _each(b: Lowering, slots: int, operands: tuple[Var, ...], update: Callable[..., tuple[Var, ...]]) -> list[Var]:
    """The update of every tensor; operands are all tensors, then all gradients, then all of each slot."""
    count, rest = divmod(len(operands), 2 + slots)
    if rest:
        raise b.refuse(f"{len(operands)} tensors, which are not {2 + slots} for each that is trained")
    columns = [operands[i * count : (i + 1) * count] for i in range(2 + slots)]
    updated = [update(*row) for row in zip(*columns)]
    return [v for column in zip(*updated) for v in column]


def _scalar(b: Lowering, v: Var, like: Var) -> Var:
    return b.cast_like(b.reshape(v, shape=()), like)


@onnx("Adagrad", domain=DOMAIN)
def adagrad(
    b: Lowering, R: Var, T: Var, *inputs: Var, decay_factor: float = 0.0, epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
) -> list[Var]:  # fmt: skip
    """H' = H + G^2; X' = X - R / (1 + T decay) G / (sqrt(H') + epsilon), G with the slope of the norm added."""

    def update(x: Var, g: Var, h: Var) -> tuple[Var, ...]:
        rate = b.div(_scalar(b, R, x), b.add(b.mul(_scalar(b, T, x), decay_factor), 1.0))
        g = b.add(b.mul(x, norm_coefficient), g)
        h = b.add(h, b.square(g))
        return b.sub(x, b.div(b.mul(rate, g), b.add(b.sqrt(h), epsilon))), h

    return _each(b, 1, inputs, update)


@onnx("Momentum", domain=DOMAIN)
def momentum(
    b: Lowering, R: Var, T: Var, *inputs: Var, alpha: float, beta: float, mode: str, norm_coefficient: float
) -> list[Var]:
    """V' = alpha V + beta G (beta is 1 in the first update); X' = X - R V', or - R (G + alpha V') (nesterov)."""
    if mode not in ("standard", "nesterov"):
        raise b.refuse(f"mode is {mode!r}, expected 'standard' or 'nesterov'")

    def update(x: Var, g: Var, v: Var) -> tuple[Var, ...]:
        g = b.add(b.mul(x, norm_coefficient), g)
        share = b.where(b.greater(_scalar(b, T, x), 0.0), _like(b, beta, x), _like(b, 1.0, x))
        v = b.add(b.mul(v, alpha), b.mul(g, share))
        way = v if mode == "standard" else b.add(g, b.mul(v, alpha))
        return b.sub(x, b.mul(way, _scalar(b, R, x))), v

    return _each(b, 1, inputs, update)


@onnx("Adam", domain=DOMAIN)
def adam(
    b: Lowering, R: Var, T: Var, *inputs: Var, alpha: float = 0.9, beta: float = 0.999, epsilon: float = 0.0,
    norm_coefficient: float = 0.0, norm_coefficient_post: float = 0.0,
) -> list[Var]:  # fmt: skip
    """V' and H' are moving averages of G and G^2; X' = X - R' V' / (sqrt(H') + epsilon).

    R' = R sqrt(1 - beta^T) / (1 - alpha^T), but R in the first update.
    """

    def update(x: Var, g: Var, v: Var, h: Var) -> tuple[Var, ...]:
        rate, t = _scalar(b, R, x), _scalar(b, T, x)
        g = b.add(b.mul(x, norm_coefficient), g)
        v = b.add(b.mul(v, alpha), b.mul(g, 1 - alpha))
        h = b.add(b.mul(h, beta), b.mul(b.square(g), 1 - beta))
        left = [b.sub(1.0, b.pow(_like(b, decay, x), b.maximum(t, 1.0))) for decay in (alpha, beta)]
        rate = b.where(b.greater(t, 0.0), b.div(b.mul(rate, b.sqrt(left[1])), left[0]), rate)
        x = b.sub(x, b.div(b.mul(rate, v), b.add(b.sqrt(h), epsilon)))
        return b.mul(x, 1 - norm_coefficient_post), v, h

    return _each(b, 2, inputs, update)


def _like(b: Lowering, value: float, x: Var) -> Any:
    return b.constant(value, dtype=x.tensor.dtype.numpy)
