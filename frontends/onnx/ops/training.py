"""ai.onnx.preview.training."""

from __future__ import annotations

from ....ir.graph import Var
from ..lowering import Lowering
from ..registry import onnx


@onnx("Gradient", domain="ai.onnx.preview.training")
def gradient(b: Lowering, *Inputs: Var, xs: tuple[str, ...], y: str, zs: tuple[str, ...] = ()) -> list[Var]:
    """d y / d x for each of xs, at the point where the values xs and zs were computed in this graph.

    Inputs are the values of xs and zs; other values than those that led to y are not known.
    """
    from ....passes.autodiff.engine import gradients  # which most models do without

    names = (*xs, *zs)
    target, *sources = b.resolve([y, *names])
    if list(Inputs) != sources:
        raise b.refuse("inputs other than the values called xs and zs", "give the values themselves")
    return gradients(b, [target], sources[: len(xs)])
