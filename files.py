"""Writing files, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import TenunError


def write_atomically(path: str | Path, data: bytes) -> None:
    """Put the data under a path: into a temporary file beside it, which is then renamed.

    Whoever looks finds the old file or the new one, and the old one survives a failure.  Links are followed; pipes
    and devices are written to as they are.  Raises TenunError naming the file where the system refuses.
    """
    target = Path(path).resolve()
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_bytes(data)
        else:
            _write_beside(target, data)
    except OSError as error:
        raise TenunError(f"cannot write the file: {error.strerror or error}", file=str(path)) from None


def _write_beside(target: Path, data: bytes) -> None:
    import secrets

    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
