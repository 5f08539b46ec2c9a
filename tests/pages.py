"""The pages of the documentation as programs: their blocks run in order, in one folder.

- `python` blocks share their names; of `sh` blocks the lines that begin with `tenun` are run, and have to end with the
  status that a comment `# exit status N` says (0 without one).
- A `text` block with the title "prints", right behind such a block, holds what that block prints; with the title
  "prints something like", numbers may be others.

    python -m tests.pages docs/flow.md     runs a page, and writes what its blocks print into it
    python -m tests.pages                  the same for every page
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r'^```(\w*)(?: title="([^"\n]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"exit status (\d+)")
# What a page prints must not depend on the machine: the width of tables, the number of threads.
ENVIRONMENT = {"COLUMNS": "110", "NO_COLOR": "1", "TENUN_THREADS": "1"}


PRINTS, LIKE = "prints", "prints something like"
NUMBER = re.compile(r"[\d.]*\d(e[-+]\d+)?")
RULER = re.compile(r"[ ─━]+")  # as wide as the numbers are long


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title, its text, where that lies in the page, and behind how many lines."""

    language: str
    title: str
    text: str
    place: slice
    line: int

    def says(self, printed: str) -> bool:
        """Whether the block holds what was printed."""
        return self.text == printed or (self.title != PRINTS and without_numbers(self.text) == without_numbers(printed))


def without_numbers(text: str) -> str:
    """A text in which all numbers are the same."""
    return RULER.sub(" ", NUMBER.sub("#", text))


def pages() -> list[Path]:
    """All pages with blocks: the README, ARCHITECTURE.md and docs/."""
    return [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(m[1], m[2] or "", m[3], slice(*m.span(3)), text.count("\n", 0, m.start(3))) for m in FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[tuple[str, int]]:
    """The tenun commands of a block of shell, with the exit status that is expected of each."""
    for line in block.text.splitlines():
        command, _, comment = line.partition("#")
        expected = STATUS.search(comment)
        for part in command.split("&&"):
            if part.strip().startswith("tenun "):
                yield part.strip(), int(expected[1]) if expected else 0


def _command(command: str, expected: int) -> str:
    from typer.testing import CliRunner

    from tenun.cli import app

    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == expected, f"{command}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.output


def _printed(block: Block, page: Path, scope: dict[str, object]) -> str:
    if block.language == "sh":
        text = "".join(_command(*each) for each in commands(block))
    else:
        stream = io.StringIO()
        above = "\n" * block.line  # so that a traceback tells the line of the page
        with contextlib.redirect_stdout(stream):
            exec(compile(above + block.text, str(page), "exec", dont_inherit=True), scope)
        text = stream.getvalue()
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


def run(page: Path) -> list[tuple[Block, str]]:
    """Run a page in the current folder: each block that says what is printed, with what really was."""
    found, scope, printed = [], {"__name__": "__main__"}, ""
    for block in blocks(page):
        if block.language in ("python", "sh"):
            printed = _printed(block, page, scope)
        elif block.title in (PRINTS, LIKE):
            found.append((block, printed))
    return found


def furnish(folder: Path) -> None:
    """The files that the pages speak of."""
    (folder / "demo").symlink_to(ROOT / "demo")
    (folder / "model.keras").symlink_to(ROOT / "demo" / "digits_cnn.keras")
    np.save(folder / "images.npy", np.zeros((2, 8, 8, 1), np.float32))


@contextlib.contextmanager
def workshop() -> Iterator[None]:
    """A fresh folder to run a page in, the environment for it, and layers' names counted from the start."""
    from tenun import clear_session

    clear_session()
    before, here = dict(os.environ), os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        furnish(Path(folder))
        os.environ.update(ENVIRONMENT, TENUN_CACHE=f"{folder}/cache")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)


def write(page: Path) -> int:
    """Run a page and write what its blocks print; returns how many blocks have changed."""
    with workshop():
        found = run(page)
    text, wrong = (
        page.read_text(encoding="utf-8"),
        [(block, printed) for block, printed in found if not block.says(printed)],
    )
    for block, printed in reversed(wrong):
        text = text[: block.place.start] + printed + text[block.place.stop :]
    if wrong:
        page.write_text(text, encoding="utf-8")
    return len(wrong)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else pages():
        print(f"{path}: {write(path.resolve())} blocks written")
