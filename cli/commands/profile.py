"""`tenun profile`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from ..shell import Model, Threads, app, busy, compiled, examples, loaded, option, screen


class By(str, Enum):
    """What a row of a profile is."""

    layer = "layer"
    node = "node"
    op = "op"
    step = "step"


class Peer(str, Enum):
    """What a profile is compared with."""

    ort = "ort"
    keras = "keras"


@app.command(
    epilog=examples(
        "tenun profile model.keras --batch 32",
        "tenun profile model.onnx --by step --top 10 --threads 1",
        "tenun profile model.keras --batch 64 --trace trace.json --json profile.json",
        "tenun profile model.onnx --batch 8 --vs ort",
    )
)
def profile(
    model: Model,
    batch: Annotated[int, option("--batch", min=1, metavar="N", help="Samples in a run (default: 1).")] = 1,
    by: Annotated[By, option("--by", help="What a row is (default: layer).")] = By.layer,
    top: Annotated[int, option("--top", min=1, metavar="N", help="Rows to show, longest first (default: 40).")] = 40,
    rounds: Annotated[int, option("--rounds", min=1, metavar="N", help="Timed runs (default: 20).")] = 20,
    threads: Threads = None,
    backend: Annotated[str, option("--backend", metavar="NAME", help="What runs it (default: numpy).")] = "numpy",
    seed: Annotated[int, option("--seed", metavar="N", help="The seed of the random inputs (default: 0).")] = 0,
    trace: Annotated[
        str | None, option("--trace", metavar="FILE", help="Write a timeline for chrome://tracing or ui.perfetto.dev.")
    ] = None,
    json: Annotated[str | None, option("--json", metavar="FILE", help="Write all figures as JSON.")] = None,
    html: Annotated[
        str | None, option("--html", metavar="FILE", help="Write a page: time by layer, roofline, memory, the graph.")
    ] = None,
    vs: Annotated[
        Peer | None, option("--vs", help="Time ONNX Runtime or Keras on the same file and inputs, too.")
    ] = None,
) -> None:
    """Show where the time of a run goes: layers, ops or steps, operations, bytes, share of what this machine can do."""
    from ...executable import random_inputs
    from .. import graphs, race

    peer = race.peer_run(vs.value, model, threads) if vs else None
    executable = compiled(loaded(model), threads=threads, backend=backend)
    inputs = random_inputs(executable.graph, batch, seed)
    console = screen()
    with busy("profiling"):
        found = executable.profile(inputs, rounds=rounds)
    found.show(by.value, top, console)
    result = None
    if peer and vs:
        with busy(f"timing {vs.value}"):
            result = race.race(executable, peer, vs.value, inputs, rounds)
        for line in result.lines():
            console.print(line)
    for file in race.write(found, result, trace, json):
        console.print(f"wrote {file}")
    if html:
        graphs.write_page(executable, html, inputs, found, "profile")
        console.print(f"wrote {html}")
