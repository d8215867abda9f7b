"""Accuracy of each class on validation images during training, clean and attacked."""

import math
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.execution import run_attack, threat_of
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.detectors.contract import DeployedDetector, Detector, scores, verdicts
from robustbench_aigen.detectors.prepared import FollowingDetector
from robustbench_aigen.detectors.rewriting import with_the_same_weights
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.engine.estimate import Standing
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import make_stage


@dataclass(frozen=True)
class Rates:
    """Shares of the AI-generated (TPR) and of the real images (TNR) judged right, clean and under attack.

    ``searched`` is the balanced accuracy on what the training's own search finds for the same images, ``degraded``
    that on images changed by the training's augmentation; NaN if not measured.
    """

    tpr: float
    tnr: float
    robust_tpr: float
    robust_tnr: float
    searched: float = float("nan")
    degraded: float = float("nan")

    @property
    def balanced(self) -> float:
        """Balanced accuracy on clean images."""
        return (self.tpr + self.tnr) / 2

    @property
    def robust_balanced(self) -> float:
        """Balanced accuracy under attack."""
        return (self.robust_tpr + self.robust_tnr) / 2

    @property
    def standing(self) -> Standing:
        """Accuracy and share of survivors, for estimates of attack times."""
        return Standing.of(self.balanced, self.robust_balanced)

    @property
    def value(self) -> float:
        """Selection criterion of an epoch: balanced accuracy under attack, where that is above chance.

        A detector that answers one class alone is at chance under every attack, where an undefended one is at 0. Up
        to there it is the mean of the clean balanced accuracy and of the worse class's rate under attack, by which
        one class alone gains nothing. A training without an adversary withstands none: it is chosen by the accuracy
        on degraded images. Between equals the clean balanced accuracy decides.
        """
        if not math.isnan(self.degraded):
            return self.degraded + 1e-4 * self.balanced
        if self.robust_balanced > 0.5:
            return 1 + self.robust_balanced + 1e-4 * self.balanced
        return (self.balanced + min(self.robust_tpr, self.robust_tnr)) / 2

    def as_row(self) -> dict[str, float]:
        """Return the rates with both balanced accuracies, for a history."""
        row = {**asdict(self), "balanced": self.balanced, "robust_balanced": self.robust_balanced}
        return {f"val_{name}": value for name, value in row.items() if not math.isnan(value)}

    def __str__(self) -> str:
        return (
            f"clean {100 * self.balanced:.1f} (fake {100 * self.tpr:.1f}, real {100 * self.tnr:.1f}), "
            f"attacked {100 * self.robust_balanced:.1f} "
            f"(fake {100 * self.robust_tpr:.1f}, real {100 * self.robust_tnr:.1f})"
            + ("" if math.isnan(self.degraded) else f", degraded {100 * self.degraded:.1f}")
        )


class ValidationImages(NamedTuple):
    """N×3×H×W uint8 levels, N labels and N names."""

    levels: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def first(self, count: int) -> "ValidationImages":
        """Return at most ``count`` images, balanced between the classes if possible."""
        half = -(-count // 2)
        rows = torch.cat([(self.labels == label).nonzero().flatten()[:half] for label in (0, 1)])
        return ValidationImages(
            self.levels[rows], self.labels[rows], tuple(self.names[row] for row in rows.tolist())
        )


class Judge:
    """Judges a detector in training under PGD by the rules of a run: float32, 8 bits, threshold 0.5.

    Parameters
    ----------
    detector
        In training, on its device.
    following
        The same detector, prepared for gradients.
    norm, eps, steps
        Budget and steps of the attack.
    seed
        Seed of the random starts, which are the same at every check.
    """

    def __init__(
        self,
        detector: Detector,
        following: FollowingDetector,
        *,
        norm: Literal["linf", "l2"],
        eps: float,
        steps: int,
        seed: int,
    ) -> None:
        # Not a Detector: those are taken to be frozen, and are cached.
        self._judged = DeployedDetector(_Live(detector))
        self._following, self._seed = following, seed
        recipe = shipped_attack("pgd")
        self._stage = make_stage(recipe, {"norm": norm, "eps": eps, "steps": steps})

    def rates(self, images: ValidationImages, batch_size: int, device: torch.device) -> Rates:
        """Return the rates of the current weights."""
        with torch.autocast(device.type, enabled=False):
            log_odds = predict(self._judged.detector, images.levels, batch_size, device)
            clean = verdicts(log_odds, HALF) == images.labels
            held = clean.clone()
            rows = clean.nonzero().flatten()
            if len(rows):
                held[rows] = self._withstood(images, rows, batch_size, device)
        fake = images.labels == 1
        return Rates(_share(clean[fake]), _share(clean[~fake]), _share(held[fake]), _share(held[~fake]))

    @torch.no_grad()
    def scores(self, pixels: Tensor) -> Tensor:
        """Score pixels with the present weights, in evaluation mode."""
        return scores(self._judged(pixels))

    def _withstood(
        self, images: ValidationImages, rows: Tensor, batch_size: int, device: torch.device
    ) -> Tensor:
        names = tuple(images.names[row] for row in rows.tolist())
        task = AttackTask(
            self._judged, self._judged, DeployedDetector(self._following.refresh()), images.levels[rows],
            images.labels[rows], SampleStreams(self._seed, names, 0), threat_of(self._stage), self._stage.params,
            early_stop=True, batch_size=batch_size, device=device,
        )  # fmt: skip
        outcome = run_attack(self._stage, task, _silent)
        return ~task.is_fooled(torch.arange(len(rows)), outcome.log_odds)


class _Live(nn.Module):
    """A detector in evaluation mode that shares the weights of one in training."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.view = with_the_same_weights(detector).eval()

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.view(pixels.contiguous(memory_format=torch.channels_last))
        return logits


def _share(right: Tensor) -> float:
    return float(right.double().mean()) if len(right) else float("nan")


def _silent(images: int) -> None:
    """Ignore progress."""
    del images
