"""EinsumDense, and the product with a kernel that Dense shares with it: plain, low-rank adapted, or quantised."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import ascii_letters
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..ir import Builder, Tensor, Var
from ..ir.dims import product
from .activation import activate, check_activation
from .adapted import Adapted
from .base import Config, Function, Weight, as_dtype, layer
from .policy import policy
from .quantized import Matrix, check_quantization, float_kernel, mode_of, quantizer_of, rounded, unpacked, variables
from .quantized import whole as integers

if TYPE_CHECKING:
    from .lowering import Scope

_FORMS = (  # of an equation in which 0 stands for `...`
    r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)",
    r"0([a-zA-Z]+),([a-zA-Z]+)->0([a-zA-Z]+)",
    r"([a-zA-Z]{2,})0,([a-zA-Z]+)->([a-zA-Z]+)0",
)


class Letters(NamedTuple):
    """The axes of input, kernel and result by letters, `...` spelled out; `spare`: how many letters stand for it."""

    x: str
    kernel: str
    y: str
    spare: int = 0
    left: bool = False  # they are the first axes, else the last ones

    @property
    def summed(self) -> list[int]:
        """The axes of the input that the result does not have."""
        return [i for i, c in enumerate(self.x) if c not in self.y]


def spelled(equation: str, rank: int) -> Letters | None:
    """The letters of an equation for an input of a rank; None where it has none of the three forms."""
    found = [re.match(form, equation.replace("...", "0")) for form in _FORMS]
    place = next((i for i, match in enumerate(found) if match), None)
    if place is None:
        return None
    x, kernel, y = found[place].groups()  # type: ignore[union-attr]
    spare = rank - len(x) if place else 0
    if spare < 0 or len(x) + spare != rank:
        return None
    more = "".join([c for c in ascii_letters if c not in x + kernel + y][:spare])
    if place == 1:
        return Letters(more + x, kernel, more + y, spare, True)
    return Letters(x + more, kernel, y + more, spare)


def relabelled(b: Builder, v: Var, have: str, want: str) -> Var:
    """v, whose axes are called `have`, with the axes `want`: those it lacks have size 1, as those it loses have."""
    kept = [c for c in want if c in have]
    v = b.squeeze(v, axes=tuple(i for i, c in enumerate(have) if c not in want)) if set(have) - set(want) else v
    left = [c for c in have if c in want]
    v = b.transpose(v, perm=tuple(left.index(c) for c in kept)) if left != kept else v
    missing = tuple(i for i, c in enumerate(want) if c not in have)
    return b.unsqueeze(v, axes=missing) if missing else v  # type: ignore[no-any-return]


class Product(Adapted):
    """What Dense and EinsumDense share: a kernel in any of its forms, and the product with it."""

    activation: Function
    quantization_config: Config
    needs_float: ClassVar[bool] = True
    scales_int4_first: ClassVar[bool] = True  # kernels of 4 bits become floats before the product, not after it

    def check(self) -> None:
        check_activation(self)
        check_quantization(self, "int8", "int4", "float8", "gptq", "awq")
        if self.lora_rank and mode_of(self) in ("float8", "gptq", "awq"):
            self.refuse("lora_rank", hint="Keras adapts no such kernels")

    def letters(self, rank: int) -> Letters:
        """The axes of the product for an input of a rank."""
        raise self.invalid("the class defines no letters()")

    def times(self, b: Builder, x: Var, kernel: Var) -> Var:
        """The product of an input with a kernel in floats."""
        raise self.invalid("the class defines no times()")

    def matrix(self, x: Tensor) -> Matrix:
        """The kernel for an input of a type."""
        raise self.invalid("the class defines no matrix()")

    def scaled_back(self, b: Builder, x: Var, scale: Var) -> Var:
        """Scales of the input, of size 1 along what is summed, laid out as the result."""
        letters = self.letters(len(x.shape))
        return relabelled(b, scale, letters.x, letters.y)

    def declared(self, m: Matrix, kernel: Weight, bias: Sequence[Weight]) -> Iterator[Weight]:
        """Kernel, bias, what the mode keeps, and the adaptation."""
        yield from variables(self, m, self.frozen(kernel), bias)
        yield from self.adaptation(m.shape)

    def multiplied(self, b: Builder, x: Var, w: Scope) -> Var:
        """The product of x with the layer's kernel, adapted."""
        if mode_of(self) is None:
            return self.times(b, x, self.adapted(b, w))
        y = self._quantised(b, x, w)
        return self.plus_adaptation(b, y, self.times(b, x, self.factors(w)[0]), w) if self.lora_rank else y

    def _quantised(self, b: Builder, x: Var, w: Scope) -> Var:
        """The product of x with the kernel as the mode has it."""
        mode, m = mode_of(self), self.matrix(x.tensor)
        if mode == "float8":
            return self._in_float8(b, x, w)
        letters = self.letters(len(x.shape))
        scale = w.kernel_scale
        fitted = relabelled(b, scale, letters.y[-len(scale.shape) :], letters.kernel) if mode == "int8" else scale
        kernel = float_kernel(b, self, m, w, fitted)
        quantizer = quantizer_of(self)
        if mode in ("gptq", "awq") or (mode == "int4" and policy(self.dtype).block > 0):
            return self.times(b, x, kernel)
        if quantizer is None:
            return self._weights_only(b, x, w, m, kernel)
        numbers, factor = quantizer(b, x, letters.summed)
        factor = self.scaled_back(b, x, factor)
        y = self._of_integers(b, numbers, factor, w, m, kernel)
        return b.straight_through(y, self.times(b, x, kernel))  # type: ignore[no-any-return]

    def _numbers(self, b: Builder, w: Scope, m: Matrix) -> Var:
        """The integers of the kernel."""
        return w.kernel if mode_of(self) == "int8" else b.reshape(unpacked(b, w.kernel, m.columns), shape=m.shape)

    def _weights_only(self, b: Builder, x: Var, w: Scope, m: Matrix, kernel: Var) -> Var:
        """The product where the kernel alone is quantised."""
        if self.scales_int4_first and mode_of(self) == "int4":
            return self.times(b, x, kernel)
        return b.div(self.times(b, x, as_dtype(b, self._numbers(b, w, m), self.compute_dtype)), w.kernel_scale)  # type: ignore[no-any-return]

    def _of_integers(self, b: Builder, numbers: Var, factor: Var, w: Scope, m: Matrix, kernel: Var) -> Var:
        """The product where the input is quantised too: that of integers, exact, and then scaled."""
        if self.scales_int4_first and mode_of(self) == "int4":
            return b.div(self.times(b, numbers, kernel), factor)  # type: ignore[no-any-return]
        sums = self.times(b, integers(b, numbers, m.rows), integers(b, self._numbers(b, w, m), m.rows))
        return b.div(as_dtype(b, sums, self.compute_dtype), b.mul(factor, w.kernel_scale))  # type: ignore[no-any-return]

    def _in_float8(self, b: Builder, x: Var, w: Scope) -> Var:
        """Operands, and the gradient of the result, as floats of 8 bits would have them."""
        if w.training:
            raise self.invalid("training in float8 is not supported; train in float32 and quantise then")

        def seen(v: Var, scale: Var) -> Var:
            return b.straight_through(rounded(b, v, scale, "float8_e4m3fn"), v)  # type: ignore[no-any-return]

        y = self.times(b, seen(x, w.inputs_scale), seen(w.kernel, w.kernel_scale))
        return b.round_gradient(y, w.outputs_grad_scale, to="float8_e5m2")  # type: ignore[no-any-return]

    def completed(self, b: Builder, y: Var, bias: Var | None, w: Scope) -> Var:
        """activation(y + bias); beside float8 kernels a float32 bias has the precision of bfloat16."""
        if bias is not None:
            if mode_of(self) == "float8" and self.compute_dtype == "float32":
                bias = b.cast_like(b.cast(bias, to="bf16"), y)
            y = b.add(y, bias)
        return activate(b, y, self.activation, w)


