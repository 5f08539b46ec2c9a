"""Passes and pipelines.

A pass is a function `pass(graph, context) -> int` with a name and a doc line: it changes the graph in place and returns
how many changes it made.  The graph verifies before and after, not necessarily during.  A pipeline is a list of names;
`PassManager` runs it, times each pass, verifies after each where asked to, and can keep the text after each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import GraphError, TenunError
from ..ir.graph import Graph
from ..ir.verify import verify

if TYPE_CHECKING:
    from .algorithms import Tuner
    from .fold import Memo
    from .memory import Life
    from .recompute import Budget


@dataclass
class Context:
    """What passes may need from outside.

    `evaluate(op, operands, attrs, dynamic, graphs) -> arrays` computes a node (a backend's), so that folding has the
    semantics of the kernels; None: nothing is folded.  `fold_limit`: bytes above which a constant is not made.
    `budget`: the memory that `recompute` has to come by with; None: all that there is.  `exact`: no algorithm that
    rounds more than the one it replaces; `tuner`: measures candidates of `algorithms`; `memo`: what was folded from
    constants before, for graphs that share them; `lives(graph)`: the buffers of a plan of a graph of concrete shapes.
    """

    evaluate: Callable[..., tuple[Any, ...]] | None = None
    fold_limit: int = 64 << 20
    budget: Budget | None = None
    exact: bool = False
    tuner: Tuner | None = None
    memo: Memo | None = None
    lives: Callable[[Graph], Sequence[Life]] | None = None


Pass = Callable[[Graph, Context], int]


@dataclass(frozen=True)
class PassInfo:
    """A registered pass."""

    name: str
    doc: str
    run: Pass


PASSES: dict[str, PassInfo] = {}

PIPELINES: dict[str, tuple[str, ...]] = {
    "none": (),
    "inference": (
        "fold", "dce", "cse", "hoist", "stack", "simplify", "strength", "movements", "directions", "layout", "reshapes",
        "fold", "recognize", "attention", "simplify", "reassociate", "batchnorm", "pooling", "padding", "fuse", "fold",
        "cse", "dce",
    ),
    "training": (
        "fold", "dce", "cse", "hoist", "simplify", "strength", "movements", "layout", "reshapes", "fold", "padding",
        "fuse", "fold", "cse", "remember", "chains", "dce",
    ),
    "specialize": ("fold", "dce", "algorithms", "fold", "schedule", "recompute"),
}  # fmt: skip


def register(run: Pass) -> Pass:
    """Enter a pass under its function's name; its doc's first line describes it."""
    name = run.__name__.rstrip("_").replace("_", "-")
    assert name not in PASSES, f"pass {name} is registered twice"
    assert run.__doc__, f"pass {name} has no doc"
    PASSES[name] = PassInfo(name, run.__doc__.partition("\n")[0], run)
    return run


def find(name: str) -> PassInfo:
    """The pass called name; GraphError lists those there are."""
    if name not in PASSES:
        from . import load_all, load_one

        load_one(name)
    if name not in PASSES:
        load_all()
        raise GraphError(f"no pass is called {name!r}", hint=f"passes: {', '.join(PASSES)}")
    return PASSES[name]


def pipeline(name_or_passes: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the passes of a pipeline; GraphError lists the pipelines there are."""
    if not isinstance(name_or_passes, str):
        return tuple(name_or_passes)
    if name_or_passes not in PIPELINES:
        raise GraphError(f"no pipeline is called {name_or_passes!r}", hint=f"pipelines: {', '.join(PIPELINES)}")
    return PIPELINES[name_or_passes]


@dataclass(frozen=True)
class Record:
    """What one pass did: changes made, seconds, nodes afterwards, and the text afterwards where kept."""

    name: str
    changes: int
    seconds: float
    nodes: int
    text: str | None


@dataclass
class PassManager:
    """Runs passes over a graph.  `records` tells what happened; `verify_each` re-checks the graph after every pass."""

    passes: Sequence[str]
    context: Context = field(default_factory=Context)
    verify_each: bool = False
    keep_text: bool = False
    observe: Callable[[str, Graph], None] | None = None
    records: list[Record] = field(default_factory=list)

    def run(self, graph: Graph) -> Graph:
        """Apply the passes in order to the graph itself; an error names the pass that failed and those before it."""
        for name in self.passes:
            start = perf_counter()
            try:
                changes = find(name).run(graph, self.context)
                if self.verify_each:
                    verify(graph)
            except TenunError as error:
                before = ", ".join(r.name for r in self.records) or "none"
                error.message = f"pass {name!r} failed (passes before it: {before}): {error.message}"
                raise
            seconds = perf_counter() - start
            self.records.append(Record(name, changes, seconds, len(graph), str(graph) if self.keep_text else None))
            if self.observe is not None:
                self.observe(name, graph)
        return graph


def optimize(graph: Graph, passes: str | Iterable[str], context: Context | None = None, **options: Any) -> Graph:
    """An optimised copy of the graph."""
    names = pipeline(passes if isinstance(passes, str) else tuple(passes))
    return PassManager(names, context or Context(), **options).run(graph.copy())
