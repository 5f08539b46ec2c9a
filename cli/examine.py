"""The parts of `tenun check`."""

from __future__ import annotations

from pathlib import Path

from ..backends.numpy import evaluate as _  # noqa: F401 - fills the table of kernels
from ..backends.numpy.registry import KERNELS
from ..debug.check import Report, sample_difference
from ..debug.dtypes import dtype_notes
from ..errors import Finding, LoadError, TenunError
from ..executable import Executable, random_inputs
from ..frontends import sample_in
from ..frontends.facts import facts, findings
from ..ir.graph import Graph
from ..ir.text import all_graphs
from ..ir.verify import verify
from ..passes.manager import Verify


def examined(file: str, check: Verify = "structure") -> Report:
    """All that can be found out about a file.

    TenunError where it cannot be looked into at all: not there, empty, damaged.
    """
    if not Path(file).is_file():
        what = "this is a folder, not a model file" if Path(file).is_dir() else "the file does not exist"
        raise LoadError(what, file=file)
    report = Report(file, {})
    try:
        report.facts = facts(file)
    except TenunError as error:
        raise error.at(file=file) from None
    graph, report.findings = findings(file)
    if graph is None and len(report.findings) == 1 and report.findings[0].kind == "file":
        only = report.findings[0]
        raise LoadError(str(only), file=file, node=only.where or None, hint=only.hint or None)
    if graph is not None:
        try:
            _run(report, graph, file, check)
        except TenunError as error:
            report.findings.append(Finding(error.message, error.node or "", "file", error.op or "", error.hint or ""))
    return report


def _run(report: Report, graph: Graph, file: str, check: Verify) -> None:
    """Verify, optimise, plan, run."""
    listed = ", ".join(f"{v.name}: {v.type}" for v in graph.inputs)
    outputs = ", ".join(f"{n}: {v.type}" for n, v in zip(graph.output_names, graph.outputs))
    report.notes = list(dtype_notes(graph))
    report.steps["loads"] = f"{len(graph)} nodes, ({listed}) -> ({outputs})"
    verify(graph)
    missing = without_kernel(graph)
    if missing:
        report.findings.append(Finding(f"ops without a kernel: {', '.join(missing)}", "", "operator"))
        return
    report.steps["verifies"] = "types, order and uses are right, every op has a kernel"
    executable = Executable(graph, verify=check)
    what = "verified after every pass" + (", the results too" if check == "numbers" else "")
    report.steps["optimises"] = f"{len(graph)} -> {len(executable.optimized)} nodes, {what}"
    sample = sample_in(file)
    if sample is not None:
        difference = sample_difference(executable, *sample)
        if difference:
            text = f"the outputs are not those that the file tells of its sample: {difference}"
            report.findings.append(Finding(text, "", "file", "sample"))
            return
        report.steps["runs"] = "on the file's own sample, with the outputs that it tells"
    else:
        executable.run(random_inputs(graph))
        report.steps["runs"] = "on random inputs"


def without_kernel(graph: Graph) -> list[str]:
    """Ops of the graph and its subgraphs that the backend cannot compute."""
    return sorted({n.op.name for g in all_graphs(graph) for n in g.nodes} - set(KERNELS))
