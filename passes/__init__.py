"""Graph transformations, one a file.  `load_all` imports them, which enters them into `manager.PASSES`."""


def load_all() -> None:
    """Import every pass."""
    from . import batchnorm, chains, cse, dce, fold, fuse, layout, padding, recompute, remember, simplify  # noqa: F401
