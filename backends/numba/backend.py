"""The numba backend's door: what `backends.base.Backend` asks for."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UnsupportedError
from ...ir.graph import Graph
from ...passes.manager import pipeline as named_pipeline
from ..base import DEFAULT, Options
from ..numpy.evaluate import evaluate
from ..numpy.program import checked
from ..numpy.shards import ShardedProgram
from ..numpy.storage import Resident

try:
    import numba  # noqa: F401
except ImportError as error:
    message = f"backend 'numba' needs numba, which cannot be imported: {error}"
    raise UnsupportedError(message, hint="pip install tenun[jit]") from None

__all__ = ["checked", "evaluate", "pipeline", "program"]


def program(graph: Graph, options: Options = DEFAULT, resident: Resident | None = None) -> ShardedProgram:
    """The graph as a function on arrays, as NumPy's backend makes it, with compiled kernels where there are some."""
    from .registry import table

    return ShardedProgram(graph, options, resident, table())


def pipeline(name_or_passes: str | Sequence[str]) -> tuple[str, ...]:
    """Named pipelines end with chains of elementwise nodes: each becomes one loop."""
    passes = named_pipeline(name_or_passes)
    return (*passes, "chains") if name_or_passes == "inference" else passes
