"""What a fine-tuning won and cost: one scenario on the detector before and after, compared image by image."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from robustbench_aigen.counted_nouns import counted
from robustbench_aigen.data.opening import BUILT_IN
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.runner import RunResult, run
from robustbench_aigen.files import write_atomically
from robustbench_aigen.metrics.between_detectors import between_detectors
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.report.generator_tables import generator_matrix
from robustbench_aigen.report.markdown import escaped, markdown_frame
from robustbench_aigen.report.significance import write_p
from robustbench_aigen.report.table import percent
from robustbench_aigen.scenario.parameters import write_pixels
from robustbench_aigen.scenario.schema import LoadedScenario, load_scenario
from robustbench_aigen.training.adversarial.card import placed
from robustbench_aigen.training.adversarial.checking import own_scenario
from robustbench_aigen.training.adversarial.file import FineTuning, LoadedFineTuning
from robustbench_aigen.training.adversarial.tuning import Tuned
from robustbench_aigen.trust.findings import FINDINGS

_SQUARE = 1000
"""Most queries of Square on its own, which is there to be compared with the white-box attacks."""

REPORT, SCENARIO = "report.md", "before_after.yaml"
UNCHANGED = "**No epoch was better on validation than the detector as it came: the weights are unchanged.**"
_MASKING = {
    "zero_gradients", "uninformative_gradients", "stochastic_output", "saturated_logits", "unbounded_attack_fails",
    "loss_still_rising", "black_box_beats_white_box", "transfer_beats_direct", "larger_eps_not_stronger",
}  # fmt: skip
"""Flags that say a detector hides its gradients, or that an attack has not shown what it could."""


def report_on(tuned: Tuned, *, device: str, progress: Progress, trust_code: bool = False) -> Path:
    """Run the scenario on both detectors, and write ``report.md`` beside the weights.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    UserError
        If the scenario of one's own that the file names is at fault, or nothing can be written.
    """
    loaded = _scenario(tuned)
    result = run(
        loaded, output=tuned.folder / "runs", device=device, trust_code=trust_code, progress=progress
    )
    file = tuned.folder / REPORT
    write_atomically(file, _page(tuned, result).encode())
    return file


def _scenario(tuned: Tuned) -> LoadedScenario:
    """Write the scenario beside the weights, so that ``run`` takes it too, and read it."""
    tuning, own = tuned.loaded.tuning, own_scenario(tuned.loaded)
    before = _before(tuned.loaded)
    detectors = [before, {"path": str(tuned.weights.resolve()), "name": tuning.name}]
    if own is not None:
        return own.replaced(name=f"{tuning.name}_before_after", detectors=detectors)
    content = {
        "version": 1,
        "name": f"{tuning.name}_before_after",
        "summary": f"{before['name']} before and after {tuning.name}.",
        "data": {**_data(tuned.loaded), "split": "test", "limit": tuning.report.limit},
        "detectors": detectors,
        "pipelines": _pipelines(tuning, {key: value for key, value in before.items() if key != "name"}),
        "seed": tuning.seed,
        "precision": tuning.precision,
    }
    file = tuned.folder / SCENARIO
    write_atomically(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())
    return load_scenario(file)


def _pipelines(tuning: FineTuning, before: dict[str, Any]) -> dict[str, Any]:
    norm, eps, queries = tuning.threat.norm, tuning.threat.eps, tuning.report.queries
    budget = {"norm": norm, "eps": write_pixels(eps)}
    # Half an L∞ budget in whole levels: what is between two would be rounded down.
    half = max(1, int(eps * LEVELS / 2)) / LEVELS if norm == "linf" else eps / 2
    sweep = {"norm": norm, "eps": [write_pixels(value) for value in sorted({min(half, eps), eps, 2 * eps})]}
    degradations = ("jpeg", "resize", "gaussian_blur", "gaussian_noise")
    return {
        "pgd": [{"attack": "pgd", **sweep, "steps": 20}],
        "auto": [{"attack": "auto", **budget, "queries": queries}],
        # For the comparison alone: `auto` has its own, with every query.
        "square": [{"attack": "square", **budget, "steps": min(queries, _SQUARE)}],
        "transfer": [{"attack": "transfer", **budget, "surrogate": before}],
        **{name: [{"perturb": name, "severity": [1, 3, 5]}] for name in degradations},
    }


def _before(loaded: LoadedFineTuning) -> dict[str, Any]:
    spec = placed(loaded)
    name = spec.name or (Path(str(spec.path)).stem if spec.path is not None else str(spec.id))
    said = spec.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    return {**said, "name": f"{name} (before)" if name == loaded.tuning.name else name}


def _data(loaded: LoadedFineTuning) -> dict[str, Any]:
    """Return what the file says of the images, relative paths made absolute."""
    data = loaded.tuning.data
    said = data.model_dump(
        mode="json", exclude_none=True, exclude_unset=True, exclude={"validation", "limit"}
    )
    if data.source is not None:
        said["source"] = _placed(data.source, loaded.folder)
    for part in said.get("sources", []):
        part["source"] = _placed(part["source"], loaded.folder)
    return said


def _placed(source: str, folder: Path) -> str:
    local = (folder / source).expanduser()
    return str(local.resolve()) if source not in BUILT_IN and local.exists() else source


def _page(tuned: Tuned, result: RunResult) -> str:
    before, after = (detector["name"] for detector in result.info["detectors"])
    compared = between_detectors(result.records)
    data = result.info["data"]
    parts = [
        f"# {escaped(after)}",
        escaped(tuned.loaded.tuning.summary),
        _setting(tuned, before),
        UNCHANGED if tuned.metrics["epoch_kept"] == 0 else "",
        "## Before and after",
        (
            f"{counted(data['images'], 'image')} of {escaped(data['source'])} ({escaped(data['split'])}), the same for both "
            "detectors, per cent; gain in points with the 95 % interval of a paired bootstrap and McNemar's exact "
            "test, Holm-corrected for the table. Attacks search each detector anew; *transfer* is crafted on the detector before."
        ),
        markdown_frame(_shown(compared, result.summary, before, after)),
        _across_generators(result.summary, before, after),
        "## Is the gain gradient masking?",
        _masking(compared, result, after),
        "## Run it again",
        f"    {' '.join(result.info['command'].split())}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setting(tuned: Tuned, before: str) -> str:
    tuning, metrics = tuned.loaded.tuning, tuned.metrics
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
        f"Epoch {metrics['epoch_kept']} of {metrics['epochs_run']} kept by {chosen}; the test images decided nothing",
        f"{counted(metrics['train_images'], 'training image')}, {metrics['seconds'] / 60:.1f} minutes on {metrics['hardware']['device']}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _shown(compared: pd.DataFrame, summary: pd.DataFrame, before: str, after: str) -> pd.DataFrame:
    overall = summary[summary["generator"] == ALL_GENERATORS].set_index(["detector", "pipeline"])
    old, new = (overall.loc[name].loc[compared["pipeline"]] for name in (before, after))
    # The table has the detector before minus the one after; a gain is the other way round.
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
    text = "Balanced accuracy after, on each generator's fakes with the reals they belong to; in brackets the gain in points."
    return f"## By generator\n\n{text}\n\n{markdown_frame(table.reset_index())}"


def _masking(compared: pd.DataFrame, result: RunResult, after: str) -> str:
    """Say what the trust checks, the black box and the transfer speak of the gain."""
    raised = [flag for flag in result.info["trust"]["flags"] if flag["detector"] == after]
    masking = [flag for flag in raised if flag["flag"] in _MASKING]
    meanings = {finding.flag: finding.meaning for finding in FINDINGS}
    left = compared.set_index("pipeline")["other_accuracy"]
    lines = [
        f"- `{flag['flag']}` on {escaped(flag['pipeline'])}: {meanings[flag['flag']]}; {escaped(flag['evidence'])}."
        for flag in raised
    ]
    known = [
        f"{name} {percent(left[name])} %" for name in ("auto", "square", "transfer") if name in left.index
    ]
    if known:
        lines.append(
            f"- Left under {', '.join(known)}: a black box or a transfer that left less than the white box would be a sign of it."
        )
    verdict = (
        "**Something speaks for it:** the gain may be that the attack no longer finds its way, not that there is none."
        if masking
        else "No check says so."
    )
    return "\n".join([verdict, "", *lines])
