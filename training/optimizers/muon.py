"""Orthogonal steps: Muon."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...ir import Builder, Var
from .base import Named, Optimizer, Rate, Scope, Slot, path_of
from .formulas import Slots, adam_rate, adam_step, moments
from .table import OPTIMIZERS


@OPTIMIZERS.entry()
class Muon(Optimizer, before="exclude_layers"):
    """Momentum whose matrices are made nearly orthogonal; all but matrices, and embeddings, by Adam; Jordan 2024.

    rms_rate scales steps to the size of Adam's; Liu et al. 2025.  exclude_layers: regular expressions; a parameter in
    whose path (`dense/kernel`) one is found is trained by Adam.
    """

    learning_rate: Rate = 0.001
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_weight_decay: float | None = 0.004
    epsilon: float = 1e-7
    weight_decay: float | None = 0.004
    exclude_layers: Any = None
    exclude_embeddings: bool = True
    muon_a: float = 3.4445
    muon_b: float = -4.7750
    muon_c: float = 2.0315
    adam_lr_ratio: float = 1
    momentum: float = 0.95
    ns_steps: int = 5
    nesterov: bool = True
    rms_rate: float | None = 0.2

    def check(self) -> None:
        self.exclude_layers = self.exclude_layers or []

    def _by_adam(self, p: Named) -> bool:
        path = path_of(p.name)
        excluded = self.exclude_embeddings and "embedding" in path.lower()
        return len(p.shape) != 2 or excluded or any(re.search(pattern, path) for pattern in self.exclude_layers)

    def decay_of(self, p: Named) -> float | None:
        return self.adam_weight_decay if self._by_adam(p) else self.weight_decay

    def slots(self, p: Named) -> Iterator[Slot]:
        yield Slot("momentum")
        if self._by_adam(p):
            yield Slot("velocity")

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        rate = lr if self.adam_lr_ratio == 1 else s.b.mul(lr, self.adam_lr_ratio)
        return {"lr": lr, "alpha": adam_rate(s.b, rate, t, self.adam_beta_1, self.adam_beta_2)}

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var, alpha: Var) -> tuple[Var, Slots]:
        if "velocity" in slots:
            m, v = moments(b, g, slots, self.adam_beta_1, self.adam_beta_2)
            return adam_step(b, p, m, v, alpha, self.epsilon), {"momentum": m, "velocity": v}
        m = slots["momentum"]
        m = b.add(m, b.add(g, b.mul(m, self.momentum - 1)))
        direction = b.add(g, b.mul(m, self.momentum)) if self.nesterov else m
        if self.rms_rate is not None:
            lr = b.mul(b.mul(lr, float(np.sqrt(np.float32(max(p.shape))))), self.rms_rate)
        return b.sub(p, b.mul(self._orthogonal(b, direction), lr)), {"momentum": m}

    def _orthogonal(self, b: Builder, x: Var) -> Var:
        """The matrix x with its singular values brought near 1, by Newton and Schulz' iteration of degree 5."""
        tall = x.shape[0] > x.shape[1]
        x = b.swap(x) if tall else x
        x = b.div(x, b.add(b.sqrt(b.reduce_sum_square(x)), 1e-7))
        for _ in range(self.ns_steps):
            square = b.matmul(x, b.swap(x))
            inner = b.add(b.mul(square, self.muon_b), b.matmul(b.mul(square, self.muon_c), square))
            x = b.add(b.mul(x, self.muon_a), b.matmul(inner, x))
        return b.swap(x) if tall else x
