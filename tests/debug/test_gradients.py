"""check_gradients: right gradients pass, wrong ones are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenun
from tenun.ir import Builder, Graph, Tensor, dtype
from tenun.passes.autodiff.rules import RULES

L = tenun.layers


def model() -> Any:
    tenun.set_random_seed(1)
    made = tenun.Sequential([
        tenun.Input((5, 4)), L.Masking(), L.Bidirectional(L.GRU(3, return_sequences=True)), L.BatchNormalization(),
        L.Dropout(0.2), L.LSTM(4), L.Dense(3, "softmax", kernel_regularizer="l2"),
    ])  # fmt: skip
    made.compile("adam", "sparse_categorical_crossentropy")
    return made


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5, 4)).astype(np.float32)
    x[0, 3:] = 0
    return x, rng.integers(0, 3, 6)


def test_a_model_whose_gradients_are_right() -> None:
    made = model()
    report = tenun.check_gradients(made, *data(), sample_weight=np.linspace(0.5, 1, 6))
    assert report.ok and report.worst.error < 1e-5, str(report)
    assert {r.name for r in report.rows} == {p.name for p in made.trainable_weights}
    assert made.layers[-2].name in str(report) and "ok" in str(report)


def test_a_wrong_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = RULES["tanh"]
    monkeypatch.setitem(RULES, "tanh", lambda b, node, above: [b.mul(g, 1.01) for g in right(b, node, above)])
    made = tenun.Sequential([tenun.Input((4,)), L.Dense(3, "tanh", name="first"), L.Dense(2, name="second")])
    made.compile("sgd", "mse")
    report = tenun.check_gradients(made, np.ones((2, 4)), np.zeros((2, 2)))
    assert not report.ok
    assert {r.name for r in report.rows if not r.ok} == {"first.kernel", "first.bias"}
    assert "WRONG" in str(report)


def test_graphs() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(dtype("f32"), (2, 3)))
    w = b.constant(np.arange(6, dtype=np.float32).reshape(3, 2) / 10, "w")
    graph = b.outputs(b.sigmoid(b.matmul(x, w)))
    report = tenun.check_gradients(graph, np.ones((2, 3), np.float32))
    assert report.ok and [r.name for r in report.rows] == ["w"]
