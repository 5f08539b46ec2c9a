"""`tenun compare`, `tenun diff`, `tenun check` on the command line."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun

Command = Any


def network(folder: Path, name: str, **changed: Any) -> Path:
    options = {"units": 4, "activation": "relu", "scale": 1.0, **changed}
    x = tenun.Input((5,), name="x")
    y = tenun.layers.Dense(options["units"], activation=options["activation"], name="hidden")(x)
    model = tenun.Model(x, tenun.layers.Dense(2, name="out")(y))
    for i, weight in enumerate(model.weights):
        weight.assign(options["scale"] * np.random.default_rng(i).standard_normal(weight.shape).astype(np.float32))
    model.save(folder / name) if name.endswith(".keras") else tenun.save(model, folder / name)
    return folder / name


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return network(tmp_path, "a.keras"), network(tmp_path, "b.onnx")


def test_compare_the_same(tenun_command: Command, pair: tuple[Path, Path]) -> None:
    result = tenun_command("compare", *pair, "--seeds", 2)
    assert result.status == 0 and "hidden" in result.out and "2 inputs" in result.out
    assert result.out.splitlines()[-1].startswith("SAME: ")


def test_compare_different(tenun_command: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = network(tmp_path, "c.onnx", activation="tanh")
    np.savez(tmp_path / "in.npz", x=np.ones((3, 5), np.float32))
    result = tenun_command("compare", pair[0], other, "-i", tmp_path / "in.npz", "--json", tmp_path / "r.json")
    assert result.status == 1 and "DIFFERENT: " in result.out and "part first at hidden" in result.out
    assert "~ hidden" in result.out and "relu → tanh" in result.out
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["first"] == "hidden" and record["culprits"] == ["hidden"] and not record["same"]
    assert {v["layer"] for v in record["values"]} == {"hidden", "out"}
    assert tenun_command("compare", pair[0], other, "--tolerance", 100).status == 0


def test_compare_one_file_with_itself(tenun_command: Command, pair: tuple[Path, Path]) -> None:
    assert "same as itself" in tenun_command("compare", pair[0]).error
    assert tenun_command("compare", pair[0], "--after", "raw", "--after", "all").status == 0
    assert "no pass changes a result" in tenun_command("compare", pair[0], "--bisect-passes").out
    refused = tenun_command("compare", pair[0], "--bisect-passes", "--with", "ort").error
    assert "looks at each file by itself" in refused
    assert "is not in the pipeline" in tenun_command("compare", pair[0], "--after", "magic").error
    pytest.importorskip("onnxruntime")
    assert tenun_command("compare", pair[1], "--with", "ort").status == 0
    assert "does not run .keras" in tenun_command("compare", pair[0], "--with", "ort").error


def test_diff(tenun_command: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    same = tenun_command("diff", *pair)
    assert same.status == 0 and same.out.splitlines()[-1] == "no changes"
    other = network(tmp_path, "c.keras", units=6)
    page = tmp_path / "d.html"
    result = tenun_command("diff", pair[0], other, "--html", page)
    assert result.status == 1 and "~ hidden  shape      kernel: [5, 4] → [5, 6]" in result.out
    html = page.read_text()
    assert html.startswith("<!doctype html>") and "kernel: [5, 4] → [5, 6]" in html and "http" not in html
    record = json.loads(tenun_command("diff", pair[0], other, "--json").out)
    assert {"kind": "shape", "layer": "out", "detail": "kernel: [4, 2] → [6, 2]", "other": ""} in record["changes"]
    assert tenun_command("diff", pair[0], "--after", "raw", "--after", "fuse").status in (0, 1)


# ---- check


def edited(file: Path, change: Callable[[dict[str, Any]], None], out: Path) -> Path:
    """A `.keras` file with another config."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)
    out.write_bytes(buffer.getvalue())
    return out


def test_check_lists_everything_at_once(tenun_command: Command, tmp_path: Path) -> None:
    x = tenun.Input((6,), name="x")
    y = x
    for i in range(5):
        y = tenun.layers.Dense(6, name=f"d{i}")(y)
    tenun.Model(x, y).save(tmp_path / "good.keras")

    def damage(config: dict[str, Any]) -> None:
        layers = {layer["config"]["name"]: layer for layer in config["config"]["layers"]}
        layers["d0"].update(class_name="Lambda", registered_name=None)
        layers["d1"].update(class_name="Dens", module="keras.layers", registered_name=None)
        layers["d2"].update(class_name="Mine", module="mine", registered_name="Mine>Mine")
        layers["d3"]["config"]["magic"] = 7
        layers["d4"]["config"]["units"] = 9

    result = tenun_command("check", edited(tmp_path / "good.keras", damage, tmp_path / "bad.keras"))
    assert result.status == 1 and not result.err
    for text in (
        "d0: a Lambda layer holds Python code", "nearest: Dense", "unknown layer Mine of mine", "magic=7",
        "custom_objects for Dens, Mine>Mine, d0", "def d0(x):  # (None, 6) -> (None, 6)", "expected (6, 9), (9,)",
        "keras_version",
    ):  # fmt: skip
        assert text in result.out, (text, result.out)
    record = json.loads(tenun_command("check", tmp_path / "bad.keras", "--json").out)
    assert {f["kind"] for f in record["findings"]} == {"lambda", "layer", "option", "weights"}
    assert not record["fine"] and record["facts"]["format"] == "keras"


