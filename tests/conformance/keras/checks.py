"""The three questions asked about a configuration: is it read, is it written, is it trained as Keras does.

Each returns the error over its tolerance, or raises: `RefusedError` where there is nothing to compare with, anything
else where we are wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

import tenun
from tenun.ir import Graph
from tenun.layers import Layer, Lowering
from tenun.layers.whole import lower_model
from tenun.passes.autodiff.engine import gradients_or_none

from .compare import DifferentError, RefusedError, arrays, brief, error, fed
from .make import BATCH, Case, build, feeds, input_shapes
from .table import HALVES, TABLE, Sub

TOLERANCES = {"float32": 1e-5, "float64": 1e-5}
HALF = 1e-2  # relative error of the half precisions
GRADIENT = 1e-4


class MaskProbe(Layer):
    """The same as `make.MaskProbe`."""

    registered_name: ClassVar[str] = "tenun>MaskProbe"

    def lower(self, b: Any, x: Any, w: Any, mask: Any = None) -> Any:
        return b.constant(np.full((1,), -1, np.float32)) if mask is None else b.cast(mask, to="float32")


CUSTOM = {"MaskProbe": MaskProbe}


@dataclass
class Subject:
    """A configuration built and saved by Keras."""

    case: Case
    folder: Path
    model: Any
    path: Path

    @classmethod
    def of(cls, case: Case, folder: Path) -> Subject:
        path = folder / "model.keras"
        try:
            model = build(case)
            save(model, path)
        except Exception as e:
            raise RefusedError(brief(e)) from e
        return cls(case, folder, model, path)

    @property
    def stateful(self) -> bool:
        return bool(self.case.config.get("stateful"))

    @cached_property
    def wanted(self) -> dict[int, Any]:
        """Keras' results by batch: with some samples, with one, and with none."""
        found = {}
        # the batch of what is stateful is fixed, and its state has moved on after a run
        for batch in (BATCH,) if self.stateful else (BATCH, 1, 0) if TABLE[self.case.row].empty else (BATCH, 1):
            try:
                want = reference(self.case, self.model, feeds(self.case, batch))
            except Exception as e:
                if batch == BATCH:
                    raise RefusedError(brief(e)) from e
                continue
            if batch or promised(found[BATCH], want):
                found[batch] = want
        return found


def save(model: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)


def oracle(case: Case, model: Any) -> Any:
    """The Keras model that says what is right: the one given, or for channels_first the channels-last layer.

    TensorFlow has no channels-first kernels for a CPU in many cases, and Keras 3.15 adds the bias along the last axis
    where that happens to be as long as the channels (`keras.src.backend.tensorflow.numpy.add`).
    """
    if case.config.get("data_format") != "channels_first" or "use_bias" not in case.config:
        return model
    return channels_last(case, model)


def channels_last(case: Case, model: Any) -> Any:
    """The model of the channels-last layer with the same weights, between two transpositions."""
    axis, config = TABLE[case.row].channels, {**case.config, "data_format": "channels_last"}
    across = config.get("activation") == "softmax"  # over the last axis, whatever is there
    last = build(replace(case, config={**config, "activation": None} if across else config))
    last.set_weights(model.get_weights())
    inputs = [keras.Input(x.shape[1:], batch_size=x.shape[0], dtype=x.dtype) for x in model.inputs]
    moved = [keras.ops.moveaxis(x, axis, -1) if len(x.shape) > axis else x for x in inputs]

    def back(y: Any) -> Any:
        if len(y.shape) > 2:
            y = keras.ops.moveaxis(y, -1, axis if len(y.shape) == len(inputs[0].shape) else 1)
        return keras.activations.softmax(y) if across else y

    outputs = keras.tree.map_structure(back, last(moved if len(moved) > 1 else moved[0]))
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs)


