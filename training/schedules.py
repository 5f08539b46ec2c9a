"""Learning rates that depend on the iteration: Keras' schedules, as graph ops and as Python floats.

    rate = SCHEDULES.get({"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 1000}})
    rate(b, iterations)  # ops on the counter: f32 scalar; training needs no Python for it
    rate.value(250)      # the same formula in NumPy's float32, for display

A schedule is one `formula(n, step)`: n has the builder's methods, and is either a builder or `NUMBERS`.  Numbers that
Keras casts to float32 before it calculates with them are cast here too.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..ir import Builder, Var
from ..ir.types import f32
from .objects import Table

NUMBERS = SimpleNamespace(
    add=np.add, sub=np.subtract, mul=np.multiply, div=np.divide, pow=np.power, minimum=np.minimum,
    floor=np.floor, ceil=np.ceil, log=np.log, cos=np.cos, where=np.where,
    equal=np.equal, less=np.less, less_equal=np.less_equal, constant=np.float32,
)  # fmt: skip


class Schedule:
    """A learning rate as a function of the iteration counter; a subclass has fields and a `formula`."""

    name: str

    def __post_init__(self) -> None:
        for key in ("decay_steps", "first_decay_steps"):
            if getattr(self, key, 1) <= 0:
                raise self.invalid(f"{key} has to be above 0, it is {getattr(self, key)!r}")

    def invalid(self, why: str) -> UnsupportedError:
        """An error that names the schedule, to be raised."""
        return UnsupportedError(f"{type(self).__name__}: {why}", op=type(self).__name__)

    def formula(self, n: Any, step: Any) -> Any:
        """The rate, f32, at step, f32 (both scalars), with the operations of n."""
        raise self.invalid("the class defines no formula()")

    def __call__(self, b: Builder, step: Var) -> Var:
        """The rate as ops: step is the counter, a scalar of any dtype (exact up to 2^24), the result f32."""
        rate: Var = self.formula(b, b.cast(step, to=f32))
        return rate

    def value(self, step: int) -> float:
        """The rate at a step as a number."""
        with np.errstate(all="ignore"):  # branches that are not taken may divide by zero
            return float(self.formula(NUMBERS, np.float32(step)))


SCHEDULES: Table[Schedule] = Table("learning-rate schedule", "keras.optimizers.schedules")


def _passed(n: Any, step: Any, steps: float, whole: bool) -> Any:
    """How many times `steps` have passed; whole: only complete ones count."""
    times = n.div(step, steps)
    return n.floor(times) if whole else times


@SCHEDULES.entry()
class ExponentialDecay(Schedule):
    """initial_learning_rate * decay_rate ^ (step / decay_steps)."""

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str = "ExponentialDecay"

    def formula(self, n: Any, step: Any) -> Any:
        times = _passed(n, step, self.decay_steps, self.staircase)
        return n.mul(n.pow(self.decay_rate, times), self.initial_learning_rate)


@SCHEDULES.entry()
class InverseTimeDecay(Schedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps)."""

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str = "InverseTimeDecay"

    def formula(self, n: Any, step: Any) -> Any:
        times = _passed(n, step, self.decay_steps, self.staircase)
        return n.div(self.initial_learning_rate, n.add(n.mul(times, self.decay_rate), 1))


@SCHEDULES.entry()
class PiecewiseConstantDecay(Schedule):
    """values[i] up to and with step boundaries[i], the last value after all of them."""

    boundaries: Any
    values: Any
    name: str = "PiecewiseConstant"

    def __post_init__(self) -> None:
        limits = list(self.boundaries)
        if not limits or limits != sorted(limits) or len(limits) != len(self.values) - 1:
            raise self.invalid(f"boundaries {self.boundaries!r} have to rise and to be one fewer than {self.values!r}")

    def formula(self, n: Any, step: Any) -> Any:
        """Boundaries are cut to integers, as Keras compares them with an integer counter."""
        rate = n.constant(np.float32(self.values[-1]))
        for boundary, value in reversed(list(zip(self.boundaries, self.values))):
            rate = n.where(n.less_equal(step, int(boundary)), n.constant(np.float32(value)), rate)
        return rate


@SCHEDULES.entry()
class PolynomialDecay(Schedule):
    """(initial - end) * (1 - step / decay_steps) ^ power + end; cycle: decay_steps are repeated as often as needed."""

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str = "PolynomialDecay"

    def formula(self, n: Any, step: Any) -> Any:
        first, last = np.float32(self.initial_learning_rate), np.float32(self.end_learning_rate)
        if self.cycle:
            rounds = n.ceil(n.div(step, self.decay_steps))
            rounds = n.where(n.equal(step, 0), n.constant(np.float32(1)), rounds)
            part = n.div(step, n.mul(rounds, self.decay_steps))
        else:
            part = n.div(n.minimum(step, self.decay_steps), self.decay_steps)
        return n.add(n.mul(n.pow(n.sub(1, part), self.power), first - last), last)


def _half_wave(n: Any, part: Any) -> Any:
    """(1 + cos(pi * part)) / 2: from 1 down to 0."""
    return n.mul(n.add(n.cos(n.mul(part, math.pi)), 1), 0.5)


@SCHEDULES.entry()
class CosineDecay(Schedule):
    """Half a cosine wave from the initial rate down to alpha times it (Loshchilov & Hutter 2016).

    With warmup_target the rate first rises linearly to it in warmup_steps, and falls from there.
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    name: str = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: float = 0

    def formula(self, n: Any, step: Any) -> Any:
        warm = 0 if self.warmup_target is None else self.warmup_steps
        top = self.initial_learning_rate if self.warmup_target is None else self.warmup_target
        since = n.sub(n.minimum(step, self.decay_steps + warm), warm)
        wave = n.mul(_half_wave(n, n.div(since, self.decay_steps)), 1 - self.alpha)
        falling = n.mul(n.add(wave, self.alpha), top)
        if not warm:
            return falling
        first = np.float32(self.initial_learning_rate)
        rising = n.add(n.mul(n.div(step, warm), np.float32(top) - first), first)
        return n.where(n.less(step, warm), rising, falling)


@SCHEDULES.entry()
class CosineDecayRestarts(Schedule):
    """Cosine waves one after another, each t_mul times as long and m_mul times as high as the one before it."""

    initial_learning_rate: float
    first_decay_steps: float
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str = "SGDRDecay"

    def formula(self, n: Any, step: Any) -> Any:
        """In units of the first wave, wave i begins at (1 - t^i) / (1 - t) and is t^i long; i if t is 1."""
        passed, t = n.div(step, self.first_decay_steps), np.float32(self.t_mul)
        if t == 1:
            wave = n.floor(passed)
            part = n.sub(passed, wave)
        else:
            wave = n.floor(n.div(n.log(n.sub(1, n.mul(passed, 1 - t))), np.log(t)))
            length = n.pow(t, wave)
            part = n.div(n.sub(passed, n.div(n.sub(1, length), 1 - t)), length)
        height = n.mul(n.pow(self.m_mul, wave), _half_wave(n, part))
        alpha = np.float32(self.alpha)
        return n.mul(n.add(n.mul(height, 1 - alpha), alpha), self.initial_learning_rate)
