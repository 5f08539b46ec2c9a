"""`tenun dump`: which part of a graph, in which form, and the page that shows all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RunError
from ..files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..debug.profile import Profile
    from ..executable import Executable
    from ..ir.graph import Graph

SHOWS_WEIGHTS = ("text", "json")


def part_of(graph: Graph, layer: str | None, around: str | None, radius: int) -> Graph:
    """The graph, or the part of it that was asked for."""
    from ..debug import part

    if layer and around:
        raise RunError("--layer and --around exclude each other")
    if layer:
        return part.layer(graph, layer)
    return part.around(graph, around, radius) if around else graph


def rendered(graph: Graph, form: str, weights: str | None) -> str:
    """The graph as text, dot, mermaid, json or svg."""
    from ..debug import draw, render
    from ..debug.listing import listing

    if weights and form not in SHOWS_WEIGHTS:
        raise RunError(f"--weights does not go with --format {form}", hint=f"use {' or '.join(SHOWS_WEIGHTS)}")
    if form == "text":
        return listing(graph, weights or "hash") + "\n"
    if form == "json":
        return render.to_json(graph, weights or "hash")
    if form == "svg":
        return draw.svg(graph).decode()
    return render.to_dot(graph) if form == "dot" else render.to_mermaid(graph)


def show(text: str, form: str, console: Any) -> None:
    """Print it; in colours where the console is a terminal and the form has any."""
    if form == "text" and console.is_terminal and not console.no_color:
        from ..debug.listing import coloured

        console.print(coloured(text), end="", soft_wrap=True)
    else:
        console.file.write(text)


def write_page(
    executable: Executable, path: str, inputs: Mapping[str, Any], found: Profile | None = None, first: str = "graph"
) -> None:
    """Write the HTML page of a compiled model."""
    from ..debug.viewer import to_html

    write_atomically(path, to_html(executable, inputs, found=found, first=first).encode())
