"""`python -m benchmarks`: tables of medians with ratios to tenun, and JSON."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from .cold import cold_starts
from .measure import measure
from .models import CASES, Case
from .peers import PEERS, Files
from .report import Report

REFERENCE = "tf.function"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=25, help="runs of each peer (median taken)")
    parser.add_argument("--cold", type=int, default=5, metavar="N", help="fresh processes for the cold start; 0: none")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="two rounds at batch 1: shows that everything starts")
    args = parser.parse_args()
    if args.quick:
        args.batch, args.rounds, args.cold = [1], 2, 1
    args.peers = list(dict.fromkeys([*args.peers, REFERENCE]))
    return args


def saved(case: Case, folder: Path) -> Files:
    """The model built, saved and exported."""
    import keras

    keras.utils.set_random_seed(1)
    live = case.build()
    live.predict(case.inputs(1), verbose=0)  # Keras exports only what has been called
    files = Files(live, folder / f"{case.name}.keras", folder / f"{case.name}.onnx")
    live.save(files.keras)
    live.export(files.onnx, format="onnx", verbose=False)
    return files


def main() -> None:
    args = arguments()
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models:
            files = saved(CASES[name], Path(folder))
            runs = {peer: PEERS[peer](files) for peer in args.peers}
            for batch in args.batch:
                results = measure(runs, CASES[name].inputs(batch), args.rounds, REFERENCE)
                report.timings(f"{name}/{batch}", f"{name}, batch {batch}", results)
            if args.cold:
                seconds = cold_starts(files.keras, args.cold)
                report.figures(f"{name}/cold", f"{name}, cold start (seconds, fresh process)", seconds, "8.3f")
    report.write(args.json)


if __name__ == "__main__":
    main()
