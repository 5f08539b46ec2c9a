"""Functions of the caller's in the place of layers and activations: `custom_objects={"name": function}`.

A function whose first parameter is called `b` or `builder` gets the builder of the graph and what the layer gets, as
Vars: f(b, x).  Any other function is a plain one, of tensors: it is called as Keras would call it, f(x), with
`tenun.Value`s that stand for what comes at run time and record what is done with them.  In both cases x is the list
(or dict) of inputs where the layer takes several; what else the call or the `arguments` of a Lambda say is given by
name, and so are `mask` and `training` to functions that have parameters of these names.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import TenunError, UnsupportedError
from ...ir import Builder, Var
from ...layers import Layer

BUILDER = ("b", "builder")  # names of a first parameter

HINT = (
    "pass custom_objects={'ClassName': ...}: a subclass of tenun.layers.Layer, a function f(b, x) of the builder and "
    "the input, or a plain function f(x) of tenun.Values, such as lambda x: x / 255"
)


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function; none where it does not tell."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def takes_builder(function: Callable[..., Any]) -> bool:
    """Whether a function is one of the builder."""
    found = parameters(function)
    return bool(found) and found[0].name in BUILDER


def called(function: Callable[..., Any], name: str, b: Builder, x: Any, **more: Any) -> Any:
    """The Vars that a function makes of x and what else it is given by name; UnsupportedError where it fails."""
    try:
        if takes_builder(function):
            return function(b, x, **more)
        from ...value.graphs import recorded

        return recorded(b, function, x, **more)
    except TenunError as error:
        raise error.at(node=name) from None
    except Exception as error:  # whatever the caller's own code raises
        kind = "the builder and Vars" if takes_builder(function) else "tenun.Values"
        raise UnsupportedError(
            f"layer {name!r}: the function {_name(function)} fails on {kind}: {type(error).__name__}: {error}",
            node=name,
            hint="a plain function may use operators and methods of tenun.Value and the functions beside it",
        ) from error


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def activation(function: Callable[..., Any]) -> Callable[..., Any]:
    """An activation as layers call it, f(b, x), from either kind of function."""
    if takes_builder(function):
        return function

    @functools.wraps(function)
    def of_builder(b: Builder, x: Var) -> Any:
        return called(function, _name(function), b, x)

    return of_builder


class FunctionLayer(Layer):
    """A function given in custom_objects in place of a layer; `arguments` are given to it by name."""

    def __init__(
        self, name: str, original: str, function: Callable[..., Any], dtype: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name=name, dtype=dtype)
        self.function, self.original, self.arguments = function, original, dict(arguments or {})
        names = [p.name for p in parameters(function) if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.call_arguments = tuple(names[1 + takes_builder(function) :])  # type: ignore[misc]
        self.wanted = {p.name for p in parameters(function)}

    @property
    def class_name(self) -> str:
        return self.original

    def lower(self, b: Any, x: Any, w: Any, mask: Any = None, **options: Any) -> Any:
        told = {"mask": mask, "training": w.training}
        given = {**self.arguments, **options, **{k: v for k, v in told.items() if k in self.wanted}}
        return called(self.function, self.name or self.original, b, x, **given)

    def children(self) -> Any:
        return iter(())
