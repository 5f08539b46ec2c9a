"""Opening what Keras wrote: a `.keras` zip or an HDF5 file, from a path or from bytes.  A file is data, never trusted.

The zip is read in memory within limits on members, sizes and ratio; nothing is extracted.  Every HDF5 object is
reached over hard links only, and no dataset is read before its shape is known to be the expected one.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LoadError
from ...ir.aligned import aligned_empty
from .tensorflow import refuse_tensorflow

MAX_MEMBERS = 10_000
MAX_CONFIG = 256 << 20
MAX_TOTAL = 64 << 30
MAX_RATIO = 250  # Keras stores without compression; JSON compresses about 20 times
RATIO_FREE = 1 << 20  # members up to this size may be as compressible as they like

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
H5_ERRORS = (Exception,)  # a damaged file makes h5py raise about anything


@contextmanager
def errors_as(message: str, kinds: tuple[type[BaseException], ...], file: str | None) -> Iterator[None]:
    """Turn a library's errors into LoadErrors that name the file."""
    try:
        yield
    except LoadError as error:
        raise error.at(file=file) from None
    except kinds as error:
        raise LoadError(f"{message}: {error}", file=file) from None


class Archive:
    """The members of a `.keras` file."""

    def __init__(self, source: Any, file: str | None) -> None:
        self.file = file
        with errors_as("the archive is damaged", ZIP_ERRORS, file):
            self._zip = zipfile.ZipFile(source)
            self._check()

    def _check(self) -> None:
        members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            raise LoadError(f"the archive has {len(members)} members, more than {MAX_MEMBERS}")
        names = [m.filename for m in members]
        if len(set(names)) != len(names):
            raise LoadError("the archive holds two members of one name")
        if sum(m.file_size for m in members) > MAX_TOTAL:
            raise LoadError(f"the archive unpacks to more than {MAX_TOTAL >> 30} GiB")
        for m in members:
            parts = m.filename.replace("\\", "/").split("/")
            if m.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
                raise LoadError(f"the archive holds a path outside of itself: {m.filename!r}")
            if m.flag_bits & 1:
                raise LoadError(f"the member {m.filename!r} is encrypted")
            if m.file_size > RATIO_FREE and m.file_size > MAX_RATIO * max(m.compress_size, 1):
                raise LoadError(
                    f"the member {m.filename!r} unpacks from {m.compress_size} to {m.file_size} bytes, "
                    f"a ratio above {MAX_RATIO}"
                )

    @property
    def names(self) -> list[str]:
        return self._zip.namelist()

    def read(self, name: str, limit: int = MAX_TOTAL) -> bytes:
        """The bytes of a member; LoadError if it is missing or larger than the limit."""
        if name not in self.names:
            raise LoadError(f"the archive has no {name}; it holds {self.names[:10]}", file=self.file)
        with errors_as(f"{name} cannot be read", ZIP_ERRORS, self.file):
            info = self._zip.getinfo(name)
            if info.file_size > limit:
                raise LoadError(f"{name} has {info.file_size} bytes, more than {limit}")
            with self._zip.open(info) as member:
                data = member.read(info.file_size + 1)
            if len(data) != info.file_size:
                raise LoadError(f"{name} does not have the {info.file_size} bytes that the archive declares")
        return data

    def json(self, name: str) -> Any:
        """A member as JSON."""
        return parse_json(self.read(name, MAX_CONFIG), name, self.file)


