"""The errors that tenun raises, each naming where (file, layer or node, op) and what to do.

Nothing of the package is imported here, so that every part can raise.
"""

from __future__ import annotations

from collections.abc import Sequence


class Finding(str):
    """One of several things that an error tells: a line of its text, with its parts.

    `where`: a layer's path or a node's name; `kind`: layer, lambda, option, operator, dtype, weights or file; `name`:
    the class, option or operator; `detail`: parts that only some kinds have (expected, found, nearest, ...).
    """

    where: str
    kind: str
    name: str
    hint: str
    detail: dict[str, str]

    def __new__(
        cls, text: str, where: str = "", kind: str = "file", name: str = "", hint: str = "", **detail: str
    ) -> Finding:
        found = super().__new__(cls, text)
        found.where, found.kind, found.name, found.hint, found.detail = where, kind, name, hint, detail
        return found


class TenunError(Exception):
    """Root of all errors.

    `file`, `node` (a layer's path or an ONNX node's name), `op` and `hint` (what to do) are kept as attributes
    and printed after the message, one a line.  `findings`: the things that the message lists, each by itself.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        node: str | None = None,
        op: str | None = None,
        hint: str | None = None,
        findings: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message, self.file, self.node, self.op, self.hint = message, file, node, op, hint
        self.findings = [f if isinstance(f, Finding) else Finding(f) for f in findings]

    def __str__(self) -> str:
        where = [f"{label}: {text}" for label, text in self._context() if text]
        return "\n  ".join([self.message, *where])

    def _context(self) -> list[tuple[str, str | None]]:
        return [("file", self.file), ("node", self.node), ("op", self.op), ("hint", self.hint)]

    def at(self, **context: str | None) -> TenunError:
        """Fill in the parts of the context that the raiser did not know; what is known stays."""
        for name, text in context.items():
            if getattr(self, name) is None:
                setattr(self, name, text)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        context = {k: getattr(self, k) for k in ("file", "node", "op", "hint")}
        return (_rebuild, (type(self), self.message, context))


def _rebuild(cls: type[TenunError], message: str, context: dict[str, str | None]) -> TenunError:
    return cls(message).at(**context)


class LoadError(TenunError):
    """A model file or object that cannot be read: missing, truncated, hostile, or inconsistent."""


class UnsupportedError(TenunError):
    """A layer, operator, attribute or type that tenun does not know."""


class ShapeError(TenunError):
    """Shapes or dtypes that do not fit an op."""


class GraphError(TenunError):
    """A graph that breaks the rules of the IR: cycles, dangling values, duplicate names, bad text."""


class RunError(TenunError):
    """Wrong inputs at run time, or a kernel that failed on them."""
