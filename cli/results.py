"""What a run returned, on the screen and in files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LoadError, RunError, UnsupportedError
from ..files import write_atomically

ROWS, COLUMNS = 10, 10  # shown at most
CELL = 13  # characters that a column of numbers takes

Array = np.ndarray[Any, Any]


def read_labels(file: str) -> list[str]:
    """Names of classes: a JSON list, or one a line."""
    try:
        text = Path(file).read_text(encoding="utf-8")
        found = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LoadError(f"cannot read the labels: {reason}", file=file) from None
    return [str(label) for label in found]


def save(results: Mapping[str, Any], file: str) -> None:
    """Write outputs as .npz, or a single one as .npy; whole or not at all."""
    suffix = Path(file).suffix.lower()
    stored = {name: _npy(name, value, file) for name, value in results.items()}
    if suffix == ".npy" and len(stored) == 1:
        write_atomically(file, b"".join(stored.values()))
    elif suffix == ".npz":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:  # np.savez has names of its own that outputs may not have
            for name, data in stored.items():
                archive.writestr(f"{name}.npy", data)
        write_atomically(file, buffer.getvalue())
    else:
        what = f"cannot write {len(stored)} outputs as {suffix or 'such'} files"
        raise UnsupportedError(what, file=file, hint="use .npz")


def _npy(name: str, value: Any, file: str) -> bytes:
    array, buffer = np.asarray(value), io.BytesIO()
    if array.dtype == object:
        raise UnsupportedError(f"output {name!r} holds no numbers", file=file, hint="leave --output out")
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def tables(results: Mapping[str, Any], top_k: int = 0, labels: Sequence[str] = (), width: int = 160) -> Iterator[Any]:
    """For each output a heading and a table of rich: the `top_k` classes of each sample, or the values themselves.

    `width`: characters in a line of the screen.
    """
    for name, value in results.items():
        array = as_array(value)
        yield heading(name, array)
        if top_k and array.ndim >= 1 and array.dtype != object and array.shape[-1] > 0:
            yield _top_table(name, array, top_k, labels)
        else:
            yield _value_table(array, labels, max(1, min(COLUMNS, width // CELL - 2)))


def as_array(value: Any) -> Array:
    """An output as an array; a sequence as one of objects."""
    return np.asarray(value, object) if isinstance(value, list) else np.asarray(value)


def heading(name: str, array: Array) -> str:
    """Name, type and range of an output."""
    text = f"{name}: {array.dtype}{list(array.shape)}"
    if array.size and array.dtype.kind in "iuf":
        text += f"  min {array.min():.6g}  mean {array.mean():.6g}  max {array.max():.6g}"
    return text


def _table(columns: Sequence[str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    table.add_column("sample", style="dim", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table


def _rows_of(array: Array) -> Array:
    """Two axes: samples, and the elements of each."""
    return array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1)


def _value_table(array: Array, labels: Sequence[str], most: int) -> Any:
    rows = _rows_of(array)
    count = rows.shape[1]
    shown = min(count, most)
    columns = [labels[i] if count == len(labels) else str(i) for i in range(shown)] + (["…"] if count > shown else [])
    table = _table(columns)
    for number, row in enumerate(rows[:ROWS]):
        more = [f"{count - shown} more"] if count > shown else []
        table.add_row(str(number), *_cells(row[:shown]), *more)
    _note_rest(table, len(rows))
    return table


def _cells(values: Array) -> list[Any]:
    from rich.text import Text

    return [Text(f"{v:.4g}" if isinstance(v, (float, np.floating)) else str(v)) for v in values]


def _top_table(name: str, array: Array, top_k: int, labels: Sequence[str]) -> Any:
    from rich.text import Text

    rows = array.reshape(-1, array.shape[-1])
    classes = rows.shape[1]
    if labels and len(labels) != classes:
        raise RunError(f"{len(labels)} labels for the {classes} classes of output {name!r}")
    count = min(top_k, classes)
    table = _table([f"top {i + 1}" for i in range(count)])
    for number, row in enumerate(rows[:ROWS]):
        best = np.argsort(-row, kind="stable")[:count]
        table.add_row(str(number), *(Text(f"{labels[i] if labels else i}  {row[i]:.4g}") for i in best))
    _note_rest(table, len(rows))
    return table


def _note_rest(table: Any, count: int) -> None:
    if count > ROWS:
        table.caption = f"{count - ROWS} more samples; --output FILE.npz keeps them all"
        table.caption_justify = "left"
