"""Models among Values: training by hand is what Keras' SGD does, weights are shared, versions move on."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import tenun
from tenun import Module, Value, layers
from tenun.errors import RunError, UnsupportedError
from tenun.training.values import value_of

RATE = 0.1


def dense() -> tuple[tenun.Sequential, Any]:
    x = np.random.default_rng(0).standard_normal((24, 6)).astype(np.float32)
    return tenun.Sequential([tenun.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(3, "softmax")]), x


def words() -> tuple[tenun.Sequential, Any]:
    x = np.random.default_rng(0).integers(0, 9, (24, 5))
    parts = [tenun.Input((5,), dtype="int64"), layers.Embedding(9, 4, mask_zero=True), layers.LSTM(4), layers.Dense(3)]
    return tenun.Sequential([*parts, layers.Activation("softmax")]), x


def image() -> tuple[tenun.Sequential, Any]:
    x = np.random.default_rng(0).standard_normal((24, 6, 6, 2)).astype(np.float32)
    parts = [tenun.Input((6, 6, 2)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()]
    return tenun.Sequential([*parts, layers.Dense(3, "softmax")]), x


def by_hand(model: Any, x: Any, y: Any) -> float:
    """One step of gradient descent on the cross-entropy; returns the loss before it."""
    loss = -model(Value(x))[np.arange(len(y)), y].log().mean()
    model.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.data -= RATE * p.grad
    return float(loss)


def same(got: list[Any], want: list[Any]) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [dense, words, image])
def test_training_by_hand_is_sgd(keras: Any, make: Any, tmp_path: Any) -> None:
    model, x = make()
    y = np.arange(len(x)) % 3
    model.build()
    compiled = copy.deepcopy(model)
    compiled.compile(tenun.optimizers.SGD(RATE), "sparse_categorical_crossentropy")
    compiled.save(tmp_path / "model.keras", include_optimizer=False)
    theirs = keras.models.load_model(tmp_path / "model.keras", compile=False)
    theirs.compile(keras.optimizers.SGD(RATE), "sparse_categorical_crossentropy", jit_compile=False)
    losses = []
    for _ in range(5):
        losses.append(by_hand(model, x, y))
        assert compiled.train_on_batch(x, y) == pytest.approx(losses[-1], abs=1e-6)
        theirs.train_on_batch(x, y)
        same([model.predict(x, verbose=0)], [compiled.predict(x, verbose=0)])
    same(model.get_weights(), compiled.get_weights())
    same(model.get_weights(), theirs.get_weights())
    assert losses == sorted(losses, reverse=True)


def test_steps_by_hand_and_compiled_ones_take_turns() -> None:
    (model, x), (other, _) = dense(), dense()
    other.set_weights(model.get_weights())
    y = np.arange(len(x)) % 3
    for each in (model, other):
        each.compile(tenun.optimizers.SGD(RATE), "sparse_categorical_crossentropy")
    for i in range(6):
        by_hand(model, x, y) if i % 2 else model.train_on_batch(x, y)
        other.train_on_batch(x, y)
        same([model(x), model(Value(x)).data], [other(x), other(x)])


def test_parameters_live_in_the_weights() -> None:
    model, x = dense()
    first = model.parameters()
    assert [p.name for p in first] == [p.name for p in model.trainable_weights]
    assert all(a is b for a, b in zip(first, model.parameters()))
    assert all(v.data is p.data for v, p in zip(first, model.trainable_weights))
    model(Value(x)).sum().backward()
    assert all(p.grad is not None for p in first)
    model.zero_grad()
    assert all(p.grad is None for p in first)
    before = model(Value(x))
    want = model(x)
    first[0].data[...] = 0
    np.testing.assert_allclose(before.data, want, atol=1e-6)  # an expression means the elements that it was made of
    same([model(x)], [model(Value(x)).data])
    model.weights[0].data = np.ones_like(first[0].data)
    assert model.parameters()[0] is not first[0] and model.parameters()[1] is first[1]
    same([model(x)], [model(Value(x)).data])


def test_models_that_share_a_layer_share_its_values() -> None:
    x = tenun.Input((4,))
    middle = layers.Dense(3, "tanh")(x)
    encoder, whole = tenun.Model(x, middle), tenun.Model(x, layers.Dense(2)(middle))
    assert all(a is b for a, b in zip(encoder.parameters(), whole.parameters()))

    class Both(Module):
        def __init__(self) -> None:
            self.models = [encoder, whole]
            self.scale = Value(2.0, requires_grad=True)

        def forward(self, x: Value) -> Value:
            return encoder(x).sum() * self.scale + whole(x).sum()

    both = Both()
    assert len(both.parameters()) == 5
    both(Value(np.ones((2, 4), np.float32))).backward()
    assert all(p.grad is not None for p in both.parameters())


def test_several_inputs_and_outputs() -> None:
    a, b = tenun.Input((4,), name="a"), tenun.Input((4,), name="b")
    joined = layers.Concatenate()([a, b])
    model = tenun.Model({"a": a, "b": b}, {"sum": layers.Add()([a, b]), "dense": layers.Dense(2)(joined)})
    x, y = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    want, got = model({"a": x, "b": y}), model({"a": Value(x, requires_grad=True), "b": y})
    assert set(got) == set(want) == {"sum", "dense"}
    same([got[k].data for k in want], list(want.values()))


def test_frozen_layers_and_running_statistics() -> None:
    tenun.set_random_seed(0)
    frozen = layers.Dense(3, trainable=False)
    parts = [tenun.Input((4,)), frozen, layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2)]
    model = tenun.Sequential(parts)
    x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    same([model(Value(x)).data], [model(x)])
    assert len(model.parameters()) == 4  # gamma, beta, kernel, bias
    model.set_weights([w + 0.1 for w in model.get_weights()])  # results near 1, of which 1e-6 is several digits' worth
    same([model(Value(x)).data], [model(x)])


def test_batches_of_several_sizes() -> None:
    model, x = dense()
    for size in (1, 5, 24):
        same([model(Value(x[:size])).data], [model(x[:size])])


def test_copies_stand_alone() -> None:
    model, x = dense()
    model(Value(x)).sum().backward()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not {id(p) for p in other.parameters()} & {id(p) for p in model.parameters()}
        other.parameters()[0].data[...] = 0
        assert np.any(model.weights[0].numpy())
    value = pickle.loads(pickle.dumps(model.parameters()[0]))
    version = model.layers[0].version
    value.data[...] = 0
    assert model.layers[0].version == version and np.any(model.weights[0].numpy())


def test_values_do_not_keep_layers_alive() -> None:
    model, _ = dense()
    value, alive = value_of(model.weights[0]), weakref.ref(model.layers[0])
    del model
    gc.collect()
    assert alive() is None
    value.data += 1  # nobody is left to be told


def test_what_is_not_supported() -> None:
    model, x = dense()
    with pytest.raises(RunError, match="runs as in inference"):
        model(Value(x), training=True)
    source = tenun.Input(batch_shape=(2, 3, 4), name="steps")
    stateful = tenun.Model(source, layers.LSTM(3, stateful=True)(source))
    with pytest.raises(UnsupportedError, match="keeps states"):
        stateful(Value(np.ones((2, 3, 4), np.float32)))
