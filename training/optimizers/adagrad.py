"""Rates from past squares of the gradient: Adagrad, RMSprop, Adadelta, Adafactor, Ftrl."""

from __future__ import annotations

from collections.abc import Iterator

from ...ir import Builder, Var
from .base import Named, Optimizer, Rate, Scope, Slot
from .formulas import Slots, rms, weighted
from .rows import squared
from .table import OPTIMIZERS


@OPTIMIZERS.entry()
class RMSprop(Optimizer):
    """p - lr g / sqrt(v + epsilon), v a moving average of g^2, centered: of (g - mean)^2; Hinton 2012.

    With momentum the steps add up: m' = momentum m + step.
    """

    learning_rate: Rate = 0.001
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    def slots(self, p: Named) -> Iterator[Slot]:
        yield Slot("velocity")
        if self.momentum > 0:
            yield Slot("momentum", group=1)
        if self.centered:
            yield Slot("average_gradient", group=2)

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var) -> tuple[Var, Slots]:
        rho = self.rho
        variance = v = weighted(b, slots["velocity"], rho, squared(b, g), 1 - rho)
        new = {"velocity": v}
        if self.centered:
            new["average_gradient"] = mean = weighted(b, slots["average_gradient"], rho, g, 1 - rho)
            variance = b.sub(v, b.square(mean))
        step = b.div(b.mul(g, lr), b.sqrt(b.add(variance, self.epsilon)))
        if self.momentum > 0:
            new["momentum"] = step = b.add(b.mul(slots["momentum"], self.momentum), step)
        return b.sub(p, step), new


@OPTIMIZERS.entry()
class Adagrad(Optimizer):
    """p - lr g / sqrt(a + epsilon), a the sum of all g^2; Duchi et al. 2011."""

    learning_rate: Rate = 0.001
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7

    def slots(self, p: Named) -> Iterator[Slot]:
        yield Slot("accumulator", self.initial_accumulator_value)

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var) -> tuple[Var, Slots]:
        total = b.add(slots["accumulator"], squared(b, g))
        return b.sub(p, b.div(b.mul(g, lr), b.sqrt(b.add(total, self.epsilon)))), {"accumulator": total}


@OPTIMIZERS.entry()
class Adadelta(Optimizer):
    """p - lr d, d = g sqrt(s + epsilon) / sqrt(a + epsilon); a, s: moving averages of g^2, d^2; Zeiler 2012."""

    learning_rate: Rate = 0.001
    rho: float = 0.95
    epsilon: float = 1e-7

    kept = ("accumulated_grad", "accumulated_delta_var")

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var) -> tuple[Var, Slots]:
        rho, steps = self.rho, slots["accumulated_delta_var"]
        squares = weighted(b, slots["accumulated_grad"], rho, squared(b, g), 1 - rho)
        size, scale = (b.sqrt(b.add(x, self.epsilon)) for x in (steps, squares))
        step = b.div(b.mul(size, g), scale)
        steps = weighted(b, steps, rho, squared(b, step), 1 - rho)
        return b.sub(p, b.mul(step, lr)), {"accumulated_grad": squares, "accumulated_delta_var": steps}


@OPTIMIZERS.entry()
class Adafactor(Optimizer):
    """Adam's scaling from row and column means of g^2, steps relative to the parameter's size; Shazeer & Stern 2018.

    relative_step is kept for the config only: it bounds the rate by 1 / sqrt(t), which the step does in any case (in
    Keras too).
    """

    learning_rate: Rate = 0.001
    beta_2_decay: float = -0.8
    epsilon_1: float = 1e-30
    epsilon_2: float = 1e-3
    clip_threshold: float = 1.0
    relative_step: bool = True

    def slots(self, p: Named) -> Iterator[Slot]:
        """Row and column means for matrices; Keras has integers in their place for what is not factored."""
        factored = len(p.shape) > 1
        yield Slot("r", shape=p.shape[:-1] if factored else (), dtype=None if factored else "int32")
        yield Slot("c", shape=p.shape[:-2] + p.shape[-1:] if factored else (), dtype=None if factored else "int32")
        yield Slot("velocity")

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        old = s.b.sub(1, s.b.pow(t, self.beta_2_decay))
        rate = s.b.minimum(lr, s.b.div(1, s.b.sqrt(t)))
        return {"rate": rate, "old": old, "share": s.b.sub(1, old)}

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, rate: Var, old: Var, share: Var) -> tuple[Var, Slots]:
        square = b.add(squared(b, g), self.epsilon_1)
        if len(p.shape) > 1:
            means = (b.reduce_mean(square, axes=(axis,)) for axis in (-1, -2))
            r, c = (weighted(b, slots[k], old, mean, share) for k, mean in zip("rc", means))
            rows = b.div(r, b.reduce_mean(r, axes=(-1,), keepdims=True))
            v = b.mul(b.unsqueeze(rows, axes=(-1,)), b.unsqueeze(c, axes=(-2,)))
            new = {"r": r, "c": c, "velocity": v}
        else:
            v = weighted(b, slots["velocity"], old, square, share)
            new = {"velocity": v}
        step = b.div(g, b.sqrt(v))
        size = b.mul(b.maximum(rms(b, p), self.epsilon_2), rate)
        bound = b.maximum(b.div(rms(b, step), self.clip_threshold), 1)
        return b.sub(p, b.mul(step, b.div(size, bound))), new


@OPTIMIZERS.entry()
class Ftrl(Optimizer):
    """Follow the regularised leader; McMahan et al. 2013, algorithm 1, with shrinkage as in TensorFlow.

    a' = a + g^2;  z' = z + g + 2 shrinkage p - (a'^k - a^k) / lr p, k = -learning_rate_power;
    p' = (clip(z', -l1, l1) - z') / (a'^k / lr + 2 l2 + beta / lr).
    """

    learning_rate: Rate = 0.001
    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.1
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0
    l2_shrinkage_regularization_strength: float = 0.0
    beta: float = 0.0

    def check(self) -> None:
        if self.learning_rate_power > 0:
            raise self.invalid(f"learning_rate_power has to be at most 0, it is {self.learning_rate_power!r}")
        strengths = ("l1_regularization_strength", "l2_regularization_strength", "l2_shrinkage_regularization_strength")
        for key in ("initial_accumulator_value", *strengths):
            if getattr(self, key) < 0:
                raise self.invalid(f"{key} has to be at least 0, it is {getattr(self, key)!r}")

    def slots(self, p: Named) -> Iterator[Slot]:
        yield Slot("accumulator", self.initial_accumulator_value)
        yield Slot("linear")

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        l2 = s.b.add(s.b.div(self.beta, s.b.mul(lr, 2)), self.l2_regularization_strength)
        return {"lr": lr, "l2": s.b.mul(l2, 2)}

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var, l2: Var) -> tuple[Var, Slots]:
        old, power = slots["accumulator"], -self.learning_rate_power
        new = b.add(old, squared(b, g))
        before, after = (b.sqrt(x) if power == 0.5 else b.pow(x, power) for x in (old, new))
        if self.l2_shrinkage_regularization_strength:
            g = b.add(g, b.mul(p, 2 * self.l2_shrinkage_regularization_strength))
        z = b.add(slots["linear"], b.sub(g, b.mul(b.div(b.sub(after, before), lr), p)))
        l1 = self.l1_regularization_strength
        distance = b.sub(b.clip(z, low=-l1, high=l1), z) if l1 else b.neg(z)
        return b.div(distance, b.add(b.div(after, lr), l2)), {"accumulator": new, "linear": z}
