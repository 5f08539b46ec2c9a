"""Operators that the caller defines: `custom_ops={("domain", "Op"): function}`.

A function whose first parameter is called `b` or `builder` gets the builder of the graph, then the node's inputs as
Vars (None where one is left out), and its attributes by name: f(b, x, y, alpha=1.0).  It adds core ops, such as
`b.mul(x, y)`, and returns a Var for the only output or a list with one for each.  Any other function is a plain one of
tensors, f(x, y, alpha=1.0): `tenun.Value`s stand for what comes at run time and record what is done with them.

In both cases what the function makes are core ops: they are optimised, differentiated, printed, saved and written as
those of known operators are, and the function itself is not needed again.  It comes before an operator that is known,
but behind a function of that name which the model itself defines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import TenunError, UnsupportedError
from ...ir.builder import Builder
from ...ir.graph import Var

Function = Callable[..., Any]
Key = tuple[str, str]

HINT = "pass custom_ops={('domain', 'Op'): f}: f(b, *inputs, **attributes) of the builder, or a plain f(*inputs, ...)"


def checked(custom_ops: Mapping[Any, Any] | None) -> dict[Key, Function]:
    """The functions by domain and operator; UnsupportedError for keys and values of other kinds."""
    found: dict[Key, Function] = {}
    for key, function in (custom_ops or {}).items():
        pair = isinstance(key, tuple) and len(key) == 2 and all(isinstance(k, str) for k in key)
        if not pair or not callable(function):
            raise UnsupportedError(f"custom_ops has an entry {key!r}: {type(function).__name__}", hint=HINT)
        domain, name = key
        found["" if domain == "ai.onnx" else domain, name] = function
    return found


def lowered(b: Builder, function: Function, op: str, operands: Sequence[Var | None], attrs: Mapping[str, Any]) -> Any:
    """The Vars that a function makes of a node's inputs and attributes; UnsupportedError where it fails."""
    from ...value.graphs import recorded
    from ..keras.functions import takes_builder

    builder = takes_builder(function)
    try:
        if builder:
            result = function(b, *operands, **attrs)
        else:
            result = recorded(b, lambda inputs: function(*inputs, **attrs), list(operands))
    except TenunError:
        raise
    except Exception as error:  # whatever the caller's own code raises
        raise UnsupportedError(
            f"the function for {op} fails on {'the builder and Vars' if builder else 'tenun.Values'}: "
            f"{type(error).__name__}: {error}",
            op=op,
            hint=HINT,
        ) from error
    results = result if isinstance(result, (tuple, list)) else (result,)
    wrong = [type(v).__name__ for v in results if v is not None and not isinstance(v, Var)]
    if wrong:
        raise UnsupportedError(f"the function for {op} returns {wrong[0]}, expected Vars or Values", op=op, hint=HINT)
    return results
