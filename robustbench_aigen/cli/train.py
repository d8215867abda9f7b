"""``robust-aigen train``."""

from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from robustbench_aigen.cli.console import print_table, say, say_warnings
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.text import counted

if TYPE_CHECKING:
    from pathlib import Path

    from robustbench_aigen.training.jobs import Trained


def train(
    recipe: Annotated[
        str,
        typer.Argument(help="A training recipe (YAML), or the name of a shipped recipe, such as cifake_cnn."),
    ],
    data: Annotated[str, typer.Option(help="minigen, a folder or file, hf://org/name, or {source: …}.")],
    output: Annotated[
        str, typer.Option(help="Folder of detectors. The detector is written to OUTPUT/<name>.")
    ] = "results/detectors",
    name: Annotated[str | None, typer.Option(help="Name of the detector, instead of the recipe's.")] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="Use the settings of the study where the recipe differs from the study."
        ),
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Replace a key of the recipe: KEY=VALUE. Repeatable.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Initial weights of the backbone: imagenet, none or a file.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Replace the number of epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Replace the seed.")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Train with this many seeds, starting at the seed of the recipe.")
    ] = 1,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Train every value of a key, such as optimizer=adam,sgd. Repeatable. One table compares the detectors."
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Number of folds of a cross-validation; for an SVM, of its grid search."),
    ] = None,
    generators: Annotated[
        str | None, typer.Option(help="Train only on the fakes of these generators, such as a,b.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Train one detector for each generator.")] = False,
    all_but_one: Annotated[
        bool, typer.Option("--all-but-one", help="Train on all generators but one, for each generator.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many images of each split.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard a finished or stopped training and start again.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="Where to train: local, one after the other; or ray, each training as a task.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster, such as auto; by default Ray starts on this machine."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores of each task of Ray.")] = 1,
    _plugin: Plugins = None,
) -> None:
    """Train detectors from a recipe.

    A stopped training resumes from its last checkpoint with the same command.
    """
    from pathlib import Path

    from robustbench_aigen import training
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.engine.progress import Recording
    from robustbench_aigen.scenario.data_argument import read_data
    from robustbench_aigen.training.assignments import read_assignments, read_names, read_sweep

    with shown_progress() as shown:
        progress = Recording(shown)
        trained = training.train(
            recipe, read_data(data).model_dump(exclude_unset=True), output=output, name=name,
            settings=read_assignments(set_ or []), published=published, weights=weights, epochs=epochs, seed=seed,
            seeds=seeds, sweep=read_sweep(sweep or []), folds=folds, generators=read_names(generators), each=each,
            all_but_one=all_but_one, limit=limit, device=device, half=half, fresh=fresh, progress=progress,
            finished=_show, engine=cast("Literal['local', 'ray']", engine), address=address, threads=threads,
        )  # fmt: skip
    if len(trained) > 1:
        _show_comparison(Path(output), trained[0].job.recipe, trained)
    say_warnings(progress.notices)


def _show(trained: "Trained") -> None:
    figures = trained.metrics["figures"]
    for part, at in figures.items():
        shown = at["fitted"]
        say(
            f"{trained.job.name}, {part}: accuracy {100 * shown['accuracy']:.2f} % at threshold {shown['threshold']:.4g} "
            f"({100 * at['at_half']['accuracy']:.2f} % at 0.5), balanced {100 * shown['balanced_accuracy']:.2f} %, "
            f"AUROC {shown['auroc']:.4f}, {counted(shown['n'], 'image')}"
        )
        for each in at.values():
            if each["answers_one_class"]:
                word = "fake" if each["tpr"] > 0.5 else "real"
                say(
                    f"ONE CLASS: at threshold {each['threshold']:.4g} {trained.job.name} calls nearly every {part} image "
                    f"{word}. The accuracy is the class balance",
                    style="failure",
                )
    say(f"written to {trained.folder}")


def _show_comparison(output: "Path", stem: str, trained: "list[Trained]") -> None:
    from robustbench_aigen.training.comparison import rounded, write_comparison

    table = write_comparison(output, f"{stem}-comparison", trained)
    columns = [
        "name", "epochs", "validation_accuracy", "accuracy", "balanced_accuracy", "f1", "auroc", "answers_one_class", "ms_per_step", "seconds",
    ]  # fmt: skip
    print_table(
        rounded(table[columns].rename(columns=lambda name: name.replace("_", " "))),
        f"{stem}: {counted(len(table), 'detector')}, {counted(table['evaluated_on'].iloc[0], 'image')}",
    )
    say(f"written to {output / stem}-comparison.csv and .md")
