"""What a backend offers, and the table of backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from ..errors import UnsupportedError
from ..ir.graph import Graph


class Runnable(Protocol):
    """A compiled graph: outputs for inputs, thread-safe."""

    def __call__(self, *inputs: Any) -> list[Any]: ...

    def plan(self, inputs: Sequence[Any]) -> Any:
        """The plan for inputs like these, to look at."""


class Backend(Protocol):
    """A backend is a module with these names."""

    evaluate: Callable[..., tuple[Any, ...]]

    def program(
        self, graph: Graph, threads: int | None = None, resident: Any = None, memory_limit: int | None = None
    ) -> Runnable: ...

    def checked(self, var: Any, value: Any) -> Any: ...


BACKENDS = {"numpy": "numpy.backend"}  # name -> module in this package, imported when asked for


def backend(name: str) -> Backend:
    """The backend called name; UnsupportedError lists those there are."""
    if name not in BACKENDS:
        raise UnsupportedError(f"no backend is called {name!r}", hint=f"backends: {', '.join(BACKENDS)}")
    return import_module("." + BACKENDS[name], __package__)  # type: ignore[return-value]
