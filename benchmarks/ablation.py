"""`python -m benchmarks.ablation`: what each part of the compiler is worth: switched off one at a time."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from .measure import Array, Effort, Run, timed
from .models import CASES, Case
from .report import headline

MODELS = {"final_cnn": (1, 64), "bilstm32": (1, 64), "transformer": (1, 8), "mobilenet_v2": (1, 8), "mlp": (1, 64)}
ALL = "everything on"


@dataclass(frozen=True)
class Variant:
    """A way to compile with something switched off."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


def variants() -> Iterator[Variant]:
    """Everything on; without each pass; without any; without Winograd; on one thread."""
    from tenun.passes.manager import PIPELINES

    passes = PIPELINES["inference"]
    yield Variant(ALL)
    for name in dict.fromkeys(passes):
        yield Variant(f"without {name}", {"pipeline": [p for p in passes if p != name]})
    yield Variant("without any pass", {"pipeline": "none"})
    yield Variant("exact convolutions", {"exact": True})
    yield Variant("one thread", {"threads": 1})


def runs_of(model: Path) -> dict[str, Run]:
    """Those variants that compile to something else than everything on does, and that itself."""
    import tenun

    found: dict[str, Run] = {}
    whole = ""
    for variant in variants():
        executable = tenun.compile(model, **variant.options)
        text = str(executable.optimized)
        whole = whole or text
        if variant.name == ALL or text != whole or "pipeline" not in variant.options:
            found[variant.name] = executable  # type: ignore[assignment]
    return found


def run_case(case: Case, batch: int, effort: Effort, folder: Path) -> None:
    """One table: milliseconds, and how many times as long as with everything on."""
    model = folder / f"{case.name}.keras"
    if not model.exists():
        case.make().save(model)
    x: Array = case.inputs(batch)
    times = timed({name: partial(run, x) for name, run in runs_of(model).items()}, effort)
    medians = {name: sorted(seconds)[len(seconds) // 2] * 1e3 for name, seconds in times.items()}
    print(f"\n{case.name}, batch {batch}\n{'':<28}{'median ms':>10}{'ratio':>8}")
    for name, median in medians.items():
        print(f"{name:<28}{median:>10.2f}{median / medians[ALL]:>8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=[n for n, c in CASES.items() if c.source == "keras"])
    parser.add_argument("--batch", nargs="+", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    headline()
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models or MODELS:
            for batch in args.batch or MODELS.get(name, (1, 8)):
                run_case(CASES[name], batch, Effort(args.rounds), Path(folder))


if __name__ == "__main__":
    main()
