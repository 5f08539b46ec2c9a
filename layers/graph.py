"""A graph of the IR, as ONNX models and `.tenun` files are read, as a model with weights to train.

The weights are the graph's constants of floats, under their own names.  Those that are trained: all with an axis at
least, but statistics (the mean and variance that normalise), as frozen layers of Keras have them.  What a graph does is
what it does in inference: its dropout is gone, and its batch normalisation keeps to the statistics that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any

from ..errors import UnsupportedError
from ..ir import Builder, Graph, Tensor, Var, dims
from ..ir.rebuild import copy_nodes
from ..ir.types import DTYPES, map_dims, same
from .base import Layer, Weight, dtype_name, flatten, layer_base
from .input import InputLayer
from .lowering import Scope, Value
from .model import Functional, Ref

TRAINED = frozenset(DTYPES[name] for name in ("f16", "bf16", "f32", "f64"))
STATISTICS = frozenset({"mean", "variance"})  # operands of these names are no weights


@layer_base()
class GraphModel(Functional):
    """A model that is a graph; the weights called `frozen` are not trained."""

    graph: Graph
    frozen: frozenset[str] = field(default=frozenset())

    def check(self) -> None:
        self.values.update({v.name: v.data for v in parameters_of(self.graph)})

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        for var in parameters_of(self.graph):
            learns, kind = var.name not in self.frozen, dtype_name(var.tensor.dtype)
            yield Weight(var.name, var.tensor.static, trainable=learns, dtype=kind, autocast=False)

    def lower(self, b: Builder, x: Any, w: Scope, mask: Any = None) -> Any:
        given = flatten(x)
        if len(given) != len(self.graph.inputs):
            raise self.invalid(f"takes {len(self.graph.inputs)} inputs, got {len(given)}")
        sizes: dict[str, Any] = {}
        mapping: dict[Var, Var] = {}
        for own, var in zip(self.graph.inputs, given):
            mapping[own] = _bound(b, own, var, sizes)
        mapping.update({v: w.__getattr__(v.name) for v in parameters_of(self.graph)})
        results = [Value(v) for v in copy_nodes(b, self.graph, mapping, sizes)]
        return results[0] if isinstance(self.output_layers, Ref) else results


def parameters_of(graph: Graph) -> list[Var]:
    """The constants that are weights."""
    return [v for v in graph.constants if v.tensor.dtype in TRAINED]


def _is_statistic(var: Var) -> bool:
    return any(
        node.operands[i] is var and operand.name in STATISTICS
        for node in var.users
        for i, operand in enumerate(node.op.inputs[: len(node.operands)])
    )


def _bound(b: Builder, own: Var, given: Var, sizes: dict[str, Any]) -> Var:
    """A value in the place of an input; `sizes` gets what its symbols are, which those after it have to agree with."""
    for old, new in zip(own.shape, given.shape):
        name = dims.as_symbol(old)
        if name is not None:
            sizes.setdefault(name, new)
    wanted = map_dims(own.type, lambda d: dims.substitute(d, sizes))
    return given if same(wanted, given.type) else b.reshape(given, shape=wanted.shape)  # type: ignore[union-attr, no-any-return]


def graph_model(graph: Graph, trainable: Callable[[str], bool] | None = None) -> GraphModel:
    """The model that a graph is; `trainable` may tell which weights are trained, by their names.

    UnsupportedError for values that are no tensors of a known rank, and for states.
    """
    if graph.state:
        names = ", ".join(s.input.name for s in graph.state)
        raise UnsupportedError(f"the graph has states ({names}), which a model for training cannot take over")
    for var in (*graph.inputs, *graph.outputs):
        if not isinstance(var.type, Tensor) or var.type.shape is None:
            raise UnsupportedError(f"{var.name!r} is {var.type}: a model for training takes tensors of known rank")
    inputs: list[Layer] = [
        InputLayer(
            name=v.name,
            batch_shape=[d if isinstance(d, int) else None for d in v.shape],
            dtype=dtype_name(v.tensor.dtype),
        )
        for v in graph.inputs
    ]
    refs = [Ref(name) for name in graph.output_names]
    fixed = [v for v in parameters_of(graph) if not v.shape or _is_statistic(v)]
    fixed += [v for v in parameters_of(graph) if trainable is not None and not trainable(v.name)]
    return GraphModel(
        name=graph.name or "graph", layers=inputs, calls=[], input_layers=[Ref(str(each.name)) for each in inputs],
        output_layers=refs[0] if len(refs) == 1 else refs, graph=graph,
        frozen=frozenset(v.name for v in fixed),
    )  # fmt: skip
