"""``robust-aigen verify``."""

from typing import Annotated

import typer

from robustbench_aigen.cli.console import print_json, say
from robustbench_aigen.cli.plugin_option import Plugins


def verify(
    card: Annotated[str, typer.Argument(help="The JSON file of a card.")],
    share: Annotated[
        float, typer.Option(help="Share of the images that are run again; at least 20 images are run.")
    ] = 0.1,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the choice of images, to repeat a verification.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="The detector, if not where the card says; as in benchmark.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The images of a card of suite own, or a copy of CIFAKE: a folder or file, or {source: …} as in a scenario."
        ),
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of a weights file.")] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Load detectors whose files can execute code, as in run.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    _plugin: Plugins = None,
) -> None:
    """Verify a card: check its numbers, and run a random tenth of the images again; exit 1 if it fails."""
    from pathlib import Path

    from robustbench_aigen.cli.benchmark import given_images
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.leaderboard.verification import verify as verify_card
    from robustbench_aigen.scenario.detector_spec import DetectorSpec

    if arch is not None and detector is None:
        raise UserError("--arch needs --detector FILE")
    spec = None if detector is None else DetectorSpec.from_text(detector, arch, Path.cwd())
    with shown_progress() as progress:
        done = verify_card(
            card,
            share=share,
            seed=seed,
            detector=spec,
            data=given_images(data),
            device=device,
            trust_code=trust_code,
            progress=progress,
        )
    if json_output:
        print_json(done.as_dict())
    else:
        for fault in done.faults:
            say(f"{fault.subject}: {fault.sentence}")
        if done.verdicts:
            say(f"{done.images} images, seed {done.seed}: {done.equal} of {done.verdicts} verdicts are equal")
        say("verify: " + ("passed" if done.passed else "FAILED"))
    if not done.passed:
        raise typer.Exit(1)
