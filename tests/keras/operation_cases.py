"""Calls of every operation of keras.ops, for tests: a function of (keras.ops, *tensors) and what the tensors are."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

KINDS = {
    "f": "float32",
    "d": "float64",
    "h": "float16",
    "B": "bfloat16",
    "i": "int32",
    "l": "int64",
    "q": "int8",
    "s": "int16",
    "y": "uint8",
    "S": "uint16",
    "I": "uint32",
    "b": "bool",
    "c": "complex64",
}


@dataclass(frozen=True)
class Spec:
    """An input, written `kind[modifier]:shape`: + positive, 1 in (0, 1), . with NaN and infinities, = few values,
    # symmetric positive definite, % a lower triangle, w well-conditioned.
    """

    text: str

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(d) for d in self.text.partition(":")[2].split(",") if d)

    @property
    def dtype(self) -> str:
        return KINDS[self.text[0]]

    def array(self, seed: int) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng(seed)
        how, shape = self.text.partition(":")[0][1:], self.shape
        kind = self.text[0]
        if kind == "b":
            return rng.integers(0, 2, shape).astype(bool)
        if kind in "ilqsySI":
            low = 0 if kind in "ySI" or "+" in how else -4
            return rng.integers(low + ("+" in how), 9, shape).astype(self.dtype)
        x = rng.normal(size=shape)
        if kind == "c":
            return (x + 1j * rng.normal(size=shape)).astype("complex64")
        for letter in how:
            x = _modified(x, letter, rng)
        import ml_dtypes

        return x.astype(ml_dtypes.bfloat16 if kind == "B" else self.dtype)


def _modified(x: Any, letter: str, rng: Any) -> Any:
    n = x.shape[-1] if x.ndim else 0
    if letter == "+":
        return np.abs(x) + 0.25
    if letter == "1":
        return 0.05 + 0.9 / (1 + np.exp(-2 * x))
    if letter == "=":
        return np.round(x)
    if letter == "#":
        return x @ x.swapaxes(-1, -2) + n * np.eye(n)
    if letter == "%":
        return np.tril(x) + n * np.eye(n)
    if letter == "w":
        return x + n * np.eye(n)
    flat = x.reshape(-1)
    flat[rng.permutation(flat.size)[:4]] = np.array([np.nan, np.inf, -np.inf, np.nan])[: flat.size]
    return flat.reshape(x.shape)


@dataclass(frozen=True)
class Case:
    """A call.

    unique: the result is the only right one; `check` looks at it where it is not.  eager: Keras cannot run the model
    that it makes of the call, what the call gives on arrays is right.  oracle: and what this gives, where even that
    fails.
    """

    call: Callable[..., Any]
    inputs: tuple[Spec, ...]
    tolerance: float | None = None
    unique: bool = True
    check: Callable[[list[Any], list[Any]], None] | None = None
    eager: bool = False
    oracle: Callable[..., Any] | None = None


def on(call: Callable[..., Any], *inputs: str, tolerance: float | None = None) -> list[Case]:
    """The call on each of the inputs, several for one call being separated by blanks."""
    return [Case(call, tuple(map(Spec, text.split())), tolerance) for text in inputs]


def eager(call: Callable[..., Any], *inputs: str) -> list[Case]:
    """As `on`, for calls of which Keras makes models that it cannot run."""
    return [replace(case, eager=True) for case in on(call, *inputs)]


def module(o: Any, name: str) -> Any:
    """A module of keras.ops; not all functions are exported."""
    return importlib.import_module(f"keras.src.ops.{name}")


def all_of(calls: list[Callable[..., Any]], *inputs: str, tolerance: float | None = None) -> list[Case]:
    """One model with all the calls, for each of the inputs."""
    return on(lambda o, *xs: [call(o, *xs) for call in calls], *inputs, tolerance=tolerance)


CASES: dict[str, list[Case]] = {}


def snake(name: str) -> str:
    """The function of an operation's class."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


# ---- functions of one tensor ----------------------------------------------------------------------------------

UNARY = {
    "f:2,3 h:5 d:3 i:4 l:3 b:4 y:3": (
        "Arcsinh Arctan Ceil Cos Cosh Floor Sin Sinh Tan Tanh Cbrt Deg2rad Rad2deg Sinc Fabs Abs Absolute Exp Exp2 "
        "Expm1 "
        "Copy LogicalNot Isfinite Isinf Isnan Isneginf Isposinf Isreal NanToNum Signbit Trunc Ravel Size Angle "
        "I0 ZerosLike OnesLike EmptyLike"
    ),
    "f:2,3 h:5 d:3 i:4 l:3": "Negative Sign Square",
    "f+:2,3 h+:5 d+:3 i+:4 l+:3": "Log Log10 Log1p Log2 Sqrt Arccosh",
    "f1:2,3 h1:5 d1:3": "Arccos Arcsin Arctanh Reciprocal",
    "i:4 l:3 y:3 q:4": "BitwiseInvert BitwiseNot",
    "c:2,3 f:3": "Conj Conjugate Real Imag",
    "f:2,3 h:4 d:3": (
        "Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SparsePlus Silu LogSigmoid HardSigmoid HardSilu Selu "
        "TanhShrink HardTanh Softmax LogSoftmax"
    ),
}
NAMES = {
    "Deg2rad": "deg2rad",
    "Rad2deg": "rad2deg",
    "I0": "i0",
    "Exp2": "exp2",
    "Log10": "log10",
    "Log2": "log2",
    "Relu6": "relu6",
    "Arctan2": "arctan2",
    "Logaddexp2": "logaddexp2",
    "HardSilu": "hard_silu",
    "Expm1": "expm1",
    "Log1p": "log1p",
}


def function(o: Any, name: str) -> Any:
    """keras.ops.<name>; a few are there under the module only."""
    return getattr(o, NAMES.get(name, snake(name)))


for kinds, names in UNARY.items():
    for each in names.split():
        CASES[each] = [
            Case(lambda o, *xs, each=each: [function(o, each)(x) for x in xs], tuple(map(Spec, kinds.split())))
        ]
CASES["Ndim"] = on(lambda o, x: o.cast(o.ndim(x), "int32"), "f:2,3", "i:")
for each in ["Isfinite", "Isinf", "Isnan", "Isneginf", "Isposinf", "NanToNum", "Signbit"]:
    CASES[each] += on(lambda o, x, each=each: function(o, each)(x), "f.:3,4", "h.:5", "d.:6")
