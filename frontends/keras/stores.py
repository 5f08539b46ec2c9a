"""Where weights come from: the HDF5 tree of a `.keras` file, a legacy `.h5` file, a live model.

A store says what it holds for each layer (`find`); `assign` compares that with what the layers declare and reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...errors import LoadError
from ...layers import Layer, Parameter
from ...layers.base import snake_case
from .archive import H5, H5_ERRORS, errors_as

Declared = Mapping[Layer, Sequence[Parameter]]


class Entry(NamedTuple):
    """An array that is there, not yet read."""

    shape: tuple[int, ...]
    read: Callable[[], Any]


class WeightStore(Protocol):
    """Something that holds the weights of a model."""

    def find(self, model: Layer, declared: Declared) -> dict[Layer, list[Entry]]:
        """The arrays for each declared layer, in Keras' variable order."""
        ...


def assign(store: WeightStore, model: Layer, declared: Declared, file: str | None) -> None:
    """Give every parameter its data; LoadError with a table of all layers where count or shapes differ."""
    found = store.find(model, declared)
    wrong = []
    for layer, parameters in declared.items():
        entries = found.get(layer, [])
        expected, got = [p.shape for p in parameters], [e.shape for e in entries]
        if expected != got and not (not got and all(p.weight.kept for p in parameters)):  # a seed may be missing
            wrong.append((parameters[0].path if parameters else layer.name or "", layer.class_name, expected, got))
    if wrong:
        raise LoadError(f"the weights do not fit the model's configuration:\n{_table(wrong)}", file=file)
    for layer, parameters in declared.items():
        for parameter, entry in zip(parameters, found.get(layer, ())):
            parameter.data = entry.read()


def _table(rows: list[tuple[str, str, list[Any], list[Any]]]) -> str:
    lines = [("layer", "class", "expected", "found")]
    for path, cls, expected, got in rows:
        lines.append((path, cls, ", ".join(map(str, expected)) or "none", ", ".join(map(str, got)) or "none"))
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    return "\n".join("    " + "  ".join(c.ljust(w) for c, w in zip(line, widths)) + "  " + line[3] for line in lines)


# ---- .keras -----------------------------------------------------------------------------------------------------


class TreeStore:
    """model.weights.h5: groups follow attributes (`layers/bidirectional/forward_layer/cell/vars/0`).

    Members of a list are called by their class, numbered (`dense`, `dense_1`; saving_lib._save_container_state).
    Keras 2.13 called the list of layers `_layer_checkpoint_dependencies`; a member called by its own name is
    taken where there is none by class.
    """

    def __init__(self, h5: H5) -> None:
        self.h5 = h5

    def find(self, model: Layer, declared: Declared) -> dict[Layer, list[Entry]]:
        found = {}
        for layer, path in self._paths(model, ""):
            group = self.h5.node(f"{path}/{layer.store_path}/vars") if declared.get(layer) else None
            if group is not None:
                found[layer] = self._entries(group)
        return found

    def _paths(self, layer: Layer, path: str) -> Iterator[tuple[Layer, str]]:
        """Every layer with the group where it is stored."""
        yield layer, path
        for attribute, child in layer.children():
            if isinstance(child, Layer):
                yield from self._paths(child, "/".join(filter(None, (path, layer.store_path, attribute))))
                continue
            lists = [attribute, "_layer_checkpoint_dependencies"] if attribute == "layers" else [attribute]
            used: dict[str, int] = {}
            for each in child:
                base = snake_case(each.stored_as or each.class_name)
                number = used[base] = used.get(base, -1) + 1
                names = [f"{base}_{number}" if number else base, each.name]
                candidates = [f"{path}/{group}/{name}" for name in names for group in lists]
                there = (c for c in candidates if self.h5.node(c) is not None)
                yield from self._paths(each, next(there, candidates[0]))

    def _entries(self, group: Any) -> list[Entry]:
        with errors_as("the weights cannot be listed", H5_ERRORS, self.h5.file):
            count = len(group.keys())
        entries = []
        for i in range(count):
            dataset = self.h5.dataset(str(i), group)
            if dataset is None:
                raise LoadError(f"the group {group.name!r} has {count} members, but none called {i}", file=self.h5.file)
            entries.append(Entry(self.h5.shape(dataset), lambda d=dataset: self.h5.array(d)))  # type: ignore[misc]
        return entries


# ---- .h5 --------------------------------------------------------------------------------------------------------


