"""Small experiments on a detector that look for reasons why an attack on it fails.

After the flags of AutoAttack (Croce and Hein 2020, Reliable Evaluation of Adversarial Robustness), the signs of
Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security, section 3.1, and the indicators of Pintor et
al. 2022, Indicators of Attack Failure, for two classes. Every probe takes images that the detector gets right and
answers per image, so that answers can be kept; :mod:`robustbench_aigen.trust.judgement` makes flags of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.attacks.native.ensemble import parts_of
from robustbench_aigen.detectors.contract import DeployedDetector, verdicts
from robustbench_aigen.numerics.eight_bit import LEVELS, to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams, draw_padded, preserved_global_rng
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import Attack, make_stage

_STEPS_IN_LEVELS = (1, 2, 4)
_MORE_STEPS = 5
_QUERIES, _FEW_QUERIES = 250, 100


@dataclass(frozen=True)
class ProbeImages:
    """Images that a detector gets right.

    Parameters
    ----------
    detector
        As attacks see it: the argmax of its logits is the verdict.
    levels
        N×3×H×W uint8 on the CPU.
    labels
        N labels, 0 real and 1 fake.
    streams
        The images' random streams.
    batch_size, device, precision
        How the run computes.
    sizes
        N×2 heights and widths where the images differ: smaller ones are padded with black at the right and at the
        bottom. None where all are H×W.
    """

    detector: DeployedDetector
    levels: Tensor
    labels: Tensor
    streams: SampleStreams
    batch_size: int
    device: torch.device
    precision: Literal["fp32", "bf16"]
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.levels)

    def batches(self) -> Iterator[Tensor]:
        """Yield row numbers in batches, in order."""
        return iter(torch.arange(len(self)).split(self.batch_size))

    def answer(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Return the M×2 logits of M×3×H×W float32 pixels of some rows, both on the device."""
        return self.detector(pixels, None if self.sizes is None else self.sizes[rows])

    @torch.no_grad()
    def logits(self, levels: Tensor) -> Tensor:
        """Return N×2 float32 logits of N×3×H×W uint8 images, on the CPU."""
        parts = [self.answer(rows, to_pixels(levels[rows].to(self.device))).cpu() for rows in self.batches()]
        return torch.cat(parts)

    def margins(self, levels: Tensor) -> Tensor:
        """Return by how many nats the right class leads, N float32."""
        return _margin(self.logits(levels), self.labels)

    def held(self, stage: Attack) -> Tensor:
        """Attack the images and return which of them still get the right verdict, N booleans."""
        task = make_task(
            stage,
            self.detector.detector,
            self.levels,
            self.labels,
            self.streams,
            threshold=self.detector.threshold,
            early_stop=True,
            batch_size=self.batch_size,
            device=self.device,
            precision=self.precision,
            sizes=self.sizes,
        )
        outcome = run_attack(stage, task, _ignore)
        return verdicts(outcome.log_odds, self.detector.threshold) == self.labels


def _ignore(images: int) -> None:
    del images


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    rows = torch.arange(len(labels), device=logits.device)
    return logits[rows, labels] - logits[rows, 1 - labels]


def input_gradients(images: ProbeImages) -> tuple[Tensor, Tensor]:
    """Return the gradient of the margin to the pixels, N×3×H×W float32 on the CPU, and the margin, N float32 in nats.

    The margin and not a loss, which may be saturated where the detector is not; zero where the detector hides its
    input from autograd.
    """
    parts, margins = [], []
    for rows in images.batches():
        pixels = to_pixels(images.levels[rows].to(images.device)).requires_grad_()
        with torch.enable_grad():
            margin = _margin(images.answer(rows, pixels), images.labels[rows].to(images.device))
            hidden = not margin.requires_grad
            gradient = None if hidden else torch.autograd.grad(margin.sum(), pixels, allow_unused=True)[0]
        parts.append(torch.zeros_like(pixels).detach() if gradient is None else gradient)
        margins.append(margin.detach())
    return torch.cat(parts).cpu(), torch.cat(margins).cpu()


def zero_gradients(gradients: Tensor, sizes: Tensor | None = None) -> Tensor:
    """Whether a gradient is zero or not finite, N booleans for N×3×H×W.

    Zero also where it is so in 99 % of an image's values that have a gradient in any of the images. What a crop
    leaves out has none in any, and is not counted, and neither is the padding of smaller images.
    """
    nonzero = gradients != 0
    reached = nonzero.any(dim=0).expand_as(nonzero)
    if sizes is not None:
        reached = reached & _inside(sizes, gradients.shape[2:])[:, None]
    vanishes = nonzero.sum(dim=(1, 2, 3)) <= 0.01 * reached.sum(dim=(1, 2, 3))
    return vanishes | ~gradients.isfinite().flatten(1).all(dim=1)


