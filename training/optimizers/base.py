"""The base of all optimisers: their options and states, and a whole step around the formula of each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from numbers import Real
from typing import Any, ClassVar, Protocol

import numpy as np

from ...errors import UnsupportedError
from ...ir import Builder, Var, dtype
from ...ir.states import States
from ...ir.types import DType, f32
from ..schedules import SCHEDULES, Schedule
from .formulas import Slots, number, weighted
from .rows import by_rows, sum_of_squares

Array = np.ndarray[Any, Any]
Rate = Any  # a float, a Schedule or Keras' dict of one; once the optimiser is made, one of the first two
PREFIX = "optimizer/"


class Named(Protocol):
    """What the names and first values of the states depend on: a parameter's name, static shape and dtype."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...


@dataclass(frozen=True)
class Trainable:
    """A parameter in the graph of a training step.

    gradient is None where the loss does not depend on the parameter, which then stays as it is.  The constraint is
    applied to the new value.
    """

    name: str
    var: Var
    gradient: Var | None
    shape: tuple[int, ...]
    dtype: Any
    constraint: Callable[[Builder, Var], Var] | None = None

    @property
    def given(self) -> Var:
        """The gradient where it is known to be there."""
        assert self.gradient is not None
        return self.gradient


@dataclass(frozen=True)
class Slot:
    """A state beside a parameter, by default of its shape and dtype.

    Keras makes slots group by group; in a group, parameter by parameter.
    """

    name: str
    first: float = 0.0
    group: int = 0
    shape: tuple[int, ...] | None = None
    dtype: Any = None


@dataclass(frozen=True)
class Scope:
    """Where an optimiser emits its ops and keeps its states."""

    b: Builder
    states: States
    prefix: str

    def read(self, name: str) -> Var:
        """The newest value of a declared state."""
        return self.states.read(self.prefix + name, None)

    def write(self, name: str, value: Var) -> None:
        """Make the value the state's newest."""
        self.states.write(self.prefix + name, value)

    def only_if(
        self, condition: Var, names: Iterable[str], old: Sequence[Var], run: Callable[[], Sequence[Var]]
    ) -> list[Var]:
        """What `run` returns where the condition holds, else `old`; likewise for the states called `names`."""
        before = {name: self.read(name) for name in names}
        results = run()
        for name, var in before.items():
            if self.read(name) is not var:
                self.write(name, self.b.where(condition, self.read(name), var))
        return [self.b.where(condition, new, var) for new, var in zip(results, old)]


def path_of(name: str) -> str:
    """Keras' path of a parameter: `outer/dense.kernel` is `outer/dense/kernel`."""
    layer, _, own = name.rpartition(".")
    return f"{layer}/{own}" if layer else own


