"""Training here is training in Keras: the loss of each step, from equal weights and batches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .trajectories import CASES, FIRST, HEAVY, largest, run


@pytest.mark.parametrize("name", CASES)
def test_first_steps(keras: Any, name: str) -> None:
    ours, theirs = run(keras, CASES[name], FIRST)
    assert largest(ours, theirs) < CASES[name].first, list(zip(ours, theirs))


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_first_steps_of_heavy_models(keras: Any, name: str) -> None:
    ours, theirs = run(keras, HEAVY[name], FIRST)
    assert largest(ours[:4], theirs[:4]) < 1e-5 and largest(ours, theirs) < HEAVY[name].first, list(zip(ours, theirs))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_long_runs(keras: Any, name: str) -> None:
    ours, theirs = run(keras, CASES[name], 200)
    assert largest(ours, theirs) < CASES[name].long, list(zip(ours, theirs))


@pytest.mark.slow
def test_table(keras: Any) -> None:
    """Writes the table of docs/trajectories.md into the file named by TENUN_TRAJECTORIES."""
    if "TENUN_TRAJECTORIES" not in os.environ:
        pytest.skip("TENUN_TRAJECTORIES names no file")
    lines = [
        "| training | step 1, ours | Keras | step 20, ours | Keras | largest relative difference, 20 steps | "
        "step 200, ours | Keras | largest, 200 steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, case in {**CASES, **HEAVY}.items():
        ours, theirs = run(keras, case, FIRST if name in HEAVY else 200)
        cells = [name, *(f"{v[i]:.6g}" for i in (0, FIRST - 1) for v in (ours, theirs))]
        cells.append(f"{largest(ours[:FIRST], theirs[:FIRST]):.1e}")
        long = len(ours) > FIRST
        cells += [f"{ours[-1]:.6g}", f"{theirs[-1]:.6g}", f"{largest(ours, theirs):.1e}"] if long else ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    Path(os.environ["TENUN_TRAJECTORIES"]).write_text("\n".join(lines) + "\n")
