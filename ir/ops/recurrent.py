"""Recurrent layers as ops, with a direction axis D (1, or 2: forward and reverse in one op).

x is (N, T, E); sequences come out as (N, T, D, H), states as (N, D, H).  The reverse direction reads the sequence
from its end; its results stand at the place of the input that they belong to.  Several layers that read the same x
may be one op: D is then a multiple of 1 or 2, and with direction "bidirectional" forward and reverse take turns.
`mask` (N, T), boolean, false: the step keeps the state, and the sequence shows the result of the step before (zeros
before the first), or zeros where `zero_masked`.  Anything else recurrent is `scan`.
"""

from __future__ import annotations

from typing import Any

from ...errors import UnsupportedError
from ..attributes import Activation
from ..dims import Dim
from ..op import op, require, require_dim, require_rank, same_dtype
from ..types import Tensor, boolean, f32
from .conv import not_batch

SIGMOID, TANH = Activation("sigmoid"), Activation("tanh")
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
RECORDED = {"lstm": 7, "gru": 6, "rnn": 1}  # values that the recording ops keep of each step

# Activations whose derivative the gradient ops know.
DIFFERENTIABLE = frozenset({
    "linear", "relu", "sigmoid", "tanh", "softplus", "softsign", "leaky_relu", "elu", "selu", "celu", "gelu",
    "silu", "mish", "hard_sigmoid", "affine", "scaled_tanh", "hard_silu", "thresholded_relu", "clip", "log_sigmoid",
    "soft_shrink", "hard_shrink", "shrink", "tanh_shrink", "squareplus", "sparse_plus", "sparse_sigmoid", "exp",
    "sin", "cos", "square", "abs", "neg",
})  # fmt: skip


def _directions(r: Tensor, direction: str) -> Dim:
    """D, which the weights tell: once the directions, or several times."""
    d, each = r.dims[0], DIRECTIONS[direction]
    fits = not isinstance(d, int) or (d > 0 and d % each == 0)
    require(fits, f"r has {d} directions, expected {each}, or a multiple, for direction {direction!r}")
    return d


