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
import pytest

import tenun
import tenun.frontends.onnx.backend
from tenun.passes.manager import PIPELINES, pipeline

from .suites import QUICK_KINDS, apart, failures, inputs_of, items, node_cases, told

SLICES = 8


QUICK = items(tenun.frontends.onnx.backend, *QUICK_KINDS)


@cache
def _node_items() -> dict[str, Any]:
    return items(tenun.frontends.onnx.backend, "node")


def test_counts() -> None:
    """None of the 9 + 23 + 35 + 82 cases is left out."""
    assert len(QUICK) == 149


@pytest.mark.parametrize("name", sorted(QUICK))
def test_quick_suites(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))
    QUICK[name].func(None)


def _failures(names: list[str]) -> dict[str, str]:
    return failures({name: _node_items()[name] for name in names})


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_node_suite(part: int) -> None:
    """All 1884 cases but those that are compared below."""
    names = [n for n in sorted(_node_items()) if not apart(n)]
    failed = _failures(names[part::SLICES])
    assert not failed, told(failed)


@pytest.mark.slow
def test_node_suite_apart() -> None:
    """Random cases: shape, dtype, distribution; and the list with a number in it."""
    cases = node_cases(apart)
    assert len(cases) == len([n for n in _node_items() if apart(n)]) == 11
    for case in cases:
        expected = case.data_sets[0][1]
        for got, want in zip(tenun.frontends.onnx.backend.prepare(case.model).run(inputs_of(case)), expected):
            if isinstance(want, list):
                assert [g.tolist() for g in got] == [w.tolist() for w in want]
            else:
                assert got.shape == want.shape and got.dtype == want.dtype, case.name


@pytest.mark.slow
def test_distributions() -> None:
    """Bernoulli: the share of ones; dropout: of zeros, and the rest scaled, so that the mean stays."""
    bernoulli = [c for c in node_cases(apart) if "bernoulli" in c.name]
    for case in bernoulli:
        proto = onnx.ModelProto.FromString(case.model.SerializeToString())
        chances = inputs_of(case)[0]
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
    for case in [c for c in node_cases(apart) if "dropout" in c.name]:
        inputs = inputs_of(case)
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
    names = [n for n in sorted(_node_items()) if not apart(n)][part::SLICES]
    failed = _with_pipeline(names, (), monkeypatch)
    assert not failed, told(failed)


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSES)
def test_suites_with_one_pass(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass alone: all quick suites (but the large models), and part of the node suite."""
    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))
    start = PASSES.index(name)
    failed = _with_pipeline(
        [n for n in sorted(_node_items()) if not apart(n)][start % EVERY :: EVERY], (name,), monkeypatch
    )
    for case in sorted(QUICK):
        if any(word in case for word in LARGE):
            continue
        try:
            QUICK[case].func(None)
        except Exception as error:
            failed[case] = str(error)[:300]
    assert not failed, told(failed)


LARGE = ("bvlc", "densenet", "inception", "resnet50", "shufflenet", "squeezenet", "vgg19", "zfnet")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_second_call(part: int) -> None:
    """The plan of the first call is the second's, and gives the same bits."""
    for case in node_cases(lambda name: not apart(name))[part::SLICES]:
        inputs = inputs_of(case)
        compiled = tenun.frontends.onnx.backend.prepare(case.model)
        first, second = compiled.run(inputs), compiled.run(inputs)
        _assert_same(first, second, case.name)


# cases that need a size which is an input's: of a kernel, and the number of spatial axes
NEED_SIZES = ("affine_grid", "causal_conv", "col2im", "convinteger", "convtranspose", "deform_conv", "qlinearconv")
CLOSE = {"bfloat16": 0.05, "float16": 5e-3}  # parts of results may be summed in another order


def _opened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with no size of an input told."""
    proto = onnx.ModelProto.FromString(model.SerializeToString())
    del proto.graph.value_info[:]
    for value in proto.graph.input:
        for i, dim in enumerate(value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ()):
            dim.dim_param = f"{value.name}_{i}"
    for value in proto.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_open_shapes(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Second calls of models whose inputs' sizes are left open, specialised to what comes and not, and as declared.

    Every other case.
    """
    refused, compared = [], 0
    for case in node_cases(lambda name: not apart(name))[part :: 2 * SLICES]:
        inputs, proto = inputs_of(case), _opened(case.model)
        declared = tenun.frontends.onnx.backend.prepare(case.model).run(inputs)
        try:
            compiled = tenun.frontends.onnx.backend.prepare(proto)
        except tenun.TenunError:
            refused.append(case.name)
            continue
        compiled.run(inputs)
        _assert_close(compiled.run(inputs), declared, case.name)
        with monkeypatch.context() as patched:
            patched.setitem(PIPELINES, "specialize", ())
            general = tenun.frontends.onnx.backend.prepare(proto)
            general.run(inputs)
            _assert_close(general.run(inputs), declared, case.name)
        compared += 1
    assert [name for name in refused if not any(word in name for word in NEED_SIZES)] == []
    assert compared > 90, refused


def _assert_close(first: Any, second: Any, name: str) -> None:
    for a, b in zip(first, second, strict=True):
        if isinstance(a, (list, tuple)):
            _assert_close(a, b, name)
        elif a is None or b is None or a.dtype == object or a.dtype.kind in "biu":
            _assert_same([a], [b], name)
        else:
            assert a.shape == b.shape and a.dtype == b.dtype, name
            near = CLOSE.get(str(a.dtype), 1e-5)
            np.testing.assert_allclose(a.astype(np.complex128), b.astype(np.complex128), near, near, err_msg=name)


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
