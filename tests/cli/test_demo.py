"""`tenun demo` agrees with Keras, is quick, and notices when it would not."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Any


def test_demo(tenun_command: Command, tmp_path: Path) -> None:
    result = tenun_command("demo", "--out", tmp_path / "drawings")
    assert result.status == 0 and "the same macro F1 as Keras" in result.out
    assert "0.9907" in result.out and "0.9705" in result.out and "time per sample" in result.out
    drawings = sorted((tmp_path / "drawings").iterdir())
    assert [p.name for p in drawings] == ["digits_bilstm.svg", "digits_cnn.svg"]
    for path in drawings:
        assert str(path) in result.out
        ET.parse(path)


def test_demo_fails_where_the_scores_differ(
    tenun_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenun.demo.run.macro_f1", lambda labels, predicted: 0.9)
    result = tenun_command("demo", "--out", tmp_path)
    assert result.status == 1 and "DIFFERS" in result.out


def test_demo_where_it_cannot_write(tenun_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tenun-demo").write_text("a file in the way")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert tenun_command("demo").status == 0
    assert list(tmp_path.glob("tenun-demo-*/digits_cnn.svg"))
    assert "file:" in tenun_command("demo", "--out", tmp_path / "tenun-demo").error


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    from tenun.demo.run import accuracy_of, macro_f1

    generator = np.random.default_rng(0)
    for classes in (2, 3, 10):
        labels, predicted = generator.integers(0, classes, 50), generator.integers(0, classes + 1, 50)
        expected = metrics.f1_score(labels, predicted, average="macro", zero_division=0)
        assert macro_f1(labels, predicted) == pytest.approx(expected, abs=1e-12)
        assert accuracy_of(labels, predicted) == metrics.accuracy_score(labels, predicted)


def test_shortened_graphs_tell_how_much_is_left_out() -> None:
    from tenun.demo.run import shortened

    lines = [str(i) for i in range(20)]
    assert list(shortened(lines)) == ["0", "1", "2", "3", "4", "5", "  ... 11 more lines", "17", "18", "19"]
    assert list(shortened(lines[:10])) == lines[:10]