def _checked(
    x: Tensor, w: Tensor, r: Tensor, bias: Tensor | None, mask: Tensor | None, states: list[Tensor | None],
    direction: str, gates: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The types of sequence and state, after the checks that all cells share."""
    require(direction in DIRECTIONS, f"direction {direction!r} is none of {', '.join(DIRECTIONS)}")
    for name, t, rank in (("x", x, 3), ("w", w, 3), ("r", r, 3), ("mask", mask, 2)):
        require_rank(t, rank, name)
    n, time, features = x.dims
    d, hidden = _directions(r, direction), r.dims[1]
    require_dim(w.dims[0], d, "the number of directions of w")
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


@op("sequential")
def lstm_record(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """lstm for training: sequence, last h, last c, and a record from which lstm_grad need not compute them again.

    record (T + 1, 7, D, H, N), at least f32, each direction in its own order of time: twice i, f and o, and act(g) of
    each step, c before it, tanh of c after it, twice h before it.  The last entry has c and h alone, and zeros.
    UnsupportedError for anything but sigmoid and tanh, and for peephole, clip and input_forget.
    """
    unlike = peephole is not None or clip is not None or input_forget
    acts = [(recurrent_activation, SIGMOID), (activation, TANH), (output_activation, TANH)]
    _recordable("lstm", acts, unlike, "no peephole, no clip and no input_forget")
    sequence, state = _checked(x, w, r, bias, mask, [h0, c0], direction, 4)
    return sequence, state, state, _record("lstm", x, r)


def _recordable(name: str, activations: list[tuple[Activation, Activation]], unlike: bool, limits: str) -> None:
    """Refuse what a recording op does not know: activations other than those wanted, and where it is `unlike`."""
    for given, want in activations:
        if given != want:
            raise UnsupportedError(f"{name}_record knows {want} alone, not {given}, there", hint=f"use op {name}")
    if unlike:
        raise UnsupportedError(f"{name}_record knows {limits}", hint=f"use op {name}")


def _record(name: str, x: Tensor, r: Tensor) -> Tensor:
    """What a recording op keeps."""
    kind = x.dtype if x.dtype.bits >= f32.bits else f32
    return Tensor(kind, (x.dims[1] + 1, RECORDED[name], r.dims[0], r.dims[1], x.dims[0]))


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


@op("sequential")
def gru_record(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """gru for training: sequence, last h, and a record from which gru_grad need not compute them again.

    record (T + 1, 6, D, H, N), at least f32, each direction in its own order of time: u, twice z and r, act(g) of each
    step, twice z (h - act(g)), h before it; u is half of h R_g + c_g, or twice r h without reset_after.  The last
    entry has h alone, and zeros.  UnsupportedError for anything but sigmoid and tanh, and for clip.
    """
    _recordable("gru", [(recurrent_activation, SIGMOID), (activation, TANH)], clip is not None, "no clip")
    return *gru(x, w, r, bias, mask, h0, direction=direction), _record("gru", x, r)


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


@op("sequential")
def rnn_record(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """rnn for training: sequence, last h, and a record from which rnn_grad need not compute them again.

    record (T + 1, 1, D, H, N), at least f32, each direction in its own order of time: h before each step and after the
    last.  UnsupportedError for anything but tanh, and for clip.
    """
    _recordable("rnn", [(activation, TANH)], clip is not None, "no clip")
    return *rnn(x, w, r, bias, mask, h0, direction=direction), _record("rnn", x, r)


# ---- gradients -----------------------------------------------------------------------------------------------


def _gradients(
    x: Tensor, w: Tensor, r: Tensor, states: list[Tensor | None], results: list[Tensor], given: list[Tensor | None],
    activations: list[Activation],
) -> None:  # fmt: skip
    """The checks that all gradient ops share: gradients are like the results, derivatives of activations known."""
    for activation in activations:
        if activation.name not in DIFFERENTIABLE:
            raise UnsupportedError(f"activation {activation} has no derivative in recurrent layers")
    for name, want, got in zip(("sequence", "last h", "last c"), results, given):
        require_rank(got, len(want.dims), f"the gradient of the {name}")
        for a, b in zip(got.dims if got else (), want.dims):
            require_dim(a, b, f"a dimension of the gradient of the {name}")
    same_dtype(x, w, r, *states, *given)


def _like_record(record: Tensor, want: Tensor) -> None:
    """Check the operand of a gradient op against what the recording op gives."""
    require(record.dtype is want.dtype, f"the record is {record.dtype}, expected {want.dtype}")
    require_rank(record, len(want.dims), "the record")
    for got, dim in zip(record.dims, want.dims):
        require_dim(got, dim, "a dimension of the record")


def _like(t: Tensor) -> Tensor:
    return Tensor(t.dtype, t.shape)


@op("sequential")
def lstm_grad(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    peephole: Tensor | None = None,
    dy: Tensor | None = None,
    dh: Tensor | None = None,
    dc: Tensor | None = None,
    record: Tensor | None = None,
    *,
    direction: str = "forward",
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
    output_activation: Activation = TANH,
    clip: float | None = None,
    input_forget: bool = False,
    zero_masked: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of lstm with respect to x, w, r, bias, h0, c0, peephole; dy, dh, dc: those of its results.

    With z the sums that go into the activations, e the gradient of h' (from dy and from the step after), s = oa(c'):
    dz_o = e s ra'(z_o), dc' += e o oa'(c') + p_o dz_o, dz_i = dc' act(g) ra'(z_i), dz_f = dc' c ra'(z_f),
    dz_g = dc' i act'(z_g), dc = dc' f + p_i dz_i + p_f dz_f, and e of the step before is dz @ rᵀ.  Over all steps
    dw = xᵀ dz, dr = hᵀ dz, dbias = sum of dz, dx = dz @ wᵀ, dp = sum of dz c.  The forward pass is computed again,
    unless its `record` (see lstm_record) is there.  An operand that was left out counts as zeros.
    """
    n, d, hidden = x.dims[0], r.dims[0], r.dims[1]
    sequence, state, _ = lstm(x, w, r, bias, mask, h0, c0, peephole, direction=direction)
    activations = [activation, recurrent_activation, output_activation]
    if record is not None:
        acts = dict(zip(("activation", "recurrent_activation", "output_activation"), activations))
        how: dict[str, Any] = {**acts, "direction": direction, "clip": clip, "input_forget": input_forget}
        _like_record(record, lstm_record(x, w, r, bias, mask, h0, c0, peephole, **how)[-1])
    _gradients(x, w, r, [bias, h0, c0, peephole], [sequence, state, state], [dy, dh, dc], activations)
    small = [Tensor(x.dtype, shape) for shape in ((d, 4 * hidden), (n, d, hidden), (d, 3 * hidden))]
    return _like(x), _like(w), _like(r), small[0], small[1], small[1], small[2]


@op("sequential")
def gru_grad(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    h0: Tensor | None = None,
    dy: Tensor | None = None,
    dh: Tensor | None = None,
    record: Tensor | None = None,
    *,
    direction: str = "forward",
    activation: Activation = TANH,
    recurrent_activation: Activation = SIGMOID,
    reset_after: bool = True,
    clip: float | None = None,
    zero_masked: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of gru with respect to x, w, r, bias, h0; dy, dh: those of its results.

    With e the gradient of h', n = act(z_n): dz_z = e (h - n) ra'(z_z), dz_n = e (1 - z) act'(z_n).  Where reset_after,
    u = h R_n + c_n has the gradient dz_n r, and dz_r = dz_n u ra'(z_r);  else q = r h has the gradient
    dq = dz_n R_nᵀ, and dz_r = dq h ra'(z_r).  e of the step before is e z + dz @ rᵀ (with dq r, where not reset_after).
    The forward pass is computed again, unless its `record` (see gru_record) is there.  An operand that was left out
    counts as zeros.
    """
    n, d, hidden = x.dims[0], r.dims[0], r.dims[1]
    results = gru(x, w, r, bias, mask, h0, direction=direction)
    if record is not None:
        gates = {"activation": activation, "recurrent_activation": recurrent_activation}
        _like_record(record, gru_record(x, w, r, bias, mask, h0, direction=direction, clip=clip, **gates)[-1])
    _gradients(x, w, r, [bias, h0], list(results), [dy, dh], [activation, recurrent_activation])
    dbias, dh0 = Tensor(x.dtype, (d, 2, 3 * hidden)), Tensor(x.dtype, (n, d, hidden))
    return _like(x), _like(w), _like(r), dbias, dh0


@op("sequential")
def rnn_grad(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    h0: Tensor | None = None,
    dy: Tensor | None = None,
    dh: Tensor | None = None,
    record: Tensor | None = None,
    *,
    direction: str = "forward",
    activation: Activation = TANH,
    clip: float | None = None,
    zero_masked: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of rnn with respect to x, w, r, bias, h0; dy, dh: those of its results.

    With e the gradient of h': dz = e activation'(z), and e of the step before is dz @ rᵀ.  The forward pass is
    computed again, unless its `record` (see rnn_record) is there.  An operand that was left out counts as zeros.
    """
    n, d, hidden = x.dims[0], r.dims[0], r.dims[1]
    results = rnn(x, w, r, bias, mask, h0, direction=direction)
    if record is not None:
        how: dict[str, Any] = {"direction": direction, "activation": activation, "clip": clip}
        _like_record(record, rnn_record(x, w, r, bias, mask, h0, **how)[-1])
    _gradients(x, w, r, [bias, h0], list(results), [dy, dh], [activation])
    return _like(x), _like(w), _like(r), Tensor(x.dtype, (d, hidden)), Tensor(x.dtype, (n, d, hidden))
