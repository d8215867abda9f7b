"""Settings of the defence TRIM in a scenario."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from robustbench_aigen.documents.document import Section, show
from robustbench_aigen.stages.parameters import read_fraction


def _positive(value: object) -> float:
    number = read_fraction(value)
    if number is None or number <= 0:
        raise ValueError(f"must be a number greater than 0, not {show(value)}")
    return number


Positive = Annotated[float, BeforeValidator(_positive)]


class TrimSpec(Section):
    """The defence TRIM around a detector (:mod:`robustbench_aigen.detectors.trim`).

    Parameters
    ----------
    defence
        Name of the defence. ``wrap: trim`` is the short form with all other defaults.
    noise
        Standard deviation of the perturbation, in pixel units.
    draws
        Perturbed copies of an image.
    entropy
        Entropy of the prediction, in nats, above which an image counts as adversarial.
    shift
        Mean divergence to the predictions on the copies, in nats, above which an image counts as adversarial.
    seed
        Seed of the perturbations.
    """

    defence: Literal["trim"]
    noise: Positive = 2 / 255
    draws: Annotated[int, Field(strict=True, gt=0)] = 4
    entropy: Positive = 0.6
    shift: Positive = 0.1
    seed: Annotated[int, Field(strict=True, ge=0)] = 0

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: object) -> object:
        return {"defence": value} if isinstance(value, str) else value
