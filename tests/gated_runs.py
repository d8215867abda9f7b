"""Runs made up for the tests of the gate: records and a ``run.json`` that fit each other."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from robustbench_aigen.data.samples import fingerprint
from robustbench_aigen.metrics.summary import COLUMNS
from robustbench_aigen.runs.folder import no_gallery
from robustbench_aigen.runs.info import RunInfo
from robustbench_aigen.runs.migrations import upgrade
from robustbench_aigen.runs.records import RUN_RECORD_DTYPES
from robustbench_aigen.runs.run import Run

PGD = {"attack": "pgd", "backend": "native", "norm": "linf", "eps": 4 / 255, "steps": 10}
JPEG = {"perturb": "jpeg", "quality": 75}


def made_up(
    correct: dict[tuple[str, str], np.ndarray],
    *,
    score: dict[tuple[str, str], np.ndarray] | None = None,
    pipelines: dict[str, list[dict[str, Any]]] | None = None,
    images: list[str] | None = None,
    generators: tuple[str, ...] = ("dcgan", "vae"),
    threshold: float = 0.5,
    one_label: bool = False,
    **scenario: Any,
) -> Run:
    """A run with given verdicts by detector and pipeline; every second image is a fake, of the generators in turn."""
    count = len(next(iter(correct.values())))
    number = np.arange(count)
    label = np.zeros(count, dtype=int) if one_label else number % 2
    generator = np.where(label == 1, np.array(generators)[number // 2 % len(generators)], "real")
    sample = np.array([f"test/{name:05}" for name in number]) if images is None else np.array(images)
    digest = np.array([sha256(name.encode()).hexdigest() for name in sample])
    cells = []
    for (detector, pipeline), right in correct.items():
        verdict = np.where(right, label, 1 - label)
        given = 0.2 + 0.6 * verdict if score is None else score[detector, pipeline]
        cells.append(
            pd.DataFrame(
                {
                    "detector": detector, "pipeline": pipeline, "sample": sample, "generator": generator, "label": label,
                    "clean_score": given, "score": given, "threshold": threshold, "attacked": pipeline != "clean",
                    "correct_clean": correct[detector, "clean"], "correct": right, "correct_float": right, "linf": 0.0,
                    "l2": 0.0, "distance": np.nan, "distance_limit": np.nan, "steps": 0, "queries": 0, "sha256": digest, "search_eps": np.nan, "psnr": np.nan,
                    "ssim": np.nan, "clean_log_odds": logit(given), "log_odds": logit(given),
                    "threshold_log_odds": logit(threshold), "masked_area": np.nan, "generated_area": np.nan, "chain": "", "found_by": "",
                }
            )
        )  # fmt: skip
    records = pd.concat(cells, ignore_index=True).astype(RUN_RECORD_DTYPES)
    detectors = list(dict.fromkeys(detector for detector, _ in correct))
    names = list(dict.fromkeys(pipeline for _, pipeline in correct))
    stages = pipelines or {name: [] if name == "clean" else [dict(PGD)] for name in names}
    info = {
        "format": 1,
        "run_id": "20250101-000000",
        "scenario": {
            "name": "made_up", "summary": "", "objective": "both", "mode": "accuracy", "seed": 1, "threshold": 0.5,
            "share_sweeps": True, "gate": None, **scenario,
        },
        "command": "robust-aigen run made_up",
        "pipelines": upgrade({"pipelines": stages})["pipelines"],
        "seed": 1,
        "started": "2025-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "data": {
            "source": "made up", "split": "test", "images": count, "real": int((label == 0).sum()),
            "fake": int(label.sum()), "generators": [] if one_label else sorted(generators),
            "fingerprint": fingerprint(zip(sample, label, generator, digest, strict=True)), "unreadable": [],
        },
        "detectors": [
            {"name": name, "architecture": "lenet5", "weights_sha256": "0", "threshold": threshold} for name in detectors
        ],
        "precision": "fp32",
        "packages": {"robustbench-aigen": "0", "torch": "0"},
        "git_revision": None,
        "hardware": {"device": "cpu"},
        "trust": {"flags": []},
    }  # fmt: skip
    return Run.computed(RunInfo.of(info), records, pd.DataFrame(), no_gallery(), folder=Path("made_up"))


def with_records(run: Run, records: pd.DataFrame, **info: Any) -> Run:
    """The same run with other records, and with other values in its ``run.json``."""
    return Run.computed(run.info.replace(**info), records, run.summary, run.gallery, folder=run.folder)


def with_scenario(run: Run, **changes: Any) -> Run:
    """The same run of a scenario with other values."""
    return with_records(run, run.records, scenario=run.info.scenario.model_copy(update=changes))


def with_flag(run: Run, flag: str, detector: str, pipeline: str) -> Run:
    """The same run with a trust flag in one cell."""
    raised = {"flag": flag, "detector": detector, "pipeline": pipeline, "evidence": ""}
    return with_records(run, run.records, trust={"flags": [raised]})


def write(run: Run, folder: Path) -> Path:
    """Write a made-up run as a run folder."""
    folder.mkdir(parents=True)
    run.records.to_parquet(folder / "records.parquet", index=False)
    (folder / "run.json").write_text(json.dumps(run.info.to_dict()))
    cells = run.records[["detector", "pipeline"]].drop_duplicates()
    summary = pd.DataFrame(columns=COLUMNS, dtype=float)
    rows = cells.assign(
        generator="all", family=cells["pipeline"], n=run.info.data.images, accuracy=0.5, trust="ok"
    )
    pd.concat([summary, rows])[COLUMNS].to_csv(folder / "summary.csv", index=False)
    return folder
