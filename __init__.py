"""tenun weaves saved neural networks into graphs and runs them with NumPy.

    import tenun
    probabilities = tenun.compile_and_run("model.keras", images)

The names below are the public contract; everything else is private.  They are imported when first used, so that
`import tenun` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "compile_and_run": "api",
    "load": "api",
    "parse": "api",
    "compile": "api",
    "grad": "api",
    "save": "api",
    "Executable": "executable",
    "Graph": "ir.graph",
    "TenunError": "errors",
    "LoadError": "errors",
    "UnsupportedError": "errors",
    "ShapeError": "errors",
    "GraphError": "errors",
    "RunError": "errors",
}

__all__ = [
    "Executable",
    "Graph",
    "GraphError",
    "LoadError",
    "RunError",
    "ShapeError",
    "TenunError",
    "UnsupportedError",
    "compile",
    "compile_and_run",
    "grad",
    "load",
    "parse",
    "save",
]

if TYPE_CHECKING:
    from .api import compile, compile_and_run, grad, load, parse, save
    from .errors import GraphError, LoadError, RunError, ShapeError, TenunError, UnsupportedError
    from .executable import Executable
    from .ir.graph import Graph


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tenun' has no attribute {name!r}")
    value = getattr(import_module("." + _WHERE[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
