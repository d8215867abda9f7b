"""Model cards in the form of Hugging Face: results as ``model-index`` in YAML, and a table below.

``huggingface_hub`` defines the form (``EvalResult`` and ``ModelCardData``) and writes it.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from robustbench_aigen.imports import import_library
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.info import DataInfo
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.formats.markdown import escaped, markdown_frame
from robustbench_aigen.views.tables.accuracy import accuracy_frame

_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "tpr": ("recall", "TPR, recall of AI-generated images"),
    "tnr": ("specificity", "TNR, specificity"),
    "auroc": ("roc_auc", "AUROC"),
}
"""Column of the summary: metric of the card and its title. Names are those of Hugging Face where it has one."""
_NUMBERS = (
    "Numbers are per cent of all images, with Wilson's 95 % intervals. An attack gives an upper bound of the robust "
    "accuracy: a stronger attack may find more errors."
)
_TAGS = ["ai-generated-image-detection", "adversarial-robustness", "robust-aigen"]
_HUB = re.compile(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+?)(?:@.*)?(?:/.*)?")


def check_hub() -> None:
    """Raise UserError if ``huggingface_hub`` is not installed."""
    import_library("huggingface_hub", extra="hub", what="a model card")


def model_card(joined: JoinedRuns, detector: str) -> str:
    """Return the model card of a detector: front matter with ``model-index``, then tables.

    The results are accuracy with its interval, TPR, TNR and AUROC on all images, for each pipeline. Numbers are
    fractions, as in ``summary.csv``. A pipeline is the ``config`` of its data set; stages and fingerprint of the images
    are in ``args``. Paths of the machine are left out.

    Parameters
    ----------
    joined
        The runs.
    detector
        The label of the detector in the runs.

    Raises
    ------
    UserError
        If ``huggingface_hub`` is not installed.
    """
    check_hub()
    from huggingface_hub import EvalResult, ModelCardData  # An optional library.

    rows = list(_rows(joined, detector))
    results = [EvalResult(**each) for run, row in rows for each in _results(run, row)]
    data = ModelCardData(
        model_name=detector,
        eval_results=results,
        metrics=list(dict.fromkeys(each.metric_type for each in results)),
        pipeline_tag="image-classification",
        tags=list(_TAGS),
    )
    head = data.to_yaml(line_break="\n")
    return f"---\n{head.rstrip()}\n---\n\n{_body(joined, detector)}"


def write_model_cards(joined: JoinedRuns, folder: Path) -> list[Path]:
    """Write ``NAME.md`` for each detector into a new folder, and return the files."""
    folder.mkdir()
    files: list[Path] = []
    for label in joined.summary["detector"].unique():
        stem = re.sub(r"[^A-Za-z0-9_.+@-]+", "-", str(label)).strip("-.") or "detector"
        taken = {file.stem.lower() for file in files}
        number = next(n for n in range(1, len(taken) + 2) if _numbered(stem, n).lower() not in taken)
        files.append(folder / f"{_numbered(stem, number)}.md")
        files[-1].write_text(model_card(joined, str(label)), encoding="utf-8")
    return files


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"


def _rows(joined: JoinedRuns, label: str) -> Iterator[tuple[Run, Mapping[str, Any]]]:
    """Yield the summary rows of a detector on all images, each with its run."""
    for run, names, repeated in zip(joined.runs, joined.detectors, joined.repeated, strict=True):
        for row in run.overall().to_dict(orient="records"):
            again = row["pipeline"] == "clean" and row["detector"] in repeated
            if names[row["detector"]] == label and not again:
                yield run, {str(key): value for key, value in row.items()}


def _results(run: Run, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of ``EvalResult`` for each metric of a row; metrics without a value are left out."""
    data, pipeline = run.info.data, run.info.by_pipeline[row["pipeline"]]
    name = _published_name(data)
    arguments: dict[str, Any] = {
        "fingerprint": data.fingerprint,
        "images": data.images,
        "seed": run.info.seed,
        "stages": [_without_folders(dict(stage)) for stage in pipeline.stages],
        "trust": row["trust"],
    }
    for column, (metric, title) in _METRICS.items():
        value = float(row[column])
        if math.isnan(value):
            continue
        interval = {"low": float(row["ci_low"]), "high": float(row["ci_high"]), "confidence": 0.95}
        yield {
            "task_type": "image-classification",
            "task_name": "Detection of AI-generated images",
            "dataset_type": name,
            "dataset_name": f"{name}, {pipeline.name}",
            "dataset_config": pipeline.name,
            "dataset_split": data.split,
            "dataset_args": arguments,
            "metric_type": metric,
            "metric_name": title,
            "metric_value": value,
            "metric_args": interval if column == "accuracy" else None,
        }


def _without_folders(value: Any) -> Any:
    """Return parameters with the last part of each absolute path: the file of a surrogate, for example."""
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    if isinstance(value, str) and (
        PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
    ):
        return PureWindowsPath(value).name
    return value


def _published_name(data: DataInfo) -> str:
    """Return the id of a data set of the hub, or the last part of another source: a card has no path of the machine."""
    found = _HUB.fullmatch(data.source)
    return found[1] if found else PureWindowsPath(data.source).name or data.source


def _body(joined: JoinedRuns, label: str) -> str:
    info = joined.info_of(label)
    measured = dict.fromkeys(_measured(run) for run, _ in _rows(joined, label))
    overall = joined.summary[joined.summary["detector"] == label]
    frame: pd.DataFrame = accuracy_frame(overall[overall["generator"] == ALL_GENERATORS])
    parts = [
        f"# {escaped(label)}",
        "A detector of AI-generated images. Its output *fake* means that the image is AI-generated.",
        "\n".join(
            [
                f"- Architecture: {escaped(info.architecture or 'unknown')}",
                f"- sha256 of the weights: {escaped(info.weights_sha256 or 'unknown')}",
                f"- Threshold: {info.threshold:g}",
                *(f"- Images: {escaped(text)}" for text in measured),
            ]
        ),
        "## Robustness",
        _NUMBERS,
        markdown_frame(frame.drop(columns="detector", errors="ignore")),
    ]
    flags = sorted({flag.flag for flag in joined.flags() if flag.detector == label})
    if flags:
        parts.append(f"Trust flags, which cast doubt on numbers: {escaped(', '.join(flags))}.")
    return "\n\n".join(parts) + "\n"


def _measured(run: Run) -> str:
    data = run.info.data
    version = run.info.packages.get("robustbench-aigen") or "unknown"
    return (
        f"{data.images} of {_published_name(data)}, split {data.split} ({data.real} real, {data.fake} AI-generated), "
        f"seed {run.info.seed}, robustbench-aigen {version}"
    )
