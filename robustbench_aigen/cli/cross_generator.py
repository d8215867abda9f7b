"""``robust-aigen cross-generator``."""

from typing import Annotated

import typer

from robustbench_aigen.cli.console import print_table, say, say_warnings
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.text import counted


def cross_generator(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A training recipe. Without a recipe, the detectors of the scenario are compared."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data for training and test; by default the data of the scenario.")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(help="Scenario whose pipelines are applied.", show_default="cross_generator"),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="leave_one_out or chronological: the training sets and the pipelines of this protocol instead of a scenario's."
        ),
    ] = None,
    generators: Annotated[
        str | None, typer.Option(help="Train only on these generators, such as a,b; by default on all.")
    ] = None,
    all_but_one: Annotated[
        bool,
        typer.Option("--all-but-one", help="Also train on all generators but one, for each generator."),
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Replace a key of the recipe: KEY=VALUE. Repeatable.")
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="Use the settings of the study where the recipe differs from the study."
        ),
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Replace the number of epochs.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many images of each split.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    output: Annotated[
        str, typer.Option(help="Results folder. Detectors are written to OUTPUT/detectors.")
    ] = "results",
    _plugin: Plugins = None,
) -> None:
    """Train on each generator and on all, and test on each.

    Every detector is tested on every generator, clean and under every pipeline of the scenario.
    """
    from robustbench_aigen import training
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.data_argument import read_data
    from robustbench_aigen.scenario.scenario import protocol_file
    from robustbench_aigen.training.assignments import read_assignments, read_names
    from robustbench_aigen.training.generator_matrix import in_per_cent

    if scenario is not None and protocol is not None:
        raise UserError("--scenario and --protocol both name pipelines", hint="give one of them")
    followed = None if protocol is None else protocol_file(protocol)
    with shown_progress() as progress:
        found = training.cross_generator(
            recipe, data=None if data is None else read_data(data).model_dump(exclude_unset=True),
            scenario=followed or scenario or "cross_generator",
            generators=read_names(generators), all_but_one=all_but_one, settings=read_assignments(set_ or []),
            published=published, epochs=epochs, limit=limit, device=device, output=output, progress=progress,
        )  # fmt: skip
    info = found.run.info
    images = counted(info.data.images, "image")
    print_table(
        in_per_cent(found.gaps.drop(columns="trained_on")),
        f"{info.scenario.name}: {images} of {info.data.source}, balanced accuracy in per cent",
        group="detector",
    )
    say(f"written to {found.run.folder}, the matrix in tables/protocol.md")
    say_warnings(found.run.notices)
