"""The verdicts behind a card: a CSV with a row for each image, and the numbers that follow from them."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.csv_text import csv_of, unguarded_frame
from robustbench_aigen.data.samples import REAL_POOL
from robustbench_aigen.digests import DamagedFileError
from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.run import Run
from robustbench_aigen.suites.suite import HASH_DIGITS, IMAGE_COLUMNS, Suite

_RIGHT = "right"
_DIGITS = 6
"""Decimals of the accuracies in a card."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Whether each verdict was right.

    Parameters
    ----------
    images
        ``sample, label, generator, sha256`` of N images, sorted by sample.
    right
        N booleans for each pipeline of a suite, in its order.
    """

    images: pd.DataFrame
    right: Mapping[str, NDArray[np.bool_]]

    def under(self, suite: Suite, condition: str) -> NDArray[np.bool_]:
        """Return N booleans: right under a pipeline, or under each pipeline of a combined condition."""
        names = suite.combined.get(condition, [condition])
        return np.logical_and.reduce([self.right[name] for name in names])

    def numbers(self, suite: Suite) -> dict[str, dict[str, dict[str, float]]]:
        """Return images, right, accuracy, low and high by condition and group: Wilson's interval at 95 %."""
        groups = self.groups()
        return {
            condition: {name: _numbers(right[members]) for name, members in groups.items()}
            for condition, right in ((each, self.under(suite, each)) for each in suite.conditions)
        }

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Return N booleans for each group of images: all, the real images, and the fakes of each generator.

        A group of one class has a plain share; with the reals, a sixth of fakes would hardly count.
        """
        is_fake = self.images["label"].to_numpy() == 1
        made_by = self.images["generator"].to_numpy()
        generators = sorted({*made_by[is_fake]})
        return {
            ALL_GENERATORS: np.full(len(is_fake), fill_value=True),
            REAL_POOL: ~is_fake,
            **{name: is_fake & (made_by == name) for name in generators},
        }

    def csv(self) -> bytes:
        """Return the file: ``right`` has a digit for each pipeline, 1 for a right verdict."""
        digits = np.stack([values.astype("U1") for values in map(_ones, self.right.values())], axis=1)
        return csv_of(self.images.assign(**{_RIGHT: ["".join(row) for row in digits]})).encode()


def _ones(values: NDArray[np.bool_]) -> NDArray[np.int8]:
    return values.astype(np.int8)


def _numbers(right: NDArray[np.bool_]) -> dict[str, float]:
    count, total = int(right.sum()), len(right)
    interval = wilson_interval(count, total)
    shares = {"accuracy": count / total, "low": interval.low, "high": interval.high}
    return {
        "images": total,
        "right": count,
        **{name: round(value, _DIGITS) for name, value in shares.items()},
    }


def verdicts_of(run: Run) -> Verdicts:
    """Return the verdicts of a run of one detector."""
    (detector,) = run.detectors
    images = run.cells.images()[list(IMAGE_COLUMNS)].reset_index(drop=True)
    images = images.astype({"sample": str, "generator": str, "label": "int64", "sha256": str})
    images["sha256"] = images["sha256"].str[:HASH_DIGITS]
    order = images["sample"].argsort(kind="stable").to_numpy()
    right = {name: run.cells.cell(detector, name)["correct"].to_numpy(bool)[order] for name in run.pipelines}
    return Verdicts(images.iloc[order].reset_index(drop=True), right)


def read_verdicts(content: bytes, suite: Suite) -> Verdicts:
    """Read the file of verdicts of a card.

    Parameters
    ----------
    content
        The bytes of the file.
    suite
        The suite, for the names of the pipelines.

    Raises
    ------
    DamagedFileError
        If the file does not have a row for each image and a digit for each pipeline.
    """
    try:
        frame = unguarded_frame(pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False))
        images = frame[list(IMAGE_COLUMNS)].astype({"label": "int64"})
        digits = frame[_RIGHT].tolist()
    except (ValueError, KeyError) as error:
        raise DamagedFileError("the file of verdicts is not one") from error
    if not len(frame) or any(len(row) != len(suite.pipelines) or set(row) - {"0", "1"} for row in digits):
        raise DamagedFileError("the file of verdicts needs a digit, 0 or 1, for each pipeline and image")
    table = np.array([[digit == "1" for digit in row] for row in digits])
    return Verdicts(images, dict(zip(suite.pipelines, table.T, strict=True)))
