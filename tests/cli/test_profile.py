"""`tenun profile`: tables, files, other runtimes, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.cli import race
from tenun.debug import profile as module
from tenun.debug.roofline import LEVELS, Machine

Command = Any
DEMO = Path(tenun.__file__).parent / "demo"


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured, nothing kept."""
    figures = dict.fromkeys(LEVELS, (1000000000.0, 1000000000.0))
    monkeypatch.setattr(module, "machine", lambda: Machine("test", 1, {"float32": (1e9, 1e9)}, figures))
    monkeypatch.setattr(race, "WARM", 0.0)


@pytest.mark.parametrize("by", ["layer", "node", "op", "step"])
def test_tables(tenun_command: Command, model: Path, by: str) -> None:
    result = tenun_command("profile", model, "--by", by, "--batch", 2, "--rounds", 1, "--threads", 1)
    assert result.status == 0, result
    first, *lines = result.out.splitlines()
    assert first.split()[0] == by and first.split()[-1] == "allocates"
    assert any(line.startswith("total") for line in lines) and any("machine: test" in line for line in lines)
    assert "threads 1" in result.out


def test_top(tenun_command: Command) -> None:
    result = tenun_command("profile", DEMO / "digits_cnn.keras", "--by", "node", "--top", 2, "--rounds", 1)
    assert result.out.splitlines()[0].split()[-2:] == ["roofline", "allocates"]  # long names give way to figures
    assert "5 more rows" in result.out and len(result.out.splitlines()) < 12


def test_files(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    trace, figures = tmp_path / "trace.json", tmp_path / "figures.json"
    result = tenun_command("profile", model, "--rounds", 1, "--trace", trace, "--json", figures)
    assert f"wrote {trace}" in result.out and f"wrote {figures}" in result.out
    assert json.loads(trace.read_text())["traceEvents"]
    content = json.loads(figures.read_text())
    assert content["name"] == "pixels" and content["nodes"] and "versus" not in content
    assert (
        "cannot write the file" in tenun_command("profile", model, "--rounds", 1, "--json", tmp_path / "no" / "x").error
    )


def test_refuses(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    assert "no backend is called 'magic'" in tenun_command("profile", model, "--backend", "magic").error
    assert "ONNX Runtime cannot read .tenun files" in tenun_command("profile", model, "--vs", "ort").error
    assert "Keras cannot read .tenun files" in tenun_command("profile", model, "--vs", "keras").error
    assert tenun_command("profile", model, "--by", "magic").status == 2
    assert "does not exist" in tenun_command("profile", tmp_path / "none.keras").error


@pytest.mark.parametrize("peer, package", [("ort", "onnxruntime"), ("keras", "keras")])
def test_a_missing_package_is_named(
    tenun_command: Command, monkeypatch: pytest.MonkeyPatch, peer: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    error = tenun_command("profile", DEMO / "digits_cnn.keras", "--vs", peer).error
    assert f"--vs {peer} needs the package {package}" in error and f"hint: pip install {package}" in error


def dense_onnx(folder: Path) -> Path:
    """relu(x w), as an ONNX file."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "dense", [x], [z], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "dense.onnx")
    return folder / "dense.onnx"


def test_versus_onnx_runtime(tenun_command: Command, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    figures = tmp_path / "figures.json"
    file = dense_onnx(tmp_path)
    result = tenun_command(
        "profile", file, "--batch", 8, "--rounds", 2, "--vs", "ort", "--json", figures, "--threads", 1
    )
    assert result.status == 0, result
    assert "ONNX Runtime / tenun" in result.out and "the results differ by 0 of the largest" in result.out
    versus = json.loads(figures.read_text())["versus"]
    assert versus["peer"] == "ort" and versus["ours"] > 0 and versus["theirs"] > 0 and versus["difference"] == 0


def test_a_file_that_a_runtime_refuses(tenun_command: Command, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    assert "ONNX Runtime cannot load the model" in tenun_command("profile", tmp_path / "bad.onnx", "--vs", "ort").error


@pytest.mark.parametrize("peer", ["keras", "ort"])
def test_versus_on_a_keras_file(tenun_command: Command, peer: str) -> None:
    """Keras itself, and ONNX Runtime on Keras' export."""
    for package in ("keras", "tensorflow", *(("onnxruntime", "tf2onnx") if peer == "ort" else ())):
        pytest.importorskip(package)
    result = tenun_command("profile", DEMO / "digits_cnn.keras", "--batch", 2, "--rounds", 1, "--vs", peer)
    assert result.status == 0, result
    assert "of the largest" in result.out and "not the same computations" not in result.out


def test_results_that_are_others_are_told() -> None:
    lines = list(race.Race("ort", 1e-3, 2e-3, 3, 0.5).lines())
    assert "2.00" in lines[2] and "not the same computations" in lines[-1]
    assert "other shapes" in list(race.Race("keras", 1e-3, 2e-3, 3, None).lines())[-1]
    ones = np.ones(3, np.float32)
    assert race._difference([ones], [ones * 2]) == pytest.approx(0.5)
    assert race._difference([ones], [np.ones(4)]) is None and race._difference([ones], []) is None
    text = np.array(["a"], object)
    assert race._difference([text], [text]) == 0 and race._difference([text], [text[:, None][0] + "b"]) > 0


def test_inputs_of_other_names_are_taken_in_order() -> None:
    given = {"a": 1, "b": 2}
    assert race._renamed(given, ["b", "a"]) == {"b": 2, "a": 1}
    assert race._renamed(given, ["x", "y"]) == {"x": 1, "y": 2}
    with pytest.raises(tenun.TenunError, match="takes other inputs"):
        race._renamed(given, ["x"])
