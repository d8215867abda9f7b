"""The names that data sets give their classes and splits."""

import re
from collections.abc import Mapping
from types import MappingProxyType

Labels = Mapping[str, int]
"""What a source's own labels mean, casefolded text to 0 or 1: the scenario's ``labels:``."""
NO_LABELS: Labels = MappingProxyType({})

_WORDS = {
    **dict.fromkeys(("real", "reals", "authentic", "genuine"), 0),
    **dict.fromkeys(
        ("fake", "fakes", "ai", "aigenerated", "aigen", "synthetic", "synth", "generated", "artificial"), 1
    ),
}
_WEAK = {
    **dict.fromkeys(
        (
            "nature", "natural", "photo", "photos", "photograph", "photographs", "human", "camera", "original",
            "originals", "pristine",
        ),
        0,
    ),
    "deepfake": 1, "deepfakes": 1,
}  # fmt: skip
"""Words that name a class where nothing else does, and elsewhere a generator, a kind of picture or of origin."""
_EMPTY = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "pic",
        "pics",
        "data",
        "dataset",
        "datasets",
        "set",
        "art",
        "face",
        "faces",
        "class",
        "label",
        "folder",
        "files",
        "train",
        "training",
        "val",
        "valid",
        "validation",
        "test",
        "testing",
        "a",
        "an",
        "the",
        "of",
        "and",
        "or",
        "vs",
        "versus",
    ]
)
"""Words that stand beside a class name without changing it."""
_EXCEPTIONS = dict.fromkeys(("nonai", "notai", "nonfake", "notfake", "humangenerated"), 0) | {"notreal": 1}
_SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
CATEGORIES = frozenset(
    [
        "airplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ]
)
"""The twenty kinds of photographs of CNNDetection (Wang et al. 2020), one of which is a ``train``."""


def label_of(name: str, own: Labels = NO_LABELS) -> int | None:
    """Return 0 for a name of the real class, 1 for one of the fake class, None for neither or both.

    >>> label_of("1_fake"), label_of("nature"), label_of("AiArtData"), label_of("progan"), label_of("real_vs_fake")
    (1, 0, 1, None, None)
    >>> label_of("midjourney", {"midjourney": 1})
    1
    """
    if (said := own.get(name.strip().casefold())) is not None:
        return said
    words = [word for word in _words(name) if word not in _EMPTY and not word.isdigit()]
    if (exception := _EXCEPTIONS.get("".join(words))) is not None:
        return exception
    found = {_WORDS.get(word, _WEAK.get(word)) for word in words}
    plain = {_WORDS[word] for word in words if word in _WORDS}
    if None in found:
        return _WORDS.get("".join(words))
    meant = plain or found
    return meant.pop() if len(meant) == 1 else None


def is_weak(name: str) -> bool:
    """Whether a name is one of a class only where no plainer one stands beside it: ``nature``, ``deepfake``."""
    return not any(word in _WORDS for word in _words(name)) and "".join(_words(name)) not in _EXCEPTIONS


def says_nothing(name: str) -> bool:
    """Whether a folder's name is made of words that name no generator: ``dataset``, ``real_vs_fake``.

    >>> says_nothing("real-vs-fake"), says_nothing("images"), says_nothing("sdxl"), says_nothing("test_v2")
    (True, True, False, False)
    """
    return all(word in _EMPTY or word in _WORDS or _WEAK.get(word) == 0 for word in _words(name))


def split_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` for the name of a split, None for anything else."""
    return _SPLITS.get(name.lower())


def split_in(name: str) -> str | None:
    """Return the split that a file's name begins with or holds as a word of its own.

    >>> split_in("train-00000-of-00001"), split_in("cifake_test"), split_in("trainings")
    ('train', 'test', None)
    """
    return next((split for part in re.split(r"[-_. ]", name) if (split := split_of(part))), None)


def _words(name: str) -> list[str]:
    """Split a name at case, digits and punctuation, in lower case: ``AiArtData`` is ai, art, data."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+", name)]
