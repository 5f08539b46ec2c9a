"""What mkdocs does not know by itself: pages from outside of docs/, links to them, and references made of tables.

Layers, losses, ops, passes and commands are rows of tables: their pages are made of the tables, when the site is built.
"""

from __future__ import annotations

import dataclasses
import inspect
import posixpath
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

# files of the repository that are pages too -> where in the site
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "results.md",
    "examples/README.md": "examples.md",
}
LINK = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")
SPECIAL = re.compile(r"([\\*_<>\[\]|#])")


def on_startup(**_: Any) -> None:
    """Where Python looks for the package there is no script of its name: mkdocstrings would take that for it."""
    sys.path[:] = [folder for folder in sys.path if not Path(folder, "tenun").is_file()]


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for path, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for uri, make in GENERATED.items():
        files.append(File.generated(config, uri, content="\n".join(make())))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as they are in the repository become links of the site."""
    uri = page.file.src_uri
    path = next((path for path, moved in OUTSIDE.items() if moved == uri), f"docs/{uri}")
    return LINK.sub(lambda m: f"]({in_site(path, uri, m[1])}{m[2] or ''})", markdown)


def in_site(path: str, uri: str, target: str) -> str:
    """A link of the file `path`, which is the page `uri`, as one of the site; what is no page stays as it is."""
    file = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    moved = OUTSIDE.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else None)
    return target if moved is None else posixpath.relpath(moved, posixpath.dirname(uri) or ".")


# ---- references ----------------------------------------------------------------------------------------------


def prose(doc: str) -> str:
    """A docstring as Markdown that shows it as it is; code stays code."""
    lines = []
    for line in inspect.cleandoc(doc).splitlines():
        parts = line.split("`")
        parts[::2] = (part if line.startswith("    ") else SPECIAL.sub(r"\\\1", part) for part in parts[::2])
        lines.append("`".join(parts))
    return "\n".join(lines)


def entry(name: str, signature: str, doc: str, level: int = 3) -> list[str]:
    """A heading, the signature as code, and the docstring."""
    return [f"{'#' * level} {name}", "", "```python", signature, "```", "", prose(doc), ""]


def call(name: str, parameters: Iterable[tuple[str, Any]]) -> str:
    """`name(a, b=1)`, over several lines where it is long."""
    texts = [p if default is inspect.Parameter.empty else f"{p}={default!r}" for p, default in parameters]
    line = f"{name}({', '.join(texts)})"
    return line if len(line) <= 100 else "\n".join([f"{name}(", *(f"    {text}," for text in texts), ")"])


def layers() -> Iterator[str]:
    """The page of layers, family by family."""
    from tenun.layers import LAYERS, Layer

    shared = {field.name for field in dataclasses.fields(Layer)}
    yield from ("# Layers", "")
    yield "`tenun.layers` has Keras' layers under Keras' names, with Keras' defaults; [coverage](../keras_coverage.md)"
    yield "says what each can do. All take `name`, `trainable`, `dtype` and `activity_regularizer` as well."
    families: dict[str, dict[str, type[Layer]]] = {}
    for made in LAYERS.values():
        families.setdefault(made.__module__.removeprefix("tenun.layers."), {})[made.__name__] = made
    for family, classes in sorted(families.items()):
        yield from ("", f"## {family}", "")
        for name, made in sorted(classes.items()):
            own = [(f.name, default_of(f)) for f in dataclasses.fields(made) if f.init and f.name not in shared]
            yield from entry(name, call(name, own), made.__doc__ or "")


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field."""
    made = field.default_factory
    known = made() if made is not dataclasses.MISSING else field.default
    return inspect.Parameter.empty if known is dataclasses.MISSING else known


