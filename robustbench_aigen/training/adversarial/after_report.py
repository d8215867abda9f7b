"""The report of a fine-tuning: one scenario on the detector before and after, compared image by image."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_aigen.engine.estimate import Standing
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.evaluation import run
from robustbench_aigen.files import sha256_of_file, write_atomically
from robustbench_aigen.metrics.between_detectors import between_detectors
from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.run import Run
from robustbench_aigen.stages.parameters import write_pixels
from robustbench_aigen.text import counted
from robustbench_aigen.training.adversarial.checking import own_scenario
from robustbench_aigen.training.adversarial.report_scenario import write_scenario
from robustbench_aigen.training.adversarial.report_size import SIZE, ReportSize
from robustbench_aigen.training.adversarial.tuning import Tuned
from robustbench_aigen.training.saving import read_json, write_json
from robustbench_aigen.trust.check import flags
from robustbench_aigen.views.formats.markdown import escaped, markdown_frame
from robustbench_aigen.views.significance import write_p
from robustbench_aigen.views.table import percent
from robustbench_aigen.views.tables.generators import generator_matrix

REPORT = "report.md"
UNCHANGED = "**No epoch was better on validation than the original detector: the weights are unchanged.**"
_MASKING = {
    "zero_gradients", "uninformative_gradients", "stochastic_output", "saturated_logits", "unbounded_attack_fails",
    "loss_still_rising", "black_box_beats_white_box", "transfer_beats_direct", "larger_eps_not_stronger",
}  # fmt: skip
"""Flags of hidden gradients and of attacks that are too weak."""


def report_on(tuned: Tuned, *, device: str, progress: Progress, trust_code: bool = False) -> Path:
    """Run the scenario on both detectors, and write ``report.md`` beside the weights; a finished report is kept.

    The size of the report is decided at its start and stored, so that a stopped report resumes with the same size.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    UserError
        If the scenario named in the file is wrong, or writing fails.
    """
    file, name = tuned.folder / REPORT, tuned.loaded.name
    kept = read_json(tuned.folder / SIZE, progress, "the report is made again")
    identity = _identity(tuned)
    if kept is None or kept.get("identity") != identity:
        progress.start(0)
        progress.work_on(name, "measuring how long the report will take")
        kept = {"identity": identity, "is_finished": False, **_sized(tuned)}
        write_json(tuned.folder / SIZE, kept)
    if kept["is_finished"]:
        progress.notice(f"{name}: the report is finished: {file}")
        return file
    size = ReportSize.from_dict(kept["size"])
    progress.notice(f"{name}: {size.sentence(tuned.loaded.report.queries)}")
    result = run(
        write_scenario(tuned.loaded, tuned.folder, size.extent),
        output=tuned.folder / "runs",
        device=device,
        trust_code=trust_code,
        progress=_Expecting(progress, kept["cells"]),
        # Another fine-tuning of the same detector has the same cells before.
        cache=tuned.folder.parent / ".cache",
    )
    content = _page(tuned, result, size).encode()
    write_atomically(file, content)
    digests = {file.name: sha256(content).hexdigest()}
    write_json(tuned.folder / SIZE, {**kept, "is_finished": True}, digests)
    return file


def _sized(tuned: Tuned) -> dict[str, Any]:
    """Return the size of the report and the time of each cell, from the validation results of both detectors."""
    metrics = tuned.metrics
    before, after = (
        Standing.of(row["val_balanced"], row["val_robust_balanced"])
        for row in (metrics["before"], metrics["kept"])
    )
    size = tuned.cost.size(metrics["seconds"], before, after)
    cells = tuned.cost.cells(size.depth, before, after)
    return {"size": size.as_dict(), "cells": [[*names, seconds] for names, seconds in cells.items()]}


class _Expecting:
    """Progress that is passed on, with the seconds per image of each cell at the start."""

    def __init__(self, progress: Progress, cells: Sequence[tuple[str, str, float]]) -> None:
        self._progress = progress
        self._cells = {(detector, pipeline): seconds for detector, pipeline, seconds in cells}

    def expect(self, seconds: Mapping[tuple[str, str], float]) -> None:
        self._progress.expect(seconds)

    def start(self, images: int) -> None:
        self._progress.start(images)
        if images and images % len(self._cells) == 0:
            self._progress.expect(self._cells)

    def work_on(self, detector: str, pipeline: str) -> None:
        self._progress.work_on(detector, pipeline)

    def advance(self, images: int) -> None:
        self._progress.advance(images)

    def notice(self, text: str) -> None:
        self._progress.notice(text)


def _identity(tuned: Tuned) -> str:
    """Return a hash of the inputs of a report."""
    own = own_scenario(tuned.loaded)
    said = {
        "training": tuned.metrics["identity"],
        "weights": sha256_of_file(tuned.weights),
        "name": tuned.loaded.name,
        "report": tuned.loaded.report.model_dump(mode="json"),
        "scenario": None if own is None else own.model_dump(mode="json"),
        "version": version("robustbench-aigen"),
    }
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _page(tuned: Tuned, result: Run, size: ReportSize) -> str:
    before, after = result.detectors
    compared = between_detectors([*result.cells], result.cells.cell)
    data, has_transfer = result.info.data, "transfer" in compared["pipeline"].to_numpy()
    parts = [
        f"# {escaped(after)}",
        escaped(tuned.loaded.summary),
        _setting(tuned, before),
        UNCHANGED if tuned.metrics["epoch_kept"] == 0 else "",
        "## Before and after",
        (
            f"{counted(data.images, 'image')} of {escaped(data.source)} ({escaped(data.split)}), the same for both "
            "detectors, per cent; gain in points with the 95 % interval of a paired bootstrap and McNemar's exact "
            "test, Holm-corrected for the table. Each detector is attacked separately"
            + ("; *transfer* is crafted on the original detector." if has_transfer else ".")
        ),
        _sample(tuned, size, data.images),
        markdown_frame(_shown(compared, result.summary, before, after)),
        _across_generators(result.summary, before, after),
        "## Gradient masking",
        _masking(compared, result, after),
        "## Reproduction",
        f"    {' '.join((result.info.command or '').split())}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setting(tuned: Tuned, before: str) -> str:
    tuning, metrics = tuned.loaded, tuned.metrics
    method, threat = tuning.method.model_dump(exclude_unset=True), tuning.threat
    options = ", ".join(f"{name} {value}" for name, value in method.items() if name != "name")
    augmented = f", augmentation {', '.join(map(str, tuning.augmentation))}" if tuning.augmentation else ""
    kept = metrics["kept"]
    rates = f"clean {percent(kept['val_balanced'])}, under PGD-{tuning.selection.steps} {percent(kept['val_robust_balanced'])}"
    by = f"{tuning.method.name} ({options})" if options else tuning.method.name
    images, measure = f"{metrics['selection_images']} validation images", "robust balanced accuracy on"
    if "val_degraded" in kept:
        images, measure = f"{images}, degraded as in training", "balanced accuracy on"
        rates += f", degraded {percent(kept['val_degraded'])}"
    chosen = f"{measure} {images}: {rates}"
    lines = [
        f"From {escaped(before)} by {by}, {threat.norm} {write_pixels(threat.eps)}{augmented}",
        f"Epoch {metrics['epoch_kept']} of {metrics['epochs_run']} kept by {chosen}; test images had no influence",
        f"{counted(metrics['train_images'], 'training image')}, {metrics['seconds'] / 60:.1f} minutes on {metrics['hardware']['device']}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _sample(tuned: Tuned, size: ReportSize, images: int) -> str:
    """Return a sentence on the number of images, the reason for it, and the width of intervals."""
    sentence = size.sentence(tuned.loaded.report.queries)
    low, high = wilson_interval(images // 2, images)
    return f"{sentence[0].upper()}{sentence[1:]}. On {counted(images, 'image')}, the 95 % interval of an accuracy is up to ±{50 * (high - low):.0f} points wide."


def _shown(compared: pd.DataFrame, summary: pd.DataFrame, before: str, after: str) -> pd.DataFrame:
    overall = summary[summary["generator"] == ALL_GENERATORS].set_index(["detector", "pipeline"])
    old, new = (overall.loc[name].loc[compared["pipeline"]] for name in (before, after))
    # The table has the detector before minus the one after; a gain has the opposite sign.
    gains = [f"{100 * (row.other_accuracy - row.accuracy):+.1f}" for row in compared.itertuples()]
    bounds = [f"{-100 * row.high:+.1f} to {-100 * row.low:+.1f}" for row in compared.itertuples()]
    return pd.DataFrame(
        {
            "pipeline": compared["pipeline"],
            "before": compared["accuracy"].map(percent),
            "after": compared["other_accuracy"].map(percent),
            "gain": gains,
            "95 % CI": bounds,
            "p (Holm)": compared["p_holm"].map(write_p),
            "TPR after": new["tpr"].map(percent).to_numpy(),
            "TNR after": new["tnr"].map(percent).to_numpy(),
            "trust before": old["trust"].to_numpy(),
            "trust after": new["trust"].to_numpy(),
        }
    )


def _across_generators(summary: pd.DataFrame, before: str, after: str) -> str:
    matrix = generator_matrix(summary)
    if len(matrix.columns) < 3:
        return ""
    gain = (matrix.loc[after] - matrix.loc[before]).map(
        lambda value: "" if pd.isna(value) else f"{100 * value:+.1f}"
    )
    table = matrix.loc[after].map(percent) + " (" + gain + ")"
    text = "Balanced accuracy after fine-tuning, on the fakes of each generator and their real images; in brackets the gain in points."
    return f"## By generator\n\n{text}\n\n{markdown_frame(table.reset_index())}"


def _masking(compared: pd.DataFrame, result: Run, after: str) -> str:
    """Return the evidence for or against gradient masking, from trust checks, black box and transfer."""
    raised = [flag for flag in result.info.trust.flags if flag.detector == after]
    masking = [flag for flag in raised if flag.flag in _MASKING]
    meanings = dict(flags())
    left = compared.set_index("pipeline")["other_accuracy"]
    lines = [
        f"- `{flag.flag}` on {escaped(flag.pipeline)}: {meanings[flag.flag]}; {escaped(flag.evidence)}."
        for flag in raised
    ]
    known = [
        f"{name} {percent(left[name])} %" for name in ("auto", "square", "transfer") if name in left.index
    ]
    if known:
        lines.append(
            f"- Accuracy under {', '.join(known)}. A lower accuracy under Square or transfer than under the white-box attack would indicate gradient masking."
        )
    verdict = "No check indicates gradient masking."
    if result.info.trust.mode == "off":
        verdict = "No check indicates gradient masking; the trust probes were left out."
    if masking:
        verdict = "**Checks indicate gradient masking:** the attack may fail although the detector is not more robust."
    return "\n".join([verdict, "", *lines])