def _inside(sizes: Tensor, shape: torch.Size) -> Tensor:
    """Return which places of H×W belong to images of N×2 heights and widths, N×H×W booleans."""
    rows, columns = (torch.arange(side) for side in shape)
    return (rows[:, None] < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])


def gradient_informs(images: ProbeImages, gradients: Tensor) -> Tensor:
    """Whether a step against the gradient of the margin lowers it more than a random step does, N booleans.

    Both steps are of 1, 2 and 4 levels in every value, in the sign of the gradient or in random signs, on the 8-bit
    grid; the greater part of the three decides. Half of the images pass by chance where the gradient says
    nothing; a step that changes nothing does not pass. That catches what :func:`zero_gradients` does not: gradients
    of a branch or an approximation that the verdict does not depend on.
    """
    streams, shape = images.streams.for_restart(0), images.levels.shape[1:]
    random = draw_padded(streams, shape, images.sizes, lambda own, size: own.uniform(-1, 1, size))
    won = torch.zeros(len(images), dtype=torch.long)
    for size in _STEPS_IN_LEVELS:
        followed, drawn = (
            images.margins((images.levels - size * direction.sign().nan_to_num()).clamp(0, LEVELS).byte())
            for direction in (gradients, random)
        )
        won += followed < drawn
    return 2 * won > len(_STEPS_IN_LEVELS)


def unbounded_attack() -> Attack:
    """Return 50 steps of PGD with an L∞ budget of 0.5, which can turn every image into plain grey.

    From the image itself, without looking ahead: noise of that size is far from anything that the detector has seen,
    and may fool it whatever the gradient is worth.
    """
    pgd = shipped_attack("pgd")
    given = {"norm": "linf", "eps": 0.5, "steps": 50, "random_start": False, "lookahead": False}
    return make_stage(pgd, given)


def more_steps(stage: Attack, *, quick: bool) -> Attack | None:
    """Return the attack with five times its steps; None without steps.

    The step size and the random start stay, so that this is the same search going on (Pintor et al. 2022 on attacks
    that have not converged). Where ``quick``, an attack that is made of several goes on with the first of them.
    """
    if quick:
        stage = parts_of(stage)[0]
    if "steps" not in stage.params:
        return None
    return stage.with_values(steps=_MORE_STEPS * int(stage.params["steps"] or 1))


def black_box(stage: Attack, *, quick: bool) -> Attack | None:
    """Return Square with the norm and eps of an attack; None where the attack tries as many queries itself."""
    square = shipped_attack("square")
    threat = {name: stage.params[name] for name in ("norm", "eps")}
    found = make_stage(square, {**threat, "steps": _FEW_QUERIES if quick else _QUERIES})
    return None if any(includes(part, found) for part in parts_of(stage)) else found


def includes(stage: Attack, black_box: Attack) -> bool:
    """Whether an attack is the black box itself, with at least its queries."""
    alike = stage.recipe.name == black_box.recipe.name and not (stage.through or stage.surrogate)
    return (
        alike
        and all(stage.params[name] == black_box.params[name] for name in ("norm", "eps"))
        and int(stage.params["steps"] or 1) >= int(black_box.params["steps"] or 1)
    )


def probe_gradients(images: ProbeImages) -> dict[str, Tensor]:
    """Return what the input gradients show, N values each: ``zero_gradient, not_finite, margin``."""
    gradients, margins = input_gradients(images)
    return {
        "zero_gradient": zero_gradients(gradients, images.sizes),
        "not_finite": ~gradients.isfinite().flatten(1).all(dim=1),
        "margin": margins,
    }


def probe_steps(images: ProbeImages) -> dict[str, Tensor]:
    """Return whether steps along the gradient beat random ones: ``informed``, N booleans."""
    with preserved_global_rng():
        return {"informed": gradient_informs(images, input_gradients(images)[0])}


def probe_attack(images: ProbeImages, stage: Attack) -> dict[str, Tensor]:
    """Return which images withstand an attack: ``held``, N booleans."""
    with preserved_global_rng():
        return {"held": images.held(stage)}
