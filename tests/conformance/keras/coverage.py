"""The coverage page: `python -m tests.conformance.keras.coverage` writes docs/keras_coverage.md.

A line for each class of keras.layers: whether it is read, gives Keras' numbers, has Keras' gradients, is written to
`.keras` and to ONNX, each tried on the row's first configuration; and the values of arguments, each tried alone, which
tenun refuses.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

import tenun
from tenun.layers import LAYERS

from .checks import CHECKS, CUSTOM, Subject
from .compare import DifferentError, RefusedError, error
from .make import BATCH, Case, arguments, candidates, cases, feeds
from .table import APART, FAMILIES, TABLE, class_of

PAGE = Path(tenun.__file__).parent / "docs" / "keras_coverage.md"
ONNX = 1e-4  # the error that ONNX Runtime may make
YES, NO, NOTHING = "yes", "no", "–"
COLUMNS = ("read", "run", "train", "write .keras", "write ONNX")

HEAD = f"""# Keras coverage

What tenun does with each layer of Keras {keras.__version__}; this page is made by
`python -m tests.conformance.keras.coverage`, which tries every line of it against Keras.

- **read**: a `.keras` file with the layer is loaded; **run**: it gives Keras' numbers.
- **train**: its gradients are those of `tf.GradientTape`; {NOTHING} where there is none to compare with.
- **write**: what tenun writes, Keras (ONNX Runtime) loads with the same results.
- **not supported**: values of arguments that are refused, by name, when the file is loaded.
"""


@dataclass
class Line:
    """What holds for a class, by column, and what of its arguments is refused."""

    name: str
    marks: dict[str, str] = field(default_factory=lambda: dict.fromkeys(COLUMNS, NO))
    refused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        marks = " | ".join(self.marks[c] for c in COLUMNS)
        return f"| {self.name} | {marks} | {', '.join(f'`{r}`' for r in self.refused)} |"


def exported() -> dict[str, type]:
    """The classes of keras.layers by each name they have there."""
    return {name: value for name, value in vars(keras.layers).items() if inspect.isclass(value)}


def aliases(name: str) -> list[str]:
    """The other names under which keras.layers has a class."""
    cls = exported()[name]
    return sorted(other for other, value in exported().items() if value is cls and other != name)


def onnx(subject: Subject) -> float:
    """What is written as ONNX passes its checker, and ONNX Runtime gets the same numbers."""
    import onnx
    import onnxruntime

    target = str(subject.folder / "written.onnx")
    tenun.save(tenun.load(subject.path, custom_objects=CUSTOM), target)
    onnx.checker.check_model(target, full_check=True)
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    given = dict(zip([i.name for i in session.get_inputs()], feeds(subject.case)))
    want = keras.tree.flatten(subject.wanted[BATCH])
    found = error(session.run(None, given)[: len(want)], want)
    if not found <= ONNX:
        raise DifferentError(f"ONNX Runtime is off by {found:.3g}")
    return found


def line(row: str, folder: Path) -> Line:
    """Try a row of the table."""
    names = [class_of(row), *aliases(class_of(row))]
    found = Line(", ".join(names))
    if class_of(row) not in LAYERS:
        return found
    subject = _subject(row, folder)
    if subject is None:
        found.marks = dict.fromkeys(COLUMNS, NOTHING)
        return found
    plain = subject.case
    found.marks["read"] = _mark(lambda s: _loads(s.path), subject)
    tried: dict[str, Callable[[Subject], Any]] = {
        "run": CHECKS["read"], "train": CHECKS["trained"], "write .keras": CHECKS["written"], "write ONNX": onnx,
    }  # fmt: skip
    for column, check in tried.items():
        found.marks[column] = _mark(check, subject)
    found.refused = list(_refused(row, plain, folder))
    return found


def _subject(row: str, folder: Path) -> Subject | None:
    """The first configuration that Keras takes."""
    for case in (*cases(row, ("float32",)), *cases(row)):
        try:
            subject = Subject.of(case, folder)
            _ = subject.wanted
        except RefusedError:
            continue
        return subject
    return None


def _loads(path: Path) -> None:
    tenun.load(path, custom_objects=CUSTOM)


def _mark(check: Callable[[Subject], Any], subject: Subject) -> str:
    try:
        check(subject)
    except RefusedError:
        return NOTHING
    except Exception:
        return NO
    return YES


def _refused(row: str, plain: Case, folder: Path) -> Iterator[str]:
    """Values of arguments, each alone beside the plain configuration, which Keras takes and tenun does not."""
    for name in arguments(row):
        for value in candidates(row, name):
            case = replace(plain, config={**plain.config, name: value})
            if value == plain.config[name] or not TABLE[row].fits({**case.config, "input": case.input}):
                continue
            try:
                path = Subject.of(case, folder).path
            except RefusedError:
                continue
            try:
                _loads(path)
            except tenun.TenunError:
                yield f"{name}={value!r}"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    with tempfile.TemporaryDirectory() as folder:
        for family, rows in FAMILIES.items():
            parts.append(f"\n## {family.capitalize()}\n\n| layer | {' | '.join(COLUMNS)} | not supported |")
            parts.append("|---" * (len(COLUMNS) + 2) + "|")
            for row in rows:
                if hasattr(keras.layers, class_of(row)) and row == class_of(row):
                    parts.append(str(line(row, Path(folder))))
            keras.backend.clear_session()
    parts.append("\n## Not in a table\n")
    parts += [f"- {name}: {why}" for name, why in sorted(APART.items())]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
