"""What runs a model beside tenun, giving the results of its layers one after another.

An engine gives the elements of values of the graph in the order in which it comes to them, so that nobody has to hold
all of them at once.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Full, Queue
from typing import Any, Protocol

import numpy as np

from ..errors import RunError, TenunError, UnsupportedError
from ..executable import Executable
from ..ir.graph import Graph, Node, Var
from ..ir.types import Tensor
from ..passes import interpret
from ..passes.interpret import Evaluate
from .align import parts

Found = Iterator[tuple[Var, Any]]


class Engine(Protocol):
    """What gives values of a graph; `exact` where it computes the graph itself, in its layout."""

    exact: bool

    def covers(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> set[Var]:
        """The values, out of those wanted, that it has."""

    def values(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> Found:
        """The values that it covers, in the order in which it comes to them."""


CHUNK = 32 << 20  # bytes of intermediate results that a run of ONNX Runtime may return
READS = {"keras": (".keras", ".h5", ".hdf5"), "ort": (".onnx",)}
INSTALL = {"numba": "pip install numba", "keras": "pip install keras tensorflow-cpu", "ort": "pip install onnxruntime"}
PLANS = ("numpy", "numba")  # backends whose compiled plan is run
TITLES = {
    "tenun": "tenun", "numpy": "compiled with numpy", "numba": "compiled with numba", "ort": "ONNX Runtime",
    "keras": "Keras",
}  # fmt: skip


def engine_for(name: str, file: str, graph: Graph, evaluate: Evaluate) -> Engine:
    """The engine called name for a model file, whose graph as loaded is given.

    UnsupportedError where it cannot read such files, or is not installed.
    """
    if name not in TITLES:
        raise UnsupportedError(f"there is no engine {name!r}", hint=f"engines: {', '.join(TITLES)}")
    if name == "tenun":
        return TenunEngine(evaluate)
    if name in PLANS:
        with _foreign(name, file):
            return PlanEngine(name, file, graph)
    suffix = Path(file).suffix.lower()
    if suffix not in READS[name]:
        hint = f"it runs {' '.join(READS[name])} files"
        raise UnsupportedError(f"{TITLES[name]} does not run {suffix or 'such'} files", file=file, hint=hint)
    with _foreign(name, file):
        return OrtEngine(file, graph) if name == "ort" else KerasEngine(file, graph)


@contextmanager
def _foreign(name: str, file: str) -> Iterator[None]:
    """Errors of another framework as ours."""
    try:
        yield
    except ImportError as error:
        raise UnsupportedError(f"{TITLES[name]} is not installed: {error.name}", hint=INSTALL[name]) from None
    except TenunError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{TITLES[name]} cannot run the model: {reason}", file=file) from None


class TenunEngine:
    """The graph itself, node by node."""

    exact = True

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate

    def covers(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> set[Var]:
        return set(wanted)

    def values(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> Found:
        asked = set(wanted)
        for node, results in interpret.steps(graph, inputs, self.evaluate):
            yield from ((v, value) for v, value in zip(node.outputs, results) if v in asked)


class PlanEngine:
    """The compiled plan of a backend, after all passes; what these have fused away has no value."""

    exact = False

    def __init__(self, name: str, file: str, graph: Graph) -> None:
        self.file, self.graph = file, graph
        self._executable = Executable(graph, backend_name=name)
        self._order = {node.source: i for i, node in enumerate(graph.nodes)}

    def covers(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> set[Var]:
        return set(self._asked(graph, wanted, inputs).values())

    def values(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> Found:
        asked = self._asked(graph, wanted, inputs)

        def push(give: Callable[[Any], None]) -> None:
            def see(node: Node, arrays: list[Any]) -> None:
                if _key(node) in asked:
                    give((asked[_key(node)], np.array(arrays[_read(node)])))

            self._run(inputs, see)

        yield from pulled(push)

    def _asked(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> dict[tuple[str, str], Var]:
        """The values of layers whose last node does something in the plan, by those nodes."""
        by_source = {source: v for v, source in sources_of(self.graph, graph, wanted).items()}
        ends: dict[str, tuple[str, str]] = {}
        self._run(inputs, lambda node, arrays: ends.update(dict.fromkeys(self._result_of(node), _key(node))))
        return {key: by_source[source] for source, key in ends.items() if source in by_source}

    def _result_of(self, node: Node) -> list[str]:
        """The layer whose result a node of the plan gives; none where a later node works on it."""
        mine = parts(node.source)
        later = [user for v in node.outputs for user in v.users if not _drops_ones(user, v)]
        inside = any(set(mine) & set(parts(user.source)) for user in later)
        return [] if inside or not mine else [max(mine, key=lambda p: self._order.get(p, -1))]

    def _run(self, inputs: Mapping[str, Any], see: Callable[[Node, list[Any]], None]) -> None:
        self._executable.reset_state()
        self._executable.run(inputs, on_node=see)


def _drops_ones(node: Node, var: Var) -> bool:
    """Whether a node only takes away, or adds, axes of 1."""
    shapes = [v.type.shape if isinstance(v.type, Tensor) else None for v in (var, node.outputs[0])]
    return node.op.has("view") and None not in shapes and _longer(shapes[0]) == _longer(shapes[1])


def _longer(shape: Any) -> list[Any]:
    return [d for d in shape if d != 1]


def _read(node: Node) -> int:
    """The place of the result that other nodes read: of recurrent ones it may be the last state."""
    return next((v.index for v in node.outputs if v.uses), 0)


def _key(node: Node) -> tuple[str, str]:
    """What a node is known by in every run: plans of the same shapes may be others."""
    return node.source, node.outputs[0].name


def sources_of(loaded: Graph, graph: Graph, wanted: Sequence[Var]) -> dict[Var, str]:
    """The source (layer, node of the file) whose result each value is; values inside of one are left out.

    Of sources that passes have merged it is the one that comes last in the graph as loaded.
    """
    ends = {part: node for node in graph.nodes for part in parts(node.source)}
    order = {node.source: i for i, node in enumerate(loaded.nodes)}
    found = {}
    for var in wanted:
        mine = [] if var.producer is None else parts(var.producer.source)
        if mine and var.index == 0 and all(ends[p] is var.producer for p in mine):
            found[var] = max(mine, key=lambda p: order.get(p, -1))
    return found


# ---- ONNX Runtime


class OrtEngine:
    """ONNX Runtime on a file; intermediate results become outputs of the model, some at a time."""

    exact = False

    def __init__(self, file: str, graph: Graph) -> None:
        import onnx
        import onnxruntime

        self.file, self.graph, self._runtime = file, graph, onnxruntime
        self._proto = onnx.load(file)
        proto = self._proto.graph
        made = {name for node in proto.node for name in node.output if name}
        # the values of the graph as loaded are called as in the file
        self._names = {n.source: v.name for n in graph.nodes for v in n.outputs[:1] if v.name in made}
        self._own = [(v.name, v.type) for v in proto.output]

    def covers(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> set[Var]:
        return set(self._asked(graph, wanted))

    def values(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> Found:
        names = self._asked(graph, wanted)
        for chunk in _chunks([(var, names[var]) for var in wanted if var in names]):
            with _foreign("ort", self.file):
                values = self._run([name for _, name in chunk], inputs)
            for (var, _), value in zip(chunk, values):
                yield var, value

    def _asked(self, graph: Graph, wanted: Sequence[Var]) -> dict[Var, str]:
        """What the file calls values."""
        sources = sources_of(self.graph, graph, wanted)
        ends = {v: name for name, v in zip(graph.output_names, graph.outputs)}
        names = {v: ends.get(v, self._names.get(sources.get(v, ""), "")) for v in wanted}
        return {v: name for v, name in names.items() if name}

    def _run(self, names: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        from onnx import ValueInfoProto

        outputs = self._proto.graph.output
        del outputs[:]
        own = dict(self._own)
        for name in names:
            value = ValueInfoProto(name=name)
            if name in own:
                value.type.CopyFrom(own[name])
            outputs.append(value)
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3
        kept = self._proto.SerializeToString()
        session = self._runtime.InferenceSession(kept, options, providers=["CPUExecutionProvider"])
        given = {v.name: inputs[v.name] for v in session.get_inputs() if v.name in inputs}
        return list(session.run(list(names), given))


def _chunks(asked: Sequence[tuple[Var, str]]) -> Iterator[list[tuple[Var, str]]]:
    """Runs of values that fit into CHUNK bytes together."""
    chunk: list[tuple[Var, str]] = []
    size = 0
    for var, name in asked:
        t = var.type
        bytes_ = t.nbytes if isinstance(t, Tensor) and t.is_static else 0
        if chunk and size + bytes_ > CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append((var, name))
        size += bytes_
    if chunk:
        yield chunk


# ---- Keras


class KerasEngine:
    """Keras on a file; the results of layers are seen as they are called, however deep they are nested."""

    exact = False

    def __init__(self, file: str, graph: Graph) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import keras

            self.file, self.graph, self._keras = file, graph, keras
            self.model = keras.models.load_model(file, compile=False)
        self._paths = dict(_paths(self.model, ""))

    def covers(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> set[Var]:
        return set(self._asked(graph, wanted, inputs).values())

    def values(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> Found:
        asked = self._asked(graph, wanted, inputs)

        def push(give: Callable[[Any], None]) -> None:
            def see(layer: int, value: Any) -> None:
                leaves = self._keras.tree.flatten(value)
                if layer in asked and leaves:
                    give((asked[layer], np.asarray(self._keras.ops.convert_to_numpy(leaves[0]))))

            self._run(inputs, see)

        with _foreign("keras", self.file):
            yield from pulled(push)

    def _asked(self, graph: Graph, wanted: Sequence[Var], inputs: Mapping[str, Any]) -> dict[int, Var]:
        """The values of layers that are called once; what a shared layer gives is not one value."""
        by_source = {source: v for v, source in sources_of(self.graph, graph, wanted).items()}
        calls: Counter[int] = Counter()
        with _foreign("keras", self.file):
            self._run(inputs, lambda layer, value: calls.update([layer]))
        found = ((layer, by_source.get(path)) for layer, path in self._paths.items() if calls[layer] == 1)
        return {layer: var for layer, var in found if var is not None}

    def _run(self, inputs: Mapping[str, Any], see: Callable[[int, Any], None]) -> None:
        """Call the model; `see(id of a layer, its result)` hears of every call of a layer."""
        cls = self._keras.layers.Layer
        original = cls.__call__

        def watched(layer: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(layer, *args, **kwargs)
            see(id(layer), result)
            return result

        chain = isinstance(self.model, self._keras.Sequential)  # it has one input, and `input` only after a call
        values = list(inputs.values())
        by_name = not chain and isinstance(self.model.input, dict)
        given = dict(inputs) if by_name else values[0] if len(values) == 1 else values
        cls.__call__ = watched
        try:
            self.model(given, training=False)
        finally:
            cls.__call__ = original


def _paths(model: Any, path: str) -> Iterator[tuple[int, str]]:
    """The layers of a model and of those inside, by their ids, with their paths."""
    for layer in getattr(model, "layers", ()):
        where = f"{path}/{layer.name}".lstrip("/")
        yield id(layer), where
        yield from _paths(layer, where)


class _Stopped(Exception):  # noqa: N818 - a signal to the thread that nobody listens any more
    pass


def pulled(push: Callable[[Callable[[Any], None]], None]) -> Iterator[Any]:
    """What a function gives away, one by one: it runs on a thread, and waits until somebody asks for more."""
    queue: Queue[tuple[str, Any]] = Queue(maxsize=1)
    stopped = threading.Event()

    def give(kind: str, item: Any) -> None:
        while not stopped.is_set():
            try:
                queue.put((kind, item), timeout=0.05)
                return
            except Full:
                continue
        raise _Stopped

    def work() -> None:
        try:
            push(partial(give, "item"))
            give("end", None)
        except _Stopped:
            pass
        except Exception as error:
            with suppress(_Stopped):
                give("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, item = queue.get()
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item
    finally:
        stopped.set()
        thread.join()
