"""check_gradients: right gradients pass, wrong ones are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import RunError
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


def pictures() -> Any:
    made = tenun.Sequential([
        tenun.Input((8, 8, 1)), L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dense(3, "softmax"),
    ])  # fmt: skip
    made.compile("adam", "sparse_categorical_crossentropy")
    return made


def test_kinks_are_no_errors() -> None:
    """The bias is 0: where a picture is black, every relu is at its kink, and every window of the pooling is a tie."""
    tenun.set_random_seed(3)
    x = np.zeros((4, 8, 8, 1), np.float32)
    x[:, 3:5, 3:5] = np.random.default_rng(0).uniform(0.5, 1, (4, 2, 2, 1))
    report = tenun.check_gradients(pictures(), x, [0, 1, 2, 0])
    assert report.ok and report.worst.error < 1e-5, str(report)
    bias = report.rows[1]
    assert bias.kinks == bias.checked == 4 and "kinks only" in str(report)


def test_a_step_across_a_kink_is_made_smaller() -> None:
    """The bias of a convolution moves thousands of numbers, and always one of them past 0."""
    tenun.set_random_seed(3)
    made = tenun.Sequential([
        tenun.Input((24, 24, 1)), L.Conv2D(8, 3, activation="relu"), L.Conv2D(8, 3, activation="relu"), L.Flatten(),
        L.Dense(3, "softmax"),
    ])  # fmt: skip
    made.compile("adam", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((8, 24, 24, 1))
    report = tenun.check_gradients(made, x, np.arange(8) % 3, step=1e-4)
    assert report.ok and sum(r.kinks for r in report.rows) < 0.1 * sum(r.checked for r in report.rows), str(report)


def test_inputs_and_a_loss_that_is_given() -> None:
    made = tenun.Sequential([tenun.Input((4,), name="x"), L.Dense(2, "tanh", name="only")])
    report = tenun.check_gradients(made, np.ones((3, 4)), np.zeros((3, 2)), loss="mse", inputs=True)
    assert report.ok and [(r.name, r.shape) for r in report.rows] == [
        ("only.kernel", (4, 2)), ("only.bias", (2,)), ("x", (3, 4)),
    ]  # fmt: skip
    assert all(r.analytic == pytest.approx(r.numeric, rel=1e-5) and r.analytic > 0 for r in report.rows)


def test_half_precision_is_checked_in_float64() -> None:
    tenun.set_random_seed(1)
    made = tenun.Sequential([
        tenun.Input((4,)), L.Dense(5, "tanh", dtype="mixed_float16"), L.Dense(2, dtype="mixed_bfloat16"),
    ])  # fmt: skip
    made.compile("sgd", "mse")
    x, y = np.random.default_rng(0).normal(size=(3, 4)), np.zeros((3, 2))
    assert tenun.check_gradients(made, x, y).worst.error < 1e-6


def test_numbers_that_are_not_finite() -> None:
    made = tenun.Sequential([tenun.Input((4,)), L.Dense(2)])
    made.compile("sgd", "mse")
    report = tenun.check_gradients(made, np.full((3, 4), np.nan), np.zeros((3, 2)))
    assert not report.ok and report.worst.verdict == "NOT FINITE"


def test_what_cannot_be_checked_is_refused() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(dtype("f32"), (3,)))
    with pytest.raises(RunError, match="'g' has no weights to check"):
        tenun.check_gradients(b.outputs(b.exp(x)), np.ones(3, np.float32))
    assert tenun.check_gradients(b.graph, np.ones(3, np.float32), inputs=True).ok
    w = b.constant(np.ones(3, np.float32), "w")
    graph = b.outputs(b.mul(b.mul(x, w), b.random_uniform(shape=(3,))))
    with pytest.raises(RunError, match="new random numbers"):
        tenun.check_gradients(graph, np.ones(3, np.float32))


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    made = tenun.Sequential([tenun.Input((4,)), L.Dense(2, name="only")])
    made.compile("sgd", "mse")
    tenun.check_gradients(made, np.ones((3, 4)), np.zeros((3, 2))).show()
    shown = capsys.readouterr().out
    assert "only.kernel" in shown and "verdict" in shown and "ok" in shown
