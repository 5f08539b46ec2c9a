"""Training goes on with a model that comes from ONNX, as it would with the model that was written.

(The LSTM has no bias: in ONNX it has two that are added, each of which learns.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import tenun
from tenun import layers

from .models import FLOAT, INT64, model, node, tensor, value

RNG = np.random.default_rng(0)
SGD = {"loss": "mse", "optimizer": tenun.optimizers.SGD(0.1, momentum=0.9)}


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 0.3).astype("f")


BUILT = {
    "dense": ((5,), [layers.Dense(7, "tanh"), layers.LayerNormalization(), layers.Dense(2)]),
    "convolutions": ((6, 6, 2), [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
                                 layers.Dense(1)]),
    "recurrent": ((4, 3), [layers.LSTM(5, use_bias=False), layers.Dense(2, "sigmoid")]),
}  # fmt: skip


@pytest.mark.parametrize("name", BUILT)
def test_losses_are_those_of_the_model_that_was_written(name: str, tmp_path: Path) -> None:
    shape, parts = BUILT[name]
    built = tenun.Sequential([tenun.Input(shape), *parts])
    built.save(tmp_path / "m.onnx")
    loaded = tenun.load_model(tmp_path / "m.onnx")
    x, y = normal(24, *shape), normal(24, *built.output_shape[1:])
    curves = []
    for each in (built, loaded):
        each.compile(**SGD)
        curves.append(each.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    assert curves[1][-1] < curves[1][0]
    np.testing.assert_allclose(loaded.predict(x, verbose=0), built.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def classifier() -> onnx.ModelProto:
    """As exporters write it: words, two inputs of one open length, a normalisation with statistics, a number."""
    nodes = [
        node("Gather", "table words", "e"),
        node("Mul", "e marks", "m"),
        node("ReduceMean", "m", "h", axes=[1], keepdims=0),
        node("BatchNormalization", "h scale shift mean var", "n"),
        node("Mul", "n half", "s"),
        node("Gemm", "s w c", "y", transB=1),
    ]
    fixed = {
        "table": normal(9, 4), "scale": normal(4) + 1, "shift": normal(4), "mean": normal(4),
        "var": np.ones(4, "f"), "half": np.array(0.5, "f"), "w": normal(3, 4), "c": normal(3),
    }  # fmt: skip
    inputs = [value("words", ["batch", "length"], INT64), value("marks", ["batch", "length", 1], FLOAT)]
    return model(nodes, inputs, ["y"], [tensor(k, v, v.dtype) for k, v in fixed.items()], opset=17)


def batch() -> dict[str, Any]:
    return {"words": RNG.integers(0, 9, (16, 5)), "marks": normal(16, 5, 1)}


def test_an_exported_classifier_learns(tmp_path: Path) -> None:
    """Gradients, the loss, what is trained and what is not, and the file that comes out, in ONNX Runtime."""
    loaded = tenun.load_model(classifier())
    assert {p.name for p in loaded.non_trainable_weights} == {"mean", "var", "half"}
    loaded.compile(
        tenun.optimizers.Adam(0.03), tenun.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    x, y = batch(), RNG.integers(0, 3, 16)
    assert tenun.check_gradients(loaded, x, y).ok
    before = {p.name: p.numpy() for p in loaded.weights}
    losses = loaded.fit(x, y, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    changed = {p.name for p in loaded.weights if not np.array_equal(p.numpy(), before[p.name])}
    assert changed == {"table", "scale", "shift", "w", "c"}
    loaded.save(tmp_path / "y.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "y.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["y"], x)[0], loaded.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
    assert {t.name for t in onnx.load(tmp_path / "y.onnx").graph.initializer} >= set(before)


def test_lengths_that_are_one_have_to_agree() -> None:
    loaded = tenun.load_model(classifier())
    with pytest.raises(tenun.TenunError):
        loaded.predict({**batch(), "marks": normal(16, 4, 1)}, verbose=0)


def test_only_the_head_is_trained() -> None:
    loaded = tenun.load_model(classifier(), trainable=lambda name: name in ("w", "c"))
    assert [p.name for p in loaded.trainable_weights] == ["w", "c"]
    loaded.compile(**SGD)
    loaded.fit(batch(), normal(16, 3), verbose=0)


def test_a_graph_as_part_of_a_new_model() -> None:
    words, marks = tenun.Input((5,), dtype="int64", name="ids"), tenun.Input((5, 1), name="m")
    body = tenun.load_model(classifier())
    new = tenun.Model([words, marks], layers.Dense(1)(body([words, marks])))
    new.compile(**SGD)
    x = list(batch().values())
    losses = [new.train_on_batch(x, np.ones((16, 1))) for _ in range(5)]
    assert losses[-1] < losses[0] and len(new.trainable_weights) == 7


def test_weights_are_kept_by_files(tmp_path: Path) -> None:
    first, x = tenun.load_model(classifier()), batch()
    first.compile(**SGD)
    first.fit(x, normal(16, 3), verbose=0)
    first.save_weights(tmp_path / "a.weights.h5")
    second = tenun.load_model(classifier())
    second.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(first.predict(x, verbose=0), second.predict(x, verbose=0))
    for name in ("a.keras", "b.h5"):
        with pytest.raises(tenun.UnsupportedError, match="use the suffix .onnx"):
            first.save(tmp_path / name)
    with pytest.raises(tenun.UnsupportedError, match=r"use the suffix \.weights\.h5"):
        first.save_weights(tmp_path / "c.h5")


def test_what_has_no_form_for_training_is_refused() -> None:
    sequence = model([node("SequenceConstruct", "x", "s")], [value("x", [2])], ["s"])
    with pytest.raises(tenun.UnsupportedError, match="takes tensors"):
        tenun.load_model(sequence)
