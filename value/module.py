"""`Module`: what owns parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import UnsupportedError
from .tensor import Value


class Module:
    """What owns parameters: Values with `requires_grad` in its attributes, in lists, tuples and dicts, and in modules.

    class Dense(Module):
        def __init__(self, inputs: int, units: int) -> None:
            self.kernel = Value(np.random.randn(inputs, units) / inputs**0.5, requires_grad=True)

        def forward(self, x: Value) -> Value:
            return (x @ self.kernel).relu()
    """

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the module computes, written by the subclass."""
        raise UnsupportedError(f"{type(self).__name__} has no forward", hint="define forward(self, x)")

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self.forward(*inputs, **named)

    def parameters(self) -> list[Value]:
        """All parameters, each once, in the order in which attributes were set (depth first)."""
        return list({id(p): p for p in _parameters(self, set())}.values())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None


def _parameters(thing: Any, seen: set[int]) -> Iterator[Any]:
    """The parameters below an object; foreign objects with a method `parameters` (models) are asked for theirs."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    own = type(thing).parameters is Module.parameters if isinstance(thing, Module) else False
    if isinstance(thing, Value):
        if thing.requires_grad and thing.is_leaf:
            yield thing
    elif own or isinstance(thing, (list, tuple, dict)):
        below = vars(thing) if own else thing
        for part in below.values() if isinstance(below, dict) else below:
            yield from _parameters(part, seen)
    elif not isinstance(thing, type) and callable(getattr(thing, "parameters", None)):
        yield from thing.parameters()
