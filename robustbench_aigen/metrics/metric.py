"""Metrics and their registry, for built-in metrics and metrics of plugins.

A metric is one function of a sample of images. Summary, gate, comparison and tables take it from here.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from robustbench_aigen.errors import UserError, did_you_mean, first_line
from robustbench_aigen.metrics.weighted import Floats
from robustbench_aigen.registry import Registry

Needs = Literal["verdicts", "scores", "log_odds", "radii"]
Function = TypeVar("Function", bound=Callable[..., float])
_NEEDS = ("verdicts", "scores", "log_odds", "radii")
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)


class OneClassError(UserError):
    """Error of a plugin's metric on images of one class, with the error of the function as text."""


@dataclass(frozen=True)
class Metric:
    """A metric: a number computed from a sample of images; *fake* is the positive class.

    Parameters
    ----------
    name, title
        In scenarios, commands and columns of ``summary.csv``; in tables.
    needs
        What the function takes besides the labels, N each. ``verdicts``: 0 (real) or 1 (fake). ``scores``: the
        probability of *fake*, float64. ``log_odds``: the log-odds of *fake*, float32 (float64 in runs of imported
        scores), which order images whose probability is 0 or 1 to the last digit. ``radii``: the distances of a
        minimum-norm attack as shares of its eps, at most 1; NaN elsewhere.
    function
        ``(verdict or score, labels) -> float``, NaN where a class that it needs is missing.
    gated
        Whether a gate takes it: more of it must be better.
    resampled
        A fast version for many resamples, or None: then the function is called on each. Of verdicts:
        ``(found, fakes, kept, reals) -> values``, arrays of one shape: fakes called fake, fakes, reals called real,
        reals. Of scores, log-odds or radii: ``(score, labels, weights) -> B values``, with B×N weights, how often each
        image is in a resample.
    share_of
        The labels of the images of which the metric is the share judged right, which has exact tests; else empty.
    built_in
        Whether it is this package's own.
    optional
        Whether a scenario has to name it in ``metrics``.
    """

    name: str
    title: str
    needs: Needs
    function: Callable[..., float]
    gated: bool = False
    resampled: Callable[..., Floats] | None = None
    share_of: tuple[int, ...] = ()
    built_in: bool = False
    optional: bool = False

    @property
    def of_verdicts(self) -> bool:
        """Whether the metric follows from the verdicts alone."""
        return self.needs == "verdicts"

    @property
    def of_scores(self) -> bool:
        """Whether the metric needs scores that compare between images."""
        return self.needs in ("scores", "log_odds")

    def __call__(self, given: NDArray[Any], labels: NDArray[np.int64]) -> float:
        """Return the value of N verdicts, scores or log-odds, as the metric needs them.

        Raises
        ------
        OneClassError
            If the function of a plugin fails on images of one class.
        UserError
            If it fails on images of both classes, or does not return a number.
        """
        if self.built_in:
            return float(self.function(given, labels))
        try:
            return float(self.function(given, labels))
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            if len(np.unique(labels)) < 2:
                raise OneClassError(reason) from error
            hint = f"correct the function in {METRICS.place(self.name)}"
            raise UserError(f"the metric '{self.name}' fails: {reason}", hint=hint) from error

    def or_empty(self, given: NDArray[Any], labels: NDArray[np.int64]) -> float:
        """Return the value of a call; NaN if the function of a plugin fails on images of one class."""
        try:
            return self(given, labels)
        except OneClassError:
            return float("nan")

    def of_counts(self, counts: Floats) -> Floats:
        """Return the values of B resamples of verdicts.

        Parameters
        ----------
        counts
            B×4: fakes called fake, fakes, reals called real, reals.
        """
        if self.resampled is not None:
            return self.resampled(*counts.T)
        # Resamples with equal counts have the same verdicts and labels.
        kinds, place = np.unique(counts.astype(np.int64), axis=0, return_inverse=True)
        values = [
            self.or_empty(
                np.repeat(np.array([1, 0, 0, 1]), times),
                np.repeat(np.array([1, 1, 0, 0]), times),
            )
            for found, fakes, kept, reals in kinds
            for times in [(found, fakes - found, kept, reals - kept)]
        ]
        return np.array(values, dtype=np.float64)[place.ravel()]

    def of_weights(
        self, values: NDArray[np.floating], labels: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> Floats:
        """Return the values of B resamples of N log-odds, or of N radii for a metric of radii.

        ``weights`` is B×N, how often each image is in a resample.
        """
        given = expit(values.astype(np.float64)) if self.needs == "scores" else values
        if self.resampled is not None:
            return self.resampled(given, labels, weights)
        drawn = (np.repeat(np.arange(len(labels)), row) for row in weights.astype(np.int64))
        return np.array([self.or_empty(given[rows], labels[rows]) for rows in drawn], dtype=np.float64)


METRICS: Registry[Metric] = Registry("metric", "robustbench_aigen.metrics.builtin")


def metric(
    name: str,
    *,
    title: str,
    needs: Needs,
    gated: bool = False,
    resampled: Callable[..., Floats] | None = None,
    share_of: tuple[int, ...] = (),
    order: float = 0,
    optional: bool = False,
) -> Callable[[Function], Function]:
    """Register a function ``(verdict or score, labels) -> float`` as a metric; see :class:`Metric`.

    Raises
    ------
    UserError
        If the name is taken or is not one that a column, a command and a floor can have.
    """

    def decorator(function: Function) -> Function:
        built_in = function.__module__.startswith(f"{METRICS.folder}.")
        made = Metric(name, title, needs, function, gated, resampled, share_of, built_in, optional)
        if not built_in:
            _check(made)
        METRICS.add(name, made, defined=function, order=order)
        return function

    return decorator


def check_optional(names: Sequence[str]) -> None:
    """Raise UserError for the first name that is not an optional metric."""
    known = [each.name for each in METRICS if each.optional]
    for name in names:
        if name in METRICS and name not in known:
            raise UserError(f"the metric '{name}' is always computed", hint="leave it out of 'metrics'")
        if name not in known:
            raise UserError(f"there is no metric '{name}'", hint=did_you_mean(name, known))


def gated_metric(name: str) -> Metric:
    """Return a metric that the gate accepts.

    Raises
    ------
    UserError
        If the name is unknown.
    """
    known = [each.name for each in METRICS if each.gated]
    if name in known:
        return METRICS[name]
    if name in METRICS and not METRICS[name].built_in:
        raise UserError(
            f"the metric '{name}' is not declared for the gate",
            hint=f"if higher values are better, set gated=True in {METRICS.place(name)}",
        )
    known_ones = did_you_mean(name, known)
    end = "" if known_ones.endswith("?") else "."
    raise UserError(
        f"there is no metric '{name}' to gate",
        hint=f"{known_ones}{end} A metric of a plugin needs 'plugins: [FILE]' in the scenario or --plugin FILE",
    )


def _check(made: Metric) -> None:
    from robustbench_aigen.metrics.summary import COLUMNS  # It imports this module.

    is_word = isinstance(made.name, str) and _NAME.fullmatch(made.name) and not iskeyword(made.name)
    if not is_word or made.name == "Index":
        raise UserError(
            f"the metric {made.name!r} needs a name of letters, digits and '_', no keyword of Python"
        )
    if made.name in COLUMNS and made.name not in METRICS:
        raise UserError(
            f"the metric '{made.name}' has the name of a column of summary.csv", hint="give it another name"
        )
    if made.needs not in _NEEDS:
        raise UserError(
            f"the metric '{made.name}' needs {made.needs!r}", hint=did_you_mean(str(made.needs), _NEEDS)
        )
