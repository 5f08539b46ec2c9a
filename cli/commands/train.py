"""`tenun train`."""

from __future__ import annotations

from typing import Annotated

from ..shell import app, argument, busy, examples, option, screen


@app.command(
    epilog=examples(
        "tenun train model.keras --data digits.npz --epochs 5 --output trained.keras",
        "tenun train model.h5 --data d.npz --x images --y labels --loss mse --learning-rate 1e-4 -o trained.keras",
        "tenun train model.keras --data d.npz --validation-split 0.2 --metric accuracy --seed 1 -o trained.keras",
    )
)
def train(
    model: Annotated[str, argument("MODEL", "A .keras or .h5 file.")],
    data: Annotated[str, option("--data", metavar="FILE.npz", help="The arrays to train on.")],
    output: Annotated[str, option("--output", "-o", metavar="FILE.keras", help="Where the trained model goes.")],
    x: Annotated[
        list[str] | None,
        option(
            "--x",
            metavar="NAME",
            help="The array of the input (default: the input's name, x or x_train); again for more.",
        ),
    ] = None,
    y: Annotated[
        list[str] | None,
        option(
            "--y",
            metavar="NAME",
            help="The array of the target (default: the output's name, y or y_train); again for more.",
        ),
    ] = None,
    epochs: Annotated[int, option("--epochs", min=1, metavar="N", help="Times to go over the data (default: 1).")] = 1,
    batch_size: Annotated[
        int, option("--batch-size", min=1, metavar="B", help="Samples in a step (default: 32).")
    ] = 32,
    optimizer: Annotated[
        str | None,
        option("--optimizer", metavar="NAME", help="A new optimiser (default: the file's as it stands; else adam)."),
    ] = None,
    learning_rate: Annotated[
        float | None, option("--learning-rate", min=0, metavar="RATE", help="In place of the optimiser's own.")
    ] = None,
    loss: Annotated[
        list[str] | None,
        option("--loss", metavar="NAME", help="In place of the file's; one for all outputs or for each."),
    ] = None,
    metric: Annotated[
        list[str] | None, option("--metric", metavar="NAME", help="In place of the file's; again for more.")
    ] = None,
    validation_split: Annotated[
        float,
        option(
            "--validation-split",
            min=0,
            max=0.99,
            metavar="F",
            help="The part of the data, from its end, to validate on.",
        ),
    ] = 0.0,
    seed: Annotated[
        int | None, option("--seed", metavar="S", help="Makes the order of samples and the dropout repeatable.")
    ] = None,
) -> None:
    """Train a model on the arrays of an .npz file, going on where the file stands."""
    from .. import training

    training.check_output(output)
    with busy(f"loading {model}"):
        trained = training.loaded(model, seed)
    training.compile_as_told(trained, model, optimizer, learning_rate, loss or [], metric or [])
    inputs, targets = training.read_data(trained, data, x or [], y or [])
    history = trained.fit(
        inputs, targets, batch_size=batch_size, epochs=epochs, validation_split=validation_split, verbose=1
    )
    trained.save(output)
    console = screen()
    for name, values in history.history.items():
        console.print(f"{name:<24} {training.figure(values[-1])}")
    console.print(f"wrote {output}")
