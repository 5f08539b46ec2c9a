"""A graph that runs on arrays: plans for the input shapes that it meets, kept in a bounded cache.

A plan has memory of its own, so every plan serves one thread at a time; threads that come together get twins.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import RunError, ShapeError, TenunError
from ...ir.dims import Dim
from ...ir.graph import Graph, Var
from ...ir.rebuild import bind_symbols, rebuild
from ...ir.types import Container, Map, Optional, Tensor, Type, string, type_of
from ...ir.types import Sequence as ListOf
from ...passes.algorithms import Tuner
from ...passes.fold import Memo
from ...passes.manager import Context, PassManager, pipeline
from ..base import DEFAULT, Options
from .evaluate import evaluate, run_time_type
from .plan import Plan
from .registry import NUMPY, Kernels
from .storage import Resident, lives

if TYPE_CHECKING:
    from ...passes.recompute import Recomputation

CACHE = 16  # plans kept for different input shapes


class Program:
    """A graph as a function on arrays; thread-safe.

    States with an array in `resident` (by the name of their input) are read and changed there by every run: they are
    neither inputs nor outputs of the function, which then serves one thread at a time.  To come by with the options'
    `memory_limit`, values are computed twice; RunError where that is not enough.
    """

    def __init__(
        self, graph: Graph, options: Options = DEFAULT, resident: Resident | None = None, cache: int = CACHE,
        kernels: Kernels = NUMPY,
    ) -> None:  # fmt: skip
        self.graph, self.options, self.resident, self.cache = graph, options, resident or {}, cache
        self.kernels = kernels
        self._memo = Memo(graph)
        self._lock = threading.Lock()
        self._idle: OrderedDict[tuple[Any, ...], list[Plan]] = OrderedDict()

    @property
    def output_types(self) -> tuple[Any, ...]:
        """The types of the outputs, as far as they are known."""
        return tuple(v.type for v in self.graph.outputs)

    def __call__(self, *inputs: Any) -> list[Any]:
        """The outputs, fresh arrays."""
        plan, key = self.take(inputs)
        try:
            return plan.run(inputs)
        finally:
            self.give_back(key, plan)

    def _tuner(self) -> Tuner:
        from .tuning import measured  # which takes time to import, and few need it

        return partial(measured, kernels=self.kernels)

    def plan(self, inputs: Sequence[Any]) -> Plan:
        """The plan for inputs like these (made, if need be), to look at."""
        plan, key = self.take(inputs)
        self.give_back(key, plan)
        return plan

    def take(self, inputs: Sequence[Any]) -> tuple[Plan, tuple[Any, ...]]:
        """A plan for the caller alone, and its key."""
        key = tuple([(x.shape, x.dtype) if type(x) is np.ndarray else _kind(x) for x in inputs])
        with self._lock:
            idle = self._idle.get(key)
            if idle:
                return idle.pop(), key
        return self._make(inputs), key

    def give_back(self, key: tuple[Any, ...], plan: Plan) -> None:
        """Let others use the plan; the least recently used shapes are forgotten."""
        with self._lock:
            self._idle.setdefault(key, []).append(plan)
            self._idle.move_to_end(key)
            while len(self._idle) > self.cache:
                self._idle.popitem(last=False)

    def _make(self, inputs: Sequence[Any]) -> Plan:
        given = iter(inputs)
        everything = [self.resident[v.name] if v.name in self.resident else next(given) for v in self.graph.inputs]
        budget, options, buffers = None, self.options, partial(lives, resident=self.resident)
        if options.memory_limit is not None:
            from ...passes.recompute import Budget

            budget = Budget(options.memory_limit, buffers)
        tuner = self._tuner() if options.tune else None
        context = Context(
            evaluate,
            budget=budget,
            exact=options.exact,
            tuner=tuner,
            prices=self.kernels.prices,
            memo=self._memo,
            lives=partial(buffers, parts=False),
        )
        special = specialize(self.graph, everything, context)
        report = budget.report if budget is not None else None
        if report is not None and not report.fits:
            raise _too_little(special, report)
        try:
            return Plan(special, partial(Program, kernels=self.kernels), self.resident, report, self.kernels)
        except (MemoryError, OverflowError, ValueError) as error:
            shapes = ", ".join(f"{v.name}: {v.type}" for v in special.inputs)
            message = f"cannot plan {special.name!r} for inputs {shapes}: {error}"
            raise RunError(message, hint="give smaller inputs") from error


def _kind(x: Any) -> Any:
    """What plans depend on of an input that is no plain array."""
    return "list" if isinstance(x, list) else (np.shape(x), getattr(x, "dtype", None))


def _too_little(graph: Graph, report: Recomputation) -> RunError:
    shapes = ", ".join(f"{v.name}: {v.type}" for v in graph.inputs if v.name not in {s.input.name for s in graph.state})
    return RunError(
        f"the memory limit of {report.limit:,} bytes cannot be met for inputs {shapes}: the arena has "
        f"{report.before:,} bytes, {report.after:,} where all that helps is computed twice",
        hint=f"set the limit to {report.after} or more, or give smaller batches",
    )


def specialize(graph: Graph, inputs: Sequence[Any], context: Context) -> Graph:
    """The graph for inputs of exactly these types: symbols become numbers, shape arithmetic folds away."""
    tensors = [(v.name, run_time_type(x)) for v, x in zip(graph.inputs, inputs) if isinstance(v.type, Tensor)]
    types = {name: t for name, t in tensors if isinstance(t, Tensor)}
    symbols = bind_symbols(graph, types)
    special = rebuild(graph, {k: Tensor(t.dtype, t.shape) for k, t in types.items()}, symbols)
    passes = [p for p in pipeline("specialize") if p != "recompute" or context.budget is not None]
    return PassManager(passes, context).run(special)


def checked(var: Var, value: Any) -> Any:
    """A value given for an input as an array of the input's dtype; ShapeError tells expected and got."""
    return _checked(var, var.type, value)


