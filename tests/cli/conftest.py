"""A small model in a file, and the command as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import tenun
from tenun.cli import main
from tenun.ir import Builder, Graph, Tensor, symbol
from tenun.ir.types import f32, i64

N = symbol("N")


class Outcome(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error line; there has to be one, and no traceback."""
        assert self.status == 1, self
        assert "Traceback" not in self.err + self.out
        first, *context = self.err.splitlines()
        assert first.startswith("error: ") and "internal error" not in first, self.err
        assert all(line.startswith("  ") for line in context), self.err
        return self.err


Command = Callable[..., Outcome]


@pytest.fixture
def tenun_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command with arguments, in this process."""
    monkeypatch.delenv("TENUN_DEBUG", raising=False)

    def command(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        return Outcome(int(stopped.value.code or 0), *capsys.readouterr())

    return command


def pixels() -> Graph:
    """Sums over the pixels of small RGB images, one a channel."""
    b = Builder(Graph("pixels"))
    x = b.input("image", Tensor(f32, (N, 4, 6, 3)))
    with b.at("flatten"):
        y = b.reshape(x, shape=(N, 72))
    with b.at("sums"):
        y = b.matmul(y, b.constant(np.tile(np.eye(3, dtype=np.float32), (24, 1)), "sums.kernel"))
    return b.outputs(y, names=["sums"])


def pair() -> Graph:
    """Two inputs, two outputs: a lookup and a sum."""
    b = Builder(Graph("pair"))
    tokens, x = b.input("tokens", Tensor(i64, (N, 2))), b.input("x", Tensor(f32, (N, 2)))
    table = b.constant(np.arange(5, dtype=np.float32) * 10, "table")
    looked_up = b.gather(table, tokens, axis=0)
    return b.outputs(looked_up, b.add(looked_up, x), names=["file", "sum"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model `pixels` as a file."""
    tenun.save(pixels(), tmp_path / "pixels.tenun")
    return tmp_path / "pixels.tenun"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The model `pair` as a file."""
    tenun.save(pair(), tmp_path / "pair.tenun")
    return tmp_path / "pair.tenun"
