"""The operators of ONNX, lowered: one file a family.  Importing this package fills `registry.ROWS`."""

from . import (  # noqa: F401
    control,
    conv,
    index,
    linalg,
    math,
    norm,
    pool,
    quant,
    random,
    recurrent,
    reduce,
    sequence,
    shape,
    signal,
    string,
    training,
    vision,
)
