"""Gradients of elementwise ops."""

from __future__ import annotations

from typing import Any

from ....ir.builder import Builder
from ....ir.graph import Var
from . import rule

Pair = tuple[Var, Var]


def zero(b: Builder, like: Var) -> Var:
    """0 in the dtype of another value."""
    return b.constant(0, dtype=like.tensor.dtype.numpy)


@rule
def add(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    return g, g


@rule
def sub(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    return g, b.neg(g)


@rule
def mul(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    return b.mul(g, y), b.mul(g, x)


@rule
def div(b: Builder, x: Var, y: Var, g: Var, *, out: Var) -> Pair:
    return b.div(g, y), b.neg(b.div(b.mul(g, out), y))


@rule
def pow(b: Builder, x: Var, y: Var, g: Var, *, out: Var) -> Pair:
    """d x^y = y x^(y-1) dx + log(x) x^y dy."""
    exponent = y if y.tensor.dtype is x.tensor.dtype else b.cast(y, to=x.tensor.dtype)
    return b.mul(g, b.mul(exponent, b.pow(x, b.sub(exponent, 1)))), b.mul(g, b.mul(b.log(x), out))


@rule
def neg(b: Builder, x: Var, g: Var) -> Any:
    return b.neg(g)


@rule
def exp(b: Builder, x: Var, g: Var, *, out: Var) -> Any:
    return b.mul(g, out)


@rule
def log(b: Builder, x: Var, g: Var) -> Any:
    return b.div(g, x)


@rule
def sqrt(b: Builder, x: Var, g: Var, *, out: Var) -> Any:
    return b.div(g, b.mul(out, 2))


@rule
def square(b: Builder, x: Var, g: Var) -> Any:
    return b.mul(g, b.mul(x, 2))


@rule
def sin(b: Builder, x: Var, g: Var) -> Any:
    return b.mul(g, b.cos(x))


@rule
def cos(b: Builder, x: Var, g: Var) -> Any:
    return b.neg(b.mul(g, b.sin(x)))


@rule
def tanh(b: Builder, x: Var, g: Var, *, out: Var) -> Any:
    """1 - tanh^2."""
    return b.sub(g, b.mul(g, b.square(out)))


@rule
def sigmoid(b: Builder, x: Var, g: Var, *, out: Var) -> Any:
    """s (1 - s)."""
    return b.mul(g, b.sub(out, b.square(out)))


@rule
def relu(b: Builder, x: Var, g: Var) -> Any:
    return b.where(b.greater(x, 0), g, zero(b, g))


@rule
def where(b: Builder, condition: Var, x: Var, y: Var, g: Var) -> tuple[Any, ...]:
    return None, b.where(condition, g, zero(b, g)), b.where(condition, zero(b, g), g)


@rule
def cast(b: Builder, x: Var, g: Var) -> Any:
    return b.cast(g, to=x.tensor.dtype)
