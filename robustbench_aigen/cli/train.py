"""``robust-aigen train``."""

from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(help="A training recipe (YAML), or the name of a shipped one: cifake_cnn.")
    ],
    data: Annotated[str, typer.Option(help="minigen, a folder of images, or Parquet.")],
    output: Annotated[
        str, typer.Option(help="Folder of detectors; this one lands in OUTPUT/<name>.")
    ] = "results/detectors",
    name: Annotated[str | None, typer.Option(help="Name of the detector, instead of the recipe's.")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="The study's own settings where the recipe departs from them.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Replace a key of the recipe: KEY=VALUE. Repeatable.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Replace the number of epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Replace the seed.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images of each split.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Give up a finished or stopped training.")] = False,
) -> None:
    """Train a detector from a recipe; killed, it goes on where it was when the same command is given again."""
    from pathlib import Path

    from robustbench_aigen.cli.progress_bar import ProgressBar
    from robustbench_aigen.imports import require_extra
    from robustbench_aigen.training.recipe import load_recipe

    loaded = load_recipe(recipe)
    if published:
        loaded = loaded.published()
    require_extra("lightning", "train")
    from robustbench_aigen.training.command import read_assignments, train_all

    changes = read_assignments(set_ or [])
    changes |= {k: v for k, v in {"epochs": epochs, "seed": seed, "name": name}.items() if v is not None}
    loaded = loaded.replaced(changes)
    with ProgressBar() as progress:
        for trained in train_all(
            loaded, data, Path(output), limit=limit, device=device, half=half, fresh=fresh, progress=progress
        ):
            typer.echo(f"written to {trained.folder}")
