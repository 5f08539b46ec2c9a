"""Graph transformations, one a file.  `load_all` imports them, which enters them into `manager.PASSES`."""

from importlib import import_module
from pkgutil import iter_modules


def load_all() -> None:
    """Import every file of this folder."""
    for module in iter_modules(__path__):
        if not module.ispkg:
            import_module(f"{__name__}.{module.name}")
