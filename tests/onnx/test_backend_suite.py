"""ONNX's own test suites on tenun: light, simple, pytorch-operator, pytorch-converted; and (slow) node.

`node_passing.txt` lists the cases of the node suite that pass: a regression shows as a failure, and whoever makes
more of them pass adds their names (`python -m pytest -m slow tests/onnx` prints them).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import onnx.backend.test
import pytest
from onnx.backend.test import runner

from tenun.frontends.onnx.backend import TenunBackend

PASSING = Path(__file__).with_name("node_passing.txt")
RANDOM = ("bernoulli", "training_dropout")  # compared with numbers that another generator drew
SLICES = 8


def _items(*kinds: str) -> dict[str, Any]:
    """The cases of some suites by name: BackendTest without making those of the others."""
    load = runner.load_model_tests
    runner.load_model_tests = lambda kind: load(kind=kind) if kind in kinds else []
    try:
        suite = onnx.backend.test.BackendTest(TenunBackend, __name__)
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


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_node_suite(part: int) -> None:
    """What has passed still passes."""
    items, passing = _node_items(), set(PASSING.read_text().split())
    assert passing <= set(items), "names that are no case"
    failed, gained = {}, []
    for name in sorted(items)[part::SLICES]:
        try:
            items[name].func(None)
        except Exception as error:
            if name in passing:
                failed[name] = f"{type(error).__name__}: {str(error).strip()[:300]}"
        else:
            if name not in passing and not any(word in name for word in RANDOM):
                gained.append(name)
    print("\n".join(["newly passing:", *gained]))
    assert not failed, "\n".join(f"{n}: {text}" for n, text in failed.items())
