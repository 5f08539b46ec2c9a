"""First calls and peak memory: a fresh process imports an engine, loads a file, compiles, and runs twice.

Seconds are counted from the start of the interpreter to the first result.  RSS is read before the engine is imported
(the interpreter, NumPy and the inputs are there), and at its highest.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time

PROCESS = """
import json, os, sys, time
import numpy as np
def kilobytes(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
path, x, measured = sys.argv[1], np.load(sys.argv[2]), os.path.exists("/proc/self/status")
before = kilobytes("VmRSS") if measured else 0
{code}
run(x)
first = time.time()
run(x)
print(json.dumps([first, (kilobytes("VmHWM") - before) * 1024 / 1e6 if measured else None]))
"""


@dataclass(frozen=True)
class Engine:
    """Code that makes `run` from the file at `path`; which format it reads; whose time and memory it is compared to."""

    code: str
    format: str
    against: str


def _tenun(format: str, ours: str, arguments: str = "") -> Engine:
    return Engine(f"import tenun; run = tenun.compile(path{arguments})", format, ours)


ENGINES = {
    "tenun": _tenun("keras", "tenun"),
    "tenun numba": _tenun("keras", "tenun", ", backend='numba'"),
    "keras predict": Engine(
        "import keras; model = keras.models.load_model(path)\n"
        "run = lambda x: model.predict(x, batch_size=len(x), verbose=0)",
        "keras",
        "tenun",
    ),
    "tenun onnx": _tenun("onnx", "tenun onnx"),
    "onnxruntime": Engine(
        "import onnxruntime; options = onnxruntime.SessionOptions()\n"
        "options.intra_op_num_threads = int(os.environ.get('TENUN_THREADS', '0'))\n"
        "session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])\n"
        "run = lambda x: session.run(None, {session.get_inputs()[0].name: x})",
        "onnx",
        "tenun onnx",
    ),
}


@dataclass(frozen=True)
class Start:
    """Fresh processes of one engine: seconds to the first result of each, the most megabytes over the interpreter."""

    seconds: list[float]
    megabytes: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def starts(
    engines: Sequence[str],
    paths: Mapping[str, Path],
    x: Path,
    rounds: int,
    seconds: float,
    environment: Mapping[str, str],
) -> dict[str, Start | str]:
    """Every engine in fresh processes of its own, in turns: two rounds at least (one, if that is all), and no more
    once `seconds` are over.  An engine that fails has the last line of its complaint instead.

    The first process of an engine that is a checkout compiles its modules, which installing does for the others; it
    does not count.
    """
    environment = {k: v for k, v in environment.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for name in engines:
        if name.startswith("tenun"):
            _start(ENGINES[name], paths, x, environment)
    found: dict[str, Start | str] = {}
    runs: dict[str, list[tuple[float, float | None]]] = {name: [] for name in engines}
    begin = perf_counter()
    for done in range(rounds):
        if done >= 2 and perf_counter() - begin > seconds:
            break
        for name in runs:
            if name in found:
                continue
            result = _start(ENGINES[name], paths, x, environment)
            if isinstance(result, str):
                found[name] = result
            else:
                runs[name].append(result)
    for name, made in runs.items():
        if name not in found:
            sizes = [size for _, size in made if size is not None]
            found[name] = Start([seconds for seconds, _ in made], max(sizes, default=None))
    return {name: found[name] for name in engines}


def _start(
    engine: Engine, paths: Mapping[str, Path], x: Path, environment: Mapping[str, str]
) -> tuple[float, float | None] | str:
    """Seconds and megabytes of one process, or why there are none."""
    path = paths.get(engine.format)
    if path is None:
        return f"no .{engine.format} file"
    command = [sys.executable, "-c", PROCESS.format(code=engine.code), str(path), str(x)]
    begin = time()
    made = subprocess.run(command, env=environment, capture_output=True, text=True)
    if made.returncode:
        lines = [line for line in made.stderr.splitlines() if line.strip() and not line.startswith(" ")]
        kind, colon, message = (lines or ["fails"])[-1].partition(": ")
        return f"{kind.rpartition('.')[2]}{colon}{message[:70]}"
    first, megabytes = json.loads(made.stdout.splitlines()[-1])
    return first - begin, megabytes
