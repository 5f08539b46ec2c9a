"""`keras.ops` functions among the layers of a functional model.

Keras 3 writes them for whatever is computed with tensors between layers, and for masks (`NotEqual`, `Any`, ...).
One row an operation: a function of (b, *arguments, **config), tensors being Vars.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import Builder, Var
from ..ir.dims import product
from .activation import ELEMENTWISE
from .base import Layer, as_dtype, flatten, is_float
from .merge import _same_dtype
from .model import Operator

if TYPE_CHECKING:
    from .lowering import Scope

Function = Callable[..., Var]


def _unary(op: str, **attrs: Any) -> Function:
    return lambda b, x: getattr(b, op)(x, **attrs)


def _elementwise(name: str) -> Function:
    return lambda b, x: b.activation(x, ELEMENTWISE[name])


def _binary(op: str) -> Function:
    """Operands of different dtypes meet in the floating-point one; a Python number takes the tensor's."""

    def call(b: Builder, x: Any, y: Any) -> Var:
        tensors = [v for v in (x, y) if isinstance(v, Var)]
        if len(tensors) == 2:
            x, y = _same_dtype(b, tensors, "float32")
        elif isinstance(x, float) != isinstance(y, float) and not is_float(tensors[0]):
            x, y = (as_dtype(b, v, "float32") if isinstance(v, Var) else v for v in (x, y))
        return getattr(b, op)(*_constants(b, x, y))

    return call


def _constants(b: Builder, x: Any, y: Any) -> tuple[Any, Any]:
    """A number as a constant in the dtype of the tensor beside it."""
    beside = (x if isinstance(x, Var) else y).tensor.dtype.numpy
    return tuple(v if isinstance(v, Var) else np.array(v, beside) for v in (x, y))  # type: ignore[return-value]


def _reduction(op: str, also: str | None = None) -> Function:
    """`also`: the op that takes a number called `initial` into the result, if there is one."""

    def call(
        b: Builder, x: Var, axis: Any = None, keepdims: bool = False, initial: Any = None, dtype: Any = None
    ) -> Var:
        axes = None if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if op in ("reduce_any", "reduce_all"):
            dtype = "bool"
        y: Var = getattr(b, op)(x if dtype is None else as_dtype(b, x, dtype), axes=axes, keepdims=keepdims)
        if initial is None:
            return y
        if also is None:
            raise TypeError(f"initial={initial!r} is not supported")
        return getattr(b, also)(*_constants(b, y, initial))  # type: ignore[no-any-return]

    return call


def _expand_dims(b: Builder, x: Var, axis: Any) -> Var:
    return b.unsqueeze(x, axes=(axis,) if isinstance(axis, int) else tuple(axis))


def _squeeze(b: Builder, x: Var, axis: Any = None) -> Var:
    return b.squeeze(x, axes=None if axis is None else (axis,) if isinstance(axis, int) else tuple(axis))


def _filled(number: int) -> Function:
    def call(b: Builder, x: Var, dtype: Any = None) -> Var:
        zero = as_dtype(b, b.constant(np.float32(number)), dtype or x.tensor.dtype)
        return b.expand(zero, shape=x.shape)

    return call


def _reshape(b: Builder, x: Var, newshape: Any) -> Var:
    shape = [-1 if d is None else d for d in newshape]
    if shape and shape[0] == -1 and shape.count(-1) == 2:
        shape[0] = x.shape[0]  # Keras writes both the batch and one other dimension as unknown
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = product(x.shape) // product(d for d in shape if d != -1)
    return b.reshape(x, shape=shape)


def _transpose(b: Builder, x: Var, axes: Any = None) -> Var:
    return b.transpose(x, perm=tuple(axes) if axes else tuple(reversed(range(len(x.shape)))))


def _stack(b: Builder, xs: list[Var], axis: int = 0) -> Var:
    rank = len(xs[0].shape) + 1
    return b.concat(*(b.unsqueeze(v, axes=(axis % rank,)) for v in xs), axis=axis % rank)


def _where(b: Builder, condition: Var, x: Any, y: Any) -> Var:
    return b.where(as_dtype(b, condition, "bool"), *_constants(b, x, y))