CASES["Abs"] += on(lambda o, x: [abs(x), o.abs(x)], "f:3", "c:3")
CASES["Angle"] += on(lambda o, x: o.angle(x), "c:4")
CASES["Isreal"] += on(lambda o, x: o.isreal(x), "c:4")
CASES["Negative"] += on(lambda o, x: -x, "f:3", "i:3")
CASES["Reciprocal"] += on(lambda o, x: o.reciprocal(x), "f+:3")
CASES["NanToNum"] += on(lambda o, x: o.nan_to_num(x, nan=1.5, posinf=7.0, neginf=-8.0), "f.:9", "i:3")
CASES["Round"] = all_of([lambda o, x, n=n: o.round(x, n) for n in (0, 1, -1)], "f:2,3", "d:4", "i:5")
CASES["OnesLike"] += on(lambda o, x: [o.ones_like(x, dtype="int32"), o.zeros_like(x, dtype="float64")], "f:2,3")
CASES["Softmax"] += on(
    lambda o, x: [o.softmax(x, axis=a) for a in (0, 1, None)] + [o.log_softmax(x, axis=1)], "f:2,3,4"
) + eager(lambda o, x: [o.softmax(x, axis=(0, 2)), o.log_softmax(x, axis=(1, 2))], "f:2,3,4")

# ---- functions of two tensors ---------------------------------------------------------------------------------

MIXED = ("f:2,3 f:3", "i:3 f:2,1", "h:3 i:3", "i:3 l:3", "h:3 B:3", "y:3 q:3", "b:4 i:4", "d:2 f:2")
WHOLE = ("i+:3 i+:2,3", "i+:4 l+:4", "y+:3 q+:3")


def two(name: str, inputs: tuple[str, ...], scalars: tuple[Any, ...] = (), scalar_on: str = "f:3 i:3 h:2") -> None:
    """On pairs of tensors, and with Python numbers on either side."""
    CASES[name] = on(lambda o, x, y: function(o, name)(x, y), *inputs)

    def with_numbers(o: Any, *xs: Any) -> Any:
        call = function(o, name)
        return [call(x, s) for x in xs for s in scalars] + [call(s, x) for x in xs for s in scalars]

    if scalars:
        CASES[name] += on(with_numbers, scalar_on)


for each in ["Add", "Subtract", "Multiply", "Maximum", "Minimum", "Fmax", "Fmin"]:
    two(each, MIXED if each != "Subtract" else tuple(m for m in MIXED if "b:" not in m), (2, 0.5))
for each in ["Divide", "TrueDivide", "DivideNoNan"]:
    two(
        each,
        MIXED[:3] + MIXED[7:] if each == "DivideNoNan" else ("f:2,3 f+:3", "i:3 f+:2,1", "h:3 i+:3", "i:3 l+:3"),
        (2, 0.5),
        "f+:3 i+:3 h+:2",
    )
