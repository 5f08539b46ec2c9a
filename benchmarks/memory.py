"""Peak memory of training: a fresh process loads a model and makes three steps.

RSS is read before the engine is imported (the interpreter, NumPy and the batch are there), after, and at its highest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROCESS = """
import json, sys
import numpy as np
def kilobytes(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
with np.load(sys.argv[2]) as batch:
    x, y = batch["x"], batch["y"]
before = kilobytes("VmRSS")
{imports}
after = kilobytes("VmRSS")
{load}
for _ in range(3):
    model.train_on_batch(x, y)
peak = kilobytes("VmHWM")
print(json.dumps({{"over the interpreter": peak - before, "over the import": peak - after}}))
"""
ENGINES = {
    "tenun": ("import tenun; tenun.Model", "model = tenun.load_model(sys.argv[1])"),
    "keras": ("import keras", "model = keras.models.load_model(sys.argv[1])"),
}


def peaks(model: Path, batch: Path) -> dict[str, float]:
    """MB of every engine over the interpreter and over its import; nothing where the system has no /proc."""
    found: dict[str, float] = {}
    if not Path("/proc/self/status").exists():
        return found
    for name, (imports, load) in ENGINES.items():
        code = PROCESS.format(imports=imports, load=load)
        made = subprocess.run([sys.executable, "-c", code, model, batch], check=True, capture_output=True, text=True)
        rows = json.loads(made.stdout.splitlines()[-1])
        found |= {f"{name} {what}": value * 1024 / 1e6 for what, value in rows.items()}
    return found
