"""Exports the attacked images of a run as a set that travels, and compares verdicts on such a set with those of the run."""

import io
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from robustbench_aigen.csv_text import csv_of
from robustbench_aigen.data.layouts.exported import EXPORT, FORMAT, MANIFEST, ExportedSet
from robustbench_aigen.data.samples import CLASS_NAMES
from robustbench_aigen.digests import digest_of_text, sealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import atomic_folder, writing
from robustbench_aigen.runs.run import Run, suffix_of
from robustbench_aigen.runs.selection import matching
from robustbench_aigen.runs.versions import package_versions
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.text import counted

_RECORDED = (
    "attacked", "correct", "score", "log_odds", "threshold", "threshold_log_odds", "linf", "l2", "distance",
    "steps", "queries", "psnr", "ssim", "masked_area", "generated_area", "chain", "found_by",
)  # fmt: skip
"""Columns of the records that the manifest has."""


class Exported(NamedTuple):
    """What was exported: the folder, numbers of images and cells, and the number of images in each file format."""

    folder: Path
    images: int
    cells: int
    formats: dict[str, int]


def export_run(
    run: Run,
    folder: str | Path,
    *,
    pipelines: Sequence[str] = (),
    detectors: Sequence[str] = (),
    licence: str = "unknown",
) -> Exported:
    """Write the attacked images of a run into a new folder, with a manifest of their records and hashes.

    Parameters
    ----------
    run
        A run with ``keep_images: all``.
    folder
        The folder to make; an empty one may exist.
    pipelines
        Names or patterns of pipelines; by default all with an attack.
    detectors
        Names of the attacked detectors; by default all.
    licence
        Licence of the images, for the manifest.

    Raises
    ------
    UserError
        If the folder has content, the run did not keep all attacked images, or a name is unknown.
    """
    target = Path(folder)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UserError(f"'{folder}' is not empty", hint="name a new folder")
    cells = _cells(run, pipelines, detectors)
    kept = run.gallery
    frames = [_kept(run, kept, detector, pipeline) for detector, pipeline in cells]
    formats: dict[str, int] = {}
    rows: list[dict[str, object]] = []
    with writing(f"the set into '{folder}'", "choose another folder"), atomic_folder(target) as partial:
        for number, frame in enumerate(frames):
            (partial / "images" / str(number)).mkdir(parents=True)
            records = frame.drop(columns="image").to_dict(orient="records")
            for place, (record, encoded) in enumerate(zip(records, frame["image"], strict=True)):
                file = _ImageFile.of(encoded)
                path = f"images/{number}/{place:06}{file.suffix}"
                (partial / path).write_bytes(file.content)
                formats[file.format] = formats.get(file.format, 0) + 1
                rows.append(_row(path, {str(name): value for name, value in record.items()}, file, licence))
        manifest = csv_of(pd.DataFrame(rows)).encode()
        (partial / MANIFEST).write_bytes(manifest)
        content = sealed(_description(run, cells, licence), {MANIFEST: digest_of_text(manifest)})
        (partial / EXPORT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return Exported(target, len(rows), len(cells), formats)


class Reproduced(NamedTuple):
    """The verdicts of a detector on its own attacked images again: how many are those of the run, of how many."""

    detector: str
    pipeline: str
    equal: int
    images: int
    first: str | None

    @property
    def sentence(self) -> str:
        """Result as one line; ``first`` is the first image with another verdict."""
        of = f"{self.detector}, {self.pipeline}: {self.equal} of {counted(self.images, 'verdict')}"
        return f"{of} as in the exported run" + (
            f"; the first other one is {self.first}" if self.first else ""
        )


def reproduced(run: Run, exported: ExportedSet) -> list[Reproduced]:
    """Compare the clean verdicts of a run on an exported set with the verdicts of the exported run.

    A cell is compared with the detector that has the weights of the attacked one; others are left out.
    """
    names = {each.weights_sha256: each.name for each in run.info.detectors}
    clean = run.records[run.records["pipeline"] == CLEAN]
    right = {
        str(detector): dict(zip(rows["sample"].astype(str), rows["correct"].astype(bool), strict=True))
        for detector, rows in clean.groupby("detector", observed=True)
    }
    found = []
    for cell in exported.cells:
        name = names.get(cell["weights_sha256"])
        if name is None:
            continue
        rows = [row for row in exported.rows if row["path"].startswith(f"{cell['folder']}/")]
        both = [row for row in rows if row["path"] in right[name]]
        other = [row["path"] for row in both if right[name][row["path"]] != (row["correct"] == "True")]
        found.append(
            Reproduced(name, cell["pipeline"], len(both) - len(other), len(both), other[0] if other else None)
        )
    return found


def _cells(run: Run, pipelines: Sequence[str], detectors: Sequence[str]) -> list[tuple[str, str]]:
    """Return the cells to export; those whose pipelines have an attack."""
    attacked = [p.name for p in run.info.pipelines if any("attack" in stage for stage in p.stages)]
    if not attacked:
        raise UserError(f"the run '{run.place}' has no attack, so there is nothing to export")
    chosen = matching(pipelines, run.info.outline.families, "pipeline") if pipelines else attacked
    for name in chosen:
        if name not in attacked:
            raise UserError(
                f"pipeline '{name}' has no attack, and a run keeps attacked images alone",
                hint=f"choose among {', '.join(attacked)}",
            )
    named = matching(detectors, run.detectors, "detector") if detectors else run.detectors
    return [
        (detector, name)
        for detector in run.detectors
        if detector in named
        for name in attacked
        if name in chosen
    ]


def _kept(run: Run, gallery: pd.DataFrame, detector: str, pipeline: str) -> pd.DataFrame:
    """Return the records of a cell with the file of each attacked image.

    Raises
    ------
    UserError
        If the run did not keep all of them.
    """
    images = gallery[(gallery["detector"] == detector) & (gallery["pipeline"] == pipeline)]
    records = run.records[(run.records["detector"] == detector) & (run.records["pipeline"] == pipeline)]
    files = dict(zip(images["sample"].astype(str), images["image"], strict=True))
    missing = [sample for sample in records["sample"].astype(str) if sample not in files]
    if missing:
        raise UserError(
            f"the run '{run.place}' kept {len(files)} of {len(records)} attacked images of {pipeline}",
            hint="write keep_images: all into the scenario, and run it again",
        )
    return records.assign(image=records["sample"].astype(str).map(files))


class _ImageFile(NamedTuple):
    """An encoded image: its bytes, Pillow's name of the format, width and height."""

    content: bytes
    format: str
    width: int
    height: int

    @classmethod
    def of(cls, content: bytes) -> "_ImageFile":
        with Image.open(io.BytesIO(content)) as picture:
            return cls(content, str(picture.format), picture.width, picture.height)

    @property
    def suffix(self) -> str:
        return suffix_of(self.content)


def _row(path: str, record: Mapping[str, object], file: _ImageFile, licence: str) -> dict[str, object]:
    return {
        "path": path,
        "label": CLASS_NAMES[bool(record["label"])],
        "generator": record["generator"],
        "split": "test",
        "source": record["sample"],
        "detector": record["detector"],
        "pipeline": record["pipeline"],
        **{name: record[name] for name in _RECORDED},
        "format": file.format,
        "width": file.width,
        "height": file.height,
        "sha256": sha256(file.content).hexdigest(),
        "source_sha256": record["sha256"],
        "licence": licence,
    }


def _description(run: Run, cells: Sequence[tuple[str, str]], licence: str) -> dict[str, object]:
    """Return the content of ``export.json``, without its digests."""
    known = {each.name: each for each in run.info.detectors}
    specs = run.info.scenario.detectors
    declared = list(specs) if isinstance(specs, list) else []
    names = run.detectors
    return {
        "format": FORMAT,
        "name": run.info.scenario.name,
        "run_id": run.info.run_id,
        "data": run.info.data.to_dict(),
        "licence": licence,
        "seed": run.info.scenario.seed,
        "packages": package_versions(),
        "pipelines": [each.to_dict() for each in run.info.pipelines],
        "cells": [
            {
                "folder": f"images/{number}",
                "detector": detector,
                "weights_sha256": known[detector].weights_sha256,
                "pipeline": pipeline,
            }
            for number, (detector, pipeline) in enumerate(cells)
        ],
        "detectors": [
            {
                "name": name,
                "weights_sha256": known[name].weights_sha256,
                "threshold": known[name].threshold,
                "threshold_log_odds": known[name].threshold_log_odds,
                "declared": _declared(declared[names.index(name)]) if len(declared) == len(names) else None,
            }
            for name in dict.fromkeys(detector for detector, _ in cells)
        ],
    }


def _declared(spec: object) -> object:
    """Return the keys of a detector as a scenario would have them, without those left at their defaults."""
    if not isinstance(spec, Mapping) or "memory" in spec:
        return spec
    fields = DetectorSpec.model_fields
    return {key: value for key, value in spec.items() if key not in fields or value != fields[key].default}
