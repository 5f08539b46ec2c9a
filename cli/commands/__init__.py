"""The commands, in the order in which the help lists them."""

from . import run, train, dump, summary, check, compare, profile, export, about  # noqa: F401, I001
