"""The intermediate representation: types, graph, ops, builder, text, verifier.  It imports nobody but errors."""

from .attributes import Activation
from .builder import Builder
from .dims import symbol
from .graph import Graph, Node, State, Var
from .text import parse
from .types import DType, Optional, Sequence, Tensor, dtype
from .verify import verify

__all__ = [
    "Activation", "Builder", "DType", "Graph", "Node", "Optional", "Sequence", "State", "Tensor", "Var", "dtype",
    "parse", "symbol", "verify",
]  # fmt: skip
