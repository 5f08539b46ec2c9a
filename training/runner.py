"""What a compiled model runs: `Runner`, a compiled step with the weights in it, and `Running`, the optimiser in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.base import Options
from ..backends.base import backend as backend_of
from ..errors import RunError
from ..passes.manager import Context, PassManager, pipeline
from .optimizers import PREFIX, Optimizer
from .step import Step

if TYPE_CHECKING:
    from .model import Model

Array = np.ndarray[Any, Any]

MERGING = ("fuse", "chains")  # passes that put nodes of several layers into one: left out where a node is to be blamed


class Running:
    """An optimiser in use: its settings, with the learning rate and the counter that the next step will see."""

    def __init__(self, model: Model, settings: Optimizer) -> None:
        self._model, self.settings = model, settings

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; to be set only where it is no schedule."""
        known = self.settings.rate_state()
        if known is not None and known not in self._model.states:
            return float(self.settings.learning_rate)
        return self.settings.rate({PREFIX + "iterations": np.array(self.iterations), **self._model.states})

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        name = self.settings.rate_state()
        if name is None:
            raise RunError("the learning rate follows a schedule, so it cannot be set", hint="compile with a number")
        if name in self._model.states:
            self._model.states[name][...] = value
        else:
            self.settings.learning_rate = float(value)

    @property
    def iterations(self) -> int:
        """The number of steps made."""
        return int(self._model.states.get(PREFIX + "iterations", np.array(0)))

    @property
    def variables(self) -> dict[str, Array]:
        """Copies of the optimiser's states by name, in Keras' order."""
        return {k: v.copy() for k, v in self._model._optimizer_arrays().items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.settings, name)

    def __repr__(self) -> str:
        return f"<{type(self.settings).__name__} after {self.iterations} steps, learning rate {self.learning_rate:g}>"


class Runner:
    """A compiled step: arrays in, losses out, states changed in place."""

    def __init__(self, model: Model, made: Step) -> None:
        self.step = made
        chosen = backend_of(model.backend)
        self._debug_nans = model.debug_nans
        names = [n for n in pipeline("training") if n not in MERGING or not model.debug_nans]
        graph = PassManager(names, Context(chosen.evaluate)).run(made.graph)
        self.optimized = graph
        self.resident = {s.input.name: model._array_of(s.input.name, s.first.data) for s in graph.state}
        self.changes = {p.layer for p in made.parameters if p.name in self.resident}
        self._live = [p for p in made.parameters if p.name in self.resident]
        self._frozen = {p.layer for p in made.parameters if p.name not in self.resident}
        self._version = self._frozen_version()
        self._inputs = [v for v in graph.inputs if v.name not in self.resident]
        self._checked = chosen.checked
        self.program = chosen.program(graph, Options(model.threads, model.memory_limit), self.resident)

    def _frozen_version(self) -> int:
        return sum(layer.version for layer in self._frozen)

    @property
    def stale(self) -> bool:
        """Whether weights that it took for constants have changed, or others lie in new arrays."""
        moved = any(self.resident[p.name] is not p.data for p in self._live)
        return moved or self._version != self._frozen_version()

    def __call__(self, arrays: Mapping[str, Any]) -> list[float]:
        """The total loss and the single ones."""
        given = [self._checked(v, arrays[v.name]) for v in self._inputs]
        return [float(r) for r in self._run(given)[: 1 + len(self.step.losses)]]

    def _run(self, given: list[Any]) -> list[Any]:
        if not self._debug_nans:
            return self.program(*given)
        from ..debug.nans import run_watched

        made = self.resident.get(PREFIX + "iterations")
        where = "" if made is None else f" in step {int(made) + 1}"
        return run_watched(self.program, given, self._debug_nans == "inf", where)

    def outputs(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """All results by name."""
        names = [n for n in self.optimized.output_names if n not in self.resident]
        return dict(zip(names, self.program(*(self._checked(v, arrays[v.name]) for v in self._inputs))))

    def plan(self, arrays: Mapping[str, Any]) -> Any:
        """The plan for inputs like these."""
        return self.program.plan([self._checked(v, arrays[v.name]) for v in self._inputs])