two("Power", ("f+:2,3 f:3", "h+:3 f:3", "d+:3 d:3", "f+:3 i:3"), (2, 0.5), "f+:3 h+:2")
CASES["Power"] += on(lambda o, x: [x**2, x**3], "f:3", "i:3", "y:3") + on(lambda o, x: 2.0**x, "f:3")
two("FloorDivide", (*WHOLE, "f:3 f+:3"), (2, 3), "f+:3 i+:3")
two("Mod", (*WHOLE, "f:3 f+:3", "i:5 i+:5"), (3,), "f+:3 i+:3")
two("Fmod", (*WHOLE, "f:3 f+:3", "i:5 i+:5", "y+:3 y+:3"))
CASES["Mod"] += on(lambda o, x: [x % 3, x // 2], "i:4", "f:4")
for each in ["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"]:
    two(each, MIXED[:6], (2, 0.5), "f=:9 i:9 h=:4")
CASES["Equal"] += on(lambda o, x, y: [o.equal(x, y), o.not_equal(x, y)], "b:4 b:4")
CASES["Greater"] += on(lambda o, x, y: [x > y, x >= y, x < y, x <= y, x > 0.5], "f:4 f:4", "i:3 f:3")
for each in ["LogicalAnd", "LogicalOr", "LogicalXor"]:
    two(each, ("b:4 b:4", "i:4 f:4", "f=:5 b:5"), (True,), "b:3")
CASES["LogicalAnd"] += on(lambda o, x, y: [x & y, x | y, x ^ y, ~x], "b:4 b:4")
for each in ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]:
    two(each, ("i:4 i:4", "y:3 i:3", "q:3 s:3"))
for each in ["LeftShift", "RightShift", "BitwiseLeftShift", "BitwiseRightShift"]:
    two(each, ("i:4 i+:4", "i:3 y+:3"))
    CASES[each] += on(lambda o, x, each=each: function(o, each)(x, 2), "i:4", "y:3")
for each in ["Arctan2", "Heaviside", "Hypot", "Logaddexp", "Logaddexp2"]:
    two(each, ("f:2,3 f:3", "i:3 f:3", "h:3 h:3", "d:3 d:3", "i:3 i:3"))
CASES["Logaddexp"] += on(lambda o, x, y: o.logaddexp(x, y), "f.:6 f.:6")
CASES["Fmax"] += on(lambda o, x, y: [o.fmax(x, y), o.fmin(x, y)], "f.:9 f.:9")
CASES["Ldexp"] = on(lambda o, x, y: o.ldexp(x, y), "f:4 i:4", "f:3 y:3")
CASES["Nextafter"] = on(lambda o, x, y: o.nextafter(x, y), "d:4 d:4", "f:3 f:3", tolerance=1e-15)
CASES["Gcd"] = on(lambda o, x, y: o.gcd(x, y), "i:9 i:9", "i:3,1 l:4", "y:5 y:5")
CASES["Lcm"] = on(lambda o, x, y: o.lcm(x, y), "i:9 i:9", "y:5 y:5")
CASES["Isclose"] = on(lambda o, x, y: [o.isclose(x, y), o.isclose(x, x, equal_nan=True)], "f.:6 f.:6", "i:4 i:4") + on(
    lambda o, x, y: o.isclose(x, y, rtol=0.3, atol=0.2), "f:20 f:20"
)
CASES["AllClose"] = on(
    lambda o, x, y: [o.allclose(x, y), o.allclose(x, x), o.allclose(x, y, rtol=9.0, atol=9.0)], "f:3 f:3", "i:3 i:3"
)
CASES["Matmul"] = on(
    lambda o, x, y: [o.matmul(x, y), x @ y],
    "f:2,3 f:3,4",
    "i:2,3 i:3,2",
    "q:2,3 q:3,2",
    "h:2,3 f:3",
    "f:5,2,3 f:3,4",
    "f:3 f:3",
    "y:3 q:3,2",
)
CASES["Dot"] = on(lambda o, x, y: o.dot(x, y), "f:2,3 f:3,4", "f:3 f:3", "i:2,3 f:3", "f:2,3 f:5,3,2", "f: f:3")
CASES["Inner"] = on(lambda o, x, y: o.inner(x, y), "f:2,3 f:4,3", "f:3 f:3", "i:2,3 i:3")
CASES["Vdot"] = on(lambda o, x, y: o.vdot(x, y), "f:2,3 f:3,2", "i:3 f:3")
CASES["Outer"] = on(lambda o, x, y: o.outer(x, y), "f:2,3 f:4", "i:3 h:2")
CASES["Kron"] = on(lambda o, x, y: o.kron(x, y), "f:2,3 f:2,2", "i:2,3 f:4", "f:3 f:2,1,2")
CASES["Cross"] = on(lambda o, x, y: o.cross(x, y), "f:4,3 f:4,3", "f:4,2 f:4,2", "f:4,2 f:4,3", "i:3 f:5,3") + on(
    lambda o, x, y: [o.cross(x, y, axis=0), o.cross(x, y, axisa=0, axisb=0, axisc=0)], "f:3,4 f:3,4"
)
CASES["Tensordot"] = on(
    lambda o, x, y: [o.tensordot(x, y, axes=1), o.tensordot(x, y, axes=[[1], [0]])], "f:2,3 f:3,4", "i:2,3 i:3,2"
) + on(lambda o, x, y: [o.tensordot(x, y, axes=[[0, 2], [1, 0]]), o.tensordot(x, y, axes=0)], "f:2,3,4 f:4,2,5")
CASES["Einsum"] = on(
    lambda o, x, y: [o.einsum("ij,jk->ik", x, y), o.einsum("ij,jk", x, y)],
    "f:2,3 f:3,4",
    "i:2,3 i:3,2",
    "q:2,3 q:3,2",
    "h:2,3 f:3,4",
) + on(lambda o, x: [o.einsum("...ij->...ji", x), o.einsum("bij->b", x), o.einsum("bii->bi", x)], "f:2,3,3")
CASES["Correlate"] = all_of(
    [lambda o, x, y, m=m: o.correlate(x, y, mode=m) for m in ("valid", "same", "full")], "f:6 f:3", "i:6 i:4", "f:5 h:2"
)

# ---- shapes ---------------------------------------------------------------------------------------------------

SHAPES: dict[str, list[Callable[..., Any]]] = {
    "ExpandDims": [lambda o, x: o.expand_dims(x, 0), lambda o, x: o.expand_dims(x, (1, -1))],
    "Reshape": [lambda o, x: o.reshape(x, (4, -1)), lambda o, x: o.reshape(x, (2, 12))],
    "Transpose": [lambda o, x: o.transpose(x), lambda o, x: o.transpose(x, (1, -3, 2))],
    "Swapaxes": [lambda o, x: o.swapaxes(x, 0, -1)],
    "Moveaxis": [lambda o, x: o.moveaxis(x, 0, -1), lambda o, x: o.moveaxis(x, (0, 1), (-1, 0))],
    "BroadcastTo": [lambda o, x: o.broadcast_to(x, (5, 2, 3, 4))],
    "Split": [lambda o, x: o.split(x, 2), lambda o, x: o.split(x, [1, 2], axis=1), lambda o, x: o.split(x, 2, axis=-1)],
    "ArraySplit": [lambda o, x: o.array_split(x, 2, axis=1)],
    "Hsplit": [lambda o, x: o.hsplit(x, 3), lambda o, x: o.hsplit(x, [2])],
    "Vsplit": [lambda o, x: o.vsplit(x, 2)],
    "Dsplit": [lambda o, x: o.dsplit(x, 2)],
    "Tile": [lambda o, x: o.tile(x, 2), lambda o, x: o.tile(x, (2, 1, 3)), lambda o, x: o.tile(x, (2, 1, 1, 2))],
    "Repeat": [
        lambda o, x: o.repeat(x, 2),
        lambda o, x: o.repeat(x, 3, axis=1),
        lambda o, x: o.repeat(x, [1, 0, 2], axis=1),
    ],
    "Roll": [
        lambda o, x: o.roll(x, 1),
        lambda o, x: o.roll(x, -1, axis=1),
        lambda o, x: o.roll(x, (1, 2), axis=(0, 2)),
    ],
    "Flip": [lambda o, x: o.flip(x), lambda o, x: o.flip(x, 1), lambda o, x: o.flip(x, (0, -1))],
    "Fliplr": [lambda o, x: o.fliplr(x)],
    "Flipud": [lambda o, x: o.flipud(x)],
    "Rot90": [lambda o, x, k=k: o.rot90(x, k) for k in (1, 3)] + [lambda o, x: o.rot90(x, 1, axes=(1, 2))],
    "Diagonal": [lambda o, x: o.diagonal(x), lambda o, x: o.diagonal(x, 1, 1, 2), lambda o, x: o.diagonal(x, -1, 2, 0)],
    "Tril": [lambda o, x, k=k: o.tril(x, k) for k in (-1, 0, 1)],
    "Triu": [lambda o, x, k=k: o.triu(x, k) for k in (-1, 0, 1)],
    "Unstack": [lambda o, x: o.unstack(x), lambda o, x: o.unstack(x, axis=1)],
    "Diff": [lambda o, x: o.diff(x), lambda o, x: o.diff(x, n=2), lambda o, x: o.diff(x, axis=0)],
    "Stack": [lambda o, x: o.stack([x, x]), lambda o, x: o.stack([x, x], axis=-1)],
    "GetItem": [
        lambda o, x: x[0],
        lambda o, x: x[:, 1:, None],
        lambda o, x: x[..., -1],
        lambda o, x: x[:, ::-1, 1:3],
        lambda o, x: x[1, ..., ::2],
        lambda o, x: x[-1, -2, -3],
        lambda o, x: x[None, ..., None, 2],
        lambda o, x: x[:, -2:],
    ],
}
for each, calls in SHAPES.items():
    CASES[each] = all_of(calls, "f:2,3,4", "i:2,3,4")
CASES["Rot90"] += on(lambda o, x: o.rot90(x, 2), "f:3,3")
CASES["Squeeze"] = all_of(
    [lambda o, x: o.squeeze(x), lambda o, x: o.squeeze(x, 1), lambda o, x: o.squeeze(x, (0, 2))], "f:1,1,1,4"
)
CASES["Concatenate"] = on(
    lambda o, x, y: [o.concatenate([x, y]), o.concatenate([x, y], axis=-1)], "f:2,3 f:2,3", "i:2,3 h:2,3"
)
CASES["Append"] = on(lambda o, x, y: [o.append(x, y), o.append(x, y, axis=0)], "f:2,3 f:2,3", "i:2,3 f:2,3")
CASES["Stack"] += on(lambda o, x, y: o.stack([x, y]), "i:2 f:2")
for each in ("Hstack", "Vstack", "Dstack"):
    CASES[each] = on(lambda o, x, y, each=each: function(o, each)([x, y]), "f:2,3 f:2,3", "i:2,3,4 f:2,3,4")
CASES["Meshgrid"] = on(lambda o, x, y: [*o.meshgrid(x, y), *o.meshgrid(x, y, indexing="ij")], "f:3 f:4") + on(
    lambda o, x, y, z: o.meshgrid(x, y, z), "f:2 f:3 f:4"
)
CASES["Pad"] = all_of(
    [
        lambda o, x: o.pad(x, ((1, 2), (0, 1))),
        lambda o, x: o.pad(x, ((0, 1), (1, 0)), constant_values=3),
        lambda o, x: o.pad(x, ((1, 1), (2, 1)), mode="reflect"),
        lambda o, x: o.pad(x, ((1, 1), (2, 1)), mode="symmetric"),
    ],
    "f:2,3",
    "i:3,4",
) + on(lambda o, x: [o.pad(x, 1), o.pad(x, (1, 0), constant_values=3)], "f:4")
CASES["Diag"] = all_of([lambda o, x, k=k: o.diag(x, k) for k in (-1, 0, 2)], "f:3", "f:3,4", "i:3")
CASES["Diagflat"] = all_of([lambda o, x, k=k: o.diagflat(x, k) for k in (-1, 0)], "f:2,2")
CASES["Trace"] = all_of([lambda o, x: o.trace(x), lambda o, x: o.trace(x, offset=1)], "f:3,3", "i:4,4", "q:3,3")
CASES["View"] = all_of([lambda o, x: o.view(x, dtype="int32")], "f:2,4", "q:2,8", "d:2,2") + on(
    lambda o, x: [o.view(x, dtype="int8"), o.view(x, dtype="float16")], "f:3"
)

# ---- making arrays --------------------------------------------------------------------------------------------

CASES["Array"] = on(lambda o, x: [o.array(x), o.array(x, dtype="int32")], "f:3")
CASES["Full"] = on(lambda o, x: [o.full((2, 3), x), o.full((3,), x, dtype="int32")], "f:")
CASES["FullLike"] = on(
    lambda o, x, y: [o.full_like(x, 2), o.full_like(x, y), o.full_like(x, 2.5, dtype="float64")], "f:2,3 f:", "i:2,3 f:"
)
CASES["Linspace"] = on(
    lambda o, x, y: [
        o.linspace(x, y, 5),
        o.linspace(x, y, 4, endpoint=False),
        o.linspace(x, y, 3, axis=-1),
        o.linspace(x, y, 1),
        o.linspace(x, 9, 5),
    ],
    "f:2 f:2",
    "i:3 f:3",
    "d: d:",
) + on(lambda o, x, y: o.linspace(x, y, 5, dtype="int32"), "f:2 f:2")
CASES["Logspace"] = on(lambda o, x, y: [o.logspace(x, y, 5), o.logspace(x, y, 4, base=2, endpoint=False)], "f:2 f:2")
CASES["Geomspace"] = on(lambda o, x, y: [o.geomspace(x, y, 5), o.geomspace(x, y, 4, endpoint=False)], "f+:2 f+:2")
CASES["Vander"] = all_of(
    [lambda o, x: o.vander(x), lambda o, x: o.vander(x, 3), lambda o, x: o.vander(x, increasing=True)], "f:4", "i:4"
)

# ---- reading and choosing -------------------------------------------------------------------------------------

CASES["Take"] = on(
    lambda o, x, i: [o.take(x, i), o.take(x, i, axis=1), o.take(x, 1, axis=0), o.take(x, [0, -1], axis=-1)],
    "f:9,9 i+:2,2",
    "i:9,9 l+:3",
)
CASES["TakeAlongAxis"] = on(
    lambda o, x: [
        o.take_along_axis(x, o.argsort(x, axis=1), axis=1),
        o.take_along_axis(x, np.array([[0, -1]]), axis=-1),
        o.take_along_axis(x, np.array([1, 2])),
    ],
    "f:3,4",
)
CASES["Where"] = on(
    lambda o, x, y: [o.where(x > 0, x, y), o.where(x > 0, x, 0), o.where(x > 0, 1.5, y), o.where(x, 1, 2)],
    "f:2,3 f:3",
    "i:3 f:3",
    "h:3 i:3",
) + on(lambda o, x: o.where(x), "b:2,3")
CASES["Nonzero"] = on(lambda o, x: o.nonzero(x), "f=:3,4", "b:5")
CASES["Select"] = on(lambda o, x, y: [o.select([x > 1, x > 0], [y, x], 7.0), o.select([x > 1], [y])], "f:9 f:9")
CASES["UnravelIndex"] = on(lambda o, x: o.unravel_index(x, (3, 4)), "i+:5", "l+:5")
CASES["Unique"] = (
    on(lambda o, x: o.unique(x), "i:9", "f=:3,4")
    + on(lambda o, x: o.unique(x, return_index=True, return_inverse=True, return_counts=True), "i:9", "f=:3,4")
    + on(lambda o, x: o.unique(x, size=4, fill_value=-7, return_index=True, return_counts=True), "i:9", "i:2")
    + on(lambda o, x: o.unique(x % 2, axis=0, return_counts=True), "i:9,2")
)
CASES["Clip"] = all_of([lambda o, x: o.clip(x, -1, 2), lambda o, x: o.clip(x, 0, 1)], "f:9", "i:9", "h:4")

# ---- along axes -----------------------------------------------------------------------------------------------

AXES: list[dict[str, Any]] = [{}, {"axis": 1}, {"axis": (0, -1), "keepdims": True}, {"axis": -1, "keepdims": True}]


def reduction(name: str, kinds: str, axes: list[dict[str, Any]] = AXES, tolerance: float | None = None) -> None:
    CASES[name] = all_of(
        [lambda o, x, a=a: function(o, name)(x, **a) for a in axes],
        *(f"{k}:2,3,4" for k in kinds.split()),
        tolerance=tolerance,
    )


for each in ["Sum", "Mean", "Max", "Min", "Amax", "Amin", "Any", "All"]:
    reduction(each, "f i b q y h l" if each != "Mean" else "f i b h l B")
reduction("Prod", "f q y h")
for each in ["Var", "Std"]:
    reduction(each, "f i h b")
reduction("Ptp", "f i")
for each in ["Argmax", "Argmin", "Nanargmax", "Nanargmin"]:
    reduction(each, "f= i b h=", [{}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"keepdims": True}])
