"""The kernels, one file a family, mirrored on `ir/ops/`, with files `BESIDE` it for long ones.

A file is imported when `registry.KERNELS` is asked for a kernel of its.
"""

# family: files that have what the one called like it has not
BESIDE: dict[str, tuple[str, ...]] = {
    "control": ("chains",),
    "conv": ("conv_grad",),
    "elementwise": ("casts",),
    "pool": ("pool_grad", "pool_indices", "resize"),
    "recurrent": ("recurrent_grad",),
}
