"""`python -m benchmarks`: tenun against its peers; tables, ratios, targets, and on request JSON and SVG.

Each model has processes of its own: one that makes its files, one in which all peers take turns, and fresh ones for
first calls and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import numpy as np

from .files import MADE, Files, folder_of
from .fresh import ENGINES, Start, starts
from .models import CASES, QUICK, TRAINED, Case
from .peers import PEERS, threads
from .plots import plots
from .records import OURS, Record, Results
from .report import Report, headline
from .tables import text
from .worker import Task

VARIABLES = (  # that tell all peers how many threads to use
    "TENUN_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip
COLD_ROUNDS, COLD_SECONDS = 5, 12.0
LINES = 12  # of the complaint of a process
TIMED = ("latency", "training")  # where tenun has to have a figure


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    usual = [peer.name for peer in PEERS.values() if peer.usual]
    parser.add_argument("--models", nargs="+", choices=list(CASES), help="default: all")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=usual)
    parser.add_argument("--batch", nargs="+", type=int, help="default: each model's own sizes")
    parser.add_argument("--threads", nargs="+", type=int, default=[threads()], help="default: each peer's own default")
    parser.add_argument("--rounds", type=int, default=25, help="runs of each peer at most (median taken)")
    parser.add_argument("--seconds", type=float, default=6.0, help="after these there are no more than 5 rounds")
    parser.add_argument("--no-cold", dest="cold", action="store_false", help="leave out first calls")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave out peak memory")
    parser.add_argument("--no-training", dest="training", action="store_false", help="leave out steps of training")
    parser.add_argument("--files", type=Path, help="keep the models' files here, and take those that are there")
    parser.add_argument("--json", type=Path, help="write the figures here; what is not measured again stays")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw the ratios as SVG files into this folder")
    parser.add_argument("--show", action="store_true", help="measure nothing: tables and plots of what --json holds")
    parser.add_argument("--quick", action="store_true", help="a few models at batch 1, two rounds: everything starts")
    args = parser.parse_args()
    if args.show and not args.json:
        parser.error("--show needs --json")
    if args.quick:
        args.models, args.batch, args.rounds, args.training = args.models or QUICK, args.batch or [1], 2, False
    args.models = args.models or list(CASES)
    return args


def environment(count: int) -> dict[str, str]:
    """The variables of a process whose peers use so many threads (0: as they are)."""
    return {**os.environ, **(dict.fromkeys(VARIABLES, str(count)) if count else {})}


def python(module: str, *arguments: str, count: int = 0) -> str:
    """Run a module in a process of its own; what it complains of, where it fails."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *arguments]
    made = subprocess.run(command, env=environment(count), stderr=subprocess.PIPE, text=True, errors="replace")
    return "\n".join(made.stderr.splitlines()[-LINES:]) if made.returncode else ""


def model(args: argparse.Namespace, case: Case, root: Path, count: int) -> Iterator[Record]:
    """All figures of one model."""
    folder = folder_of(case, root)
    folder.mkdir(parents=True, exist_ok=True)
    failure = "" if (folder / MADE).exists() else python("files", case.name, str(folder))
    batches = args.batch or list(case.batches)
    task = Task(case.name, str(folder), args.peers, batches, args.rounds, args.seconds)
    records = folder / "records.json"
    records.unlink(missing_ok=True)
    failure = failure or python("worker", json.dumps(asdict(task)), str(records), count=count)
    if failure:
        print(f"\n{case.name}: failed\n{failure}", flush=True)
        yield from (Record("latency", case.name, b, count, OURS, note="failed") for b in batches)
        return
    yield from Results.read(records).records.values()
    yield from fresh(args, case, folder, batches, count)


def fresh(args: argparse.Namespace, case: Case, folder: Path, batches: Sequence[int], count: int) -> Iterator[Record]:
    """First calls at the smallest batch size, peak memory at the smallest and the largest."""
    wanted = {name for peer in args.peers if peer in ENGINES for name in (peer, ENGINES[peer].against)}
    engines = [name for name in ENGINES if name in wanted]
    paths, report = Files.read(folder).paths, Report(count)
    for batch in sorted({min(batches), max(batches)}):
        cold = args.cold and batch == min(batches)
        if not cold and not args.memory:
            continue
        x = folder / "x.npy"
        np.save(x, case.inputs(batch))
        rounds = min(COLD_ROUNDS, args.rounds) if cold else 1
        found = starts(engines, paths, x, rounds, COLD_SECONDS, environment(count))
        for section, kept in (("first call", cold), ("memory", args.memory)):
            if kept:
                report.figures(section, case.name, batch, {name: figure(section, s) for name, s in found.items()})
    yield from report.results.records.values()


def figure(section: str, start: Start | str) -> float | str:
    """What a section shows of fresh processes."""
    if isinstance(start, str):
        return start
    if section == "first call":
        return start.median
    return "no /proc to read it from" if start.megabytes is None else start.megabytes


def trained(args: argparse.Namespace, folder: Path, count: int) -> Iterator[Record]:
    """Steps of training of those models that are trained."""
    names = [name for name in args.models if name in TRAINED]
    if not names:
        return
    records = folder / "training.json"
    records.unlink(missing_ok=True)
    more = [] if args.memory else ["--no-memory"]
    failure = python(
        "training", "--models", *names, "--rounds", str(args.rounds), "--json", str(records), *more, count=count
    )
    if failure:
        print(f"\ntraining: failed\n{failure}", flush=True)
        yield from (Record("training", name, 0, count, OURS, note="failed") for name in names)
    yield from Results.read(records).records.values()


def measured(args: argparse.Namespace, results: Results) -> bool:
    """Measure all, into results and the JSON file as it comes; whether tenun has answered rightly everywhere."""
    right = True
    with tempfile.TemporaryDirectory() as temporary:
        root = args.files or Path(temporary)
        for count in args.threads:
            parts = [model(args, CASES[name], root, count) for name in args.models]
            for part in [*parts, *([trained(args, Path(temporary), count)] if args.training else [])]:
                records = list(part)
                results.replace(records)
                right = right and not any(r.peer == OURS and r.note for r in records if r.section in TIMED)
                if args.json:
                    results.write(args.json)
    return right


def main() -> int:
    args = arguments()
    results = Results.read(args.json) if args.json else Results()
    right = True
    if not args.show:
        headline()
        begin = perf_counter()
        right = measured(args, results)
        print(f"\n{perf_counter() - begin:.0f} s in all")
    print(text(results))
    for path in plots(results, args.plot) if args.plot else []:
        print(f"drawn: {path}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
