"""Optimisers: Keras' update rules, emitted as ops into the graph of a training step.

    adam = OPTIMIZERS.get("adam")
    new = adam.apply(b, states, [Trainable("dense.kernel", kernel, gradient, (64, 10), "float32")])

What an optimiser remembers is states of the graph: `optimizer/iterations`, `optimizer/learning_rate`, and slots,
`optimizer/dense.kernel/velocity`.  `first_states` gives their names and first values in the order of Keras'
`optimizer.variables`, in which files hold them.  A subclass has fields (in the order of Keras' constructor, the options
that all share left out), `slots`, scalars that are the same for all parameters (`scalars`) and the formula for one
parameter (`update`); clipping, weight decay, moving averages, accumulation and constraints are here once for all.

The gradient of a look-up is a sum of rows, one for each place where a row of the table was read.  Keras on TensorFlow
keeps such gradients as rows (IndexedSlices): it squares and clips row by row, and adds up then, so that g1^2 + g2^2
stands where others have (g1 + g2)^2.  `by_rows` does the same, and losses follow Keras' to the last digits.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from numbers import Real
from typing import Any, ClassVar, Protocol

import numpy as np

from ..errors import UnsupportedError
from ..ir import Builder, Node, Var, dtype
from ..ir.states import States
from ..ir.types import DType, f32
from ..layers.base import snake_case
from .objects import C, Table
from .schedules import SCHEDULES, Schedule

Array = np.ndarray[Any, Any]
Rate = Any  # a float, a Schedule or Keras' dict of one; once the optimiser is made, one of the first two
Slots = dict[str, Var]
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


# ---- what formulas share -------------------------------------------------------------------------------------


def number(b: Builder, value: float, like: Var) -> Var:
    """A scalar constant in the dtype of another value."""
    return b.constant(np.array(value, like.tensor.dtype.numpy))


def rest(value: float, like: Var) -> float:
    """1 - value, the value rounded to the dtype of `like` first, as Keras does where it casts its betas."""
    return float(1 - like.tensor.dtype.numpy.type(value))


def towards(b: Builder, old: Var, new: Var, share: float) -> Var:
    """old + (new - old) * share: a moving average."""
    return b.add(old, b.mul(b.sub(new, old), share))


def weighted(b: Builder, old: Var, old_weight: Any, new: Var, new_weight: Any) -> Var:
    """old * old_weight + new * new_weight."""
    return b.add(b.mul(old, old_weight), b.mul(new, new_weight))


def one_minus_power(b: Builder, beta: float, t: Var) -> Var:
    """1 - beta^t: how far a moving average that began at 0 has come."""
    return b.sub(1, b.pow(beta, t))


Rows = tuple[Var, Node]  # rows, and the node that adds them up into zeros

# What Keras does to the rows of a gradient one by one: it leaves 0 at 0.
ROWWISE = ("mul", "div", "neg", "cast", "clip")


def rows_of(b: Builder, g: Var) -> list[Rows]:
    """The rows that a gradient is the sum of; none where it is no such sum."""
    node = g.producer
    if node is None or node.dynamic:
        return []
    if node.op.has("gathers"):
        assert node.operands[0] is not None
        return [(node.operands[0], node)]
    operands = [v for v in node.operands if v is not None]
    found = [rows_of(b, v) for v in operands] if node.op.name in (*ROWWISE, "add") else []
    if node.op.name == "add":
        return [pair for part in found for pair in part] if all(found) else []
    place = next((i for i, part in enumerate(found) if part), None)
    if place is None:
        return []
    return [(_each_row(b, node, operands, place, *pair), pair[1]) for pair in found[place]]


def _each_row(b: Builder, node: Node, operands: list[Var], place: int, rows: Var, adder: Node) -> Var:
    """The node's op on rows in place of the sum; the other operands where the rows belong."""
    indices = adder.operands[1]
    given = [v if v.shape == () else b.gather(v, indices, axis=0) for v in operands]
    return b.node(node.op, [*given[:place], rows, *given[place + 1 :]], node.attrs).output


def by_rows(b: Builder, g: Var, function: Callable[[Var], Var]) -> Var:
    """function(g), of each element; row by row where g is a sum of rows."""
    parts = [
        b.node(adder.op, [function(rows), *adder.operands[1:]], adder.attrs).output for rows, adder in rows_of(b, g)
    ]
    if not parts:
        return function(g)
    total = parts[0]
    for part in parts[1:]:
        total = b.add(total, part)
    return total


