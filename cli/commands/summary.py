"""`tenun summary`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from ...errors import TenunError
from ..shell import Model, app, busy, compiled, examples, loaded, option, screen

if TYPE_CHECKING:
    from ...executable import Executable
    from ...ir.graph import Graph


@app.command(
    epilog=examples(
        "tenun summary model.keras", "tenun summary model.keras --depth 0", "tenun summary model.onnx --memory"
    )
)
def summary(
    model: Model,
    memory: Annotated[bool, option("--memory", help="Draw the memory plan for one sample.")] = False,
    depth: Annotated[
        int | None, option("--depth", min=0, metavar="N", help="Open nested models so deep (default: all of them).")
    ] = None,
) -> None:
    """Print a table of the layers: results, parameters, operations, memory."""
    from ...debug.memory import memory_of, memory_picture
    from ...debug.summary import memory_rows, summarize, table, totals

    graph, trained = _with_trained(model)
    figures = summarize(graph, trained)
    console = screen()
    console.print(table(figures, depth, console.width))
    try:
        plan = _plan(compiled(graph))
    except TenunError as error:  # e.g. an input of unknown rank: the table is still worth having
        print(f"warning: no memory plan: {error}", file=sys.stderr)
        plan = None
    for name, text in totals(figures, memory_of(plan) if plan else None):
        console.print(f"{name:<11} {text}")
    if memory and plan:
        for name, text in memory_rows(memory_of(plan)):
            console.print(f"{name:<11} {text}")
        console.print()
        for line in memory_picture(plan, max(16, min(48, console.width - 60))):
            console.print(line, no_wrap=True, overflow="ellipsis")


def _with_trained(model: str) -> tuple[Graph, dict[str, bool] | None]:
    """The graph of a model file, and which weights are trained, where the file says so: Keras' do."""
    from ...api import load_model

    try:
        with busy(f"loading {model}"):
            found = load_model(model, compile=False)
            return found.graph(), found.trained
    except TenunError:  # no file of Keras', or a broken one: loading it as a graph says what is wrong
        return loaded(model), None


def _plan(executable: Executable) -> Any:
    from ...executable import random_inputs

    return executable.plan(**random_inputs(executable.graph))
