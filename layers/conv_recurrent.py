"""ConvLSTM1D, 2D, 3D: LSTMs whose products are convolutions (Shi et al. 2015).

The convolutions of the inputs of all steps are one op; what is left for each step is the convolution of its state.
Semantics: keras/src/layers/rnn/conv_lstm.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any, ClassVar

from ..ir import Builder, Tensor, Var, dtype
from ..ir.ops.conv import window_places
from .activation import activate, check_activation
from .base import Config, Function, Mask, Weight, channel_axis, from_last, integers, layer, layer_base, to_last
from .recurrent import Recurrent, Result, check_rates
from .scanned import Body, scanned
from .seed import Seeded, dropout

if TYPE_CHECKING:
    from .lowering import Scope


@layer_base()
class _ConvLSTM(Recurrent, Seeded):
    """Channels i, f, g, o: c' = f c + i activation(g), h' = o activation(c'), of x * kernel + h * recurrent_kernel."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: Any = 1
    activation: Function = "tanh"
    recurrent_activation: Function = "sigmoid"
    _: KW_ONLY
    use_bias: bool = True
    kernel_initializer: Config = "glorot_uniform"
    recurrent_initializer: Config = "orthogonal"
    bias_initializer: Config = "zeros"
    unit_forget_bias: bool = True
    kernel_regularizer: Config = None
    recurrent_regularizer: Config = None
    bias_regularizer: Config = None
    kernel_constraint: Config = None
    recurrent_constraint: Config = None
    bias_constraint: Config = None
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    seed: int | None = None
    rank: ClassVar[int]
    store_path: ClassVar[str] = "cell"
    state_names: ClassVar[tuple[str, ...]] = ("h", "c")

    def check(self) -> None:
        for key in ("kernel_size", "strides", "dilation_rate"):
            setattr(self, key, integers(self, key, self.rank))
        self.padding = str(self.padding).lower()
        if self.padding not in ("valid", "same"):
            self.refuse("padding")
        if self.data_format not in (None, "channels_last", "channels_first"):
            self.refuse("data_format")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            self.refuse("dilation_rate", hint="strides and dilation cannot both be more than 1")
        check_activation(self)
        check_activation(self, "recurrent_activation")
        check_rates(self)

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        channels = inputs[0].dims[channel_axis(self.data_format) + (self.data_format == "channels_first")]
        columns = 4 * self.filters
        yield self.weight("kernel", (*self.kernel_size, channels, columns))
        yield self.weight("recurrent_kernel", (*self.kernel_size, self.filters, columns), "recurrent")
        if self.use_bias:
            yield self.weight("bias", (columns,), adjust=self.open_gate if self.unit_forget_bias else None)

    def open_gate(self, bias: Any) -> None:
        """The forget gate is open at first."""
        bias[self.filters : 2 * self.filters] = 1

    def stack(self, x: Var, w: Scope) -> list[tuple[Any, Scope]]:
        return [(self, w)]

    def state_shapes(self, x: Var) -> list[tuple[Any, ...]]:
        """Both states have the shape of an output."""
        first = self.data_format == "channels_first"
        sizes = x.shape[3:] if first else x.shape[2:-1]
        places = window_places(sizes, self.kernel_size, self.strides, self.dilation_rate, self.padding)
        inner = (self.filters, *places) if first else (*places, self.filters)
        return [(x.shape[0], *inner)] * 2

    def run(
        self, b: Builder, x: Var, ws: Sequence[Scope], mask: Mask, states: list[Var] | None, *, direction: str,
        zero_masked: bool,
    ) -> Result:  # fmt: skip
        """The recurrence over x in one direction; states have an axis of one direction after the batch."""
        (w,) = ws
        if self.data_format == "channels_first":
            x = b.transpose(x, perm=(0, 1, *range(3, len(x.shape)), 2))
        given = self._of_inputs(b, x, w)
        if states is None:
            zeros = b.constant(0, dtype=given.tensor.dtype.numpy)
            first = [b.expand(zeros, shape=(given.shape[0], *given.shape[2:-1], self.filters))] * 2
        else:
            first = [to_last(b, b.squeeze(v, axes=(1,)), self.data_format) for v in states]
        factors = self._factors(b, "recurrent_dropout", (x.shape[0], *given.shape[2:-1], self.filters), w)

        def step(body: Body, slices: list[Var], states: list[Var]) -> tuple[Var, list[Var]]:
            from .lowering import Scope

            inside = Scope(body, self, w.path, w.training, w.trainable)
            return self._step(body.b, slices[0], states, [body.capture(f) for f in factors], inside)

        sequence, last = scanned(w, step, [given], mask, first, direction == "reverse", zero_masked)
        if self.data_format == "channels_first":
            rank = len(sequence.shape)
            sequence = b.transpose(sequence, perm=(0, 1, rank - 1, *range(2, rank - 1)))
        last = [from_last(b, v, self.data_format) for v in last]
        return Result(b.unsqueeze(sequence, axes=(2,)), [b.unsqueeze(v, axes=(1,)) for v in last])

    def _of_inputs(self, b: Builder, x: Var, w: Scope) -> Var:
        """The convolution of all steps of x, the four gates side by side: (N, T, *S, 4 filters)."""
        n, steps, *inner = x.shape
        factors = [b.unsqueeze(f, axes=(1,)) for f in self._factors(b, "dropout", (n, *inner), w)]
        x = b.concat(*(b.mul(x, f) for f in factors), axis=-1) if factors else x
        y = b.conv(
            b.reshape(x, shape=(n * steps, *x.shape[2:])), w.kernel, w.bias if self.use_bias else None,
            strides=self.strides, dilations=self.dilation_rate, padding=self.padding, groups=4 if factors else 1,
        )  # fmt: skip
        return b.reshape(y, shape=(n, steps, *y.shape[1:]))  # type: ignore[no-any-return]

    def _step(self, b: Builder, z: Var, states: list[Var], factors: list[Var], w: Scope) -> tuple[Var, list[Var]]:
        h, c = states
        ones = (1,) * self.rank
        seen = b.concat(*(b.mul(h, f) for f in factors), axis=-1) if factors else h
        of_h = b.conv(
            seen, w.recurrent_kernel, strides=ones, dilations=ones, padding="same", groups=4 if factors else 1
        )
        i, f, g, o = b.split(b.add(z, of_h), axis=-1, sizes=(self.filters,) * 4)
        i, f, o = (activate(b, v, self.recurrent_activation, w) for v in (i, f, o))
        c = b.add(b.mul(f, c), b.mul(i, activate(b, g, self.activation, w)))
        h = b.mul(o, activate(b, c, self.activation, w))
        return h, [h, c]

    def _factors(self, b: Builder, key: str, shape: tuple[Any, ...], w: Scope) -> list[Var]:
        """What each gate's view of x or h is multiplied by, the same at all steps; none where nothing is dropped."""
        rate = getattr(self, key)
        if not w.training or not 0 < rate < 1:
            return []
        one = b.expand(b.constant(1, dtype=dtype(self.compute_dtype).numpy), shape=shape)
        return [dropout(b, one, rate, shape, w.random_seed()) for _ in range(4)]


@layer
class ConvLSTM1D(_ConvLSTM):
    """x: (N, T, *S, C) with 1 spatial axis S -> (N, T, *S', filters), or the last step of it."""

    rank: ClassVar[int] = 1


@layer
class ConvLSTM2D(_ConvLSTM):
    """x: (N, T, *S, C) with 2 spatial axes S -> (N, T, *S', filters), or the last step of it."""

    rank: ClassVar[int] = 2


@layer
class ConvLSTM3D(_ConvLSTM):
    """x: (N, T, *S, C) with 3 spatial axes S -> (N, T, *S', filters), or the last step of it."""

    rank: ClassVar[int] = 3
