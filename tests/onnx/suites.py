"""The cases of ONNX's own test suites, on any backend."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.backend.test
from onnx import numpy_helper
from onnx.backend.test import runner
from onnx.backend.test.loader import load_model_tests

QUICK_KINDS = ("real", "simple", "pytorch-operator", "pytorch-converted")  # light models are the real ones
RANDOM = ("bernoulli", "training_dropout")
SCALARS = ("test_loop16_seq_none_cpu",)  # a list with a number in it, which the suite's comparison cannot take


def items(backend: Any, *kinds: str) -> dict[str, Any]:
    """The cases of some suites by name, on a backend (module or class): BackendTest without making those of others."""
    load = runner.load_model_tests
    runner.load_model_tests = lambda kind: load(kind=kind) if kind in kinds else []
    try:
        suite = onnx.backend.test.BackendTest(backend, __name__)
    finally:
        runner.load_model_tests = load
    return {n: item for items in suite._test_items.values() for n, item in items.items() if n.endswith("_cpu")}


def apart(name: str) -> bool:
    """Whether a case is beyond the suite's own comparison: its results are random, or hold a number in a list."""
    return name in SCALARS or (any(word in name for word in RANDOM) and "zero_ratio" not in name)


def failures(chosen: dict[str, Any]) -> dict[str, str]:
    """The cases that fail, and how."""
    failed = {}
    for name, item in chosen.items():
        try:
            item.func(None)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error).strip()[:300]}"
    return failed


def told(failed: dict[str, str]) -> str:
    """Failures as text, one a line."""
    return "\n".join(f"{n}: {text}" for n, text in failed.items())


def node_cases(choose: Any) -> list[Any]:
    """The cases of the node suite whose names are chosen, with their data."""
    return [c for c in load_model_tests(kind="node") if choose(f"{c.name}_cpu")]


def inputs_of(case: Any) -> list[Any]:
    """The inputs of a case's first data set, as arrays."""
    return [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in case.data_sets[0][0]]
