"""The summary of a model as HTML, for notebooks: nested models open and close, without any script."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from ..errors import TenunError
from ..executable import Executable, random_inputs
from ..ir.graph import Graph
from .memory import memory_of
from .summary import FIGURES, HEADINGS, Row, Summary, memory_text, row_cells, shown_columns, summarize, totals

MOST = 2000  # rows

STYLE = """
.tenun { font: 12px/1.5 ui-monospace, monospace; overflow-x: auto; }
.tenun .row { display: grid; gap: 0 1.2em; padding: 1px 4px; grid-template-columns: var(--columns); min-width: 60em; }
.tenun .row > * { overflow-wrap: anywhere; }
.tenun .head { font-weight: bold; border-bottom: 1px solid; }
.tenun .figure { text-align: right; }
.tenun details > summary { cursor: pointer; list-style: none; }
.tenun details > summary .name::before { content: "\\25b8 "; }
.tenun details[open] > summary .name::before { content: "\\25be "; }
.tenun dl { display: grid; grid-template-columns: max-content auto; gap: 0 1.2em; margin: 6px 4px; }
.tenun dt, .tenun dd { margin: 0; }
"""
WIDTHS = {"layer": "3fr", "ops": "2fr", "result": "2fr", "connected to": "2fr"}  # of columns; figures have 1fr


def graph_html(graph: Graph) -> str:
    """The summary of a graph."""
    return summary_html(summarize(graph))


def executable_html(executable: Executable) -> str:
    """The summary of what a compiled model runs, what the passes made of it, and the memory for one sample."""
    nodes = f"{len(executable.graph)} as loaded, {len(executable.optimized)} after {len(executable.records)} passes"
    about = [("nodes", nodes), ("backend", executable.backend_name)]
    try:
        plan = executable.plan(**random_inputs(executable.graph))
        about.append(("memory", memory_text(memory_of(plan))))
    except TenunError:  # such as an input of unknown rank
        pass
    return summary_html(summarize(executable.optimized), about)


def summary_html(summary: Summary, more: list[tuple[str, str]] | None = None) -> str:
    """A summary as an HTML fragment with a style of its own; `more` are lines below it."""
    return "".join(_page(summary, more or []))


def _page(summary: Summary, more: list[tuple[str, str]]) -> Iterator[str]:
    columns = shown_columns(summary)
    widths = " ".join(WIDTHS.get(HEADINGS[i], "1fr") for i in columns)
    yield f'<div class="tenun" style="--columns: {widths}"><style>{STYLE}</style><b>{escape(summary.name)}</b>'
    yield _line("div", " head", HEADINGS, columns, 0)
    budget = iter(range(MOST))
    for row in summary.tree:
        yield from _row(row, "", columns, 0, budget)
    if next(budget, None) is None:
        yield f"<div>only the first {MOST} rows are shown</div>"
    yield "<dl>"
    for name, text in [*totals(summary), *more]:
        yield f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
    yield "</dl></div>"


def _row(row: Row, path: str, columns: list[int], depth: int, budget: Iterator[int]) -> Iterator[str]:
    if next(budget, None) is None:
        return
    cells = row_cells(row, row.layer.removeprefix(path))
    if not row.inside:
        yield _line("div", "", cells, columns, depth)
        return
    yield f"<details>{_line('summary', '', cells, columns, depth)}"
    for each in row.inside:
        yield from _row(each, f"{row.layer}/", columns, depth + 1, budget)
    yield "</details>"


def _line(tag: str, kind: str, cells: Any, columns: list[int], depth: int) -> str:
    spans = []
    for i in columns:
        name = "name" if i == 0 else "figure" if HEADINGS[i] in FIGURES else ""
        indent = f' style="padding-left: {1.2 * depth:g}em"' if i == 0 and depth else ""
        spans.append(f'<span class="{name}"{indent}>{escape(cells[i])}</span>')
    return f'<{tag} class="row{kind}">{"".join(spans)}</{tag}>'