@layer
class EinsumDense(Product):
    """activation(einsum(equation, x, kernel) + bias): equations X,K->Y, ...X,K->...Y and X...,K->Y...

    `output_shape`: the axes of the result after the first one, without those that `...` stands for; None: that of the
    input.  The bias has the axes `bias_axes` of the result.
    """

    equation: str
    output_shape: Any
    activation: Function = "linear"
    bias_axes: str | None = None
    kernel_initializer: Config = "glorot_uniform"
    bias_initializer: Config = "zeros"
    kernel_regularizer: Config = None
    bias_regularizer: Config = None
    kernel_constraint: Config = None
    bias_constraint: Config = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    gptq_unpacked_column_size: int | None = None
    quantization_config: Config = None

    def check(self) -> None:
        super().check()
        shape = (self.output_shape,) if isinstance(self.output_shape, int) else self.output_shape
        if not isinstance(shape, (list, tuple)):
            self.refuse("output_shape")
        self.output_shape = tuple(shape)
        if not isinstance(self.equation, str) or spelled(self.equation, self._rank_of()) is None:
            self.refuse("equation", hint="its form is X,K->Y, ...X,K->...Y or X...,K->Y...")

    def _rank_of(self) -> int:
        """A rank that fits the equation."""
        return len(str(self.equation).split(",")[0].replace(".", ""))

    def letters(self, rank: int) -> Letters:
        found = spelled(self.equation, rank)
        if found is None:
            raise self.invalid(f"equation {self.equation!r} does not fit an input of rank {rank}")
        return found

    def result(self, x: Tensor) -> tuple[Any, ...]:
        """The shape of the result, None where it is that of the input."""
        letters = self.letters(x.rank)
        n, own = x.dims[0], tuple(self.output_shape)
        spare = x.dims[1 : letters.spare] if letters.left else x.dims[x.rank - letters.spare :]
        return (n, *spare, *own) if letters.left else (n, *own, *spare)

    def matrix(self, x: Tensor) -> Matrix:
        letters, result = self.letters(x.rank), self.result(x)
        if len(result) != len(letters.y):
            raise self.invalid(f"output_shape={self.output_shape} does not fit {self.equation!r}, rank {x.rank}")
        sizes = {**dict(zip(letters.x, x.dims)), **dict(zip(letters.y, result))}
        unknown = [c for c in letters.kernel if c not in sizes]
        if unknown:
            raise self.invalid(f"in {self.equation!r}, {unknown[0]!r} is neither of the input nor of the result")
        shape = tuple(sizes[c] for c in letters.kernel)
        scale = tuple(sizes[c] if c in letters.kernel else 1 for c in letters.y)
        return Matrix(shape, *self._rows_and_columns(letters, shape), scale)

    def _rows_and_columns(self, letters: Letters, shape: Sequence[Any]) -> tuple[Any, Any]:
        """How many rows and columns the kernel has as a matrix.

        Those summed over, and the others; in GPTQ and AWQ a kernel of three axes is cut beside its largest one.
        """
        if mode_of(self) in ("gptq", "awq") and len(shape) == 3:
            cut = 1 if list(shape).index(max(shape)) == 0 else 2
            return product(shape[:cut]), product(shape[cut:])
        rows = product(d for c, d in zip(letters.kernel, shape) if c not in letters.y)
        return rows, product(d for c, d in zip(letters.kernel, shape) if c in letters.y)

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        x = inputs[0]
        m, letters = self.matrix(x), self.letters(x.rank)
        ends = [[i for i, c in enumerate(letters.kernel) if (c in letters.y) is there] for there in (False, True)]
        kernel = self.weight("kernel", m.shape)
        from .attention import with_axes

        kernel = Weight("kernel", m.shape, with_axes(self.kernel_initializer, *ends), True, kernel.regularizer,
                        kernel.constraint)  # fmt: skip
        yield from self.declared(m, kernel, [self.weight("bias", s) for s in self._bias_shapes(x, letters)])

    def _bias_shapes(self, x: Tensor, letters: Letters) -> Iterator[tuple[Any, ...]]:
        """The shape of the bias if there is one: from the first of its axes on, 1 along others."""
        if self.bias_axes is None:
            return
        wrong = [c for c in self.bias_axes if c not in letters.y]
        if wrong:
            self.refuse("bias_axes")
        first = min(letters.y.index(c) for c in self.bias_axes)
        yield tuple(d if c in self.bias_axes else 1 for c, d in zip(letters.y[first:], self.result(x)[first:]))

    def times(self, b: Builder, x: Var, kernel: Var) -> Var:
        letters = self.letters(len(x.shape))
        return b.einsum(x, kernel, equation=f"{letters.x},{letters.kernel}->{letters.y}")  # type: ignore[no-any-return]

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        bias = w.bias if self.bias_axes is not None else None
        return self.completed(b, self.multiplied(b, x, w), bias, w)