CASES["Argmax"] += on(
    lambda o, x: [o.argmax(o.relu(x) * -1.0, axis=1), o.argmin(o.relu(x) * -1.0 + 0.0 * x, axis=1)], "f:5,6"
)
for each in ["Nansum", "Nanmean", "Nanmax", "Nanmin", "Nanprod", "Nanvar", "Nanstd"]:
    reduction(each, "f i f.")
CASES["Nanargmax"] += on(lambda o, x: [o.nanargmax(x, axis=1), o.nanargmin(x, axis=0), o.nanargmax(x)], "f.:3,2")
CASES["CountNonzero"] = all_of(
    [lambda o, x: o.count_nonzero(x), lambda o, x: o.count_nonzero(x, axis=(0, 1))], "f=:2,3,4", "b:2,3,4"
)
CASES["Max"] += on(lambda o, x: [o.max(x, initial=2), o.min(x, axis=0, initial=-1)], "f:2,3", "i:2,3")
CASES["Average"] = (
    on(lambda o, x: [o.average(x), o.average(x, axis=0)], "f:2,3", "i:2,3")
    + on(
        lambda o, x, w: [o.average(x, axis=1, weights=w), o.average(x, axis=-1, weights=w)], "f:2,3 f+:3", "i:2,3 f+:3"
    )
    + on(lambda o, x, w: [o.average(x, weights=w), o.average(x, axis=0, weights=w)], "f:2,3 f+:2,3")
)
for each in ["Cumsum", "Cumprod", "Nancumsum", "Nancumprod"]:
    calls = [
        lambda o, x, a=a, each=each: function(o, each)(x, **a)
        for a in ({}, {"axis": 1}, {"axis": -1, "dtype": "float64"})
    ]
    CASES[each] = all_of(calls, "f:2,3", "i:2,3", "b:2,3") + (all_of(calls, "f.:3,4") if "Nan" in each else [])
