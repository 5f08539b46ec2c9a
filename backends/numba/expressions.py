"""Elementwise ops as text: one row each, for what is compiled from text (chains, activations)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from numba.core import types

from ...ir.attributes import Activation
from ...ir.ops.elementwise import UNARY as DECLARED
from . import functions, vectors
from .compiler import inlined
from .vectors import cast_to, loads_of

# Vectors may be of these.  All functions are for float32, those of EXACT for float64 too, ARITHMETIC for integers too.
DTYPES: dict[str, Any] = {
    "float32": types.float32, "float64": types.float64, "int32": types.int32, "int64": types.int64,
    "bool": types.boolean,
}  # fmt: skip

ARITHMETIC: dict[str, str] = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "maximum": "maximum({0}, {1})",
    "minimum": "minimum({0}, {1})",
    "neg": "-{0}",
    "square": "{0} * {0}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "where": "where({0}, {1}, {2})",
    "logical_and": "{0} & {1}",
    "logical_or": "{0} | {1}",
    "logical_xor": "{0} ^ {1}",
    "logical_not": "~{0}",
}
EXACT: dict[str, str] = {
    "div": "{0} / {1}",
    "abs": "absolute({0})",
    "sign": "sign({0})",
    "sqrt": "sqrt({0})",
    "rsqrt": "rsqrt({0})",
    "reciprocal": "reciprocal({0})",
    "floor": "floor({0})",
    "ceil": "ceil({0})",
    "round": "rint({0})",
    "is_nan": "{0} != {0}",
    "relu": "relu({0})",
    "linear": "{0} + 0.0",
    "softsign": "softsign({0})",
    "leaky_relu": "leaky_relu({0}, {negative_slope})",
    "hard_sigmoid": "hard_sigmoid({0}, {alpha}, {beta})",
    "affine": "affine({0}, {alpha}, {beta})",
    "hard_silu": "hard_silu({0})",
    "thresholded_relu": "thresholded_relu({0}, {theta})",
    "clip": "clip({0}, {low}, {high})",
    "soft_shrink": "soft_shrink({0}, {threshold})",
    "hard_shrink": "hard_shrink({0}, {threshold})",
    "squareplus": "squareplus({0}, {b})",
    "sparse_plus": "sparse_plus({0})",
    "sparse_sigmoid": "sparse_sigmoid({0})",
}
FLOAT32: dict[str, str] = {
    "exp": "exp({0})",
    "expm1": "expm1({0})",
    "log": "log({0})",
    "log1p": "log1p({0})",
    "erf": "erf({0})",
    "sigmoid": "sigmoid({0})",
    "tanh": "tanh({0})",
    "softplus": "softplus({0})",
    "log_sigmoid": "log_sigmoid({0})",
    "elu": "elu({0}, {alpha})",
    "selu": "selu({0}, {alpha}, {scale})",
    "celu": "celu({0}, {alpha})",
    "gelu": "gelu_{approximate}({0})",
    "silu": "silu({0}, {beta})",
    "mish": "mish({0})",
    "scaled_tanh": "scaled_tanh({0}, {alpha}, {beta})",
    "tanh_shrink": "tanh_shrink({0})",
}
NUMBERS = {"add", "sub", "mul", "neg", "square"}  # which mean something else on booleans
ROWS = {**ARITHMETIC, **EXACT, **FLOAT32}
POWERS = {2.0: "{0} * {0}", 3.0: "{0} * {0} * {0}", 0.5: "sqrt({0})", -1.0: "reciprocal({0})", 1.0: "{0}",
          -0.5: "rsqrt({0})"}  # fmt: skip

_WORDS: dict[str, dict[Any, str]] = {
    "approximate": {True: "tanh", False: "exact"},
    "low": {None: "-inf"},
    "high": {None: "inf"},
}


@cache
def scope() -> dict[str, Any]:
    """The names that texts may use."""
    found = {k: v for module in (functions, vectors) for k, v in vars(module).items() if not k.startswith("_")}
    for name, dtype in DTYPES.items():
        load, load_some, load_one = loads_of(dtype)
        found |= {f"load_{name}": load, f"load_some_{name}": load_some, f"load_one_{name}": load_one}
        found[f"to_{name}"] = cast_to(dtype)
    return {**found, "inf": float("inf"), "nan": float("nan")}


def spelled(name: str, attrs: Mapping[str, Any], operands: Sequence[str]) -> str:
    """The text of an op of ROWS on operands that are names."""
    words = {k: _WORDS[k].get(v, repr(v)) if k in _WORDS else repr(v) for k, v in attrs.items()}
    return ROWS[name].format(*operands, **words)


def knows(name: str, dtypes: Sequence[str]) -> bool:
    """Whether an op of ROWS computes with operands and results of these dtypes."""
    if not set(dtypes) <= set(DTYPES):
        return False
    if name in FLOAT32:
        return set(dtypes) == {"float32"}
    if name in NUMBERS and "bool" in dtypes:
        return False
    return name in ARITHMETIC or (name in EXACT and set(dtypes) <= {"float32", "float64", "bool"})


@cache
def activation_of(activation: Activation) -> Any:
    """An activation as a function of a vector of float32, to be called from compiled functions; None: none is known."""
    if not activation:
        return functions.linear
    if activation.name not in ROWS:
        return None
    attrs = {**DECLARED[activation.name][1], **dict(activation.attrs)}
    text = f"def activation(x):\n    return {spelled(activation.name, attrs, ['x'])}\n"
    names: dict[str, Any] = {**scope(), "__name__": __name__}
    exec(compile(text, f"<tenun {hashlib.sha256(text.encode()).hexdigest()[:24]}>", "exec"), names)
    return inlined(names["activation"])
