"""Layers with quantised weights: `model.quantize("int8" | "int4" | "float8")`, GPTQ and AWQ, as Keras saves them.

The mode is part of the dtype policy (policy.py).  Integer kernels come with scales, those of blocks with zero points
too; two numbers of 4 bits share a byte.  Inputs are quantised when they come, by their largest absolute value.  Sums
of products of integers are computed in floats which hold them exactly.
Sources: keras/src/quantizers/quantizers.py, keras/src/layers/core/{dense,einsum_dense,embedding}.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..ir import Builder, Var
from ..ir.dims import ceil_div
from .base import Layer, Weight, as_dtype
from .policy import Policy, policy

if TYPE_CHECKING:
    from .lowering import Scope

_SCALE: dict[str, Any] = {"initializer": "ones", "trainable": False}
_NONE: dict[str, Any] = {"initializer": "zeros", "trainable": False}
EXACT = 2**24  # float32 holds all integers up to here


class Quantizer(NamedTuple):
    """Keras' AbsMaxQuantizer: whole numbers between low and high, the largest |x| becoming high."""

    low: float = -127
    high: float = 127
    epsilon: float = 1e-7
    axes: tuple[int, ...] = (-1,)

    def __call__(self, b: Builder, x: Var, axes: Sequence[int] | None = None) -> tuple[Var, Var]:
        """The whole numbers, in the dtype of x, and what x was multiplied by (reduced axes have size 1)."""
        chosen = tuple(self.axes if axes is None else axes)
        top = b.reduce_max(b.abs(x), axes=chosen, keepdims=True)
        scale = b.div(float(self.high), b.add(top, self.epsilon))
        return b.clip(b.round(b.mul(x, scale)), low=float(self.low), high=float(self.high)), scale


def mode_of(layer: Layer) -> str | None:
    """The mode of the layer's dtype policy."""
    return policy(layer.dtype).mode


def check_quantization(layer: Layer, *modes: str) -> None:
    """Refuse modes that the layer does not have, and quantizers other than Keras' own, by name."""
    if mode_of(layer) not in (None, *modes):
        layer.refuse("dtype", hint=f"a {layer.class_name} may be quantised as {', '.join(modes)}")
    quantizer_of(layer)


def quantizer_of(layer: Any) -> Quantizer | None:
    """How the inputs are quantised: as `quantization_config` says, by default for int8 only; None: they are not."""
    config = layer.quantization_config
    if config is None:
        return Quantizer() if mode_of(layer) == "int8" else None
    inner = config.get("config") if isinstance(config, dict) else None
    given = inner.get("activation_quantizer") if isinstance(inner, dict) else None
    if given is None and isinstance(inner, dict):
        return None
    options = given.get("config") if isinstance(given, dict) and given.get("class_name") == "AbsMaxQuantizer" else None
    if not isinstance(options, dict) or options.get("output_dtype", "int8") != "int8":
        layer.refuse("quantization_config", hint="activations are quantised by an AbsMaxQuantizer to int8, or not")
        return None
    low, high = options.get("value_range", (-127, 127))
    axis = options.get("axis")
    axes = (-1,) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    return Quantizer(low, high, options.get("epsilon", 1e-7), axes)


# ---- variables ------------------------------------------------------------------------------------------------


class Matrix(NamedTuple):
    """A kernel of `shape` as a matrix of rows, over which one sums, and columns; `scale`: the shape of int8 scales."""

    shape: tuple[Any, ...]
    rows: Any
    columns: Any
    scale: tuple[Any, ...]


def _groups(rows: Any, block: int) -> Any:
    return 1 if block <= 0 else ceil_div(rows, block)


def _int8(m: Matrix, how: Policy) -> Iterator[Weight]:
    yield Weight("kernel", m.shape, dtype="int8", **_NONE)
    yield Weight("kernel_scale", m.scale, **_SCALE)


def _int4(m: Matrix, how: Policy) -> Iterator[Weight]:
    yield Weight("kernel", (m.rows, ceil_div(m.columns, 2)), dtype="int8", **_NONE)
    if how.block <= 0:
        yield Weight("kernel_scale", (m.columns,), **_SCALE)
        return
    groups = (_groups(m.rows, how.block), m.columns)
    yield Weight("kernel_scale", groups, **_SCALE)
    yield Weight("kernel_zero", groups, dtype="int8", **_NONE)
    yield group_index(m.rows, how)


def _transposed(m: Matrix, how: Policy) -> Iterator[Weight]:
    """GPTQ and AWQ keep a row for each column of the kernel."""
    packed = ceil_div(m.columns, 2) if how.bits == 4 else m.columns
    groups = (m.columns, _groups(m.rows, how.block))
    yield Weight("kernel", (packed, m.rows), dtype="uint8", **_NONE)
    yield Weight("kernel_scale", groups, **_SCALE)
    yield Weight("kernel_zero", groups, dtype="uint8", **_NONE)
    if how.mode == "awq":
        yield Weight("awq_scales", (m.rows,), **_SCALE)
    yield group_index(m.rows, how)


