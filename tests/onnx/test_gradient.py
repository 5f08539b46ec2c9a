"""The operator Gradient; the rules themselves are tested in tests/autodiff."""

from __future__ import annotations

import numpy as np
import onnx

from .models import FLOAT, model, node, run, value

DOMAIN = "ai.onnx.preview.training"


def gradient(xs: str, y: str, outputs: str) -> onnx.NodeProto:
    """A Gradient node."""
    made = node("Gradient", xs, outputs, xs=xs.split(), y=y)
    made.domain = DOMAIN
    return made


def test_gradient_operator() -> None:
    """d (a b + a) / d a and d b; of what y does not depend on it is 0."""
    nodes = [node("Mul", "a b", "p"), node("Add", "p a", "y"), gradient("a b c", "y", "da db dc")]
    inputs = [value(n, [2, 3], FLOAT) for n in "abc"]
    proto = model(nodes, inputs, ["y", "da", "db", "dc"], domains={DOMAIN: 1})
    a, b, c = (np.random.default_rng(i).standard_normal((2, 3)).astype(np.float32) for i in range(3))
    _, da, db, dc = run(proto, a, b, c)
    np.testing.assert_allclose(da, b + 1)
    np.testing.assert_allclose(db, a)
    np.testing.assert_array_equal(dc, np.zeros((2, 3)))