def squared(b: Builder, g: Var) -> Var:
    """The square of a gradient."""
    return by_rows(b, g, b.square)


def sum_of_squares(b: Builder, g: Var) -> Var:
    """Of all elements of a gradient; of all rows where it is a sum of rows."""
    first, *others = [b.reduce_sum_square(rows) for rows, _ in rows_of(b, g)] or [b.reduce_sum_square(g)]
    for other in others:
        first = b.add(first, other)
    return first


def rms(b: Builder, x: Var) -> Var:
    """The root of the mean square of all elements, a scalar."""
    return b.sqrt(b.reduce_mean(b.square(x)))


def adam_rate(b: Builder, lr: Var, t: Var, beta_1: float, beta_2: float) -> Var:
    """lr * sqrt(1 - beta_2^t) / (1 - beta_1^t); Kingma & Ba 2014, the form before section 2.1."""
    return b.div(b.mul(lr, b.sqrt(one_minus_power(b, beta_2, t))), one_minus_power(b, beta_1, t))


def moments(b: Builder, g: Var, slots: Slots, beta_1: float, beta_2: float) -> tuple[Var, Var]:
    """Moving averages of the gradient and of its square."""
    m = towards(b, slots["momentum"], g, 1 - beta_1)
    return m, towards(b, slots["velocity"], squared(b, g), 1 - beta_2)


def adam_step(b: Builder, p: Var, m: Var, v: Var, alpha: Var, epsilon: float) -> Var:
    """p - m * alpha / (sqrt(v) + epsilon)."""
    return b.sub(p, b.div(b.mul(m, alpha), b.add(b.sqrt(v), epsilon)))


# ---- the base ------------------------------------------------------------------------------------------------


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
_DROPPED = ("jit_compile", "is_legacy_optimizer")  # Keras 2: how it ran, not what it computed


class Optimizers(Table[Optimizer]):
    """The optimisers; class names are found in lower case too, and configs of Keras 2 are understood."""

    def entry(self, *aliases: str) -> Callable[[C], C]:
        """Make a class a dataclass and enter it into the table."""

        def register(cls: C) -> C:
            cls.default_name = snake_case(cls.__name__)
            return super(Optimizers, self).entry(cls.__name__.lower(), *aliases)(cls)

        return register

    def from_config(self, cls: type[Optimizer], config: Mapping[str, Any]) -> Optimizer:
        """An optimiser of a class; UnsupportedError names the keys that it does not know."""
        return super().from_config(cls, modern(cls, config))


