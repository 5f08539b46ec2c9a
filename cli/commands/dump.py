"""`tenun dump`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from ...errors import RunError
from ..shell import Model, app, busy, compiled, examples, loaded, option, screen


class Weights(str, Enum):
    """How much of its weights a dump shows."""

    none = "none"
    hash = "hash"
    stats = "stats"
    full = "full"


class Format(str, Enum):
    """How a graph is written."""

    text = "text"
    dot = "dot"
    mermaid = "mermaid"
    json = "json"
    svg = "svg"


@app.command(
    epilog=examples(
        "tenun dump model.keras",
        "tenun dump model.keras --html model.html",
        "tenun dump model.onnx --raw --weights stats",
        "tenun dump model.onnx --after layout",
        "tenun dump model.keras --around conv_2 --radius 2",
        "tenun dump model.keras --format svg -o model.svg",
        "tenun dump model.keras --format dot | dot -Tpdf > model.pdf",
    )
)
def dump(
    model: Model,
    after: Annotated[
        str | None, option("--after", metavar="PASS", help="The graph after this pass; PASS:2 after its second turn.")
    ] = None,
    raw: Annotated[bool, option("--raw", help="The graph as loaded, before any pass.")] = False,
    format_: Annotated[Format, option("--format", "-f", help="How to write it (default: text).")] = Format.text,
    output: Annotated[
        str | None, option("--output", "-o", metavar="FILE", help="Write to a file instead of the screen.")
    ] = None,
    weights: Annotated[
        Weights | None, option("--weights", help="How much of each weight (text and json; default: hash).")
    ] = None,
    layer: Annotated[
        str | None, option("--layer", metavar="PATH", help="Only this layer and those in it; * and ? match.")
    ] = None,
    around: Annotated[
        str | None, option("--around", metavar="NAME", help="Only what is near to a value or a layer.")
    ] = None,
    radius: Annotated[
        int | None, option("--radius", min=0, metavar="N", help="With --around: how many edges away (default: 1).")
    ] = None,
    html: Annotated[
        str | None,
        option("--html", metavar="FILE", help="Write a page: the graph after every pass, weights, memory, time."),
    ] = None,
    batch: Annotated[
        int | None,
        option("--batch", min=1, metavar="N", help="With --html: samples in the run that is timed (default: 1)."),
    ] = None,
) -> None:
    """Print a model's graph, or a part of it: optimised, as loaded, or after one of the passes; or show all of it."""
    from ...executable import random_inputs
    from ...files import write_atomically
    from ...passes.manager import up_to
    from .. import graphs

    if raw and after:
        raise RunError("--raw and --after exclude each other")
    if html:
        if raw or after or layer or around or weights or output or radius is not None or format_ is not Format.text:
            raise RunError("--html shows the whole model after every pass", hint="give the other options without it")
        executable = compiled(loaded(model))
        with busy("drawing"):
            graphs.write_page(executable, html, random_inputs(executable.graph, batch or 1))
        screen().print(f"wrote {html}")
        return
    if radius is not None and not around:
        raise RunError("--radius goes with --around NAME")
    if batch is not None:
        raise RunError("--batch goes with --html FILE")
    graph = loaded(model)
    if not raw:
        graph = compiled(graph, pipeline=up_to(after) if after else "inference").optimized
    graph = graphs.part_of(graph, layer, around, 1 if radius is None else radius)
    text = graphs.rendered(graph, format_.value, weights and weights.value)
    if output:
        write_atomically(output, text.encode())
    else:
        graphs.show(text, format_.value, screen())
