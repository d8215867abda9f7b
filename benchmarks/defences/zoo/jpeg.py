"""JPEG in front of the detector: a real codec, which has no gradient.

Das et al. 2017, Keeping the Bad Guys Out: Protecting and Vaccinating Deep Learning with JPEG Compression
(arXiv:1705.02900). Broken by Shin and Song 2017, JPEG-resistant Adversarial Images, with a differentiable JPEG.
"""

from functools import cache
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.defences.base import base_detector, inside, train_behind
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector

QUALITY = 85


class JpegCompression(nn.Module):
    """Saves every image as a JPEG of a quality, and reads the file."""

    def __init__(self, quality: int) -> None:
        super().__init__()
        self.quality = quality

    def forward(self, images: Tensor) -> Tensor:
        """Return N×3×H×W decoded images."""
        decoded = []
        for image in images.detach().cpu().permute(0, 2, 3, 1).numpy():
            file = BytesIO()
            Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "JPEG", quality=self.quality)
            decoded.append(np.asarray(Image.open(file), dtype=np.float32) / 255)
        return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(images.device)


class JpegDefence(nn.Module):
    """The detector behind a JPEG."""

    def __init__(self) -> None:
        super().__init__()
        self.compression = JpegCompression(QUALITY)
        self.detector = base_detector("jpeg")

    def forward(self, images: Tensor) -> Tensor:
        """Return N×2 logits."""
        return self.detector(self.compression(images))


def build() -> Detector:
    """Return the defended detector."""
    return Detector(JpegDefence(), name="jpeg")


def train() -> None:
    """Train the detector behind the JPEG."""
    defended = JpegDefence()
    train_behind("jpeg", defended, defended.detector, thorough=True)


@cache
def _tables() -> tuple[Tensor, Tensor]:
    """Return the 8×8 quantisation tables of the codec, for luminance and chrominance."""
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=QUALITY)
    with Image.open(file) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    luminance, chrominance = (torch.tensor(tables[key], dtype=torch.float32).view(8, 8) for key in (0, 1))
    return luminance, chrominance


@cache
def _cosines() -> Tensor:
    """Return the 8×8 matrix of the discrete cosine transform."""
    place = torch.arange(8.0)
    matrix = torch.cos((2 * place[None] + 1) * place[:, None] * torch.pi / 16) / 2
    matrix[0] /= 2**0.5
    return matrix


def _through_blocks(channel: Tensor, table: Tensor) -> Tensor:
    """Quantise N×H×W levels in blocks of 8×8, with gradients straight through the rounding."""
    size = channel.shape
    blocks = channel.unfold(1, 8, 8).unfold(2, 8, 8) - 128
    cosines = _cosines()
    scaled = cosines @ blocks @ cosines.T / table
    kept = scaled + (scaled.round() - scaled).detach()
    decoded = cosines.T @ (kept * table) @ cosines + 128
    return decoded.permute(0, 1, 3, 2, 4).reshape(size)


def differentiable_jpeg(images: Tensor) -> Tensor:
    """Return N×3×H×W images after a JPEG with halved chrominance; H and W are multiples of 16."""
    red, green, blue = (images * 255).unbind(1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    blue_difference = (blue - luminance) / 1.772 + 128
    red_difference = (red - luminance) / 1.402 + 128
    tables = _tables()
    luminance = _through_blocks(luminance, tables[0])
    halved = functional.avg_pool2d(torch.stack([blue_difference, red_difference], 1), 2)
    decoded = torch.stack([_through_blocks(each, tables[1]) for each in halved.unbind(1)], 1)
    blue_difference, red_difference = functional.interpolate(
        decoded, scale_factor=2, mode="bilinear", align_corners=False
    ).unbind(1)
    red = luminance + 1.402 * (red_difference - 128)
    blue = luminance + 1.772 * (blue_difference - 128)
    green = (luminance - 0.299 * red - 0.114 * blue) / 0.587
    return (torch.stack([red, green, blue], 1) / 255).clamp(0, 1)


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Differentiate through a JPEG whose rounding passes gradients, at the real JPEG of the image."""
    network = inside(detector)

    def stand_in(pixels: Tensor) -> Tensor:
        smooth = differentiable_jpeg(pixels)
        return network.detector(smooth + (network.compression(pixels) - smooth).detach())

    return descend(detector, stand_in, clean, labels, restarts=8)


DEFENCE = Defence(
    "jpeg", "Das et al. 2017", "Shin and Song 2017", "scores", is_random=False, build=build, attack=attack
)