def parse_json(text: Any, what: str, file: str | None) -> Any:
    """JSON from bytes or text; LoadError where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise LoadError(f"{what} is no valid JSON: {error}", file=file) from None


def read_text(opened: Any) -> bytes:
    """The whole of what `open_source` opened, which is to be text; LoadError where it is too long for that."""
    if isinstance(opened, bytes):
        return opened
    if Path(opened).stat().st_size > MAX_CONFIG:
        raise LoadError(f"the text has more than {MAX_CONFIG} bytes", file=opened)
    return Path(opened).read_bytes()


class H5:
    """An HDF5 file, read defensively."""

    def __init__(self, source: str | bytes, file: str | None) -> None:
        import h5py

        self.file, self._h5py = file, h5py
        with errors_as("the HDF5 data is damaged", H5_ERRORS, file):
            self._root = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")

    def close(self) -> None:
        """Give the file back."""
        self._root.close()

    def node(self, path: str, start: Any = None) -> Any:
        """The group or dataset at a path, None where there is nothing; LoadError at anything but a hard link."""
        here = self._root if start is None else start
        with errors_as(f"the HDF5 object {path!r} cannot be read", H5_ERRORS, self.file):
            for part in filter(None, path.split("/")):
                if not isinstance(here, self._h5py.Group) or (part not in ("", ".", "..") and part not in here):
                    return None
                if part in (".", ".."):
                    raise LoadError(f"the HDF5 path {path!r} leaves its group")
                link = here.get(part, getlink=True)
                if not isinstance(link, self._h5py.HardLink):
                    raise LoadError(f"the HDF5 object {path!r} is a {type(link).__name__}, which is not followed")
                here = here[part]
        return here

    def names(self) -> list[str]:
        """The paths of all objects over hard links, each object once."""
        found: list[str] = []
        with errors_as("the HDF5 objects cannot be listed", H5_ERRORS, self.file):
            self._root.visit(found.append)
        return found

    def attribute(self, group: Any, name: str) -> Any:
        """An attribute with bytes decoded; None where there is none."""
        with errors_as(f"the HDF5 attribute {name!r} cannot be read", H5_ERRORS, self.file):
            value = group.attrs.get(name)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def strings(self, group: Any, name: str) -> list[str]:
        """An attribute that is a list of strings; Keras cuts long ones into name0, name1, ..."""
        parts: list[Any] = []
        with errors_as(f"the HDF5 attribute {name!r} is no list of names", H5_ERRORS, self.file):
            if name in group.attrs:
                parts = [self.attribute(group, name)]
            while name not in group.attrs and f"{name}{len(parts)}" in group.attrs:
                parts.append(self.attribute(group, f"{name}{len(parts)}"))
            return [v.decode() if isinstance(v, bytes) else str(v) for part in parts for v in part]

    def dataset(self, path: str, start: Any = None, numbers: bool = True) -> Any:
        """The dataset (of numbers) at a path, which holds its own data; None where there is nothing."""
        found = self.node(path, start)
        if found is None:
            return None
        with errors_as(f"the HDF5 dataset {path!r} cannot be read", H5_ERRORS, self.file):
            if not isinstance(found, self._h5py.Dataset):
                raise LoadError(f"the HDF5 object {path!r} is a group, a dataset is needed")
            if found.external or found.is_virtual:
                raise LoadError(f"the HDF5 dataset {path!r} takes its data from elsewhere")
        if numbers and self.unfit(found):
            raise LoadError(f"the HDF5 dataset {path!r} {self.unfit(found)}", file=self.file)
        return found

    def unfit(self, dataset: Any) -> str:
        """Why the elements of a dataset cannot be weights; empty where they can."""
        with errors_as("the dtype of an HDF5 dataset cannot be read", H5_ERRORS, self.file):
            fits = dataset.dtype.kind in "biufV"  # V: bfloat16
            return "" if fits else f"holds {dataset.dtype}, numbers are needed"

    def shape(self, dataset: Any) -> tuple[int, ...]:
        """The shape that a dataset declares."""
        with errors_as("the shape of an HDF5 dataset cannot be read", H5_ERRORS, self.file):
            return tuple(int(d) for d in dataset.shape)

    def array(self, dataset: Any) -> Any:
        """The elements of a dataset (whose shape has been checked)."""
        with errors_as(f"the HDF5 dataset {dataset.name!r} cannot be read", H5_ERRORS, self.file):
            in_place = dataset.size and dataset.shape and not dataset.dtype.hasobject
            data = aligned_empty(dataset.shape, dataset.dtype) if in_place else dataset[()]
            if in_place:
                whole = self._h5py.h5s.ALL
                dataset.id.read(whole, whole, data)  # `read_direct` takes half as long again
            if dataset.attrs.get("dtype") == "bfloat16":
                import ml_dtypes

                return np.asarray(data).view(ml_dtypes.bfloat16)
        return data


def open_source(source: Any) -> tuple[Any, bytes, str | None]:
    """What to open, its first bytes, and the file's name for messages."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        return data, data[:8], None
    path = Path(source)
    refuse_tensorflow(path)
    try:
        with path.open("rb") as stream:
            return str(path), stream.read(8), str(path)
    except OSError as error:
        raise LoadError(f"cannot read the file: {error.strerror or error}", file=str(path)) from None
