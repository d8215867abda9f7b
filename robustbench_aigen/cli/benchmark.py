"""``robust-aigen benchmark``."""

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from robustbench_aigen.cli.console import say
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.cli.run import show_result

if TYPE_CHECKING:
    from robustbench_aigen.runs.run import Run


def benchmark(
    detector: Annotated[
        str,
        typer.Argument(
            help="An id, a file (weights together with --arch), timm:…, hf:…, python:…, or {path: FILE, …} as in a scenario."
        ),
    ],
    suite: Annotated[
        str,
        typer.Option(
            help="standard; quick, with a tenth of the images; cifake; own, with --data; or a version such as standard_v1."
        ),
    ] = "standard",
    data: Annotated[
        str | None,
        typer.Option(
            help="The images for suite own, or a copy of CIFAKE: a folder or file, hf://org/name, or {source: …} as in a scenario."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split of the images for suite own: test, val, train or all.")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of a weights file.")] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Load detectors whose files can execute code, as in run.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Evaluate at most this many images. The limit is part of the name of the run."
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="youden or fpr@0.01, fitted on the validation split; by default the detector's own threshold."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    output: Annotated[
        str, typer.Option(help="Results folder. The run is written to OUTPUT/<suite>/<run id>.")
    ] = "results",
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    _plugin: Plugins = None,
) -> None:
    """Evaluate a detector on a fixed suite, so that numbers of different detectors are comparable.

    A suite fixes images, attacks, budgets and degradations, and never changes. The last lines have clean_acc, and
    robust_acc for each threat model: the share of images that are right clean and under each of its attacks.
    """
    from pathlib import Path

    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.evaluation import benchmark as evaluate_suite
    from robustbench_aigen.scenario.detector_spec import DetectorSpec

    spec = DetectorSpec.from_text(detector, arch, Path.cwd())
    with shown_progress() as progress:
        done = evaluate_suite(
            spec.model_dump(exclude_unset=True), suite, data=given_images(data), split=split, limit=limit,
            threshold=threshold, device=device, output=output, trust_code=trust_code, progress=progress,
        )  # fmt: skip
    rows = _robustness(done)
    show_result(done, json_output, {"robustness": [row._asdict() for row in rows]})
    if not json_output:
        for row in rows:
            say(
                f"{row.threat_model}, eps {row.eps}: clean_acc {100 * row.clean_acc:.1f}, robust_acc {100 * row.robust_acc:.1f}"
            )


def given_images(text: str | None) -> dict[str, object] | None:
    """Return the data of ``--data`` as a mapping, with paths from the current folder."""
    from robustbench_aigen.scenario.data_argument import read_data

    return None if text is None else read_data(text).starting_here().model_dump(exclude_unset=True)


class _Robustness(NamedTuple):
    """Accuracies in RobustBench's words, as shares of the images."""

    threat_model: str
    eps: str
    clean_acc: float
    robust_acc: float


def _robustness(run: "Run") -> list[_Robustness]:
    """Return a row for each norm and eps of the attacks without processing."""
    from robustbench_aigen.runs.joined import join_runs
    from robustbench_aigen.suites.suite import threat_models

    joined, (name,) = join_runs([run]), run.detectors
    return [
        _Robustness(norm, eps, run.accuracy("clean"), joined.right_in_all(name, ["clean", *names]))
        for (norm, eps), names in threat_models(run.info.pipelines).items()
    ]
