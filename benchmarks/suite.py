"""`python -m benchmarks.suite`: the cases of onnx's node suite, loaded, compiled and run once, against onnx's own
ReferenceEvaluator.

These are tiny models: what is measured is how long anyone waits for a first result, kernels hardly count.  Making the
cases and their data is not timed.  The engines take turns over the whole suite; cases that one of them cannot run are
left out for both, and named.
"""

from __future__ import annotations

import argparse
import gc
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from .measure import Timing
from .records import OURS
from .report import Report, headline

SECTION = "node suite"


@dataclass(frozen=True)
class NodeCase:
    """A model of the suite, and the inputs of its first data set."""

    name: str
    model: Any
    inputs: Sequence[Any]


def cases() -> list[NodeCase]:
    """All cases of the node suite."""
    from onnx import TensorProto, numpy_helper
    from onnx.backend.test.loader import load_model_tests

    def plain(value: Any) -> Any:
        return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value

    found = load_model_tests(kind="node")
    return [NodeCase(c.name, c.model, [plain(v) for v in c.data_sets[0][0]]) for c in found]


def tenun_once(case: NodeCase) -> Any:
    """tenun, as ONNX's own suites run it."""
    from tenun.frontends.onnx import backend

    return backend.prepare(case.model).run(case.inputs)


def reference_once(case: NodeCase) -> Any:
    """The implementation of the standard, on NumPy."""
    from onnx.reference import ReferenceEvaluator

    names = [value.name for value in case.model.graph.input]
    return ReferenceEvaluator(case.model).run(None, dict(zip(names, case.inputs)))


ENGINES: dict[str, Callable[[NodeCase], Any]] = {OURS: tenun_once, "ReferenceEvaluator": reference_once}


def failing(case: NodeCase) -> str | None:
    """Which engine cannot run a case, if one cannot."""
    for name, run in ENGINES.items():
        try:
            run(case)
        except Exception as error:  # of whatever kind: it is told
            return f"{name}: {type(error).__name__}"
    return None


def seconds(run: Callable[[NodeCase], Any], suite: Iterable[NodeCase]) -> float:
    """How long an engine takes for all cases, one after another."""
    gc.collect()  # what the engine before has left is not this one's
    start = perf_counter()
    for case in suite:
        run(case)
    return perf_counter() - start


def measure(suite: Sequence[NodeCase], rounds: int) -> dict[str, Timing]:
    """Times for the whole suite, by engine; the order changes from round to round."""
    times: dict[str, list[float]] = {name: [] for name in ENGINES}
    for turn in range(rounds):
        for name in sorted(ENGINES, reverse=turn % 2 == 1):
            times[name].append(seconds(ENGINES[name], suite))
    return {name: Timing.of(values, 0.0) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times that each engine runs the suite (median taken)")
    parser.add_argument("--json", type=Path, help="write the figures here; those of other things stay")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of overflows that the suite asks for
    headline()
    everything = cases()
    reasons = {case.name: failing(case) for case in everything}
    for name, reason in reasons.items():
        if reason is not None:
            print(f"left out: {name} ({reason})")
    kept = [case for case in everything if reasons[case.name] is None]
    report = Report()
    report.timings(SECTION, "onnx node suite", len(kept), measure(kept, args.rounds))
    report.write(args.json)


if __name__ == "__main__":
    main()