OPERATIONS: dict[str, Function] = {
    "Relu": _unary("relu"), "Relu6": _elementwise("relu6"), "Sigmoid": _unary("sigmoid"),
    "Tanh": _unary("tanh"), "Silu": _unary("silu"), "Softplus": _unary("softplus"), "Softsign": _unary("softsign"),
    "Exp": _unary("exp"), "Expm1": _unary("expm1"), "Log": _unary("log"), "Log1p": _unary("log1p"),
    "Sqrt": _unary("sqrt"), "Rsqrt": _unary("rsqrt"), "Square": _unary("square"), "Absolute": _unary("abs"),
    "Abs": _unary("abs"), "Negative": _unary("neg"), "Sign": _unary("sign"), "Floor": _unary("floor"),
    "Ceil": _unary("ceil"), "Round": lambda b, x, decimals=0: b.round(x), "Sin": _unary("sin"), "Cos": _unary("cos"),
    "Erf": _unary("erf"), "Reciprocal": _unary("reciprocal"), "LogicalNot": _unary("logical_not"),
    "Add": _binary("add"), "Subtract": _binary("sub"), "Multiply": _binary("mul"), "Divide": _binary("div"),
    "TrueDivide": _binary("div"), "Maximum": _binary("maximum"), "Minimum": _binary("minimum"), "Power": _binary("pow"),
    "Equal": _binary("equal"), "NotEqual": _binary("not_equal"), "Less": _binary("less"),
    "LessEqual": _binary("less_equal"), "Greater": _binary("greater"), "GreaterEqual": _binary("greater_equal"),
    "LogicalAnd": _binary("logical_and"), "LogicalOr": _binary("logical_or"), "Matmul": _binary("matmul"),
    "Mean": _reduction("reduce_mean"), "Sum": _reduction("reduce_sum"),
    "Max": _reduction("reduce_max", "maximum"), "Min": _reduction("reduce_min", "minimum"),
    "Prod": _reduction("reduce_prod"), "Var": _reduction("reduce_variance"),
    "Any": _reduction("reduce_any"), "All": _reduction("reduce_all"),
    "ExpandDims": _expand_dims, "Squeeze": _squeeze, "Reshape": _reshape, "Transpose": _transpose,
    "Concatenate": lambda b, xs, axis=-1: b.concat(*xs, axis=axis), "Stack": _stack,
    "ZerosLike": _filled(0), "OnesLike": _filled(1), "Where": _where,
    "Cast": lambda b, x, dtype: as_dtype(b, x, dtype),
    "ConvertToTensor": lambda b, x, dtype=None, sparse=None, ragged=None: as_dtype(b, x, dtype or x.tensor.dtype),
    "BroadcastTo": lambda b, x, shape: b.expand(x, shape=tuple(shape)),
    "Softmax": lambda b, x, axis=-1: b.softmax(x, axis=axis),
    "Clip": lambda b, x, x_min=None, x_max=None: b.clip(x, low=x_min, high=x_max),
}  # fmt: skip


class Operation(Operator):
    """A row of OPERATIONS with its config; a node of the functional model, no layer of its own."""

    def __init__(self, operation: str, config: dict[str, Any]) -> None:
        super().__init__(name=config.get("name"))
        self.operation = operation
        own = {k: v for k, v in config.items() if k != "name"}
        self.config = {k: v for k, v in own.items() if k != "dtype" or isinstance(v, str)}  # a dict is a policy

    @property
    def class_name(self) -> str:
        return self.operation

    def lower(self, b: Builder, x: Any, w: Scope, **options: Any) -> Var:
        try:
            return OPERATIONS[self.operation](b, *x, **{**self.config, **options})
        except TypeError as error:
            raise self.invalid(f"keras.ops.{self.operation} with {self.config}: {error}") from None
        except AttributeError as error:
            kinds = ", ".join(type(v).__name__ for v in flatten(x))
            raise self.invalid(f"keras.ops.{self.operation} on {kinds}: {error}") from None

    def children(self) -> Any:
        return iter(())


__all__ = ["OPERATIONS", "Layer", "Operation"]
