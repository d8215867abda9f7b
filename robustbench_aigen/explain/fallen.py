"""Which images fell at the smallest budget, which never, and how the two groups differ."""

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.data.audit.facts import facts_of
from robustbench_aigen.data.opening import open_data
from robustbench_aigen.data.samples import ImageSource, read_encoded
from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.paired import holm
from robustbench_aigen.metrics.tail_tests import mann_whitney_less
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.stages.parameters import read_fraction

_FEWEST = 5
"""Images of a group below which nothing is compared."""
_LUMA = np.array([0.299, 0.587, 0.114])


class Fallen(NamedTuple):
    """The images of one detector under one attack, by when they fell, and how the groups differ.

    Parameters
    ----------
    family
        The name of the attack's pipelines.
    first
        The eps at which an image fell first, by sample; infinity for an image that never fell.
    table
        A row for each property: its medians in both groups (shares, of a generator), the effect, and p-values before
        and after Holm's correction for all rows. The effect is Cliff's delta: the share of pairs in which the image
        that fell first has more of it, minus the share in which it has less.
    missing
        Why there is no table; empty where there is.
    """

    family: str
    first: "pd.Series[float]"
    table: pd.DataFrame
    missing: str = ""


def first_fallen(run: Run, detector: str, family: str, properties: pd.DataFrame) -> Fallen:
    """Compare the images that fell at the smallest eps of an attack with those that never fell.

    Where fewer than five never fell, the others are all that did not fall at the smallest eps.

    Parameters
    ----------
    run, detector, family
        A run with records, and the names of a detector and of an attack's pipelines.
    properties
        Numbers by sample, as :func:`image_properties` returns.

    Raises
    ------
    UserError
        If the run has no records, or no pipeline of the family has a budget.
    """
    budgets = {
        pipeline.name: _eps(pipeline.stages) for pipeline in run.info.pipelines if pipeline.family == family
    }
    known = {name: eps for name, eps in budgets.items() if eps is not None}
    if not known:
        raise UserError(f"the pipelines of '{family}' have no eps", hint="name a pipeline with an attack")
    records = run.records
    rows = records[
        (records["detector"] == detector) & records["pipeline"].isin(known) & records["correct_clean"]
    ]
    eps = rows["pipeline"].astype(str).map(known).astype(float)
    first = eps.where(~rows["correct"].astype(bool), np.inf).groupby(rows["sample"].astype(str)).min()
    fell, held = first[first == min(known.values())].index, first[~np.isfinite(first)].index
    if len(held) < _FEWEST:
        # Where nearly all images fall, those that fell later are the others.
        held = first.index.difference(fell)
    if min(len(fell), len(held)) < _FEWEST:
        text = (
            f"{len(fell)} images fell at the smallest eps and {len(held)} did not; each group needs {_FEWEST}"
        )
        return Fallen(family, first, pd.DataFrame(), text)
    meant = rows.drop_duplicates("sample").set_index(rows.drop_duplicates("sample")["sample"].astype(str))
    numbers = properties.reindex(first.index).copy()
    numbers["clean margin"] = _margin(meant).reindex(first.index)
    numbers["is fake"] = meant["label"].astype(float).reindex(first.index)
    for generator in sorted(meant.loc[meant["label"] == 1, "generator"].astype(str).unique()):
        is_its = (meant["generator"].astype(str) == generator) & (meant["label"] == 1)
        numbers[f"from {generator}"] = is_its.astype(float).reindex(first.index)
    rows_ = [_compared(name, numbers[name], fell, held) for name in numbers]
    table = pd.DataFrame([row for row in rows_ if row is not None])
    if len(table):
        table["p adjusted"] = holm(table["p"])
    return Fallen(family, first, table)


def _margin(records: pd.DataFrame) -> "pd.Series[float]":
    """Return the distance of the clean score to the threshold on the right side, in the logarithm of the odds."""
    score = records["clean_score"].astype(float).clip(1e-7, 1 - 1e-7)
    limit = records["threshold"].astype(float).clip(1e-7, 1 - 1e-7)
    odds = np.log(score / (1 - score)) - np.log(limit / (1 - limit))
    # Equal scores of both classes give equal margins but for round-off.
    return (odds * (2 * records["label"].astype(float) - 1)).round(6)


def _compared(
    name: str, values: "pd.Series[float]", fell: pd.Index, held: pd.Index
) -> Mapping[str, object] | None:
    one, other = (values.reindex(group).dropna().to_numpy(float) for group in (fell, held))
    if min(len(one), len(other)) < _FEWEST or len(np.unique(np.concatenate([one, other]))) < 2:
        return None
    delta = 2 * mann_whitney_less(one, other).statistic / (len(one) * len(other)) - 1
    sides = mann_whitney_less(one, other).p_value, mann_whitney_less(other, one).p_value
    middle = np.mean if name.startswith(("from ", "is ")) else np.median
    return {
        "property": name, "fell first": float(middle(one)), "others": float(middle(other)), "effect": float(delta),
        "p": min(1.0, 2 * min(sides)),
    }  # fmt: skip


def _eps(stages: tuple[Mapping[str, object], ...]) -> float | None:
    for stage in stages:
        if "attack" in stage and stage.get("eps") is not None:
            return read_fraction(stage["eps"])
    return None


def image_properties(run: Run, source: ImageSource | None = None) -> pd.DataFrame:
    """Return numbers about the source images of a run, a row for each sample.

    ``pixels``; ``JPEG quality``, NaN for other formats; ``brightness``, the mean luma; ``contrast``, its deviation;
    ``texture``, the mean absolute Laplacian of the luma. All but the first two are in pixel units.

    Parameters
    ----------
    run
        A run with records.
    source
        Its images, for a run of images in memory.

    Raises
    ------
    UserError
        If the images cannot be opened, or are others than those of the run.
    """
    opened = source or _source(run)
    known = run.records.drop_duplicates("sample").set_index("sample")["sha256"].astype(str)
    rows: dict[str, dict[str, float]] = {}
    for index, sample in enumerate(opened.samples):
        if sample.id not in known.index:
            continue
        encoded = read_encoded(opened, index)
        if sha256(encoded).hexdigest() != known[sample.id]:
            raise UserError(
                f"image '{sample.id}' of {opened.name} is not the image of the run",
                hint="use the images of the run",
            )
        try:
            rows[sample.id] = _numbers(encoded)
        except UnreadableImageError:
            continue
    return pd.DataFrame.from_dict(rows, orient="index")


def _source(run: Run) -> ImageSource:
    from pathlib import Path

    content = run.info.scenario.data
    if not isinstance(content, Mapping) or "memory" in content:
        raise UserError("the images of the run were in memory", hint="give them as source")
    known = {key: value for key, value in content.items() if value is not None}
    return open_data(validated_values(DataSpec, known, "data"), Path())


def _numbers(encoded: bytes) -> dict[str, float]:
    levels: NDArray[np.uint8] = decode(encoded).permute(1, 2, 0).numpy()
    luma = levels.astype(float) @ _LUMA / 255
    quality = facts_of(encoded).quality
    if min(luma.shape) > 2:
        inner = luma[1:-1, 1:-1]
        texture = np.abs(
            4 * inner - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
        ).mean()
    else:
        texture = np.nan
    return {
        "pixels": float(luma.size), "JPEG quality": float("nan") if quality is None else float(quality),
        "brightness": float(luma.mean()), "contrast": float(luma.std()), "texture": float(texture),
    }  # fmt: skip
