"""Optimisers of optimisers: scaled losses, and several for one model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import UnsupportedError
from ...ir import Builder, Var
from ...ir.states import States
from ..objects import Table
from .base import PREFIX, Array, Named, Optimizer, Scope, Trainable, path_of
from .formulas import number
from .table import OPTIMIZERS


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