def reference(case: Case, model: Any, values: list[Any]) -> Any:
    """What Keras computes."""
    try:
        return arrays(oracle(case, model)(fed(values), training=False))
    except Exception:
        if case.config.get("data_format") != "channels_first" or case.masked:
            raise
    return arrays(channels_last(case, model)(fed(values), training=False))


def promised(usual: Any, empty: Any) -> bool:
    """Whether results of no samples have the shapes of others: TensorFlow's kernels may return the empty input."""
    return all(a.shape[1:] == b.shape[1:] for a, b in zip(keras.tree.flatten(usual), keras.tree.flatten(empty)))


def _within(got: Any, want: Any, tolerance: float, what: str, absolute: float = 1.0) -> float:
    share = error(got, want, absolute) / tolerance
    if not share <= 1:
        raise DifferentError(f"{what}: off by {share:.3g} of the tolerance")
    return share


def read(subject: Subject) -> float:
    """The file that Keras saved gives the same numbers here, whatever the batch."""
    tolerance = TOLERANCES.get(subject.case.policy, HALF)
    wanted = subject.wanted
    executable = tenun.compile(subject.path, threads=1, custom_objects=CUSTOM)
    return max(_near(subject, executable(*feeds(subject.case, n)), want, tolerance, n) for n, want in wanted.items())


def _near(subject: Subject, got: Any, want: Any, tolerance: float, batch: int) -> float:
    """As `_within`; a result in half precision may be near what Keras gets in float64 of the same numbers instead.

    Keras adds up in the half precision itself where TensorFlow has no better kernel, transposed convolutions say.
    """
    try:
        return _within(got, want, tolerance, f"a batch of {batch}", _scale(subject.case))
    except DifferentError:
        if subject.case.policy not in HALVES or not _alike(got, want):
            raise
    case = replace(subject.case, policy="float64")
    model = build(case)
    model.set_weights([w.astype("float64") if w.dtype != object else w for w in subject.model.get_weights()])
    half = subject.case.policy.removeprefix("mixed_")
    values = [x.astype(half).astype(x.dtype) if x.dtype.kind == "f" else x for x in feeds(case, batch)]
    exact = keras.tree.map_structure(lambda y: y.astype("float64"), reference(case, model, values))
    got = keras.tree.map_structure(lambda y: np.asarray(y).astype("float64"), got)
    return _within(got, exact, tolerance, f"a batch of {batch}, from Keras in float64")


def _scale(case: Case) -> float:
    """What results are measured by where they are small: TensorFlow rounds the places that it resizes images at."""
    return 255.0 if {i.kind for i in input_shapes(case)} == {"image"} else 1.0


def _alike(got: Any, want: Any) -> bool:
    """Whether results have the same shapes and dtypes."""
    ours, theirs = keras.tree.flatten(got), keras.tree.flatten(want)
    return [(np.shape(a), a.dtype) for a in ours] == [(b.shape, b.dtype) for b in theirs]


def written(subject: Subject) -> float:
    """What we write of it, Keras loads, and gets the same numbers."""
    want = subject.wanted[BATCH]
    target = subject.folder / "written.keras"
    tenun.load_model(subject.path, CUSTOM, compile=False).save(target)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Skipping variable")
        again = keras.models.load_model(target, compile=False)
    tolerance = TOLERANCES.get(subject.case.policy, HALF)
    return _within(reference(subject.case, again, feeds(subject.case)), want, tolerance, "what Keras reads")


