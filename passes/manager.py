"""Passes and pipelines.

A pass is a function `pass(graph, context) -> int` with a name and a doc line: it changes the graph in place and returns
how many changes it made.  The graph verifies before and after, not necessarily during.  A pipeline is a list of names;
`PassManager` runs it, times each pass, verifies after each where asked to (the graph's structure, or its numbers too),
and can keep the text after each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast

from ..errors import GraphError, TenunError
from ..ir.graph import Graph, Var
from ..ir.records import record
from ..ir.verify import verify

if TYPE_CHECKING:
    from .algorithms import Prices, Tuner
    from .fold import Memo
    from .memory import Life
    from .recompute import Budget
    from .selfcheck import Numbers

VARIABLE = "TENUN_VERIFY"


@dataclass
class Context:
    """What passes may need from outside.

    `evaluate(op, operands, attrs, dynamic, graphs) -> arrays` computes a node (a backend's), so that folding has the
    semantics of the kernels; None: nothing is folded.  `fold_limit`: bytes above which a constant is not made.
    `budget`: the memory that `recompute` has to come by with; None: all that there is.  `exact`: no algorithm that
    rounds more than the one it replaces; `tuner`: measures candidates of `algorithms`; `prices`: what they cost where
    they are not measured (None: with NumPy); `memo`: what was folded from constants before, for graphs that share them;
    `lives(graph)`: the buffers of a plan of a graph of concrete shapes.
    """

    evaluate: Callable[..., tuple[Any, ...]] | None = None
    fold_limit: int = 64 << 20
    budget: Budget | None = None
    exact: bool = False
    tuner: Tuner | None = None
    prices: Prices | None = None
    memo: Memo | None = None
    lives: Callable[[Graph], Sequence[Life]] | None = None


Pass = Callable[[Graph, Context], int]
Verify = bool | Literal["structure", "numbers"]


@record
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
        "fuse", "fold", "cse", "sums", "remember", "chains", "dce",
    ),
    # what serves any engine: a graph to be written
    "exchange": (
        "fold", "dce", "cse", "hoist", "simplify", "movements", "directions", "layout", "reshapes", "fold", "recognize",
        "simplify", "batchnorm", "padding", "fold", "cse", "dce",
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


def up_to(name: str, passes: str | Sequence[str] = "inference") -> tuple[str, ...]:
    """The passes of a pipeline up to a pass's first turn, or the turn that `name:turn` says; GraphError lists them."""
    names = pipeline(passes)
    wanted, _, turn = name.partition(":")
    places = [i for i, p in enumerate(names) if p == wanted]
    number = int(turn) if turn.isdigit() else 1 if not turn else 0
    if not 1 <= number <= len(places):
        what = f"has {len(places)} turns" if places else "is not in the pipeline"
        known = ", ".join(dict.fromkeys(names))
        asked = f", asked for is {name!r}" if turn else ""
        raise GraphError(f"pass {wanted!r} {what}{asked}", hint=f"passes: {known}")
    return names[: places[number - 1] + 1]


@record
class Record:
    """What one pass did: changes made, seconds, nodes afterwards, and the text afterwards where kept."""

    name: str
    changes: int
    seconds: float
    nodes: int
    text: str | None


@dataclass
class PassManager:
    """Runs passes over a graph.  `records` tells what happened.

    `verify_each` re-checks the graph after every pass: "structure" (or True) its types, order and uses, "numbers" also
    its results, on the inputs of `sample` (by default seeded ones; see `selfcheck`).  The variable TENUN_VERIFY of
    the environment ("structure", "numbers") asks for at least that much.
    """

    passes: Sequence[str]
    context: Context = field(default_factory=Context)
    verify_each: Verify = False
    keep_text: bool = False
    observe: Callable[[str, Graph], None] | None = None
    records: list[Record] = field(default_factory=list)
    sample: Mapping[str, Any] | None = None
    _settled: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        asked = os.environ.get(VARIABLE)
        if asked and (asked == "numbers" or not self.verify_each):
            self.verify_each = cast("Verify", asked)

    def run(self, graph: Graph) -> Graph:
        """Apply the passes in order to the graph itself; an error names the pass that failed and those before it."""
        self._settled.clear()
        numbers = self._numbers(graph)
        for name in self.passes:
            start = perf_counter()
            try:
                twin, origin = _remembered(graph) if numbers else (graph, {})
                changes = self._run(find(name), graph)
                if self.verify_each:
                    verify(graph)
                if numbers and changes:
                    numbers.check(name, twin, origin, graph)
            except TenunError as error:
                before = ", ".join(r.name for r in self.records) or "none"
                error.message = f"pass {name!r} failed (passes before it: {before}): {error.message}"
                raise
            seconds = perf_counter() - start
            self.records.append(Record(name, changes, seconds, len(graph), str(graph) if self.keep_text else None))
            if self.observe is not None:
                self.observe(name, graph)
        return graph

    def _run(self, one: PassInfo, graph: Graph) -> int:
        """Run a pass, unless it had nothing to do when the graph was the same."""
        version = graph.version
        if self._settled.get(one.name) == version:
            return 0
        changes = one.run(graph, self.context)
        if not changes and graph.version == version:
            self._settled[one.name] = version
        return changes

    def _numbers(self, graph: Graph) -> Numbers | None:
        """What checks the results, if that is asked for."""
        if self.verify_each not in (False, True, "structure", "numbers"):
            raise GraphError(f"verify is {self.verify_each!r}", hint='"structure", "numbers", True or False')
        if self.verify_each != "numbers" or self.context.evaluate is None:
            return None
        from .selfcheck import Numbers

        return Numbers(graph, self.context.evaluate, self.sample)


def _remembered(graph: Graph) -> tuple[Graph, dict[Var, Var]]:
    """A copy of a graph, and the values of the copy by those of the graph."""
    copy = graph.copy()
    pairs = zip(graph.nodes, copy.nodes)
    return copy, {v: w for node, twin in pairs for v, w in zip(node.outputs, twin.outputs)}


def optimize(graph: Graph, passes: str | Iterable[str], context: Context | None = None, **options: Any) -> Graph:
    """An optimised copy of the graph."""
    names = pipeline(passes if isinstance(passes, str) else tuple(passes))
    return PassManager(names, context or Context(), **options).run(graph.copy())