for each in ("Sort", "Argsort"):
    CASES[each] = all_of(
        [lambda o, x, a=a, each=each: function(o, each)(x, axis=a) for a in (-1, 0, None)],
        "f:3,4",
        "i:3,4",
        "b:3,4",
        "h:2,5",
    )
CASES["Argpartition"] = [
    Case(
        lambda o, x: o.argpartition(x, 2),
        (Spec("i:7"),),
        unique=False,
        check=lambda xs, ys: np.testing.assert_array_equal(np.sort(xs[0][ys[0][:3]]), np.sort(xs[0])[:3]),
    )
]
CASES["Trapezoid"] = on(lambda o, y: [o.trapezoid(y), o.trapezoid(y, dx=0.5), o.trapezoid(y, axis=0)], "f:3,4", "i:3,4")
METHODS = ("linear", "lower", "higher", "nearest", "midpoint")
for each in ["Quantile", "Nanquantile", "Percentile", "Nanpercentile"]:
    scale = 100.0 if "ercent" in each else 1.0
    calls = [
        lambda o, x, m=m, each=each, scale=scale: function(o, each)(x, 0.3 * scale, axis=1, method=m) for m in METHODS
    ]
    calls += [
        lambda o, x, each=each, scale=scale: function(o, each)(
            x, np.array([0.25, 0.9], "float32") * np.float32(scale), axis=0
        ),
        lambda o, x, each=each, scale=scale: function(o, each)(x, 0.5 * scale),
        lambda o, x, each=each, scale=scale: function(o, each)(x, 0.5 * scale, axis=(0, 1), keepdims=True),
    ]
    CASES[each] = all_of(calls, "f:5,4", "f.:5,4", *(() if "Nan" in each else ("i:5,4",)))
for each in ["Median", "Nanmedian"]:
    reduction(each, "f f.", [{}, {"axis": 1}, {"axis": -1, "keepdims": True}])
CASES["Bincount"] = on(lambda o, x: [o.bincount(x), o.bincount(x, minlength=12)], "i+:9", "y:7") + on(
    lambda o, x: o.bincount(x, minlength=3), "i+:2,5"
)
CASES["SearchSorted"] = on(
    lambda o, x, v: [o.searchsorted(o.sort(x), v), o.searchsorted(o.sort(x), v, side="right")], "f=:6 f=:5", "i:6 i:4"
)
CASES["Digitize"] = on(lambda o, x: o.digitize(x, np.array([-1.0, 0.0, 1.5], "float32")), "f=:2,5", "i:5", "h=:4")
CASES["Histogram"] = eager(lambda o, x: [*o.histogram(x), *o.histogram(x, bins=4)], "f:20", "d:9") + eager(
    lambda o, x: o.histogram(x, bins=5, range=(-1.0, 1.0)), "f:20"
)
CASES["Corrcoef"] = on(lambda o, x: o.corrcoef(x), "f:3,8", "d:2,6", "i:3,6")
CASES["IsIn"] = on(lambda o, x, y: [o.isin(x, y), o.isin(x, y, invert=True)], "i:3,4 i:3", "i:4 f=:5")
CASES["Slogdet"] = on(lambda o, x: o.slogdet(x), "f:4,4", "d:2,3,3")

# ---- nn -------------------------------------------------------------------------------------------------------

FLOATS = ("f:3,4", "h:2,6", "d:4")
for each, options in {
    "SoftShrink": {"threshold": 0.3},
    "Squareplus": {"b": 3},
    "LeakyRelu": {"negative_slope": 0.3},
    "Elu": {"alpha": 0.7},
    "Gelu": {"approximate": False},
    "Celu": {"alpha": 0.6},
    "HardShrink": {"threshold": 0.4},
}.items():
    CASES[each] = all_of(
        [
            lambda o, x, each=each: function(o, each)(x),
            lambda o, x, each=each, options=options: function(o, each)(x, **options),
        ],
        *FLOATS,
    )
CASES["Threshold"] = on(lambda o, x: o.threshold(x, 0.2, -3.0), *FLOATS)
CASES["Glu"] = all_of([lambda o, x: o.glu(x), lambda o, x: o.glu(x, axis=0)], "f:2,4")
CASES["Sparsemax"] = all_of([lambda o, x: o.sparsemax(x), lambda o, x: o.sparsemax(x, axis=0)], "f:3,4")
POOLS: list[tuple[dict[str, Any], str]] = [
    ({"pool_size": 2}, "f:2,6,3"),
    ({"pool_size": (2, 3), "strides": 1, "padding": "same"}, "f:2,5,6,3"),
    ({"pool_size": 2, "data_format": "channels_first"}, "f:2,3,6,5"),
    ({"pool_size": 2, "strides": (1, 2, 1)}, "f:1,4,4,3,2"),
]
for each in ("MaxPool", "AveragePool"):
    CASES[each] = [c for k, s in POOLS for c in on(lambda o, x, k=k, each=each: function(o, each)(x, **k), s)]
for each in ("AdaptiveMaxPool", "AdaptiveAveragePool"):
    CASES[each] = eager(lambda o, x, each=each: function(o, each)(x, (3,)), "f:2,7,3") + eager(
        lambda o, x, each=each: function(o, each)(x, (3, 2), data_format="channels_first"), "f:2,3,7,5"
    )
