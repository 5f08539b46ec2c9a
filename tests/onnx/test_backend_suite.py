"""ONNX's own test suites on tenun: light, simple, pytorch-operator, pytorch-converted; and (slow) node.

Cases with random results are looked at for shape, dtype and distribution instead of numbers that another generator
drew.  One case is beyond the suite's own way to compare (it takes the length of a number in a list) and is compared
here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import numpy_helper
from onnx.backend.test import runner
from onnx.backend.test.loader import load_model_tests

import tenun
import tenun.frontends.onnx.backend
from tenun.passes.manager import PIPELINES, pipeline

RANDOM = ("bernoulli", "training_dropout")
SCALARS = ("test_loop16_seq_none_cpu",)  # a list with a number in it
SLICES = 8


def _items(*kinds: str) -> dict[str, Any]:
    """The cases of some suites by name: BackendTest without making those of the others."""
    load = runner.load_model_tests
    runner.load_model_tests = lambda kind: load(kind=kind) if kind in kinds else []
    try:
        suite = onnx.backend.test.BackendTest(tenun.frontends.onnx.backend, __name__)
    finally:
        runner.load_model_tests = load
    return {n: item for items in suite._test_items.values() for n, item in items.items() if n.endswith("_cpu")}


QUICK = _items("real", "simple", "pytorch-operator", "pytorch-converted")


@cache
def _node_items() -> dict[str, Any]:
    return _items("node")


def test_counts() -> None:
    """None of the 9 + 23 + 35 + 82 cases is left out."""
    assert len(QUICK) == 149


@pytest.mark.parametrize("name", sorted(QUICK))
def test_quick_suites(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))
    QUICK[name].func(None)


def _apart(name: str) -> bool:
    return name in SCALARS or (any(word in name for word in RANDOM) and "zero_ratio" not in name)


def _failures(names: list[str]) -> dict[str, str]:
    failed = {}
    for name in names:
        try:
            _node_items()[name].func(None)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error).strip()[:300]}"
    return failed


def _told(failed: dict[str, str]) -> str:
    return "\n".join(f"{n}: {text}" for n, text in failed.items())


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_node_suite(part: int) -> None:
    """All 1884 cases but those that are compared below."""
    names = [n for n in sorted(_node_items()) if not _apart(n)]
    failed = _failures(names[part::SLICES])
    assert not failed, _told(failed)


def _cases(choose: Any) -> list[Any]:
    return [c for c in load_model_tests(kind="node") if choose(f"{c.name}_cpu")]


def _inputs(case: Any) -> list[Any]:
    """The inputs of the first data set, as arrays."""
    return [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in case.data_sets[0][0]]


@pytest.mark.slow
def test_node_suite_apart() -> None:
    """Random cases: shape, dtype, distribution; and the list with a number in it."""
    cases = _cases(_apart)
    assert len(cases) == len([n for n in _node_items() if _apart(n)]) == 11
    for case in cases:
        expected = case.data_sets[0][1]
        for got, want in zip(tenun.frontends.onnx.backend.prepare(case.model).run(_inputs(case)), expected):
            if isinstance(want, list):
                assert [g.tolist() for g in got] == [w.tolist() for w in want]
            else:
                assert got.shape == want.shape and got.dtype == want.dtype, case.name


@pytest.mark.slow
def test_distributions() -> None:
    """Bernoulli: the share of ones; dropout: of zeros, and the rest scaled, so that the mean stays."""
    bernoulli = [c for c in _cases(_apart) if "bernoulli" in c.name]
    for case in bernoulli:
        proto = onnx.ModelProto.FromString(case.model.SerializeToString())
        chances = _inputs(case)[0]
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 20_000
        del proto.graph.output[0].type.tensor_type.shape.dim[:]
        proto.graph.output[0].type.tensor_type.ClearField("shape")
        del proto.graph.value_info[:]
        (drawn,) = tenun.frontends.onnx.backend.prepare(proto).run([np.full(20_000, chances[0])])
        assert set(np.unique(drawn)) <= {0, 1}
        chance = chances[0]
        if any(n.op_type == "Greater" for n in proto.graph.node):  # as ONNX expands it: noise above the chance gives 1
            chance = 1 - chance
        assert abs(drawn.astype(float).mean() - chance) < 0.02, case.name
    for case in [c for c in _cases(_apart) if "dropout" in c.name]:
        inputs = _inputs(case)
        ratio = float(inputs[1]) if len(inputs) > 1 else 0.5
        proto = onnx.ModelProto.FromString(case.model.SerializeToString())
        for node in proto.graph.node:  # a seed would give the same mask every time
            for a in [a for a in node.attribute if a.name == "seed"]:
                node.attribute.remove(a)
        x, runs = inputs[0], tenun.frontends.onnx.backend.prepare(proto)
        kept = [runs.run(inputs)[0] for _ in range(200)]
        share = np.mean([np.mean(y != 0) for y in kept])
        assert abs(share - (1 - ratio)) < 0.03, case.name
        for y in kept[:3]:
            np.testing.assert_allclose(y[y != 0], (x / (1 - ratio))[y != 0], rtol=1e-5)


# ---- passes --------------------------------------------------------------------------------------------------

EVERY = 9  # with each pass alone one case of so many, another one for each pass, all of them in turn
PASSES = sorted({*pipeline("inference"), *pipeline("training")} - {"remember"})


# float16, in which two numbers next to each other are farther apart than the suite's tolerance
ROUNDED = ("test_attention_4d_causal_fp16_cpu", "test_attention_4d_causal_fp16_expanded_cpu")


def _with_pipeline(names: list[str], passes: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setitem(PIPELINES, "inference", tuple(passes))
    return _failures([n for n in names if n not in ROUNDED])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_node_suite_without_passes(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [n for n in sorted(_node_items()) if not _apart(n)][part::SLICES]
    failed = _with_pipeline(names, (), monkeypatch)
    assert not failed, _told(failed)


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSES)
def test_suites_with_one_pass(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass alone: all quick suites (but the large models), and part of the node suite."""
    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))
    start = PASSES.index(name)
    failed = _with_pipeline(
        [n for n in sorted(_node_items()) if not _apart(n)][start % EVERY :: EVERY], (name,), monkeypatch
    )
    for case in sorted(QUICK):
        if any(word in case for word in LARGE):
            continue
        try:
            QUICK[case].func(None)
        except Exception as error:
            failed[case] = str(error)[:300]
    assert not failed, _told(failed)


LARGE = ("bvlc", "densenet", "inception", "resnet50", "shufflenet", "squeezenet", "vgg19", "zfnet")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_second_call(part: int) -> None:
    """The plan of the first call is the second's, and gives the same bits; shapes left open change nothing."""
    for case in _cases(lambda name: not _apart(name))[part::SLICES]:
        inputs = _inputs(case)
        compiled = tenun.frontends.onnx.backend.prepare(case.model)
        first, second = compiled.run(inputs), compiled.run(inputs)
        _assert_same(first, second, case.name)


def _assert_same(first: Any, second: Any, name: str) -> None:
    for a, b in zip(first, second, strict=True):
        if isinstance(a, (list, tuple)):
            _assert_same(a, b, name)
        elif a is None or b is None:
            assert a is b, name
        else:
            assert a.shape == b.shape and a.dtype == b.dtype, name
            same = a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
            assert same, name
