"""`tenun export`."""

from __future__ import annotations

from typing import Annotated

from ...errors import RunError
from ..shell import Model, app, argument, busy, examples, loaded, option, screen


@app.command(
    epilog=examples(
        "tenun export model.keras model.onnx",
        "tenun export model.onnx smaller.onnx --optimize",
        "tenun export old.h5 model.keras",
    )
)
def export(
    model: Model,
    output: Annotated[str, argument("OUTPUT", "Where it goes: .onnx .tenun, or .keras .h5 for Keras' models.")],
    opset: Annotated[
        int | None, option("--opset", metavar="N", help="The opset of an .onnx file (default: 17).")
    ] = None,
    optimize: Annotated[bool, option("--optimize", help="Simplify the graph first.")] = False,
    external_data: Annotated[
        bool, option("--external-data", help="Weights into a file beside OUTPUT (default: where they are too many).")
    ] = False,
) -> None:
    """Write a model in another format.  No other framework is needed."""
    from pathlib import Path

    from ...api import load_model, save

    keras = Path(output).suffix in (".keras", ".h5")
    given = {"--opset": opset, "--optimize": optimize, "--external-data": external_data}
    if keras and any(given.values()):
        what = ", ".join(name for name, value in given.items() if value)
        raise RunError(f"{what} does not go with Keras' files", file=output, hint="leave it out, or write .onnx")
    with busy(f"writing {output}"):
        if keras:
            save(load_model(model), output)
        else:
            save(loaded(model), output, opset=opset, optimize=optimize, external_data=external_data or None)
    screen().print(f"wrote {output}")
