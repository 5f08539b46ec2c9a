"""From a row of the table to configurations, and from a configuration to a Keras model and inputs for it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import ml_dtypes  # noqa: F401 - NumPy learns bfloat16
import numpy as np

from .pairwise import covering
from .table import IGNORED, SUFFIXES, TABLE, VALUES, In, Sub, class_of
from .text import SENTENCES, WORDS

Array = np.ndarray[Any, Any]
BATCH = 3
UNKNOWN = 5  # the size of an unknown dimension
DTYPES = {"float": "float32", "int": "int32", "image": "float32", "string": "string", "text": "string"}
CALL = "call "  # the prefix of a factor that is an argument of the call


@dataclass(frozen=True)
class Case:
    """One configuration of a row: the layer's arguments, those of its call, its input, policy, and whether masked."""

    row: str
    config: Mapping[str, Any]
    call: Mapping[str, Any]
    input: Any
    policy: str = "float32"
    masked: bool = False

    def __str__(self) -> str:
        """As one would write it."""
        usual = defaults(self.row)
        parts = [f"{k}={v!r}" for k, v in self.config.items() if k not in usual or usual[k] != v]
        parts += [f"dtype={self.policy!r}"] * (self.policy != "float32")
        call = [f"{k}={v!r}" for k, v in self.call.items() if v]
        call += ["masked"] * self.masked
        return f"{class_of(self.row)}({', '.join(parts)})({', '.join([repr(self.input), *call])})"


def defaults(row: str) -> dict[str, Any]:
    """The defaults of a class' arguments."""
    found = inspect.signature(getattr(keras.layers, class_of(row)).__init__).parameters.values()
    return {p.name: p.default for p in found if p.default is not p.empty}


def arguments(row: str) -> list[str]:
    """The arguments of a class that are tried."""
    found = inspect.signature(getattr(keras.layers, class_of(row)).__init__).parameters
    return [name for name in found if name != "self" and name not in IGNORED]


def candidates(row: str, name: str) -> tuple[Any, ...]:
    """The values of an argument, Keras' default first where it is among them; KeyError where nobody said any."""
    suffix = next((s for s in SUFFIXES if name.endswith(s)), None)
    values = TABLE[row].values.get(name) or VALUES.get(name) or (suffix and SUFFIXES[suffix])
    if not values:
        raise KeyError(f"{class_of(row)}: the table has no values for the argument {name!r}")
    usual = defaults(row).get(name, inspect.Parameter.empty)
    return tuple(sorted(values, key=lambda v: not (type(v) is type(usual) and v == usual)))


def cases(name: str, policies: tuple[str, ...] | None = None) -> Iterator[Case]:
    """All configurations of a row, pairwise over arguments, inputs, policies (its own by default) and masks."""
    row = TABLE[name]
    known = arguments(name)
    keywords = [key for key in row.values if key not in known]
    factors: dict[str, Any] = {key: candidates(name, key) for key in [*known, *keywords]}
    factors.update({CALL + key: values for key, values in row.calls.items()})
    factors.update(
        {
            "input": row.inputs,
            "dtype policy": policies or row.policies,
            "masked": (False, True) if row.masks else (False,),
        }
    )

    def fits(config: Mapping[str, Any]) -> bool:
        """A mask belongs to the axis after the batch, which channels_first makes that of the channels."""
        odd = config.get("data_format") == "channels_first" and config.get("masked") and "use_bias" in factors
        return row.fits(config) and not odd

    for values in covering(factors, fits):
        call = {key.removeprefix(CALL): v for key, v in values.items() if key.startswith(CALL)}
        config = {key: values[key] for key in [*known, *keywords]}
        yield Case(name, config, call, values["input"], values["dtype policy"], values["masked"])


# ---- models -----------------------------------------------------------------------------------------------------


def made(value: Any) -> Any:
    """A value of the table as Keras takes it: sub-layers made."""
    if isinstance(value, Sub):
        return getattr(keras.layers, value.name)(**{k: made(v) for k, v in value.config.items()})
    return [made(v) for v in value] if isinstance(value, list) else value