CASES["Conv"] = on(
    lambda o, x, k: [o.conv(x, k), o.conv(x, k, strides=2, padding="same"), o.conv(x, k, dilation_rate=2)],
    "f:2,7,3 f:3,3,4",
    "f:2,7,8,3 f:3,2,3,4",
) + on(lambda o, x, k: o.conv(x, k, data_format="channels_first"), "f:2,3,6,6 f:3,3,3,4")
CASES["DepthwiseConv"] = on(
    lambda o, x, k: [o.depthwise_conv(x, k), o.depthwise_conv(x, k, strides=2, padding="same")],
    "f:2,7,3 f:3,3,2",
    "f:2,7,8,3 f:3,2,3,2",
)
CASES["SeparableConv"] = on(
    lambda o, x, k, p: [o.separable_conv(x, k, p), o.separable_conv(x, k, p, strides=2, padding="same")],
    "f:2,7,3 f:3,3,2 f:1,6,4",
    "f:2,7,8,3 f:3,2,3,2 f:1,1,6,4",
)
CASES["ConvTranspose"] = eager(
    lambda o, x, k: [
        o.conv_transpose(x, k, 1),
        o.conv_transpose(x, k, 2, padding="same"),
        o.conv_transpose(x, k, 2, output_padding=1),
    ],
    "f:2,5,3 f:3,4,3",
    "f:2,4,5,3 f:3,3,4,3",
)
CASES["OneHot"] = on(
    lambda o, x: [o.one_hot(x, 5), o.one_hot(x, 6, axis=0, dtype="int32"), o.one_hot(x, 3, axis=1, dtype="bool")],
    "i:2,3",
    "y:4,2",
)
CASES["MultiHot"] = on(lambda o, x: [o.multi_hot(x, 7), o.multi_hot(x, 7, dtype="float16")], "i+:3,4", "i+:5")
CASES["BinaryCrossentropy"] = on(
    lambda o, t, x: [
        o.binary_crossentropy(t, x),
        o.binary_crossentropy(t, o.sigmoid(x)),
        o.binary_crossentropy(t, x * 30.0, from_logits=True),
    ],
    "f1:3,4 f1:3,4",
)
CASES["CategoricalCrossentropy"] = on(
    lambda o, t, x: [
        o.categorical_crossentropy(t, x),
        o.categorical_crossentropy(t, o.softmax(x * 60.0)),
        o.categorical_crossentropy(t, x, from_logits=True, axis=0),
    ],
    "f1:3,4 f1:3,4",
)
CASES["SparseCategoricalCrossentropy"] = on(
    lambda o, t, x: [
        o.sparse_categorical_crossentropy(t, x),
        o.sparse_categorical_crossentropy(t, o.softmax(x * 60.0)),
        o.sparse_categorical_crossentropy(t, x, from_logits=True),
    ],
    "i+:3 f1:3,9",
    "i+:3,1 f1:3,9",
)
CASES["Moments"] = on(lambda o, x: [*o.moments(x, [0]), *o.moments(x, [0, 1], keepdims=True)], "f:3,4", "h:3,4")
CASES["BatchNorm"] = on(
    lambda o, x, m, v, g, s: [
        o.batch_normalization(x, m, v, axis=-1),
        o.batch_normalization(x, m, v, axis=2, offset=g, scale=s, epsilon=0.01),
    ],
    "f:2,3,4 f:4 f+:4 f:4 f:4",
) + on(lambda o, x, m, v, g: o.batch_normalization(x, m, v, axis=1, offset=g, scale=v), "f:2,3,4 f:3 f+:3 f:3")
CASES["CTCLoss"] = on(
    lambda o, t, x: [
        o.ctc_loss(t, x, np.array([3, 2]), np.array([8, 6])),
        o.ctc_loss(t, x, np.array([1, 3]), np.array([8, 8]), mask_index=9),
    ],
    "i+:2,3 f:2,8,10",
)
CASES["CTCDecode"] = on(
    lambda o, x: [
        *o.ctc_decode(x, np.array([7, 5])),
        *o.ctc_decode(x, np.array([7, 4]), merge_repeated=False, mask_index=2),
    ],
    "f:2,7,4",
)
CASES["Normalize"] = on(
    lambda o, x: [o.normalize(x), o.normalize(x, axis=0, order=1), o.normalize(x, order=3, axis=1)], "f:3,4"
)
CASES["PSNR"] = on(lambda o, x, y: o.psnr(x, y, 2.0), "f:2,4,4,3 f:2,4,4,3")
CASES["DotProductAttention"] = on(
    lambda o, q, k, v: [o.dot_product_attention(q, k, v), o.dot_product_attention(q, k, v, is_causal=True, scale=0.3)],
    "f:2,5,3,4 f:2,5,3,4 f:2,5,3,4",
    "h:2,5,3,4 h:2,6,3,4 h:2,6,3,4",
) + on(
    lambda o, q, k, v, m, b: o.dot_product_attention(q, k, v, bias=b, mask=m),
    "f:2,5,4,4 f:2,6,2,4 f:2,6,2,4 b:2,1,5,6 f:2,4,5,6",
)
CASES["RMSNorm"] = on(
    lambda o, x, s: [o.rms_normalization(x, s), o.rms_normalization(x, s, epsilon=0.1)], "f:2,3,4 f:4", "h:3,4 h:4"
)
CASES["LayerNorm"] = on(
    lambda o, x, g, b: [
        o.layer_normalization(x, g, b),
        o.layer_normalization(x, g, b, epsilon=0.1),
        o.layer_normalization(x, g, None),
    ],
    "f:2,3,4 f:4 f:4",
    "h:3,4 h:4 h:4",
)
CASES["Polar"] = on(lambda o, x, y: o.polar(x, y), "f+:2,3 f:2,3")
CASES["Unfold"] = on(
    lambda o, x: [o.unfold(x, 2), o.unfold(x, (2, 3), dilation=2, padding=1, stride=(2, 1))], "f:2,3,6,7"
)
CASES["Fold"] = on(
    lambda o, x: [module(o, "nn").fold(x, (4, 5), 2), module(o, "nn").fold(x, (5, 4), 2)], "f:2,12,12"
) + on(lambda o, x: module(o, "nn").fold(x, (6, 6), (2, 2), padding=1, stride=2), "f:2,8,16")
for each, s in {"DepthToSpace": "f:2,3,4,8 f:2,8,4,6", "SpaceToDepth": "f:2,4,6,3 f:2,3,4,6"}.items():
    CASES[each] = on(
        lambda o, x, y, each=each: [
            getattr(module(o, "nn"), snake(each))(x, 2),
            getattr(module(o, "nn"), snake(each))(y, 2, data_format="channels_first"),
        ],
        s,
    )

# ---- math -----------------------------------------------------------------------------------------------------

for each in ["SegmentSum", "SegmentMax"]:
    CASES[each] = on(
        lambda o, x, each=each: [
            function(o, each)(x, np.array([0, 2, 0, 1, 2]), num_segments=4),
            function(o, each)(x, np.array([0, 0, 1, 1, 3]), sorted=True),
        ],
        "f:5,3",
        "i:5",
    ) + on(lambda o, x, i, each=each: function(o, each)(x, i * 0 + np.array([0, 1, 2, 1])), "f:4,2 i:4")
for each in ["SegmentMin", "SegmentProd"]:
    CASES[each] = on(
        lambda o, x, each=each: [getattr(module(o, "math"), snake(each))(x, np.array([0, 2, 0, 1, 2]), num_segments=4)],
        "f:5,3",
        "i:5",
    )
