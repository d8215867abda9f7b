"""``robust-aigen explain``."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import print_json, print_table, say, say_notice
from robustbench_aigen.cli.plugin_option import Plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.explain.detector_page import PageSettings, Pictures
    from robustbench_aigen.explain.page import Page


_SPLIT = "test"


class Explained(StrEnum):
    """The explained class."""

    verdict = "verdict"
    fake = "fake"
    real = "real"


def explain(
    detector: Annotated[
        str,
        typer.Argument(help="An id, a file, timm:…, hf:…, python:…, or {path: FILE, …} as in a scenario."),
    ],
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="Data as in a scenario, minigen by default; or pictures: several files, or one file. Of a run, the names of detectors."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="grad_cam, integrated_gradients, input_gradients, smoothgrad, occlusion, lime, and relatives of Grad-CAM. Repeatable."
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this part: maps, gradients, filters, activations, hardest, fingerprints. Repeatable."
        ),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Target layer of Grad-CAM, by its dotted name.")] = None,
    towards: Annotated[Explained, typer.Option(help="The explained class.")] = Explained.verdict,
    images: Annotated[int, typer.Option(min=1, help="Number of images in a figure.")] = 8,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures", help="Draw the images, or leave them out of a page that is shared."
        ),
    ] = True,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = _SPLIT,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many images of the data, stratified.")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of a weights file.")] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Load detectors whose files can execute code, as in run.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 42,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    output: Annotated[
        str | None, typer.Option(help="Folder of the page; by default results/explanations/NAME.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    _plugin: Plugins = None,
) -> None:
    """Show which pixels a detector's answers rest on, with checks of the maps.

    The page has maps, input gradients, filters, activation maps and the hardest mistakes: HTML, PNG, PDF and CSV. Of a
    run folder: what each attack changed, and which images fell first, a page for each detector.
    """
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.detectors.description import describe_detector
    from robustbench_aigen.detectors.loading import load_detector
    from robustbench_aigen.explain.detector_page import PARTS, PageSettings, detector_page
    from robustbench_aigen.explain.page import check_target
    from robustbench_aigen.numerics.precision import resolve_device
    from robustbench_aigen.scenario.words import shell_word

    if _is_run(detector):
        others = {
            "--part": part, "--layer": layer, "--arch": arch, "--limit": limit,
            "--towards": towards is not Explained.verdict, "--split": split != _SPLIT,
        }  # fmt: skip
        _refuse(others, "a run folder: the page has all parts, and the images that the run kept")
        _explain_run(
            Path(detector),
            source or [],
            method or [],
            images,
            seed,
            device,
            output,
            json_output,
            trust_code=trust_code,
            pictures=pictures,
        )
        return
    settings = PageSettings(part or PARTS, method or (), layer, towards.value, images, seed, pictures)
    settings.check()
    target = None if output is None else Path(output)
    if target is not None:
        check_target(target)
    loaded = load_detector(detector, arch=arch, device=resolve_device(device), trust_code=trust_code)
    for notice in describe_detector(loaded):
        say_notice(notice, err=True)
    chosen = _pictures(source or ["minigen"], split, limit, settings)
    command = " ".join(map(shell_word, ["robust-aigen", *sys.argv[1:]]))
    with shown_progress() as progress:
        page = detector_page(loaded, chosen, settings, command, progress)
        folder = page.write(target or _folder(loaded))
    _show(page, folder, json_output)


def _is_run(target: str) -> bool:
    from robustbench_aigen.runs.folder import RUN

    folder = Path(target)
    return folder.is_dir() and ((folder / RUN).is_file() or (folder / "latest" / RUN).is_file())


def _explain_run(
    folder: Path,
    names: list[str],
    methods: list[str],
    images: int,
    seed: int,
    device: str,
    output: str | None,
    json_output: bool,
    *,
    trust_code: bool,
    pictures: bool,
) -> None:
    """Write a page for each detector of a run, and the report, which links them."""
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.explain.run_page import load_detectors, run_page
    from robustbench_aigen.numerics.precision import resolve_device
    from robustbench_aigen.runs.run import Run
    from robustbench_aigen.scenario.words import shell_word
    from robustbench_aigen.views.report import EXPLANATIONS

    run = Run.load(folder)
    command = " ".join(map(shell_word, ["robust-aigen", *sys.argv[1:]]))
    parent = run.path / EXPLANATIONS if output is None else Path(output)
    with shown_progress() as progress:
        detectors = load_detectors(run, names, device=resolve_device(device), trust_code=trust_code)
        for detector in detectors:
            page = run_page(
                run, detector, command, progress, methods=methods, images=images, seed=seed, pictures=pictures
            )
            _show(page, page.write(parent / _file_name(detector)), json_output)
        if output is None and run.has_records:
            progress.work_on("", "report")
            run.report()


def _file_name(detector: "Detector") -> str:
    return "".join(letter if letter.isalnum() or letter in "-_.@" else "_" for letter in detector.name)


def _folder(detector: "Detector") -> Path:
    from robustbench_aigen.views.saving import RESULTS

    return Path(RESULTS) / "explanations" / _file_name(detector)


def _pictures(source: list[str], split: str, limit: int | None, settings: "PageSettings") -> "Pictures":
    """Return the images of data, or single pictures."""
    from robustbench_aigen.data.image_data import ImageData
    from robustbench_aigen.data.image_files import SUFFIXES
    from robustbench_aigen.data.opening import open_data
    from robustbench_aigen.explain.detector_page import Pictures, checked_images
    from robustbench_aigen.scenario.data_argument import read_data

    if len(source) > 1 or (Path(source[0]).suffix.lower() in SUFFIXES and Path(source[0]).is_file()):
        _refuse({"--limit": limit, "--split": split != _SPLIT}, "single pictures")
        return _single([Path(each) for each in source], checked_images(settings))
    spec = read_data(source[0])
    opened = open_data(spec, Path())
    for notice in opened.notices:
        say_notice(notice, err=True)
    data = ImageData(
        opened, spec.split if "split" in spec.model_fields_set else split, limit or spec.limit, spec
    )
    return Pictures.of(data, checked_images(settings))


def _refuse(options: "Mapping[str, object]", what: str) -> None:
    """Raise UserError for the first option that is given and does not apply."""
    from robustbench_aigen.errors import UserError

    for option, value in options.items():
        if value:
            raise UserError(f"{option} does not apply to {what}", hint=f"leave out {option}")


def _single(paths: list[Path], most: int) -> "Pictures":
    """Return the first of single pictures, at most as many as data would give."""
    from robustbench_aigen.cli.pictures import find_pictures
    from robustbench_aigen.engine.calling import Picture, read_picture
    from robustbench_aigen.explain.detector_page import Pictures

    files, passed_over = find_pictures(paths)
    for notice in passed_over:
        say_notice(notice, err=True)
    if len(files) > most:
        say_notice(
            f"the first {most} of {len(files)} pictures are explained; --images changes the number", err=True
        )
    read = [read_picture(file) for file in list(files)[:most]]
    fine = [each for each in read if isinstance(each, Picture)]
    failed = [f"{each.image} ({each.reason})" for each in read if not isinstance(each, Picture)]
    return Pictures(
        [str(each.file) for each in fine], [each.levels for each in fine], unreadable=tuple(failed)
    )


def _show(page: "Page", folder: Path, json_output: bool) -> None:
    from robustbench_aigen.explain.page import PAGE

    tables = [table for part in page.parts for table in part.tables]
    if json_output:
        print_json(
            {
                "page": str(folder / PAGE),
                "notices": list(page.notices),
                "tables": {table.name: table.frame().to_dict(orient="records") for table in tables},
            }
        )
        return
    for table in tables:
        if table.name != "hardest":
            print_table(table.frame(), table.title)
    for notice in page.notices:
        say(notice)
    say(f"written to {folder}; open {folder / PAGE}")
