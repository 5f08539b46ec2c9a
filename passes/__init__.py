"""Graph transformations, one a file.  `load_all` imports them, which enters them into `manager.PASSES`."""

from importlib import import_module


def load_one(name: str) -> None:
    """Import the file that is called like a pass, if there is one: no others, which take time."""
    file = name.replace("-", "_")
    module = f"{__name__}.{file}"
    if not file.isidentifier():
        return
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise


def load_all() -> None:
    """Import every file of this folder."""
    from pkgutil import iter_modules

    for module in iter_modules(__path__):
        if not module.ispkg:
            import_module(f"{__name__}.{module.name}")