CASES["TopK"] = on(lambda o, x: [*o.top_k(x, 2), *o.top_k(x, 3, sorted=True)], "f:3,5", "i:3,7")
CASES["InTopK"] = on(lambda o, t, x: [o.in_top_k(t, x, 1), o.in_top_k(t, x, 3)], "i+:5 f=:5,9")
CASES["Logsumexp"] = all_of(
    [lambda o, x: o.logsumexp(x), lambda o, x: o.logsumexp(x, axis=1, keepdims=True)], "f:2,3", "h:2,3"
)
CASES["CDist"] = on(lambda o, x, y: module(o, "math").cdist(x, y), "f:4,3 f:5,3", "f:2,4,3 f:2,5,3")
CASES["ExtractSequences"] = on(lambda o, x: [o.extract_sequences(x, 3, 2), o.extract_sequences(x, 4, 1)], "f:2,9")
for each in ("FFT", "FFT2", "IFFT2"):
    CASES[each] = on(lambda o, x, y, each=each: getattr(o, each.lower())((x, y)), "f:2,4,6 f:2,4,6", "d:3,5 d:3,5")
CASES["RFFT"] = on(lambda o, x: [*o.rfft(x), *o.rfft(x, 5), *o.rfft(x, 9)], "f:2,6", "d:7")
CASES["IRFFT"] = on(lambda o, x, y: [o.irfft((x, y)), o.irfft((x, y), 5), o.irfft((x, y), 9)], "f:2,4 f:2,4")
WINDOWS: list[dict[str, Any]] = [{}, {"window": "hamming", "center": False}, {"window": None}]
CASES["STFT"] = all_of(
    [lambda o, x, w=w, n=n: o.stft(x, n, 3, 8, **w) for w in WINDOWS for n in (6, 7)], "f:2,20", "d:20"
)
CASES["ISTFT"] = on(
    lambda o, x: [
        o.istft(o.stft(x, 6, 3, 8), 6, 3, 8),
        o.istft(o.stft(x, 8, 4, 8, window="hamming"), 8, 4, 8, window="hamming", length=17),
    ],
    "f:2,24",
)
CASES["Rsqrt"] = on(lambda o, x: o.rsqrt(x), "f+:3", "h+:3")
CASES["Erf"] = on(lambda o, x: o.erf(x), "f:9", "d:5")
CASES["Erfc"] = on(lambda o, x: [module(o, "math").erfc(x), module(o, "math").erfc(x * 3.0)], "f:20", "d:5")
CASES["Erfinv"] = on(lambda o, x: [o.erfinv(x), o.erfinv(x * 2.0 - 1.0), o.erfinv(o.sign(x))], "f1:20", "d1:9")
CASES["ViewAsComplex"] = [
    Case(lambda o, x: o.view_as_complex(x), (Spec("f:3,2"),), oracle=lambda x: x[..., 0] + 1j * x[..., 1])
]
CASES["ViewAsReal"] = on(lambda o, x: o.view_as_real(x), "c:3")
CASES["Logdet"] = on(lambda o, x: o.logdet(x), "f#:3,3", "d#:2,4,4")

# ---- linalg ---------------------------------------------------------------------------------------------------


def rebuilds(product: Callable[..., Any]) -> Callable[[list[Any], list[Any]], None]:
    """Whether the factors give the matrix."""
    return lambda xs, ys: np.testing.assert_allclose(product(*ys), xs[0], rtol=1e-4, atol=1e-4)


CASES["Cholesky"] = on(lambda o, x: [o.cholesky(x), o.cholesky(x, upper=True)], "f#:3,3", "d#:2,4,4")
CASES["CholeskyInverse"] = on(lambda o, x: module(o, "linalg").cholesky_inverse(x), "f%:3,3")
CASES["Det"] = on(lambda o, x: o.det(x), "f:3,3", "d:2,4,4")
CASES["Inv"] = on(lambda o, x: o.inv(x), "fw:3,3", "dw:2,4,4")
CASES["Eig"] = [
    Case(
        lambda o, x: o.eig(x),
        (Spec("f:3,3"),),
        unique=False,
        check=rebuilds(lambda w, v: v @ np.diag(w) @ np.linalg.inv(v)),
    )
]
CASES["Eigh"] = on(lambda o, x: o.eigh(x)[0], "f#:3,3", "d#:2,4,4") + [
    Case(lambda o, x: o.eigh(x), (Spec("f#:3,3"),), unique=False, check=rebuilds(lambda w, v: v @ np.diag(w) @ v.T))
]
CASES["LuFactor"] = on(lambda o, x: o.lu_factor(x), "f:4,4", "d:3,3")
CASES["Norm"] = (
    on(
        lambda o, x: [
            o.norm(x),
            o.norm(x, axis=1),
            *(o.norm(x, ord=n, axis=-1, keepdims=True) for n in (0, 1, 2, 3, -1, float("inf"), float("-inf"))),
        ],
        "f:3,4",
        "i:3,4",
        "h:3,4",
    )
    + on(
        lambda o, x: [
            o.norm(x, ord=n, axis=(0, 2), keepdims=k)
            for n in ("fro", "nuc", 1, -1, 2, -2, float("inf"), float("-inf"))
            for k in (False, True)
        ],
        "f:3,2,4",
    )
    + on(lambda o, x: [o.norm(x, ord=n, axis=(2, 0)) for n in (1, float("inf"))], "f:3,2,4")
)
CASES["Qr"] = on(lambda o, x: [*o.qr(x), *o.qr(x, mode="complete")], "f:4,3", "d:3,3", "f:2,3,4")
CASES["Solve"] = on(lambda o, a, y: o.solve(a, y), "fw:3,3 f:3,2", "fw:3,3 f:3", "dw:2,4,4 d:2,4,3")
CASES["SolveTriangular"] = on(
    lambda o, a, y: [o.solve_triangular(a, y, lower=True), o.solve_triangular(a, y)], "fw:3,3 f:3,2", "fw:3,3 f:3"
)
CASES["SVD"] = on(lambda o, x: o.svd(x, compute_uv=False), "f:3,4", "d:2,4,3") + [
    Case(
        lambda o, x: o.svd(x, full_matrices=False),
        (Spec("f:3,4"),),
        unique=False,
        check=rebuilds(lambda u, s, v: u @ np.diag(s) @ v),
    ),
    Case(lambda o, x: o.svd(x), (Spec("f:3,3"),), unique=False, check=rebuilds(lambda u, s, v: u @ np.diag(s) @ v)),
]
CASES["Lstsq"] = on(lambda o, a, y: o.lstsq(a, y), "f:5,3 f:5,2", "f:5,3 f:5")
CASES["MatrixRank"] = on(
    lambda o, x: [module(o, "linalg").matrix_rank(x), module(o, "linalg").matrix_rank(x, tol=2.0)], "f:3,4", "d:2,3,3"
)
CASES["Pinv"] = on(
    lambda o, x: [module(o, "linalg").pinv(x), module(o, "linalg").pinv(x, rcond=0.5)], "f:3,4", "d:2,4,3"
)

# ---- image ----------------------------------------------------------------------------------------------------

