"""The command `tenun`.

`commands/` is what the shell sees, a file a family: the arguments, the options and what is done with them.  The other
files hold what that takes; a command imports it when it runs, so that `tenun --help` is quick.  Errors are one clear
line on stderr (and lines that say where, and what to do), exit status 1; `TENUN_DEBUG=1` shows the traceback instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import TenunError
from . import commands as commands
from .shell import app

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0, 1 after an error, 2 after a wrong command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a narrow encoding is no reason to fail
    try:
        app(args=arguments, prog_name="tenun")
    except Exception as error:
        if os.environ.get("TENUN_DEBUG", "0") not in ("", "0"):
            raise
        fail(error)
    sys.exit(0)


def fail(error: Exception) -> NoReturn:
    """Tell what went wrong, and exit with status 1."""
    if isinstance(error, TenunError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.strerror or error}" + (f"\n  file: {error.filename}" if error.filename else "")
    elif isinstance(error, MemoryError):
        text = "out of memory\n  hint: smaller parts may fit: --batch N"
    else:
        text = f"internal error: {type(error).__name__}: {error}\n  hint: TENUN_DEBUG=1 shows where; please report it"
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)
