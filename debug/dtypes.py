"""What is unusual about the dtypes of a graph that can be run: nothing to mend, but to know of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from ..errors import Finding
from ..ir.graph import Graph, Node
from ..ir.types import DType, Tensor
from .align import label

USUAL = "f32"  # what this backend is made for
SHOWN = 4  # layers that are listed by name
BITS = {"int": 1, "uint": 0}  # of an integer, those that do not hold digits


def dtype_notes(graph: Graph) -> Iterator[Finding]:
    """Inputs in other than float32, casts that lose digits or range, layers that compute in another precision."""
    for var in graph.inputs:
        if isinstance(var.type, Tensor) and var.type.dtype.is_float and str(var.type.dtype) != USUAL:
            text = f"input {var.name} is {var.type.dtype}: what is given in {USUAL} is cast to it"
            yield Finding(text, var.name, "dtype", "input")
    for (read, made), layers in _narrowed(graph).items():
        yield Finding(f"{read} → {made} loses digits or range: {_listed(layers)}", layers[0], "dtype", "narrowed")
    computed = _computed(graph)
    most = max(computed, key=lambda name: len(computed[name]), default=USUAL)
    for name, layers in computed.items():
        if name != most:
            yield Finding(f"computed in {name}, the rest in {most}: {_listed(layers)}", layers[0], "dtype", "mixed")
    if most != USUAL:
        yield Finding(f"most is computed in {most}, which is slower than {USUAL} here", "", "dtype", "precision")


def _narrowed(graph: Graph) -> dict[tuple[str, str], list[str]]:
    """The layers that cast to a dtype which cannot hold what they read, by both dtypes."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in graph.nodes:
        read = node.inputs[0] if node.op.name == "cast" else None
        if read is not None and _loses(read.tensor.dtype, node.outputs[0].tensor.dtype):
            found[str(read.tensor.dtype), str(node.outputs[0].tensor.dtype)].append(label(node))
    return found


def _loses(read: DType, made: DType) -> bool:
    numbers = ("float", "int", "uint")
    if read.kind not in numbers or made.kind not in numbers:
        return False
    if read.kind == made.kind:
        return made.bits < read.bits
    return read.is_float or (not made.is_float and made.bits - BITS[made.kind] < read.bits - BITS[read.kind])


def _computed(graph: Graph) -> dict[str, list[str]]:
    """The layers by the floating-point dtype of their results."""
    found: dict[str, list[str]] = defaultdict(list)
    for node in graph.nodes:
        name = _float_of(node)
        if name and node.op.name != "cast":
            found[name].append(label(node))
    return found


def _float_of(node: Node) -> str:
    t = node.outputs[0].type if node.outputs else None
    return str(t.dtype) if isinstance(t, Tensor) and t.dtype.is_float else ""


def _listed(layers: list[str]) -> str:
    names = list(Counter(layers))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
