"""Arrays for a model's inputs out of files: .npy, .npz, .csv, images."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LoadError, RunError, UnsupportedError
from ..ir import dims
from ..ir.graph import Var
from ..ir.types import Tensor, string

Array = np.ndarray[Any, Any]


def gather(
    inputs: Sequence[Var], files: Sequence[str], named: Mapping[str, str], scale: float | None = None
) -> dict[str, Array]:
    """Arrays by input name: `files` in the order of the inputs, `named` by name.

    One .npz file whose arrays are called like the inputs serves all of them; several files for a model of one input
    are samples, one after another.  `scale` multiplies what the files hold (pixels: 1/255 unless told otherwise).
    """
    by_name = {v.name: v for v in inputs}
    unknown = sorted(set(named) - set(by_name))
    if unknown:
        raise RunError(f"the model has no input {unknown[0]!r}", hint=f"inputs: {_listed(inputs)}")
    free = [v for v in inputs if v.name not in named]
    found = {name: read(file, by_name[name], scale) for name, file in named.items()}
    if len(files) == 1 and len(free) > 1 and _is_npz(files[0]):
        return {**found, **_all_of(files[0], free, scale)}
    if len(free) == 1 and len(files) > 1:
        return {**found, free[0].name: _joined(files, [read(f, free[0], scale) for f in files])}
    if len(files) > len(free):
        raise RunError(f"{len(files)} files for {len(free)} inputs", hint=f"inputs: {_listed(inputs)}")
    return {**found, **{v.name: read(file, v, scale) for v, file in zip(free, files)}}


def _listed(inputs: Sequence[Var]) -> str:
    return ", ".join(f"{v.name}: {v.type}" for v in inputs) or "none"


def _is_npz(file: str) -> bool:
    return Path(file).suffix.lower() == ".npz"


def _all_of(file: str, inputs: Sequence[Var], scale: float | None) -> dict[str, Array]:
    return {v.name: _fitted(_scaled(_npz(file, v.name), scale), v) for v in inputs}


def _joined(files: Sequence[str], parts: Sequence[Array]) -> Array:
    for file, part in zip(files, parts):
        if part.ndim == 0 or part.shape[1:] != parts[0].shape[1:]:
            raise RunError(f"shape {part.shape} differs from {parts[0].shape} of {files[0]}", file=file)
    return np.concatenate(parts)


def read(spec: str, var: Var, scale: float | None = None) -> Array:
    """The array in a file, as an input; `FILE.npz:NAME` chooses one of several."""
    file, colon, member = spec.rpartition(":")
    if not (colon and _is_npz(file)):
        file, member = spec, ""
    suffix = Path(file).suffix.lower()
    if suffix not in READERS:
        known = " ".join(READERS)
        raise UnsupportedError(f"cannot read inputs from {suffix or 'such'} files", file=file, hint=f"one of {known}")
    if not Path(file).is_file():
        raise LoadError("the file does not exist", file=file)
    try:
        return READERS[suffix](file, member, var, scale)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, SyntaxError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LoadError(f"cannot read the {suffix} file: {reason}", file=file) from None


def _scaled(array: Array, scale: float | None) -> Array:
    return array if scale is None else (array * scale).astype(np.float32)


def _fitted(array: Array, var: Var) -> Array:
    """The array, with a batch axis in front if it is one sample."""
    shape = (var.type.shape if isinstance(var.type, Tensor) else None) or ()
    alone = len(shape) > 0 and array.ndim == len(shape) - 1 and all(map(dims.compatible, shape[1:], array.shape))
    return array[None] if alone else array


# ---- one function for each kind of file


def _read_npy(file: str, member: str, var: Var, scale: float | None) -> Array:
    return _fitted(_scaled(np.load(file, allow_pickle=False), scale), var)


def _read_npz(file: str, member: str, var: Var, scale: float | None) -> Array:
    return _fitted(_scaled(_npz(file, member, var.name), scale), var)


def _npz(file: str, member: str, otherwise: str = "") -> Array:
    """One array of an archive: the one asked for, else the one called like the input, else the only one."""
    with np.load(file, allow_pickle=False) as archive:
        names = archive.files
        wanted = member or (otherwise if otherwise in names else names[0] if len(names) == 1 else "")
        if wanted not in names:
            what = f"no array {wanted!r}" if wanted else f"several arrays, none called {otherwise!r}"
            hint = f"it holds {', '.join(names)}; choose one by {file}:NAME"
            raise LoadError(f"the archive has {what}", file=file, hint=hint)
        return np.asarray(archive[wanted])


def _read_csv(file: str, member: str, var: Var, scale: float | None) -> Array:
    """A line a sample (its elements in C order), or all lines one sample of rank 2; a heading is skipped."""
    lines = [line for line in Path(file).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if isinstance(var.type, Tensor) and var.type.dtype is string:
        return np.array([line.split(",") for line in lines], object)
    if lines and not _is_numeric(lines[0]):
        lines = lines[1:]
    if not lines:
        raise ValueError("there are no numbers in it")
    table = _scaled(np.loadtxt(lines, delimiter=",", ndmin=2), scale)
    return _samples(table, var)


def _is_numeric(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def _samples(table: Array, var: Var) -> Array:
    """Rows of numbers in the shape of the input."""
    t = var.type
    if not isinstance(t, Tensor) or not t.shape:
        return table
    sample = t.shape[1:]
    if dims.is_number(sample) and math.prod(int(d) for d in sample) == table.shape[1]:
        return table.reshape(len(table), *(int(d) for d in sample))
    if len(sample) == 0 and table.shape[1] == 1:
        return table[:, 0]
    return _fitted(table, var)


def _read_image(file: str, member: str, var: Var, scale: float | None) -> Array:
    """Pixels as one sample: in the input's size and order of axes; floats are scaled to 0..1 by default."""
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError("reading images needs Pillow", file=file, hint="pip install pillow") from None
    height, width, channels, first = _image_layout(var, file)
    with Image.open(file) as opened:
        image = opened.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
        size = (image.width if width is None else width, image.height if height is None else height)
        pixels = np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))
    pixels = pixels.reshape(1, *pixels.shape[:2], channels)
    if len(var.shape) == 3:
        pixels = pixels[..., 0]
    elif first:
        pixels = pixels.transpose(0, 3, 1, 2)
    is_float = var.tensor.dtype.is_float
    return _scaled(pixels, 1 / 255 if scale is None and is_float else scale)


def _image_layout(var: Var, file: str) -> tuple[int | None, int | None, int, bool]:
    """Height and width (None: any), channels, and whether the channels come first, by the input's type."""
    shape = var.type.shape if isinstance(var.type, Tensor) else None
    if shape is None or len(shape) not in (3, 4):
        raise RunError(f"input {var.name!r} is {var.type}, which takes no image", file=file)
    _, *sizes = (d if isinstance(d, int) else None for d in shape)
    if len(sizes) == 2:
        return sizes[0], sizes[1], 1, False
    if sizes[2] not in (1, 3, 4) and sizes[0] in (1, 3, 4):
        return sizes[1], sizes[2], sizes[0] or 3, True
    return sizes[0], sizes[1], sizes[2] if sizes[2] in (1, 3, 4) else 3, False


READERS: dict[str, Callable[[str, str, Var, float | None], Array]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".gif"), _read_image),
}
