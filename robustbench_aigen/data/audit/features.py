"""The facts of images as numbers for a classifier, in the groups that the audit speaks of."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.data.audit.facts import ImageFacts

GROUPS = ("format", "JPEG quality", "subsampling", "width", "height", "aspect", "metadata")
_MOST_WORDS = 12
"""Different words of one fact that are told apart; the rarer ones are one."""


def features(facts: Sequence[ImageFacts]) -> dict[str, NDArray[np.float64]]:
    """Return, for each group of facts, N×D numbers: sizes and qualities as they are, words one column each."""
    metadata = [fact.metadata for fact in facts]
    sides = np.array([[fact.width, fact.height] for fact in facts], dtype=np.float64).reshape(-1, 2)
    quality = np.array([[-1 if fact.quality is None else fact.quality] for fact in facts], dtype=np.float64)
    # As the first three digits say it: a crop by a pixel is no aspect of its own.
    aspect = np.round(sides[:, :1] / sides[:, 1:], 2)
    presence = np.array([[*data[:-1]] for data in metadata], dtype=np.float64).reshape(len(facts), -1)
    return {
        "format": _words([f"{fact.format} {fact.mode} {fact.progressive}" for fact in facts]),
        "JPEG quality": np.hstack([quality, _words([str(fact.encoder) for fact in facts])]),
        "subsampling": _words([str(fact.subsampling) for fact in facts]),
        "width": sides[:, :1],
        "height": sides[:, 1:],
        "aspect": aspect,
        "metadata": np.hstack([presence, _words([str(data.software) for data in metadata])]),
    }


def _words(words: Sequence[str]) -> NDArray[np.float64]:
    # By count and then by name: the same columns in whatever order the images come.
    common = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
    return np.array([[word == name for name, _ in common] for word in words], dtype=np.float64)
