"""Cold start: load, compile and run once in a fresh process, start of the interpreter to result."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

CODE = {
    "python -c pass": "pass",
    "import numpy": "import numpy",
    "import tenun": "import tenun",
    "tenun.compile_and_run": "import sys, tenun; tenun.compile_and_run(sys.argv[1])",
    "keras load + predict": (
        "import sys, keras, numpy; m = keras.models.load_model(sys.argv[1]);"
        "m.predict(numpy.zeros((1, *m.input_shape[1:]), 'float32'), verbose=0)"
    ),
}


def cold_starts(model: Path, rounds: int) -> dict[str, float]:
    """Median seconds of every row of CODE; rounds are interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in CODE}
    for _ in range(rounds):
        for name, code in CODE.items():
            start = perf_counter()
            subprocess.run([sys.executable, "-c", code, str(model)], check=True, capture_output=True)
            seconds[name].append(perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
