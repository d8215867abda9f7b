"""``robust-aigen finetune``."""

from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import say, say_warnings
from robustbench_aigen.cli.markdown_text import print_markdown
from robustbench_aigen.cli.plugin_option import Plugins

if TYPE_CHECKING:
    from robustbench_aigen.training.adversarial.tuning import Tuned


def finetune(
    file: Annotated[
        str,
        typer.Argument(help="A fine-tuning file, or the name of a shipped file, such as finetune_pgd_eps2."),
    ],
    detector: Annotated[
        str | None, typer.Option(help="Replace the detector: an id, or a weights file together with --arch.")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of the --detector weights file.")] = None,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code", help="Load a detector whose file can execute code, such as a pickle or .pt2."
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Replace the data: minigen, a folder or file, hf://org/name, or {source: …} as in a scenario."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many images of each split.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Replace the budget by this many epochs.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Replace the budget by this many minutes.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Replace the name of the folder and of the weights file.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    output: Annotated[
        str, typer.Option(help="Folder of detectors. The detector is written to OUTPUT/<name>.")
    ] = "results/detectors",
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard a finished or stopped training and start again.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Attack the detector before and after, and compare.")
    ] = True,
    report_images: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help="Report on this many test images, at any cost in time. By default the report takes at most as long as the training.",
        ),
    ] = None,
    _plugin: Plugins = None,
) -> None:
    """Fine-tune a detector by adversarial training.

    The report compares the detector before and after, clean and under attack. The number of test images is chosen so
    that the report takes at most as long as the training; if few images already take longer, steps, queries and
    attacks are reduced. The expected time is printed before the training. A stopped fine-tuning or report resumes
    with the same command.
    """
    import time

    began = time.perf_counter()
    from robustbench_aigen import training
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.cli.stopping import StoppedError
    from robustbench_aigen.engine.progress import Recording
    from robustbench_aigen.scenario.data_argument import read_data

    finished: list[Tuned] = []

    def show(tuned: "Tuned") -> None:
        finished.append(tuned)
        say(f"weights of epoch {tuned.metrics['epoch_kept']}: {tuned.weights}")

    with shown_progress() as shown:
        progress = Recording(shown)
        try:
            tuned = training.finetune(
                file, detector=detector, arch=arch,
                data=None if data is None else read_data(data).model_dump(exclude_unset=True), limit=limit,
                epochs=epochs, minutes=minutes, name=name, report=report, report_images=report_images,
                device=device, output=output, half=half, fresh=fresh, trust_code=trust_code, progress=progress,
                finished=show, began=began,
            )  # fmt: skip
        except (KeyboardInterrupt, StoppedError):
            if finished:
                say(
                    f"the weights are finished: {finished[0].weights}; the same command makes the report",
                    err=True,
                )
            raise
    if tuned.report is not None:
        print_markdown(tuned.report.read_text(encoding="utf-8"))
        say(f"written to {tuned.report}")
    say_warnings(progress.notices)