CASES["RGBToGrayscale"] = on(
    lambda o, x: o.image.rgb_to_grayscale(x), "f1:2,4,5,3", "f1:4,5,3", "y:2,4,4,3", "f:2,3,3,1"
) + on(lambda o, x: o.image.rgb_to_grayscale(x, data_format="channels_first"), "f1:2,3,4,5")
for each in ("RGBToHSV", "HSVToRGB"):
    CASES[each] = on(
        lambda o, x, each=each: getattr(o.image, "rgb_to_hsv" if each[0] == "R" else "hsv_to_rgb")(x),
        "f1:2,4,5,3",
        "f1:4,5,3",
    )
SIZES: list[dict[str, Any]] = [
    {"interpolation": i} for i in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5", "area")
]
SIZES += [{"antialias": True}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 0.5}]
CASES["Resize"] = all_of(
    [lambda o, x, k=k: o.image.resize(x, (4, 7), **k) for k in SIZES], "f:2,6,5,3", "f:6,5,3", tolerance=1e-4
) + on(lambda o, x: o.image.resize(x, (4, 7), data_format="channels_first"), "f:2,3,6,5")
MATRIX = np.array([1.1, 0.2, 0.3, -0.1, 0.9, 0.5, 0.0, 0.0], "float32")
CASES["AffineTransform"] = all_of(
    [
        lambda o, x, i=i, m=m: o.image.affine_transform(x, MATRIX, interpolation=i, fill_mode=m, fill_value=0.25)
        for i in ("bilinear", "nearest")
        for m in ("constant", "nearest", "wrap", "reflect")
    ],
    "f:2,6,5,3",
    "f:6,5,3",
    tolerance=1e-4,
) + on(
    lambda o, x, m: o.image.affine_transform(x, m * 0.1 + MATRIX, data_format="channels_first"),
    "f:2,3,6,5 f1:2,8",
    tolerance=1e-4,
)
CORNERS = np.array([[0.0, 0.0], [0.0, 4.0], [5.0, 0.0], [5.0, 4.0]], "float32")
CASES["PerspectiveTransform"] = on(
    lambda o, x, p: [
        o.image.perspective_transform(x, p + CORNERS, np.stack([CORNERS, CORNERS]), interpolation=i, fill_value=0.5)
        for i in ("bilinear", "nearest")
    ],
    "f:2,6,5,3 f1:2,4,2",
    tolerance=1e-3,
)
CASES["ExtractPatches"] = on(
    lambda o, x: [
        o.image.extract_patches(x, 2),
        o.image.extract_patches(x, (3, 2), strides=1, padding="same"),
        o.image.extract_patches(x, 2, strides=1, dilation_rate=2),
    ],
    "f:2,6,7,3",
    "f:6,7,3",
) + on(lambda o, x: o.image.extract_patches(x, (2, 2, 2)), "f:1,4,4,4,2")
CASES["MapCoordinates"] = all_of(
    [
        lambda o, x, c, n=n, m=m: o.image.map_coordinates(x, c * 3.0, n, fill_mode=m, fill_value=0.5)
        for n in (0, 1)
        for m in ("constant", "nearest", "wrap", "reflect")
    ],
    "f:5,4 f:2,6,3",
    "i:5,4 f:2,7",
) + on(
    lambda o, x, c: [
        o.image.map_coordinates(x, c, 1),
        o.image.map_coordinates(x, o.tanh(c) * 2.0, 1, fill_mode="mirror"),
    ],
    "f:5,4,3 f+:3,8",
)
CASES["PadImages"] = on(
    lambda o, x: [
        o.image.pad_images(x, 1, 2, 0, 1),
        o.image.pad_images(x, top_padding=1, left_padding=2, target_height=9, target_width=10),
    ],
    "f:2,5,6,3",
)
CASES["CropImages"] = on(
    lambda o, x: [
        o.image.crop_images(x, 1, 2, 0, 1),
        o.image.crop_images(x, top_cropping=1, left_cropping=2, target_height=3, target_width=2),
    ],
    "f:2,5,6,3",
    "f:5,6,3",
)
CASES["GaussianBlur"] = on(
    lambda o, x: [o.image.gaussian_blur(x), o.image.gaussian_blur(x, (5, 3), (0.7, 2.0))], "f:2,7,6,3", "f:7,6,3"
)
CASES["ScaleAndTranslate"] = on(
    lambda o, x: [
        o.image.scale_and_translate(
            x, (2, 8, 4, 3), np.array([1.4, 0.7], "float32"), np.array([0.3, -0.2], "float32"), (1, 2), m, antialias=a
        )
        for m in ("linear", "cubic", "lanczos3", "lanczos5")
        for a in (True, False)
    ],
    "f:2,6,5,3",
    tolerance=1e-4,
)
CASES["SobelEdges"] = on(lambda o, x: o.image.sobel_edges(x), "f:2,5,6,3") + on(
    lambda o, x: o.image.sobel_edges(x, data_format="channels_first"), "f:2,3,5,6"
)
CASES["SSIM"] = on(
    lambda o, x, y: [o.image.ssim(x, y), o.image.ssim(x, y, max_val=2.0, filter_size=5, filter_sigma=0.8)],
    "f1:2,12,13,3 f1:2,12,13,3",
    tolerance=1e-4,
)

# ---- core -----------------------------------------------------------------------------------------------------

CASES["Cast"] = all_of(
    [lambda o, x, d=d: o.cast(x, d) for d in ("float16", "int32", "bool", "float64", "uint8", "bfloat16")],
    "f+:4",
    "i+:4",
    "b:4",
)
CASES["ConvertToTensor"] = on(lambda o, x: [o.convert_to_tensor(x), o.convert_to_tensor(x, dtype="int32")], "f:4")
CASES["SaturateCast"] = all_of(
    [
        lambda o, x, d=d: o.saturate_cast(x * 100 if "int" in str(x.dtype) else x * 1e3, d)
        for d in ("uint8", "int8", "float16", "int32")
    ],
    "f:6",
    "i:6",
)
CASES["StopGradient"] = on(lambda o, x: o.stop_gradient(x), "f:4")
CASES["Scatter"] = on(
    lambda o, v: [
        o.scatter(np.array([[0], [2], [0]]), v, (4, 2)),
        o.scatter(np.array([[0, 1], [2, 0], [0, 1]]), v[:, 0], (3, 2)),
    ],
    "f:3,2",
    "i:3,2",
)
CASES["ScatterUpdate"] = on(
    lambda o, x, u: (
        [o.scatter_update(x, np.array([[0], [2]]), u)]
        + [o.scatter_update(x, np.array([[1], [1]]), u, reduction=r) for r in ("add", "max", "min", "mul")]
    ),
    "f:4,2 f:2,2",
)
CASES["Slice"] = on(lambda o, x: [o.slice(x, (1, 2), (2, 3)), o.slice(x, np.array([0, 1]), (3, 2))], "f:4,5")
CASES["SliceUpdate"] = on(lambda o, x, u: [o.slice_update(x, (1, 2), u), o.slice_update(x, (3, 4), u)], "f:4,5 f:2,3")