def first_channels(shape: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    """A channels-last shape (without batch) as channels_first has it, the channels at `axis` counted with the batch."""
    return (*shape[: axis - 1], shape[-1], *shape[axis - 1 : -1]) if len(shape) >= axis else shape


def input_shapes(case: Case) -> list[In]:
    """The inputs in a list, turned to channels_first where the configuration says so."""
    each = case.input if isinstance(case.input, list) else [case.input]
    if case.config.get("data_format") != "channels_first":
        return each
    return [In(first_channels(i.shape, TABLE[case.row].channels), i.kind, i.high) for i in each]


@keras.saving.register_keras_serializable("tenun")
class MaskProbe(keras.layers.Layer):
    """Returns its input, and its mask as numbers: -1 where it has none."""

    def call(self, x: Any, mask: Any = None) -> Any:
        return keras.ops.full((1,), -1.0) if mask is None else keras.ops.cast(mask, "float32")

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None


def build(case: Case, seed: int = 0) -> Any:
    """A functional model: inputs, Masking where asked for, the layer, a probe of the mask; weights randomised."""
    row, batch = TABLE[case.row], BATCH if case.config.get("stateful") else None
    inputs = [keras.Input(i.shape, batch_size=batch, dtype=DTYPES[i.kind]) for i in input_shapes(case)]
    layer = Sub(class_of(case.row), {**case.config, **({"dtype": case.policy} if case.policy != "float32" else {})})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = made(row.inside(layer) if row.inside else layer)
        given = [keras.layers.Masking()(x) for x in inputs] if case.masked else inputs
        y = (
            layer(*given, **case.call)
            if row.apart
            else layer(given if isinstance(case.input, list) else given[0], **case.call)
        )
        inner = getattr(layer, "activation", None)
        if isinstance(inner, keras.Layer) and not inner.built:  # Keras does so in the first call that computes
            inner.build(keras.tree.flatten(y)[0].shape)
        probe = [MaskProbe()(v) for v in keras.tree.flatten(y)[:1]] if case.masked else []
    return randomise(keras.Model(inputs if len(inputs) > 1 else inputs[0], [y, *probe] if probe else y), seed)


POSITIVE = ("variance", "stddev", "gamma", "scale")


def randomise(model: Any, seed: int = 0) -> Any:
    """Every float weight gets other random values, those of variances and scales positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "float" not in str(weight.dtype):
            continue
        low, high = (0.5, 1.5) if any(word in weight.path.split("/")[-1] for word in POSITIVE) else (-0.7, 0.7)
        weight.assign(rng.uniform(low, high, tuple(weight.shape)).astype("float32"))
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


# ---- inputs -----------------------------------------------------------------------------------------------------


def _floats(rng: np.random.Generator, size: tuple[int, ...], high: int) -> Array:
    return rng.normal(size=size).astype("float32")


FILLS: dict[str, Any] = {
    "float": _floats,
    "int": lambda rng, size, high: rng.integers(0, high, size).astype("int32"),
    "image": lambda rng, size, high: rng.integers(0, 256, size).astype("float32"),
    "string": lambda rng, size, high: np.asarray(rng.choice(WORDS, size), object),
    "text": lambda rng, size, high: np.asarray(rng.choice(SENTENCES, size), object),
}


def feeds(case: Case, batch: int = BATCH, seed: int = 1) -> list[Array]:
    """Inputs for a configuration; masked: the first step(s) of some samples, the last of others, are zeros."""
    rng = np.random.default_rng(seed)
    found = []
    for i in input_shapes(case):
        size = (batch, *(UNKNOWN if d is None else d for d in i.shape))
        x = FILLS[i.kind](rng, size, i.high)
        if case.masked and x.ndim > 2 and batch > 1:
            x[0, :1], x[1, -1:] = 0, 0
        found.append(x)
    return found