def _checked(var: Var, want: Type, value: Any) -> Any:
    if isinstance(want, Optional):
        return None if value is None else _checked(var, want.element, value)
    if not isinstance(want, Tensor):
        return _checked_container(var, want, value)
    value = _as_text(var, value) if want.dtype is string else value
    exact = type(value) is np.ndarray and value.dtype == want.dtype.numpy
    if exact and want.shape is not None and value.ndim == len(want.shape):
        return value
    try:
        array = np.asarray(value)
        got = type_of(array)
    except (TypeError, ValueError, TenunError) as error:
        raise ShapeError(f"input {var.name!r}: expected {want}, got {type(value).__name__}: {error}") from None
    if got.dtype is not want.dtype:
        array = _cast(var, want, got, array)
    if want.shape is not None and abs(len(want.shape) - array.ndim) == 1:
        array = _with_last_axis(array, len(want.shape), want.shape[-1:])
    if want.shape is not None and len(want.shape) != array.ndim:
        raise ShapeError(
            f"input {var.name!r}: expected {want}, got {type_of(array)}",
            hint="the first axis is the batch" if array.ndim == len(want.shape) - 1 else None,
        )
    return array


def _with_last_axis(array: Any, rank: int, last: tuple[Dim, ...]) -> Any:
    """A column given without its last axis of 1, or the other way round: Keras models take both."""
    if array.ndim < rank and last == (1,):
        return array[..., None]
    return array[..., 0] if array.ndim > rank and array.shape[-1] == 1 else array


def _as_text(var: Var, value: Any) -> Any:
    """Texts of any kind as Python's, bytes read as UTF-8 (what is none stays as lone surrogates)."""
    array = np.asarray(value)
    if array.dtype.kind not in "SUTO":
        return value
    texts = [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in array.reshape(-1).tolist()]
    other = next((v for v in texts if not isinstance(v, str)), None)
    if other is not None:
        raise ShapeError(f"input {var.name!r}: expected text, got a {type(other).__name__}: {other!r}")
    out = np.empty(array.size, object)
    out[:] = texts
    return out.reshape(array.shape)


def _checked_container(var: Var, want: Container, value: Any) -> Any:
    if isinstance(want, Map) and isinstance(value, Mapping):
        return {key: _checked(var, want.element, v) for key, v in value.items()}
    if isinstance(want, ListOf) and isinstance(value, (list, tuple)):
        return [_checked(var, want.element, v) for v in value]
    kind = "a dict" if isinstance(want, Map) else "a list"
    raise RunError(f"input {var.name!r}: expected {kind} ({want}), got {type(value).__name__}")


def _cast(var: Var, want: Tensor, got: Tensor, array: Any) -> Any:
    """Numbers are converted where no kind is lost (int to float, float to float, int to int that holds it)."""
    if want.dtype.is_float and (got.dtype.is_float or got.dtype.is_integer or got.dtype.kind == "bool"):
        return array.astype(want.dtype.numpy)
    if want.dtype.is_integer and (got.dtype.is_integer or got.dtype.kind == "bool"):
        narrowed = array.astype(want.dtype.numpy)
        if np.array_equal(narrowed, array):
            return narrowed
    if want.dtype.is_integer and got.dtype.is_float and np.array_equal(array, np.trunc(array)):
        return array.astype(want.dtype.numpy)
    raise ShapeError(f"input {var.name!r}: expected {want}, got {got}", hint=f"convert it to {want.dtype.numpy_name}")
