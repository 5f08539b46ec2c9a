"""The declarations of all ops, one file a family.  Importing this package enters them into `ir.op.OPS`."""

from . import (  # noqa: F401
    attention,
    control,
    conv,
    elementwise,
    index,
    linalg,
    ml,
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
    vision,
    winograd,
)