def modern(cls: type[Optimizer], config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as Keras 3 writes it.

    Keras 2 called the learning rate `lr` and had a `decay`: lr / (1 + decay * step).  Options that a class does not
    have are dropped where they are off.
    """
    found = {k: v for k, v in config.items() if k not in _DROPPED}
    if "lr" in found:
        found.setdefault("learning_rate", found.pop("lr"))
    decay = found.pop("decay", None)
    if decay:
        rate = found.get("learning_rate", cls.learning_rate)
        if cls.__name__ == "Nadam" or not isinstance(rate, Real):
            why = "it was the speed of the momentum's schedule there" if cls.__name__ == "Nadam" else "with a schedule"
            hint = "leave the key out: Keras 3 has no such option"
            raise UnsupportedError(f"optimizer {cls.__name__}: decay={decay!r} is not supported ({why})", hint=hint)
        inverse = {"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}
        found["learning_rate"] = {"class_name": "InverseTimeDecay", "config": inverse}
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    off = [k for k in OPTIONS if k in found and k not in known and found[k] == getattr(Optimizer, k)]
    if "dynamic" not in known and found.get("dynamic") is True:  # the LossScaleOptimizer of Keras 2
        off.append("dynamic")
    return {k: v for k, v in found.items() if k not in off}


OPTIMIZERS = Optimizers("optimizer", "keras.optimizers")

# ---- gradient descent ----------------------------------------------------------------------------------------


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


# ---- rates from past squares ---------------------------------------------------------------------------------


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


# ---- two moments ---------------------------------------------------------------------------------------------


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


# ---- optimisers of optimisers --------------------------------------------------------------------------------


@OPTIMIZERS.entry()
class LossScaleOptimizer(Optimizer, options=False):
    """Scales the loss up as far as float16 gradients stay finite; Micikevicius et al. 2017.

    A step whose gradients are not finite changes nothing but the scale, which it halves; `dynamic_growth_steps`
    finite ones double it.  The inner optimiser's states have the usual names; Keras' own counter and learning rate of
    the wrapper, which nothing reads, are `loss_scale/iterations` and `loss_scale/learning_rate`.
    """

    inner_optimizer: Any
    initial_scale: float = 2.0**15
    dynamic_growth_steps: int = 2000
    name: str | None = None

    def check(self) -> None:
        self.inner_optimizer = OPTIMIZERS.get(self.inner_optimizer)
        self.inner_optimizer.loss_scale_factor = None  # or gradients would be scaled twice

    def _own_states(self) -> dict[str, Array]:
        zero, scale = np.zeros((), np.int64), np.array(self.initial_scale, np.float32)
        unused: dict[str, Array] = {"loss_scale/iterations": zero, "loss_scale/learning_rate": np.zeros((), np.float32)}
        return {**unused, "step_counter": zero, "dynamic_scale": scale}

    def first_states(self, parameters: Sequence[Named], prefix: str = PREFIX) -> dict[str, Array]:
        own = {prefix + k: v for k, v in self._own_states().items()}
        return {**own, **self.inner_optimizer.first_states(parameters, prefix)}

    def averages(self, parameters: Sequence[Named], prefix: str = PREFIX) -> dict[str, str]:
        return self.inner_optimizer.averages(parameters, prefix)

    def rate_state(self, prefix: str = PREFIX) -> str | None:
        return self.inner_optimizer.rate_state(prefix)

    def rate(self, state: Mapping[str, Array], prefix: str = PREFIX) -> float:
        return self.inner_optimizer.rate(state, prefix)

    def exclude_from_weight_decay(self, var_list: Iterable[Any] = (), var_names: Iterable[str] = ()) -> None:
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def scale_loss(self, b: Builder, states: States, loss: Var, prefix: str = PREFIX) -> Var:
        """The loss times the current scale."""
        scale = states.read(prefix + "dynamic_scale", self._own_states()["dynamic_scale"])
        return b.mul(loss, b.cast_like(scale, loss))

    def apply(self, b: Builder, states: States, parameters: Sequence[Trainable], prefix: str = PREFIX) -> list[Var]:
        s = Scope(b, states, prefix)
        for name, first in self.first_states(parameters, prefix).items():
            states.read(name, first)
        scale, count = s.read("dynamic_scale"), s.read("step_counter")
        live = [p.given for p in parameters if p.gradient is not None]
        finite = b.constant(np.array(True))
        for g in live:
            finite = b.logical_and(finite, b.reduce_all(b.less(b.abs(g), float("inf"))))
        unscaled = [
            p if p.gradient is None else replace(p, gradient=b.div(p.given, b.cast_like(scale, p.given)))
            for p in parameters
        ]
        names = [n.removeprefix(prefix) for n in self.inner_optimizer.first_states(parameters, prefix)]
        new = s.only_if(
            finite, names, [p.var for p in parameters],
            lambda: self.inner_optimizer.apply(b, states, unscaled, prefix),
        )  # fmt: skip
        grows = b.equal(count, self.dynamic_growth_steps - 1)
        going_on = b.logical_and(finite, b.logical_not(grows))
        s.write("step_counter", b.where(going_on, b.add(count, 1), number(b, 0, count)))
        s.write("dynamic_scale", b.where(going_on, scale, b.mul(scale, b.where(finite, *_factors(b, scale)))))
        return new


def _factors(b: Builder, scale: Var) -> tuple[Var, Var]:
    """How a loss scale grows, and how it shrinks."""
    return number(b, 2, scale), number(b, 0.5, scale)


class OptimizerMap:
    """Which optimiser trains which parameter: by path, or by a regular expression for all of the path."""

    default_optimizer: Any
    optimizer_map: Any = None

    def __post_init__(self) -> None:
        self.default_optimizer = OPTIMIZERS.get(self.default_optimizer)
        self.optimizer_map = {k: OPTIMIZERS.get(v) for k, v in (self.optimizer_map or {}).items()}
        for optimizer in self.all:
            if isinstance(optimizer, (LossScaleOptimizer, MultiOptimizer)):
                raise optimizer.invalid("cannot be part of a MultiOptimizer")

    def __setitem__(self, pattern: str, optimizer: Any) -> None:
        if pattern in self.optimizer_map:
            raise UnsupportedError(f"OptimizerMap: there is an optimizer for {pattern!r} already")
        self.optimizer_map[pattern] = OPTIMIZERS.get(optimizer)
        self.__post_init__()

    def __getitem__(self, path: str) -> Optimizer:
        """The optimiser of the parameter with Keras' path."""
        found = [path] if path in self.optimizer_map else [k for k in self.optimizer_map if re.fullmatch(k, path)]
        if len(found) > 1:
            raise UnsupportedError(f"OptimizerMap: several patterns fit {path!r}: {', '.join(found)}")
        optimizer: Optimizer = self.optimizer_map[found[0]] if found else self.default_optimizer
        return optimizer

    @property
    def all(self) -> list[Optimizer]:
        """Each optimiser once, in the order of the map, the default one last."""
        return list({id(v): v for v in (*self.optimizer_map.values(), self.default_optimizer)}.values())


MAPS: Table[OptimizerMap] = Table("optimizer map", "keras.optimizers")
MAPS.entry()(OptimizerMap)


@OPTIMIZERS.entry()
class MultiOptimizer(Optimizer, options=False):
    """Different optimisers for different parameters; number i of the map has its states below `<i>/`.

    Its own learning rate, which nothing reads, is there for the order of Keras' variables.
    """

    optimizer_map: Any
    loss_scale_factor: float | None = None
    name: str | None = None

    def check(self) -> None:
        if isinstance(self.optimizer_map, Mapping):
            self.optimizer_map = MAPS.get(self.optimizer_map)
        if not isinstance(self.optimizer_map, OptimizerMap):
            raise self.invalid(f"optimizer_map={self.optimizer_map!r} is not supported, an OptimizerMap is needed")
        for optimizer in self.optimizer_map.all:
            optimizer.loss_scale_factor = self.loss_scale_factor

    def _parts(self, parameters: Sequence[Any], prefix: str) -> Iterator[tuple[Optimizer, str, list[int]]]:
        """The optimisers with the prefixes of their states and the places of their parameters."""
        trainers = [self.optimizer_map[path_of(p.name)] for p in parameters]
        for i, optimizer in enumerate(self.optimizer_map.all):
            yield optimizer, f"{prefix}{i}/", [k for k, trainer in enumerate(trainers) if trainer is optimizer]

    def first_states(self, parameters: Sequence[Named], prefix: str = PREFIX) -> dict[str, Array]:
        own: dict[str, Array] = {"iterations": np.zeros((), np.int64), "learning_rate": np.zeros((), np.float32)}
        first = {prefix + k: v for k, v in own.items()}
        for optimizer, below, places in self._parts(parameters, prefix):
            first.update(optimizer.first_states([parameters[k] for k in places], below))
        return first

    def averages(self, parameters: Sequence[Named], prefix: str = PREFIX) -> dict[str, str]:
        parts = self._parts(parameters, prefix)
        return {k: v for o, below, at in parts for k, v in o.averages([parameters[i] for i in at], below).items()}

    def rate_state(self, prefix: str = PREFIX) -> str | None:
        raise self.invalid("there is no one learning rate, each of its optimizers has its own")

    def rate(self, state: Mapping[str, Array], prefix: str = PREFIX) -> float:
        raise self.invalid("there is no one learning rate, each of its optimizers has its own")

    def exclude_from_weight_decay(self, var_list: Iterable[Any] = (), var_names: Iterable[str] = ()) -> None:
        raise self.invalid("parameters are excluded from weight decay at each of its optimizers")

    def apply(self, b: Builder, states: States, parameters: Sequence[Trainable], prefix: str = PREFIX) -> list[Var]:
        for name, first in self.first_states(parameters, prefix).items():
            states.read(name, first)
        new = [p.var for p in parameters]
        for optimizer, below, places in self._parts(parameters, prefix):
            results = optimizer.apply(b, states, [parameters[k] for k in places], below) if places else []
            for k, var in zip(places, results):
                new[k] = var
        own = Scope(b, states, prefix)
        own.write("iterations", b.add(own.read("iterations"), 1))
        return new
