"""`python -m benchmarks`: tables of medians with ratios to tenun, and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from .cold import cold_starts
from .measure import Timing, measure
from .models import CASES, Case
from .peers import PEERS, Files

REFERENCE = "tf.function"
PACKAGES = ("numpy", "keras", "tensorflow-cpu", "onnxruntime", "onnx")


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


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            found[package] = "absent"
    return found


def show(title: str, results: dict[str, Timing | str]) -> None:
    """One table: milliseconds and the ratio to tenun (above 1: tenun is faster)."""
    ours = results["tenun"]
    print(f"\n{title}\n{'':<18}{'median ms':>11}{'quartiles':>19}{'ratio':>8}{'max diff':>10}")
    for name, result in results.items():
        if isinstance(result, str):
            print(f"{name:<18}{result:>11}")
            continue
        ratio = f"{result.median / ours.median:.2f}" if isinstance(ours, Timing) else "-"
        spread = f"{result.low:.2f}-{result.high:.2f}"
        print(f"{name:<18}{result.median:>11.2f}{spread:>19}{ratio:>8}{result.difference:>10.1e}")


def main() -> None:
    args = arguments()
    report: dict[str, Any] = {"machine": machine(), "results": {}}
    print(" ".join(f"{k} {v}" for k, v in report["machine"].items()))
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models:
            files = saved(CASES[name], Path(folder))
            runs = {peer: PEERS[peer](files) for peer in args.peers}
            for batch in args.batch:
                results = measure(runs, CASES[name].inputs(batch), args.rounds, REFERENCE)
                show(f"{name}, batch {batch}", results)
                report["results"][f"{name}/{batch}"] = {
                    k: asdict(v) if isinstance(v, Timing) else v for k, v in results.items()
                }
            if args.cold:
                seconds = cold_starts(files.keras, args.cold)
                report["results"][f"{name}/cold"] = seconds
                print(f"\n{name}, cold start (seconds, fresh process)")
                for what, value in seconds.items():
                    print(f"{what:<24}{value:>8.3f}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