class Optimizer:
    """The base of all optimisers; see the module's text.

    As a class argument, `before="field"` puts the shared options before that field of the subclass instead of behind
    all, `options=False` leaves them out.  A subclass is entered into OPTIMIZERS, which makes it a dataclass.
    """

    learning_rate: Rate
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int | None = None
    loss_scale_factor: float | None = None
    gradient_accumulation_steps: int | None = None
    name: str | None = None

    default_name: ClassVar[str] = ""
    kept: ClassVar[tuple[str, ...]] = ()  # slots that begin at 0
    _exempt: frozenset[str] = frozenset()  # from weight decay, by name
    _exempt_pattern: str = ""

    def __init_subclass__(cls, before: str | None = None, options: bool = True) -> None:
        own = inspect.get_annotations(cls)
        shared = {k: v for k, v in Optimizer.__annotations__.items() if options and k in OPTIONS and k not in own}
        keys = list(own)
        at = keys.index(before) if before else len(keys)
        cls.__annotations__ = {k: {**own, **shared}[k] for k in (*keys[:at], *shared, *keys[at:])}

    def __post_init__(self) -> None:
        """Check the options, by the rules of Keras' constructor; UnsupportedError names what does not fit."""
        self.name = self.name or self.default_name
        if hasattr(self, "learning_rate"):
            self.learning_rate = self._known_rate(self.learning_rate)
        steps, frequency = self.gradient_accumulation_steps, self.ema_overwrite_frequency
        if steps and steps < 2:
            raise self.invalid(f"gradient_accumulation_steps has to be at least 2, it is {steps!r}")
        if self.use_ema and not 0 <= self.ema_momentum <= 1:
            raise self.invalid(f"ema_momentum has to be in [0, 1], it is {self.ema_momentum!r}")
        if self.use_ema and frequency and (not isinstance(frequency, int) or frequency < 1):
            raise self.invalid(f"ema_overwrite_frequency has to be an integer of at least 1, it is {frequency!r}")
        clips = {k: getattr(self, k) for k in ("clipnorm", "clipvalue", "global_clipnorm")}
        if sum(v is not None for v in clips.values()) > 1:
            raise self.invalid(f"only one of clipnorm, clipvalue, global_clipnorm can be set, there are {clips}")
        self.check()

    def _known_rate(self, rate: Rate) -> Rate:
        rate = SCHEDULES.get(rate) if isinstance(rate, Mapping) else rate
        if isinstance(rate, Schedule):
            return rate
        if not isinstance(rate, Real) or isinstance(rate, bool):
            hint = "a float, a schedule (training.schedules), or a LearningRateScheduler callback for a function"
            raise UnsupportedError(f"{type(self).__name__}: learning_rate={rate!r} is not supported", hint=hint)
        return float(np.float32(rate))  # Keras keeps it in a float32 variable, and writes that

    def check(self) -> None:
        """Check a subclass' own fields."""

    def invalid(self, why: str) -> UnsupportedError:
        """An error that names the optimiser, to be raised."""
        return UnsupportedError(f"optimizer {type(self).__name__}: {why}", op=type(self).__name__)

    # ---- what subclasses override

    def slots(self, p: Named) -> Iterator[Slot]:
        """The slots beside a parameter."""
        return map(Slot, self.kept)

    def extras(self, parameters: Sequence[Named]) -> dict[str, Array]:
        """Further states, of no parameter, with first values: Keras has them behind the slots."""
        return {}

    def advance(self, s: Scope, t: Var) -> None:
        """Write the further states, once in an update; t: the number of the update, i64, from 1."""

    def scalars(self, s: Scope, lr: Var, t: Var) -> dict[str, Var]:
        """What `update` gets as keywords: scalars, made once for all parameters of a dtype, which lr and t have."""
        return {"lr": lr}

    def update(self, *args: Any, **scalars: Any) -> tuple[Var, Slots]:
        """update(b, p, g, slots, **scalars): the new value of the parameter p, and the new slots."""
        raise self.invalid("the class defines no update()")

    def decay_of(self, p: Named) -> float | None:
        """The weight decay of a parameter."""
        return self.weight_decay

    # ---- states

    def _placed(self, parameters: Sequence[Named]) -> list[tuple[Named, Slot]]:
        """All slots with their parameters, in Keras' order."""
        shared = [Slot("average", group=-2)] if self.use_ema else []
        if self.gradient_accumulation_steps:
            shared.append(Slot("gradient_accumulator", group=-1))
        return sorted([(p, s) for p in parameters for s in (*shared, *self.slots(p))], key=lambda pair: pair[1].group)

    def first_states(self, parameters: Sequence[Named], prefix: str = PREFIX) -> dict[str, Array]:
        """The values of the states before the first step by name, in the order of Keras' `optimizer.variables`."""
        first: dict[str, Array] = {"iterations": np.zeros((), np.int64)}
        if not isinstance(self.learning_rate, Schedule):
            first["learning_rate"] = np.array(self.learning_rate, np.float32)
        for p, slot in self._placed(parameters):
            shape, kind = p.shape if slot.shape is None else slot.shape, dtype(slot.dtype or p.dtype).numpy
            values = np.full(shape, slot.first, kind) if slot.first else np.zeros(shape, kind)
            first[f"{p.name}/{slot.name}"] = values
        return {prefix + k: v for k, v in {**first, **self.extras(parameters)}.items()}

    def variables(self, parameters: Sequence[Named], prefix: str = PREFIX) -> list[str]:
        """The names of the states in the order of Keras' `optimizer.variables`."""
        return list(self.first_states(parameters, prefix))

    def averages(self, parameters: Sequence[Named], prefix: str = PREFIX) -> dict[str, str]:
        """The states that take the parameters' places when training ends, by the parameters' names (use_ema)."""
        return {p.name: f"{prefix}{p.name}/average" for p in parameters} if self.use_ema else {}

    def rate_state(self, prefix: str = PREFIX) -> str | None:
        """The name of the state that holds the learning rate; None where a schedule gives it."""
        return None if isinstance(self.learning_rate, Schedule) else prefix + "learning_rate"

    def rate(self, state: Mapping[str, Array], prefix: str = PREFIX) -> float:
        """The learning rate of the next step as a number, from the values of the states."""
        if isinstance(self.learning_rate, Schedule):
            return self.learning_rate.value(int(state[prefix + "iterations"]))
        return float(state[prefix + "learning_rate"])

    def exclude_from_weight_decay(self, var_list: Iterable[Any] = (), var_names: Iterable[str] = ()) -> None:
        """Keep parameters from weight decay: those in var_list (names, or objects with a `name`), and those in whose
        name (`dense.kernel`) or path (`dense/kernel`) any of the regular expressions var_names is found."""
        self._exempt = frozenset(getattr(v, "name", v) for v in var_list or ())
        self._exempt_pattern = "|".join(var_names or ())

    def _decays(self, p: Named) -> bool:
        pattern = self._exempt_pattern
        found = pattern and (re.search(pattern, p.name) or re.search(pattern, path_of(p.name)))
        return p.name not in self._exempt and not found

    # ---- the step

    def scale_loss(self, b: Builder, states: States, loss: Var, prefix: str = PREFIX) -> Var:
        """The loss to be differentiated: times loss_scale_factor, by which `apply` divides the gradients."""
        return b.mul(loss, self.loss_scale_factor) if self.loss_scale_factor is not None else loss

    def apply(self, b: Builder, states: States, parameters: Sequence[Trainable], prefix: str = PREFIX) -> list[Var]:
        """Emit a whole step: the new values of the parameters in order; the optimiser's own states are written."""
        s = Scope(b, states, prefix)
        for name, first in self.first_states(parameters, prefix).items():
            states.read(name, first)
        live = [self._ready(b, p) for p in parameters if p.gradient is not None]
        if not live:
            raise self.invalid("the loss depends on none of the parameters")
        counter = s.read("iterations")
        every = self.gradient_accumulation_steps
        done = b.floor_div(counter, every) if every else counter
        new = iter(self._accumulated(s, live, counter, done) if every else self._updated(s, live, done))
        moved = [p if p.gradient is None else replace(p, var=next(new)) for p in parameters]
        results = self._averaged(s, moved, done) if self.use_ema else [p.var for p in moved]
        s.write("iterations", b.add(counter, 1))
        pairs = zip(moved, results)  # Keras does not constrain what has no gradient
        return [v if p.constraint is None or p.gradient is None else p.constraint(b, v) for p, v in pairs]

    def _ready(self, b: Builder, p: Trainable) -> Trainable:
        """The parameter with its gradient in its dtype, the scaling of the loss undone."""
        g = p.given if self.loss_scale_factor is None else b.div(p.given, self.loss_scale_factor)
        return replace(p, gradient=b.cast_like(g, p.var))

    def _accumulated(self, s: Scope, live: list[Trainable], counter: Var, done: Var) -> list[Var]:
        """Sum up gradients, and update with their mean in every `gradient_accumulation_steps`-th step."""
        b, steps, summed = s.b, self.gradient_accumulation_steps, []
        due = b.equal(b.mod(b.add(counter, 1), steps), 0)
        for p in live:
            slot = f"{p.name}/gradient_accumulator"
            total = b.add(p.given, s.read(slot))
            s.write(slot, b.where(due, number(b, 0, total), total))
            summed.append(replace(p, gradient=b.div(total, steps)))
        kept = [f"{p.name}/{slot.name}" for p in live for slot in self.slots(p)]
        return s.only_if(
            due, [*kept, *self.extras(live)], [p.var for p in live], lambda: self._updated(s, summed, done)
        )

    def _updated(self, s: Scope, live: list[Trainable], done: Var) -> list[Var]:
        """Clip, decay and update; done: the number of updates before this one, i64."""
        b, t, rate = s.b, s.b.add(done, 1), self._rate(s)
        self.advance(s, t)

        @cache
        def scalars(kind: DType) -> tuple[Var, dict[str, Var]]:
            lr = rate if kind is f32 else b.cast(rate, to=kind)
            return lr, self.scalars(s, lr, b.cast(t, to=kind))

        new = []
        for p in self._clipped(b, live):
            lr, given = scalars(p.var.tensor.dtype)
            slots = {slot.name: s.read(f"{p.name}/{slot.name}") for slot in self.slots(p)}
            value, changed = self.update(b, self._decayed(b, p, lr), p.given, slots, **given)
            for name, slot_value in changed.items():
                s.write(f"{p.name}/{name}", slot_value)
            new.append(value)
        return new

    def _rate(self, s: Scope) -> Var:
        """The learning rate, f32; a schedule counts all steps, also those that only accumulate."""
        if isinstance(self.learning_rate, Schedule):
            return self.learning_rate(s.b, s.read("iterations"))
        return s.read("learning_rate")

    def _clipped(self, b: Builder, live: list[Trainable]) -> list[Trainable]:
        """The parameters with clipped gradients."""
        bound = self.clipvalue
        if bound and bound > 0 and not self.clipnorm and not self.global_clipnorm:

            def clipped(g: Var) -> Var:
                return b.clip(g, low=-bound, high=bound)  # type: ignore[no-any-return]

            return [replace(p, gradient=by_rows(b, p.given, clipped)) for p in live]
        if self.clipnorm and self.clipnorm > 0:
            return [replace(p, gradient=b.mul(p.given, self._shrinkage(b, p.given))) for p in live]
        if not self.global_clipnorm or self.global_clipnorm <= 0:
            return live
        scale = self._global_shrinkage(b, [p.given for p in live])
        # from here on Keras has sums instead of rows: `identity` hides them
        return [replace(p, gradient=b.identity(b.mul(p.given, b.cast_like(scale, p.given)))) for p in live]

    def _shrinkage(self, b: Builder, g: Var) -> Var:
        """clipnorm / max(|g|, clipnorm)."""
        norm = b.sqrt(sum_of_squares(b, g))
        return b.div(self.clipnorm, b.maximum(norm, self.clipnorm))

    def _global_shrinkage(self, b: Builder, gradients: list[Var]) -> Var:
        """clip * min(1 / norm, 1 / clip) with the norm of all gradients together; NaN where that is not finite."""
        squares = [b.cast(sum_of_squares(b, g), to=f32) for g in gradients]
        total = squares[0]
        for square in squares[1:]:
            total = b.add(total, square)
        norm, bound = b.sqrt(total), self.global_clipnorm
        assert bound is not None
        scale = b.mul(b.minimum(b.div(1, norm), 1 / bound), bound)
        return b.add(scale, b.sub(norm, norm))

    def _decayed(self, b: Builder, p: Trainable, lr: Var) -> Var:
        """p - p * (decay * lr): p * (1 - decay * lr) would lose the decay's digits in the rounding of the factor."""
        decay = self.decay_of(p)
        if not decay or not self._decays(p):
            return p.var
        return b.sub(p.var, b.mul(p.var, b.mul(lr, decay)))

    def _averaged(self, s: Scope, moved: list[Trainable], done: Var) -> list[Var]:
        """Follow all parameters with moving averages, which begin as the parameters after the first step.

        Every `ema_overwrite_frequency` updates the parameters become their averages.
        """
        b, every, results = s.b, self.ema_overwrite_frequency, []
        due = b.equal(b.mod(b.add(done, 1), every), 0) if every else None

        @cache
        def weights(kind: DType) -> tuple[Var, Var]:
            old = b.mul(b.cast(b.not_equal(done, 0), to=kind), self.ema_momentum)
            return old, b.sub(1, old)

        for p in moved:
            slot = f"{p.name}/average"
            old, new = weights(p.var.tensor.dtype)
            average = weighted(b, s.read(slot), old, p.var, new)
            s.write(slot, average)
            results.append(p.var if due is None else b.where(due, average, p.var))
        return results


OPTIONS = [k for k in Optimizer.__annotations__ if k not in ("learning_rate", "default_name", "kept") and k[0] != "_"]
