"""The calls of the public contract: load, parse, compile, compile_and_run, save."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import LoadError, UnsupportedError
from .executable import Executable, random_inputs
from .ir.graph import Graph


def load(model: Any, *, custom_objects: Mapping[str, Any] | None = None) -> Graph:
    """Parse a model into a graph.

    model: a path (`.keras .h5 .onnx .tenun`; the content decides, not the suffix), `bytes` of such a file, a live
    Keras model (any backend), an `onnx.ModelProto`, or a `Graph`.  `custom_objects` gives meanings to layer classes
    that tenun does not know.  Raises LoadError, UnsupportedError, GraphError or ShapeError, naming file and layer.
    """
    from .frontends import reader_for

    if isinstance(model, Graph):
        return model
    if isinstance(model, Executable):
        return model.graph
    return reader_for(model)(model, custom_objects or {})


def parse(text: str, weights: Mapping[str, Any] | None = None) -> Graph:
    """The graph that a text describes: the inverse of `str(graph)`, see `tenun.ir.text`."""
    from .ir.text import parse as parse_text

    return parse_text(text, weights)


def compile(
    model: Any,
    *,
    backend: str = "numpy",
    pipeline: str | Sequence[str] = "inference",
    threads: int | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    verify: bool = False,
    keep_text: bool = False,
    observe: Callable[[str, Graph], None] | None = None,
) -> Executable:
    """Load, optimise and make ready to run.

    `pipeline`: a name or a list of passes; `threads`: how many to use (default: the cores at hand); `verify` checks
    the graph after every pass; `keep_text` keeps its text after every pass in `Executable.records`; `observe(name,
    graph)` is called after every pass.
    """
    graph = load(model, custom_objects=custom_objects)
    return Executable(
        graph,
        backend_name=backend,
        passes=pipeline,
        threads=threads,
        verify=verify,
        keep_text=keep_text,
        observe=observe,
    )


def compile_and_run(model: Any, *inputs: Any, **named: Any) -> Any:
    """Load, optimise, plan and run; returns what the model returns.

    Inputs in order or by name; without any, seeded ones are made from the model's signature.
    """
    executable = compile(model)
    if not inputs and not named:
        named = random_inputs(executable.graph)
    return executable(*inputs, **named)


def save(obj: Graph | Executable, path: str | Path) -> None:
    """Write a graph, whole or not at all; the suffix chooses the format (`.tenun`)."""
    from .frontends.tenun import write

    graph = obj.graph if isinstance(obj, Executable) else obj
    suffix = Path(path).suffix
    if not isinstance(graph, Graph):
        raise UnsupportedError(f"cannot save a {type(obj).__name__}", hint="save a Graph or an Executable")
    if suffix != ".tenun":
        raise UnsupportedError(f"cannot write {suffix!r} files", file=str(path), hint="use the suffix .tenun")
    if not Path(path).resolve().parent.is_dir():
        raise LoadError("the folder does not exist", file=str(path))
    write(graph, Path(path))
