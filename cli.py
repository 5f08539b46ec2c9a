"""The command `tenun`.

Each command imports what it needs when it runs, so that `tenun --help` is quick.  Errors are one clear line on stderr
(and lines that say where, and what to do), exit status 1; `TENUN_DEBUG=1` shows the traceback instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .errors import RunError, TenunError

if TYPE_CHECKING:
    from .executable import Executable
    from .ir.graph import Graph

PIPED_WIDTH = 160  # columns of tables where there is no terminal

app = typer.Typer(
    name="tenun",
    help="Compiles saved neural networks (.keras .h5 .onnx .tenun) and runs them with NumPy.",
    epilog="`tenun COMMAND --help` shows examples.  `tenun --install-completion` teaches your shell the commands.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def argument(name: str, text: str) -> Any:
    """A positional argument, as its help shows it."""
    return typer.Argument(metavar=name, help=text, show_default=False)


def option(*names: str, **rest: Any) -> Any:
    """An option; its help says itself what it is by default."""
    return typer.Option(*names, show_default=False, **rest)


Model = Annotated[str, argument("MODEL", "A .keras, .h5, .onnx or .tenun file.")]


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


def examples(*lines: str) -> str:
    """The epilog of a command's help, as Markdown."""
    return "Examples:\n\n" + "\n\n".join(f"`{line}`" for line in lines)


# ---- the entry point


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0, 1 after an error, 2 after a wrong command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a narrow encoding is no reason to fail
    try:
        app(args=arguments, prog_name="tenun")
    except Exception as error:
        if os.environ.get("TENUN_DEBUG", "0") not in ("", "0"):
            raise
        fail(error)
    sys.exit(0)


def fail(error: Exception) -> NoReturn:
    """Tell what went wrong, and exit with status 1."""
    if isinstance(error, TenunError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.strerror or error}" + (f"\n  file: {error.filename}" if error.filename else "")
    elif isinstance(error, MemoryError):
        text = "out of memory\n  hint: smaller parts may fit: --batch N"
    else:
        text = f"internal error: {type(error).__name__}: {error}\n  hint: TENUN_DEBUG=1 shows where; please report it"
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)


