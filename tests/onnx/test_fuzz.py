"""Damaged models give a TenunError or a right answer, within bounds of time and memory: see `fuzz`.

Each batch runs in a process of its own, so that a crash or a hang is a failure of its test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("resource")


def batch(kind: str, seed: int, count: int, timeout: int) -> dict[str, int]:
    """What became of how many models; fails with what the process printed where one did something else."""
    command = [sys.executable, "-m", "tenun.tests.onnx.fuzz", kind, str(seed), str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"{kind}, seed {seed}: not done in {timeout} s\n{late.stderr or ''}")
    assert done.returncode == 0, f"{kind}, seed {seed}: exit status {done.returncode}\n{done.stderr[-4000:]}"
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(kind: str, seed: int, count: int, timeout: int) -> None:
    found = batch(kind, seed, count, timeout)
    assert sum(found.values()) == count
    assert found.get("refused", 0) > count / 3  # the damage is real
    assert kind not in ("onnx", "node") or found.get("right", 0) > count / 50  # and leaves some models whole


@pytest.mark.parametrize(("kind", "count"), [("onnx", 400), (".keras", 60), (".tenun", 60)])
def test_a_few(kind: str, count: int) -> None:
    check(kind, 0, count, 60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize(("kind", "count"), [("onnx", 400), ("node", 400), (".keras", 150), (".tenun", 150)])
def test_many(kind: str, count: int, seed: int) -> None:
    check(kind, seed, count, 240)


@pytest.mark.parametrize("kind", ["onnx", ".tenun"])
def test_the_same_seed_makes_the_same_models(kind: str) -> Any:
    import numpy as np

    from tenun.tests.onnx import fuzz

    make = fuzz.maker(kind)
    once, twice = ([make(np.random.default_rng([1, i])) for i in range(20)] for _ in range(2))
    assert once == twice
    assert len(set(once)) > 15
