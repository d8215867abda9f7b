"""The page of a run's detector: what each attack changed, its maps before and after, and which images fell first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.explain import run_figures
from robustbench_aigen.explain.fallen import Fallen, first_fallen, image_properties
from robustbench_aigen.explain.gradient_maps import affordable_steps
from robustbench_aigen.explain.mapping import METHODS, Maps, maps_towards
from robustbench_aigen.explain.page import Page, PagePart
from robustbench_aigen.explain.perturbations import BANDS, Change, change_of
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.folder import gallery_image
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.stages.stage import Attack, Stage
from robustbench_aigen.text import counted
from robustbench_aigen.views.figure import Figure
from robustbench_aigen.views.table import Column, Table, TableCell

_MOST_PIPELINES = 4
_PATHS = 4
"""Images whose margin is followed over the steps."""
_NEAR = 0.02
"""Largest difference of the score of a kept image to that of the record; beyond, the image was cut."""


class KeptImages(NamedTuple):
    """The kept images of a pipeline: records, H×W×3 originals and attacked images, and what changed."""

    pipeline: str
    records: pd.DataFrame
    originals: list[NDArray[np.uint8]]
    images: list[NDArray[np.uint8]]
    changes: list[Change]


def load_detectors(
    run: Run, names: Sequence[str] = (), *, device: torch.device | str = "cpu", trust_code: bool = False
) -> list[Detector]:
    """Load detectors of a run again.

    Raises
    ------
    UserError
        If a name is unknown, a detector was in memory, or its weights are no longer those of the run.
    """
    for name in names:
        if name not in run.detectors:
            raise UserError(f"the run has no detector '{name}'", hint=did_you_mean(name, run.detectors))
    said = run.info.scenario.detectors
    specs = said if isinstance(said, list) else []
    if len(specs) != len(run.detectors):
        raise UserError(f"{run.place} does not say what its detectors were loaded from", hint="run it again")
    found = []
    for info, spec in zip(run.info.detectors, specs, strict=True):
        if names and info.name not in names:
            continue
        if isinstance(spec, Mapping) and "memory" in spec:
            raise UserError(
                f"detector '{info.name}' of the run was in memory",
                hint="explain.run_page(run, detector, …) in Python",
            )
        content = (
            {key: value for key, value in spec.items() if value is not None}
            if isinstance(spec, Mapping)
            else spec
        )
        given = (
            validated_values(DetectorSpec, dict(content), "a detector")
            if isinstance(content, Mapping)
            else DetectorSpec.from_text(str(content), None, Path())
        )
        detector = load_detector(given, device=device, trust_code=trust_code)
        if info.weights_sha256 and detector.weights_sha256 != info.weights_sha256:
            raise UserError(
                f"the weights of '{info.name}' are not those of the run", hint="run the scenario again"
            )
        detector.name = info.name
        found.append(detector.with_threshold(info.threshold))
    return found


def run_page(
    run: Run,
    detector: Detector,
    command: str,
    progress: Progress,
    *,
    methods: Sequence[str] = (),
    images: int = 6,
    seed: int = 42,
    pictures: bool = True,
) -> Page:
    """Return the page of one detector of a run.

    Parameters
    ----------
    run
        A run that kept images.
    detector
        Its detector, loaded.
    command
        The command that makes the page.
    progress
        The receiver of the progress.
    methods
        Methods of the maps; integrated gradients by default, or occlusion without gradients.
    images
        Images of each pipeline that are drawn.
    seed
        Of the maps.
    pictures
        Whether images are drawn.

    Raises
    ------
    UserError
        If the run kept no attacked image of the detector.
    """
    for name in methods:
        if name not in METHODS:
            raise UserError(f"unknown method '{name}'", hint=did_you_mean(name, METHODS))
    notices: list[str] = []
    kept = _kept(run, detector.name, images)
    chosen = list(methods) or ["integrated_gradients" if detector.differentiable else "occlusion"]
    progress.start(len(kept) * len(chosen))
    parts = []
    for each in kept:
        progress.work_on(detector.name, each.pipeline)
        parts.append(_attack_part(run, detector, each, chosen, seed, notices, progress, pictures=pictures))
    parts.append(_bands_part(kept))
    parts += _fallen_parts(run, detector.name, notices)
    lines = [
        ("Run", run.place), ("Detector", f"{detector.name}, {detector.architecture}"), ("Data", run.info.data.title),
        ("Seed", str(seed)),
    ]  # fmt: skip
    return Page(f"{run.info.scenario.name}: {detector.name}", lines, parts, notices, command)


def _kept(run: Run, detector: str, count: int) -> list[KeptImages]:
    gallery = run.gallery
    mine = gallery if gallery.empty else gallery[(gallery["detector"] == detector) & gallery["attacked"]]
    if mine.empty:
        raise UserError(
            f"{run.place} kept no attacked image of '{detector}'",
            hint="run it again, in Python with evaluate(…, keep_images='all')",
        )
    found = []
    names = [name for name in run.pipelines if name in set(mine["pipeline"])]
    # The members of a sweep by their effect: the strongest one of each family.
    strongest = {run.info.by_pipeline[name].family: name for name in names}
    for name in list(strongest.values())[:_MOST_PIPELINES]:
        rows = mine[mine["pipeline"] == name].head(count)
        originals, images = ([_decoded(each) for each in rows[key]] for key in ("original", "image"))
        same = [one.shape == other.shape for one, other in zip(originals, images, strict=True)]
        if not all(same):
            continue
        changes = [change_of(one, other) for one, other in zip(originals, images, strict=True)]
        found.append(KeptImages(name, rows.reset_index(drop=True), originals, images, changes))
    if not found:
        raise UserError(
            f"every pipeline of {run.place} changes the size of the images",
            hint="name a run with a plain attack",
        )
    return found


def _decoded(encoded: bytes) -> NDArray[np.uint8]:
    return np.asarray(gallery_image(encoded))


def _levels(images: Sequence[NDArray[np.uint8]]) -> list[torch.Tensor]:
    return [torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous() for image in images]


def _attack_part(
    run: Run,
    detector: Detector,
    kept: KeptImages,
    methods: Sequence[str],
    seed: int,
    notices: list[str],
    progress: Progress,
    *,
    pictures: bool,
) -> PagePart:
    labels = torch.tensor(kept.records["label"].to_numpy(int).copy())
    pairs: list[tuple[Maps, Maps]] = []
    for method in methods:
        options = {"most_steps": affordable_steps(detector)} if method == "integrated_gradients" else {}
        before, after = (
            maps_towards(detector, _levels(each), labels, method, seed, None, options)
            for each in (kept.originals, kept.images)
        )
        pairs.append((before, after))
        progress.advance(1)
    scores = 1 / (1 + np.exp(-pairs[0][1].log_odds.astype(float)))
    if np.abs(scores - kept.records["score"].to_numpy(float)).max() > _NEAR:
        notices.append(
            f"{kept.pipeline}: kept images give other scores than the records, because they were cut or processed "
            "afterwards; maps are of the kept images; keep_images='all' keeps whole images"
        )
    stem = _stem(kept.pipeline)
    part = PagePart(kept.pipeline)
    part.texts.append(_outcomes(run, detector.name, kept.pipeline))
    part.figures.append(
        Figure(
            f"attack-{stem}",
            f"{kept.pipeline}: " + ("original, attacked image, " if pictures else "")
            + "the change amplified around grey, its power spectrum (frequency 0 in the middle, logarithmic), and maps for "
            "the true class before and after the attack, with one scale.",
            run_figures.draw_attack(kept.records, kept.originals, kept.images, kept.changes, pairs, pictures=pictures),
        )
    )  # fmt: skip
    found = _path(run, detector, kept, notices)
    if found is not None:
        steps, paths = found
        part.figures.append(
            Figure(
                f"path-{stem}",
                f"{kept.pipeline}: log-odds of the true class over the threshold after attacks of some numbers of steps, "
                "with the step size of the whole attack and the same random start. Below 0 the image is misjudged.",
                run_figures.draw_paths(kept.records.head(len(paths)), steps, paths),
            )
        )
    return part


def _outcomes(run: Run, detector: str, pipeline: str) -> str:
    rows = run.summary
    row = rows[
        (rows["detector"] == detector)
        & (rows["pipeline"] == pipeline)
        & (rows["generator"] == ALL_GENERATORS)
    ].iloc[0]
    return (
        f"Accuracy {100 * row['accuracy']:.1f} %, clean {100 * row['clean_accuracy']:.1f} %; "
        f"trust: {run.info.flags_of(detector, pipeline)}."
    )


def _path(
    run: Run, detector: Detector, kept: KeptImages, notices: list[str]
) -> tuple[list[int], NDArray[np.float64]] | None:
    """Return numbers of steps and the margins of some images after attacks of that many steps, M×K."""
    stages = run.info.by_pipeline[kept.pipeline].stages
    attack = stages[0] if stages and "attack" in stages[0] else {}
    steps = attack.get("steps")
    if not isinstance(steps, int) or "surrogate" in attack or not detector.differentiable:
        notices.append(
            f"{kept.pipeline}: no path over the steps, because its first stage has no steps to count"
        )
        return None
    counts = [each for each in (1, 2, 3, 5, 8, 12, 20, 35, 60, 100) if each < steps] + [steps]
    labels = kept.records["label"].to_numpy(int)[:_PATHS].tolist()
    ids = kept.records["sample"].astype(str).tolist()[:_PATHS]
    levels, signs = _levels(kept.originals)[:_PATHS], 2.0 * np.array(labels) - 1
    limit = detector.threshold.log_odds
    margins = [signs * (detector.log_odds(levels).numpy() - limit)]
    for count in counts:
        one = Stage.from_dict({**attack, "steps": count})
        if not isinstance(one, Attack):
            return None
        done = one(detector, levels, labels, seed=run.info.seed, ids=ids)
        margins.append(signs * (detector.log_odds(done.images).numpy() - limit))
    return [0, *counts], np.stack(margins, axis=1)


def _bands_part(kept: Sequence[KeptImages]) -> PagePart:
    columns = (
        Column("pipeline"), Column("images", 0), *(Column(f"{_band(low, high)} (%)", 1) for low, high in BANDS),
    )  # fmt: skip
    rows = []
    for each in kept:
        shares = np.array([change.shares for change in each.changes])
        changed = shares[np.isfinite(shares).all(axis=1)]
        means = 100 * changed.mean(axis=0) if len(changed) else np.full(len(BANDS), np.nan)
        rows.append(
            (TableCell(each.pipeline), TableCell(float(len(changed))), *map(TableCell, means.tolist()))
        )
    white = 100 * np.mean([change.white for each in kept for change in each.changes], axis=0)
    rows.append((TableCell("white noise"), TableCell(float("nan")), *map(TableCell, white.tolist())))
    caption = "Energy of the change by radial frequency in cycles per pixel, mean over the kept images that changed."
    return PagePart(
        "Energy per band", tables=[Table("bands", "Energy per band", caption, columns, tuple(rows))]
    )


def _band(low: float, high: float) -> str:
    return f"above {low:g}" if high >= 0.5 else f"{low:g} to {high:g}"


def _fallen_parts(run: Run, detector: str, notices: list[str]) -> list[PagePart]:
    if not run.has_records:
        notices.append("which images fell first needs records, which this run lacks")
        return []
    try:
        properties = image_properties(run)
    except UserError as error:
        notices.append(f"brightness, texture and size are missing: {error.message}")
        properties = pd.DataFrame()
    parts = []
    families = {each.family for each in run.info.pipelines if any("attack" in stage for stage in each.stages)}
    for family in [
        name for name in dict.fromkeys(each.family for each in run.info.pipelines) if name in families
    ]:
        try:
            found = first_fallen(run, detector, family, properties)
        except UserError as error:
            notices.append(error.message)
            continue
        parts.append(_fallen_part(found))
    return parts


def _fallen_part(found: Fallen) -> PagePart:
    part = PagePart(f"First fallen: {found.family}")
    fell = np.isfinite(found.first)
    smallest = found.first[fell].min() if fell.any() else float("nan")
    part.texts.append(
        f"Of {counted(len(found.first), 'image')} judged right without attack, {int((found.first == smallest).sum())} fell "
        f"at the smallest eps with a success ({smallest:.4g}) and {int((~fell).sum())} never."
    )
    if found.missing:
        part.texts.append(f"Not compared: {found.missing}.")
        return part
    columns = (
        Column("property"), Column("fell first", 3), Column("others", 3), Column("effect", 2), Column("p", 4),
        Column("p adjusted", 4),
    )  # fmt: skip
    rows = tuple(
        tuple(TableCell(value if isinstance(value, str) else float(value)) for value in row)
        for row in found.table.itertuples(index=False)
    )
    caption = (
        "Images that fell at the smallest eps against images that never fell, or against all others where "
        "fewer than five never fell: medians, for classes and generators shares. Effect: Cliff's delta. p: Mann-Whitney, adjusted for all rows (Holm 1979)."
    )
    part.tables.append(Table(f"fallen-{_stem(found.family)}", part.title, caption, columns, rows))
    return part


def _stem(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).strip("-")
