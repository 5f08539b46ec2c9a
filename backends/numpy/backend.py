"""The NumPy backend's door: what `backends.base.Backend` asks for."""

from __future__ import annotations

from ...ir.graph import Graph
from ...passes.manager import pipeline
from ..base import DEFAULT, Options
from .evaluate import evaluate
from .program import Program, checked
from .shards import ShardedProgram
from .storage import Resident

__all__ = ["checked", "evaluate", "pipeline", "program"]


def program(graph: Graph, options: Options = DEFAULT, resident: Resident | None = None) -> Program | ShardedProgram:
    """The graph as a function on arrays; batches are cut over threads where samples are independent.

    `resident`: arrays in which states live, see `Program`.
    """
    return ShardedProgram(graph, options, resident)
