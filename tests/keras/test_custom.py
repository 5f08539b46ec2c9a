"""What `custom_objects` may give: functions of Values, functions of the builder, layers, cells of recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tenun
from tenun.api import compile, load
from tenun.errors import UnsupportedError
from tenun.frontends.keras.config import Reader
from tenun.frontends.keras.dialects import REFUSED_LAYERS
from tenun.layers.base import Layer, Weight, layer_base

from .oracle import data, randomise, same, saved

# name: (the function of the Lambda in Keras, the plain one for tenun, input)
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[int | None, ...]]] = {
    "scaled": (lambda x: x / 255, lambda x: x / 255, (4, 3)),
    "of numbers": (lambda x: 1 - x * 0.5 + [1.0, 2.0, 3.0], lambda x: 1 - x * 0.5 + [1.0, 2.0, 3.0], (4, 3)),
    "reduced": (
        lambda k: lambda x: (x - k.ops.mean(x, 1, keepdims=True)) / k.ops.sqrt(k.ops.var(x, 1, keepdims=True)),
        lambda x: (x - x.mean(1, keepdims=True)) / x.var(1, keepdims=True).sqrt(),
        (None, 3),
    ),
    "last step": (lambda x: x[:, -1], lambda x: x[:, -1], (None, 3)),
    "sliced": (lambda x: x[:, 1:-1, ::2], lambda x: x[:, 1:-1, ::2], (None, 5)),
    "backwards": (lambda x: x[..., ::-1, None], lambda x: x[..., ::-1, None], (None, 5)),
    "constant beside": (
        lambda k: lambda x: k.ops.matmul(x, np.eye(3, dtype="float32") * 2),
        lambda x: x @ (np.eye(3, dtype="float32") * 2),
        (4, 3),
    ),
    "flat": (lambda k: lambda x: k.ops.reshape(x, (-1, 12)), lambda x: x.flatten(1), (4, 3)),
    "several": (lambda x: [x * 2, x + 1], lambda x: [x * 2, x + 1], (4,)),
    "where": (
        lambda k: lambda x: k.ops.where(x > 0.2, x, k.ops.zeros_like(x)),
        lambda x: tenun.value.where(x > 0.2, x, 0.0),
        (4,),
    ),
    "nothing": (lambda x: x, lambda x: x, (4,)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_plain_functions(keras: Any, tmp_path: Path, name: str) -> None:
    theirs, ours, shape = FUNCTIONS[name]
    x = keras.Input(shape)
    if theirs.__code__.co_varnames[:1] == ("k",):
        theirs = theirs(keras)
    model = keras.Model(x, keras.layers.Lambda(theirs, name="f")(x))
    (value,) = data(model)
    for source in (model, saved(model, tmp_path)):
        same(keras, compile(load(source, custom_objects={"f": ours}))(value), model(value))


def test_both_kinds_of_functions(keras: Any, tmp_path: Path) -> None:
    """The name of the first parameter tells them apart."""
    x = keras.Input((4, 3))
    model = keras.Model(x, keras.layers.Lambda(lambda v: v + 1, name="plus")(x))
    (value,) = data(model)
    path = saved(model, tmp_path)
    for function in (lambda b, x: b.add(x, 1), lambda builder, v: builder.add(v, 1), lambda v: v + 1):
        same(keras, compile(load(path, custom_objects={"plus": function}))(value), model(value))


def test_arguments_masks_and_training(keras: Any, tmp_path: Path) -> None:
    """As Keras gives them: `arguments` of the Lambda, the mask, and whether it is training."""
    L = keras.layers
    x = keras.Input((4, 3))

    def scaled(v: Any, factor: float, mask: Any = None, training: bool = False) -> Any:
        return v * factor * keras.ops.cast(mask, "float32")[..., None] + (1.0 if training else 0.0)

    def ours(v: Any, factor: float, mask: Any = None, training: bool = False) -> Any:
        return v * factor * mask.astype("float32")[..., None] + (1.0 if training else 0.0)

    model = keras.Model(x, L.Lambda(scaled, arguments={"factor": 3.0}, output_shape=(4, 3), name="f")(L.Masking()(x)))
    (value,) = data(model)
    same(keras, compile(load(model, custom_objects={"f": ours}))(value), model(value))


def test_several_inputs_and_other_dtypes(keras: Any, tmp_path: Path) -> None:
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], keras.layers.Lambda(lambda xs: xs[0] * xs[1], dtype="float16", name="f")([a, b]))
    values = data(model)
    got = compile(load(saved(model, tmp_path), custom_objects={"f": lambda xs: xs[0] * xs[1]}))(values)
    assert got.dtype == np.float16
    same(keras, got, model(values), 1e-3)


def test_named_functions_of_lambdas_and_activations(keras: Any, tmp_path: Path) -> None:
    """A registered function stands in the file by its name."""

    @keras.saving.register_keras_serializable(package="mine")
    def doubled(v: Any) -> Any:
        return v * 2

    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3, activation=doubled)(keras.layers.Lambda(doubled)(x)))
    (value,) = data(randomise(model))
    path = saved(model, tmp_path)
    for key in ("doubled", "mine>doubled"):
        same(keras, compile(load(path, custom_objects={key: lambda v: v + v}))(value), model(value))


def test_a_function_for_a_layer_class(keras: Any, tmp_path: Path) -> None:
    """Called with more than one input, by position and by name."""

    class Mixed(keras.layers.Layer):  # type: ignore[misc,name-defined]
        def call(self, x: Any, y: Any, weight: float = 1.0) -> Any:
            return x + y * weight

    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], [Mixed()(a, b), Mixed()(a, y=b, weight=2.0)])
    values = data(model)
    objects = {"Mixed": lambda x, y, weight=1.0: x + y * weight}
    same(keras, compile(load(saved(model, tmp_path), custom_objects=objects))(values), model(values))


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "looks at elements": (lambda x: x if x.sum() > 0 else -x, "come when the model runs"),
    "other library": (lambda x: np.linalg.svd(x), "come when the model runs"),
    "no such method": (lambda x: x.no_such_method(), "no_such_method"),
    "other shape": (lambda x: x + np.ones(7, "float32"), "f"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_fail_name_the_layer(keras: Any, tmp_path: Path, name: str) -> None:
    function, words = REFUSED[name]
    x = keras.Input((4,))
    path = saved(keras.Model(x, keras.layers.Lambda(lambda v: v, name="f")(x)), tmp_path)
    with pytest.raises(tenun.TenunError, match=words) as caught:
        load(path, custom_objects={"f": function})
    assert "f" in str(caught.value.node)


def test_gradients_flow_through_functions(keras: Any) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Lambda(lambda v: v * v, name="f")(x))
    graph = load(model, custom_objects={"f": lambda v: v * v})
    value = np.array([[1, 2, 3, 4]], np.float32)
    found = compile(tenun.grad(graph, list(graph.output_names), [graph.inputs[0].name]))(value)
    np.testing.assert_allclose(found, 2 * value)


# ---- cells ------------------------------------------------------------------------------------------------------


@layer_base()
class MinimalCell(Layer):
    """h' = tanh(x @ kernel + h @ recurrent): the example of Keras' documentation."""

    units: int
    needs_float: ClassVar[bool] = True

    @property
    def state_size(self) -> int:
        return self.units

    def weights(self, *inputs: Any) -> Iterator[Weight]:
        yield Weight("kernel", (inputs[0].dims[-1], self.units))
        yield Weight("recurrent", (self.units, self.units))

    def lower(self, b: Any, x: Any, w: Any, states: Any) -> Any:
        h = b.tanh(b.add(b.matmul(x, w.kernel), b.matmul(states[0], w.recurrent)))
        return h, [h]


@layer_base()
class WideCell(Layer):
    """Two states, an output of another size, a sub-layer, and first states that are not zero."""

    units: int
    dense: Layer
    output_size: ClassVar[int] = 2

    @property
    def state_size(self) -> list[int]:
        return [self.units, 1]

    def get_initial_state(self, b: Any, batch_size: Any) -> Any:
        one = b.constant(np.float32(1))
        return [b.expand(one, shape=(batch_size, self.units)), b.expand(one, shape=(batch_size, 1))]

    def lower(self, b: Any, x: Any, w: Any, states: Any) -> Any:
        h, count = states
        h = b.mul(b.add(h, w.call(self.dense, tenun.layers.Value(x)).var), 0.5)
        two = b.slice(h, starts=(0,), ends=(2,), axes=(1,))
        return b.mul(two, count), [h, b.add(count, 1)]


def cells(keras: Any) -> tuple[Any, Any]:
    """The same in Keras."""
    K, ops = keras.layers, keras.ops

    @keras.saving.register_keras_serializable(package="tests")
    class MinimalCell(K.Layer):  # type: ignore[misc,name-defined]
        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = self.state_size = units

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
            self.recurrent = self.add_weight(shape=(self.units, self.units), name="recurrent")

        def call(self, x: Any, states: Any) -> Any:
            h = ops.tanh(ops.matmul(x, self.kernel) + ops.matmul(states[0], self.recurrent))
            return h, [h]

        def get_config(self) -> Any:
            return {**super().get_config(), "units": self.units}

    @keras.saving.register_keras_serializable(package="tests")
    class WideCell(K.Layer):  # type: ignore[misc,name-defined]
        def __init__(self, units: int, dense: Any = None, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units, self.state_size, self.output_size = units, [units, 1], 2
            self.dense = K.Dense(units) if dense is None else keras.saving.deserialize_keras_object(dense)

        def build(self, shape: Any) -> None:
            self.dense.build(shape)

        def get_initial_state(self, batch_size: Any = None) -> Any:
            return [ops.ones((batch_size, self.units)), ops.ones((batch_size, 1))]

        def call(self, x: Any, states: Any) -> Any:
            h, count = states
            h = (h + self.dense(x)) * 0.5
            return h[:, :2] * count, [h, count + 1]

        def get_config(self) -> Any:
            dense = keras.saving.serialize_keras_object(self.dense)
            return {**super().get_config(), "units": self.units, "dense": dense}

    return MinimalCell, WideCell


OBJECTS = {"MinimalCell": MinimalCell, "WideCell": WideCell}
RECURRENT: dict[str, Callable[[Any, Any, Any], Any]] = {
    "last": lambda L, one, wide: L.RNN(one(4)),
    "sequence": lambda L, one, wide: L.RNN(one(4), return_sequences=True, return_state=True),
    "backwards": lambda L, one, wide: L.RNN(one(4), go_backwards=True, return_sequences=True),
    "zeroed": lambda L, one, wide: L.RNN(one(4), return_sequences=True, zero_output_for_mask=True),
    "wide": lambda L, one, wide: L.RNN(wide(4), return_sequences=True, return_state=True),
    "stacked": lambda L, one, wide: L.RNN([one(4), L.LSTMCell(3), wide(5), L.GRUCell(2)], return_sequences=True),
    "unrolled": lambda L, one, wide: L.RNN(wide(4), unroll=True),
    "both ways": lambda L, one, wide: L.Bidirectional(L.RNN(one(4), return_sequences=True)),
    "both ways, other cells": lambda L, one, wide: L.Bidirectional(
        L.RNN(one(2)), backward_layer=L.RNN(wide(5), go_backwards=True), merge_mode="sum"
    ),
    "of each step": lambda L, one, wide: L.TimeDistributed(L.Dense(2)),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_cells_of_ones_own(keras: Any, tmp_path: Path, name: str, masked: bool) -> None:
    L = keras.layers
    x = keras.Input((6, 3))
    model = randomise(keras.Model(x, RECURRENT[name](L, *cells(keras))(L.Masking()(x) if masked else x)))
    value = np.random.default_rng(0).normal(size=(3, 6, 3)).astype("float32")
    if masked:
        value[0, 4:] = value[1, [0, 3]] = value[2] = 0
    for source in (model, saved(model, tmp_path)):
        same(keras, compile(load(source, custom_objects=OBJECTS))(value), model(value))


def test_first_and_kept_states_of_ones_own_cell(keras: Any, tmp_path: Path) -> None:
    one, _ = cells(keras)
    L = keras.layers
    x, first = keras.Input(batch_shape=(2, 6, 3)), keras.Input(batch_shape=(2, 4))
    model = randomise(keras.Model([x, first], L.RNN(one(4))(x, initial_state=first)))
    values = data(model)
    same(keras, compile(load(saved(model, tmp_path), custom_objects=OBJECTS))(values), model(values))
    model = randomise(keras.Model(x, L.RNN(one(4), stateful=True)(x)))
    run = compile(load(saved(model, tmp_path), custom_objects=OBJECTS))
    for _ in range(3):
        same(keras, run(values[0]), model(values[0]))


@pytest.mark.parametrize("name", ["sequence", "wide", "stacked", "both ways"])
def test_gradients_of_ones_own_cells(keras: Any, name: str) -> None:
    tf = pytest.importorskip("tensorflow")
    x = keras.Input((6, 3))
    built = RECURRENT[name](keras.layers, *cells(keras))(x)
    model = randomise(keras.Model(x, built[0] if isinstance(built, (list, tuple)) else built))
    value = np.random.default_rng(0).normal(size=(3, 6, 3)).astype("float32")
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.square(model(value)))
    want = tape.gradient(total, [v.value for v in model.trainable_weights])
    graph = load(model, custom_objects=OBJECTS).copy()
    b = tenun.ir.Builder(graph)
    b.outputs(b.reduce_sum(b.square(graph.outputs[0])), names=["total"])
    graph.metadata.clear()
    names = [next(n for n, a in graph.weights.items() if np.array_equal(a, v)) for v in model.trainable_weights]
    for ours, theirs in zip(compile(tenun.grad(graph, ["total"], names))(value), want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_cell_without_a_state_size_is_refused(keras: Any, tmp_path: Path) -> None:
    one, _ = cells(keras)
    x = keras.Input((6, 3))
    path = saved(keras.Model(x, keras.layers.RNN(one(4), name="r")(x)), tmp_path)
    with pytest.raises(UnsupportedError, match="r: .*state_size"):
        load(path, custom_objects={"MinimalCell": lambda x: x})


# ---- layers that cannot be run ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED_LAYERS)
def test_layers_of_other_frameworks_are_refused_with_a_way_out(name: str) -> None:
    config = {"class_name": name, "module": "keras.layers", "config": {"name": "f"}, "registered_name": None}
    inputs = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 4]}}
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [inputs, config]}}
    with pytest.raises(UnsupportedError, match=f"f: unknown layer {name}.*{REFUSED_LAYERS[name].split()[1]}"):
        Reader("3.15.0", {}).model(model)
    found = Reader("3.15.0", {name: lambda x: x * 2}).model(model)
    assert [type(each).__name__ for each in found.layers] == ["InputLayer", "FunctionLayer"]
