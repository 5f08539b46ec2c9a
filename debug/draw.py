"""Writing drawings of graphs; the suffix of the file chooses the format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import TenunError, UnsupportedError
from ..files import write_atomically
from ..ir.graph import Graph
from . import render
from .picture import picture
from .svg import to_svg

TEXTS: dict[str, Callable[[Graph], str]] = {
    ".txt": lambda graph: f"{graph}\n",
    ".dot": render.to_dot,
    ".gv": render.to_dot,
    ".mmd": render.to_mermaid,
    ".json": render.to_json,
}


def draw(graph: Graph, path: str | Path) -> None:
    """Write a drawing of the graph: `.dot`, `.mmd` (Mermaid), `.json`, `.txt`, `.svg`, or `.png`.

    PNG needs Graphviz (its program `dot` and the package of that name); SVG is better with it and works without.
    """
    suffix = Path(path).suffix.lower()
    if suffix in TEXTS:
        data = TEXTS[suffix](graph).encode()
    elif suffix == ".svg":
        data = svg(graph)
    elif suffix == ".png":
        data = _png(graph, path)
    else:
        hint = f"one of {', '.join((*TEXTS, '.svg', '.png'))}"
        raise UnsupportedError(f"cannot draw {suffix or 'files without suffix'}", file=str(path), hint=hint)
    write_atomically(path, data)


def svg(graph: Graph) -> bytes:
    """The graph as an SVG document, by Graphviz where it is at hand and works."""
    graphviz = _graphviz()
    if graphviz is not None:
        try:
            return bytes(graphviz.pipe("dot", "svg", render.to_dot(graph).encode()))
        except Exception:  # too big for it, or badly installed: our own drawer needs nothing
            pass
    return to_svg(picture(graph)).encode()


def _png(graph: Graph, path: str | Path) -> bytes:
    graphviz = _graphviz()
    if graphviz is None:
        hint = "install Graphviz and `pip install graphviz`, or draw an .svg"
        raise UnsupportedError("drawing PNG needs Graphviz", file=str(path), hint=hint)
    try:
        return bytes(graphviz.pipe("dot", "png", render.to_dot(graph).encode()))
    except (graphviz.ExecutableNotFound, graphviz.CalledProcessError) as error:
        raise TenunError(f"Graphviz failed: {error}", file=str(path), hint="draw an .svg") from None


def _graphviz() -> Any:
    """The package graphviz if it and its program are installed."""
    if shutil.which("dot") is None:
        return None
    try:
        import graphviz
    except ImportError:
        return None
    return graphviz
