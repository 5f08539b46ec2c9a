"""The kernels, one file a family, mirrored on `ir/ops/`.  Importing this package fills `registry.KERNELS`."""

from . import (  # noqa: F401
    control,
    conv,
    elementwise,
    index,
    linalg,
    norm,
    pool,
    pool_indices,
    random,
    recurrent,
    reduce,
    resize,
    sequence,
    shape,
    string,
)