def screen(stderr: bool = False) -> Any:
    """A rich console; wide where it is no terminal, so that tables keep their lines."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=False, markup=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, markup=False, width=PIPED_WIDTH)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner on stderr while something takes its time; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with screen(stderr=True).status(what):
        yield


def tracked(parts: Sequence[Any], what: str) -> Iterator[Any]:
    """The parts, with a progress bar on stderr if it is a terminal and there are several."""
    if len(parts) < 2 or not sys.stderr.isatty():
        yield from parts
        return
    from rich.progress import track

    yield from track(parts, description=what, console=screen(stderr=True), transient=True)


def loaded(model: str) -> Graph:
    """The graph of a model file."""
    from . import api

    with busy(f"loading {model}"):
        return api.load(model)


def compiled(model: Any, **options: Any) -> Executable:
    """A model, compiled."""
    from . import api

    with busy("compiling"):
        return api.compile(model, **options)


# ---- run


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
    threads: Annotated[
        int | None, option("--threads", min=1, metavar="N", help="Threads to use (default: the cores at hand).")
    ] = None,
) -> None:
    """Run a model on arrays, tables, images or random inputs."""
    from time import perf_counter

    from . import cli_inputs, cli_results

    names = cli_results.read_labels(labels) if labels else []
    start = perf_counter()
    graph = loaded(model)
    after_load = perf_counter()
    executable = compiled(graph, threads=threads)
    after_compile = perf_counter()
    given, made = _named(input_ or [])
    arrays: dict[str, Any] = cli_inputs.gather(executable.inputs, files or [], given, scale)
    arrays = _with_random(executable, arrays, random, made, batch, seed)
    results = _run_in_parts(executable, arrays, batch)
    console = screen()
    if output:
        cli_results.save(results, output)
        console.print(f"wrote {output}: " + ", ".join(cli_results.heading(k, _array(v)) for k, v in results.items()))
    if not output or top_k:
        for table in cli_results.tables(results, top_k or (5 if names else 0), names, console.width):
            console.print(table)
    if time:
        console.print(f"load      {1e3 * (after_load - start):10.2f} ms")
        console.print(f"compile   {1e3 * (after_compile - after_load):10.2f} ms")
        _print_times(console, executable, arrays, batch)


def _array(value: Any) -> Any:
    import numpy as np

    return np.asarray(value, object) if isinstance(value, list) else np.asarray(value)


def _named(specs: Sequence[str]) -> tuple[dict[str, str], set[str]]:
    """Files by input name, and the names of inputs to make up."""
    given: dict[str, str] = {}
    for spec in specs:
        name, equals, file = spec.partition("=")
        if not (name and equals and file):
            raise RunError(f"--input {spec!r} is not of the form NAME=FILE")
        if name in given:
            raise RunError(f"input {name!r} is given twice")
        given[name] = file
    made = {name for name, file in given.items() if file == "random"}
    return {name: file for name, file in given.items() if name not in made}, made


def _with_random(
    executable: Executable, arrays: dict[str, Any], every: bool, made: set[str], batch: int | None, seed: int
) -> dict[str, Any]:
    """The arrays with those added that are to be made up; RunError where inputs are missing or unknown."""
    from .executable import random_inputs

    names = [v.name for v in executable.inputs]
    listed = ", ".join(f"{v.name}: {v.type}" for v in executable.inputs)
    unknown = made - set(names)
    if unknown:
        raise RunError(f"the model has no input {min(unknown)!r}", hint=f"inputs: {listed}")
    wanted = {n for n in names if n not in arrays and (every or n in made)}
    missing = [n for n in names if n not in arrays and n not in wanted]
    if missing:
        hint = f"give FILEs in order, --input NAME=FILE, or --random; inputs: {listed}"
        raise RunError(f"no file for input {', '.join(map(repr, missing))}", hint=hint)
    if not wanted:
        return arrays
    count = batch or max((len(a) for a in arrays.values() if getattr(a, "ndim", 0)), default=1)
    return {**arrays, **{k: v for k, v in random_inputs(executable.graph, count, seed).items() if k in wanted}}


def _run_in_parts(executable: Executable, arrays: Mapping[str, Any], batch: int | None) -> dict[str, Any]:
    """Outputs by name; `batch` samples at a time where all inputs have as many."""
    import numpy as np

    lengths = {len(a) if getattr(a, "ndim", 0) else None for a in arrays.values()}
    total = lengths.pop() if len(lengths) == 1 else None
    if batch is None or total is None or total <= batch:
        with busy("running"):
            return executable.run(arrays)
    starts = range(0, total, batch)
    parts = [executable.run({k: a[i : i + batch] for k, a in arrays.items()}) for i in tracked(starts, "running")]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _print_times(console: Any, executable: Executable, arrays: Mapping[str, Any], batch: int | None) -> None:
    from statistics import median
    from time import perf_counter

    laps: list[float] = []
    while len(laps) < 3 or (sum(laps) < 1.0 and len(laps) < 50):
        start = perf_counter()
        _run_in_parts(executable, arrays, batch)
        laps.append(perf_counter() - start)
    samples = max((len(a) for a in arrays.values() if getattr(a, "ndim", 0)), default=1) or 1
    middle = median(laps)
    console.print(f"run       {1e3 * middle:10.2f} ms   (median of {len(laps)}, after a first one to warm up)")
    console.print(f"a sample  {1e3 * middle / samples:10.4f} ms   ({samples} samples)")


# ---- train


@app.command(
    epilog=examples(
        "tenun train model.keras --data digits.npz --epochs 5 --output trained.keras",
        "tenun train model.h5 --data d.npz --x images --y labels --loss mse --learning-rate 1e-4 -o trained.keras",
        "tenun train model.keras --data d.npz --validation-split 0.2 --metric accuracy --seed 1 -o trained.keras",
    )
)
def train(
    model: Annotated[str, argument("MODEL", "A .keras or .h5 file.")],
    data: Annotated[str, option("--data", metavar="FILE.npz", help="The arrays to train on.")],
    output: Annotated[str, option("--output", "-o", metavar="FILE.keras", help="Where the trained model goes.")],
    x: Annotated[
        list[str] | None,
        option(
            "--x",
            metavar="NAME",
            help="The array of the input (default: the input's name, x or x_train); again for more.",
        ),
    ] = None,
    y: Annotated[
        list[str] | None,
        option(
            "--y",
            metavar="NAME",
            help="The array of the target (default: the output's name, y or y_train); again for more.",
        ),
    ] = None,
    epochs: Annotated[int, option("--epochs", min=1, metavar="N", help="Times to go over the data (default: 1).")] = 1,
    batch_size: Annotated[
        int, option("--batch-size", min=1, metavar="B", help="Samples in a step (default: 32).")
    ] = 32,
    optimizer: Annotated[
        str | None,
        option("--optimizer", metavar="NAME", help="A new optimiser (default: the file's as it stands; else adam)."),
    ] = None,
    learning_rate: Annotated[
        float | None, option("--learning-rate", min=0, metavar="RATE", help="In place of the optimiser's own.")
    ] = None,
    loss: Annotated[
        list[str] | None,
        option("--loss", metavar="NAME", help="In place of the file's; one for all outputs or for each."),
    ] = None,
    metric: Annotated[
        list[str] | None, option("--metric", metavar="NAME", help="In place of the file's; again for more.")
    ] = None,
    validation_split: Annotated[
        float,
        option(
            "--validation-split",
            min=0,
            max=0.99,
            metavar="F",
            help="The part of the data, from its end, to validate on.",
        ),
    ] = 0.0,
    seed: Annotated[
        int | None, option("--seed", metavar="S", help="Makes the order of samples and the dropout repeatable.")
    ] = None,
) -> None:
    """Train a model on the arrays of an .npz file, going on where the file stands."""
    from . import cli_train

    cli_train.check_output(output)
    with busy(f"loading {model}"):
        trained = cli_train.loaded(model, seed)
    cli_train.compile_as_told(trained, model, optimizer, learning_rate, loss or [], metric or [])
    inputs, targets = cli_train.read_data(trained, data, x or [], y or [])
    history = trained.fit(
        inputs, targets, batch_size=batch_size, epochs=epochs, validation_split=validation_split, verbose=1
    )
    trained.save(output)
    console = screen()
    for name, values in history.history.items():
        console.print(f"{name:<24} {cli_train.figure(values[-1])}")
    console.print(f"wrote {output}")


# ---- dump


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
        int, option("--radius", min=0, metavar="N", help="With --around: how many edges away (default: 1).")
    ] = 1,
    html: Annotated[
        str | None,
        option("--html", metavar="FILE", help="Write a page: the graph after every pass, weights, memory, time."),
    ] = None,
    batch: Annotated[
        int, option("--batch", min=1, metavar="N", help="With --html: samples in the run that is timed (default: 1).")
    ] = 1,
) -> None:
    """Print a model's graph, or a part of it: optimised, as loaded, or after one of the passes; or show all of it."""
    from . import cli_dump
    from .executable import random_inputs
    from .files import write_atomically
    from .passes.manager import up_to

    if raw and after:
        raise RunError("--raw and --after exclude each other")
    if html:
        if raw or after or layer or around or weights or format_ is not Format.text:
            raise RunError("--html shows the whole model after every pass", hint="give the other options without it")
        executable = compiled(loaded(model))
        with busy("drawing"):
            cli_dump.write_page(executable, html, random_inputs(executable.graph, batch))
        screen().print(f"wrote {html}")
        return
    graph = loaded(model)
    if not raw:
        graph = compiled(graph, pipeline=up_to(after) if after else "inference").optimized
    graph = cli_dump.part_of(graph, layer, around, radius)
    text = cli_dump.rendered(graph, format_.value, weights and weights.value)
    if output:
        write_atomically(output, text.encode())
    else:
        cli_dump.show(text, format_.value, screen())


