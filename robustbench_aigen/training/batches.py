"""Batches of an epoch, in an order that depends only on (seed, epoch), for exact resumes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.training.images import LevelStore
from robustbench_aigen.training.recipe import Balance


def stream(seed: int, *place: object) -> int:
    """Return the seed of a random stream for a place in a training, such as (epoch, batch)."""
    text = "\0".join(str(part) for part in (seed, *place))
    # Lightning and NumPy want seeds of 32 bits.
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "little")


@dataclass(frozen=True)
class LabelledRows:
    """Rows of a level store with their labels and the names of their generators."""

    store: LevelStore
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]

    @classmethod
    def of(cls, store: LevelStore, indices: Sequence[int], samples: Sequence[Any]) -> "LabelledRows":
        """Return the readable images among some indices of a source."""
        readable = store.readable(indices)
        labels = np.array([samples[index].label for index in readable], dtype=np.int64)
        generators = np.array([samples[index].generator for index in readable], dtype=np.str_)
        return cls(store, store.rows(readable), labels, generators)

    def __len__(self) -> int:
        return len(self.rows)

    def shares(self, balance: Balance) -> list[tuple[NDArray[np.int64], int]]:
        """Return groups of positions, and how many of each an epoch has: as many reals as fakes.

        With ``generators``, each class has as many images of each of its generators.
        """
        if not balance:
            return [(np.arange(len(self)), len(self))]
        classes = []
        for label in (0, 1):
            members = np.flatnonzero(self.labels == label)
            names = self.generators[members] if balance == "generators" else np.zeros(len(members))
            classes.append([members[names == name] for name in np.unique(names)])
        total = min(len(groups) * min(map(len, groups)) for groups in classes)
        return [(group, total // len(groups)) for groups in classes for group in groups]

    def importances(self, balance: Balance) -> NDArray[np.float64]:
        """Return N weights of the images by which each group counts as in a balanced epoch; their mean is 1."""
        found = np.ones(len(self))
        for members, share in self.shares(balance):
            found[members] = share / len(members)
        return found / found.mean()

    def batch(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return N×3×H×W uint8 images and N labels."""
        return self.store.levels(self.rows[chosen]), torch.from_numpy(self.labels[chosen])


class InOrder:
    """All images once, in their order: validation."""

    def __init__(self, images: LabelledRows, batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(self.images), self.batch_size):
            yield self.images.batch(np.arange(first, min(first + self.batch_size, len(self.images))))


class Shuffled:
    """The training images of one epoch after the other, shuffled.

    Parameters
    ----------
    images
        The training images.
    batch_size
        Every batch is full; a set smaller than one is one batch.
    seed
        Seed of the order.
    balance
        Whether an epoch has as many images of one class as of the other; ``generators``: and, within a class, as
        many of each generator.
    """

    def __init__(self, images: LabelledRows, batch_size: int, seed: int, *, balance: Balance) -> None:
        self.images, self.seed = images, seed
        self.shares = images.shares(balance)
        self.length = sum(share for _, share in self.shares)
        self.batch_size = min(batch_size, self.length)
        self.epoch = 0
        self.next_batch = 0

    def __len__(self) -> int:
        return self.length // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order, first = self._order(), self.next_batch
        for number in range(first, len(self)):
            # Before the batch is returned, so that a saved state counts this batch.
            is_last = number + 1 == len(self)
            self.epoch, self.next_batch = (self.epoch + 1, 0) if is_last else (self.epoch, number + 1)
            yield self.images.batch(order[number * self.batch_size : (number + 1) * self.batch_size])

    def _order(self) -> NDArray[np.int64]:
        rng = np.random.default_rng(stream(self.seed, "order", self.epoch))
        if len(self.shares) == 1:
            return rng.permutation(len(self.images))
        return rng.permutation(
            np.concatenate([rng.permutation(members)[:share] for members, share in self.shares])
        )

    def place(self) -> dict[str, int]:
        """Return the next epoch and batch."""
        return {"epoch": self.epoch, "next_batch": self.next_batch}

    def go_to(self, place: dict[str, int]) -> None:
        """Continue from an epoch and batch.

        Lightning would restore a loader with ``state_dict`` inside an epoch, but not at the end of one.
        """
        self.epoch, self.next_batch = place["epoch"], place["next_batch"]