def with_dtypes(folder: Path, **dtypes: Any) -> Path:
    """A file whose layers d0, d1, ... have these dtypes."""
    x = tenun.Input((6,), name="x")
    y = x
    for name in dtypes:
        y = tenun.layers.Dense(6, name=name)(y)
    tenun.Model(x, y).save(folder / "plain.keras")

    def change(config: dict[str, Any]) -> None:
        for layer in config["config"]["layers"]:
            if layer["config"]["name"] in dtypes:
                layer["config"]["dtype"] = dtypes[layer["config"]["name"]]

    return edited(folder / "plain.keras", change, folder / "dtypes.keras")


def test_check_finds_dtypes_that_are_not_known(tenun_command: Command, tmp_path: Path) -> None:
    quantised = {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int3", "source_name": "float32"}}
    result = tenun_command("check", with_dtypes(tmp_path, d0="float23", d1="float32", d2=quantised), "--json")
    assert result.status == 1
    first, second = json.loads(result.out)["findings"]
    assert first["kind"] == second["kind"] == "dtype"
    assert first["where"] == "d0" and "float32" in first["nearest"]
    assert first["location"] == "config.json: config.layers[1]"
    assert second["where"] == "d2" and "int8_from_float32" in second["nearest"]


def test_check_tells_of_unusual_dtypes(tenun_command: Command, tmp_path: Path) -> None:
    file = with_dtypes(tmp_path, d0="float32", d1="mixed_float16", d2="float64", d3="float32")
    result = tenun_command("check", file)
    assert result.status == 0 and "fine" in result.out
    for text in ("f32 → f16 loses digits or range: d1", "f64 → f32 loses digits or range: d3", "computed in f64"):
        assert text in result.out, result.out
    assert not json.loads(tenun_command("check", with_dtypes(tmp_path, d0="float32"), "--json").out)["notes"]


@pytest.mark.parametrize(
    ("given", "weight", "kind", "text"),
    [
        ("FLOAT", "float64", "dtype", "f32, f64"),
        ("STRING", "float32", "dtype", "str, f32"),
        ("DOUBLE", "float64", "", "f64"),
    ],
)
def test_check_dtypes_of_onnx(
    given: str, weight: str, kind: str, text: str, tenun_command: Command, tmp_path: Path
) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    of = getattr(TensorProto, given)
    values = [helper.make_tensor_value_info(name, of, [2, 3]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"], "sum")], "g", values[:1], values[1:],
        [numpy_helper.from_array(np.ones((2, 3), weight), "w")],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    record = json.loads(tenun_command("check", tmp_path / "m.onnx", "--json").out)
    assert record["fine"] is (not kind)
    (found, *_) = record["findings"] or record["notes"]
    assert found["kind"] == "dtype" and text in found["text"]
    if kind:
        assert found["where"] == "sum" and found["location"] == "graph.node[0]" and "Cast" in found["hint"]


def test_check_lists_all_operators(tenun_command: Command, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])]
    nodes = [
        helper.make_node("Rellu", ["x"], ["a"], "first"),
        helper.make_node("Concat", ["a", "x"], ["b"], "second", axis=7),
        helper.make_node("Nothing", ["b"], ["c"], "third"),
        helper.make_node("Relu", ["x"], ["y"], "fourth"),
    ]
    save(helper.make_model(helper.make_graph(nodes, "g", given, made)), tmp_path / "bad.onnx")
    record = json.loads(tenun_command("check", tmp_path / "bad.onnx", "--json").out)
    assert {f["where"] for f in record["findings"]} >= {"first", "third"}
    assert "Relu" in next(f["nearest"] for f in record["findings"] if f["where"] == "first")
    assert "opsets" in record["facts"] and not record["fine"]


def test_a_tenun_file_checks_itself(tenun_command: Command, tmp_path: Path) -> None:
    file = network(tmp_path, "m.tenun")
    result = tenun_command("check", file, "--numbers")
    assert result.status == 0 and "on the file's own sample" in result.out and "the results too" in result.out
    tenun.load(file, verify=True)
    assert not [name for name in tenun.load(file).weights if "sample" in name]
    data = bytearray(file.read_bytes())
    weight = tenun.load(file).weights["hidden.kernel"].tobytes()
    place = bytes(data).rindex(weight)
    data[place : place + 4] = np.float32(1e3).tobytes()
    file.write_bytes(data)
    tenun.load(file)
    with pytest.raises(tenun.LoadError, match="not those that the file tells of its sample"):
        tenun.load(file, verify=True)
    result = tenun_command("check", file)
    assert result.status == 1 and "not those that the file tells of its sample" in result.out
    assert tenun_command("check", network(tmp_path, "m.keras")).status == 0