# ---- summary, check


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
    from .debug.memory import memory_of, memory_picture
    from .debug.summary import memory_rows, summarize, table, totals

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
    from .api import load_model

    try:
        with busy(f"loading {model}"):
            found = load_model(model, compile=False)
            return found.graph(), found.trained
    except TenunError:  # no file of Keras', or a broken one: loading it as a graph says what is wrong
        return loaded(model), None


def _plan(executable: Executable) -> Any:
    from .executable import random_inputs

    return executable.plan(**random_inputs(executable.graph))


@app.command(
    epilog=examples("tenun check model.onnx", "tenun check model.keras --json", "tenun check model.tenun --numbers")
)
def check(
    model: Model,
    json: Annotated[bool, option("--json", help="The report as JSON.")] = False,
    numbers: Annotated[bool, option("--numbers", help="Check every pass on numbers, too.")] = False,
) -> None:
    """Tell whether a model can be run, and all that is in the way: layers, options, operators, weights.

    Without any: it is verified, optimised, planned and run once, on the file's own sample if it brings one.  Exit
    status 1 if something is in the way.
    """
    from . import cli_check
    from .debug.report import as_json

    with busy("checking"):
        report = cli_check.examined(model, "numbers" if numbers else "structure")
    if json:
        sys.stdout.write(as_json(report.to_dict()))
    else:
        for line in report.lines():
            print(line)
    if not report.fine:
        sys.exit(1)


