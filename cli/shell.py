"""What the commands are made of: the app, arguments and options, the console."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..executable import Executable
    from ..ir.graph import Graph

PIPED_WIDTH = 160  # columns of tables where there is no terminal

app = typer.Typer(
    name="tenun",
    help="Compiles saved neural networks (.keras .h5 .onnx .tenun) and runs them with NumPy.",
    epilog="`tenun COMMAND --help` shows examples.  `tenun --install-completion` teaches your shell the commands.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def argument(name: str, text: str) -> Any:
    """A positional argument, as its help shows it."""
    return typer.Argument(metavar=name, help=text, show_default=False)


def option(*names: str, **rest: Any) -> Any:
    """An option; its help says itself what it is by default."""
    return typer.Option(*names, show_default=False, **rest)


Model = Annotated[str, argument("MODEL", "A .keras, .h5, .onnx or .tenun file.")]
Threads = Annotated[
    int | None, option("--threads", min=1, metavar="N", help="Threads to use (default: the cores at hand).")
]


def examples(*lines: str) -> str:
    """The epilog of a command's help, as Markdown."""
    return "Examples:\n\n" + "\n\n".join(f"`{line}`" for line in lines)


def screen(stderr: bool = False) -> Any:
    """A rich console; wide where it is no terminal, so that tables keep their lines."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=False, markup=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, markup=False, width=PIPED_WIDTH)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner on stderr while something takes its time; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with screen(stderr=True).status(what):
        yield


def tracked(parts: Sequence[Any], what: str) -> Iterator[Any]:
    """The parts, with a progress bar on stderr if it is a terminal and there are several."""
    if len(parts) < 2 or not sys.stderr.isatty():
        yield from parts
        return
    from rich.progress import track

    yield from track(parts, description=what, console=screen(stderr=True), transient=True)


def loaded(model: str) -> Graph:
    """The graph of a model file."""
    from .. import api

    with busy(f"loading {model}"):
        return api.load(model)


def compiled(model: Any, **options: Any) -> Executable:
    """A model, compiled."""
    from .. import api

    with busy("compiling"):
        return api.compile(model, **options)
