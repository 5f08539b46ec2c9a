"""The command: `python -m examples.experiments list | run NAME... | time [NAME...] | page`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere

from . import data, page, runner
from .grids import EXPERIMENTS
from .job import Context

PEERS = ("keras", "sklearn")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m examples.experiments", description="The report's experiments.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the experiments and their rows")
    run = commands.add_parser("run", help="run experiments; rows with a result are left alone")
    names = {"choices": [*EXPERIMENTS, "all"], "metavar": "NAME", "help": "of `list`, or all"}
    run.add_argument("names", nargs="+", **names)
    clock = commands.add_parser("time", help="measure the times of rows that have a result; best on a quiet machine")
    clock.add_argument("names", nargs="*", default="all", **names)
    run.add_argument("--peers", default=",".join(PEERS), help="keras,sklearn, one of them, or none")
    clock.add_argument("--peers", default=",".join(PEERS), help="keras,sklearn, and numba: the other backend beside")
    for each in (run, clock):
        each.add_argument("--data", type=Path, help=f"folder of the data (else {data.ENVIRONMENT}, or ../shared/data)")
        each.add_argument("--row", help="only rows whose name has this in it")
        each.add_argument("--backend", default="numpy", choices=["numpy", "numba"], help="what computes here")
        each.add_argument("--again", action="store_true", help="rows that have a result too, or times")
    write = commands.add_parser("page", help="write the page from the results that there are")
    for each in (run, clock, write):
        each.add_argument("--quick", action="store_true", help="few samples and epochs, stand-ins for missing data")
        each.add_argument("--out", type=Path, default=Path("experiments-out"), help="folder of results and page")
        each.add_argument("--docs", type=Path, help="folder of the page and its plots (else that of the results)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 1 where a row failed or own ≠ Keras."""
    args = parsed(arguments)
    if args.command == "list":
        for each in EXPERIMENTS.values():
            print(f"{each.name:<12}{each.title} ({len(each.rows)} rows)")
            print("".join(f"    {row.name}\n" for row in each.rows), end="")
        return 0
    store = runner.Store(args.out, args.quick)
    work = {"run": runner.run, "time": runner.measure}.get(args.command)
    failed = _worked(work, args, store) if work else {}
    print(f"written: {page.write(list(EXPERIMENTS.values()), store, args.docs or args.out)}")
    for name, why in failed.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    rows = [(f"{e.name}: {row.name}", r) for e in EXPERIMENTS.values() for row, r in store.rows(e)]
    different = [name for name, record in rows if record["agrees"] is False]
    for name in different:
        print(f"own is not Keras: {name}", file=sys.stderr)
    return 1 if failed or different else 0


def _worked(work: Callable[..., dict[str, str]], args: argparse.Namespace, store: runner.Store) -> dict[str, str]:
    """Run or measure what the options say; why rows failed."""
    names = list(EXPERIMENTS) if "all" in args.names else args.names
    chosen = [EXPERIMENTS[name] for name in names]
    if args.row:
        chosen = [replace(e, rows=tuple(r for r in e.rows if args.row in r.name)) for e in chosen]
    pictures = args.out / page.FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    peers = frozenset(args.peers.split(",")) & {*PEERS, "numba"}
    context = Context(data.find(args.data), args.out, pictures, args.quick, peers, args.backend)
    return work(chosen, store, context, args.again)


if __name__ == "__main__":
    sys.exit(main())
