"""tenun as a backend of ONNX's own test suites and of tools that speak `onnx.backend.base`.

The module itself is a backend: `onnx.backend.test.BackendTest(tenun.frontends.onnx.backend, __name__)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper
from onnx.backend.base import Backend, BackendRep
from onnx.defs import get_schema, onnx_opset_version

from ...errors import RunError, TenunError
from ...ir.types import dtype
from .protos import dense_of, elem_code


class TenunRep(BackendRep):  # type: ignore[misc]
    """A compiled model."""

    def __init__(self, executable: Any) -> None:
        self.executable = executable

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Outputs in the model's order, for inputs in the model's order or by name: arrays, lists or protos."""
        if isinstance(inputs, Mapping):
            return tuple(self.executable.run({k: _plain(v) for k, v in inputs.items()}).values())
        given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        names = [v.name for v in self.executable.inputs]
        if len(given) != len(names):
            raise RunError(f"expected {len(names)} inputs ({', '.join(names)}), got {len(given)}")
        return tuple(self.executable.run(dict(zip(names, map(_plain, given)))).values())


def _plain(value: Any) -> Any:
    """A value as arrays, which is what a model runs on."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return dense_of(value, None) if isinstance(value, SparseTensorProto) else value


class TenunBackend(Backend):  # type: ignore[misc]
    """`prepare`, `run_model`, `run_node` on tenun."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be loaded, and the device is the CPU."""
        from ...api import load

        try:
            load(model)
        except TenunError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> TenunRep:
        """Compile a model; keyword arguments go to `tenun.compile`.  RunError for another device than the CPU."""
        from ...api import compile

        if not cls.supports_device(device):
            raise RunError(f"there is no device {device!r}", hint="tenun runs on the CPU")
        options = {k: v for k, v in kwargs.items() if k in ("backend", "pipeline", "threads", "verify")}
        return TenunRep(compile(model, **options))

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Compile a model and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls, node: NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Run one node on arrays, in the order of its inputs or by name; `opset_version` is that of its domain."""
        names = list(dict.fromkeys(n for n in node.input if n))
        given = [inputs[n] for n in names] if isinstance(inputs, Mapping) else list(inputs)
        arrays = [np.asarray(_plain(v)) for v in given]
        model = _model_of(node, dict(zip(names, arrays)), kwargs.pop("opset_version", None))
        return cls.prepare(model, device, **kwargs).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device.partition(":")[0] == "CPU"


def _model_of(node: NodeProto, arrays: Mapping[str, Any], opset: int | None) -> ModelProto:
    """A model of one node, for inputs like these."""
    given = [helper.make_tensor_value_info(n, elem_code(dtype(a)), a.shape) for n, a in arrays.items()]
    results = [helper.make_empty_tensor_value_info(n) for n in node.output if n]
    graph = helper.make_graph([node], "node", given, results)
    newest = onnx_opset_version() if node.domain in ("", "ai.onnx") else get_schema(node.op_type, node.domain)
    version = opset or (newest if isinstance(newest, int) else newest.since_version)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)])


prepare = TenunBackend.prepare
run_model = TenunBackend.run_model
run_node = TenunBackend.run_node
supports_device = TenunBackend.supports_device
is_compatible = TenunBackend.is_compatible
