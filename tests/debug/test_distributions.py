"""Distributions of weights and gradients: the right gradients, a look an epoch, figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.debug.distributions import add_look, gradients_of, ridges
from tenun.errors import RunError, UnsupportedError
from tenun.training.callbacks import Distributions

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 3)).astype("f"), RNG.normal(size=(20, 2)).astype("f")


def net(*more: Any) -> Any:
    tenun.clear_session()  # the last layer is called dense, if it is the only one
    model = tenun.Sequential([tenun.Input((3,)), *more, tenun.layers.Dense(2)])
    model.compile("sgd", "mse")
    return model


def test_gradients_are_those_of_the_loss() -> None:
    model = net()
    kernel, bias = model.get_weights()
    error = 2 * (X @ kernel + bias - Y) / Y.size
    found = gradients_of(model, X, Y)
    assert list(found) == [p.name for p in model.trainable_weights]
    np.testing.assert_allclose(found["dense.kernel"], X.T @ error, rtol=1e-5)
    np.testing.assert_allclose(found["dense.bias"], error.sum(0), rtol=1e-5)
    weights = np.linspace(0, 2, 20, dtype="f")
    weighted = gradients_of(model, X, Y, weights)["dense.bias"]
    np.testing.assert_allclose(weighted, (error * weights[:, None]).sum(0), rtol=1e-4, atol=1e-7)


def test_a_look_changes_nothing() -> None:
    model = net(tenun.layers.Dropout(0.5, seed=1))
    before = model.training_state()
    gradients_of(model, X, Y)
    after = model.training_state()
    assert all(np.array_equal(before[k], after[k]) for k in before)


def test_a_look_before_the_first_and_after_each_epoch() -> None:
    model, seen = net(), Distributions(X, Y)
    first = model.get_weights()[0]
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[seen])
    assert {len(looks) for part in (seen.weights, seen.gradients) for looks in part.values()} == {4}
    looks = seen.weights["dense.kernel"]
    assert looks[0].std == pytest.approx(first.std()) and looks[3].std == pytest.approx(model.get_weights()[0].std())
    assert sum(looks[0].histogram) == first.size
    last = gradients_of(model, X, Y)["dense.kernel"]
    assert seen.gradients["dense.kernel"][3].std == pytest.approx(last.std(), rel=1e-5)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[seen])
    assert len(looks) == 5
    only = Distributions()
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[only])
    with pytest.raises(RunError, match="nothing to draw"):
        only.plot_gradients()


def test_figures_have_a_panel_a_weight_and_a_ridge_a_look(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model, seen = net(tenun.layers.Dense(4), tenun.layers.Dense(4)), Distributions(X, Y)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[seen])
    names = [p.name for p in model.trainable_weights]
    for figure, ridge in ((seen.plot_weights(), 3), (seen.plot_gradients(), 3), (model.plot_weights(), 1),
                          (model.plot_gradients(X, Y), 1)):  # fmt: skip
        shown = [axes for axes in figure.axes if axes.get_visible()]
        assert [axes.get_title() for axes in shown] == names and len(figure.axes) == 8
        assert all(len(axes.patches) == ridge for axes in shown)
    for ending in ("svg", "png", "pdf"):
        path = tmp_path / f"w.{ending}"
        model.plot_weights(path)
        first = path.read_bytes()
        model.plot_weights(path)
        assert first and path.read_bytes() == first
    with pytest.raises(UnsupportedError, match=r"cannot write w\.gif"):
        model.plot_weights("w.gif")


def test_what_cannot_be_drawn() -> None:
    model = tenun.Sequential([tenun.Input((3,)), tenun.layers.Flatten()])
    with pytest.raises(RunError, match="nothing to draw"):
        model.plot_weights()
    seen: Any = {}
    add_look(seen, {"bad": np.array([np.nan, np.inf]), "constant": np.zeros(3), "texts": np.array(["a"])})
    assert set(seen) == {"bad", "constant"}
    pytest.importorskip("matplotlib")
    bad, constant = ridges(seen, "odd").axes
    assert len(bad.patches) == 0 and len(constant.patches) == 1


def test_matplotlib_is_imported_when_something_is_drawn() -> None:
    code = "import sys, tenun; tenun.callbacks.Distributions; tenun.Sequential; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
