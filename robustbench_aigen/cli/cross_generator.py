"""``robust-aigen cross-generator``."""

from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import print_table, say, say_warnings
from robustbench_aigen.text import counted

if TYPE_CHECKING:
    from pathlib import Path

    from robustbench_aigen.scenario.scenario import Scenario


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
    scenario: Annotated[str, typer.Option(help="Scenario whose pipelines are applied.")] = "cross_generator",
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
) -> None:
    """Train on each generator and on all, and test on each.

    Every detector is tested on every generator, clean and under every pipeline of the scenario.
    """
    from pathlib import Path

    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.data_argument import read_data
    from robustbench_aigen.scenario.scenario import load_scenario

    loaded = load_scenario(scenario)
    spec = loaded.data if data is None else read_data(data, loaded.data)
    if limit is not None:
        spec = spec.model_copy(update={"limit": limit})
    if spec != loaded.data:
        loaded = loaded.replace(data=spec)
    if recipe is None:
        if generators or all_but_one or set_ or published or epochs:
            raise UserError(
                "--generators, --all-but-one, --set, --published and --epochs need a training recipe",
                hint="robust-aigen cross-generator lenet5 …",
            )
    else:
        loaded = _with_trained(
            loaded, recipe, published, set_, epochs, generators, all_but_one, limit, device, output
        )
    _compare(loaded, device, Path(output))


def _with_trained(
    loaded: "Scenario",
    recipe: str,
    published: bool,
    assignments: list[str] | None,
    epochs: int | None,
    generators: str | None,
    all_but_one: bool,
    limit: int | None,
    device: str,
    output: str,
) -> "Scenario":
    from pathlib import Path

    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.cli.train import read_recipe
    from robustbench_aigen.imports import import_library
    from robustbench_aigen.scenario.detector_spec import DetectorSpec

    import_library("lightning", extra="train", what="training")
    read = read_recipe(recipe, published, assignments, None, epochs=epochs)
    from robustbench_aigen.data.opening import open_data
    from robustbench_aigen.training.command import plan, train_all
    from robustbench_aigen.training.planning import Variants, read_names

    variants = Variants({}, generators=read_names(generators), each=True, all_but_one=all_but_one)
    source = open_data(loaded.data, loaded.folder)
    with shown_progress() as progress:
        jobs = plan(read, source, limit, variants, progress)
        folder = Path(output) / "detectors"
        trained = list(train_all(jobs, folder, device=device, half=False, fresh=False, progress=progress))
    specs = [DetectorSpec(path=str(each.weights.resolve()), name=each.job.name) for each in trained]
    return loaded.replace(detectors=specs)


def _compare(loaded: "Scenario", device: str, output: "Path") -> None:
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.evaluation import run
    from robustbench_aigen.training.cross_generator import generators_seen, in_per_cent, matrix, write_tables
    from robustbench_aigen.training.drawing import draw_matrix

    seen = generators_seen(loaded)
    with shown_progress() as progress:
        result = run(loaded, output=output, device=device, progress=progress)
    table = matrix(result.summary, seen)
    written = write_tables(result.path / "tables", table)
    draw_matrix(result.path / "figures", table)
    data = result.info.data
    print_table(
        in_per_cent(written.drop(columns="trained_on")),
        f"{loaded.name}: {counted(data.images, 'image')} of {data.source}, balanced accuracy in per cent",
        group="detector",
    )
    say(f"written to {result.folder}, the matrix in tables/protocol.md")
    say_warnings(result.notices)
