"""Maps by gradients: input gradients, SmoothGrad, integrated gradients, the last two computed by captum."""

import torch
from torch import Tensor

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.prepared import prepare
from robustbench_aigen.explain.task import Task, TaskMaps, evidence_of
from robustbench_aigen.imports import import_library
from robustbench_aigen.numerics.margins import gradient_of
from robustbench_aigen.numerics.seeding import seeded_global_rng

_TOLERANCE = 0.01
"""Share of the difference of the log-odds by which the sum of integrated gradients may miss it."""
_MANY = 64
"""Passes from which a prepared copy of the detector, which takes seconds to make, pays."""


def input_gradients(task: Task) -> TaskMaps:
    """Return the largest absolute gradient of the log-odds over the channels (Simonyan et al. 2014, section 3)."""
    return TaskMaps(signed_input_gradients(task).abs().amax(dim=1))


def signed_input_gradients(task: Task) -> Tensor:
    """Return the gradient of the log-odds of the explained class to the pixels, N×3×H×W."""
    evidence = evidence_of(task.detector)
    parts = []
    for pixels, signs in zip(
        task.pixels.split(task.batch_size), task.signs.split(task.batch_size), strict=True
    ):
        leaf = pixels.clone().requires_grad_()
        with torch.enable_grad():
            parts.append(gradient_of(evidence(leaf, signs).sum(), leaf))
    return torch.cat(parts)


def smoothgrad(task: Task, *, samples: int = 32, noise: float = 0.1) -> TaskMaps:
    """Return the largest absolute mean gradient over noisy copies (Smilkov et al. 2017).

    Parameters
    ----------
    task
        The images.
    samples
        Number of noisy copies of each image.
    noise
        Standard deviation of the noise in pixel units.
    """
    captum = import_library("captum.attr", extra="explain", what="smoothgrad")
    tunnel = captum.NoiseTunnel(captum.Saliency(evidence_of(_fast(task, samples))))
    maps = []
    for pixels, sign, key in zip(task.pixels.split(1), task.signs.split(1), task.keys, strict=True):
        # One image at a time: its noise does not depend on the images beside it.
        with seeded_global_rng(f"smoothgrad {key}"):
            mean = tunnel.attribute(
                pixels, nt_type="smoothgrad", nt_samples=samples, stdevs=noise, abs=False,
                nt_samples_batch_size=min(samples, task.batch_size), additional_forward_args=(sign,),
            )  # fmt: skip
        maps.append(mean.detach().abs().amax(dim=1))
    return TaskMaps(torch.cat(maps))


def integrated_gradients(
    task: Task, *, steps: int = 32, baseline: str = "blur", most_steps: int = 1024
) -> TaskMaps:
    """Return integrated gradients, summed over the channels (Sundararajan et al. 2017).

    The sum of a map is the difference of the log-odds between image and baseline. Images whose sum misses it by more
    than 1 % get twice as many steps, up to ``most_steps``; a note has the deviation that remains. A detector that
    rounds resized pixels to 8 bits is a staircase, which no sum of gradients follows; the note names the rounding.

    Parameters
    ----------
    task
        The images.
    steps, most_steps
        Points of the Gauss-Legendre quadrature. The gradient of a trained network with ReLUs has jumps, so that the
        error shrinks like one over the number of points.
    baseline
        ``black``, ``mean`` or ``blur``: a detector of generated images calls most black images *real*, so that a map
        from black for *real* would have the wrong sign (Sturmfels et al. 2020 on the choice).
    """
    captum = import_library("captum.attr", extra="explain", what="integrated_gradients")
    detector = _fast(task, steps)
    evidence, starts = evidence_of(detector), task.baseline(baseline)
    method = captum.IntegratedGradients(evidence)
    differences = torch.cat(
        [
            (evidence(pixels, signs) - evidence(start, signs)).detach()
            for pixels, start, signs in zip(
                *(each.split(task.batch_size) for each in (task.pixels, starts, task.signs)), strict=True
            )
        ]
    )
    maps = torch.zeros_like(task.pixels[:, 0])
    misses = torch.full_like(differences, torch.inf)
    rows, used = torch.arange(len(task), device=maps.device), steps
    while len(rows):
        for chosen in rows.split(task.batch_size):
            # Of one step at a time, so that memory does not grow with their number.
            found = method.attribute(
                task.pixels[chosen], starts[chosen], additional_forward_args=(task.signs[chosen],),
                n_steps=steps, internal_batch_size=len(chosen),
            )  # fmt: skip
            maps[chosen] = found.detach().sum(dim=1).to(maps.dtype)
        sums = maps.double().sum(dim=(1, 2))
        misses = (sums - differences.double()).abs() / differences.double().abs().clamp_min(1e-6)
        used, steps = steps, 2 * steps
        rows = (~(misses <= _TOLERANCE)).nonzero().flatten()
        if steps > most_steps:
            break
    rounds = detector.preprocessing.rounds(task.pixels.shape[-2], task.pixels.shape[-1])
    reason = ", because the detector rounds resized pixels to 8 bits" if rounds else ""
    notes = [
        ""
        if miss <= _TOLERANCE
        else f"the sum misses the log-odds by {100 * miss:.2g} % after {used} steps{reason}"
        for miss in misses.tolist()
    ]
    return TaskMaps(maps, notes)


def affordable_steps(detector: Detector) -> int:
    """Return a limit of steps for a page of many maps: 1,024 for images of up to 64 pixels a side, 64 from 224 on."""
    height, width = detector.preprocessing.input_size or (224, 224)
    return min(1024, max(64, 1 << (_AFFORDABLE // (height * width)).bit_length() - 1))


_AFFORDABLE = 2**22
"""Pixels times steps of one map on a page."""


def _fast(task: Task, passes: int) -> Detector:
    """Return the detector, prepared for gradients where the passes are many."""
    return prepare(task.detector, "fp32") if passes * len(task) >= _MANY else task.detector
