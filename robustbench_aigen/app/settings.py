"""The settings of the page of one picture, and the scenario that gives the same scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustbench_aigen.data.samples import CLASS_NAMES
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.explain.mapping import METHODS
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import Scenario

NO_ATTACK, NO_MAP = "no attack", "no map"
ATTACKS = (NO_ATTACK, "fgsm", "pgd", "square")
"""Attacks of the page: none; one gradient step; iterated gradients; queries, for detectors without gradients."""
ATTACKED, DELIVERED = "attacked", "delivered"
"""The pipelines: the attack alone, and the attack with the processing behind it."""
SOURCE = "my_picture"
"""The folder of the scenario: the picture lies below it in a folder named after its class."""
MOST_EPS, MOST_STEPS, MOST_NOISE = 16.0, 50, 32.0
"""Largest settings; eps and noise are in levels, of which a channel has 255."""
SMALLEST_SIZE = 0.1
_QUERIES = 200


@dataclass(frozen=True)
class PictureSettings:
    """The settings of a page: an attack, then a resize, noise and JPEG, and the method of the maps.

    Parameters
    ----------
    label
        What the picture is: ``real`` or ``fake``. The attack pushes the answer away from it.
    attack
        Of :data:`ATTACKS`.
    eps
        Largest change of a value, in levels (1/255).
    steps
        Steps of ``pgd``.
    size
        Factor of both sides; 1 for no resize.
    noise
        Standard deviation of Gaussian noise in levels; 0 for none.
    quality
        JPEG quality; None for no compression.
    method
        Of :data:`~robustbench_aigen.explain.mapping.METHODS`, or :data:`NO_MAP`.
    seed
        Of the run, and of the maps.
    """

    label: str = "fake"
    attack: str = "pgd"
    eps: float = 4.0
    steps: int = 10
    size: float = 1.0
    noise: float = 0.0
    quality: int | None = None
    method: str = "integrated_gradients"
    seed: int = 42

    def __post_init__(self) -> None:
        for what, given, known in (
            ("class", self.label, CLASS_NAMES),
            ("attack", self.attack, ATTACKS),
            ("map", self.method, (NO_MAP, *METHODS)),
        ):
            if given not in known:
                raise UserError(f"unknown {what} {given!r}", hint=did_you_mean(str(given), known))
        ranges = (
            ("eps", self.eps, 0.0, MOST_EPS), ("steps", self.steps, 1, MOST_STEPS), ("size", self.size, SMALLEST_SIZE, 1.0),
            ("noise", self.noise, 0.0, MOST_NOISE), ("quality", 1 if self.quality is None else self.quality, 1, 100),
        )  # fmt: skip
        for name, value, low, high in ranges:
            if not low <= value <= high:
                raise UserError(f"{name} is {value:g}, and must be from {low:g} to {high:g}")

    @property
    def attack_stages(self) -> list[dict[str, Any]]:
        """The attack as a scenario has it: one stage or none."""
        if self.attack == NO_ATTACK or not self.eps:
            return []
        own = {"pgd": {"steps": self.steps}, "square": {"steps": _QUERIES}}
        return [{"attack": self.attack, "eps": f"{self.eps:g}/255", **own.get(self.attack, {})}]

    @property
    def processing_stages(self) -> list[dict[str, Any]]:
        """The processing as a scenario has it."""
        stages: list[dict[str, Any]] = []
        if self.size < 1:
            stages.append({"perturb": "resize", "scale": self.size, "back": False})
        if self.noise:
            stages.append({"perturb": "gaussian_noise", "sigma": f"{self.noise:g}/255"})
        if self.quality is not None:
            stages.append({"perturb": "jpeg", "quality": self.quality})
        return stages

    @property
    def pipelines(self) -> dict[str, list[dict[str, Any]]]:
        """The pipelines of the scenario, by their names."""
        attack, processing = self.attack_stages, self.processing_stages
        found = {ATTACKED: attack} if attack else {}
        return {**found, DELIVERED: [*attack, *processing]} if processing else found

    def scenario(self, detectors: Sequence[str], source: str = SOURCE) -> Scenario:
        """Return the scenario that gives the scores of the page.

        Parameters
        ----------
        detectors
            As on a command line.
        source
            The folder with the picture.
        """
        specs = [
            spec.id if spec.model_fields_set == {"id"} else spec.model_dump(exclude_unset=True)
            for spec in (DetectorSpec.from_text(text) for text in detectors)
        ]
        return Scenario.from_dict(
            {
                "version": 1, "name": "picture", "data": {"source": source, "split": "all"}, "detectors": specs,
                "seed": self.seed, "mode": "score", "keep_images": "all", "trust": "off", "pipelines": self.pipelines,
            }
        )  # fmt: skip