def training() -> Iterator[str]:
    """The page of what a model is trained with: a section for each table."""
    from tenun import callbacks
    from tenun.training.constraints import CONSTRAINTS
    from tenun.training.initializers import INITIALIZERS
    from tenun.training.losses import LOSSES
    from tenun.training.metrics import METRICS
    from tenun.training.optimizers import OPTIMIZERS
    from tenun.training.regularizers import REGULARIZERS
    from tenun.training.schedules import SCHEDULES

    known = [getattr(callbacks, name) for name in callbacks.__all__]
    called = {c.__name__: c for c in known if isinstance(c, type) and issubclass(c, callbacks.Callback)}
    kinds: dict[str, Mapping[str, type[Any]]] = {
        "losses": LOSSES.classes, "metrics": METRICS.classes, "optimizers": OPTIMIZERS.classes,
        "schedules": SCHEDULES.classes, "callbacks": called, "initializers": INITIALIZERS.classes,
        "regularizers": REGULARIZERS.classes, "constraints": CONSTRAINTS.classes,
    }  # fmt: skip
    yield from ("# Training", "")
    yield "Keras' objects under Keras' names. `compile` and layers also take their names as text, as in Keras."
    for kind, classes in kinds.items():
        yield from ("", f"## {kind}", "", f"In `tenun.{kind}`.", "")
        for name, made in sorted(classes.items()):
            parameters = inspect.signature(made).parameters.values()
            yield from entry(
                name, call(name, [(str(p).partition(":")[0], p.default) for p in parameters]), made.__doc__ or ""
            )


def ops() -> Iterator[str]:
    """The page of the IR's ops, family by family."""
    from tenun.ir.op import OPS, TRAITS, Op, lookup

    lookup("add")
    families: dict[str, list[Op]] = {}
    for op in OPS.values():
        families.setdefault(op.family, []).append(op)
    yield from ("# Ops", "")
    yield "What a graph is made of. A signature has the operands, `=None` where they may be left out, and behind `*`"
    yield "the attributes with their defaults. How such a row is written: [adding things](../extending.md)."
    yield from ("", "## Traits", "", "| trait | |", "|---|---|")
    yield from (f"| `{trait}` | {prose(meaning)} |" for trait, meaning in TRAITS.items())
    for family, members in sorted(families.items()):
        yield from ("", f"## {family}", "")
        for op in sorted(members, key=lambda o: o.name):
            traits = f"\n\nTraits: {', '.join(sorted(op.traits))}." if op.traits else ""
            yield from entry(op.name, call(op.name, op_parameters(op)), inspect.cleandoc(op.doc) + traits)


def op_parameters(op: Any) -> Iterator[tuple[str, Any]]:
    """Operands, subgraphs and attributes of an op."""
    for operand in op.inputs:
        yield "*" * operand.variadic + operand.name, None if operand.optional else inspect.Parameter.empty
    if (op.attributes or op.graphs) and not op.variadic:
        yield "*", inspect.Parameter.empty
    for name in op.graphs:
        yield name, inspect.Parameter.empty
    for name, attribute in op.attributes.items():
        yield name, inspect.Parameter.empty if attribute.required else attribute.default


def passes() -> Iterator[str]:
    """The page of pipelines and passes."""
    from tenun.passes import load_all
    from tenun.passes.manager import PASSES, PIPELINES

    load_all()
    yield from (
        "# Passes",
        "",
        "`tenun.compile(model, pipeline=...)` takes the name of a pipeline, or a list of passes.",
    )
    yield from ("", "| pipeline | passes, in order |", "|---|---|")
    yield from (f"| `{name}` | {', '.join(members) or '–'} |" for name, members in PIPELINES.items())
    yield ""
    for name, info in sorted(PASSES.items()):
        yield from (f"## {name}", "", prose(info.run.__doc__ or ""), "", f"In `{info.run.__module__}`.", "")


def cli() -> Iterator[str]:
    """The page of commands: what `--help` says."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from tenun.cli import app

    commands: Any = get_command(app)
    yield from ("# Command line", "")
    yield "Every command ends with status 0, with 1 where models differ or do not pass, with 2 for a wrong call."
    for name in commands.commands:
        help = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "100", "NO_COLOR": "1"}).output
        yield from ("", f"## {name}", "", "```text", *(line.rstrip() for line in help.strip().splitlines()), "```")


GENERATED: dict[str, Callable[[], Iterable[str]]] = {
    "reference/cli.md": cli,
    "reference/layers.md": layers,
    "reference/training.md": training,
    "reference/ops.md": ops,
    "reference/passes.md": passes,
}
