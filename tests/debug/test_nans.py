"""debug_nans names the node and the layer, and leaves the weights as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import RunError

L = tenun.layers


def model(debug: Any) -> Any:
    tenun.set_random_seed(0)
    x = tenun.Input((3,))
    h = L.Dense(4, name="wide")(x)
    y = L.Dense(1, name="last")(L.Activation("exponential", name="blow")(h))
    made = tenun.Model(x, y)
    made.compile(tenun.optimizers.SGD(0.1), "mse", debug_nans=debug)
    return made


def test_the_first_bad_node_is_named_and_the_weights_stay() -> None:
    made = model(True)
    rows = np.full((4, 3), 1e4, np.float32)
    before = made.get_weights()
    with pytest.raises(RunError) as caught:
        made.fit(rows, np.zeros((4, 1)), epochs=2, verbose=0)
    assert caught.value.node == "last"  # inf - inf, or 0 times inf, in the product
    text = str(caught.value)
    assert "not finite" in text and "the first infinite result was made by exp of blow" in text
    assert all(np.array_equal(a, b) for a, b in zip(before, made.get_weights()))


def test_infinities_are_blamed_where_asked_for() -> None:
    made = model("inf")
    with pytest.raises(RunError) as caught:
        made.train_on_batch(np.full((4, 3), 1e4, np.float32), np.zeros((4, 1)))
    assert caught.value.node == "blow" and caught.value.op == "exp"


def compiled(loss: Any, **layer: Any) -> Any:
    x = tenun.Input((4,), name="x")
    made = tenun.Model(x, L.Dense(4, kernel_initializer="ones", name="only", **layer)(x))
    made.compile("adam", loss, debug_nans=True)
    return made


ONES, ZEROS = np.ones((4, 4), np.float32), np.zeros((4, 4), np.float32)


def root_of_less(b: Any, y: Any, p: Any) -> Any:
    """The root of -6 for the input ONES."""
    return b.reduce_sum(b.log(b.sqrt(b.sub(p, 10.0))), axes=(1,))


def test_operands_are_shown_as_they_were_before_the_node_wrote_over_them() -> None:
    made = compiled(root_of_less)
    before = made.training_state()
    for _ in range(2):
        with pytest.raises(RunError, match="results of sqrt are not finite in step 1: 16 NaN of 16") as caught:
            made.train_on_batch(ONES, ZEROS)
    text = str(caught.value)
    assert "%sub: f32[4, 4]: from -6 to -6" in text
    _, _, spoilt = text.partition("because of that: ")
    assert {w.strip(",\n") for w in spoilt.split()[:3]} == {"loss", "only.kernel", "only.bias"}
    assert caught.value.op == "sqrt" and caught.value.node == "loss/only" and "root" in str(caught.value.hint)
    after = made.training_state()
    assert all(np.array_equal(after[k], v) for k, v in before.items()) and set(after) == set(before)


def test_what_nobody_reads_is_no_fault() -> None:
    """-inf in a mask, the unused half of a `where`."""

    def loss(b: Any, y: Any, p: Any) -> Any:
        root = b.sqrt(b.sub(p, 10.0))
        kept = b.where(b.equal(root, root), root, p)
        masked = b.softmax(b.add(kept, np.array([0, -np.inf, 0, -np.inf], np.float32)), axis=-1)
        return b.reduce_sum(masked, axes=(1,))

    np.testing.assert_allclose(compiled(loss).test_on_batch(ONES, ZEROS), 1, rtol=1e-6)


def test_an_infinite_loss_is_a_fault() -> None:
    with pytest.raises(RunError, match="results of exp are not finite in step 1: 16 infinite of 16") as caught:
        compiled("mse", activation="exponential").train_on_batch(40 * ONES, ZEROS)
    assert caught.value.node == "only" and "from 160 to 160" in str(caught.value)


def test_bad_inputs_and_weights_are_named() -> None:
    x = ONES.copy()
    x[1, 2] = np.nan
    with pytest.raises(RunError, match="input 'x' is not finite in step 1: 1 NaN of 16"):
        compiled("mse").train_on_batch(x, ZEROS)
    made = compiled("mse")
    made.weights[0].assign(np.full((4, 4), np.inf))
    with pytest.raises(RunError, match="input 'only.kernel' is not finite in step 1: 16 infinite of 16"):
        made.train_on_batch(ONES, ZEROS)


def test_targets_that_are_no_class() -> None:
    with pytest.raises(RunError, match="results of where are not finite") as caught:
        compiled("sparse_categorical_crossentropy", activation="softmax").train_on_batch(ONES, np.array([0, 1, 9, 2]))
    assert "no class" in str(caught.value.hint)


def test_a_step_that_is_skipped_for_its_scale_is_no_fault() -> None:
    """In float16 gradients overflow until the scale of the loss is low enough."""

    def train(debug: bool) -> list[float]:
        tenun.set_random_seed(1)
        x = tenun.Input((4,))
        h = L.Dense(64, dtype="mixed_float16")(L.Dense(64, dtype="mixed_float16")(x))
        made = tenun.Model(x, L.Dense(1, dtype="mixed_float16")(L.LayerNormalization(dtype="mixed_float16")(h)))
        made.compile("sgd", "mse", debug_nans=debug)
        return [made.train_on_batch(ONES, 30 * ONES[:, :1]) for _ in range(4)]

    np.testing.assert_allclose(train(True), train(False), rtol=1e-3)


def test_good_numbers_train_as_without() -> None:
    rows = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32) * 0.1
    histories = [model(debug).fit(rows, rows[:, :1], epochs=3, verbose=0).history for debug in (False, True)]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-6)
