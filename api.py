"""The calls of the public contract: load, parse, compile, compile_and_run, grad, load_model, fit, save."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backends.base import backend as backend_of
from .errors import LoadError, UnsupportedError
from .executable import Executable, Options, random_inputs
from .ir.graph import Graph
from .passes.manager import Context, Verify
from .passes.manager import optimize as optimized

if TYPE_CHECKING:
    from .training.model import Model


def load(
    model: Any, *, weights: Any = None, custom_objects: Mapping[str, Any] | None = None,
    custom_ops: Mapping[tuple[str, str], Callable[..., Any]] | None = None, verify: bool = False,
) -> Graph:  # fmt: skip
    """Parse a model into a graph.

    model: a path (`.keras .h5 .onnx .tenun`; the content decides, not the suffix), `bytes` of such a file, a live
    Keras model (any backend), an `onnx.ModelProto`, a `tenun.Model` or a `Graph`.  `custom_objects` gives meanings to
    layer classes that tenun does not know.

    weights: a file of weights (path or bytes: `.weights.h5`, `.weights.json` with its shards, `.h5` of any Keras, a
    whole model), for a model that is an architecture alone, the text of Keras' `model.to_json()`, or in place of the
    weights that it has: `tenun.load("model.json", weights="model.weights.h5")`.

    custom_ops: functions in the place of operators of an ONNX model, by domain and name:
    `{("my.domain", "Scaled"): lambda x, alpha=1.0: x * alpha}`; see `tenun.frontends.onnx.custom`.

    verify: check the graph that was read, and, where a `.tenun` file brings a sample of inputs and outputs, run it:
    LoadError where this machine computes something else.

    A live Keras model that only its code describes (a subclassed one) is exported to ONNX by Keras, and read from
    there; a warning says so.  Raises LoadError, UnsupportedError, GraphError or ShapeError, naming file and layer.
    """
    from .frontends import reader_for

    if isinstance(model, Graph):
        return model
    if isinstance(model, Executable):
        return model.graph
    if hasattr(model, "definition"):  # a tenun.Model, which nobody has to import for this
        return model.graph()  # type: ignore[no-any-return]
    graph = reader_for(model)(model, custom_objects or {}, weights, custom_ops or {})
    if verify:
        _verify_loaded(graph, model)
    return graph


def _verify_loaded(graph: Graph, model: Any) -> None:
    from .debug.check import sample_difference
    from .frontends import sample_in
    from .ir.verify import verify

    verify(graph)
    sample = sample_in(model)
    difference = sample_difference(Executable(graph), *sample) if sample is not None else ""
    if difference:
        file = str(model) if isinstance(model, (str, Path)) else None
        raise LoadError(f"the outputs are not those that the file tells of its sample: {difference}", file=file)


def _graph_html(graph: Graph) -> str:
    """The table of a notebook."""
    from .debug.html import graph_html

    return graph_html(graph)


Graph._repr_html_ = _graph_html  # type: ignore[attr-defined]  # hung on here, for `ir` does not know how graphs are shown


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
    exact: bool = False,
    tune: bool = False,
    weights: Any = None,
    custom_objects: Mapping[str, Any] | None = None,
    custom_ops: Mapping[tuple[str, str], Callable[..., Any]] | None = None,
    verify: Verify = False,
    sample: Mapping[str, Any] | None = None,
    keep_text: bool = False,
    observe: Callable[[str, Graph], None] | None = None,
) -> Executable:
    """Load, optimise and make ready to run.

    `pipeline`: a name or a list of passes; `threads`: how many to use (default: the environment variable
    TENUN_THREADS, or the cores at hand); `exact`: no algorithm that rounds more than sums of products do (Winograd's
    convolution does: 2e-5 of the results' standard deviation at most); `tune`: algorithms are timed on this machine
    when shapes are met for the first time, and what was found is kept in the user's cache folder; `weights`,
    `custom_objects` and `custom_ops`: as in `load`; `verify` checks the graph after every pass: "structure" (or True)
    its types, order and uses, "numbers" also its results on `sample` (inputs by name; default: seeded ones), so that a
    pass which changes them is blamed by name, with the node; `keep_text` keeps its text after every pass in
    `Executable.records`; `observe(name, graph)` is called after every pass.
    """
    graph = load(model, weights=weights, custom_objects=custom_objects, custom_ops=custom_ops)
    return Executable(
        graph,
        backend_name=backend,
        passes=pipeline,
        options=Options(threads, exact=exact, tune=tune),
        verify=verify,
        sample=sample,
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


def grad(graph: Graph, outputs: Sequence[str] | None = None, wrt: Sequence[str] | None = None) -> Graph:
    """A graph that computes the gradient of the sum of outputs with respect to values.

    outputs: names of outputs (default: all of a float dtype); wrt: names of inputs, of constants (the weights, as in
    `graph.weights`) or of other values (default: all inputs of a float dtype).  The result has the inputs of `graph`,
    and for each name of `wrt` an output `d_<name>` of the same shape and dtype as that value: zeros where the outputs
    do not depend on it.  It can be compiled, saved and differentiated as any other graph.

        g = tenun.load("mlp.keras")                     # x: f32[N, 4] -> y: f32[N, 3]
        d = tenun.grad(g, wrt=["x", "dense.kernel"])    # x: f32[N, 4] -> d_x: f32[N, 4], d_dense.kernel: f32[4, 8]
        tenun.compile(d)(x)

    Raises GraphError for names that are not there, listing those that are, and UnsupportedError, naming node and op,
    where an op on the way has no gradient, and where a value named in `wrt` reaches the outputs only by way of ops
    that are not differentiable (a comparison, `argmax`, `round`, ...).  For inputs that `wrt` does not name, the
    gradient is zeros in that case.
    """
    from .passes.autodiff.engine import gradient_graph

    return gradient_graph(graph, outputs, wrt)


def load_model(
    source: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, weights: Any = None,
    trainable: Callable[[str], bool] | None = None,
) -> Model:  # fmt: skip
    """A model to train further: from a `.keras` or `.h5` file (path or bytes), a live Keras model, or a graph.

    weights: as in `load`.  With `compile`, it is compiled with what the file says (optimiser, loss, metrics), and its
    optimiser goes on where it stood.  Raises LoadError or UnsupportedError, naming file and layer.

    A graph is an ONNX model (path, bytes or ModelProto), a `.tenun` file or a `Graph`.  Its weights are its constants
    of floats, by their names; all of one axis and more are trained, but the statistics of batch normalisation, and of
    those the ones for which `trainable(name)` is true, if it is given.  It acts as in inference: without dropout.
    `save` writes the result to `.onnx` or `.tenun`.
    """
    from .training.saving import load_model as load

    return load(source, custom_objects, compile, weights, trainable)


def fit(keras_model: Any, *args: Any, **keywords: Any) -> Any:
    """Train a compiled live Keras model here; it gets the weights and the optimiser's state; returns the History.

    Arguments are those of `Model.fit`.
    """
    from .training.saving import fit as train

    return train(keras_model, *args, **keywords)


def check_gradients(model: Any, x: Any, y: Any = None, **options: Any) -> Any:
    """Compare the gradients of a compiled model's loss with central differences, parameter by parameter.

    See `tenun.debug.gradients`.
    """
    from .debug.gradients import check_gradients as check

    return check(model, x, y, **options)


def save(
    obj: Graph | Executable | Model, path: str | Path, *, opset: int | None = None, optimize: bool = False,
    external_data: bool | None = None,
) -> None:  # fmt: skip
    """Write a graph or a model, whole or not at all; the suffix chooses the format.

    `.tenun` and `.onnx` take anything, `.keras` and `.h5` a `tenun.Model`.  For `.onnx`: `opset` is the version of the
    operators (13 to the newest; 17 by default), `external_data` puts the weights into a file beside it (by default
    where one file cannot hold them).  `optimize`: the graph is simplified first, as it is before it runs, up to what
    serves one machine only.  Raises UnsupportedError, naming node and op, for what the format does not have.
    """
    from .frontends import writer_for

    if not Path(path).resolve().parent.is_dir():
        raise LoadError("the folder does not exist", file=str(path))
    graph: Any = obj.graph if isinstance(obj, Executable) else obj
    if hasattr(graph, "definition"):
        if Path(path).suffix in (".keras", ".h5"):
            graph.save(path)
            return
        graph = graph.graph()
    if not isinstance(graph, Graph):
        raise UnsupportedError(f"cannot save a {type(obj).__name__}", hint="save a Graph, an Executable or a Model")
    write = writer_for(path)
    evaluate = backend_of("numpy").evaluate
    if optimize:
        graph = optimized(graph, "exchange", Context(evaluate))
    write(graph, Path(path), evaluate, {"opset": opset, "external_data": external_data})
