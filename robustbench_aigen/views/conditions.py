"""Conditions of the measurements of a report, as text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, get_args

from robustbench_aigen.detectors.preprocessing_settings import PreprocessingSettings, describe_preprocessing
from robustbench_aigen.runs.info import DetectorInfo, MemberInfo, RunInfo
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.runs.run import Run
from robustbench_aigen.runs.timings import seconds_without_report
from robustbench_aigen.scenario.detector_spec import Rule
from robustbench_aigen.stages.parameters import write_pixels
from robustbench_aigen.text import counted

_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}


class Line(NamedTuple):
    """One line of the setting: what it is about, and what it says."""

    about: str
    text: str


def threat_models(pipelines: Iterable[Sequence[Mapping[str, object]]]) -> dict[str, list[float]]:
    """Return the eps of the attacks among the stages of some pipelines by their norms, ascending."""
    budgets: dict[str, set[float]] = {}
    for stages in pipelines:
        for stage in stages:
            norm, eps = stage.get("norm"), stage.get("eps")
            if "attack" in stage and norm in _NORMS and isinstance(eps, int | float):
                budgets.setdefault(norm, set()).add(float(eps))
    return {norm: sorted(values) for norm, values in sorted(budgets.items())}


def write_threat_model(norm: str, eps: float) -> str:
    """Return a norm and a budget as text: ``L∞ 4/255``."""
    return f"{_NORMS[norm]} {eps:g}" if norm == "l0" else f"{_NORMS[norm]} {write_pixels(eps)}"


def conditions(joined: JoinedRuns) -> str:
    """Return the conditions for a caption: images, eps, seed, intervals."""
    counts = list(dict.fromkeys(run.info.data.images for run in joined.runs))
    sources = list(dict.fromkeys(f"{run.info.data.source} ({run.info.data.split})" for run in joined.runs))
    seeds = list(dict.fromkeys(run.info.seed for run in joined.runs if run.info.scores is None))
    parts = [f"n = {_listed(counts)} {'image' if counts == [1] else 'images'} of {_listed(sources)}"]
    for norm, values in threat_models(joined.summary["stages"]).items():
        texts = [write_threat_model(norm, value).split(" ", 1)[1] for value in values]
        parts.append(f"{_NORMS[norm]} eps {_listed(texts)}")
    if seeds:
        parts.append(f"seed {_listed(seeds)}")
    told = [run.info.audit.accuracy["value"] for run in joined.runs if run.info.audit.accuracy]
    if told:
        texts = list(dict.fromkeys(f"{100 * value:.1f} %" for value in told))
        parts.append(f"balanced accuracy from file properties alone {_listed(texts)}")
    return ", ".join(parts)


def _listed(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def describe(run: Run) -> list[Line]:
    """Return the setting of a run: data, search, thresholds, sweeps, what it was made with."""
    info = run.info
    scenario, data, packages = info.scenario, info.data, info.packages
    counts = f"{counted(data.images, 'image')} ({data.real} real, {data.fake} AI-generated)"
    thresholds = ", ".join(f"{each.name} {each.threshold:.4g}" for each in info.detectors)
    revision = f", revision {info.git_revision[:12]}" if info.git_revision else ""
    lines = [
        Line(
            "Data",
            f"{data.source}, split {data.split}, {counts}, fingerprint {data.fingerprint[:12]}",
        ),
        *_computation(info),
    ]
    sweeps = _sweeps(info)
    lines += [Line("Sweeps over eps", sweeps)] if sweeps else []
    lines += _image_quality(info)
    if info.scores is not None and info.scores.fitted_on is not None:
        thresholds += f", fitted by {scenario.threshold} on {counted(info.scores.fitted_on, 'clean row')} of the validation split"
    lines += [
        Line("Thresholds", thresholds),
        *_preprocessing(info.detectors),
        Line(
            "Made with",
            f"robustbench-aigen {packages.get('robustbench-aigen', '')}{revision}, {_machine(info)}"
            f"{seconds_without_report(info):.1f} s, {info.started}",
        ),
    ]
    lines += [Line("Warning", notice) for notice in run.notices if notice.is_warning]
    return lines


def _computation(info: RunInfo) -> list[Line]:
    """Return lines on how the scores were computed; of imported scores, on the table and on what is missing."""
    scenario, scores = info.scenario, info.scores
    if scores is None:
        return [
            Line(
                "Search",
                f"objective {scenario.objective}, {scenario.mode} mode, seed {info.seed}, "
                f"gradients in {info.precision}, verdicts in float32 on 8-bit images",
            )
        ]
    columns = "; ".join(
        f"{role} {', '.join(map(str, name)) if isinstance(name, list) else name}"
        for role, name in scores.columns.items()
    )
    labels = ", ".join(f"{value} {meaning}" for value, meaning in scores.labels.items())
    kind = (
        f"{'logits' if scores.logit else 'probabilities'} of {'real' if scores.fake_is == 'low' else 'fake'}"
    )
    origin = (
        f"{scores.file or 'a table in memory'}, {counted(scores.rows, 'row')}, sha256 {scores.sha256[:12]}"
    )
    return [
        Line("Imported scores", f"{origin}; columns: {columns}; labels: {labels}; scores are {kind}"),
        Line(
            "Empty, because there are no images and no detector",
            "norms, PSNR, SSIM, success rates of attacks, the gallery, trust checks of gradients and outputs",
        ),
    ]


def _machine(info: RunInfo) -> str:
    """Return the versions and the device that numbers of a detector depend on; nothing for imported scores."""
    python = f"python {info.packages.get('python', '')}, "
    if info.scores is not None:
        return python
    return f"torch {info.packages.get('torch', '')}, {python}{info.hardware.device}, "


def _image_quality(info: RunInfo) -> list[Line]:
    """Return a line on the number of images with SSIM, if SSIM was not measured on all changed images."""
    counts = info.ssim  # Runs of an earlier version measured all.
    if counts is None or counts.measured == counts.images:
        return []
    if info.scenario.ssim == "off":
        return [Line("Image quality", "PSNR alone (ssim: off)")]
    return [
        Line(
            "Image quality",
            f"PSNR on {counts.images} images, SSIM on {counts.measured} of them: small ones and a sample, the "
            "same for every detector and pipeline (ssim: all measures every image of at least 11×11 pixels)",
        )
    ]


def _preprocessing(detectors: Iterable[DetectorInfo]) -> list[Line]:
    """Return lines on the preprocessing of the detectors; detectors with equal preprocessing share a line."""
    by_text: dict[str, list[str]] = {}
    for detector in detectors:
        if detector.preprocessing is None:
            continue  # A run of an earlier version.
        is_ensemble = detector.architecture.startswith(tuple(f"{rule} of " for rule in get_args(Rule)))
        if is_ensemble and not detector.members:
            by_text.setdefault("as its members do", []).append(detector.name)  # A run of an earlier version.
            continue
        for network in detector.networks():
            name = f"{network.name} in {detector.name}" if is_ensemble else detector.name
            by_text.setdefault(describe_preprocessing(_settings(network)), []).append(name)
    if not by_text:
        return []
    return [
        Line(
            "Preprocessing",
            "; ".join(f"{', '.join(names)}: {text}" for text, names in by_text.items()),
        )
    ]


def _settings(network: MemberInfo) -> PreprocessingSettings:
    known = {field.name for field in fields(PreprocessingSettings)}
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in (network.preprocessing or {}).items()
        if key in known
    }
    return PreprocessingSettings(**settings)


def _sweeps(info: RunInfo) -> str:
    """Return a text on work shared by pipelines that differ in the eps of the last attack; may be empty."""
    shared = [pipeline.name for pipeline in info.pipelines if pipeline.smaller is not None]
    if shared:
        return (
            f"shared ({', '.join(shared)}): a larger eps attacked only the images that withstood the smaller "
            "eps, which is exact for accuracy (share_sweeps: false attacks all images at every eps)"
        )
    swept: dict[str, set[float]] = {}
    for pipeline in info.pipelines:
        for stage in pipeline.stages:
            eps = stage.get("eps")
            if "attack" in stage and isinstance(eps, int | float):
                swept.setdefault(pipeline.family, set()).add(eps)
    return "not shared: every eps attacked all images" if any(len(v) > 1 for v in swept.values()) else ""