def _float8(m: Matrix, how: Policy) -> Iterator[Weight]:
    for name in ("inputs", "kernel", "outputs_grad"):
        more: dict[str, Any] = {"trainable": False, "dtype": "float32", "autocast": False}
        yield Weight(f"{name}_scale", (), "ones", **more)
        yield Weight(f"{name}_amax_history", (how.numbers[0],), "zeros", **more)


def group_index(rows: int, how: Policy) -> Weight:
    """The number of the block to which each row belongs, as a float (Keras' `g_idx`)."""

    def first(shape: Any, dtype: Any, generator: Any) -> Any:
        return (np.arange(rows) // max(how.block, 1) if how.block > 0 else np.zeros(rows)).astype(np.float32)

    return Weight("g_idx", (rows,), first, trainable=False, dtype="float32", autocast=False)


_VARIABLES = {"int8": _int8, "int4": _int4, "float8": _float8, "gptq": _transposed, "awq": _transposed}


def variables(layer: Layer, m: Matrix, kernel: Weight, bias: Sequence[Weight]) -> Iterator[Weight]:
    """Kernel, bias (if there is one), and what the mode keeps, in the order in which Keras stores them."""
    how = policy(layer.dtype)
    own = [] if how.mode is None else list(_VARIABLES[how.mode](m, how))
    if how.mode in (None, "float8"):
        own.insert(0, kernel)
    place = 0 if how.mode in ("gptq", "awq") else 1
    yield from (*own[:place], *bias, *own[place:])


# ---- values ---------------------------------------------------------------------------------------------------


def unpacked(b: Builder, packed: Var, count: int, axis: int = -1) -> Var:
    """Bytes as the two numbers of 4 bits in each, the low one first, along an axis of then `count` places."""
    axis %= len(packed.shape)
    kind = packed.tensor.dtype.numpy
    low, high = (b.bit_and(v, kind.type(15)) for v in (packed, b.shift_right(packed, kind.type(4))))
    if kind.kind == "i":  # 15 is -1
        low, high = (b.sub(b.bit_xor(v, kind.type(8)), kind.type(8)) for v in (low, high))
    pairs = b.concat(*(b.unsqueeze(v, axes=(axis + 1,)) for v in (low, high)), axis=axis + 1)
    shape = [2 * d if i == axis else d for i, d in enumerate(packed.shape)]
    return b.slice(b.reshape(pairs, shape=shape), starts=(0,), ends=(count,), axes=(axis,))  # type: ignore[no-any-return]


def by_group(b: Builder, numbers: Var, scale: Var, zero: Var, groups: Var, axis: int) -> Var:
    """(numbers - zero) * scale, with the zero point and scale of each place's block along an axis."""
    places = b.cast(groups, to="i32")
    scale, zero = (b.gather(v, places, axis=axis) for v in (scale, zero))
    return b.mul(b.sub(b.cast_like(numbers, scale), b.cast_like(zero, scale)), scale)  # type: ignore[no-any-return]


def float_kernel(b: Builder, layer: Layer, m: Matrix, w: Scope, scale: Var) -> Var:
    """The kernel in the compute dtype; `scale`: the int8 scales, shaped to fit it."""
    how, compute = policy(layer.dtype), layer.compute_dtype
    if how.mode == "int8":
        return b.div(as_dtype(b, w.kernel, compute), scale)  # type: ignore[no-any-return]
    if how.mode == "int4":
        numbers = unpacked(b, w.kernel, m.columns)
        if how.block > 0:
            y = by_group(b, numbers, w.kernel_scale, w.kernel_zero, w.g_idx, 0)
        else:
            y = b.div(as_dtype(b, numbers, compute), w.kernel_scale)
    else:
        numbers = unpacked(b, w.kernel, m.columns, axis=0) if how.bits == 4 else w.kernel
        y = b.swap(by_group(b, numbers, w.kernel_scale, w.kernel_zero, w.g_idx, 1))
        if how.mode == "awq":
            y = b.div(y, b.unsqueeze(w.awq_scales, axes=(1,)))
    return b.reshape(as_dtype(b, y, compute), shape=m.shape)  # type: ignore[no-any-return]


def whole(b: Builder, numbers: Var, terms: Any) -> Var:
    """Integers of 8 bits in a float in which sums of `terms` products of them are exact."""
    exact = "float32" if isinstance(terms, int) and terms * 128 * 128 <= EXACT else "float64"
    return as_dtype(b, numbers, exact)


def rounded(b: Builder, x: Var, scale: Var, kind: str) -> Var:
    """x / scale as a float of 8 bits, saturated, and back: what a computation in such floats would see."""
    import ml_dtypes

    high = float(ml_dtypes.finfo(kind).max)  # type: ignore[no-untyped-call]
    scale = b.cast_like(scale, x)
    small = b.cast(b.clip(b.div(x, scale), low=-high, high=high), to=kind)
    return b.mul(b.cast_like(small, x), scale)  # type: ignore[no-any-return]


# ---- tables -----------------------------------------------------------------------------------------------------


def table_variables(layer: Any, table: Weight) -> Iterator[Weight]:
    """What an embedding keeps: scales of its rows, in blocks of their places."""
    how, rows, width = policy(layer.dtype), layer.input_dim, layer.output_dim
    if how.mode is None:
        yield table
        return
    packed = width if how.mode == "int8" else ceil_div(width, 2)
    yield Weight("embeddings", (rows, packed), dtype="int8", **_NONE)
    blocks = (rows, _groups(width, how.block)) if how.block > 0 else (rows,)
    yield Weight("embeddings_scale", blocks, **_SCALE)
    if how.block > 0:
        yield Weight("embeddings_zero", blocks, dtype="int8", **_NONE)
        yield group_index(width, how)


def reverse_variables(layer: Any, matrix: Weight) -> Iterator[Weight]:
    """What an embedding keeps for the way back, if that has a matrix of its own."""
    how, rows, width = policy(layer.dtype), layer.input_dim, layer.output_dim
    if how.mode is None:
        yield matrix
        return
    packed = width if how.mode == "int8" else ceil_div(width, 2)
    yield Weight("reverse_embeddings", (packed, rows), dtype="int8", **_NONE)
    blocks = (_groups(width, how.block), rows) if how.block > 0 else (rows,)
    yield Weight("reverse_embeddings_scale", blocks, **_SCALE)
    if how.block > 0:
        yield Weight("reverse_embeddings_zero", blocks, **_NONE)


def looked_up(b: Builder, layer: Any, indices: Var, w: Scope) -> Var:
    """Rows of the table."""
    how, compute = policy(layer.dtype), layer.compute_dtype
    if how.mode is None:
        return b.gather(layer.adapted(b, w), indices, axis=0)  # type: ignore[no-any-return]
    table = unpacked(b, w.embeddings, layer.output_dim) if how.mode == "int4" else w.embeddings
    rows, scale = as_dtype(b, b.gather(table, indices, axis=0), compute), b.gather(w.embeddings_scale, indices, axis=0)
    if how.block <= 0:
        return b.div(*same_float(b, rows, b.unsqueeze(scale, axes=(-1,))))  # type: ignore[no-any-return]
    return by_group(b, rows, scale, b.gather(w.embeddings_zero, indices, axis=0), w.g_idx, -1)


def reversed_product(b: Builder, layer: Any, x: Var, w: Scope) -> Var:
    """x times the table transposed, or times the matrix of its own, by a quantised embedding."""
    how, tied, compute = policy(layer.dtype), layer.tie_weights, layer.compute_dtype
    quantizer = quantizer_of(layer)
    numbers, factor = (x, None) if quantizer is None else quantizer(b, x)
    table = b.swap(w.embeddings) if tied else w.reverse_embeddings
    table = unpacked(b, table, layer.output_dim, axis=0) if how.mode == "int4" else table
    scale = w.embeddings_scale if tied else w.reverse_embeddings_scale
    if how.block > 0:
        scale, zero = (b.swap(scale), b.swap(w.embeddings_zero)) if tied else (scale, w.reverse_embeddings_zero)
        y = b.matmul(*same_float(b, numbers, by_group(b, as_dtype(b, table, compute), scale, zero, w.g_idx, 0)))
        return y if factor is None else b.div(*same_float(b, y, factor))  # type: ignore[no-any-return]
    if factor is None:
        sums = b.matmul(x, b.cast_like(table, x))
    else:
        sums = b.matmul(*(whole(b, v, layer.output_dim) for v in (numbers, table)))
    scale = scale if factor is None else b.mul(*same_float(b, factor, scale))
    return b.div(*same_float(b, as_dtype(b, sums, compute), scale))  # type: ignore[no-any-return]


def same_float(b: Builder, x: Var, y: Var) -> tuple[Var, Var]:
    """Both in the wider of their dtypes; float32 where neither holds the other."""
    wide = np.result_type(x.tensor.dtype.numpy, y.tensor.dtype.numpy) if x.tensor.dtype is not y.tensor.dtype else None
    return (x, y) if wide is None else (as_dtype(b, x, wide.name), as_dtype(b, y, wide.name))
