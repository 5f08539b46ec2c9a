"""Gradients of recurrent layers: ops of their own, which go back through time."""

from __future__ import annotations

from typing import Any

from ....ir.builder import Builder
from ....ir.graph import Var
from . import rule

Results = list[Any]


@rule
def lstm(
    b: Builder, x: Var, w: Var, r: Var, bias: Any, mask: Any, h0: Any, c0: Any, peephole: Any, g: Results, *,
    direction: Any, activation: Any, recurrent_activation: Any, output_activation: Any, clip: Any, input_forget: Any,
    zero_masked: Any,
) -> Results:  # fmt: skip
    dx, dw, dr, dbias, dh0, dc0, dpeephole = b.lstm_grad(
        x, w, r, bias, mask, h0, c0, peephole, *g, direction=direction, activation=activation,
        recurrent_activation=recurrent_activation, output_activation=output_activation, clip=clip,
        input_forget=input_forget, zero_masked=zero_masked,
    )  # fmt: skip
    return [dx, dw, dr, bias and dbias, None, h0 and dh0, c0 and dc0, peephole and dpeephole]


@rule
def gru(
    b: Builder, x: Var, w: Var, r: Var, bias: Any, mask: Any, h0: Any, g: Results, *,
    direction: Any, activation: Any, recurrent_activation: Any, reset_after: Any, clip: Any, zero_masked: Any,
) -> Results:  # fmt: skip
    dx, dw, dr, dbias, dh0 = b.gru_grad(
        x, w, r, bias, mask, h0, *g, direction=direction, activation=activation,
        recurrent_activation=recurrent_activation, reset_after=reset_after, clip=clip, zero_masked=zero_masked,
    )  # fmt: skip
    return [dx, dw, dr, bias and dbias, None, h0 and dh0]


@rule
def rnn(
    b: Builder, x: Var, w: Var, r: Var, bias: Any, mask: Any, h0: Any, g: Results, *,
    direction: Any, activation: Any, clip: Any, zero_masked: Any,
) -> Results:  # fmt: skip
    dx, dw, dr, dbias, dh0 = b.rnn_grad(
        x, w, r, bias, mask, h0, *g, direction=direction, activation=activation, clip=clip, zero_masked=zero_masked
    )
    return [dx, dw, dr, bias and dbias, None, h0 and dh0]
