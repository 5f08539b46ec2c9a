"""`tenun check`."""

from __future__ import annotations

import sys
from typing import Annotated

from ..shell import Model, app, busy, examples, option


@app.command(
    epilog=examples("tenun check model.onnx", "tenun check model.keras --json", "tenun check model.tenun --numbers")
)
def check(
    model: Model,
    json: Annotated[bool, option("--json", help="The report as JSON.")] = False,
    numbers: Annotated[bool, option("--numbers", help="Check every pass on numbers, too.")] = False,
) -> None:
    """Tell whether a model can be run, and all that is in the way: layers, options, operators, weights.

    Without any: it is verified, optimised, planned and run once, on the file's own sample if it brings one.  Exit
    status 1 if something is in the way.
    """
    from ...debug.report import as_json
    from .. import examine

    with busy("checking"):
        report = examine.examined(model, "numbers" if numbers else "structure")
    if json:
        sys.stdout.write(as_json(report.to_dict()))
    else:
        for line in report.lines():
            print(line)
    if not report.fine:
        sys.exit(1)
