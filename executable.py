"""`Executable`: a compiled model, to be called."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .backends.base import DEFAULT, backend
from .backends.base import Options as Options
from .debug.values import find_values, swallowed
from .errors import RunError
from .ir.graph import Graph, Node
from .ir.samples import random_inputs as random_inputs
from .ir.structure import pack, unpack
from .passes.manager import Context, PassManager, Record, Verify

if TYPE_CHECKING:
    from .debug.explain import Explanation
    from .debug.profile import Profile

Array = np.ndarray[Any, Any]
OnNode = Callable[[Node, list[Any]], None]


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
        verify: Verify = False,
        sample: Mapping[str, Any] | None = None,
        keep_text: bool = False,
        observe: Callable[[str, Graph], None] | None = None,
    ) -> None:
        self.graph, self.options, self.backend_name = graph, options, backend_name
        self._backend = backend(backend_name)
        names = self._backend.pipeline(passes)
        manager = PassManager(names, Context(self._backend.evaluate), verify, keep_text, observe, sample=sample)
        self.optimized = manager.run(graph.copy())
        self.records: list[Record] = manager.records
        self.passes = names
        self._start()

    def _start(self) -> None:
        self._program = self._backend.program(self.optimized, self.options)
        self._fetching: dict[tuple[str, ...], tuple[tuple[str, ...], Any]] = {}
        self._lock = threading.Lock()
        self._states = {s.input.name: s for s in self.optimized.state}
        hidden = {s.output for s in self.optimized.state}
        shown = enumerate(self.optimized.output_names)
        self.inputs = [v for v in self.optimized.inputs if v.name not in self._states]
        self.output_names = [name for i, name in shown if i not in hidden]
        structure = self.optimized.metadata.get("output_structure")
        self._single = len(self.output_names) == 1 and not isinstance(structure, (list, dict))
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
        plain = not named and len(args) == len(self.inputs) and not self._states
        if plain and all(type(x) is np.ndarray for x in args):  # nothing to look up
            results = self._program(*[self._backend.checked(v, x) for v, x in zip(self.inputs, args)])
            return results[0] if self._single else self._packed(dict(zip(self.output_names, results)))
        return self._packed(self.run(self._named(args, named)))

    def _packed(self, results: Mapping[str, Any]) -> Any:
        structure = self.optimized.metadata.get("output_structure")
        if structure is not None:
            return pack(structure, results)
        values = list(results.values())
        return values[0] if len(values) == 1 else values

    def run(
        self,
        inputs: Mapping[str, Any],
        fetch: str | Sequence[str] | None = None,
        on_node: OnNode | None = None,
    ) -> dict[str, Any]:
        """Run on inputs by name; returns outputs by name.

        `fetch` asks for other values instead: output names, paths of layers (their last output; `dense:1` for another
        one), values as `print(graph)` names them (`%relu_1`), or patterns of these (`block_*`; `*` is every layer).
        What fusing would have swallowed is kept apart in a program of its own (the logger "tenun" says so, and
        `explain`).

        `on_node(node, arrays)` is called after every node that does something, with its results: views, which are
        valid until it returns.  Such a run is never cut into shards.
        """
        arrays = self._arrays(inputs)
        if fetch is not None:
            names, program = self._fetcher((fetch,) if isinstance(fetch, str) else tuple(fetch))
            return dict(zip(names, _observed(program, arrays, on_node)))
        results = _observed(self._program, arrays, on_node)
        if self._states:
            with self._lock:
                for name, state in self._states.items():
                    self._kept[name] = results[state.output]
        everything = dict(zip(self.optimized.output_names, results))
        return {name: everything[name] for name in self.output_names}

    def _fetcher(self, asked: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        """The names of what is asked for, and a program for a copy of the loaded graph that returns that."""
        with self._lock:
            if asked not in self._fetching:
                import logging

                log = logging.getLogger("tenun")
                copy = self.graph.copy()
                values = find_values(copy, asked)
                for name, var in values.items():
                    inside = swallowed(self.optimized, var)
                    if inside is not None:
                        log.info("%s is kept apart: the optimised graph computes it within %s", name, inside)
                copy.set_outputs(values.values(), values)
                copy.state = []
                manager = PassManager(self.passes, Context(self._backend.evaluate))
                self._fetching[asked] = tuple(values), self._backend.program(manager.run(copy), self.options)
            return self._fetching[asked]

    def explain(self, layer: str, *args: Any, **named: Any) -> Explanation:
        """What became of a layer: its nodes as loaded, the passes that touched them, what runs in their place, by which
        algorithm and why, where its results lie in memory, and what time it takes.

        For inputs like those given (default: seeded ones).  RunError lists the layers where none is called so.
        """
        from .debug.explain import explain

        inputs = self._named(args, named) if args or named else random_inputs(self.graph)
        return explain(self, layer, inputs)

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

    def _repr_html_(self) -> str:
        """The table of a notebook."""
        from .debug.html import executable_html

        return executable_html(self)

    def __repr__(self) -> str:
        return f"<executable {self.graph.name!r} ({self._listed}) -> ({', '.join(self.output_names)})>"


def _observed(program: Any, arrays: list[Any], on_node: OnNode | None) -> list[Any]:
    """A run of a program; with `on_node` a whole one, of which every node is told."""
    if on_node is None:
        return program(*arrays)  # type: ignore[no-any-return]
    plan, key = program.whole.take(arrays)

    def watch(node: Node) -> None:
        on_node(node, [plan.arrays[v] if v in plan.arrays else plan.loose.get(v) for v in node.outputs])

    try:
        with program.running(plan):
            return plan.run(arrays, watch)  # type: ignore[no-any-return]
    finally:
        program.whole.give_back(key, plan)


def _progress(steps: Sequence[int], verbose: int) -> Iterator[int]:
    if not verbose:
        yield from steps
        return
    from rich.progress import track

    yield from track(steps, description="predict")
