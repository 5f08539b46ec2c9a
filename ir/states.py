"""States in the making: values that outlive a run, each an input of the graph and an output that is its next value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .builder import Builder
from .graph import Graph, State, Var
from .types import Tensor

Array = np.ndarray[Any, Any]


class States:
    """The states of the graph that a builder makes.

    `read` gives the newest value (the input itself before the first `write`), so that a state may be changed in
    several places; `finish` declares the graph's outputs and its `state`.
    """

    def __init__(self, b: Builder) -> None:
        self.b = b
        self._inputs: dict[str, Var] = {}
        self._newest: dict[str, Var] = {}
        self._first: dict[str, Var] = {}
        self._versions: dict[str, list[Var]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._inputs

    def read(self, name: str, first: Any) -> Var:
        """The newest value of the state called name; at its first use it is declared, with an array to start from."""
        return self.declare(name, self.b.constant(first, f"{name}.first")) if name not in self else self._newest[name]

    def declare(self, name: str, first: Var) -> Var:
        """A new state that starts from a constant."""
        var = self.b.input(name, Tensor(first.tensor.dtype, first.tensor.shape))  # its elements will not stay known
        self._inputs[name] = self._newest[name] = var
        self._versions[name] = [var]
        self._first[name] = first
        return var

    def write(self, name: str, value: Var) -> None:
        """Make the value that which the state has after the run."""
        self._newest[name] = value
        self._versions[name].append(value)

    def versions(self, name: str) -> list[Var]:
        """The values that the state has had, the newest one last."""
        return self._versions[name]

    def finish(self, outputs: Sequence[Var], names: Sequence[str]) -> Graph:
        """The graph with these outputs, then the states' values, and with its state."""
        graph = self.b.graph
        made: list[str] = []
        for name in [*names, *self._inputs]:
            while name in made:
                name += "_1"
            made.append(name)
        graph.set_outputs([*outputs, *self._newest.values()], made)
        graph.state = [
            State(var, len(outputs) + i, self._first[name]) for i, (name, var) in enumerate(self._inputs.items())
        ]
        return graph
