"""tenun as a backend of ONNX's own test suites and of tools that speak `onnx.backend.base`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper
from onnx.backend.base import Backend, BackendRep
from onnx.defs import onnx_opset_version

from ...errors import RunError
from ...ir.types import dtype
from .protos import elem_code


class TenunRep(BackendRep):  # type: ignore[misc]
    """A compiled model."""

    def __init__(self, executable: Any) -> None:
        self.executable = executable

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Outputs in the model's order, for inputs in the model's order or by name."""
        if isinstance(inputs, Mapping):
            return tuple(self.executable.run(inputs).values())
        given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        names = [v.name for v in self.executable.inputs]
        if len(given) != len(names):
            raise RunError(f"expected {len(names)} inputs ({', '.join(names)}), got {len(given)}")
        return tuple(self.executable.run(dict(zip(names, given))).values())


class TenunBackend(Backend):  # type: ignore[misc]
    """`prepare`, `run_model`, `run_node` on tenun."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> TenunRep:
        """Compile a model; keyword arguments go to `tenun.compile`."""
        from ...api import compile

        options = {k: v for k, v in kwargs.items() if k in ("backend", "pipeline", "threads", "verify")}
        return TenunRep(compile(model, **options))

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Compile a model and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls, node: NodeProto, inputs: Sequence[Any], device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Run one node on arrays."""
        from ...api import compile

        return TenunRep(compile(_model_of(node, inputs, kwargs.get("opset_version")))).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device.partition(":")[0] == "CPU"


def _model_of(node: NodeProto, inputs: Sequence[Any], opset: int | None) -> ModelProto:
    """A model of one node, for inputs like these."""
    names = [n for n in node.input if n]
    arrays = [np.asarray(v) for v in inputs]
    given = [helper.make_tensor_value_info(n, _code(a), a.shape) for n, a in zip(names, arrays)]
    results = [helper.make_empty_tensor_value_info(n) for n in node.output if n]
    graph = helper.make_graph([node], "node", given, results)
    version = opset or onnx_opset_version()
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)])


def _code(array: Any) -> int:
    return elem_code(dtype(array))