class LegacyStore:
    """`model_weights/<layer>`: the layers below the model, each with the weights of all that is inside, in one list.

    The list has the trainable weights first (legacy_h5_format._legacy_weights).
    """

    def __init__(self, h5: H5, group: Any) -> None:
        self.h5, self.group = h5, group

    def find(self, model: Layer, declared: Declared) -> dict[Layer, list[Entry]]:
        (_, layers), *_ = model.children()
        wanted = {layer: legacy_order(layer, declared) for layer in layers}  # type: ignore[union-attr]
        wanted = {layer: order for layer, order in wanted.items() if order}
        groups = self._groups()
        if not all(layer.name in groups for layer in wanted) and len(groups) == len(wanted):
            groups = {layer.name: entries for layer, entries in zip(wanted, groups.values())}  # by position, as Keras
        found: dict[Layer, list[Entry]] = {}
        for layer, order in wanted.items():
            entries = groups.get(layer.name, [])
            if len(entries) != len(order):
                row = (layer.name or "", layer.class_name, [p.shape for p in order], [e.shape for e in entries])
                message = f"the weights do not fit the model's configuration:\n{_table([row])}"
                raise LoadError(message, file=self.h5.file)
            by_name = {p.name: entry for p, entry in zip(order, entries)}
            for owner in {p.layer for p in order}:
                found[owner] = [by_name[p.name] for p in declared[owner]]
        return found

    def _groups(self) -> dict[Any, list[Entry]]:
        """The entries of each layer that has any, in the file's order."""
        found = {}
        for name in self.h5.strings(self.group, "layer_names"):
            group = self.h5.node(name, self.group)
            if group is None:
                raise LoadError(f"the file has no weights group {name!r}", file=self.h5.file)
            entries = [self._entry(group, weight) for weight in self.h5.strings(group, "weight_names")]
            if entries:
                found[name] = entries
        return found

    def _entry(self, group: Any, name: str) -> Entry:
        dataset = self.h5.dataset(name, group)
        if dataset is None:
            raise LoadError(f"the file has no dataset {name!r}, which its list of weights names", file=self.h5.file)
        return Entry(self.h5.shape(dataset), lambda: self.h5.array(dataset))


def legacy_order(layer: Layer, declared: Declared) -> list[Parameter]:
    """The weights of a layer and all inside it in the order of legacy files."""
    weights = list(_weights(layer, declared, True))
    if not layer.trainable:
        return [p for p, _ in weights]
    return [p for p, trainable in weights if trainable] + [p for p, trainable in weights if not trainable]


def _weights(layer: Layer, declared: Declared, trainable: bool) -> Iterator[tuple[Parameter, bool]]:
    """Keras' `Layer.weights`: own ones, then those of the children; with whether each is trained."""
    trainable = trainable and layer.trainable
    own = (p for p in declared.get(layer, ()) if not p.weight.kept)  # Keras counts no seeds among the weights
    for parameter in sorted(own, key=lambda p: not p.weight.trainable):
        yield parameter, trainable and parameter.weight.trainable
    for _, child in layer.children():
        for each in [child] if isinstance(child, Layer) else child:
            yield from _weights(each, declared, trainable)


# ---- live models ------------------------------------------------------------------------------------------------


class LiveStore:
    """A Keras model in memory, of any backend; its objects are only asked for their attributes."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def find(self, model: Layer, declared: Declared) -> dict[Layer, list[Entry]]:
        found = {}
        for layer, live in _live(model, self.model):
            if declared.get(layer):
                owner = getattr(live, layer.store_path) if layer.store_path else live
                found[layer] = [_live_entry(v) for v in _variables(owner)]
        return found


def write_live(model: Layer, live_model: Any, declared: Declared) -> None:
    """Give the variables of a Keras model the data of the parameters."""
    for layer, live in _live(model, live_model):
        parameters = [p for p in declared.get(layer, ()) if not p.weight.kept]
        if parameters:
            owner = getattr(live, layer.store_path) if layer.store_path else live
            for variable, parameter in zip(_variables(owner), parameters):
                variable.assign(parameter.data)


def _live(layer: Layer, live: Any) -> Iterator[tuple[Layer, Any]]:
    """Every layer with the Keras object that it describes."""
    yield layer, live
    for attribute, child in layer.children():
        if isinstance(child, Layer):
            owner = getattr(live, layer.store_path) if layer.store_path else live
            yield from _live(child, getattr(owner, attribute, None))
            continue
        there = getattr(live, attribute, None)
        by_name = {getattr(each, "name", None): each for each in there or ()}
        for i, each in enumerate(child):
            match = by_name[each.name] if each.name in by_name else (there or [])[i]
            yield from _live(each, match)


def _variables(live: Any) -> list[Any]:
    """The variables of a Keras layer itself, trainable ones first, as `save_own_variables` stores them."""
    own: dict[str, Any] = {}
    if hasattr(live, "save_own_variables"):
        live.save_own_variables(own)
        return [own[key] for key in sorted(own, key=lambda k: (len(k), k))]
    return list(live.weights) if hasattr(live, "weights") else [live.state]  # a SeedGenerator has its state alone


def _live_entry(variable: Any) -> Entry:
    def read() -> Any:
        return np.array(variable.numpy() if hasattr(variable, "numpy") else variable)

    return Entry(tuple(int(d) for d in variable.shape), read)
