"""What every generator module offers the build: a description, a recipe, a sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from benchmarks.minigen.training import Recipe


class Request(NamedTuple):
    """One batch to generate.

    ``labels`` are int64 N, ``sources`` uint8 N×32×32×3 photographs of these classes that only a
    reconstruction looks at, ``seed`` fixes the noise.
    """

    labels: np.ndarray
    sources: np.ndarray
    seed: int


@dataclass(frozen=True)
class Generator:
    """A generator of minigen.

    ``minutes`` is its share of training on one core; ``network`` builds the part that makes images;
    ``sample`` gives float32 N×3×32×32 in [-1, 1].
    """

    name: str
    family: str
    architecture: str
    training: str
    sampler: str
    minutes: float
    network: Callable[[], nn.Module]
    recipe: Callable[[Path], Recipe]
    sample: Callable[[Path, Request], Tensor]

    @property
    def parameters(self) -> int:
        """Weights of the part that makes images."""
        return sum(weight.numel() for weight in self.network().parameters())
