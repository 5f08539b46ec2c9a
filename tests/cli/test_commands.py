"""The other commands, bad models, and how the command starts and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.tests.debug.models import nested

Command = Any


def test_summary(tenun_command: Command, model: Path) -> None:
    result = tenun_command("summary", model)
    assert result.status == 0 and "f32[N, 4, 6, 3]" in result.out and "parameters  216 (864 B)" in result.out
    assert "lower bound" in result.out and "━━━━" in tenun_command("summary", model, "--memory").out


def test_summary_of_a_keras_file_tells_what_is_trained(tenun_command: Command) -> None:
    result = tenun_command("summary", Path(tenun.__file__).parent / "demo" / "digits_cnn.keras")
    lines = dict(
        line.split(maxsplit=1) for line in result.out.splitlines() if line.startswith(("trained", "parameters"))
    )
    assert lines == {"parameters": "31,994 (128 kB)", "trained": "31,802"}
    assert "not trained 192" in result.out


def test_summary_opens_nested_models_as_deep_as_asked(tenun_command: Command, tmp_path: Path) -> None:
    tenun.save(nested(), tmp_path / "nested.tenun")
    shallow, deep = (tenun_command("summary", tmp_path / "nested.tenun", *more) for more in (("--depth", 0), ()))
    assert "outer" in shallow.out and "inner" not in shallow.out
    assert "│   inner " in deep.out and "│     dense " in deep.out


def test_summary_without_a_plan(tenun_command: Command, tmp_path: Path) -> None:
    graph = tenun.parse('graph "g" (%x: f32[*]) -> (%y: f32[*]) { %y: f32[*] = relu(%x) }')
    tenun.save(graph, tmp_path / "g.tenun")
    result = tenun_command("summary", tmp_path / "g.tenun")
    assert result.status == 0 and "relu" in result.out and result.err.startswith("warning: no memory plan")


def test_check(tenun_command: Command, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tenun_command("check", model)
    assert result.status == 0 and "on the file's own sample" in result.out and result.out.splitlines()[-1] == "fine"
    monkeypatch.setattr("tenun.cli.examine.without_kernel", lambda graph: ["magic"])
    result = tenun_command("check", model)
    assert result.status == 1 and "ops without a kernel: magic" in result.out


def test_export_takes_no_option_in_vain(tenun_command: Command, tmp_path: Path) -> None:
    demo = Path(tenun.__file__).parent / "demo" / "digits_cnn.keras"
    error = tenun_command("export", demo, tmp_path / "x.keras", "--opset", 12, "--optimize").error
    assert "--opset, --optimize does not go with Keras' files" in error and not (tmp_path / "x.keras").exists()
    assert "has no opset" in tenun_command("export", demo, tmp_path / "x.tenun", "--opset", 12).error


BROKEN = {
    "empty.keras": b"",
    "words.onnx": b"these are words",
    "words.keras": b"these are words",
    "words.h5": b"these are words",
    "cut.tenun": (1000).to_bytes(8, "little") + b'{"a": 1',
    "zip.keras": b"PK\x03\x04 and no more",
    "hdf.h5": b"\x89HDF\r\n\x1a\n and no more",
}


@pytest.mark.parametrize("command", ["run", "dump", "summary", "check"])
@pytest.mark.parametrize("name", [*BROKEN, "missing.onnx", ""])
def test_broken_models(tenun_command: Command, tmp_path: Path, command: str, name: str) -> None:
    if name in BROKEN:
        (tmp_path / name).write_bytes(BROKEN[name])
    assert f"file: {tmp_path / name}" in tenun_command(command, tmp_path / name).error


def test_version_and_help(tenun_command: Command) -> None:
    assert tenun_command("version").out == tenun_command("--version").out
    assert tenun_command("version").out.startswith(f"tenun {tenun.__version__} (NumPy {np.__version__}")
    for command in ("run", "dump", "summary", "check", "demo"):
        result = tenun_command(command, "--help")
        assert result.status == 0 and f"tenun {command}" in result.out.partition("Examples")[2]


def test_a_wrong_command_line_exits_with_2(tenun_command: Command) -> None:
    for arguments in (["run"], ["dump", "x", "--format", "tiff"], ["fly"], ["run", "x", "--batch", "0"]):
        result = tenun_command(*arguments)
        assert result.status == 2 and result.err and "Traceback" not in result.err


def test_an_unexpected_error_is_one_line_too(
    tenun_command: Command, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tenun.cli import main

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("tenun.debug.summary.summarize", broken)
    result = tenun_command("summary", model)
    assert result.status == 1 and result.err.startswith("error: internal error: ZeroDivisionError: division by zero\n")
    monkeypatch.setenv("TENUN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["summary", str(model)])


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # the package as this test run finds it, whether installed or on PYTHONPATH
    found = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, encoding="utf-8", env={**os.environ, **found}
    )


def test_python_dash_m(model: Path, tmp_path: Path) -> None:
    good = python("-m", "tenun", "dump", str(model))
    assert good.returncode == 0 and good.stdout.startswith("graph")
    bad = python("-m", "tenun", "dump", str(tmp_path / "none.onnx"))
    assert bad.returncode == 1 and bad.stderr.startswith("error: the file does not exist") and not bad.stdout


def test_a_narrow_encoding_is_no_error(model: Path) -> None:
    result = python("-m", "tenun", "summary", str(model), "--memory", PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr


def test_the_command_line_loads_little() -> None:
    heavy = ["onnx", "h5py", "networkx", "tenun.backends.numpy.plan", "tenun.ir.graph", "PIL"]
    code = f"import sys, tenun.cli; print([m for m in {heavy} if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"
