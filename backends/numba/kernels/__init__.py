"""Compiled kernels, one file a family, mirrored on `ir/ops/`.  Importing this package fills `registry.ROWS`."""

from . import chains, conv, elementwise, index, linalg, norm, pool, recurrent, recurrent_grad, winograd  # noqa: F401
