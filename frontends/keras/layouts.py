"""Arrays that earlier versions, cuDNN's layers and Theano laid out otherwise, as Keras 3 lays them out.

`LAYOUTS` has for each op of recurrent cells and for each kind of convolution what may be found in a legacy file; what a
file means is told by its shapes, its `keras_version` and its `backend`
(tf_keras/src/saving/legacy/hdf5_format.py: preprocess_weights_for_loading; keras 2.2, engine/saving.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np

from ...layers import Layer, Parameter
from ...layers.base import is_of

if TYPE_CHECKING:
    from ...layers.recurrent import Cell

Array = np.ndarray[Any, Any]


class Entry(NamedTuple):
    """An array that is there, not yet read; `fault`: why it is no weight, whatever its shape."""

    shape: tuple[int, ...]
    read: Callable[[], Any]
    fault: str = ""


def stored_count(parameter: Parameter, version: str) -> int:
    """How many arrays of a legacy file make up one variable: Keras 1 had one for each gate of a recurrent layer."""
    layer = parameter.layer
    return layer.gates if _is_cell(layer) and version.startswith("1") else 1


def todays(layer: Layer, entries: list[Entry], version: str, backend: str) -> list[Entry]:
    """The arrays of a layer as Keras 3 lays them out, in its order."""
    if _is_cell(layer):
        return _recurrent(layer, entries)
    if entries and layer.class_name in CONVOLUTIONS:
        return [_convolution(layer, entries[0], version, backend), *entries[1:]]
    return entries


def _is_cell(layer: Layer) -> TypeGuard[Cell]:
    return is_of(layer, "recurrent", "Cell")


def _made(shape: tuple[int, ...], sources: Sequence[Entry], make: Callable[..., Array]) -> Entry:
    fault = next(filter(None, (each.fault for each in sources)), "")
    return Entry(shape, lambda: np.ascontiguousarray(make(*(each.read() for each in sources))), fault)


# ---- recurrent layers -------------------------------------------------------------------------------------------

GATES = {"lstm": (0, 2, 1, 3), "gru": (0, 1, 2), "rnn": (0,)}  # Keras 1 kept i c f o, z r h


def _recurrent(layer: Cell, entries: list[Entry]) -> list[Entry]:
    if len(entries) == 3 * layer.gates > 3:
        entries = [_beside([entries[3 * gate + i] for gate in GATES[layer.op]]) for i in range(3)]
    if len(entries) != 3 or len(entries[1].shape) != 2:
        return entries
    kernel, recurrent, bias = entries
    columns = recurrent.shape[0] * layer.gates
    if bias.shape != (2 * columns,) or layer.gates == 1:
        return entries
    return [  # of cuDNN: gate by gate transposed, two biases
        _made(kernel.shape, [kernel], lambda k: _each_gate(k, layer.gates, lambda g: g.reshape(g.shape[::-1]).T)),
        _made(recurrent.shape, [recurrent], lambda r: _each_gate(r, layer.gates, lambda g: g.T)),
        _made((2, columns), [bias], lambda b: b.reshape(2, -1))
        if layer.op == "gru"
        else _made((columns,), [bias], lambda b: b.reshape(2, -1).sum(0)),
    ]


def _beside(parts: list[Entry]) -> Entry:
    """Arrays along their last axis."""
    *outer, last = parts[0].shape
    return _made((*outer, last * len(parts)), parts, lambda *arrays: np.concatenate(arrays, axis=-1))


def _each_gate(x: Array, gates: int, change: Callable[[Array], Array]) -> Array:
    return np.concatenate([change(part) for part in np.split(x, gates, axis=1)], axis=1)


# ---- convolutions -----------------------------------------------------------------------------------------------

CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose")


def _convolution(layer: Any, kernel: Entry, version: str, backend: str) -> Entry:
    """A kernel (..., in, out): Theano's turned by 180 degrees, those of Keras 1 in the order of `dim_ordering`."""
    if backend == "theano":
        axes = tuple(range(len(kernel.shape) - 2))
        kernel = _made(kernel.shape, [kernel], lambda k: np.flip(k, axes))
    order = KERAS_1.get((layer.class_name, layer.data_format)) if version.startswith("1") else None
    if order is not None and len(kernel.shape) == len(order):
        kernel = _made(tuple(kernel.shape[i] for i in order), [kernel], lambda k: k.transpose(order))
    if version.startswith("1") and layer.class_name == "Conv1D" and len(kernel.shape) == 4:
        steps, _, *rest = kernel.shape  # it was a convolution in two dimensions
        kernel = _made((steps, *rest), [kernel], lambda k: k[:, 0])
    return kernel


# (class, data format): the axes of Keras 1's kernel in today's order
KERAS_1 = {
    ("Conv2D", "channels_first"): (2, 3, 1, 0),
    ("Conv2DTranspose", "channels_last"): (0, 1, 3, 2),
    ("Conv2DTranspose", "channels_first"): (2, 3, 0, 1),
    ("Conv3D", "channels_first"): (2, 3, 4, 1, 0),
}
