"""Rotation and translation (Engstrom et al. 2019, Exploring the Landscape of Spatial Robustness, arXiv:1712.02779)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.attacks.native.active_set import Slots, iterate
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.native.kept import Kept
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels


def rotation_translation(
    task: AttackTask, *, steps: int, max_rotation: float, max_translation: float
) -> Iterator[AttackChunk]:
    """Worst of random rotations with translations (section 3.2), including the image itself.

    Parameters
    ----------
    task
        The images.
    steps
        Queries.
    max_rotation, max_translation
        In degrees, and as a share of each side.
    """
    return iterate(task, WorstOfMany(steps, max_rotation, max_translation))


@dataclass
class WorstOfMany:
    """Random search; black comes in at the edges, as in the paper.

    Parameters
    ----------
    evaluations
        Queries.
    max_rotation
        In degrees, either way.
    max_translation
        Share of the height and of the width, either way.
    """

    evaluations: int
    max_rotation: float
    max_translation: float
    restarts: int = 1
    loss: Loss = None
    minimum_norm: bool = False
    leaves_budget: bool = False

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin with the image itself."""
        draws = torch.from_numpy(
            task.try_streams(rows, restart).uniform(-1, 1, (self.evaluations, 3))
        ).float()
        return {
            **Kept.start(clean),
            "draws": draws.to(clean.device),
        }

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Keep the candidate with the greatest margin, and draw the next rotation and translation."""
        del task
        Kept.note(slots, found)
        clean = slots["clean"]
        drawn = slots["draws"][torch.arange(len(clean)), slots["step"].to(clean.device)]
        angle = drawn[:, 0] * self.max_rotation * pi / 180
        slots["current"] = turned(clean, angle, drawn[:, 1:] * self.max_translation)

    def outcome(self, slots: Slots) -> Tensor:
        """Return the image with the greatest margin."""
        return slots["kept"]


def turned(pixels: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """Rotate and move images, bilinear, black outside, rounded to 8 bits.

    Parameters
    ----------
    pixels
        N×3×H×W.
    angle
        N angles in radians.
    shift
        N×2, of the width and of the height.
    """
    height, width = pixels.shape[2:]
    cosine, sine = angle.cos(), angle.sin()
    # Coordinates go from -1 to 1 on both axes, so that turning an oblong image needs the ratio of its sides.
    matrix = torch.stack(
        [
            torch.stack([cosine, -sine * height / width, 2 * shift[:, 0]], dim=1),
            torch.stack([sine * width / height, cosine, 2 * shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return to_pixels(to_levels(functional.grid_sample(pixels, grid, align_corners=False)))
