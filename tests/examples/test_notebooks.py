"""The notebooks: their cells run, in order, and are stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tenun

NOTEBOOKS = sorted((Path(tenun.__file__).parent / "examples" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    scope: dict[str, object] = {}
    for cell in (c for c in cells if c["cell_type"] == "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        exec(compile("".join(cell["source"]), f"{path.name}:{cell['id']}", "exec"), scope)


def test_there_is_one() -> None:
    assert [p.stem for p in NOTEBOOKS] == ["from_value_to_bilstm"]
