"""The text of a graph for people: as much of the weights as asked for, and colours for a terminal."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from ..errors import RunError
from ..ir.graph import Graph, Var
from ..ir.text import constant_text, graph_text
from .weights import statistics


def _with_statistics(var: Var) -> str:
    return f"{constant_text(var)}  // {statistics(var.data) or 'no numbers'}"


# how much of a weight is shown: all but `none` can be parsed again, `full` without the weights beside the text
WEIGHTS: dict[str, Callable[[Var], str]] = {
    "none": lambda var: "",
    "hash": constant_text,
    "stats": _with_statistics,
    "full": lambda var: constant_text(var, inf),
}


def listing(graph: Graph, weights: str = "hash") -> str:
    """The text of a graph; of its weights the type alone ("none"), the digest ("hash": what `str(graph)` gives), the
    statistics too ("stats"), or every element ("full").
    """
    if weights not in WEIGHTS:
        raise RunError(f"weights cannot be shown as {weights!r}", hint=f"one of {', '.join(WEIGHTS)}")
    return graph_text(graph, WEIGHTS[weights])


# what is coloured how; of two that cover a character the later one wins
COLOURS = (
    ("magenta", r"(?<=[:<] )(?:seq|optional|map)<|\b[a-z]+\d*\w*\[[^\]\[]*\](?=[ ,)>]|$)"),  # types
    ("bold cyan", r"(?<== )[a-z]\w*(?=\()"),  # ops
    ("bold", r"^\s*(?:\w+: )?graph|^\s*(?:metadata|state)\b"),
    ("yellow", r"(?<=[{ ])[a-z]\w*(?= = )"),  # attributes
    ("green", r'@(?:"(?:[^"\\]|\\.)*"|[\w./-]+)'),  # weights
    ("blue", r'%(?:"(?:[^"\\]|\\.)*"|[\w./-]+)'),  # values
    ("dim", r"sha256:[0-9a-f]+"),
    ("dim italic", r"  // .*$"),  # layers and notes
)


def coloured(text: str) -> Any:
    """The text of a graph in colours, for a console of rich."""
    from re import MULTILINE, compile

    from rich.text import Text

    drawn = Text(text, no_wrap=True)
    for style, pattern in COLOURS:
        drawn.highlight_regex(compile(pattern, MULTILINE), style)  # type: ignore[arg-type]
    return drawn
