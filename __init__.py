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
    "load_model": "api",
    "fit": "api",
    "check_gradients": "api",
    "Model": "training.model",
    "Sequential": "training.model",
    "Input": "layers.symbolic",
    "set_random_seed": "training.seeds",
    "clear_session": "layers.base",
    "Value": "value",
    "Module": "value",
    "Executable": "executable",
    "Graph": "ir.graph",
    "TenunError": "errors",
    "LoadError": "errors",
    "UnsupportedError": "errors",
    "ShapeError": "errors",
    "GraphError": "errors",
    "RunError": "errors",
}

# modules that are names of the contract: tenun.layers.Dense, tenun.losses.Huber, tenun.optimizers.Adam, ...
_MODULES = {
    "layers": "layers",
    **{
        name: f"training.{name}"
        for name in (
            "callbacks", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers", "schedules",
        )
    },
    "estimators": "estimators",
}  # fmt: skip

__all__ = [
    "Executable",
    "Graph",
    "GraphError",
    "Input",
    "LoadError",
    "Model",
    "Module",
    "RunError",
    "Sequential",
    "ShapeError",
    "TenunError",
    "UnsupportedError",
    "Value",
    "callbacks",
    "check_gradients",
    "clear_session",
    "compile",
    "compile_and_run",
    "constraints",
    "estimators",
    "fit",
    "grad",
    "initializers",
    "layers",
    "load",
    "load_model",
    "losses",
    "metrics",
    "optimizers",
    "parse",
    "regularizers",
    "save",
    "schedules",
    "set_random_seed",
]

if TYPE_CHECKING:
    from . import estimators, layers
    from .api import check_gradients, compile, compile_and_run, fit, grad, load, load_model, parse, save
    from .errors import GraphError, LoadError, RunError, ShapeError, TenunError, UnsupportedError
    from .executable import Executable
    from .ir.graph import Graph
    from .layers.base import clear_session
    from .layers.symbolic import Input
    from .training import callbacks, constraints, initializers, losses, metrics, optimizers, regularizers, schedules
    from .training.model import Model, Sequential
    from .training.seeds import set_random_seed
    from .value import Module, Value


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = import_module("." + _MODULES[name], __name__)
    elif name in _WHERE:
        value = getattr(import_module("." + _WHERE[name], __name__), name)
    else:
        raise AttributeError(f"module 'tenun' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
