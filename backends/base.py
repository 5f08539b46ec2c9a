"""What a backend offers, and the table of backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from ..errors import UnsupportedError
from ..ir.graph import Graph
from ..ir.records import record


@record
class Options:
    """How to run: `threads` to use (None: the variable TENUN_THREADS, else the cores at hand), bytes that an arena may
    have (`memory_limit`), only algorithms that do not round more than sums of products do (`exact`), or those that
    were measured to be the fastest on this machine (`tune`).
    """

    threads: int | None = None
    memory_limit: int | None = None
    exact: bool = False
    tune: bool = False


DEFAULT = Options()


class Runnable(Protocol):
    """A compiled graph: outputs for inputs, thread-safe."""

    def __call__(self, *inputs: Any) -> list[Any]: ...

    def plan(self, inputs: Sequence[Any]) -> Any:
        """The plan for inputs like these, to look at."""


class Backend(Protocol):
    """A backend is a module with these names."""

    evaluate: Callable[..., tuple[Any, ...]]

    def program(self, graph: Graph, options: Options = DEFAULT, resident: Any = None) -> Runnable: ...

    def checked(self, var: Any, value: Any) -> Any: ...

    def pipeline(self, name_or_passes: str | Sequence[str]) -> tuple[str, ...]: ...


# name -> module in this package, imported when asked for
BACKENDS = {"numpy": "numpy.backend", "numba": "numba.backend"}


def backend(name: str) -> Backend:
    """The backend called name; UnsupportedError lists those there are."""
    if name not in BACKENDS:
        raise UnsupportedError(f"no backend is called {name!r}", hint=f"backends: {', '.join(BACKENDS)}")
    return import_module("." + BACKENDS[name], __package__)  # type: ignore[return-value]
