"""Taking up a training that was broken off: the whole state of it in a file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LoadError, RunError
from ...files import write_atomically
from ...ir.types import dtype
from .base import Array, Callback, History
from .checkpoint import Saver


class BackupAndRestore(Saver):
    """Take up training where it was broken off: back up all that it depends on, and restore it when `fit` begins.

    backup_dir: holds `latest.npz`, written whole or not at all: the model's training state, the numbers of epoch and
    batch, the history, and what other callbacks go by (`Callback.kept`).  save_freq: "epoch" or a number of batches;
    double_checkpoint: keep the backup before, and use it where the latest one cannot be read; delete_checkpoint: delete
    backups when training has ended.  `fit` goes on at `model.resume_at`, an epoch and a batch in it.  Raises LoadError
    where a backup cannot be read.
    """

    rank = 2  # others have to have seen the epoch that is backed up, and must not reset what is restored

    def __init__(
        self, backup_dir: str | os.PathLike[str], save_freq: Any = "epoch", double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:  # fmt: skip
        if not backup_dir:
            raise RunError("Empty `backup_dir` argument passed")
        self.backup_dir, self.save_freq = os.fspath(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self._check_save_freq()
        self._current_epoch = 0
        self._path = Path(self.backup_dir) / "latest.npz"
        self._previous = Path(self.backup_dir) / "latest.npz.bkp"
        self._pending: tuple[dict[str, Array], Any] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self._pending = None
        if self._path.exists() or self._previous.exists():
            found = self._read()
            self._restore(*found)
            self._pending = found if self.model.resume_at[1] else None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._current_epoch = epoch
        if self._pending is not None:  # in the middle of an epoch, whose begin others have seen twice now
            self._restore(*self._pending)
            self._pending = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._should_save_on_batch(batch):
            self._save(self._current_epoch, batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._last_batch_seen = None
        if self.save_freq == "epoch":
            self._save(epoch + 1, 0)

    def on_train_end(self, logs: Any = None) -> None:
        if self.delete_checkpoint and os.path.isdir(self.backup_dir):
            self._path.unlink(missing_ok=True)
            self._previous.unlink(missing_ok=True)
            if not os.listdir(self.backup_dir):
                os.rmdir(self.backup_dir)

    def _save(self, epoch: int, batch: int) -> None:
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint and self._path.exists():
            os.replace(self._path, self._previous)
        history = self.model.history or History()
        facts: dict[str, Any] = {
            "epoch": epoch,
            "batch": batch,
            "history": history.history,
            "epochs": history.epoch,
            "callbacks": {},
        }
        named = {f"model/{k}": np.asarray(v) for k, v in self.model.training_state().items()}
        for label, each in self._resumable():
            values = {k: getattr(each, k) for k in each.kept}
            weights = [k for k, v in values.items() if isinstance(v, list) and v and isinstance(v[0], np.ndarray)]
            for name in weights:
                named |= {f"{label}/{name}/{i}": a for i, a in enumerate(values.pop(name))}
            facts["callbacks"][label] = values
        write_atomically(self._path, packed(named, facts))

    def _resumable(self) -> list[tuple[str, Callback]]:
        """Other callbacks with something to keep, under names that are the same in the next run."""
        found = [c for c in self.peers if getattr(c, "kept", ())]
        return [(f"{i}.{type(c).__name__}", c) for i, c in enumerate(found)]

    def _read(self) -> tuple[dict[str, Array], Any]:
        """The latest backup that can be read."""
        found = [p for p in (self._path, self._previous) if p.exists()]
        for path in found:
            try:
                return unpacked(path.read_bytes())
            except Exception as error:  # a broken file makes zip and NumPy raise all kinds of errors
                if path == found[-1]:
                    hint = "delete it to start from the beginning"
                    raise LoadError(f"the backup cannot be read: {error}", file=str(path), hint=hint) from None
        raise AssertionError

    def _restore(self, named: dict[str, Array], facts: Any) -> None:
        self.model.set_training_state({k[6:]: v for k, v in named.items() if k.startswith("model/")})
        self.model.resume_at = facts["epoch"], facts["batch"]
        self._last_batch_seen = facts["batch"] - 1 if facts["batch"] else None
        if self.model.history is not None:
            self.model.history.history.update(facts["history"])
            self.model.history.epoch[:] = facts["epochs"]
        for label, each in self._resumable():
            values = facts["callbacks"].get(label, {})
            for name in each.kept:
                weights = [v for k, v in named.items() if k.startswith(f"{label}/{name}/")]
                if weights or name in values:
                    setattr(each, name, weights or values[name])


def packed(named: Mapping[str, Array], facts: Mapping[str, Any]) -> bytes:
    """Arrays by name, and facts as JSON, in the .npz format; no pickles.

    Dtypes that NumPy does not know (bfloat16) are stored as bytes.  RunError for arrays of objects.
    """
    wrong = [k for k, v in named.items() if v.dtype.kind == "O"]
    if wrong:
        raise RunError(f"{wrong[0]} holds Python objects, which cannot be saved")
    types = {k: (v.dtype.name, v.shape) for k, v in named.items() if v.dtype.kind == "V"}
    text = json.dumps({**facts, "types": types, "names": list(named)}, default=lambda a: a.tolist())
    arrays = [np.frombuffer(v.tobytes(), np.uint8) if k in types else v for k, v in named.items()]
    buffer = io.BytesIO()
    np.savez(buffer, *arrays, facts=np.frombuffer(text.encode(), np.uint8))
    return buffer.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, Array], Any]:
    """What `packed` has packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        facts = json.loads(file["facts"].tobytes())
        named = {name: file[f"arr_{i}"] for i, name in enumerate(facts.pop("names"))}
    for name, (kind, shape) in facts.pop("types").items():
        named[name] = np.frombuffer(named[name].tobytes(), dtype(kind).numpy).reshape(shape)
    return named, facts
