"""The views of one picture: scores, pictures and maps before and after, from one small run and its maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.app.settings import ATTACKED, DELIVERED, NO_MAP, SOURCE, PictureSettings
from robustbench_aigen.app.uploads import Upload
from robustbench_aigen.data.image_data import ImageData
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.gradient_maps import affordable_steps
from robustbench_aigen.explain.mapping import METHODS, Towards, maps
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.application import perturb
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.words import shell_word
from robustbench_aigen.stages.stage import Perturbation, Stage

CLEAN = "clean"
_LIGHT, _MIDDLE = 0.55, 127.5
_CLIPPED = 99.5
"""Percentile of the absolute values at which colours end, as in the figures of ``explain``."""

Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class PictureView:
    """The picture at one place of the pipeline, as one detector sees it.

    Parameters
    ----------
    pipeline
        ``clean``, ``attacked`` or ``delivered``: the row of the run with the same score.
    levels
        H×W×3 uint8.
    score, log_odds
        Probability of *fake*, and log-odds in nats.
    verdict
        ``fake`` or ``real``, at the threshold 0.5.
    overlay
        The picture in grey under its map, H×W×3 uint8; None where there is no map.
    """

    pipeline: str
    levels: Levels
    score: float
    log_odds: float
    verdict: str
    overlay: Levels | None = None


@dataclass(frozen=True)
class DetectorView:
    """What one detector makes of a picture.

    Parameters
    ----------
    detector
        Its name.
    views
        The picture as it is, attacked, and delivered, without those that the settings leave out.
    difference
        What the attack changed, amplified around grey, H×W×3 uint8; None without an attack.
    amplification
        The factor.
    linf
        The largest change of a value, in levels.
    notes
        What is missing, and why: a sentence each.
    """

    detector: str
    views: tuple[PictureView, ...]
    difference: Levels | None
    amplification: float
    linf: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Views:
    """All views of a picture.

    Parameters
    ----------
    detectors
        One for each detector.
    scenario
        The scenario that gives the same scores, as YAML with a comment on the place of the picture.
    commands
        The commands that draw the same map of the picture, a line each; empty without maps.
    picture
        The path of the picture beside the scenario.
    """

    detectors: tuple[DetectorView, ...]
    scenario: str
    commands: str
    picture: str


def compute_views(
    upload: Upload, detectors: Mapping[str, Detector], settings: PictureSettings, folder: Path
) -> Views:
    """Return the views of a picture.

    Parameters
    ----------
    upload
        The picture.
    detectors
        Loaded detectors, by what names them on a command line.
    settings
        The attack, the processing and the map.
    folder
        An empty folder, in which the picture is put as the scenario wants it.

    Raises
    ------
    UserError
        If no detector is given, or the attack does not work on one of them.
    """
    if not detectors:
        raise UserError("no detector is chosen", hint="choose at least one detector")
    scenario = settings.scenario([*detectors])
    place = folder / SOURCE / settings.label
    place.mkdir(parents=True)
    (place / upload.name).write_bytes(upload.encoded)
    run = Experiment(
        [*detectors.values()], ImageData.open(folder / SOURCE, split="all"), settings.pipelines, threshold=0.5, mode="score",
        seed=settings.seed, keep_images="all", trust="off", ssim="off", name=scenario.name,
    ).run()  # fmt: skip
    shown = tuple(
        _detector_view(run, name, detector, upload, settings)
        for name, detector in zip(run.detectors, detectors.values(), strict=True)
    )
    picture = f"{SOURCE}/{settings.label}/{upload.name}"
    comment = f"# The picture is {picture}, beside this file.\n"
    return Views(shown, comment + scenario.to_yaml(), _commands([*detectors], picture, settings), picture)


def _commands(detectors: Sequence[str], picture: str, settings: PictureSettings) -> str:
    if settings.method == NO_MAP:
        return ""
    return "\n".join(
        f"robust-aigen explain {shell_word(name)} {shell_word(picture)} --part maps --method {settings.method} "
        f"--towards {settings.label} --seed {settings.seed}"
        for name in detectors
    )


def _detector_view(
    run: Run, name: str, detector: Detector, upload: Upload, settings: PictureSettings
) -> DetectorView:
    records = run.records[run.records["detector"] == name].set_index("pipeline")
    attacked = _attacked(run, name, upload) if settings.attack_stages else None
    pictures = {CLEAN: upload.levels}
    if attacked is not None:
        pictures[ATTACKED] = attacked
    if settings.processing_stages:
        before = upload.levels if attacked is None else attacked
        pictures[DELIVERED] = _processed(before, settings, str(records.loc[CLEAN, "sample"]))
    notes: list[str] = []
    overlays = _overlays(detector, pictures, settings, notes)
    views = tuple(
        PictureView(
            pipeline,
            _rows_first(levels),
            float(records.loc[pipeline, "score"]),
            float(records.loc[pipeline, "log_odds"]),
            "fake" if records.loc[pipeline, "log_odds"] >= 0 else "real",
            overlay,
        )
        for (pipeline, levels), overlay in zip(pictures.items(), overlays, strict=True)
    )
    difference, amplification, linf = None, 1.0, 0.0
    if attacked is not None:
        change = _rows_first(attacked).astype(float) - _rows_first(upload.levels)
        linf = float(np.abs(change).max())
        amplification = _MIDDLE / linf if linf else 1.0
        difference = (_MIDDLE + amplification * change).round().clip(0, 255).astype(np.uint8)
        if not linf:
            notes.append("the attack changed nothing")
    return DetectorView(name, views, difference, amplification, linf, tuple(notes))


def _attacked(run: Run, name: str, upload: Upload) -> Tensor:
    """Return the attacked picture, 3×H×W uint8, which the run has kept."""
    kept = run.gallery
    rows = (
        kept
        if kept.empty
        else kept[(kept["detector"] == name) & (kept["pipeline"] == ATTACKED) & kept["attacked"]]
    )
    return upload.levels if rows.empty else decode(rows["image"].iloc[0])


def _processed(levels: Tensor, settings: PictureSettings, sample: str) -> Tensor:
    """Return the picture behind the processing, with the random numbers of the run."""
    first = len(settings.attack_stages)
    for position, written in enumerate(settings.processing_stages, first):
        stage = Stage.from_dict(written)
        assert isinstance(stage, Perturbation)
        levels = perturb(stage, levels[None], SampleStreams(settings.seed, (sample,), position))[0]
    return levels


def _overlays(
    detector: Detector, pictures: Mapping[str, Tensor], settings: PictureSettings, notes: list[str]
) -> list[Levels | None]:
    """Return each picture under its map, all with one scale; None where there is no map, and the reason."""
    if settings.method == NO_MAP:
        return [None] * len(pictures)
    towards: Towards = "fake" if settings.label == "fake" else "real"
    options = {"most_steps": affordable_steps(detector)} if settings.method == "integrated_gradients" else {}
    try:
        found = maps(
            detector,
            [*pictures.values()],
            settings.method,
            towards=towards,
            seed=settings.seed,
            **options,
        )
    except UserError as error:
        notes.append(f"no map: {error.message}; {error.hint}" if error.hint else f"no map: {error.message}")
        return [None] * len(pictures)
    valid = [values for values, problem in zip(found.values, found.problems, strict=True) if not problem]
    limit = max((float(np.percentile(np.abs(values), _CLIPPED)) for values in valid), default=0.0)
    overlays: list[Levels | None] = []
    for pipeline, levels, values, problem, note in zip(
        pictures, pictures.values(), found.values, found.problems, found.notes, strict=True
    ):
        overlays.append(None if problem else overlay(_rows_first(levels), values, limit, settings.method))
        notes += [f"map of {pipeline}: {text}" for text in (problem, note) if text]
    return overlays


def overlay(picture: Levels, values: NDArray[np.float32], limit: float, method: str) -> Levels:
    """Return a picture in light grey under the colours of its map.

    Parameters
    ----------
    picture
        H×W×3 uint8.
    values
        The map, H×W.
    limit
        The absolute value at which the colours end.
    method
        Whether the colours have two directions.
    """
    import matplotlib as mpl

    signed = METHODS[method].is_signed
    scaled = np.clip(values / (limit or 1.0), -1 if signed else 0, 1)
    colours = mpl.colormaps["PuOr_r" if signed else "magma"]((scaled + 1) / 2 if signed else scaled)[..., :3]
    grey = picture @ np.array([0.299, 0.587, 0.114])
    weight = np.abs(scaled)[..., None] ** 0.5 * 0.85
    base = np.repeat((255 * (1 - _LIGHT) / 2 + _LIGHT * grey)[..., None], 3, axis=2)
    return ((1 - weight) * base + weight * 255 * colours).round().clip(0, 255).astype(np.uint8)


def _rows_first(levels: Tensor) -> Levels:
    return np.asarray(levels.permute(1, 2, 0).contiguous().numpy())
