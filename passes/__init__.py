"""Graph transformations, one a file.  `load_all` imports them, which enters them into `manager.PASSES`."""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules


def load_one(name: str) -> None:
    """Import the file that is called like a pass, if there is one: no others, which take time."""
    module = name.replace("-", "_")
    if module.isidentifier() and find_spec(f"{__name__}.{module}") is not None:
        import_module(f"{__name__}.{module}")


def load_all() -> None:
    """Import every file of this folder."""
    for module in iter_modules(__path__):
        if not module.ispkg:
            import_module(f"{__name__}.{module.name}")
