"""Models that Keras makes, runs and saves, for the tests of what is written as ONNX: all cases of the tests of Keras.

    for subject in subjects("conv", folder): ...

A family is one of `FAMILIES`.  What Keras itself cannot build, run or save is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tenun.tests.conformance.keras.checks import Subject as Configured
from tenun.tests.conformance.keras.compare import RefusedError, arrays, fed
from tenun.tests.conformance.keras.make import BATCH, cases, feeds
from tenun.tests.conformance.keras.sweep import known
from tenun.tests.conformance.keras.table import FAMILIES as ROWS
from tenun.tests.conformance.keras.table import TABLE
from tenun.tests.keras import cases as layers
from tenun.tests.keras import operation_cases as operations
from tenun.tests.keras.image_cases import AUDIO, IMAGES
from tenun.tests.keras.oracle import data, one_layer

POLICIES = ("float32", "mixed_float16", "float16", "mixed_bfloat16", "bfloat16", "float64")
HALF = 2e-2  # of half precisions, whose sums Keras rounds after every addition


@dataclass(frozen=True)
class Subject:
    """A file of Keras, inputs in the order of the model's, Keras' results, and how far others may be from them."""

    name: str
    path: Path
    inputs: list[Any]
    wanted: list[Any]
    tolerance: float
    unique: bool = True  # whether no other results would be right


Attempt = Callable[[Path], Subject]


def subjects(family: str, folder: Path, part: int = 0, parts: int = 1) -> Iterator[Subject]:
    """The subjects of a family, or one part of them; a file is there until the next subject is asked for."""
    for number, attempt in enumerate([*_attempts(family)][part::parts]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                subject = attempt(folder / "model.keras")
        except Exception:  # of Keras or TensorFlow, of any kind
            continue
        yield subject
        if number % 20 == 0:
            keras.backend.clear_session()


def _attempts(family: str) -> Iterator[Attempt]:
    if family in layers.FAMILIES or family in PICTURES:
        for name, rows in (layers.FAMILIES.get(family) or PICTURES[family]).items():
            yield from (partial(_layer, name, i, *row) for i, row in enumerate(rows))
    elif family == "channels first":
        for name, rows in layers.CHANNELS_FIRST.items():
            yield from (partial(_channels_first, name, i, *row) for i, row in enumerate(rows))
    elif family == "operations":
        for name, calls in operations.CASES.items():
            yield from (partial(_operation, name, i, call) for i, call in enumerate(calls))
    else:
        for row in ROWS[family.removeprefix("configured ")]:
            if known(row):
                yield from (partial(_configured, row, p) for p in POLICIES if p in TABLE[row].policies)


PICTURES = {"images": IMAGES, "audio": AUDIO}
FAMILIES = (*layers.FAMILIES, *PICTURES, "channels first", "operations", *(f"configured {name}" for name in ROWS))


def _finished(name: str, model: Any, path: Path, inputs: list[Any], wanted: Any, **more: Any) -> Subject:
    model.save(path)
    flat = keras.tree.flatten(arrays(wanted))
    half = any(w.dtype.name in ("float16", "bfloat16") for w in flat)
    return Subject(name, path, inputs, flat, **{"tolerance": HALF if half else 1e-5, **more})


def _layer(name: str, number: int, config: dict[str, Any], shape: Any, path: Path) -> Subject:
    model = one_layer(keras, name, config, shape)
    inputs = data(model, shape)
    return _finished(f"{name}-{number}", model, path, inputs, model(fed(inputs), training=False))


def _channels_first(name: str, number: int, config: dict[str, Any], shape: Any, path: Path) -> Subject:
    """The layer between two transposes is the channels-last layer, which TensorFlow has on a CPU."""
    last = one_layer(keras, name, config, (*shape[1:], shape[0]))
    x = keras.Input(shape)
    layer = getattr(keras.layers, name)(**{**config, "data_format": "channels_first"})
    model = keras.Model(x, layer(x))
    layer.set_weights(last.get_weights())
    (value,) = data(last)
    want = np.asarray(last(value))
    want = np.moveaxis(want, -1, 1) if want.ndim > 2 else want
    return _finished(f"{name}-first-{number}", model, path, [np.ascontiguousarray(np.moveaxis(value, -1, 1))], want)


def _operation(name: str, number: int, case: operations.Case, path: Path) -> Subject:
    inputs = [keras.Input(batch_shape=spec.shape, dtype=spec.dtype) for spec in case.inputs]
    model = keras.Model(inputs, keras.tree.flatten(case.call(keras.ops, *inputs)))
    values = [spec.array(i) for i, spec in enumerate(case.inputs)]
    if case.oracle is not None:
        wanted = case.oracle(*values)
    else:
        given = [keras.ops.convert_to_tensor(a) for a in values]
        wanted = case.call(keras.ops, *given) if case.eager else model(given)
    loose = {} if case.tolerance is None else {"tolerance": max(case.tolerance, 1e-5)}
    return _finished(f"{name}-{number}", model, path, values, wanted, unique=case.unique, **loose)


def _configured(row: str, policy: str, path: Path) -> Subject:
    """The first configuration of a row of the conformance table that Keras takes."""
    for case in cases(row, (policy,)):
        try:
            found = Configured.of(case, path.parent)
            wanted = found.wanted[BATCH]
        except RefusedError:
            continue
        tolerance = 1e-5 if policy in ("float32", "float64") else HALF
        return Subject(f"{row}-{policy}", found.path, feeds(case), keras.tree.flatten(wanted), tolerance)
    raise RefusedError(row)
