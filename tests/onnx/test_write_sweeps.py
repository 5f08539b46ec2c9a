"""Long sweeps of what is written: every call that the tests of kernels make, and every model of ONNX's own suites."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx.defs import onnx_opset_version

import tenun
from tenun.backends.base import backend
from tenun.frontends.onnx import write
from tenun.frontends.onnx.backend import TenunBackend
from tenun.frontends.onnx.writer import proto_of_graph
from tenun.tests.onnx.suites import PASSING, items
from tenun.tests.onnx.sweep import FILE, replay

ROOT = Path(tenun.__file__).parent
SLICES = 8

# models that do not come back the same, and why
LOSSES = {
    "test_basic_deform_conv_with_padding_cpu": "2e-7 where exactly 0 is expected: another order of the sum",
    "test_dft_irfft_cpu": "a half spectrum along an axis that is only known at run time has no form in ONNX",
    "test_resize_downsample_sizes_nearest_not_smaller_cpu": "ONNX's scales are float32: too short by a rounding error",
}


@pytest.mark.slow
def test_calls_of_kernels(tmp_path: Path) -> None:
    """Written at several opsets, read back, run by ONNX Runtime."""
    file = tmp_path / "calls.pkl"
    command = ["-m", "pytest", "-q", "-n", "0", "-p", "tenun.tests.onnx.sweep", str(ROOT / "tests" / "kernels")]
    subprocess.run([sys.executable, *command], check=True, env={**os.environ, FILE: str(file)}, capture_output=True)
    verdicts: Counter[str] = Counter()
    failed = []
    write.load()
    for name, operands, attrs in pickle.loads(file.read_bytes()):
        for constants in (False, True) if name in write.ROWS else ():
            try:
                verdicts[replay(name, operands, attrs, constants)] += 1
            except Exception as error:
                failed.append(f"{name} {attrs}: {type(error).__name__}: {str(error).strip()[:300]}")
    print(dict(verdicts))
    assert not failed, f"{len(failed)} calls\n" + "\n".join(failed[:40])
    assert verdicts["equal in ONNX Runtime"] > 3000


class Rewritten(TenunBackend):
    """Runs what was read, written by tenun, and read again."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Any:
        proto = proto_of_graph(tenun.load(model), opset=onnx_opset_version(), evaluate=backend("numpy").evaluate)
        onnx.checker.check_model(proto, full_check=True)
        return super().prepare(proto, device, **kwargs)


@cache
def _items(*kinds: str) -> dict[str, Any]:
    return items(Rewritten, *kinds)


def _failures(chosen: dict[str, Any]) -> dict[str, str]:
    failed = {}
    for name, item in chosen.items():
        try:
            item.func(None)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error).strip()[:300]}"
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_the_node_suite_round_trips(part: int) -> None:
    passing = set(PASSING.read_text().split())
    chosen = {n: i for n, i in sorted(_items("node").items())[part::SLICES] if n in passing}
    assert set(_failures(chosen)) == set(LOSSES) & set(chosen), _failures(chosen)


@pytest.mark.slow
def test_the_other_suites_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))
    chosen = _items("real", "simple", "pytorch-operator", "pytorch-converted")
    assert len(chosen) == 149
    assert not _failures(chosen)
