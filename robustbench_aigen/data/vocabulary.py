"""The names that data sets give their classes and splits."""

import re

_REAL = {
    "real",
    "nature",
    "natural",
    "photo",
    "photos",
    "photograph",
    "photographs",
    "authentic",
    "human",
    "camera",
    "genuine",
    "original",
}
_FAKE = {"fake", "ai", "aigenerated", "synthetic", "generated", "artificial", "synth", "fakes"}
_SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def label_of(name: str) -> int | None:
    """Return 0 for a name of the real class, 1 for one of the fake class, None for neither.

    >>> label_of("1_fake"), label_of("nature"), label_of("AI-generated"), label_of("progan")
    (1, 0, 1, None)
    """
    plain = re.sub(r"^[01](?=[ _-])|[^a-z]", "", name.lower())
    return 0 if plain in _REAL else 1 if plain in _FAKE else None


def split_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` for the name of a split, None for anything else."""
    return _SPLITS.get(name.lower())
