"""Recurrent layers as ops, with a direction axis D (1, or 2: forward and reverse in one op).

x is (N, T, E); sequences come out as (N, T, D, H), states as (N, D, H).  The reverse direction reads the sequence
from its end; its results stand at the place of the input that they belong to.  `mask` (N, T), boolean, false: the
step keeps the state, and the sequence shows the result of the step before (zeros before the first), or zeros where
`zero_masked`.  Anything else recurrent is `scan`.
"""

from __future__ import annotations

from ..attributes import Activation
from ..op import op, require, require_dim, require_rank, same_dtype
from ..types import Tensor, boolean
from .conv import not_batch

SIGMOID, TANH = Activation("sigmoid"), Activation("tanh")
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def _checked(
    x: Tensor, w: Tensor, r: Tensor, bias: Tensor | None, mask: Tensor | None, states: list[Tensor | None],
    direction: str, gates: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The types of sequence and state, after the checks that all cells share."""
    require(direction in DIRECTIONS, f"direction {direction!r} is none of {', '.join(DIRECTIONS)}")
    for name, t, rank in (("x", x, 3), ("w", w, 3), ("r", r, 3), ("mask", mask, 2)):
        require_rank(t, rank, name)
    n, time, features = x.dims
    d, hidden = DIRECTIONS[direction], r.dims[1]
    require_dim(w.dims[0], d, "the number of directions of w")
    require_dim(r.dims[0], d, "the number of directions of r")
    require_dim(w.dims[1], features, "the number of features of w")
    require_dim(w.dims[2], hidden * gates, "the number of columns of w")
    require_dim(r.dims[2], hidden * gates, "the number of columns of r")
    if bias is not None:
        require_dim(bias.dims[0], d, "the number of directions of bias")
        require_dim(bias.dims[-1], hidden * gates, "the length of bias")
    if mask is not None:
        require(mask.dtype is boolean, f"mask is {mask.dtype}, expected bool")
        require_dim(mask.dims[0], n, "the batch of mask")
        require_dim(mask.dims[1], time, "the length of mask")
    for state in states:
        require_rank(state, 3, "the initial state")
        for got, want in zip(state.dims if state else (), (n, d, hidden)):
            require_dim(got, want, "a dimension of the initial state (N, D, H)")
    dtype = same_dtype(x, w, r, bias, *states)
    return Tensor(dtype, (n, time, d, hidden)), Tensor(dtype, (n, d, hidden))


@op("sequential", mixes=not_batch)
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    peephole: Tensor | None = None,
    *,
    direction: str = "forward",
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
    output_activation: Activation = TANH,
    clip: float | None = None,
    input_forget: bool = False,
    zero_masked: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997): sequence, last h, last c.

    i, f, g, o = the columns, in that order, of x_t @ w + h @ r + bias;  i = ra(i + p_i c), f = ra(f + p_f c)
    (or 1 - i where input_forget), c' = f c + i act(g), o = ra(o + p_o c'), h' = o output_activation(c').
    w: (D, E, 4H), r: (D, H, 4H), bias: (D, 4H), peephole: (D, 3H) for i, o, f.  clip bounds what goes into the
    activations to [-clip, clip].
    """
    sequence, state = _checked(x, w, r, bias, mask, [h0, c0], direction, 4)
    if peephole is not None:
        require_dim(peephole.dims[-1], r.dims[1] * 3, "the length of peephole")
    return sequence, state, state


@op("sequential", mixes=not_batch)
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    h0: Tensor | None = None,
    *,
    direction: str = "forward",
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
    reset_after: bool = True,
    clip: float | None = None,
    zero_masked: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gated recurrent unit (Cho et al. 2014): sequence, last h.

    z, r, g are the columns, in that order;  h' = z h + (1 - z) act(g) with g = x W_g + b_g + r (h R_g + c_g) where
    reset_after (linear_before_reset in ONNX), else x W_g + b_g + (r h) R_g + c_g.
    w: (D, E, 3H), r: (D, H, 3H), bias: (D, 2, 3H), of the input b and of the state c.
    """
    require_rank(bias, 3, "bias")
    return _checked(x, w, r, bias, mask, [h0], direction, 3)


@op("sequential", mixes=not_batch)
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    h0: Tensor | None = None,
    *,
    direction: str = "forward",
    activation: Activation = TANH,
    clip: float | None = None,
    zero_masked: bool = False,
) -> tuple[Tensor, Tensor]:
    """The simple (Elman) recurrent layer: sequence, last h.  h' = activation(x_t @ w + h @ r + bias).

    w: (D, E, H), r: (D, H, H), bias: (D, H).
    """
    return _checked(x, w, r, bias, mask, [h0], direction, 1)
