"""The memory of the models that are measured: buffers and scratch come by with hardly more than is in use at once.

`pytest -m slow -s tests/backends/test_memory_table.py` prints the table.
"""

from __future__ import annotations

import numpy as np
import pytest

import tenun
from tenun.backends.numpy.shards import SHARD_BYTES
from tenun.benchmarks.models import CASES
from tenun.debug.memory import memory_of
from tenun.executable import random_inputs

LIMIT = 1.02


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_memory_of_a_model_is_near_its_lower_bound(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("keras" if CASES[name].source == "keras" else "onnx")
    executable = tenun.compile(CASES[name].build())
    for batch in (1, 8):
        memory = memory_of(executable.plan(**random_inputs(executable.graph, batch)))
        with capsys.disabled():
            print(
                f"{name:<16} {batch:>2} | arena {memory.arena / 1e6:8.3f} MB x{memory.over_bound:.3f}"
                f" | scratch {memory.scratch / 1e6:7.3f} | both {memory.peak / 1e6:8.3f} x{memory.peak_over_bound:.3f}"
                f" | without sharing {memory.naive / 1e6:8.2f}"
                f" | views {memory.views}, in place {memory.in_place}, parts {memory.parts}"
            )
        assert memory.over_bound <= LIMIT and memory.peak_over_bound <= LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "default_cnn", "final_cnn"])
def test_memory_does_not_grow_with_the_batch(name: str) -> None:
    """Large batches are cut: a plan is for one shard, and there are as many plans for it as threads."""
    pytest.importorskip("keras")
    executable = tenun.compile(CASES[name].build(), threads=2)
    program = executable._program.whole
    for batch in (64, 256, 1024, 4096):
        executable(CASES[name].inputs(batch))
        assert all(len(plans) <= 2 for plans in program._idle.values())
        assert all(plan.arena.peak <= 2 * SHARD_BYTES for plans in program._idle.values() for plan in plans)


@pytest.mark.slow
def test_the_memory_of_a_recurrent_layer_grows_with_the_steps_and_no_more() -> None:
    layers = tenun.layers
    model = tenun.Sequential([tenun.Input((None, 16)), layers.LSTM(32)])
    executable = tenun.compile(model)
    peaks = {}
    for steps in (64, 1024, 4096):
        plan = executable.plan(np.zeros((2, steps, 16), np.float32))
        peaks[steps] = plan.arena.peak / steps
    assert peaks[4096] <= 1.1 * peaks[1024] <= 1.3 * peaks[64]
