"""Which CIFAR-10 photograph goes where: reals, sources of reconstructions, the detectors' pool."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from benchmarks.minigen.cifar10 import Cifar10

SEED = 42
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Counts:
    """Images per generator: in the shipped splits, and in the larger pool that contains the train split."""

    train: int = 480
    val: int = 180
    test: int = 300
    pool: int = 4000

    def of(self, split: str) -> int:
        """Images made per generator for a split; for ``train`` that is the whole pool."""
        return {"train": self.pool, "val": self.val, "test": self.test}[split]

    def shipped(self, split: str) -> int:
        """Images per generator that the package carries."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


@dataclass(frozen=True)
class Share:
    """Rows of CIFAR-10's own train or test part: the split's reals and the sources of its reconstructions."""

    part: str
    reals: np.ndarray
    sources: np.ndarray


def classes(count: int) -> np.ndarray:
    """Class-balanced labels, int64 N: 0 to 9 in turn."""
    return np.arange(count, dtype=np.int64) % 10


def digest(image: np.ndarray) -> str:
    """Sha256 of an image's pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def _unique_by_class(
    images: np.ndarray, labels: np.ndarray, taken: set[str], rng: np.random.Generator
) -> np.ndarray:
    """Row numbers, shuffled, with classes taking turns, of images whose pixels were not met before."""
    queues: list[list[int]] = [[] for _ in range(10)]
    for row in rng.permutation(len(images)):
        key = digest(images[row])
        if key not in taken:
            taken.add(key)
            queues[labels[row]].append(int(row))
    length = min(len(queue) for queue in queues)
    return np.array([queue[i] for i in range(length) for queue in queues])


def allocate(data: Cifar10, counts: Counts, generators: int) -> dict[str, Share]:
    """Deal CIFAR-10 out. No image is dealt twice, and images with equal pixels count as one.

    Test draws on CIFAR-10's test part, validation and train on its train part. A split has as many reals as
    fakes of all generators together.
    """
    rng = np.random.default_rng(SEED)
    taken: set[str] = set()
    test = _unique_by_class(data.test_images, data.test_labels, taken, rng)
    train = _unique_by_class(data.train_images, data.train_labels, taken, rng)
    shares = {}
    for split, part, rows in (("test", "test", test), ("val", "train", train), ("train", "train", train)):
        reals = generators * counts.of(split)
        needed = reals + counts.of(split)
        start = generators * counts.val + counts.val if split == "train" else 0
        if start + needed > len(rows):
            raise ValueError(
                f"{split} wants {needed} photographs, CIFAR-10 has {len(rows) - start} left for it"
            )
        shares[split] = Share(part, rows[start : start + reals], rows[start + reals : start + needed])
    return shares


def photographs(data: Cifar10, part: str, rows: np.ndarray) -> np.ndarray:
    """The uint8 images of rows of one part."""
    found: np.ndarray = (data.train_images if part == "train" else data.test_images)[rows]
    return found
