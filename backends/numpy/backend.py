"""The NumPy backend's door: what `backends.base.Backend` asks for."""

from __future__ import annotations

from ...ir.graph import Graph
from .evaluate import evaluate
from .plan import Resident
from .program import Program, checked
from .shards import ShardedProgram

__all__ = ["checked", "evaluate", "program"]


def program(
    graph: Graph, threads: int | None = None, resident: Resident | None = None, memory_limit: int | None = None
) -> Program | ShardedProgram:
    """The graph as a function on arrays; batches are cut over `threads` where samples are independent.

    `resident`: arrays in which states live, `memory_limit`: bytes of an arena, see `Program`.
    """
    return ShardedProgram(graph, threads, resident, memory_limit)
