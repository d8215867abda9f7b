"""The images of every generator for every split, in the work folder, through one 8-bit path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.minigen.allocation import SPLITS, Share, classes, photographs
from benchmarks.minigen.cifar10 import Cifar10
from benchmarks.minigen.generators import GENERATORS, Generator, Request

BATCH = 100
REAL = "real"


def eight_bit(images: Tensor) -> np.ndarray:
    """Float N×3×H×W in [0, 1] to uint8 N×H×W×3, rounded: the one way from any class to pixels on disk."""
    return (images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def samples_path(work: Path, name: str) -> Path:
    """File with a generator's (or the reals') images, one array per split."""
    return work / "samples" / f"{name}.npz"


def _generate(work: Path, generator: Generator, sources: np.ndarray, split: str) -> np.ndarray:
    """As many images as there are sources, of classes taking turns as the sources' do."""
    labels = classes(len(sources))
    offset = 1_000_000 * (1 + SPLITS.index(split))
    made = []
    for start in range(0, len(sources), BATCH):
        rows = slice(start, start + BATCH)
        signed = generator.sample(work, Request(labels[rows], sources[rows], offset + start))
        made.append(eight_bit((signed + 1.0) / 2.0))
    return np.concatenate(made)


def _store(path: Path, arrays: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)
    temporary.replace(path)


def sample_reals(work: Path, data: Cifar10, shares: dict[str, Share]) -> None:
    """Send the reals through the same path as the fakes."""
    arrays = {}
    for split, share in shares.items():
        pixels = (
            torch.from_numpy(photographs(data, share.part, share.reals)).permute(0, 3, 1, 2).float() / 255.0
        )
        arrays[split] = eight_bit(pixels)
    _store(samples_path(work, REAL), arrays)


def sample_generator(work: Path, data: Cifar10, shares: dict[str, Share], name: str) -> None:
    """Generate the images of one generator for every split."""
    generator = GENERATORS[name]
    arrays = {
        split: _generate(work, generator, photographs(data, share.part, share.sources), split)
        for split, share in shares.items()
    }
    _store(samples_path(work, name), arrays)


def load_samples(work: Path, name: str) -> dict[str, np.ndarray]:
    """Uint8 N×32×32×3 images per split."""
    path = samples_path(work, name)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, run the sample stage first")
    with np.load(path) as arrays:
        return {split: arrays[split] for split in SPLITS}