def trained(subject: Subject) -> float:
    """Gradients of a random sum of outputs in float inputs and trained weights; in training where that is no chance."""
    case = subject.case
    if case.policy != "float32":
        raise RefusedError("no gradients are compared of other dtypes")
    first = build(case) if subject.stateful else subject.model  # the state of the other one has moved on
    model = oracle(case, first)
    source = first if case.config.get("lora_rank") else subject.path  # a file does not hold what LoRA trains
    values = feeds(case)
    training = not (TABLE[case.row].random or _draws(case.config))
    try:
        theirs, seeds = _tape(model, values, training)
    except Exception as e:
        raise RefusedError(brief(e)) from e
    if not any(s.size for s in seeds):  # TensorFlow's gradients have wrong shapes there
        raise RefusedError("the outputs are empty, or no floats")
    names, graph = gradient_graph(source, training, seeds)
    wanted = {n: g for n, g in zip(names, theirs, strict=True) if g is not None}
    if not wanted:
        raise RefusedError("TensorFlow has no gradient")
    found = tenun.compile(graph, threads=1).run({v.name: x for v, x in zip(graph.inputs, values)})
    return max(_gradient(name, found.get(f"d {name}", np.zeros_like(w)), w) for name, w in wanted.items())


def _gradient(name: str, got: Any, want: Any) -> float:
    share = error(got, want, absolute=max(1.0, float(np.abs(want).max(initial=0)))) / GRADIENT
    if not share <= 1:
        raise DifferentError(f"the gradient in {name}: off by {share:.3g} of the tolerance")
    return share


DRAWS = {"rate", "dropout", "recurrent_dropout", "stddev"}  # arguments that say how much chance there is


def _draws(config: Mapping[str, Any]) -> bool:
    """Whether a layer of a configuration, or one inside of it, is random in training."""
    inner = [v for value in config.values() for v in (value if isinstance(value, list) else [value])]
    return any(config.get(key) for key in DRAWS) or any(isinstance(v, Sub) and _draws(v.config) for v in inner)


def _tape(model: Any, values: list[Any], training: bool) -> tuple[list[Any], list[Any]]:
    """Gradients (None where there is none) in the float inputs and the trainable weights; the weights of the sum."""
    weights = model.get_weights()
    given = keras.tree.flatten(fed(values))
    floats = [x for x in given if x.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        results = keras.tree.flatten(model(given if len(given) > 1 else given[0], training=training))
        results = [y for y in results if y.dtype.is_floating]
        seeds = [np.random.default_rng(i).normal(size=y.shape).astype(y.numpy().dtype) for i, y in enumerate(results)]
        total = tf.add_n([tf.zeros(()), *(tf.reduce_sum(y * s) for y, s in zip(results, seeds))])
    found = tape.gradient(total, [*floats, *(v.value for v in model.trainable_weights)])
    model.set_weights(weights)
    return [None if g is None else np.asarray(tf.convert_to_tensor(g)) for g in found], seeds


def gradient_graph(source: Any, training: bool, seeds: list[Any]) -> tuple[list[str], Graph]:
    """Names of the float inputs and trained weights of a Keras model, and a graph with their gradients, `d <name>`.

    The function is the sum of float outputs times seeds.  What no gradient reaches has no output.
    """
    model = tenun.load_model(source, CUSTOM, compile=False)
    lowering = Lowering(live=True)
    lowered = lower_model(model.definition, lowering, training=training)
    b, states = lowering.b, lowering.states
    b.graph.metadata.clear()
    # a weight that a layer gives other values counts as all that it was
    versions = {v.name: [v] for v in lowered.inputs if v.tensor.dtype.is_float}
    versions |= {p.name: states.versions(p.name) if p.name in states else [] for p in model.trainable_weights}
    outputs = [v.var for v in lowered.outputs.values() if v.var.tensor.dtype.is_float]
    total = reduce(b.add, [b.reduce_sum(b.mul(y, seed)) for y, seed in zip(outputs, seeds, strict=True)])
    each = iter(gradients_or_none(b, [total], [v for own in versions.values() for v in own]))
    found = {f"d {name}": [g for g in (next(each) for _ in own) if g is not None] for name, own in versions.items()}
    reached = {name: reduce(b.add, gs) for name, gs in found.items() if gs}
    graph = lowering.finish(list(reached.values()), list(reached))
    lowering.fill()
    return list(versions), graph


CHECKS: dict[str, Callable[[Subject], float]] = {"read": read, "written": written, "trained": trained}
