"""Compiled kernels, one file a family, mirrored on `ir/ops/`.  Importing this package fills `registry.ROWS`."""

from . import chains, conv, elementwise, linalg, norm, pool, recurrent, winograd  # noqa: F401
