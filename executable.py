"""`Executable`: a compiled model, to be called."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .backends.base import DEFAULT, backend
from .backends.base import Options as Options
from .errors import RunError
from .ir.graph import Graph, Var
from .ir.structure import pack, unpack
from .passes.manager import Context, PassManager, Record

if TYPE_CHECKING:
    from .debug.profile import Profile

Array = np.ndarray[Any, Any]


class Executable:
    """A compiled model; thread-safe and picklable.

    `graph` is the graph as loaded, `optimized` what runs, `records` what the passes did.  A model with state (stateful
    RNNs) keeps it from call to call; its states are inputs and outputs of the graph too, and a state that is given in
    a call takes the place of the kept one.  `inputs` and `output_names` are those that a caller gives and gets:
    states aside.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        backend_name: str = "numpy",
        passes: str | Sequence[str] = "inference",
        options: Options = DEFAULT,
        verify: bool = False,
        keep_text: bool = False,
        observe: Callable[[str, Graph], None] | None = None,
    ) -> None:
        self.graph, self.options, self.backend_name = graph, options, backend_name
        self._backend = backend(backend_name)
        names = self._backend.pipeline(passes)
        manager = PassManager(names, Context(self._backend.evaluate), verify, keep_text, observe)
        self.optimized = manager.run(graph.copy())
        self.records: list[Record] = manager.records
        self.passes = names
        self._start()

    def _start(self) -> None:
        self._program = self._backend.program(self.optimized, self.options)
        self._fetching: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()
        self._states = {s.input.name: s for s in self.optimized.state}
        hidden = {s.output for s in self.optimized.state}
        shown = enumerate(self.optimized.output_names)
        self.inputs = [v for v in self.optimized.inputs if v.name not in self._states]
        self.output_names = [name for i, name in shown if i not in hidden]
        self._kept: dict[str, Any] = {}
        self.reset_state()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("graph", "optimized", "records", "passes", "options", "backend_name", "_kept")
        return {k: self.__dict__[k] for k in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._backend = backend(self.backend_name)
        kept: dict[str, Any] = state["_kept"]
        self._start()
        self._kept.update(kept)

    # ---- inputs

    def reset_state(self) -> None:
        """Set every state to its first value."""
        self._kept = {s.input.name: s.first.data for s in self.optimized.state}

    @property
    def state(self) -> dict[str, Array]:
        """The current states by the name of their input (copies)."""
        return {name: np.array(value) for name, value in self._kept.items()}

    @property
    def _listed(self) -> str:
        """The inputs as messages show them."""
        return ", ".join(f"{v.name}: {v.type}" for v in self.inputs)

    def _arrays(self, named: Mapping[str, Any]) -> list[Any]:
        """Checked arrays in the order of the graph's inputs."""
        expected = {v.name for v in self.optimized.inputs}
        unknown, missing = set(named) - expected, {v.name for v in self.inputs} - set(named)
        if unknown or missing:
            raise RunError(f"expected inputs {self._listed}; missing {sorted(missing)}, unknown {sorted(unknown)}")
        values = {**self._kept, **named}
        return [self._backend.checked(v, values[v.name]) for v in self.optimized.inputs]

    def _named(self, args: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Positional and named arguments, or one structure of the model's own form, as a dict by input name."""
        names = [v.name for v in self.inputs]
        if len(args) == 1 and not named and not isinstance(args[0], np.ndarray):
            structure = self.optimized.metadata.get("input_structure")
            if isinstance(args[0], Mapping) or (structure is not None and isinstance(args[0], (list, tuple))):
                return self._from_structure(args[0], structure)
        if len(args) > len(names):
            raise RunError(f"expected {len(names)} inputs ({self._listed}), got {len(args)}")
        twice = set(names[: len(args)]) & set(named)
        if twice:
            raise RunError(f"inputs {sorted(twice)} are given twice")
        return {**dict(zip(names, args)), **named}

    def _from_structure(self, value: Any, structure: Any) -> dict[str, Any]:
        names = {v.name for v in self.optimized.inputs}
        if structure is None or (isinstance(value, Mapping) and set(value) <= names):
            return dict(value)
        return unpack(structure, value)

    # ---- running

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Run on arrays, in the order of the inputs or by name; returns what the model returns.

        One array for one output; else the model's own list or dict structure.
        """
        return self._packed(self.run(self._named(args, named)))

    def _packed(self, results: Mapping[str, Any]) -> Any:
        structure = self.optimized.metadata.get("output_structure")
        if structure is not None:
            return pack(structure, results)
        values = list(results.values())
        return values[0] if len(values) == 1 else values

    def run(self, inputs: Mapping[str, Any], fetch: Sequence[str] | None = None) -> dict[str, Any]:
        """Run on inputs by name; returns outputs by name.

        `fetch` asks for other values instead: names of values of the graph as loaded, paths of layers (their last
        output), or output names.
        """
        arrays = self._arrays(inputs)
        if fetch is not None:
            names, program = self._fetcher(tuple(fetch))
            return dict(zip(names, program(*arrays)))
        results = self._program(*arrays)
        if self._states:
            with self._lock:
                for name, state in self._states.items():
                    self._kept[name] = results[state.output]
        everything = dict(zip(self.optimized.output_names, results))
        return {name: everything[name] for name in self.output_names}

    def _fetcher(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        """A program for a copy of the loaded graph that returns the values asked for."""
        with self._lock:
            if names not in self._fetching:
                copy = self.graph.copy()
                copy.set_outputs([find_value(copy, name) for name in names], names)
                copy.state = []
                manager = PassManager(self.passes, Context(self._backend.evaluate))
                self._fetching[names] = self._backend.program(manager.run(copy), self.options)
            return names, self._fetching[names]

    def predict(self, x: Any, batch_size: int | None = None, verbose: int = 0) -> Any:
        """Run on many samples, `batch_size` at a time (default: all at once); results are joined along axis 0.

        x: an array, or the model's own structure of arrays.  verbose = 1 shows a progress bar.
        """
        args = x if isinstance(x, tuple) else (x,)
        named = self._named(args, {})
        total = len(next(iter(named.values())))
        if batch_size is None or batch_size >= total:
            return self._packed(self.run(named))
        if batch_size < 1:
            raise RunError(f"batch_size is {batch_size}, expected at least 1")
        parts = [
            self.run({k: v[i : i + batch_size] for k, v in named.items()})
            for i in _progress(range(0, total, batch_size), verbose)
        ]
        return self._packed({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})

    def plan(self, *args: Any, **named: Any) -> Any:
        """The plan for inputs like these: its steps, arena and memory figures."""
        return self._program.plan(self._arrays(self._named(args, named)))

    def profile(self, *args: Any, rounds: int = 5, **named: Any) -> Profile:
        """Where the time of a run goes: nodes, steps and layers with seconds (medians of `rounds` runs), operations,
        bytes, and their share of what this machine can do.  The state stays as it is.
        """
        from .debug.profile import profile

        arrays = self._arrays(self._named(args, named))
        return profile(self._program, arrays, rounds, self.backend_name)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<executable {self.graph.name!r} ({self._listed}) -> ({', '.join(self.output_names)})>"


def find_value(graph: Graph, name: str) -> Var:
    """The value that a name means: an output, an input or value by name, or the last value of a layer's path."""
    for out_name, var in zip(graph.output_names, graph.outputs):
        if out_name == name:
            return var
    found = [v for v in graph.inputs if v.name == name]
    for node in graph.nodes:
        found += [v for v in node.outputs if v.name == name]
    if not found:
        found = [node.outputs[0] for node in graph.nodes if node.source == name or node.source.startswith(name + "/")]
    if not found:
        sources = sorted({node.source for node in graph.nodes if node.source})
        raise RunError(f"the graph has no value or layer called {name!r}", hint=f"layers: {', '.join(sources)}")
    return found[-1]


def _progress(steps: Sequence[int], verbose: int) -> Iterator[int]:
    if not verbose:
        yield from steps
        return
    from rich.progress import track

    yield from track(steps, description="predict")


def random_inputs(graph: Graph, batch: int = 1, seed: int = 0) -> dict[str, Any]:
    """Seeded inputs for a graph: normal floats, small integers; symbols are `batch` on axis 0, 8 elsewhere."""
    from .ir import dims
    from .ir.types import Sequence as SequenceType
    from .ir.types import Tensor

    generator = np.random.default_rng(seed)
    states = {s.input.name for s in graph.state}
    lead = {
        name
        for v in graph.inputs
        if isinstance(v.type, Tensor) and v.type.shape
        for name in dims.symbols(v.type.shape[0])
    }

    def sample(t: Any) -> Any:
        if isinstance(t, SequenceType):
            return [sample(t.element)]
        if t.shape is None:
            raise RunError(f"cannot make an input of type {t}: its rank is not known", hint="give the inputs")
        values: dict[str, Any] = {n: batch if n in lead else 8 for d in t.shape for n in dims.symbols(d)}
        shape = tuple(dims.substitute(d, values) for d in t.shape)
        return _sample(generator, tuple(d if isinstance(d, int) else 8 for d in shape), t.dtype)

    return {v.name: sample(v.type) for v in graph.inputs if v.name not in states}


def _sample(generator: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    if dtype.is_float or dtype.kind == "complex":
        return generator.standard_normal(shape).astype(dtype.numpy)
    if dtype.kind == "string":
        return np.full(shape, "a", object)
    return generator.integers(0, 2, shape).astype(dtype.numpy)
