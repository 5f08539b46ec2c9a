"""`keras.ops` functions among the layers of a functional model.

Keras 3 writes them for whatever is computed with tensors between layers, and for masks (`NotEqual`, `Any`, ...).  One
row an operation in `OPERATIONS`, one file for each of Keras' modules (that of `keras.ops.numpy` in four); `FAMILIES`
has the module of keras.src.ops where the class is.  `REFUSED` tells why some cannot be in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ...ir import Builder
from ..base import Layer, flatten
from ..model import Operator
from . import array, core, elementwise, image, linalg, math, nn, products, reduce  # noqa: F401 - they fill the table
from .common import FAMILIES, OPERATIONS, Function, evaluated
from .core import REFUSED
from .tensorflow import TENSORFLOW

if TYPE_CHECKING:
    from ..lowering import Scope


class Operation(Operator):
    """A row of OPERATIONS with its config; a node of the functional model, no layer of its own."""

    functions: ClassVar[Mapping[str, Function]] = OPERATIONS
    shown_as: ClassVar[str] = "keras.ops."  # before the name, in errors

    def __init__(self, operation: str, config: dict[str, Any]) -> None:
        super().__init__(name=config.get("name"))
        self.operation = operation
        own = {k: v for k, v in config.items() if k != "name"}
        self.config = {k: v for k, v in own.items() if k != "dtype" or isinstance(v, str)}  # a dict is a policy

    @property
    def class_name(self) -> str:
        return self.operation

    def lower(self, b: Builder, x: Any, w: Scope) -> Any:
        given = {k: v for k, v in x["kwargs"].items() if v is not None}
        try:
            return evaluated(self.functions[self.operation](b, *x["args"], **{**self.config, **given}))
        except TypeError as error:
            raise self.invalid(f"{self.shown_as}{self.operation} with {self.config}: {error}") from None
        except AttributeError as error:
            kinds = ", ".join(type(v).__name__ for v in flatten(x))
            raise self.invalid(f"{self.shown_as}{self.operation} on {kinds}: {error}") from None

    def children(self) -> Any:
        return iter(())


class TensorFlowOperation(Operation):
    """A function of TensorFlow's that keras.ops has not: a row of TENSORFLOW."""

    functions: ClassVar[Mapping[str, Function]] = TENSORFLOW
    shown_as: ClassVar[str] = ""


__all__ = ["FAMILIES", "OPERATIONS", "REFUSED", "TENSORFLOW", "Layer", "Operation", "TensorFlowOperation"]
