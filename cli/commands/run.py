"""`tenun run`."""

from __future__ import annotations

from typing import Annotated, Any

from ..shell import Model, Threads, app, argument, compiled, examples, loaded, option, screen


@app.command(
    epilog=examples(
        "tenun run model.keras photo.jpg --top-k 3 --labels classes.txt",
        "tenun run model.onnx --input tokens=tokens.npy --input mask=mask.npy --output out.npz",
        "tenun run model.keras data.npz:x_test --batch 256 --output predictions.npz",
        "tenun run model.tenun --random --batch 64 --time",
    )
)
def run(
    model: Model,
    files: Annotated[
        list[str] | None, argument("FILE", "Inputs in order: .npy .npz .csv .png .jpg; FILE.npz:NAME.")
    ] = None,
    input_: Annotated[
        list[str] | None, option("--input", "-i", metavar="NAME=FILE", help="An input by name; NAME=random makes it.")
    ] = None,
    random: Annotated[bool, option("--random", help="Make up all inputs that are not given (seeded).")] = False,
    batch: Annotated[
        int | None, option("--batch", min=1, metavar="N", help="Samples at a time; with --random, how many to make.")
    ] = None,
    seed: Annotated[int, option("--seed", metavar="N", help="The seed of random inputs (default: 0).")] = 0,
    scale: Annotated[
        float | None,
        option("--scale", help="Multiply what the files hold (pixels for float inputs: 1/255)."),
    ] = None,
    output: Annotated[
        str | None, option("--output", "-o", metavar="FILE", help="Write the outputs to an .npz (or .npy) file.")
    ] = None,
    top_k: Annotated[int, option("--top-k", min=0, metavar="K", help="Show the K largest entries of each sample.")] = 0,
    labels: Annotated[
        str | None, option("--labels", metavar="FILE", help="Names of the classes, one a line, or a JSON list.")
    ] = None,
    time: Annotated[bool, option("--time", help="Measure loading, compiling and running.")] = False,
    threads: Threads = None,
) -> None:
    """Run a model on arrays, tables, images or random inputs."""
    from time import perf_counter

    from .. import inputs, results, runs

    names = results.read_labels(labels) if labels else []
    start = perf_counter()
    graph = loaded(model)
    after_load = perf_counter()
    executable = compiled(graph, threads=threads)
    after_compile = perf_counter()
    given, made = runs.named(input_ or [])
    arrays: dict[str, Any] = inputs.gather(executable.inputs, files or [], given, scale)
    arrays = runs.with_random(executable, arrays, random, made, batch, seed)
    found = runs.run_in_parts(executable, arrays, batch)
    console = screen()
    if output:
        results.save(found, output)
        headings = [results.heading(name, results.as_array(value)) for name, value in found.items()]
        console.print(f"wrote {output}: {', '.join(headings)}")
    if not output or top_k:
        for table in results.tables(found, top_k or (5 if names else 0), names, console.width):
            console.print(table)
    if time:
        console.print(f"load      {1e3 * (after_load - start):10.2f} ms")
        console.print(f"compile   {1e3 * (after_compile - after_load):10.2f} ms")
        runs.print_times(console, executable, arrays, batch)
