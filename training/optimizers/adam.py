"""Steps from two moments of the gradient: Adam and its kin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...ir import Builder, Var, dtype
from ...ir.types import f32
from .base import Array, Named, Optimizer, Rate, Scope, Slot
from .formulas import Slots, adam_rate, adam_step, moments, number, one_minus_power, rest, towards, weighted
from .rows import by_rows, squared
from .table import OPTIMIZERS


class _AdamRule(Optimizer):
    """What Adam and AdamW compute; amsgrad: with the largest v so far; Reddi et al. 2018."""

    beta_1: float
    beta_2: float
    epsilon: float
    amsgrad: bool

    def slots(self, p: Named) -> Iterator[Slot]:
        yield Slot("momentum")
        yield Slot("velocity")
        if self.amsgrad:
            yield Slot("velocity_hat", group=1)

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        return {"alpha": adam_rate(s.b, lr, t, self.beta_1, self.beta_2)}

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, alpha: Var) -> tuple[Var, Slots]:
        m, v = moments(b, g, slots, self.beta_1, self.beta_2)
        new = {"momentum": m, "velocity": v}
        if self.amsgrad:
            new["velocity_hat"] = v = b.maximum(slots["velocity_hat"], v)
        return adam_step(b, p, m, v, alpha, self.epsilon), new


@OPTIMIZERS.entry()
class Adam(_AdamRule):
    """p - alpha m / (sqrt(v) + epsilon), m and v moving averages of g and g^2; Kingma & Ba 2014."""

    learning_rate: Rate = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False


@OPTIMIZERS.entry()
class AdamW(_AdamRule):
    """Adam with weight decay; Loshchilov & Hutter 2017."""

    learning_rate: Rate = 0.001
    weight_decay: float | None = 0.004
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False

    def check(self) -> None:
        if self.weight_decay is None:
            raise self.invalid("weight_decay has to be a number")


@OPTIMIZERS.entry()
class Adamax(Optimizer):
    """p - lr / (1 - beta_1^t) m / (u + epsilon), u = max(beta_2 u, |g|); Kingma & Ba 2014, section 7."""

    learning_rate: Rate = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    kept = ("momentum", "norm")

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        return {"alpha": s.b.div(lr, one_minus_power(s.b, self.beta_1, t))}

    def update(self, b: Builder, p: Var, g: Var, slots: Slots, *, alpha: Var) -> tuple[Var, Slots]:
        m = towards(b, slots["momentum"], g, 1 - self.beta_1)
        u = b.maximum(b.mul(slots["norm"], self.beta_2), by_rows(b, g, b.abs))
        return b.sub(p, b.div(b.mul(m, alpha), b.add(u, self.epsilon))), {"momentum": m, "norm": u}


@OPTIMIZERS.entry()
class Nadam(Optimizer):
    """Adam with Nesterov's momentum, which warms up: u_t = beta_1 (1 - 0.96^t / 2); Dozat 2015."""

    learning_rate: Rate = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    kept = ("momentum", "velocity")

    def extras(self, parameters: Sequence[Named]) -> dict[str, Array]:
        """The product of all u so far, in the dtype of the first parameter."""
        return {"u_product": np.ones((), dtype(parameters[0].dtype if parameters else f32).numpy)}

    def _u(self, b: Builder, t: Var) -> Var:
        return b.mul(b.sub(1, b.mul(b.pow(0.96, t), 0.5)), self.beta_1)

    def advance(self, s: Scope, t: Var) -> None:
        product = s.read("u_product")
        u = self._u(s.b, s.b.cast(t, to=product.tensor.dtype))
        s.write("u_product", s.b.mul(product, u))

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        b, product = s.b, s.b.cast_like(s.read("u_product"), t)
        u, ahead = self._u(b, t), self._u(b, b.add(t, 1))
        of_m = b.div(ahead, b.sub(1, b.mul(product, ahead)))
        of_g = b.div(b.sub(1, u), b.sub(1, product))
        return {"lr": lr, "of_m": of_m, "of_g": of_g, "seen": one_minus_power(b, self.beta_2, t)}

    def update(
        self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var, of_m: Var, of_g: Var, seen: Var
    ) -> tuple[Var, Slots]:
        m = towards(b, slots["momentum"], g, rest(self.beta_1, p))
        v = towards(b, slots["velocity"], squared(b, g), rest(self.beta_2, p))
        ahead = weighted(b, m, of_m, g, of_g)
        return adam_step(b, p, ahead, b.div(v, seen), lr, self.epsilon), {"momentum": m, "velocity": v}


@OPTIMIZERS.entry()
class Lamb(Optimizer):
    """Adam's step, scaled to the parameter's norm: p - lr |p| / |step| step; You et al. 2019."""

    learning_rate: Rate = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    kept = ("momentum", "velocity")

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        seen = (one_minus_power(s.b, beta, t) for beta in (self.beta_1, self.beta_2))
        return {"lr": lr, **dict(zip(("seen_m", "seen_v"), seen))}

    def update(
        self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var, seen_m: Var, seen_v: Var
    ) -> tuple[Var, Slots]:
        m, v = moments(b, g, slots, self.beta_1, self.beta_2)
        step = b.div(b.div(m, seen_m), b.add(b.sqrt(b.div(v, seen_v)), self.epsilon))
        size, length = (b.sqrt(b.reduce_sum_square(x)) for x in (p, step))
        both = b.logical_and(b.greater(size, 0), b.greater(length, 0))
        ratio = b.where(both, b.div(size, length), number(b, 1, p))
        return b.sub(p, b.mul(step, b.mul(ratio, lr))), {"momentum": m, "velocity": v}


@OPTIMIZERS.entry()
class ScheduleFreeAdamW(Optimizer):
    """Adam's steps, without momentum, go to z; the parameter is the mean of all z so far; after Defazio et al. 2024.

    There the parameter is (1 - beta_1) z + beta_1 mean, and the mean is found from the parameter and z before its step.
    Keras takes z after it (with TensorFlow, whose variables change under its hands), by which beta_1 cancels out: it is
    kept for the config only.  The slot `momentum` is z: before the first update it counts as the parameter itself,
    which Keras copies there when training begins.
    """

    learning_rate: Rate = 0.0025
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    warmup_steps: int = 0

    kept = ("momentum", "velocity")

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        b = s.b
        if self.warmup_steps > 0:
            lr = b.mul(lr, b.minimum(b.div(t, self.warmup_steps), 1))
        share = b.div(1, t)
        seen = one_minus_power(b, self.beta_2, t)
        return {"lr": lr, "first": b.equal(t, 1), "seen": seen, "share": share, "others": b.sub(1, share)}

    def update(
        self, b: Builder, p: Var, g: Var, slots: Slots, *, lr: Var, first: Var, seen: Var, share: Var, others: Var
    ) -> tuple[Var, Slots]:
        v = towards(b, slots["velocity"], squared(b, g), rest(self.beta_2, p))
        z = b.where(first, p, slots["momentum"])
        z = adam_step(b, z, g, b.div(v, seen), lr, self.epsilon)
        return weighted(b, p, others, z, share), {"momentum": z, "velocity": v}