# ---- compare, diff


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
    a: Annotated[str, argument("A", "A .keras, .h5, .onnx or .tenun file.")],
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
    after: Annotated[
        list[str] | None,
        option("--after", metavar="PASS", help="B after this pass (raw, all); twice: A after one, B after the other."),
    ] = None,
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
    from . import cli_compare

    files = dict.fromkeys([a, b or a])
    graphs = {file: loaded(file) for file in files}
    given = cli_compare.given_inputs(graphs[a], inputs or [], batch, seeds)
    if bisect:
        blamed = {file: cli_compare.bisect(graph, given[0]) for file, graph in graphs.items()}
        for file, blame in blamed.items():
            print(f"{file}: {blame or 'no pass changes a result'}")
        sys.exit(any(blamed.values()))
    sides = cli_compare.subjects(a, b, graphs, after or [], engine or [])
    with busy("comparing"):
        found = cli_compare.run(sides, given, tolerance)
    console = screen()
    console.print(cli_compare.table(found, every, quiet))
    for line in cli_compare.lines(found):
        print(line)
    if json:
        cli_compare.write(found, json)
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
    a: Annotated[str, argument("A", "A .keras, .h5, .onnx or .tenun file.")],
    b: Annotated[str | None, argument("B", "Another one (default: the same, after passes).")] = None,
    after: Annotated[
        list[str] | None,
        option("--after", metavar="PASS", help="B after this pass (raw, all); twice: A after one, B after the other."),
    ] = None,
    json: Annotated[bool, option("--json", help="The changes as JSON.")] = False,
    html: Annotated[str | None, option("--html", metavar="FILE", help="Write both side by side, as a page.")] = None,
) -> None:
    """Tell what changed between two models: layers, options, weights.  Exit status 1 if anything did."""
    from . import cli_compare

    graphs = {file: loaded(file) for file in dict.fromkeys([a, b or a])}
    sides = cli_compare.subjects(a, b, graphs, after or [], [])
    with busy("comparing"):
        text, same = cli_compare.diff(sides, json, html)
    sys.stdout.write(text)
    if not same:
        sys.exit(1)


# ---- profile


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
    threads: Annotated[
        int | None, option("--threads", min=1, metavar="N", help="Threads to use (default: the cores at hand).")
    ] = None,
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
    from . import cli_dump, cli_profile
    from .executable import random_inputs

    peer = cli_profile.peer_run(vs.value, model, threads) if vs else None
    executable = compiled(loaded(model), threads=threads, backend=backend)
    inputs = random_inputs(executable.graph, batch, seed)
    console = screen()
    with busy("profiling"):
        found = executable.profile(inputs, rounds=rounds)
    found.show(by.value, top, console)
    race = None
    if peer and vs:
        with busy(f"timing {vs.value}"):
            race = cli_profile.race(executable, peer, vs.value, inputs, rounds)
        for line in race.lines():
            console.print(line)
    for file in cli_profile.write(found, race, trace, json):
        console.print(f"wrote {file}")
    if html:
        cli_dump.write_page(executable, html, inputs, found, "profile")
        console.print(f"wrote {html}")


# ---- demo, version


@app.command(
    epilog=examples(
        "tenun export model.keras model.onnx",
        "tenun export model.onnx smaller.onnx --optimize",
        "tenun export old.h5 model.keras",
    )
)
def export(
    model: Model,
    output: Annotated[str, argument("OUTPUT", "Where it goes: .onnx .tenun, or .keras .h5 for Keras' models.")],
    opset: Annotated[
        int | None, option("--opset", metavar="N", help="The opset of an .onnx file (default: 17).")
    ] = None,
    optimize: Annotated[bool, option("--optimize", help="Simplify the graph first.")] = False,
    external_data: Annotated[
        bool, option("--external-data", help="Weights into a file beside OUTPUT (default: where they are too many).")
    ] = False,
) -> None:
    """Write a model in another format.  No other framework is needed."""
    from pathlib import Path

    from .api import load_model, save

    with busy(f"writing {output}"):
        if Path(output).suffix in (".keras", ".h5"):
            save(load_model(model), output)
        else:
            save(loaded(model), output, opset=opset, optimize=optimize, external_data=external_data or None)
    screen().print(f"wrote {output}")


@app.command(epilog=examples("tenun demo", "tenun demo --out drawings"))
def demo(
    out: Annotated[
        str | None, option("--out", "-o", metavar="DIR", help="Where the drawings go (default: tenun-demo).")
    ] = None,
) -> None:
    """Run the two models that come with tenun, trained by Keras, and compare with what Keras measured."""
    from .demo.run import run_demo

    if not run_demo(out, screen()):
        sys.exit(1)


@app.command()
def version() -> None:
    """Print the versions of tenun, NumPy and Python."""
    _print_version(True)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    import platform

    import numpy as np

    from . import __version__

    print(f"tenun {__version__} (NumPy {np.__version__}, Python {platform.python_version()}, {platform.machine()})")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compiles saved neural networks (.keras .h5 .onnx .tenun) and runs them with NumPy."""
