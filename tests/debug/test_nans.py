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


def test_good_numbers_train_as_without() -> None:
    rows = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32) * 0.1
    histories = [model(debug).fit(rows, rows[:, :1], epochs=3, verbose=0).history for debug in (False, True)]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-6)
