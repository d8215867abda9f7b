"""``robust-aigen finetune``."""

from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import say, say_warnings
from robustbench_aigen.cli.markdown_text import print_markdown

if TYPE_CHECKING:
    from robustbench_aigen.training.adversarial.file import LoadedFineTuning


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
) -> None:
    """Fine-tune a detector by adversarial training.

    The report compares the detector before and after, clean and under attack. The number of test images is chosen so
    that the report takes at most as long as the training; if few images already take longer, steps, queries and
    attacks are reduced. The expected time is printed before the training. A stopped fine-tuning or report resumes
    with the same command.
    """
    import time

    began = time.perf_counter()
    from pathlib import Path

    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.cli.stopping import StoppedError
    from robustbench_aigen.engine.progress import Recording
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.imports import import_library
    from robustbench_aigen.training.adversarial.file import load_finetuning

    if report_images is not None and not report:
        raise UserError("--report-images and --no-report exclude each other")
    loaded = _overridden(load_finetuning(file), detector, arch, data, limit, epochs, minutes, name)
    if report_images is not None:
        loaded = _reporting_on(loaded, report_images)
    import_library("lightning", extra="train", what="fine-tuning")
    from robustbench_aigen.training.adversarial.after_report import report_on
    from robustbench_aigen.training.adversarial.tuning import finetune as tune

    with shown_progress() as shown:
        progress = Recording(shown)
        progress.work_on("", "loading the detector and the data")
        tuned = tune(
            loaded,
            Path(output),
            device=device,
            half=half,
            fresh=fresh,
            progress=progress,
            trust_code=trust_code,
            report=report,
            began=began,
        )
        say(f"weights of epoch {tuned.metrics['epoch_kept']}: {tuned.weights}")
        collapse = tuned.metrics["collapse"]
        if collapse is not None:
            raise UserError(
                f"the training collapsed ({collapse['kind']}) at step {collapse['step']}: {collapse['evidence']}; "
                f"the weights of epoch {tuned.metrics['epoch_kept']} are kept",
                file=loaded.yaml.file,
                hint=collapse["advice"],
            )
        if report:
            try:
                written = report_on(tuned, device=device, progress=progress, trust_code=trust_code)
            except (KeyboardInterrupt, StoppedError):
                say(f"the weights are finished: {tuned.weights}; the same command makes the report", err=True)
                raise
    if report:
        print_markdown(written.read_text(encoding="utf-8"))
        say(f"written to {written}")
    say_warnings(progress.notices)


def _overridden(
    loaded: "LoadedFineTuning",
    detector: str | None,
    arch: str | None,
    data: str | None,
    limit: int | None,
    epochs: int | None,
    minutes: float | None,
    name: str | None,
) -> "LoadedFineTuning":
    from pathlib import Path

    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.data_argument import read_data
    from robustbench_aigen.scenario.detector_spec import DetectorSpec

    if arch is not None and detector is None:
        raise UserError("--arch needs --detector FILE")
    if epochs is not None and minutes is not None:
        raise UserError("--epochs and --minutes exclude each other")
    changes: dict[str, object] = {}
    if detector is not None:
        # Paths on the command line start at the current folder, those in the file at the file's.
        changes["detector"] = DetectorSpec.from_text(detector, arch, Path.cwd()).model_dump(
            exclude_unset=True
        )
    spec = loaded.tuning.data
    content = spec.model_dump(exclude_unset=True)
    if data is not None:
        content = read_data(data).model_dump(exclude_unset=True)
        content |= spec.model_dump(include={"validation", "limit"}, exclude_unset=True)
    if limit is not None:
        content["limit"] = limit
    if content != spec.model_dump(exclude_unset=True):
        changes["data"] = content
    if epochs is not None:
        changes["budget"] = {"epochs": epochs}
    if minutes is not None:
        changes["budget"] = {"minutes": minutes}
    if name is not None:
        changes["name"] = name
    return loaded.replaced(changes)


def _reporting_on(loaded: "LoadedFineTuning", images: str) -> "LoadedFineTuning":
    """Return the file with a report on so many images, or on all."""
    from robustbench_aigen.errors import UserError

    wanted: int | str = images.strip().lower()
    if wanted != "all":
        if not images.isdecimal() or not int(images):
            raise UserError(f"--report-images takes a number of images or all, not '{images}'")
        wanted = int(images)
    settings = loaded.tuning.report.model_dump(exclude_unset=True, exclude={"limit"})
    return loaded.replaced({"report": {**settings, "images": wanted}})
