"""Two models beside each other: `tenun compare`, `tenun diff`."""

from __future__ import annotations

import sys
from typing import Annotated

from ...errors import RunError
from ..shell import app, argument, busy, examples, loaded, option, screen

First = Annotated[str, argument("A", "A .keras, .h5, .onnx or .tenun file.")]
After = Annotated[
    list[str] | None,
    option("--after", metavar="PASS", help="B after this pass (raw, all); twice: A after one, B after the other."),
]


@app.command(
    epilog=examples(
        "tenun compare model.keras model.onnx",
        "tenun compare model.onnx --with ort",
        "tenun compare model.keras model.onnx --with keras --with ort --seeds 3",
        "tenun compare model.keras other.h5 --inputs samples.npz --json report.json",
        "tenun compare model.keras --after raw --after fuse",
        "tenun compare model.onnx --bisect-passes",
    )
)
def compare(
    a: First,
    b: Annotated[
        str | None, argument("B", "Another one (default: the same, on another engine or after passes).")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        option("--inputs", "-i", metavar="FILE", help="Inputs in order, or an .npz with all; again for more sets."),
    ] = None,
    engine: Annotated[
        list[str] | None,
        option(
            "--with",
            metavar="ENGINE",
            help="What runs B: tenun (node by node), numpy, numba (their plans), keras or ort; twice: A's, then B's.",
        ),
    ] = None,
    after: After = None,
    seeds: Annotated[int, option("--seeds", min=1, metavar="N", help="Sets of made-up inputs (default: 1).")] = 1,
    batch: Annotated[int, option("--batch", min=1, metavar="N", help="Samples in made-up inputs (default: 2).")] = 2,
    tolerance: Annotated[
        float | None,
        option("--tolerance", min=0, help="Share of a value's largest element (default: by dtype; float32: 1e-4)."),
    ] = None,
    every: Annotated[bool, option("--values", help="A row for every value, not for every layer.")] = False,
    quiet: Annotated[bool, option("--differing", help="Only rows that differ.")] = False,
    bisect: Annotated[
        bool, option("--bisect-passes", help="Find the pass that changes a result of A (and of B) beyond tolerance.")
    ] = False,
    json: Annotated[str | None, option("--json", metavar="FILE", help="Write all figures as JSON.")] = None,
) -> None:
    """Find where two models part: run both, and compare what their layers give.  Exit status 1 if they differ."""
    from .. import sides

    if bisect and (engine or after or json or tolerance is not None):
        hint = "leave --with, --after, --tolerance and --json out"
        raise RunError("--bisect-passes looks at each file by itself, pass by pass", hint=hint)
    files = dict.fromkeys([a, b or a])
    graphs = {file: loaded(file) for file in files}
    given = sides.given_inputs(graphs[a], inputs or [], batch, seeds)
    if bisect:
        blamed = {file: sides.bisect(graph, given) for file, graph in graphs.items()}
        for file, blame in blamed.items():
            print(f"{file}: {blame or 'no pass changes a result'}")
        sys.exit(any(blamed.values()))
    pair = sides.subjects(a, b, graphs, after or [], engine or [])
    with busy("comparing"):
        found = sides.run(pair, given, tolerance)
    console = screen()
    console.print(sides.table(found, every, quiet))
    for line in sides.lines(found):
        print(line)
    if json:
        sides.write(found, json)
        print(f"wrote {json}")
    if not found.same:
        sys.exit(1)


@app.command(
    epilog=examples(
        "tenun diff old.keras new.keras",
        "tenun diff model.keras model.onnx --json",
        "tenun diff old.keras new.keras --html changes.html",
        "tenun diff model.keras --after raw --after fuse",
    )
)
def diff(
    a: First,
    b: Annotated[str | None, argument("B", "Another one (default: the same, after passes).")] = None,
    after: After = None,
    json: Annotated[bool, option("--json", help="The changes as JSON.")] = False,
    html: Annotated[str | None, option("--html", metavar="FILE", help="Write both side by side, as a page.")] = None,
) -> None:
    """Tell what changed between two models: layers, options, weights.  Exit status 1 if anything did."""
    from .. import sides

    graphs = {file: loaded(file) for file in dict.fromkeys([a, b or a])}
    pair = sides.subjects(a, b, graphs, after or [], [])
    with busy("comparing"):
        text, same = sides.diff(pair, json, html)
    sys.stdout.write(text)
    if not same:
        sys.exit(1)
