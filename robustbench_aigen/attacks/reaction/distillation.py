"""A surrogate that imitates a detector without gradients: a small network, trained on the detector's answers.

Papernot et al. 2017, Practical Black-Box Attacks against Machine Learning (arXiv:1602.02697): the detector labels images,
the surrogate learns them, and images that the surrogate's gradient moves towards the boundary are labelled next. What
fools the surrogate is then tried on the detector.
"""

import base64
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.numerics.seeding import preserved_global_rng, seeded_global_rng

MOST = 256
"""Images that a surrogate is trained on, fewer of large ones."""
_SIDE = 64
"""Longest side that the surrogate sees."""
_WIDTHS = (24, 48, 96)
_NOISE = (4, 12)
"""Levels of the noise on the first copies."""
_MOVED = 8
"""Levels that images are moved by for the next round."""
_ROUNDS, _STEPS, _BATCH = 3, 150, 64
_SURE = 2.0
"""Logits of the surrogate at the detector's median margin."""


class Surrogate(nn.Module):
    """Pixels to N×2 logits, by three convolutions at up to 64 pixels a side."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *_WIDTHS), _WIDTHS, strict=False):
            layers += [nn.Conv2d(before, after, 3, 1 if before == 3 else 2, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * _WIDTHS[-1], 2)

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 logits; ``sizes`` as in :meth:`Detector.forward`."""
        if sizes is not None:
            parts = [
                self(image[None, :, :h, :w]) for image, (h, w) in zip(pixels, sizes.tolist(), strict=True)
            ]
            return torch.cat(parts)
        longest = max(pixels.shape[2:])
        if longest > _SIDE:
            sides = [max(8, round(side * _SIDE / longest)) for side in pixels.shape[2:]]
            pixels = functional.interpolate(
                pixels, sides, mode="bilinear", antialias=True, align_corners=False
            )
        found = self.features(2 * pixels - 1)
        logits: Tensor = self.head(torch.cat([found.mean(dim=(2, 3)), found.amax(dim=(2, 3))], dim=1))
        return logits

    def packed(self) -> str:
        """Return the weights as text."""
        values = np.concatenate([each.detach().cpu().numpy().ravel() for each in self.state_dict().values()])
        return base64.b64encode(values.astype("<f2").tobytes()).decode()

    @classmethod
    def unpacked(cls, text: str, device: torch.device) -> "Surrogate":
        """Return the surrogate of :meth:`packed` weights, frozen."""
        with preserved_global_rng():  # Layers draw their first weights.
            made = cls()
        values = torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32))
        place = 0
        for name, own in made.state_dict().items():
            made.state_dict()[name].copy_(values[place : place + own.numel()].view_as(own))
            place += own.numel()
        return made.to(device).eval().requires_grad_(requires_grad=False)


def distil(odds: Callable[[Tensor], Tensor], pixels: Tensor) -> Surrogate:
    """Train a surrogate on the answers of a detector.

    Parameters
    ----------
    odds
        Pixels to N log-odds of *fake*, less those of the threshold.
    pixels
        N×3×H×W float32 in [0, 1]: images like those that will be attacked.
    """
    generator = torch.Generator().manual_seed(0)
    with seeded_global_rng("a surrogate"):
        surrogate = Surrogate().to(pixels.device)
    shown = [pixels]
    for step in _NOISE:
        noise = torch.rand(pixels.shape, generator=generator).to(pixels).sub(0.5).sign()
        shown.append((pixels + step / LEVELS * noise).clamp(0, 1))
    images = torch.cat(shown)
    answers = odds(images)
    for number in range(_ROUNDS):
        _train(surrogate, images, answers, generator)
        if number < _ROUNDS - 1:
            moved = _moved(surrogate, pixels, odds(pixels))
            images, answers = torch.cat([images, moved]), torch.cat([answers, odds(moved)])
    return surrogate.eval().requires_grad_(requires_grad=False)


def _train(surrogate: Surrogate, images: Tensor, answers: Tensor, generator: torch.Generator) -> None:
    size = answers.abs().median().clamp(min=1e-6)
    targets = torch.sigmoid(_SURE * (answers / size).clamp(-3, 3)).to(images.device)
    # Both classes weigh the same, however the detector's answers divide.
    is_fake = answers >= 0
    weights = torch.where(
        is_fake,
        0.5 / is_fake.double().mean().clamp(min=1e-3),
        0.5 / (~is_fake).double().mean().clamp(min=1e-3),
    ).to(images)
    optimizer = torch.optim.Adam(surrogate.parameters(), lr=2e-3)
    with torch.enable_grad():
        for _ in range(_STEPS):
            rows = torch.randint(len(images), (_BATCH,), generator=generator)
            logits = surrogate(images[rows])
            loss = functional.binary_cross_entropy_with_logits(
                logits[:, 1] - logits[:, 0], targets[rows], weight=weights[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _moved(surrogate: Surrogate, pixels: Tensor, answers: Tensor) -> Tensor:
    """Return images moved along the surrogate's gradient, towards the other verdict of the detector."""
    leaf = pixels.clone().requires_grad_()
    with torch.enable_grad():
        logits = surrogate(leaf)
        (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), leaf)
    side = torch.where(answers >= 0, -1.0, 1.0).view(-1, 1, 1, 1).to(pixels)
    return (pixels + _MOVED / LEVELS * side * gradient.sign()).clamp(0, 1)
