"""Gradient descent, and steps of one size: SGD, Lion."""

from __future__ import annotations

from collections.abc import Iterator

from ...ir import Builder, Var
from .base import Named, Optimizer, Rate, Slot
from .formulas import Slots, rest, weighted
from .table import OPTIMIZERS


@OPTIMIZERS.entry()
class SGD(Optimizer):
    """p - lr g; with momentum v' = momentum v - lr g, p + v', or (Nesterov) p + momentum v' - lr g."""

    learning_rate: Rate = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def check(self) -> None:
        if not isinstance(self.momentum, (int, float)) or not 0 <= self.momentum <= 1:
            raise self.invalid(f"momentum has to be in [0, 1], it is {self.momentum!r}")

    def slots(self, p: Named) -> Iterator[Slot]:
        if self.momentum:
            yield Slot("momentum")

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var) -> tuple[Var, Slots]:
        step = b.mul(g, lr)
        if not self.momentum:
            return b.sub(p, step), {}
        v = b.sub(b.mul(slots["momentum"], self.momentum), step)
        return b.add(p, b.sub(b.mul(v, self.momentum), step) if self.nesterov else v), {"momentum": v}


@OPTIMIZERS.entry()
class Lion(Optimizer):
    """p - lr sign(beta_1 m + (1 - beta_1) g), m a moving average with beta_2; Chen et al. 2023."""

    learning_rate: Rate = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.99

    kept = ("momentum",)

    def check(self) -> None:
        if not 0 < self.beta_1 <= 1:
            raise self.invalid(f"beta_1 has to be in (0, 1], it is {self.beta_1!r}")

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var) -> tuple[Var, Slots]:
        m = slots["momentum"]
        direction = b.sign(weighted(b, m, self.beta_1, g, rest(self.beta_1, p)))
        return b.sub(p, b.mul(direction, lr)), {"momentum": weighted(b, m, self.beta_2, g, rest(self.beta_2, p))}
