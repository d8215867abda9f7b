"""Starting points of decision-based attacks: images that already have the wrong verdict.

Such attacks walk along the boundary from an image on its other side. Libraries draw uniform noise until one is
there, but a detector of two classes can give all noise the same verdict: the attack then has no start for half of
the images, returns them as they were (or never returns), and the detector looks robust.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""How far a candidate moves from the image to what it is blended with."""


@torch.no_grad()
def adversarial_starts(model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
    """Return for every image the nearest of a fixed number of candidates with the wrong verdict.

    Candidates are blends of the image with black, white, grey, its negative, its blurred and its sharpened self,
    uniform noise and smooth noise: 45 queries an image. Random ones are drawn from torch's global generator, which
    a library attack runs with seeded by the image.

    Parameters
    ----------
    model
        Pixels to logits whose argmax is the verdict.
    pixels
        M×3×H×W float32.
    labels
        M labels.

    Returns
    -------
    Tensor
        M×3×H×W float32; an image for which no candidate has the wrong verdict is NaN.
    """
    return torch.cat(
        [_start(model, image, label) for image, label in zip(pixels.split(1), labels, strict=True)]
    )


def _start(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    candidates = _candidates(image)
    wrong = model(candidates).argmax(dim=1) != label
    distance = (candidates - image).flatten(1).norm(dim=1)
    nearest = int(torch.where(wrong, distance, torch.inf).argmin())
    return candidates[nearest : nearest + 1] if wrong.any() else torch.full_like(image, torch.nan)


def _candidates(image: Tensor) -> Tensor:
    blurred = functional.avg_pool2d(functional.pad(image, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    coarse = torch.rand(1, 3, 4, 4).to(image)
    ends = [
        torch.zeros_like(image),
        torch.ones_like(image),
        torch.full_like(image, 0.5),
        1 - image,
        blurred,
        3 * image - 2 * blurred,
        torch.rand(image.shape).to(image),
        torch.rand(image.shape).to(image).round(),
        functional.interpolate(coarse, image.shape[-2:], mode="bicubic"),
    ]
    blends = [image + share * (end - image) for end in ends for share in _SHARES]
    return torch.cat(blends).clamp(0, 1)
