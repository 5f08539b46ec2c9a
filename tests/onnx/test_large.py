"""Large models: weights beside the model are mapped, those in its file read once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tenun
from tenun.frontends.onnx import large
from tenun.frontends.onnx.large import without_elements
from tenun.tests.onnx.models import model, node, tensor, value

SIDE = 4096
WEIGHT = SIDE * SIDE * 4  # bytes: 64 MB

# In a process of its own: seconds, and MB of memory that is not a file's, for loading, compiling, and the first run.
PROGRAM = """
import json, sys, time
import numpy as np
import tenun, tenun.frontends.onnx.reader, tenun.backends.numpy.plan

def memory(kind):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(kind + ":"))

before, x = memory("RssAnon"), np.ones((1, int(sys.argv[2])), np.float32)
start = time.perf_counter()
graph = tenun.load(sys.argv[1])
loaded = time.perf_counter() - start
held = memory("RssAnon") - before
peak = memory("VmHWM") - before
y = tenun.compile(graph)(x)
after = memory("RssAnon") - before
print(json.dumps({"loaded": loaded, "held": held, "peak": peak, "after": after, "y": float(np.abs(y).sum())}))
"""


def chain(count: int, weights: list[TensorProto]) -> onnx.ModelProto:
    nodes = []
    for i in range(count):
        nodes += [node("MatMul", f"h{i} w{i}", f"m{i}"), node("Relu", f"m{i}", f"h{i + 1}")]
    return model(nodes, [value("h0", ["N", SIDE])], [f"h{count}"], weights)


def external(folder: Path, count: int) -> Path:
    """`count` weights of 64 MB in a file beside the model."""
    weights = []
    with (folder / "weights.bin").open("wb") as file:
        for i in range(count):
            proto = TensorProto(name=f"w{i}", data_type=1, dims=[SIDE, SIDE], data_location=TensorProto.EXTERNAL)
            for key, entry in (("location", "weights.bin"), ("offset", str(i * WEIGHT)), ("length", str(WEIGHT))):
                proto.external_data.add(key=key, value=entry)
            weights.append(proto)
            np.full((SIDE, SIDE), 1 / SIDE, np.float32).tofile(file)
    (folder / "m.onnx").write_bytes(chain(count, weights).SerializeToString())
    return folder / "m.onnx"


def measured(path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(SIDE)], capture_output=True, text=True, timeout=300, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_gigabyte_beside_the_model(tmp_path: Path) -> None:
    found = measured(external(tmp_path, 16))
    assert found["loaded"] < 1.5  # a fiftieth of it, on a machine that does nothing else
    assert found["held"] < 50
    assert found["after"] < 150
    assert found["y"] == pytest.approx(SIDE, rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_half_a_gigabyte_in_one_file(tmp_path: Path) -> None:
    weights = [tensor(f"w{i}", np.full((SIDE, SIDE), 1 / SIDE, np.float32)) for i in range(8)]
    path = tmp_path / "m.onnx"
    path.write_bytes(chain(8, weights).SerializeToString())
    del weights
    found = measured(path)
    assert found["peak"] < 1.4 * 8 * WEIGHT / 2**20
    assert found["after"] < 1.4 * 8 * WEIGHT / 2**20
    assert found["y"] == pytest.approx(SIDE, rel=1e-3)


# ---- what is left in the file ----------------------------------------------------------------------------------


def whole() -> onnx.ModelProto:
    """Tensors of some sizes among initialisers, attributes, subgraphs and functions."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n).astype(np.float32) for n in (2000, 2000, 2000, 3)]
    body = helper.make_graph(
        [node("Constant", "", "k", value=tensor("t", arrays[0])), node("Add", "x k", "a")],
        "body",
        [],
        [value("a", None)],
    )
    own = helper.make_function(
        "own", "Shifted", ["u"], ["v"],
        [node("Constant", "", "k", value=tensor("t", arrays[1])), node("Add", "u k", "v")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    return model(
        [node("If", "c", "y", then_branch=body, else_branch=body), node("Shifted", "y", "z", domain="own"),
         node("Mul", "z w", "p"), node("ReduceSum", "s", "q"), node("Add", "p q", "r")],
        [value("x", [2000])], ["r"],
        [tensor("w", arrays[2]), tensor("s", arrays[3]), tensor("c", True)], functions=[own], domains={"own": 1},
    )  # fmt: skip


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files count as large ones."""
    monkeypatch.setattr(large, "FILE_LIMIT", 1)


@pytest.mark.usefixtures("eager")
def test_the_same_model(tmp_path: Path) -> None:
    proto, path = whole(), tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    small = without_elements(path)
    assert small is not None and len(small) < 3000 < len(path.read_bytes())
    x = np.linspace(-1, 1, 2000, dtype=np.float32)
    np.testing.assert_array_equal(tenun.compile(path)(x), tenun.compile(proto)(x))
    graph = tenun.load(path)
    path.write_bytes(b"")  # nothing of the file is in use
    np.testing.assert_array_equal(tenun.compile(graph)(x), tenun.compile(proto)(x))


@pytest.mark.usefixtures("eager")
def test_damaged_files_and_links_are_read_whole(tmp_path: Path) -> None:
    data, path, link = whole().SerializeToString(), tmp_path / "m.onnx", tmp_path / "link.onnx"
    path.write_bytes(data[:-100])
    assert without_elements(path) is None
    with pytest.raises(tenun.LoadError):
        tenun.load(path)
    path.write_bytes(data)
    link.symlink_to(path)
    assert without_elements(link) is None
    assert tenun.load(link).inputs[0].name == "x"


@pytest.mark.usefixtures("eager")
def test_a_size_that_the_shape_does_not_have(tmp_path: Path) -> None:
    proto, path = whole(), tmp_path / "m.onnx"
    proto.graph.initializer[0].dims[:] = [2001]
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(tenun.LoadError, match="'w'"):
        tenun.load(path)


def test_elements_at_odd_places_are_copied(tmp_path: Path) -> None:
    x: Any = np.arange(10, dtype=np.float32)
    for offset, mapped in ((8, True), (9, False)):
        (tmp_path / f"w{offset}.bin").write_bytes(b"\0" * offset + x.tobytes())
        proto = TensorProto(name="w", data_type=1, dims=[10], data_location=TensorProto.EXTERNAL)
        proto.external_data.add(key="location", value=f"w{offset}.bin")
        proto.external_data.add(key="offset", value=str(offset))
        path = tmp_path / "m.onnx"
        path.write_bytes(model([node("Add", "x w", "y")], [value("x", [10])], ["y"], [proto]).SerializeToString())
        graph = tenun.load(path)
        (data,) = graph.weights.values()
        assert data.flags.aligned
        bases = [data]
        while isinstance(bases[-1].base, np.ndarray):
            bases.append(bases[-1].base)
        assert any(isinstance(a, np.memmap) for a in bases) == mapped
        np.testing.assert_array_equal(tenun.compile(graph)(x), 2 * x)
